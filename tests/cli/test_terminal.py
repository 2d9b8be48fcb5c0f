"""What a person at a terminal sees, and is asked."""

import io
import itertools
import re
from pathlib import Path

import pytest

from cli.runner import Cli
from drivebay.cli.progress import Bar


def test_list_on_a_terminal_is_an_aligned_table_with_a_bold_header(cli: Cli):
    web = cli.create("web", "12M", "tags prod")
    db = cli.create("database", "1500")

    run = cli.terminal("list")

    assert run.text == (
        "\x1b[1mDRIVE                                 NAME         SIZE  STATUS  TAGS\x1b[0m\n"
        f"{db}  database  1.5 KiB  active\n"
        f"{web}  web        12 MiB  active  prod\n"
    )


def test_no_color_takes_the_colours_away_and_clicolor_force_brings_them(cli: Cli):
    cli.create("web")

    assert "\x1b[" in cli.terminal("list").text
    assert "\x1b[" not in cli.terminal("list", NO_COLOR="1").text
    assert "\x1b[" not in cli.terminal("list", TERM="dumb").text
    assert "\x1b[1mdrive" in cli.terminal("show", "web", CLICOLOR_FORCE="1", TERM="dumb").text


def test_show_on_a_terminal_tells_sizes_for_people_and_exactly(cli: Cli):
    cli.create("web", "3M")

    shown = cli.terminal("show", "web", NO_COLOR="1").text

    assert "size               3 MiB (3145728 bytes)\n" in shown
    assert "read:bytes         0\n" in shown


def test_destroy_asks_for_the_name_and_goes_on_when_it_is_typed(cli: Cli):
    web = cli.create("web.gz")

    run = cli.terminal("destroy", "web.gz", answers=[("Type web.gz to go on: ", "web.gz\n")])

    assert run.status == 0
    assert f'This will destroy drive "web.gz" ({web}).' in run.text
    assert cli.ok("list").lines == []


def test_destroy_changes_nothing_when_something_else_is_typed(cli: Cli):
    cli.create("web")

    run = cli.terminal("destroy", "web", answers=[("to go on: ", "yes\n")])

    assert run.status == 1
    assert "drivebay: not confirmed; nothing was changed" in run.text
    assert len(cli.ok("list").lines) == 1


def test_ctrl_c_at_a_question_changes_nothing_and_ends_with_130(cli: Cli):
    cli.create("web")

    run = cli.terminal("destroy", "web", answers=[("to go on: ", "\x03")])

    assert run.status == 130
    assert "drivebay: interrupted" in run.text
    assert len(cli.ok("list").lines) == 1


def test_a_download_asks_before_it_replaces_a_file(cli: Cli):
    cli.create("web")
    target = cli.folder / "a.b"
    target.write_bytes(b"mine")

    kept = cli.terminal("download", "web", "a.b", answers=[("replace it: ", "no\n")])
    before = target.read_bytes()
    replaced = cli.terminal("download", "web", "a.b", answers=[("replace it: ", "yes\n")])

    assert (kept.status, before) == (1, b"mine")
    assert replaced.status == 0
    assert target.read_bytes() == bytes(1024 * 1024)


@pytest.mark.parametrize(
    "words",
    [
        ["read", "web", "0", "1"],
        ["download", "web", "-"],
        ["upload", "-", "--size", "1"],
        ["write", "web", "0"],
    ],
)
def test_the_bytes_of_a_drive_neither_go_to_a_terminal_nor_come_from_one(cli: Cli, words):
    cli.create("web")

    run = cli.terminal(*words)

    assert run.status == 2
    assert "a drive's bytes" in run.text


def test_a_bar_is_drawn_on_a_terminal_and_taken_away_at_the_end(cli: Cli, image: Path):
    run = cli.terminal("upload", image.name, "--name", "web", piped_out=True)

    assert run.status == 0
    assert run.text == cli.info("web")["drive"] + "\n"
    assert re.search(r"\ruploading  \[█+░*\]  +\d+ %  \d.* MiB/22 MiB", run.err)
    assert "\rverifying  [" in run.err
    assert re.search(r"\r\x1b\[Kuploaded 22 MiB in .* verified; .* of zeros not sent", run.err)


def test_no_line_of_the_bar_is_wider_than_the_terminal(cli: Cli, image: Path):
    run = cli.terminal("upload", image.name)

    drawn = [line.split("\x1b")[0] for line in re.split(r"[\r\n]", run.err) if "MiB/" in line]
    assert drawn
    assert max(map(len, drawn)) < 100


def test_a_terminal_that_speaks_only_ascii_gets_an_ascii_bar(cli: Cli, image: Path):
    encoding = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    run = cli.terminal("upload", image.name, PYTHONIOENCODING="ascii", **encoding)

    assert re.search(r"uploading  \[#+\.*\]", run.err)


@pytest.mark.parametrize("words", [["--quiet"], ["--progress", "never"]])
def test_progress_stays_away_when_it_is_not_wanted(cli: Cli, image: Path, words: list[str]):
    run = cli.terminal("upload", image.name, *words)

    assert run.status == 0
    assert "MiB/22 MiB" not in run.err
    assert ("uploaded 22 MiB" in run.err) == ("--quiet" not in words)


def test_progress_in_a_pipe_is_one_line_at_the_end_unless_it_is_demanded(cli: Cli, image: Path):
    quiet = cli.ok("upload", image.name, "--name", "a")
    drawn = cli.ok("upload", image.name, "--name", "b", "--progress", "always")

    assert quiet.err.count("\n") == 2  # What was created, and what was uploaded.
    assert "\r" not in quiet.err
    assert "uploading  [" in drawn.err


@pytest.mark.parametrize(
    ("words", "label"),
    [(["download", "web", "a.img", "-y"], "downloading"), (["image", "copy", "web"], "imaging")],
)
def test_downloads_and_imaging_show_a_bar_too(cli: Cli, words: list[str], label: str):
    cli.create("web", "9M")
    cli.create("copy", "9M")

    shown = cli.terminal(*words)
    hidden = cli.terminal(*words, "--progress", "never")
    piped = cli.ok(*words, "--progress", "always")

    bar = re.compile(rf"\r{label}  \[[█░]+\] +\d+ %  .*/9 MiB")
    assert [shown.status, hidden.status] == [0, 0]
    assert bar.search(shown.text)
    assert not bar.search(hidden.text)
    assert bar.search(piped.err)


def test_the_zeros_on_the_bar_give_way_where_the_terminal_is_narrow():
    bar = Bar(io.StringIO(), clock=itertools.count(0.0).__next__)
    bar.start("downloading", total=1 << 30)
    bar.advance(600 << 20, is_hole=True)

    lines = [bar.line(columns) for columns in (120, 70, 50, 30, 5)]

    assert ["600 MiB of zeros" in line for line in lines] == [True, False, False, False, False]
    assert ["[" in line for line in lines] == [True, True, False, False, False]
    assert all(len(line) <= size for line, size in zip(lines, (120, 70, 50, 30, 5), strict=True))
