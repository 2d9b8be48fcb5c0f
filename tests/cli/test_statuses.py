"""Each exit status, reached the way a user reaches it."""

import socket
from pathlib import Path

import pytest

from cli.proxy import Proxy, Rule
from cli.runner import Cli
from drivebay.cli.statuses import STATUSES, ExitStatus
from drivebay.client.errors import ClientError

GONE = "0012e24a-6eae-4279-9912-3432f698cec8"


def _classes(kind: type) -> set[type]:
    return {kind, *(one for below in kind.__subclasses__() for one in _classes(below))}


def test_every_failure_of_the_client_has_an_exit_status():
    assert _classes(ClientError) - {ClientError} <= set(STATUSES)


def test_0_is_done(cli: Cli):
    assert cli("list").status == 0


@pytest.mark.parametrize("words", [["upload", "no-such-file"], ["profile", "add", "x"]])
def test_1_is_failed(cli: Cli, words: list[str]):
    run = cli(*words)

    assert run.status == 1
    assert run.err.startswith("drivebay: ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Usage: drivebay"),
        (["lst"], "there is no command 'lst'; did you mean 'list'?"),
        (["list", "--sise"], "No such option"),
        (["show"], "Missing argument 'DRIVE'"),
        (["create", "--name", "a"], "Missing option '--size'"),
        (["create", "--size", "1e3"], "'1e3' is not a byte count"),
        (["create", "--size", "0"], "size"),
        (["create", "--size", "1M", "--reader", "nobody"], "readers"),
        (["list", "--url", "ftp://host"], "is not a URL"),
        (["list", "--profile", "none"], "there is no profile 'none'"),
        (["user", "quota", "x"], "give --drives, --bytes or both"),
        (["serve", "--workers", "0"], "workers must be from 1 to 64"),
        (["serve", "--http", "nowhere"], "http must be HOST:PORT"),
        (["standard", "add", "web"], "'web' is not a drive's uuid"),
    ],
)
def test_2_is_wrong_usage(cli: Cli, words: list[str], sentence: str):
    run = cli(*words)

    assert run.status == 2, run
    assert sentence in run.err
    assert run.out == b""


@pytest.mark.parametrize(
    "words", [["show", GONE], ["show", "none"], ["download", "none", "x"], ["image", GONE, GONE]]
)
def test_3_is_not_found(cli: Cli, words: list[str]):
    assert cli(*words).status == 3


@pytest.mark.parametrize("token", ["{user}:wrong", None])
def test_4_is_not_authenticated(cli: Cli, token: str | None):
    value = None if token is None else token.format(user=cli.user[0])

    run = cli("list", DRIVEBAY_TOKEN=value)

    assert run.status == 4
    assert cli.user[1] not in run.err
    assert value is None or "wrong" not in run.err


def test_5_is_temporary(cli: Cli):
    with socket.socket() as taken:
        # Bound and not listening, so that nobody else answers there either.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        run = cli("list", "--url", f"http://127.0.0.1:{port}")

    assert run.status == 5
    assert f"drivebay: cannot reach http://127.0.0.1:{port}: Connection refused\n" in run.err
    assert "hint: is the service running?" in run.err


def test_6_is_a_conflict(cli: Cli):
    cli.create("web")

    run = cli("image", "web", "--cancel")

    assert run.status == 6
    assert "no imaging is underway" in run.err


def test_7_is_no_room(cli: Cli, server):
    limited = Cli(server, server.add_user("limited", size_bytes=1000), cli.folder)
    cli.create("web", "1M")

    assert limited("create", "--name", "a", "--size", "1001").status == 7
    assert cli("write", "web", "1M", stdin=b"x").status == 7
    assert cli("upload", "-", "--size", "2M", "--drive", "web", "--yes").status == 7


def test_8_is_started_and_still_running(cli: Cli):
    cli.create("web")
    cli.create("copy")

    assert cli("image", "copy", "web", "--no-wait").status == 8


def test_9_is_verification_failed(cli: Cli, proxy: Proxy):
    """The proxy changes every copy of a mark that the service sends back."""
    mark = b"0123456789abcdef"
    (cli.folder / "a.img").write_bytes(mark * 4096)
    proxy.replaced = (mark, mark[::-1])

    run = cli("upload", "a.img", "--url", proxy.url)

    assert run.status == 9
    assert "differs at offset 0 from what was transferred" in run.err
    assert "resume" not in run.err


def test_130_is_interrupted_and_shows_the_command_that_resumes(cli: Cli, proxy: Proxy, image: Path):
    proxy.rules["up"] = Rule("hold", after=3 * 1024 * 1024)

    with cli.on_terminal("upload", image.name, "--name", "web", "--url", proxy.url) as terminal:
        proxy.wait_for_hold()
        terminal.type("\x03")
        run = terminal.ended()

    assert run.status == 130
    assert "drivebay: interrupted\n" in run.text
    assert f"hint: resume with: drivebay upload {image.name} --drive " in run.text


def test_every_exit_status_has_a_test_of_its_own():
    tested = {name.split("_")[1] for name in globals() if name.startswith("test_")}

    assert {str(status.value) for status in ExitStatus} <= tested
