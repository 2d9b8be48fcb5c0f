"""The commands read and write: ranges of a drive."""

import os
from pathlib import Path

import pytest

from cli.front import Front, Lie
from cli.runner import Cli
from drivebay.units import KIB, MIB

PIECE = 4 * MIB


def test_what_is_written_is_read_and_the_rest_stays(cli: Cli):
    drive = cli.create("web", "1M")

    run = cli.ok("write", "web", "4k", stdin=b"hello")

    assert (run.out, run.err) == (b"", "wrote 5 bytes at 4096\n")
    assert cli.ok("read", drive, "4095", "7").out == b"\0hello\0"


def test_a_long_write_goes_out_in_pieces_packed_where_it_pays(cli: Cli, front: Front):
    cli.create("web", "16M")
    data = os.urandom(3 * MIB) + b"text" * (2 * MIB)
    (cli.folder / "body").write_bytes(data)

    cli.ok("write", "web", "1M", "body", "--url", front.url)

    assert front.offsets("write") == [MIB, PIECE, 2 * PIECE]
    assert ["content-encoding" in call.headers for call in front.made("write")] == [
        False,
        True,
        True,
    ]
    assert cli.ok("read", "web", "1M", str(len(data))).out == data


def test_a_write_from_a_slow_pipe_fills_its_pieces(cli: Cli, bash, front: Front):
    cli.create("web", "16M")

    run = bash(
        "for n in 1 2 3 4 5 6 7 8; do head -c 1M /dev/zero | tr '\\0' $n; done"
        f" | drivebay write web 0 --url {front.url}"
    )

    assert run.returncode == 0, run
    assert front.offsets("write") == [0, PIECE]
    assert cli.ok("read", "web", "7M", "1").out == b"8"


def test_read_into_a_file_says_so_on_stderr(cli: Cli):
    cli.create("web", "16M")
    cli.ok("write", "web", "9M", stdin=b"end")

    run = cli.ok("read", "web", "0", "10M", "-o", "part")

    assert run.out == b""
    assert run.err == f"read {10 * MIB} bytes into part\n"
    assert (cli.folder / "part").read_bytes() == bytes(9 * MIB) + b"end" + bytes(MIB - 3)
    assert not (cli.folder / "part.part").exists()


def test_both_speak_json(cli: Cli):
    drive = cli.create("web")

    written = cli.ok("write", "web", "7", "--json", stdin=b"abc")
    got = cli.ok("read", "web", "7", "3", "--output", "part", "--json")

    assert written.json == got.json == {"drive": drive, "offset": 7, "length": 3}
    assert cli("read", "web", "7", "3", "--json").status == 2


def test_quiet_says_nothing(cli: Cli):
    cli.create("web")

    assert cli.ok("write", "web", "0", "-q", stdin=b"abc").err == ""
    assert cli.ok("read", "web", "0", "3", "-q", "-o", "part").err == ""


@pytest.mark.parametrize(
    "words",
    [
        ["0", "1048577"],
        ["2M", "1"],
        ["x", "1"],
        ["0", "-1"],
        ["0", "1e3"],
        ["0"],
    ],
)
def test_a_range_that_is_none_or_past_the_end_is_refused(cli: Cli, words: list[str]):
    cli.create("web", "1M")

    run = cli("read", "web", *words)

    assert (run.status, run.out) == (2, b"")


def test_a_failed_read_names_its_offset_and_keeps_the_name_free(cli: Cli, front: Front):
    cli.create("web", "16M")
    front.lie = lambda call, answer: (
        Lie(404, {}, b"gone") if call.verb == "read" and call.offset == PIECE else None
    )

    run = cli("read", "web", "0", "16M", "-o", "part", "--url", front.url)
    piped = cli("read", "web", "0", "16M", "--url", front.url)

    assert (run.status, piped.status) == (3, 3)
    assert f"read at offset {PIECE} failed: gone" in run.err
    assert not (cli.folder / "part").exists()
    assert len(piped.out) == PIECE


def test_a_failed_write_says_how_much_is_in_place(cli: Cli):
    cli.create("web", "6M")

    run = cli("write", "web", "0", stdin=b"x" * (9 * MIB))

    assert run.status == 7
    assert f"write at offset {PIECE} failed" in run.err
    assert f"the first {PIECE} bytes are in place" in run.err
    assert cli.ok("read", "web", "0", "6M").out == b"x" * PIECE + bytes(2 * MIB)


def test_ctrl_c_in_a_write_says_how_much_is_in_place(cli: Cli, front: Front):
    cli.create("web", "16M")
    (cli.folder / "body").write_bytes(bytes(9 * MIB))

    with cli.on_terminal("write", "web", "0", "body", "--url", front.url) as terminal:

        def lie(call, answer):
            if call.verb == "write" and call.offset == PIECE:
                terminal.type("\x03")
                terminal.process.wait(60)

        front.lie = lie
        run = terminal.ended()

    assert run.status == 130
    assert f"hint: the first {PIECE} bytes are in place" in run.text


@pytest.mark.parametrize("command", [["read", "web", "0", "5", "-o"], ["download", "web", "-y"]])
def test_a_device_is_not_replaced_by_a_file(cli: Cli, command: list[str]):
    cli.create("web", str(64 * KIB))
    fifo = cli.folder / "fifo"
    os.mkfifo(fifo)

    run = cli(*command, "fifo")

    assert run.status == 2
    assert "fifo is not a regular file" in run.err
    assert "dd of=fifo bs=4M" in run.err
    assert fifo.is_fifo()


def test_a_missing_file_is_named(cli: Cli, tmp_path: Path):
    cli.create("web")

    run = cli("write", "web", "0", "none")

    assert run.status == 1
    assert "cannot read none: No such file or directory" in run.err
