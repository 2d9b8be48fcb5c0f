"""Failures as answers: every one has its status, its word and its sentence."""

from uuid import UUID

import pytest

from drivebay import errors
from drivebay.errors import DrivebayError
from drivebay.http.errors import CHALLENGE, STATUS, Refusal, answer, refused
from drivebay.wire import ErrorWord

DRIVE = UUID("0012e24a-6eae-4279-9912-3432f698cec8")

# Which words may stand with which statuses (docs/http-api.md).
WORDS = {
    400: {"usage"},
    401: {"auth"},
    402: {"billing"},
    404: {"missing"},
    409: {"busy"},
    500: {"failed", "system"},
    507: {"full"},
}


def subclasses(kind: type) -> set[type]:
    return {kind, *(one for below in kind.__subclasses__() for one in subclasses(below))}


def test_every_failure_has_a_status():
    assert set(STATUS) == subclasses(DrivebayError) - {DrivebayError}


def test_statuses_and_words_go_together():
    for kind, (status, word) in STATUS.items():
        assert word in WORDS[status], kind


def test_what_is_a_kind_of_another_has_its_status():
    for kind, entry in STATUS.items():
        for base in kind.__mro__[1:]:
            if base in STATUS:
                assert STATUS[base] == entry, kind


def test_an_answer_is_a_sentence_with_its_word():
    response = answer(errors.DriveBusy(drive=DRIVE, reason="it is being imaged"))

    assert response.status_code == 409
    assert response.headers["x-elastic-error"] == "busy"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.body == f"drive {DRIVE} is busy: it is being imaged\n".encode()
    assert "www-authenticate" not in response.headers


def test_notes_follow_the_sentence_and_causes_stay_inside():
    failure = errors.StorageFailed(operation="write", offset=5)
    failure.add_note("4194304 bytes from offset 0 are in place")
    failure.__cause__ = OSError(5, "secret", "/secret/path")

    body = bytes(answer(failure).body).decode()

    assert body == (
        "the store failed to write at offset 5; 4194304 bytes from offset 0 are in place\n"
    )


def test_who_is_not_known_is_told_how_to_say_who_he_is():
    response = answer(errors.NotAuthenticated())

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == CHALLENGE


def test_a_refusal_keeps_its_headers_and_changes_none_of_its_own():
    refusal = Refusal(405, ErrorWord.METHOD, "no", {"Allow": "GET, POST"})

    response = answer(refusal)

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"
    assert response.headers["x-elastic-error"] == "method"
    assert response.body == b"no\n"
    assert refusal.headers == {"Allow": "GET, POST"}
    assert str(refused(417, "odd")) == "odd"


@pytest.mark.parametrize("text", ["a\r\nSet-Cookie: x", "größe 鍵", '"quoted"'])
def test_nothing_of_a_request_gets_into_a_header(text):
    response = answer(errors.InvalidInput(reason=text))

    assert set(response.headers) == {"content-length", "content-type", "x-elastic-error"}
    assert response.body == f"{text}\n".encode()
