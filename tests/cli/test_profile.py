"""The commands on profiles."""

import stat
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.runner import Cli

NOBODY = {"DRIVEBAY_URL": None, "DRIVEBAY_TOKEN": None}


@pytest.fixture
def path(cli: Cli) -> Path:
    return cli.folder / "config" / "drivebay" / "config.toml"


def _add(cli: Cli, name: str, *words: str):
    return cli.ok("profile", "add", name, *words, stdin=":".join(cli.user).encode())


def test_what_was_added_is_used_listed_and_removed(cli: Cli, path: Path):
    run = _add(cli, "default")

    assert run.err == f"stored profile default for {cli.server.url} in {path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cli("list", **NOBODY).status == 0
    row = {"name": "default", "url": cli.server.url, "user": cli.user[0], "default": True}
    assert cli.ok("profile", "list", "--json").json == [row]
    assert cli.ok("profile", "list").lines == [f"default\t{cli.server.url}\t{cli.user[0]}\t*"]
    assert cli.ok("profile", "remove", "default").err == "removed profile default\n"
    assert cli.ok("profile", "list").err == f"no profiles in {path}\n"
    assert cli.user[1] not in path.read_text()
    assert cli("list", **NOBODY).status == 4


def test_each_speaks_json(cli: Cli):
    added = _add(cli, "work", "--json").json

    assert added == {"name": "work", "url": cli.server.url, "user": cli.user[0], "moved": ""}
    assert cli.ok("profile", "default", "work", "--json").json == {"name": "work"}
    assert cli.ok("profile", "list", "--json").json[0]["default"] is True
    shown = cli.ok("profile", "show", "work", "--json").json
    assert (shown["url"], shown["user"], shown["key"]) == (cli.server.url, cli.user[0], "set")
    assert cli.ok("profile", "remove", "work", "--json").json == {"name": "work"}


def test_a_profile_for_somebody_else_moves_aside(cli: Cli):
    _add(cli, "work")

    again = _add(cli, "work")
    other = cli.ok("profile", "add", "work", stdin=b"someone:else\n")

    assert "called" not in again.err
    assert "the profile that had this name is now called work-1" in other.err
    names = [(row["name"], row["user"]) for row in cli.ok("profile", "list", "--json").json]
    assert names == [("work", "someone"), ("work-1", cli.user[0])]


def test_the_default_profile_is_chosen_and_everything_else_in_the_file_stays(cli: Cli, path: Path):
    path.parent.mkdir(parents=True)
    path.write_text("# mine\n[serve]  # the service\nworkers = 2\n")
    _add(cli, "a")
    _add(cli, "b")

    run = cli.ok("profile", "default", "b")

    assert run.err == "profile b is the default now\n"
    text = path.read_text()
    assert text.startswith("# mine\n")
    assert "\n[serve]  # the service\nworkers = 2\n" in text
    assert tomllib.loads(text)["default_profile"] == "b"
    assert cli.ok("profile", "show", **NOBODY).lines[-2] == "profile\tb"


def test_a_link_to_the_file_stays_a_link(cli: Cli, path: Path):
    path.parent.mkdir(parents=True)
    path.symlink_to(cli.folder / "dotfile")

    _add(cli, "work")

    assert path.is_symlink()
    assert stat.S_IMODE((cli.folder / "dotfile").stat().st_mode) == 0o600


def test_profiles_that_are_added_at_once_are_all_kept(cli: Cli):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: _add(cli, f"p{number}"), range(8)))

    names = [row["name"] for row in cli.ok("profile", "list", "--json").json]
    assert names == [f"p{number}" for number in range(8)]


def test_the_key_is_asked_for_and_does_not_show(cli: Cli):
    answers = [("UUID:KEY: ", f"{':'.join(cli.user)}\n")]

    run = cli.terminal("profile", "add", "work", answers=answers)

    assert run.status == 0
    assert cli.user[1] not in run.text
    assert cli("list", "--profile", "work").status == 0


def test_a_user_that_is_named_needs_the_key_alone(cli: Cli):
    user, key = cli.user

    cli.ok("profile", "add", "work", "--user", user, stdin=key.encode())
    wrong = cli("profile", "add", "work", "--user", "x", stdin=f"{user}:{key}".encode())

    assert cli("list", "--profile", "work").status == 0
    assert wrong.status == 2
    assert f"stdin holds the credentials of {user}, not of x" in wrong.err


@pytest.mark.parametrize(
    ("words", "stdin", "status", "sentence"),
    [
        (["add", "work"], b"", 1, "no credentials came on stdin"),
        (["add", "work"], b"canary", 2, "stdin does not hold a token of the form UUID:KEY"),
        (["add", "a b"], b"u:canary", 2, "'a b' cannot name a profile"),
        (["add", "[x]"], b"u:canary", 2, "'[x]' cannot name a profile"),
        (["add", "work", "--url", "ftp://host"], b"u:canary", 2, "is not a URL like"),
        (["remove", "none"], b"", 2, "there is no profile 'none'"),
        (["default", "none"], b"", 2, "there is no profile 'none'"),
        (["show", "none"], b"", 2, "there is no profile 'none'"),
        (["show", "--curl", "--json"], b"", 2, "--curl goes with neither --origin nor --json"),
    ],
)
def test_what_cannot_be_done_is_said(
    cli: Cli, path: Path, words: list[str], stdin: bytes, status: int, sentence: str
):
    run = cli("profile", *words, stdin=stdin)

    assert run.status == status
    assert sentence in run.err
    assert "canary" not in run.err
    assert not path.exists() or path.read_text() == ""


def test_curl_takes_its_configuration_from_a_file_that_is_closed_to_others(cli: Cli, bash):
    cli.create("web")
    (cli.folder / "curl.conf").touch(mode=0o644)

    made = bash("drivebay profile show --curl > curl.conf && stat -c %a curl.conf")
    listed = subprocess.run(
        ["curl", "-sS", "-K", cli.folder / "curl.conf", f"{cli.server.url}/drives/info"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert made.stdout == "600\n"
    assert "name web\n" in listed.stdout


def test_a_terminal_gets_a_table(cli: Cli):
    _add(cli, "default")

    run = cli.terminal("profile", "show", "--origin", NO_COLOR="1", **NOBODY)

    assert [line.split("  ")[0] for line in run.lines] == [
        "SETTING",
        *("url", "user", "key", "profile", "config"),
    ]
    origins = {line.rpartition("  ")[2] for line in run.lines[1:]}
    assert origins == {"profile default", "default", "XDG_CONFIG_HOME"}
