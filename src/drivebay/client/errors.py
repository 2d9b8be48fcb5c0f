"""Every failure that the client side names.

ClientError
├── ApiError              the server answered with an error status
│   ├── RequestRefused    400 and its like: the values are wrong
│   ├── NotAllowed        401, 403
│   ├── NoRoom            402, 507: no quota or no space covers it
│   ├── NotFound          404
│   ├── Conflict          409: the drive is busy or claimed
│   ├── ServerFailed      500: the server tried and failed
│   └── Unavailable       429, 502, 503, 504: the same call may work in a moment
├── ConnectionFailed      no whole answer came
├── TlsFailed             the server's certificate or protocol cannot be trusted
├── BadReply              the answer is not what the API allows
├── TransferFailed        a piece of an upload or download failed; its cause says how
├── VerificationFailed    what was read back differs from what was sent
├── ImagingFailed         the server gave up imaging a drive
├── LocalFailed           a local file cannot be read, written or used
├── SettingsRefused       a profile, a variable or an option cannot be used
│   └── NoCredentials     nothing says who is calling
└── Interrupted           Ctrl-C

``str(failure)`` is one sentence, ``hint`` says what may help; neither holds a secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(kw_only=True, eq=False)
class ClientError(Exception):
    """A failure with a sentence and, where one is known, a way out."""

    hint: str = ""

    def __str__(self) -> str:
        return "the command failed"


@dataclass(kw_only=True, eq=False)
class ApiError(ClientError):
    """The server answered with an error status; *word* is its `X-Elastic-Error`."""

    status: int
    word: str = ""
    message: str = ""
    request_id: str = ""
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return self.message or f"the server answered with status {self.status}"


class RequestRefused(ApiError):
    """The values of the request are wrong."""


class NotAllowed(ApiError):
    """The credentials are missing, wrong or not enough."""


class NoRoom(ApiError):
    """No quota or no space covers the request."""


class NotFound(ApiError):
    """There is no such drive or command, or the caller may not see it."""


class Conflict(ApiError):
    """The drive is claimed, imaging or otherwise in use."""


class ServerFailed(ApiError):
    """The server tried and failed."""


class Unavailable(ApiError):
    """The server cannot answer now; the same call may work in a moment."""


@dataclass(kw_only=True, eq=False)
class ConnectionFailed(ClientError):
    """No whole answer came.  Unless *was_sent* is false, the server may have acted."""

    url: str
    reason: str
    was_sent: bool

    def __str__(self) -> str:
        doing = "lost the connection to" if self.was_sent else "cannot reach"
        return f"{doing} {self.url}: {self.reason}"


@dataclass(kw_only=True, eq=False)
class TlsFailed(ClientError):
    """The server's certificate or protocol cannot be trusted; nothing was sent."""

    url: str
    reason: str

    def __str__(self) -> str:
        return f"cannot trust {self.url}: {self.reason}"


@dataclass(kw_only=True, eq=False)
class BadReply(ClientError):
    """The answer is not what the API allows, so nothing in it counts."""

    call: str
    reason: str

    def __str__(self) -> str:
        return f"the server's answer to {self.call} makes no sense: {self.reason}"


@dataclass(kw_only=True, eq=False)
class TransferFailed(ClientError):
    """A piece failed, and every piece before *offset* is done; the cause says what happened."""

    operation: str
    offset: int

    def __str__(self) -> str:
        return f"{self.operation} at offset {self.offset} failed: {self.__cause__}"


@dataclass(kw_only=True, eq=False)
class VerificationFailed(ClientError):
    """What was read back at *offset* differs from what was transferred."""

    what: str
    offset: int

    def __str__(self) -> str:
        return f"{self.what} differs at offset {self.offset} from what was transferred"


@dataclass(kw_only=True, eq=False)
class ImagingFailed(ClientError):
    """The server gave up imaging *drive*."""

    drive: str
    reason: str

    def __str__(self) -> str:
        return f"imaging onto {self.drive} failed: {self.reason or 'the server gives no reason'}"


@dataclass(kw_only=True, eq=False)
class LocalFailed(ClientError):
    """A local file cannot be read, written or used."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(kw_only=True, eq=False)
class SettingsRefused(ClientError):
    """A profile, a variable or an option cannot be used."""

    reason: str

    def __str__(self) -> str:
        return self.reason


class NoCredentials(SettingsRefused):
    """Nothing says who is calling."""


@dataclass(kw_only=True, eq=False)
class Interrupted(ClientError):
    """Ctrl-C stopped a command that can say how to go on."""

    def __str__(self) -> str:
        return "interrupted"


_BY_STATUS: dict[int, type[ApiError]] = {
    401: NotAllowed,
    402: NoRoom,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    429: Unavailable,
    500: ServerFailed,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: NoRoom,
}

# A Retry-After longer than this says "come back tomorrow", which no waiting command should obey.
RETRY_AFTER_S_MAX = 30.0


def from_status(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Return the failure that an error reply stands for."""
    other = RequestRefused if 400 <= status < 500 else ApiError
    after = headers.get("Retry-After", "")
    text = body.decode("utf-8", "replace").strip()
    # The API answers errors with one plain sentence; a page of HTML comes from something else.
    is_sentence = 0 < len(text) <= MESSAGE_LENGTH_MAX and not text.startswith(("<", "{"))
    return _BY_STATUS.get(status, other)(
        status=status,
        word=headers.get("X-Elastic-Error", "").partition(" ")[0],
        message=text if is_sentence else "",
        request_id=headers.get("X-Request-Id", ""),
        retry_after_s=min(float(after), RETRY_AFTER_S_MAX) if after.isdecimal() else None,
    )


MESSAGE_LENGTH_MAX = 2000
