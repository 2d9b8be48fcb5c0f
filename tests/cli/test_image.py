"""The command image: copies on the server, waited for or not."""

import gzip
import json
import re
from pathlib import Path

import pytest

from cli.front import Front, Lie
from cli.runner import Cli
from drivebay.units import MIB


@pytest.fixture
def source(cli: Cli, image: Path) -> str:
    return cli.filled("golden", image.read_bytes())


def test_image_copies_and_waits_for_the_end(cli: Cli, source: str, image: Path):
    drive = cli.create("web", "32M")

    run = cli.ok("image", "web", "golden")

    assert (run.out, run.err) == (b"", 'imaged drive "web"\n')
    data = image.read_bytes()
    assert cli.content(drive) == data + bytes(32 * MIB - len(data))


def test_gzip_and_gunzip_go_there_and_back(cli: Cli, source: str, image: Path):
    cli.create("web.gz", "32M")
    cli.create("web", str(image.stat().st_size))

    cli.ok("image", "web.gz", "golden", "--gzip")
    cli.ok("image", "web", "web.gz", "--gunzip")

    packed = cli.content("web.gz").rstrip(b"\0")
    # The stream's own end may be zeros, too.
    assert gzip.decompress(packed + bytes(4)) == image.read_bytes()
    assert cli.content("web") == image.read_bytes()


def test_no_wait_ends_at_once_and_show_tells_how_far(cli: Cli, source: str):
    drive = cli.create("web", "32M")

    run = cli("image", "web", "golden", "--no-wait", "--json")

    assert run.status == 8
    assert run.json["drive"] == drive
    assert run.events[-1] == {"type": "outcome", "exit_status": 8, "drive": drive}
    again = cli("image", drive, "golden", "--no-wait")
    # It runs still, or it has ended and is started once more.
    assert again.status in {6, 8}


def test_json_reports_lines_and_ends_with_the_record(cli: Cli, source: str):
    drive = cli.create("web", "32M")

    run = cli.ok("image", "web", "golden", "--json")

    assert run.json["drive"] == drive
    assert "imaging" not in run.json
    assert {event["type"] for event in run.events} == {"progress", "outcome"}
    assert run.events[-1] == {"type": "outcome", "exit_status": 0, "drive": drive}


def test_a_failed_imaging_says_why(cli: Cli, source: str):
    cli.create("web", "32M")

    run = cli("image", "web", "golden", "--gunzip")
    as_json = cli("image", "web", "golden", "--gunzip", "--json")

    sentence = 'imaging onto drive "web" failed: the source does not hold a gzip stream'
    assert run.status == 1
    assert run.err == f"drivebay: {sentence}\n"
    assert as_json.events[-1]["error"] == sentence
    assert cli.ok("list").lines[-1].split("\t")[3] == "imaging failed"


def test_a_destination_that_is_too_small_is_refused(cli: Cli, source: str):
    cli.create("web", "4M")

    assert cli("image", "web", "golden").status == 7


def test_cancel_stops_what_is_under_way(cli: Cli, source: str, front: Front):
    """The front answers as if imaging were still under way."""
    drive = cli.create("web", "32M")
    front.lie = lambda call, answer: Lie(204) if "/image/cancel" in call.path else None

    run = cli.ok("image", "web", "--cancel", "--url", front.url)

    assert run.err == 'stopped imaging onto drive "web"\n'
    assert [call.path for call in front.calls if call.verb == "image"] == [
        f"/drives/{drive}/image/cancel"
    ]


def test_ctrl_c_leaves_imaging_running_and_says_how_to_stop_it(cli: Cli, source: str, front: Front):
    drive = cli.create("web", "32M")

    def lie(call, answer):
        if call.verb == "info" and drive in call.path:
            record = {**json.loads(answer.body), "imaging": "42%"}
            return Lie(200, {}, json.dumps(record).encode())
        return None

    front.lie = lie

    with cli.on_terminal("image", "web", "golden", "--url", front.url) as terminal:
        terminal.wait_for(" 42 %")
        terminal.type("\x03")
        run = terminal.ended()

    assert run.status == 130
    hint = f"hint: imaging goes on; stop it with: drivebay image {drive} --cancel"
    assert hint in run.text
    assert re.search(r"imaging  \[█+░+\]   42 %  13.4 MiB/32 MiB", run.text)


def test_a_standard_drive_is_found_by_its_name(cli: Cli, server, source: str, image: Path):
    server.run("standard", "add", source)
    other = Cli(server, server.add_user("guest"), cli.folder)
    drive = other.create("web", "32M")
    try:
        listed = other.ok("list", "--standard")

        other.ok("image", "web", "golden")
    finally:
        server.run("standard", "remove", source)

    assert f"{source}\tgolden\t{image.stat().st_size}\tactive\t" in listed.lines
    assert other.ok("read", drive, "0", "1M").out == image.read_bytes()[:MIB]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["web"], "give SOURCE, or --cancel without it"),
        (["web", "golden", "--cancel"], "give SOURCE, or --cancel without it"),
        (["web", "--cancel", "--gzip"], "--cancel goes with no other option"),
        (["web", "--cancel", "--no-wait"], "--cancel goes with no other option"),
        (["web", "web"], "itself"),
    ],
)
def test_image_refuses_what_makes_no_sense(cli: Cli, words: list[str], sentence: str):
    cli.create("web", "4M")

    run = cli("image", *words)

    assert run.status == 2
    assert sentence in run.err
