"""The numbers of the NBD protocol, from its text (doc/proto.md of NetworkBlockDevice/nbd).

Every number on the wire is unsigned and in network byte order.
"""

from enum import IntEnum, IntFlag

GREETING_MAGIC = 0x4E42444D41474943
OPTION_MAGIC = 0x49484156454F5054
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
SIMPLE_REPLY_MAGIC = 0x67446698
CHUNK_MAGIC = 0x668E33EF

# The longest string that the protocol allows: a name, a query, a message.
STRING_MAX_BYTES = 4096

# What a drive is addressed in: any byte, best whole sectors of its cipher, and no more at once than
# every client may count on (2**25, "Block size constraints").
BLOCK_MIN_BYTES = 1
BLOCK_PREFERRED_BYTES = 4096
BLOCK_MAX_BYTES = 32 * 1024 * 1024

# The one metadata context, and the number that it goes by in replies to BLOCK_STATUS.
ALLOCATION = "base:allocation"
ALLOCATION_ID = 1


class HandshakeFlag(IntFlag):
    """What the server can, and what of it the client takes; both sides use the same two bits."""

    FIXED_NEWSTYLE = 1 << 0
    NO_ZEROES = 1 << 1


class Option(IntEnum):
    """What a client may ask for before transmission."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    STARTTLS = 5
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10


class OptionReply(IntEnum):
    """What an option is answered with; bit 31 says that it failed."""

    ACK = 1
    SERVER = 2
    INFO = 3
    META_CONTEXT = 4
    ERR_UNSUP = (1 << 31) + 1
    ERR_POLICY = (1 << 31) + 2
    ERR_INVALID = (1 << 31) + 3
    ERR_PLATFORM = (1 << 31) + 4
    ERR_TLS_REQD = (1 << 31) + 5
    ERR_UNKNOWN = (1 << 31) + 6
    ERR_SHUTDOWN = (1 << 31) + 7
    ERR_BLOCK_SIZE_REQD = (1 << 31) + 8
    ERR_TOO_BIG = (1 << 31) + 9


class Info(IntEnum):
    """What can be told about an export."""

    EXPORT = 0
    NAME = 1
    DESCRIPTION = 2
    BLOCK_SIZE = 3


class ExportFlag(IntFlag):
    """What an export can; the protocol calls them transmission flags."""

    HAS_FLAGS = 1 << 0
    READ_ONLY = 1 << 1
    SEND_FLUSH = 1 << 2
    SEND_FUA = 1 << 3
    ROTATIONAL = 1 << 4
    SEND_TRIM = 1 << 5
    SEND_WRITE_ZEROES = 1 << 6
    SEND_DF = 1 << 7
    CAN_MULTI_CONN = 1 << 8
    SEND_RESIZE = 1 << 9
    SEND_CACHE = 1 << 10
    SEND_FAST_ZERO = 1 << 11


class Command(IntEnum):
    """What a request asks for; CACHE and RESIZE are known as refused."""

    READ = 0
    WRITE = 1
    DISC = 2
    FLUSH = 3
    TRIM = 4
    CACHE = 5
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7
    RESIZE = 8


# A command's flags: plain numbers, since each request is compared with them.
FLAG_FUA = 1 << 0
FLAG_NO_HOLE = 1 << 1
FLAG_DF = 1 << 2
FLAG_REQ_ONE = 1 << 3
FLAG_FAST_ZERO = 1 << 4

# The flag of a chunk that ends its reply.
CHUNK_DONE = 1 << 0


class Chunk(IntEnum):
    """What a structured reply is made of; bit 15 says that it is an error."""

    NONE = 0
    OFFSET_DATA = 1
    OFFSET_HOLE = 2
    BLOCK_STATUS = 5
    ERROR = (1 << 15) + 1
    ERROR_OFFSET = (1 << 15) + 2


# How `base:allocation` describes an extent.
STATE_DATA = 0
STATE_HOLE = 1 << 0
STATE_ZERO = 1 << 1


class Errno(IntEnum):
    """The errors that a reply may name, whatever the server's own numbers are."""

    EPERM = 1
    EIO = 5
    ENOMEM = 12
    EINVAL = 22
    ENOSPC = 28
    EOVERFLOW = 75
    ENOTSUP = 95
    ESHUTDOWN = 108


def to_string(text: str) -> bytes:
    """Return *text* as a string of the protocol: UTF-8 without NUL, cut to 4096 bytes."""
    data = text.replace("\0", "").encode("utf-8", "replace")
    if len(data) > STRING_MAX_BYTES:
        # A character that was cut in two goes as a whole.
        data = data[:STRING_MAX_BYTES].decode("utf-8", "ignore").encode()
    return data
