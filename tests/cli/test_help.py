"""Help: short enough for 80 columns, with examples that work as they stand."""

import re
import shlex

import click
import pytest

from cli.grammar import COLUMNS, COMMANDS, EVERY, understood
from cli.runner import Cli
from drivebay import __version__
from drivebay.cli.statuses import ExitStatus
from drivebay.cli.topics import ENVIRONMENT


def _page(context: click.Context) -> str:
    formatter = click.HelpFormatter(width=COLUMNS - 2, max_width=COLUMNS - 2)
    context.command.format_help(context, formatter)
    return formatter.getvalue()


def _examples(context: click.Context) -> list[str]:
    block = context.command.help.partition("\b\n")[2].partition("\n\n")[0]
    return [line.strip() for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("path", EVERY)
def test_a_page_fits_80_columns_and_cuts_no_sentence(path: str):
    lines = _page(EVERY[path]).splitlines()

    assert max(map(len, lines)) <= COLUMNS
    assert [line for line in lines if line.endswith("...") and "[" not in line] == []


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_two_examples_that_are_understood(path: str):
    examples = _examples(COMMANDS[path])

    assert len(examples) == 2
    for line in examples:
        assert path in line
        for part in re.split(r"[|;]|<\(", line.rstrip(")")):
            words = shlex.split(part.partition(" > ")[0])
            if words[:1] == ["drivebay"]:
                understood(words[1:])


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_says_what_it_does(path: str):
    for parameter in COMMANDS[path].command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter
            assert parameter.help[0].isupper(), parameter


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_that_prints_a_result_speaks_json(path: str):
    names = {name for parameter in COMMANDS[path].command.params for name in parameter.opts}

    assert ("--json" in names) == (path.split()[1] not in {"completion", "help", "serve"})


def test_no_option_takes_a_secret():
    for path, context in COMMANDS.items():
        for parameter in context.command.params:
            words = set(re.split(r"[-_]", " ".join(parameter.opts).strip("-")))
            assert not words & {"token", "password", "secret"}, path
            is_file = parameter.opts in (["--master-key"], ["--nbd-key"])
            assert "key" not in words or is_file, path


def test_help_of_a_command_is_its_page(cli: Cli):
    by_topic = cli.ok("help", "user", "add")
    by_option = cli.ok("user", "add", "--help")

    assert by_topic.text == by_option.text
    assert by_topic.text.startswith("Usage: drivebay user add ")
    assert cli.ok("help").text == cli.ok("--help").text


def test_the_topics_name_every_variable_and_every_status_in_80_columns(cli: Cli):
    environment = cli.ok("help", "environment", COLUMNS="80").lines
    statuses = cli.ok("help", "exit-statuses", COLUMNS="80").lines

    assert {line.split()[0] for line in environment if re.match("  [A-Z]", line)} == {*ENVIRONMENT}
    listed = [int(line.split()[0]) for line in statuses if re.match(r" +\d+ ", line)]
    assert listed == [status.value for status in ExitStatus]
    assert max(map(len, [*environment, *statuses])) <= COLUMNS


@pytest.mark.parametrize("words", [["nothing"], ["user", "nothing"], ["list", "x"]])
def test_help_for_what_is_not_there_names_the_topics(cli: Cli, words: list[str]):
    run = cli("help", *words)

    assert run.status == 2
    assert "topics: environment and exit-statuses" in run.err


def test_the_version_is_told(cli: Cli):
    assert cli.ok("--version").text == f"drivebay {__version__}\n"
