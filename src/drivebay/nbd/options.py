"""The bytes of options and of the replies to them, without state."""

import struct
from typing import NamedTuple

from drivebay.nbd.events import Export
from drivebay.nbd.words import (
    ALLOCATION,
    BLOCK_MAX_BYTES,
    BLOCK_MIN_BYTES,
    BLOCK_PREFERRED_BYTES,
    OPTION_REPLY_MAGIC,
    STRING_MAX_BYTES,
    ExportFlag,
    Info,
    OptionReply,
    to_string,
)

OPTION = struct.Struct(">QII")
_REPLY = struct.Struct(">QIII")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_INFO_EXPORT = struct.Struct(">HQH")
_INFO_BLOCK_SIZE = struct.Struct(">HIII")

# The matching query for every context of the namespace, in LIST_META_CONTEXT alone.
_BASE = "base:"


class OptionRefused(Exception):
    """An option cannot be carried out as it stands; the connection goes on."""

    def __init__(self, reply: OptionReply, message: str) -> None:
        """Keep what to answer."""
        super().__init__(message)
        self.reply = reply
        self.message = message


class InfoRequest(NamedTuple):
    """The data of INFO and GO."""

    name: str
    kinds: frozenset[int]


class ContextRequest(NamedTuple):
    """The data of LIST_META_CONTEXT and SET_META_CONTEXT."""

    name: str
    queries: tuple[str, ...]

    def lists_allocation(self) -> bool:
        """Say whether LIST_META_CONTEXT finds `base:allocation`: no query asks for everything."""
        return not self.queries or _BASE in self.queries or ALLOCATION in self.queries

    def sets_allocation(self) -> bool:
        """Say whether SET_META_CONTEXT selects `base:allocation`; there are no wildcards here."""
        return ALLOCATION in self.queries


class _Cursor:
    """Takes an option's data apart, from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def number(self, codec: struct.Struct) -> int:
        (value,) = codec.unpack(self._bytes(codec.size))
        return int(value)

    def string(self) -> str:
        return parse_string(self._bytes(self.number(_U32)))

    def end(self) -> None:
        if self.left:
            raise OptionRefused(OptionReply.ERR_INVALID, "the option's data is too long")

    def _bytes(self, count: int) -> bytes:
        if count > self.left:
            raise OptionRefused(OptionReply.ERR_INVALID, "the option's data is too short")
        self._at += count
        return self._data[self._at - count : self._at]


def parse_string(data: bytes) -> str:
    """Return the text of a string.

    Raises:
        OptionRefused: it is too long, holds a NUL or is not UTF-8.
    """
    if len(data) > STRING_MAX_BYTES:
        raise OptionRefused(OptionReply.ERR_TOO_BIG, "a string is longer than 4096 bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise OptionRefused(OptionReply.ERR_INVALID, "a string is not UTF-8") from None
    if "\0" in text:
        raise OptionRefused(OptionReply.ERR_INVALID, "a string holds a NUL")
    return text


def parse_info(data: bytes) -> InfoRequest:
    """Return what INFO or GO asks for.

    Raises:
        OptionRefused: *data* is not what these options carry.
    """
    cursor = _Cursor(data)
    name = cursor.string()
    kinds = [cursor.number(_U16) for _ in range(cursor.number(_U16))]
    cursor.end()
    return InfoRequest(name, frozenset(kinds))


def parse_contexts(data: bytes) -> ContextRequest:
    """Return what LIST_META_CONTEXT or SET_META_CONTEXT asks for.

    Raises:
        OptionRefused: *data* is not what these options carry.
    """
    cursor = _Cursor(data)
    name = cursor.string()
    # The count may be any number; the data, which is bounded, ends the loop.
    queries = tuple(cursor.string() for _ in range(cursor.number(_U32)))
    cursor.end()
    return ContextRequest(name, queries)


def export_flags(export: Export, *, structured: bool) -> ExportFlag:
    """Return what is told about *export*; that a read is not fragmented needs *structured*."""
    flags = (
        ExportFlag.HAS_FLAGS
        | ExportFlag.SEND_FLUSH
        | ExportFlag.SEND_FUA
        | ExportFlag.CAN_MULTI_CONN
    )
    if structured:
        flags |= ExportFlag.SEND_DF
    if export.read_only:
        return flags | ExportFlag.READ_ONLY
    return flags | ExportFlag.SEND_TRIM | ExportFlag.SEND_WRITE_ZEROES | ExportFlag.SEND_FAST_ZERO


def option_reply(option: int, reply: OptionReply, data: bytes = b"") -> bytes:
    """Return one reply to *option*."""
    return _REPLY.pack(OPTION_REPLY_MAGIC, option, reply, len(data)) + data


def server_reply(option: int, export: Export) -> bytes:
    """Return the entry of *export* in a list."""
    name = to_string(export.name)
    data = _U32.pack(len(name)) + name + to_string(export.description)
    return option_reply(option, OptionReply.SERVER, data)


def info_replies(option: int, export: Export, kinds: frozenset[int], *, structured: bool) -> bytes:
    """Return what is known of *export*: size, flags and block sizes always, the rest on request."""
    flags = export_flags(export, structured=structured)
    items = [
        _INFO_EXPORT.pack(Info.EXPORT, export.size, flags),
        _INFO_BLOCK_SIZE.pack(
            Info.BLOCK_SIZE, BLOCK_MIN_BYTES, BLOCK_PREFERRED_BYTES, BLOCK_MAX_BYTES
        ),
    ]
    if Info.NAME in kinds:
        items.append(_U16.pack(Info.NAME) + to_string(export.name))
    if Info.DESCRIPTION in kinds and export.description:
        items.append(_U16.pack(Info.DESCRIPTION) + to_string(export.description))
    return b"".join(option_reply(option, OptionReply.INFO, item) for item in items)


def context_reply(option: int, number: int) -> bytes:
    """Return the entry of `base:allocation` in a list of contexts."""
    return option_reply(option, OptionReply.META_CONTEXT, _U32.pack(number) + ALLOCATION.encode())
