"""The command upload: what goes over the wire, and what comes of it when something is wrong."""

import gzip
import itertools
import os
import threading
from pathlib import Path

import pytest

from cli.front import Front, Lie
from cli.proxy import Proxy, Rule
from cli.runner import Cli
from drivebay.units import KIB, MIB

PIECE = 4 * MIB


def _failing(offset: int, times: int = 1_000_000):
    """Return a lie that refuses the piece at *offset* so many times."""
    left = itertools.count(times, -1)

    def lie(call, answer):
        is_it = call.verb == "write" and call.offset == offset
        return Lie(500, {"x-elastic-error": "failed"}, b"no") if is_it and next(left) > 0 else None

    return lie


def test_pieces_of_4_mib_go_out_and_those_of_zeros_stay(cli: Cli, front: Front, image: Path):
    run = cli.ok("upload", image.name, "--url", front.url)

    assert front.offsets("write") == [0, PIECE, 2 * PIECE, 5 * PIECE]
    assert front.offsets("read") == [0, PIECE, 2 * PIECE, 5 * PIECE]
    assert [call.path.split("/")[5] for call in front.made("read")][-1] == str(2 * MIB + 5)
    assert "verified; 8 MiB of zeros not sent" in run.err
    assert cli.content(run.text.strip()) == image.read_bytes()


def test_a_piece_is_packed_only_where_it_pays(cli: Cli, front: Front, image: Path):
    cli.ok("upload", image.name, "--url", front.url)

    noise, mixed, text, end = front.made("write")
    data = image.read_bytes()
    assert noise.body == data[:PIECE]
    assert end.body == data[20 * MIB :]
    assert all("content-encoding" not in call.headers for call in (noise, end))
    for call in (mixed, text):
        assert call.headers["content-encoding"] == "gzip"
        assert gzip.decompress(call.body) == data[call.offset : call.offset + PIECE]
        assert len(call.body) < 0.9 * PIECE


def test_zeros_cost_no_traffic(cli: Cli, proxy: Proxy):
    with (cli.folder / "thin.img").open("wb") as file:
        file.write(bytes(8 * MIB))
        file.truncate(512 * MIB)
        file.seek(300 * MIB)
        file.write(b"x")

    cli.ok("upload", "thin.img", "--url", proxy.url)

    assert proxy.counts["up"] < 32 * KIB
    # One piece is read back; the service packs nothing.
    assert proxy.counts["down"] < PIECE + 32 * KIB


def test_a_new_drive_takes_every_field(cli: Cli, image: Path):
    record = cli.ok(
        *("upload", image.name, "--name", "web", "--size", "64M", "--tag", "a", "--tag", "b"),
        *("--user-data", "k=v", "--reader", "all", "--claim-type", "shared", "--tier", "ssd"),
        *("--cipher", "none", "--json"),
    ).json

    assert record["name"] == "web"
    assert record["size"] == 64 * MIB
    assert record["tags"] == "a b"
    assert record["user:k"] == "v"
    assert record["readers"] == "ffffffff-ffff-ffff-ffff-ffffffffffff"
    assert record["claim:type"] == "shared"
    assert record["tier"] == "ssd"
    assert record["encryption:cipher"] == "none"
    assert record["write:requests"] == "4"


def test_the_name_of_a_new_drive_is_that_of_the_file(cli: Cli, image: Path):
    renamed = image.rename(os.fsdecode(bytes(image.parent) + b"/caf\xff\xc3\xa9.img"))

    drive = cli.ok("upload", str(renamed)).text.strip()

    assert cli.info(drive)["name"] == "caf\ufffd\u00e9.img"


def test_quiet_prints_the_uuid_alone(cli: Cli, image: Path):
    run = cli.ok("upload", image.name, "-q")

    assert run.err == ""
    assert cli.info(run.text.strip())["name"] == image.name


def test_json_reports_lines_on_stderr_and_the_outcome_last(cli: Cli, image: Path):
    run = cli.ok("upload", image.name, "--json")

    kinds = [event["type"] for event in run.events]
    assert run.json["size"] == image.stat().st_size
    assert set(kinds) == {"progress", "outcome"}
    assert run.events[-1] == {"type": "outcome", "exit_status": 0, "drive": run.json["drive"]}
    ends = [e for e in run.events if e["type"] == "progress" and e["phase"] == "uploading"]
    assert ends[-1]["done_bytes"] == ends[-1]["total_bytes"] == image.stat().st_size
    assert ends[-1]["zero_bytes"] == 8 * MIB
    quiet = cli.ok("upload", image.name, "--json", "--quiet")
    assert [event["type"] for event in quiet.events] == ["outcome"]


def test_json_reports_a_failure_as_its_last_line(cli: Cli, front: Front, image: Path):
    front.lie = _failing(2 * PIECE)

    run = cli("upload", image.name, "--retries", "0", "--json", "--url", front.url)

    assert run.status == 1
    assert run.out == b""
    outcome = run.events[-1]
    assert (outcome["type"], outcome["exit_status"]) == ("outcome", 1)
    assert outcome["error"] == f"write at offset {2 * PIECE} failed: no"
    assert "resume with: drivebay upload" in outcome["hint"]


@pytest.mark.parametrize("count", [1, 3])
def test_connections_says_how_many_pieces_are_under_way(
    cli: Cli, front: Front, image: Path, count: int
):
    """The front answers the first writes only when so many have come."""
    meeting = threading.Barrier(count, timeout=60)
    front.lie = lambda call, answer: (
        meeting.wait() and None if call.verb == "write" and len(front.calls) <= 1 + count else None
    )

    cli.ok("upload", image.name, "--connections", str(count), "--url", front.url)

    assert front.in_flight_max == count


def test_a_failed_piece_is_named_and_the_command_that_resumes_works(
    cli: Cli, front: Front, image: Path
):
    front.lie = _failing(2 * PIECE)

    run = cli("upload", image.name, "--retries", "0", "--url", front.url)

    assert run.status == 1
    assert f"drivebay: write at offset {2 * PIECE} failed: no\n" in run.err
    assert f"--offset {2 * PIECE} " in run.err
    front.lie = lambda call, answer: None
    front.calls.clear()
    resumed = cli.ok(*run.resume)
    # The drive is not known to be all zeros any more, so they are sent.
    assert front.offsets("write") == [n * PIECE for n in (2, 3, 4, 5)]
    assert cli.content(resumed.text.strip()) == image.read_bytes()
    # What the first run has sent is read back too.
    assert front.offsets("read") == [n * PIECE for n in range(6)]


def test_a_piece_that_fails_once_is_sent_again(cli: Cli, front: Front, image: Path):
    front.lie = _failing(PIECE, times=1)

    run = cli.ok("upload", image.name, "--url", front.url)

    assert front.offsets("write").count(PIECE) == 2
    assert cli.content(run.text.strip()) == image.read_bytes()


def test_connections_that_break_are_made_again(cli: Cli, proxy: Proxy, image: Path):
    proxy.rules["up"] = Rule("cut", after=3 * MIB, times=3)

    run = cli.ok("upload", image.name, "--url", proxy.url)

    assert proxy.rules["up"].times == 0
    assert cli.content(run.text.strip()) == image.read_bytes()


def test_without_retries_a_broken_connection_is_temporary(cli: Cli, proxy: Proxy, image: Path):
    proxy.rules["up"] = Rule("cut", after=3 * MIB)

    run = cli("upload", image.name, "--retries", "0", "--url", proxy.url)

    assert run.status == 5
    assert "lost the connection to" in run.err
    proxy.rules.clear()
    assert cli.content(cli.ok(*run.resume).text.strip()) == image.read_bytes()


@pytest.mark.parametrize("name", ["disk 1.img", "-n", "it's\n\x1b[31m.img", "\u202eimg.exe"])
def test_the_command_that_resumes_works_in_a_shell_whatever_the_file_is_called(
    cli: Cli, proxy: Proxy, image: Path, bash, name: str
):
    image.rename(cli.folder / name)
    proxy.rules["up"] = Rule("hold", after=3 * MIB)

    with cli.on_terminal("upload", "--url", proxy.url, "--", name) as terminal:
        proxy.wait_for_hold()
        terminal.type("\x03")
        run = terminal.ended()
    # A line is as long as the terminal's user has made it; this is what would be copied.
    (line,) = (line for line in run.text.splitlines() if "resume with: " in line)
    command = line.partition("resume with: ")[2].replace(proxy.url, cli.server.url)
    resumed = bash(command)

    assert run.status == 130
    assert line.isprintable()
    assert resumed.returncode == 0, resumed
    assert cli.content(resumed.stdout.strip()) == (cli.folder / name).read_bytes()


def test_verification_catches_a_service_that_stores_something_else(
    cli: Cli, front: Front, image: Path
):
    front.twist = lambda call: (
        call.body[:-1] + b"?" if call.verb == "write" and call.offset == 0 else call.body
    )

    run = cli("upload", image.name, "--url", front.url)
    trusting = cli("upload", image.name, "--no-verify", "--url", front.url)

    assert run.status == 9
    assert "differs at offset 0 from what was transferred" in run.err
    assert "resume" not in run.err
    assert trusting.status == 0
    assert "verified" not in trusting.err


def test_a_resumed_upload_verifies_what_an_earlier_run_has_left(cli: Cli, image: Path):
    drive = cli.ok("upload", image.name).text.strip()
    cli.ok("write", drive, "100", stdin=b"damage")

    run = cli("upload", image.name, "--drive", drive, "--offset", "8M", "--yes")

    assert run.status == 9
    assert "differs at offset 0 " in run.err


def test_a_file_that_changes_meanwhile_is_told(cli: Cli, front: Front, image: Path):
    def lie(call, answer):
        if call.verb == "write" and call.offset == 0:
            with image.open("ab") as file:
                file.write(b"more")

    front.lie = lie

    run = cli.ok("upload", image.name, "--url", front.url)
    as_json = cli.ok("upload", image.name, "--url", front.url, "--json")

    warning = f"{image.name} was written to while it was uploaded; the drive may be torn"
    assert f"drivebay: warning: {warning}\n" in run.err
    assert {"type": "warning", "message": warning} in as_json.events


def test_a_file_that_becomes_shorter_fails(cli: Cli, front: Front, image: Path):
    def lie(call, answer):
        if call.verb == "write" and call.offset == 0:
            os.truncate(image, 5 * MIB)

    front.lie = lie

    run = cli("upload", image.name, "--connections", "1", "--url", front.url)

    assert run.status == 1
    assert f"{image.name} became shorter while it was read" in run.err
    assert f"at offset {PIECE} failed" in run.err


def test_a_pipe_of_the_announced_length_is_uploaded(cli: Cli, image: Path):
    data = image.read_bytes()

    drive = cli.ok("upload", "-", "--size", str(len(data)), stdin=data).text.strip()

    assert cli.info(drive)["name"] == "stdin"
    assert cli.content(drive) == data


@pytest.mark.parametrize(
    ("length", "sentence"),
    [
        (5 * MIB, f"stdin ended after {5 * MIB} of the {9 * MIB} bytes announced"),
        (9 * MIB + 1, f"stdin has more than the {9 * MIB} bytes announced"),
    ],
)
def test_a_pipe_that_is_shorter_or_longer_fails(cli: Cli, length: int, sentence: str):
    run = cli("upload", "-", "--size", "9M", stdin=b"x" * length)

    assert run.status == 1
    assert f"drivebay: {sentence}\n" in run.err
    assert run.out == b""


def test_a_pipe_resumes_when_it_is_piped_again(cli: Cli, front: Front, image: Path):
    data = image.read_bytes()
    front.lie = _failing(2 * PIECE)
    words = ("upload", "-", "--size", str(len(data)), "--retries", "0", "--url", front.url)

    run = cli(*words, stdin=data)
    front.lie = lambda call, answer: None
    resumed = cli.ok(*run.resume, stdin=data)

    assert run.status == 1
    assert cli.content(resumed.text.strip()) == data


def test_a_file_on_stdin_needs_no_size(cli: Cli, image: Path):
    drive = cli.ok("upload", "-", "--name", "web", stdin=image).text.strip()

    assert cli.content(drive) == image.read_bytes()


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["-"], 1, "the length of stdin cannot be known beforehand"),
        (["empty"], 2, "empty is empty, and a drive cannot be"),
        (["."], 1, ". is a folder"),
        (["none"], 1, "cannot read none: No such file or directory"),
        (["small", "--size", "2"], 2, "--size is less than the 5 bytes of small"),
        (["small", "--offset", "1"], 2, "--offset needs --drive"),
        (["small", "--drive", "x", "--name", "y"], 2, "--drive takes a drive as it is"),
        (["small", "--drive", "x", "--tag", "y"], 2, "--drive takes a drive as it is"),
        (["small", "--drive", "none"], 3, 'no drive is named "none"'),
        (["small", "--connections", "17"], 2, "17 is not in the range 1<=x<=16"),
        (["small", "--retries", "-1"], 2, "-1 is not in the range 0<=x<=100"),
    ],
)
def test_what_cannot_be_uploaded_is_said_before_anything_is_made(
    cli: Cli, words: list[str], status: int, sentence: str
):
    (cli.folder / "empty").touch()
    (cli.folder / "small").write_bytes(b"small")

    run = cli("upload", *words, stdin=b"x")

    assert (run.status, run.out) == (status, b"")
    assert sentence in run.err
    assert cli.ok("list").lines == []


def test_a_drive_is_overwritten_with_zeros_too(cli: Cli, image: Path):
    drive = cli.create("web", "32M")
    cli.ok("write", drive, "0", stdin=b"\xff" * (32 * MIB))
    data = image.read_bytes()

    refused = cli("upload", image.name, "--drive", "web")
    run = cli.ok("upload", image.name, "--drive", "web", "--yes")

    assert refused.status == 2
    assert f'not without a yes: overwrite drive "web" ({drive})' in refused.err
    assert run.text.strip() == drive
    assert cli.content(drive) == data + b"\xff" * (32 * MIB - len(data))


def test_overwriting_asks_for_the_name_on_a_terminal(cli: Cli, image: Path):
    cli.create("web", "32M")

    kept = cli.terminal("upload", image.name, "--drive", "web", answers=[("to go on: ", "no\n")])
    done = cli.terminal("upload", image.name, "--drive", "web", answers=[("to go on: ", "web\n")])

    assert (kept.status, done.status) == (1, 0)
    assert "not confirmed; nothing was changed" in kept.text


def test_a_drive_that_is_too_small_is_refused_with_the_command_that_helps(cli: Cli, image: Path):
    drive = cli.create("web", "4M")

    run = cli("upload", image.name, "--drive", "web", "--yes")

    assert run.status == 7
    assert f"hint: drivebay set {drive} --size {image.stat().st_size}\n" in run.err
    assert cli.info(drive)["write:requests"] == "0"
