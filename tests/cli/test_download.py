"""The command download: whole files or `.part`, and nothing in between."""

import fcntl
import itertools
import shlex
import subprocess
from pathlib import Path

import pytest

from cli.front import Front, Lie
from cli.proxy import Proxy, Rule
from cli.runner import Cli
from drivebay.units import MIB

PIECE = 4 * MIB


@pytest.fixture(scope="module")
def namespace() -> list[str]:
    """The words that run a command where it may mount what nobody else sees."""
    for words in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    pytest.skip("mounting is not allowed here")


@pytest.fixture
def drive(cli: Cli, image: Path) -> str:
    """A drive with the content of *image*."""
    return cli.filled("web", image.read_bytes())


def _refused_at(offset: int):
    def lie(call, answer):
        is_it = call.verb == "read" and call.offset == offset
        return Lie(500, {"x-elastic-error": "failed"}, b"no") if is_it else None

    return lie


def _interrupted(cli: Cli, front: Front) -> None:
    """Leave a partial download without the piece at 8 MiB."""
    front.lie = _refused_at(2 * PIECE)
    words = ("--connections", "1", "--retries", "0", "--url", front.url)
    assert cli("download", "web", "a.img", *words).status == 1
    front.lie = lambda call, answer: None
    front.calls.clear()


def _leftovers(cli: Cli) -> list[str]:
    return sorted(path.name for path in cli.folder.glob("a.img*"))


def test_a_download_is_the_same_and_as_sparse(cli: Cli, drive: str, image: Path, front: Front):
    run = cli.ok("download", "web", "a.img", "--url", front.url)

    copy = cli.folder / "a.img"
    assert copy.read_bytes() == image.read_bytes()
    assert copy.stat().st_blocks * 512 <= 10 * MIB
    assert _leftovers(cli) == ["a.img"]
    assert front.offsets("read") == [n * PIECE for n in range(6)]
    assert run.out == b""
    assert run.err.startswith("downloaded 22 MiB in ")
    assert run.err.endswith(', verified: drive "web"\n')


def test_a_download_into_a_pipe_is_the_drive_and_nothing_else(cli: Cli, drive: str, image: Path):
    run = cli.ok("download", drive, "-")

    assert run.out == image.read_bytes()
    assert "downloaded 22 MiB" in run.err
    assert "verified" not in run.err


def test_json_is_one_document_and_lines_on_stderr(cli: Cli, drive: str):
    run = cli.ok("download", "web", "a.img", "--json")
    shared = cli("download", "web", "-", "--json")

    assert run.json["drive"] == drive
    phases = {event["phase"] for event in run.events if event["type"] == "progress"}
    assert phases == {"downloading"}
    assert run.events[-1] == {"type": "outcome", "exit_status": 0, "drive": drive}
    assert shared.status == 2
    assert shared.out == b""


def test_a_failed_piece_is_named_and_the_same_command_goes_on(
    cli: Cli, drive: str, image: Path, front: Front
):
    front.lie = _refused_at(2 * PIECE)

    run = cli("download", "web", "a.img", "--retries", "0", "--url", front.url)
    left = _leftovers(cli)
    front.lie = lambda call, answer: None
    front.calls.clear()
    resumed = cli.ok(*run.resume)

    assert run.status == 1
    assert f"drivebay: read at offset {2 * PIECE} failed: no\n" in run.err
    assert left == ["a.img.part", "a.img.part.pieces"]
    assert resumed.status == 0
    assert 2 * PIECE in front.offsets("read")
    assert 0 not in front.offsets("read")
    assert (cli.folder / "a.img").read_bytes() == image.read_bytes()
    assert _leftovers(cli) == ["a.img"]


def test_what_is_damaged_in_a_partial_file_is_fetched_again(
    cli: Cli, drive: str, image: Path, front: Front
):
    _interrupted(cli, front)
    with (cli.folder / "a.img.part").open("r+b") as part:
        part.seek(PIECE + 17)
        part.write(b"damage")

    cli.ok("download", "web", "a.img", "--url", front.url)

    assert PIECE in front.offsets("read")
    assert 0 not in front.offsets("read")
    assert (cli.folder / "a.img").read_bytes() == image.read_bytes()


@pytest.mark.parametrize("record", [b"", b"\xff\x00garbage\n1 2\n", b"{}\n0 4194304 1\n"])
def test_a_record_that_says_nothing_starts_the_download_anew(
    cli: Cli, drive: str, image: Path, front: Front, record: bytes
):
    (cli.folder / "a.img.part").write_bytes(b"\xff" * (30 * MIB))
    (cli.folder / "a.img.part.pieces").write_bytes(record)

    cli.ok("download", "web", "a.img", "--url", front.url)

    assert len(front.offsets("read")) == 6
    assert (cli.folder / "a.img").read_bytes() == image.read_bytes()


def test_a_drive_that_was_changed_in_between_is_downloaded_anew(
    cli: Cli, drive: str, image: Path, front: Front
):
    _interrupted(cli, front)
    cli.ok("write", "web", "0", stdin=b"changed")

    cli.ok("download", "web", "a.img", "--url", front.url)

    assert len(front.offsets("read")) == 6
    assert (cli.folder / "a.img").read_bytes() == b"changed" + image.read_bytes()[7:]


def test_a_drive_that_is_written_meanwhile_is_told(cli: Cli, drive: str, front: Front):
    first = itertools.count()

    def lie(call, answer):
        if call.verb == "read" and next(first) == 0:
            path = f"/drives/{drive}/write/0"
            assert cli.server.api("POST", path, b"new", user=cli.user).status == 204

    front.lie = lie

    run = cli.ok("download", "web", "a.img", "--url", front.url)

    assert 'warning: drive "web" was written to while it was downloaded' in run.err


def test_ctrl_c_keeps_what_is_there_and_prints_the_command_that_works(
    cli: Cli, drive: str, image: Path, proxy: Proxy
):
    proxy.rules["down"] = Rule("hold", after=9 * MIB)

    with cli.on_terminal("download", "web", "a.img", "--url", proxy.url) as terminal:
        proxy.wait_for_hold()
        terminal.type("\x03")
        run = terminal.ended()
    left = _leftovers(cli)
    words = [cli.server.url if word == proxy.url else word for word in run.resume]
    cli.ok(*words)

    assert run.status == 130
    assert left == ["a.img.part", "a.img.part.pieces"]
    assert (cli.folder / "a.img").read_bytes() == image.read_bytes()


def test_a_connection_that_breaks_in_the_middle_is_made_again(
    cli: Cli, drive: str, image: Path, proxy: Proxy
):
    proxy.rules["down"] = Rule("cut", after=6 * MIB, times=2)

    cli.ok("download", "web", "a.img", "--url", proxy.url)

    assert proxy.rules["down"].times == 0
    assert (cli.folder / "a.img").read_bytes() == image.read_bytes()


def test_verification_reads_the_file_back(cli: Cli, drive: str, image: Path, front: Front):
    """The front damages the file on disk before the last piece arrives."""

    def lie(call, answer):
        if call.verb == "read" and call.offset == 5 * PIECE:
            with (cli.folder / "a.img.part").open("r+b") as part:
                part.write(b"rot")

    front.lie = lie
    words = ("download", "web", "a.img", "--connections", "1", "--url", front.url)

    run = cli(*words)
    left = _leftovers(cli)
    front.calls.clear()
    front.lie = lambda call, answer: None
    cli.ok(*words)

    assert run.status == 9
    assert "a.img.part differs at offset 0 from what was transferred" in run.err
    assert left == ["a.img.part", "a.img.part.pieces"]
    assert front.offsets("read") == [0]
    assert (cli.folder / "a.img").read_bytes() == image.read_bytes()


def test_no_verify_leaves_that_out(cli: Cli, drive: str):
    run = cli.ok("download", "web", "a.img", "--no-verify", "--connections", "16")

    assert "verified" not in run.err


def test_two_downloads_into_one_file_exclude_each_other(cli: Cli, drive: str):
    with (cli.folder / "a.img.part").open("wb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)

        run = cli("download", "web", "a.img")

    assert run.status == 1
    assert "another download is writing a.img.part" in run.err


def test_a_link_in_place_of_the_partial_file_is_not_followed(cli: Cli, drive: str):
    precious = cli.folder / "precious"
    precious.write_bytes(b"mine")
    (cli.folder / "a.img.part").symlink_to(precious)

    run = cli("download", "web", "a.img")

    assert run.status == 1
    assert "cannot open a.img.part" in run.err
    assert precious.read_bytes() == b"mine"


def test_a_file_that_is_there_is_replaced_with_a_yes_alone(cli: Cli, image: Path, drive: str):
    target = cli.folder / "a.img"
    target.write_bytes(b"mine")

    refused = cli("download", "web", "a.img")
    kept = target.read_bytes()
    cli.ok("download", "web", "a.img", "-y")

    assert refused.status == 2
    assert "hint: repeat the command with --yes" in refused.err
    assert kept == b"mine"
    assert target.read_bytes() == image.read_bytes()


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (".", ". is a folder: name the file in it"),
        ("/dev/null", "hint: drivebay download web - | dd of=/dev/null bs=4M"),
    ],
)
def test_folders_and_devices_are_no_targets(cli: Cli, target: str, sentence: str):
    run = cli("download", "web", target, "--yes")

    assert run.status == 2
    assert sentence in run.err
    assert Path("/dev/null").is_char_device()


def test_a_folder_that_is_not_there_is_named(cli: Cli, drive: str):
    run = cli("download", "web", "none/a.img")

    assert run.status == 1
    assert "cannot open none/a.img.part: No such file or directory" in run.err


def test_a_disk_that_fills_up_keeps_what_is_there(cli: Cli, drive: str, bash, namespace):
    script = """
        mkdir small && mount -t tmpfs -o size=8M none small
        drivebay download web small/a.img --connections 1 > /dev/null; echo $?
        ls small
        mount -o remount,size=64M small
        drivebay download web small/a.img && cmp small/a.img disk.img && ls small
    """

    run = bash(shlex.join([*namespace, "bash", "-c", script]))

    assert "cannot write small/a.img.part: No space left on device" in run.stderr
    assert "hint: resume with: drivebay download" in run.stderr
    assert run.stdout.split() == ["1", "a.img.part", "a.img.part.pieces", "a.img"]


def test_a_file_that_may_not_be_as_long_fails_at_once(cli: Cli, drive: str, bash, front: Front):
    run = bash(f"ulimit -f 1024; drivebay download web a.img --url {front.url}")

    assert run.returncode == 1
    assert "cannot write a.img.part: File too large" in run.stderr
    assert [call.verb for call in front.calls if call.verb == "read"] == []


def test_a_full_disk_behind_a_pipe_fails(cli: Cli, drive: str, bash):
    run = bash("drivebay download web - > /dev/full")

    assert run.returncode == 1
    assert "cannot write the output: No space left on device" in run.stderr


def test_a_reader_that_leaves_early_ends_the_download_quietly(cli: Cli, drive: str, bash):
    run = bash("drivebay download web - -q | head -c 3 > first; echo ${PIPESTATUS[*]}")

    assert run.stdout == "1 0\n"
    assert run.stderr == ""
