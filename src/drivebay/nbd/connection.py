"""One connection from its first byte to its last: the handshake, TLS, and the session."""

import logging
import socket
import ssl
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from drivebay.errors import ClaimEnded, DrivebayError
from drivebay.model import Claim
from drivebay.nbd import protocol
from drivebay.nbd.aside import Disks
from drivebay.nbd.protocol import Ask, Begin, End, Event, Handshake, Reply, StartTls, Tls
from drivebay.nbd.session import Lost, Session
from drivebay.service import exports
from drivebay.service.context import Context
from drivebay.service.exports import Export
from drivebay.service.sessions import Serving, TooManyConnections

_log = logging.getLogger("drivebay.nbd")

_RECEIVE = 16 * 1024

# A client's machine that is gone is noticed within two minutes.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


@dataclass(frozen=True)
class Surroundings:
    """What the connections of one process share.  Times are in seconds."""

    ctx: Context
    serving: Serving
    disks: Disks
    tls: ssl.SSLContext | None
    handshake_timeout_s: float
    stall_timeout_s: float


class Connection:
    """A client's connection; `serve` is for a thread of its own, the rest for any."""

    def __init__(self, accepted: socket.socket, tls: Tls, around: Surroundings) -> None:
        """Take over *accepted*."""
        self._socket = accepted
        # Another thread must not shut down a TLS socket: it would go on without TLS for a moment.
        self._control = accepted.dup() if tls is not Tls.ABSENT else accepted
        self._tls = tls
        self._around = around
        self._opened = ExitStack()
        self._drive = ExitStack()
        self._ticket: str | None = None
        self._export: Export | None = None
        self.claim: Claim | None = None
        """The claim whose ticket the client has shown."""
        self._held_at: tuple[Claim, int | None] | None = None

    def serve(self) -> None:
        """Talk with the client until one of the two ends it."""
        try:
            with self._opened, self._drive:
                begin = self._negotiate()
                if begin is not None:
                    self._transmit(begin)
        except (OSError, Lost) as error:
            _log.debug("a connection was lost: %s", error)
        except DrivebayError as failure:
            _log.warning("a connection failed: %s", failure)
        except Exception:  # noqa: BLE001 - the thread's edge: the others go on
            _log.exception("a connection failed unexpectedly")
        finally:
            self._socket.close()
            self._control.close()

    def end(self) -> None:
        """Make `serve` end soon."""
        self._shut(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Make `serve` end once what has arrived is answered."""
        self._shut(socket.SHUT_RD)

    def end_unless_held(self, version: int | None) -> None:
        """Make `serve` end soon if the claim does not hold at the catalog's *version*."""
        claim = self.claim
        if claim is None or (version is not None and self._held_at == (claim, version)):
            return
        if exports.holds(self._around.ctx, claim):
            self._held_at = claim, version
        else:
            self.end()

    def _shut(self, how: int) -> None:
        with suppress(OSError):
            self._control.shutdown(how)

    def _negotiate(self) -> Begin | None:
        deadline = time.monotonic() + self._around.handshake_timeout_s
        handshake = Handshake(self._tls)
        self._socket.settimeout(self._around.handshake_timeout_s)
        self._socket.sendall(handshake.greeting())
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise Lost("the handshake took too long")
            self._socket.settimeout(left_s)
            data = self._socket.recv(_RECEIVE)
            if not data:
                return None
            begin = self._act(handshake, handshake.receive(data))
            if begin is not None:
                return begin

    def _act(self, handshake: Handshake, events: list[Event]) -> Begin | None:
        """Do what the handshake's *events* say; return the one that ends it, if it comes."""
        while events:
            match events.pop(0):
                case Reply(data):
                    self._socket.sendall(data)
                case Ask(name):
                    events = handshake.answer(self._find(name))
                case StartTls():
                    self._start_tls()
                case Begin() as begin:
                    return begin
                case End(reason):
                    raise Lost(reason)
        return None

    def _start_tls(self) -> None:
        assert self._around.tls is not None, "TLS was agreed on, and there is none"
        self._socket = self._around.tls.wrap_socket(self._socket, server_side=True)

    def _find(self, ticket: str) -> protocol.Export | None:
        """Return what the *ticket* opens, and keep it open."""
        if ticket != self._ticket or self._export is None:
            self._drive.close()
            self.claim, self._export = None, None
            self._ticket = ticket
            self.claim = exports.find(self._around.ctx, ticket)
            if self.claim is not None:
                self._export = self._open(self.claim)
        if self.claim is None or self._export is None:
            return None
        return protocol.Export(
            name=ticket,
            size=self._export.size,
            read_only=not self._export.may_write,
            description=f"drive {self.claim.drive}",
        )

    def _open(self, claim: Claim) -> Export | None:
        # First tell that the claim is used, then look whether it holds: who ends it does the two
        # the other way round.
        try:
            self._drive.enter_context(self._around.serving.connection(claim.id))
            export = Export(self._around.ctx, claim)
        except ClaimEnded:
            return None
        except TooManyConnections:
            _log.warning("drive %s, server %s: too many connections", claim.drive, claim.server)
            return None
        except DrivebayError as failure:
            _log.error("drive %s, server %s: not opened: %s", claim.drive, claim.server, failure)
            return None
        self._drive.callback(export.close)
        return export

    def _transmit(self, begin: Begin) -> None:
        claim, export = self.claim, self._export
        assert claim is not None, "a session without a claim"
        assert export is not None, "a session without a drive"
        _set_timeouts(self._socket, self._around.stall_timeout_s)
        transmission = protocol.Transmission(
            begin.export, structured=begin.structured, allocation=begin.allocation
        )
        session = Session(self._socket, export, transmission, self._around.disks, end=self.end)
        _log.info("drive %s, server %s: connected", claim.drive, claim.server)
        reason = session.run(begin.rest)
        _log.info("drive %s, server %s: %s", claim.drive, claim.server, reason)


def _set_timeouts(connection: socket.socket, stall_timeout_s: float) -> None:
    """Bound each receive and send; a plain socket stays blocking, which saves a poll for each."""
    if isinstance(connection, ssl.SSLSocket):
        # TLS tries a blocking socket again and again, whatever the kernel says of the time.
        connection.settimeout(stall_timeout_s)
    else:
        connection.settimeout(None)
        _set_kernel_timeouts(connection, stall_timeout_s)
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _set_kernel_timeouts(connection: socket.socket, stall_timeout_s: float) -> None:
    whole, part = divmod(stall_timeout_s, 1)
    # struct timeval
    interval = int(whole).to_bytes(8, "little") + int(part * 1e6).to_bytes(8, "little")
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, interval)
