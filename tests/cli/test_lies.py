"""Services that answer what the API does not allow: nothing of it counts, and nothing hangs."""

import gzip
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterable

import pytest

from cli.front import Front, Lie
from cli.runner import Cli
from drivebay.units import MIB

BYTES = {"content-type": "application/octet-stream"}
RECORD = {"drive": "0012e24a-6eae-4279-9912-3432f698cec8", "name": "web", "size": 1048576}


def _endless() -> Iterable[bytes]:
    return itertools.repeat(bytes(65536))


def _about(verb: str, lie: Lie) -> Callable:
    return lambda call, answer: lie if call.verb == verb else None


@pytest.fixture
def drive(cli: Cli) -> str:
    return cli.create("web", "1M")


READS = {
    "fewer bytes": (Lie(200, BYTES, b"x" * (MIB - 1)), f"{MIB - 1} bytes instead of {MIB}"),
    "more bytes": (Lie(200, BYTES, b"x" * (MIB + 1)), f"its body is longer than {MIB} bytes"),
    "no bytes": (Lie(200, BYTES, b""), f"0 bytes instead of {MIB}"),
    "no end": (Lie(200, BYTES, _endless()), f"its body is longer than {MIB} bytes"),
    "204": (Lie(204), "status 204 instead of 200"),
    "206": (Lie(206, BYTES, b"x" * MIB), "status 206 instead of 200"),
    "gzip": (
        Lie(200, {**BYTES, "content-encoding": "gzip"}, gzip.compress(bytes(MIB))),
        "its body is packed with 'gzip', which was not asked",
    ),
    "a redirect": (
        Lie(302, {"location": "http://127.0.0.1:1/\x1b[31m"}),
        "status 302 instead of 200\nhint: the server points to http://127.0.0.1:1/[31m",
    ),
}


@pytest.mark.parametrize("name", READS)
def test_a_download_takes_exactly_the_bytes_that_it_asked_for(
    cli: Cli, drive: str, front: Front, name: str
):
    lie, sentence = READS[name]
    front.lie = _about("read", lie)

    run = cli("download", "web", "a.img", "--url", front.url)

    assert run.status == 1
    assert f"read at offset 0 failed: the server's answer to GET /drives/{drive}/read" in run.err
    assert sentence in run.err
    assert not (cli.folder / "a.img").exists()
    assert (cli.folder / "a.img.part").exists()


def test_an_answer_that_ends_too_early_is_no_answer(cli: Cli, drive: str, front: Front):
    front.lie = _about("read", Lie(200, {**BYTES, "content-length": str(MIB)}, [b"x" * 1000]))

    run = cli("download", "web", "a.img", "--retries", "0", "--url", front.url)

    assert run.status == 5
    assert "lost the connection" in run.err
    assert f"its answer ended {MIB - 1000} bytes too early" in run.err
    assert not (cli.folder / "a.img").exists()


@pytest.mark.parametrize("lie", [Lie(200), Lie(202), Lie(302, {"location": "/"})])
def test_a_write_that_is_not_answered_204_is_not_written(
    cli: Cli, drive: str, front: Front, lie: Lie
):
    front.lie = _about("write", lie)

    upload = cli("upload", "-", "--size", "3", "--url", front.url, stdin=b"abc")
    write = cli("write", "web", "0", "--url", front.url, stdin=b"abc")

    assert (upload.status, write.status) == (1, 1)
    for run in (upload, write):
        assert "write at offset 0 failed" in run.err
        assert f"status {lie.status} instead of 204" in run.err


@pytest.mark.parametrize(
    ("lie", "sentence"),
    [
        (Lie(200), "status 200 instead of 204"),
        (Lie(301, {"location": "https://elsewhere.example"}), "status 301 instead of 204"),
        (Lie(500, {}, b"<html>\x1b[31m" * 1000), "the server answered with status 500"),
        (Lie(599), "the server answered with status 599"),
        (Lie(418, {}, b"short\x1b[31m and stout\n"), "drivebay: short[31m and stout\n"),
    ],
)
def test_a_destroy_that_is_not_answered_204_is_not_done(
    cli: Cli, drive: str, front: Front, lie: Lie, sentence: str
):
    front.lie = _about("destroy", lie)

    run = cli("destroy", "web", "--yes", "--json", "--url", front.url)

    assert run.status in {1, 2}
    assert run.out == b""
    assert sentence in run.err
    assert "\x1b" not in run.err


LISTINGS = {
    "no JSON": b"<html>",
    "cut JSON": b'[{"drive": "',
    "deep JSON": b"[" * 100_000,
    "another shape": b'{"a": {"b": 1}}',
    "a record without a uuid": b'[{"name": "web", "size": 1}]',
    "a uuid that is none": json.dumps([{**RECORD, "drive": "../../x"}]).encode(),
    "a record without a size": b'[{"drive": "0012e24a-6eae-4279-9912-3432f698cec8"}]',
    "a size below zero": json.dumps([{**RECORD, "size": -1}]).encode(),
    "a size past all drives": json.dumps([{**RECORD, "size": 2**63}]).encode(),
    "a size of words": json.dumps([{**RECORD, "size": "big"}]).encode(),
    "not UTF-8": b'[{"name": "\xff"}]',
}


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_that_makes_no_sense_is_refused(cli: Cli, front: Front, name: str):
    front.lie = lambda call, answer: Lie(200, {}, LISTINGS[name])

    run = cli("list", "--url", front.url)

    assert (run.status, run.out) == (1, b"")
    assert "drivebay: the server's answer to GET /drives/info/full makes no sense: " in run.err


def test_a_progress_that_makes_no_sense_is_waited_out(cli: Cli, front: Front):
    answers = iter(["%", "-5%", "9" * 5000 + "%", "\u0663%", "1000%"])

    def lie(call, answer):
        if call.path.endswith("/info/full") and call.verb == "info":
            imaging = next(answers, "")
            extra = {"imaging": imaging} if imaging else {}
            return Lie(200, {}, json.dumps({**RECORD, **extra}).encode())
        return Lie(204) if call.verb == "image" else None

    front.lie = lie

    run = cli("image", RECORD["drive"], RECORD["drive"], "--url", front.url)

    assert run.status == 0, run


def test_a_redirect_is_not_followed_and_gets_no_credentials(cli: Cli, front: Front):
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"http://127.0.0.1:{other.getsockname()[1]}/"
        front.lie = lambda call, answer: Lie(307, {"location": place})

        runs = [
            cli("list", "--url", front.url),
            cli("create", "--size", "1M", "--url", front.url),
            cli("read", RECORD["drive"], "0", "1", "--url", front.url),
        ]
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()

    assert [run.status for run in runs] == [1, 1, 1]
    assert all(f"hint: the server points to {place}" in run.err for run in runs)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2p1\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_service_is_said_to_give_no_answer(cli: Cli, answer: bytes):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            for _ in range(1 + 2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        port = listener.getsockname()[1]

        run = cli("list", "--url", f"http://127.0.0.1:{port}")

    assert run.status == 5
    assert f"drivebay: lost the connection to http://127.0.0.1:{port}: " in run.err
    assert "Traceback" not in run.err


def test_a_call_that_may_have_acted_is_not_repeated(cli: Cli, front: Front):
    """The connection breaks behind the create, so nobody knows whether it came about."""
    front.lie = _about("create", Lie(200, {"content-length": "1000"}, [b"{"]))

    run = cli("create", "--size", "1M", "--url", front.url)

    assert run.status == 5
    assert [call.verb for call in front.calls] == ["create"]
