"""Failures as HTTP answers: one table, nine words, a plain sentence."""

from dataclasses import dataclass, field

from starlette.responses import Response

from drivebay import errors
from drivebay.wire import ErrorWord

STATUS: dict[type[errors.DrivebayError], tuple[int, ErrorWord]] = {
    errors.InvalidInput: (400, ErrorWord.USAGE),
    errors.ReadPastEnd: (400, ErrorWord.USAGE),
    errors.NotAuthenticated: (401, ErrorWord.AUTH),
    errors.QuotaExceeded: (402, ErrorWord.BILLING),
    errors.DriveNotFound: (404, ErrorWord.MISSING),
    errors.ClaimNotFound: (404, ErrorWord.MISSING),
    errors.ClaimEnded: (409, ErrorWord.BUSY),
    errors.DriveBusy: (409, ErrorWord.BUSY),
    errors.OutOfSpace: (507, ErrorWord.FULL),
    errors.WritePastEnd: (507, ErrorWord.FULL),
    errors.StoreFull: (507, ErrorWord.FULL),
    errors.NoStoreLeft: (507, ErrorWord.FULL),
    errors.DestinationTooSmall: (507, ErrorWord.FULL),
    errors.StorageFailed: (500, ErrorWord.FAILED),
    errors.DriveFaulted: (500, ErrorWord.FAILED),
    errors.CatalogFailed: (500, ErrorWord.SYSTEM),
    errors.SetupFailed: (500, ErrorWord.SYSTEM),
}

# Constant: nothing that a caller sent is ever part of a header (CVE-2014-3497).
CHALLENGE = 'Basic realm="drivebay", charset="UTF-8"'


@dataclass(eq=False)
class Refusal(Exception):
    """A request that HTTP itself, rather than a rule of drives, lets us refuse."""

    status: int
    word: ErrorWord
    sentence: str
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the sentence."""
        return self.sentence


def refused(status: int, sentence: str) -> Refusal:
    """Return the refusal of a request that is wrong in itself."""
    return Refusal(status, ErrorWord.USAGE, sentence)


def answer(failure: errors.DrivebayError | Refusal) -> Response:
    """Return the answer that tells the caller of *failure*."""
    if isinstance(failure, Refusal):
        status, word, headers = failure.status, failure.word, dict(failure.headers)
    else:
        (status, word), headers = STATUS[type(failure)], {}
    if status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    sentence = "; ".join([str(failure), *getattr(failure, "__notes__", [])])
    headers["X-Elastic-Error"] = word.value
    return Response(sentence + "\n", status, headers, media_type="text/plain")
