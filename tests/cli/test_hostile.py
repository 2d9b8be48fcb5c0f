"""Names and texts of strangers, odd locales, and streams that are closed, full or left."""

import json
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.front import Front, Lie
from cli.runner import Cli
from drivebay.cli.output import clean, json_text, width

UUID = "0012e24a-6eae-4279-9912-3432f698cec8"

HOSTILE = {
    "a colour": "web\x1b[31mred",
    "a title": "web\x1b]0;owned\x07",
    "a C1 command": "web\x9b2Jred",
    "a line break": "web\ndrivebay: all is well",
    "a carriage return": "web\rnothing",
    "a separator": "web\u2028\u2029next",
    "a turn to the left": "web\u202e\u2066gpj.exe",
    "a backspace": "web\b\b\bdb",
    "a null": "web\x00db",
}


def _listing(name: str, **more: object) -> Callable:
    """Return a lie that knows one drive with this name."""
    record = {"drive": UUID, "name": name, "size": 1000, "status": "active", **more}

    def lie(call, answer):
        if call.verb == "destroy":
            return Lie(204)
        body = record if UUID in call.path else [record]
        return Lie(200, {"content-type": "application/json"}, json.dumps(body).encode())

    return lie


_TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def _is_harmless(text: str, lines: int) -> bool:
    found = [
        character
        for character in text
        if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in _TURNING
    ]
    return found.count("\n") == len(found) == lines


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_name_is_harmless_in_every_place_that_shows_it(cli: Cli, front: Front, kind: str):
    front.lie = _listing(HOSTILE[kind], tags=HOSTILE[kind])
    env = {"NO_COLOR": "1"}

    listed = cli.terminal("list", "--url", front.url, **env)
    shown = cli.terminal("show", UUID, "--url", front.url, **env)
    asked = cli.terminal(
        *("destroy", UUID, "--url", front.url), answers=[("to go on: ", "no\n")], **env
    )

    assert _is_harmless(listed.text, lines=2)
    assert _is_harmless(shown.text, lines=5)
    # Two lines of the question, its answer and the failure.
    assert _is_harmless(asked.text, lines=3)
    assert asked.status == 1


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_name_keeps_a_pipe_in_its_columns_and_json_exact(
    cli: Cli, front: Front, kind: str
):
    front.lie = _listing(HOSTILE[kind])

    piped = cli.ok("list", "--url", front.url)
    document = cli.ok("list", "--json", "--url", front.url)
    done = cli.ok("destroy", UUID, "--yes", "--url", front.url)

    assert [len(line.split("\t")) for line in piped.text.split("\n")] == [5, 1]
    assert document.json[0]["name"] == HOSTILE[kind]
    assert _is_harmless(document.text, lines=document.text.count("\n"))
    assert _is_harmless(done.err, lines=1)


def test_a_name_is_confirmed_by_what_the_terminal_shows(cli: Cli, front: Front):
    front.lie = _listing(HOSTILE["a colour"])

    run = cli.terminal(
        *("destroy", UUID, "--url", front.url), answers=[("to go on: ", "web[31mred\n")]
    )

    assert run.status == 0


def test_the_words_of_an_error_are_harmless(cli: Cli, front: Front):
    headers = {"x-elastic-error": "failed\x1b[31m", "x-request-id": "1\x1b]0;x\x07"}
    front.lie = lambda call, answer: Lie(507, headers, b"no\x1b[2J\nroom \xe2\x80\xae\xff")

    run = cli("create", "--size", "1M", "-v", "--url", front.url)

    assert run.status == 7
    assert "drivebay: no[2J room \ufffd\n" in run.err
    assert "code: failed[31m (HTTP status 507)\n" in run.err
    assert _is_harmless(run.err, lines=run.err.count("\n"))


def test_wide_names_keep_the_columns_straight(cli: Cli):
    cli.create("\u5927\u304d\u3044", "2M")
    cli.create("\U0001f4be", "3M")
    cli.create("cafe\u0301", "4M")
    cli.create("web", "1M")

    run = cli.terminal("list", NO_COLOR="1")

    assert [width(name) for name in ("\u5927\u304d\u3044", "\U0001f4be", "cafe\u0301")] == [6, 2, 4]
    assert {width(line.partition(" MiB")[0]) for line in run.lines[1:]} == {36 + 2 + 6 + 2 + 1}


@given(st.text())
def test_cleaning_leaves_one_harmless_line_and_does_nothing_twice(text: str):
    cleaned = clean(text)

    assert _is_harmless(cleaned, lines=0)
    assert clean(cleaned) == cleaned
    assert [c for c in text if c.isalnum()] == [c for c in cleaned if c.isalnum()]


@given(st.dictionaries(st.text(), st.text()))
def test_json_is_printable_and_means_the_same(document: dict[str, str]):
    text = json_text(document)

    assert clean(text) == text
    assert json.loads(text) == document


def test_a_terminal_that_cannot_show_a_name_gets_escapes_instead_of_a_crash(cli: Cli):
    cli.create("caf\u00e9 \u5927")
    latin = {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"}

    run = cli.ok("list", **latin)
    terminal = cli.terminal("list", NO_COLOR="1", LC_ALL="C", PYTHONUTF8="0")

    assert run.out.split(b"\t")[1] == b"caf\xe9 \\u5927"
    assert terminal.status == 0
    assert "Traceback" not in terminal.text


def test_a_name_in_utf_8_is_found_where_the_locale_is_c(cli: Cli):
    drive = cli.create("caf\u00e9")

    # Python turns the C locale into C.UTF-8, unless it is kept from it.
    assert cli.ok("show", "caf\u00e9", "--json", LC_ALL="C").json["drive"] == drive


def test_a_name_that_is_no_text_is_refused_with_a_sentence(cli: Cli):
    made = cli("create", "--name", "\udcff", "--size", "1M")
    found = cli("show", "\udcff")

    assert (made.status, found.status) == (2, 3)
    assert "Traceback" not in made.err + found.err


@pytest.mark.parametrize("words", ["list", "list --json", "help", "profile show", "api GET /x -i"])
def test_a_reader_that_leaves_is_no_error_worth_a_word(cli: Cli, bash, words: str):
    run = bash(f"drivebay {words} | true; echo ${{PIPESTATUS[0]}}")

    assert run.stdout in {"0\n", "1\n", "3\n"}
    assert "Traceback" not in run.stderr
    assert "Broken pipe" not in run.stderr


def test_head_takes_what_it_wants(cli: Cli, bash):
    for name in ("a", "b", "c"):
        cli.create(name)

    run = bash("drivebay list | head -1")

    assert run.stdout.split("\t")[1] == "a"
    assert run.stderr == ""


@pytest.mark.parametrize("words", ["list", "list --json", "show web", "api GET /drives/list"])
def test_a_full_disk_behind_stdout_is_a_failure(cli: Cli, bash, words: str):
    cli.create("web")

    run = bash(f"drivebay {words} > /dev/full")

    assert run.returncode == 1
    assert run.stderr == "drivebay: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_like_dev_null(cli: Cli, bash, closed: str):
    made = bash(f"drivebay create --name web --size 1M {closed}")
    gone = bash(f"drivebay show none {closed}")

    assert (made.returncode, gone.returncode) == (0, 3)
    assert cli.info("web")["size"] == 1048576


def test_a_pipe_on_stdin_that_is_closed_is_no_terminal_to_ask(cli: Cli, bash):
    cli.create("web")

    run = bash("drivebay destroy web <&-")

    assert run.returncode == 2
    assert "repeat the command with --yes" in run.stderr
