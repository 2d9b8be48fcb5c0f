"""HTTP as the session needs it: bounded, patient with slow links, and trusting no reply.

urllib3 does the protocol and the TLS; it is imported when the first connection is made, so that
commands that need none start quickly.
"""

import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from drivebay import __version__
from drivebay.client.errors import (
    BadReply,
    ClientError,
    ConnectionFailed,
    SettingsRefused,
    TlsFailed,
)
from drivebay.units import KIB

if TYPE_CHECKING:
    import urllib3

CONNECT_TIMEOUT_S = 10.0
# A server may flush a slow disk before it answers a write.
READ_TIMEOUT_S = 60.0
# 4 MiB at 5 KB/s: slower is no link, and a server that drips bytes must not hold us for ever.
REPLY_DEADLINE_S = 900.0

# Each block gets its own socket timeout; one timeout over 4 MiB would fail every slow uplink.
_SEND_BLOCK = 64 * KIB
_ERROR_BYTES_MAX = 4 * KIB

_UNREACHED = (
    "is the service running? 'drivebay profile show --origin' says where the address is from"
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A whole answer."""

    call: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What one request was and came to, without credentials; *outcome* is a status or a failure."""

    call: str
    url: str
    sent_bytes: int
    outcome: str
    elapsed_s: float


class Transport:
    """Kept-alive connections to one address; the credentials stand in one header, nowhere else."""

    def __init__(
        self,
        url: str,
        user: str,
        key: str,
        *,
        connections: int,
        trace: Callable[[Trace], None] | None = None,
    ) -> None:
        self.url = checked_url(url)
        token = b64encode(f"{user}:{key}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {token}",
            "User-Agent": f"drivebay/{__version__}",
            # What comes back is counted byte by byte, so it must not be packed.
            "Accept-Encoding": "identity",
        }
        self._connections = connections
        self._trace = trace
        self._pool: urllib3.PoolManager | None = None

    def __repr__(self) -> str:
        return f"Transport({self.url!r})"

    def close(self) -> None:
        """Close the idle connections."""
        if self._pool is not None:
            self._pool.clear()

    def request(
        self, method: str, path: str, *, body: bytes, headers: Mapping[str, str], limit: int
    ) -> Reply:
        """Make one request and return the reply, whatever its status.

        Raises:
            ConnectionFailed: no whole answer came.
            TlsFailed: the server cannot be trusted.
            BadReply: the answer's body is longer than *limit* bytes, or is packed.
        """
        call = f"{method} {path}"
        started = time.monotonic()
        outcome = "no answer"
        try:
            reply = self._request(call, method, path, body=body, headers=headers, limit=limit)
            outcome = f"{reply.status}, {len(reply.body)} bytes"
        except ClientError as failure:
            outcome = str(failure)
            raise
        else:
            return reply
        finally:
            if self._trace is not None:
                elapsed = time.monotonic() - started
                self._trace(
                    Trace(
                        call=call,
                        url=self.url,
                        sent_bytes=len(body),
                        outcome=outcome,
                        elapsed_s=elapsed,
                    )
                )

    def _request(
        self,
        call: str,
        method: str,
        path: str,
        *,
        body: bytes,
        headers: Mapping[str, str],
        limit: int,
    ) -> Reply:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - see the module's docstring

        framing = {"Content-Length": str(len(body))} if body else {}
        try:
            response = self._opened().request(
                method,
                self.url + path,
                body=_blocks(body) if body else None,
                headers={**self._headers, **headers, **framing},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                return _received(call, response, limit)
            finally:
                # A body that was read to its end has given the connection back already.
                response.close()
        except (HTTPError, OSError, ValueError) as error:
            self._fail(error)

    def _opened(self) -> "urllib3.PoolManager":
        import urllib3  # noqa: PLC0415 - see the module's docstring

        if self._pool is None:
            self._pool = urllib3.PoolManager(
                num_pools=1,
                maxsize=self._connections,
                block=True,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            )
        return self._pool

    def _fail(self, error: Exception) -> NoReturn:
        from urllib3 import exceptions  # noqa: PLC0415 - see the module's docstring

        if isinstance(error, exceptions.SSLError):
            hint = "set SSL_CERT_FILE to the certificate of the authority that you trust"
            raise TlsFailed(url=self.url, reason=_reason(error), hint=hint) from error
        unsent = (exceptions.NewConnectionError, exceptions.ConnectTimeoutError)
        was_sent = not isinstance(error, unsent)
        hint = "" if was_sent else _UNREACHED
        raise ConnectionFailed(
            url=self.url, reason=_reason(error), was_sent=was_sent, hint=hint
        ) from error


def checked_url(url: str) -> str:
    """Return *url* without a slash at its end.

    Raises:
        SettingsRefused: it is not http or https, or carries what does not belong into an address.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise SettingsRefused(reason=f"the URL cannot be used: {error}") from error
    if "@" in parts.netloc:
        raise SettingsRefused(
            reason="the URL holds credentials, where logs and process lists would show them",
            hint="put UUID:KEY into DRIVEBAY_TOKEN or a profile, and only the address into the URL",
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname or not url.isprintable():
        raise SettingsRefused(reason=f"{url!r} is not a URL like https://HOST or http://HOST:PORT")
    if parts.query or parts.fragment or " " in url:
        raise SettingsRefused(reason=f"the URL {url!r} has more than scheme, host, port and path")
    return url.rstrip("/")


def _blocks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _SEND_BLOCK):
        yield body[start : start + _SEND_BLOCK]


def _received(call: str, response: "urllib3.BaseHTTPResponse", limit: int) -> Reply:
    is_error = response.status >= 400
    packed = response.headers.get("Content-Encoding", "identity")
    if packed != "identity":
        raise BadReply(call=call, reason=f"its body is packed with {packed!r}, which was not asked")
    body = _body(call, response, _ERROR_BYTES_MAX if is_error else limit, may_cut=is_error)
    return Reply(call=call, status=response.status, headers=response.headers, body=body)


def _body(call: str, response: "urllib3.BaseHTTPResponse", limit: int, *, may_cut: bool) -> bytes:
    deadline = time.monotonic() + REPLY_DEADLINE_S
    body = bytearray()
    # One byte more than allowed tells a longer body from one that fits, whatever its header says.
    while chunk := response.read1(limit + 1 - len(body), decode_content=False):
        body += chunk
        if len(body) > limit:
            if may_cut:
                return bytes(body[:limit])
            raise BadReply(call=call, reason=f"its body is longer than {limit} bytes")
        if time.monotonic() > deadline:
            raise BadReply(call=call, reason=f"its body took more than {REPLY_DEADLINE_S:.0f} s")
    return bytes(body)


def _reason(error: BaseException) -> str:
    """Return the innermost explanation: urllib3 wraps errors and puts addresses into its texts."""
    from urllib3 import exceptions  # noqa: PLC0415 - see the module's docstring

    if isinstance(error, exceptions.IncompleteRead):
        return f"its answer ended {error.expected} bytes too early"
    # In urllib3 a refused connection is also a kind of timeout.
    is_refused = isinstance(error, exceptions.NewConnectionError)
    if isinstance(error, exceptions.TimeoutError) and not is_refused:
        return "it took too long"
    for inner in (error.__cause__, *error.args[::-1], error.__context__):
        if isinstance(inner, OSError) and inner.strerror:
            return str(inner.strerror)
        if isinstance(inner, Exception):
            return _reason(inner)
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return str(error) or type(error).__name__
