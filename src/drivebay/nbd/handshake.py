"""The server's side of an NBD handshake: bytes in, events out, up to the first request.

Only the fixed newstyle handshake is spoken.  A client of the plain newstyle, which has no way to be
told of an error, may name its export and nothing else.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from drivebay.nbd.events import Ask, Begin, End, Event, Export, Reply, StartTls, Tls
from drivebay.nbd.options import (
    OPTION,
    ContextRequest,
    InfoRequest,
    OptionRefused,
    context_reply,
    export_flags,
    info_replies,
    option_reply,
    parse_contexts,
    parse_info,
    parse_string,
    server_reply,
)
from drivebay.nbd.words import (
    ALLOCATION_ID,
    GREETING_MAGIC,
    OPTION_MAGIC,
    STRING_MAX_BYTES,
    HandshakeFlag,
    Option,
    OptionReply,
    to_string,
)

# A client needs about ten in a connection.
OPTIONS_MAX = 256

# An option's data that is read: a name of 4096 bytes, and room for what is asked about it.
DATA_MAX_BYTES = 8 * 1024

# An option's data that is skipped before the option is refused; more ends the connection.
SKIPPED_MAX_BYTES = 64 * 1024

# What is kept behind an open question, although a client waits for a reply before it sends more.
KEPT_MAX_BYTES = 64 * 1024

_GREETING = struct.Struct(">QQH")
_CLIENT_FLAGS = struct.Struct(">I")
_EXPORT_REPLY = struct.Struct(">QH")
_ZEROES = bytes(124)

_FLAGS = int(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES)

_WITHOUT_DATA = frozenset({Option.LIST, Option.STARTTLS, Option.STRUCTURED_REPLY})


@dataclass(slots=True)
class _Incoming:
    """An option whose header was read and whose data is still to come."""

    option: int
    due: int
    is_too_big: bool


class _Question(NamedTuple):
    """The option that an `Ask` is open for."""

    option: int
    request: InfoRequest | ContextRequest


class Handshake:
    """One connection up to its transmission phase.

    Whatever the client sends, nothing is raised, and no more is kept than the limits above.
    After `Begin` and `End` everything is ignored.
    """

    def __init__(self, tls: Tls) -> None:
        """Start in plain text, where *tls* says whether that may or must change."""
        self._tls = tls
        self._is_secure = False
        self._is_over = False
        self._is_flooded = False
        self._inbox = bytearray()
        self._events: list[Event] = []
        self._flags: int | None = None
        self._option_count = 0
        self._incoming: _Incoming | None = None
        self._question: _Question | None = None
        self._forget()

    def greeting(self) -> bytes:
        """Return what the server says first."""
        return _GREETING.pack(GREETING_MAGIC, OPTION_MAGIC, _FLAGS)

    def receive(self, data: bytes) -> list[Event]:
        """Feed *data*, and return what follows from it, in order.

        An `Ask` is always the last of them, and while it is open, *data* is only kept.
        """
        if not self._is_over:
            self._inbox += data
            self._advance()
        return self._take_events()

    def answer(self, export: Export | None) -> list[Event]:
        """Answer the open `Ask`, and return what follows from it and from what came since."""
        assert self._question is not None, "nothing was asked"
        option, request = self._question
        self._question = None
        if self._is_flooded:
            self._end("the client did not wait for an answer")
        elif export is None:
            self._answer_unknown(option)
        elif isinstance(request, ContextRequest):
            self._answer_contexts(option, request, export)
        elif option == Option.EXPORT_NAME:
            self._answer_export_name(export)
        else:
            self._answer_info(option, request, export)
        self._advance()
        return self._take_events()

    def _client_has(self, flag: HandshakeFlag) -> bool:
        return self._flags is not None and bool(self._flags & flag)

    @property
    def _lacks_tls(self) -> bool:
        return self._tls is Tls.REQUIRED and not self._is_secure

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _forget(self) -> None:
        """Drop what was negotiated by options, which does not outlive a change to TLS."""
        self._structured = False
        self._export: Export | None = None
        self._allocation_for: str | None = None

    def _advance(self) -> None:
        """Read what has come, as far as it goes."""
        while not self._is_over and self._question is None and self._step():
            pass
        if len(self._inbox) > KEPT_MAX_BYTES:
            # All else was read, so these stand behind a question; its answer will be the end.
            self._is_flooded = True
            self._inbox.clear()

    def _step(self) -> bool:
        """Read one thing; False when it is not all there."""
        if self._flags is None:
            return self._read_flags()
        if self._incoming is None:
            return self._read_header()
        if self._incoming.is_too_big:
            return self._skip(self._incoming)
        return self._read_data(self._incoming)

    def _cut(self, count: int) -> bytes:
        data = bytes(self._inbox[:count])
        del self._inbox[:count]
        return data

    def _read_flags(self) -> bool:
        if len(self._inbox) < _CLIENT_FLAGS.size:
            return False
        (flags,) = _CLIENT_FLAGS.unpack(self._cut(_CLIENT_FLAGS.size))
        self._flags = flags
        if flags & ~_FLAGS:
            self._end("the client set a flag that the server does not know")
        elif self._lacks_tls and not self._client_has(HandshakeFlag.FIXED_NEWSTYLE):
            # TLS is begun by an option, and the plain newstyle has none.
            self._end("TLS is required, and the client cannot begin it")
        return True

    def _read_header(self) -> bool:
        if len(self._inbox) < OPTION.size:
            return False
        magic, option, length = OPTION.unpack(self._cut(OPTION.size))
        self._option_count += 1
        if magic != OPTION_MAGIC:
            self._end("what the client sent is no option")
        elif self._option_count > OPTIONS_MAX:
            self._end("the client sent too many options")
        elif length > SKIPPED_MAX_BYTES:
            self._end("an option's data is too long")
        elif option == Option.EXPORT_NAME and length > STRING_MAX_BYTES:
            self._end("the name of the export is too long")
        elif option != Option.EXPORT_NAME and not self._client_has(HandshakeFlag.FIXED_NEWSTYLE):
            self._end("without the fixed newstyle, a client may only name an export")
        self._incoming = _Incoming(option, length, is_too_big=length > DATA_MAX_BYTES)
        return True

    def _skip(self, incoming: _Incoming) -> bool:
        """Throw data away that is too long, and answer the option at the end of it."""
        skipped = min(incoming.due, len(self._inbox))
        del self._inbox[:skipped]
        incoming.due -= skipped
        if incoming.due:
            return False
        self._incoming = None
        self._carry_out(incoming.option, None)
        return True

    def _read_data(self, incoming: _Incoming) -> bool:
        if len(self._inbox) < incoming.due:
            return False
        self._incoming = None
        self._carry_out(incoming.option, self._cut(incoming.due))
        return True

    def _carry_out(self, option: int, data: bytes | None) -> None:
        """Do what an option asks for; *data* is None if it was too much to keep."""
        if option == Option.SET_META_CONTEXT:
            # What was selected before goes even if this fails.
            self._allocation_for = None
        if option == Option.ABORT:
            self._reply(option, OptionReply.ACK)
            self._end("the client left")
            return
        try:
            self._check(option, data)
            self._OPTIONS[option](self, option, data or b"")
        except OptionRefused as refused:
            self._refuse(option, refused.reply, refused.message)

    def _check(self, option: int, data: bytes | None) -> None:
        """Refuse what is refused whatever the data says."""
        if self._lacks_tls and option != Option.STARTTLS:
            raise OptionRefused(OptionReply.ERR_TLS_REQD, "TLS is required")
        if option not in self._OPTIONS or (option == Option.STARTTLS and self._tls is Tls.ABSENT):
            raise OptionRefused(OptionReply.ERR_UNSUP, "the option is not supported")
        if data is None:
            raise OptionRefused(OptionReply.ERR_TOO_BIG, "the option's data is too long")
        if data and option in _WITHOUT_DATA:
            raise OptionRefused(OptionReply.ERR_INVALID, "the option takes no data")

    def _ask_for_name(self, option: int, data: bytes) -> None:
        self._ask(option, InfoRequest(parse_string(data), frozenset()))

    def _ask_for_info(self, option: int, data: bytes) -> None:
        self._ask(option, parse_info(data))

    def _ask_for_contexts(self, option: int, data: bytes) -> None:
        if not self._structured:
            raise OptionRefused(OptionReply.ERR_INVALID, "structured replies are not negotiated")
        self._ask(option, parse_contexts(data))

    def _ask(self, option: int, request: InfoRequest | ContextRequest) -> None:
        self._question = _Question(option, request)
        self._events.append(Ask(request.name))

    def _list(self, option: int, _data: bytes) -> None:
        """Tell no name that the client has not said before: to know one is to have access."""
        entry = server_reply(option, self._export) if self._export else b""
        self._reply(option, OptionReply.ACK, before=entry)

    def _agree_structured(self, option: int, _data: bytes) -> None:
        self._structured = True
        self._reply(option, OptionReply.ACK)

    def _start_tls(self, option: int, _data: bytes) -> None:
        if self._is_secure:
            raise OptionRefused(OptionReply.ERR_INVALID, "TLS is in use")
        if self._inbox:
            # Sent in plain text, by anyone on the way, it must not be taken for the client's word.
            self._end("bytes came in plain text behind the request for TLS")
            return
        self._forget()
        self._is_secure = True
        self._reply(option, OptionReply.ACK)
        self._events.append(StartTls())

    def _answer_unknown(self, option: int) -> None:
        self._refuse(option, OptionReply.ERR_UNKNOWN, "there is no such export")

    def _answer_export_name(self, export: Export) -> None:
        flags = export_flags(export, structured=self._structured)
        data = _EXPORT_REPLY.pack(export.size, flags)
        if not self._client_has(HandshakeFlag.NO_ZEROES):
            data += _ZEROES
        self._events.append(Reply(data))
        self._begin(export)

    def _answer_info(self, option: int, request: InfoRequest, export: Export) -> None:
        infos = info_replies(option, export, request.kinds, structured=self._structured)
        self._reply(option, OptionReply.ACK, before=infos)
        self._export = export
        if option == Option.GO:
            self._begin(export)

    def _answer_contexts(self, option: int, request: ContextRequest, export: Export) -> None:
        if option == Option.SET_META_CONTEXT:
            found = request.sets_allocation()
            self._allocation_for = export.name if found else None
            number = ALLOCATION_ID
        else:
            found = request.lists_allocation()
            number = 0
        entry = context_reply(option, number) if found else b""
        self._reply(option, OptionReply.ACK, before=entry)

    def _reply(self, option: int, reply: OptionReply, *, before: bytes = b"") -> None:
        self._events.append(Reply(before + option_reply(option, reply)))

    def _refuse(self, option: int, reply: OptionReply, message: str) -> None:
        """Answer with an error, or end where the option has no way to carry one."""
        if option == Option.EXPORT_NAME:
            self._end(message)
        else:
            self._events.append(Reply(option_reply(option, reply, to_string(message))))

    def _begin(self, export: Export) -> None:
        allocation = self._allocation_for == export.name
        rest = bytes(self._inbox)
        self._close()
        self._events.append(Begin(export, self._structured, allocation, rest))

    def _end(self, reason: str) -> None:
        self._close()
        self._events.append(End(reason))

    def _close(self) -> None:
        self._is_over = True
        self._question = None
        self._incoming = None
        self._inbox.clear()

    _OPTIONS: ClassVar[dict[int, Callable[["Handshake", int, bytes], None]]] = {
        Option.EXPORT_NAME: _ask_for_name,
        Option.LIST: _list,
        Option.STARTTLS: _start_tls,
        Option.INFO: _ask_for_info,
        Option.GO: _ask_for_info,
        Option.STRUCTURED_REPLY: _agree_structured,
        Option.LIST_META_CONTEXT: _ask_for_contexts,
        Option.SET_META_CONTEXT: _ask_for_contexts,
    }
