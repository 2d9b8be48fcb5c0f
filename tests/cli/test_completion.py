"""Completion, in a real bash."""

import json
import shlex
import subprocess

import pytest

from cli.runner import Cli
from live import COMMAND

# What bash does at the tab key: it sets the words, calls the function, and takes its answers.
_PRESS_TAB = """
source completion.bash
complete -p drivebay > /dev/null || exit 9
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_drivebay_completion drivebay 2> complaints
printf '%s\\n' "${{COMPREPLY[@]}}"
cat complaints >&2
"""


@pytest.fixture(scope="module")
def script() -> str:
    """What `drivebay completion bash` prints."""
    words = [*COMMAND, "completion", "bash"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def complete(cli: Cli, bash, script: str):
    """Press tab behind the last of some words, and return what is offered."""

    (cli.folder / "completion.bash").write_text(script)

    def press(*words: str, **env: str) -> list[str]:
        script = _PRESS_TAB.format(words=shlex.join(["drivebay", *words]))
        run = bash(script, **env)
        # bash asks for the options of a completion that is under way; here none is.
        complaints = [line for line in run.stderr.splitlines() if "compopt" not in line]
        assert (run.returncode, complaints) == (0, []), run
        return [line for line in run.stdout.splitlines() if line]

    return press


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sh"], ["show"]),
        (["s"], ["show", "set", "serve", "standard"]),
        (["user", "r"], ["rotate-key"]),
        (["create", "--ci"], ["--cipher"]),
        (["create", "--cipher", ""], ["aes-xts-plain", "none"]),
        (["upload", "--progress", "a"], ["auto", "always"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
)
def test_commands_options_and_choices_complete(complete, words: list[str], offered: list[str]):
    assert complete(*words) == offered


def test_drive_names_complete_from_the_live_service(cli: Cli, complete):
    web = cli.create("web-1.x")
    cli.create("db_2")

    assert complete("show", "") == ["web-1.x", "db_2"]
    assert complete("show", "w") == ["web-1.x"]
    assert complete("image", "db_2", "web") == ["web-1.x"]
    assert complete("destroy", "db_2", "w") == ["web-1.x"]
    assert complete("create", "--avoid", "d") == ["db_2"]
    assert complete("show", web[:8]) == [web]


@pytest.mark.parametrize("name", ["a b", "$(touch owned)", "`touch owned`", "x\x1b[31m", "-v", "'"])
def test_a_name_that_a_shell_would_take_apart_is_not_offered(cli: Cli, complete, name: str):
    body = json.dumps({"name": name, "size": 1000})
    sent = {"Content-Type": "application/json"}
    cli.server.api("POST", "/drives/create", body, user=cli.user, headers=sent)

    assert complete("show", "") == []
    assert not (cli.folder / "owned").exists()


def test_profiles_complete(cli: Cli, complete):
    for name in ("work", "home"):
        cli.ok("profile", "add", name, stdin=":".join(cli.user).encode())

    assert complete("list", "--profile", "") == ["home", "work"]
    assert complete("profile", "remove", "w") == ["work"]


@pytest.mark.parametrize(
    "env",
    [
        {"DRIVEBAY_URL": "http://127.0.0.1:1"},
        {"DRIVEBAY_TOKEN": "nonsense"},
        {"DRIVEBAY_TOKEN": "a:b"},
        {"DRIVEBAY_PROFILE": "none"},
    ],
)
def test_a_service_out_of_reach_offers_nothing_and_complains_not(complete, env: dict[str, str]):
    assert complete("show", "", **env) == []


def test_every_shell_gets_a_script_and_others_are_refused(cli: Cli):
    assert "#compdef drivebay" in cli.ok("completion", "zsh").text
    assert "complete --no-files --command drivebay" in cli.ok("completion", "fish").text
    assert cli("completion", "tcsh").status == 2
