"""The command api: any call, as it is."""

import pytest

from cli.front import Front, Lie
from cli.runner import Cli
from drivebay.units import MIB


def test_api_prints_the_body_as_it_came(cli: Cli):
    drive = cli.create("web")

    assert cli.ok("api", "GET", "/drives/list").text == f"{drive}\n"
    assert cli.ok("api", "get", "drives/list", "--json").json == [{"drive": drive, "uuid": drive}]
    assert f"drive {drive}\n" in cli.ok("api", "POST", f"/drives/{drive}/info").text


def test_fields_are_sent_as_lines(cli: Cli):
    fields = ("name=two words", "size=1M", "user:note=first\nsecond")

    record = cli.ok("api", "POST", "/drives/create", *fields, "--json").json

    assert record["name"] == "two words"
    assert record["user:note"] == "first\nsecond"


def test_input_is_sent_as_it_is(cli: Cli):
    drive = cli.create("web", "2M")
    body = bytes(range(256)) * 4096

    cli.ok("api", "POST", f"/drives/{drive}/write/1M", "--input", "-", stdin=body)
    got = cli.ok("api", "GET", f"/drives/{drive}/read/1M/1M")

    assert len(body) == MIB
    assert got.out == body


def test_include_shows_status_and_headers_first(cli: Cli):
    cli.create("web")

    run = cli.ok("api", "GET", "/drives/list", "--include")

    head, _, body = run.text.partition("\n\n")
    assert head.startswith("HTTP 200\n")
    assert "x-elastic-output: list" in head.lower()
    assert len(body) == 37


def test_an_answer_without_credentials_needs_some_all_the_same(cli: Cli):
    assert cli.ok("api", "GET", "/openapi.json").json["openapi"].startswith("3.")
    assert cli("api", "GET", "/openapi.json", DRIVEBAY_TOKEN=None).status == 4


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["GET", "/nothing"], 3, "drivebay: "),
        (["DELETE", "/drives/list"], 2, "this call takes GET, HEAD, POST"),
        (["POST", "/drives/create", "size"], 2, "'size' is not KEY=VALUE"),
        (["POST", "/drives/create", "=1"], 2, "'=1' is not KEY=VALUE"),
        (["POST", "/drives/create", "a=1", "--input", "-"], 2, "pairs or --input, not both"),
        (["G ET", "/drives/list"], 2, "METHOD is one word such as GET"),
        (["GET", "/drives/list\r\nX: y"], 2, "METHOD is one word such as GET"),
        (["GET", "/drives/list HTTP/1.1"], 2, "METHOD is one word such as GET"),
        (["POST", "/drives/create", "--input", "none"], 1, "cannot read none"),
    ],
)
def test_what_cannot_be_called_is_said(cli: Cli, words: list[str], status: int, sentence: str):
    run = cli("api", *words)

    assert (run.status, run.out) == (status, b"")
    assert sentence in run.err


def test_a_terminal_gets_text_that_is_safe_and_no_drive_bytes(cli: Cli, front: Front):
    drive = cli.create("web")
    hostile = Lie(200, {"x-a": "1\x1b[2J"}, "name b\x1b[31m\u202ec\n".encode())
    front.lie = lambda call, answer: hostile if call.verb == "info" else None

    text = cli.terminal("api", "GET", "/drives/info", "-i", "--url", front.url)
    data = cli.terminal("api", "GET", f"/drives/{drive}/read/0/1")

    assert "x-a: 1[2J\n" in text.text
    assert text.text.endswith("\nname b[31mc\n")
    assert data.status == 2
    assert "a drive's bytes are not for a terminal" in data.text
