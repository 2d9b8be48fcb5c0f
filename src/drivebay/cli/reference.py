"""The reference of the command line, docs/cli.md, from the commands' own help."""

import click

from drivebay.cli.statuses import ExitStatus
from drivebay.cli.topics import ENVIRONMENT, PRECEDENCE

_WIDTH = 96

_HEAD = """\
# The command line

This page is the output of `drivebay help reference`; a test holds the two together.

Results go to stdout, notes, progress and errors to stderr.
A terminal gets aligned tables and sizes for people; a pipe gets tabs, no header and whole bytes.
`--json` prints one document with the API's field names; long commands then report on stderr in JSON
lines, each with a `type` (`progress`, `warning`, `outcome`), the outcome last.
Progress is drawn when stderr is a terminal.
DRIVE is a uuid, or a name that only one drive has.
"""


def reference(command: click.Command) -> str:
    """Return the Markdown page on *command* and everything below it."""
    context = click.Context(command, info_name="drivebay", terminal_width=_WIDTH)
    return "\n".join([_HEAD, *_sections(context), _statuses(), _environment()])


def _sections(context: click.Context) -> list[str]:
    level = context.command_path.count(" ") + 2
    title = f"{'#' * min(level, 4)} {context.command_path}"
    parts = [f"{title}\n\n```text\n{context.get_help().rstrip()}\n```\n"]
    group = context.command
    if not isinstance(group, click.Group):
        return parts
    for name in group.list_commands(context):
        below = group.get_command(context, name)
        assert below is not None, f"{name} is listed and is not there"
        nested = click.Context(below, info_name=name, parent=context, terminal_width=_WIDTH)
        parts += _sections(nested)
    return parts


def _statuses() -> str:
    rows = [f"| {status.value} | {status.meaning} |" for status in ExitStatus]
    table = "\n".join(["| status | meaning |", "|---|---|", *rows])
    return f"## Exit statuses\n\n{table}\n\nAny other status means that it failed.\n"


def _environment() -> str:
    rows = [f"| `{name}` | {text} |" for name, text in ENVIRONMENT.items()]
    table = "\n".join(["| variable | meaning |", "|---|---|", *rows])
    sentences = PRECEDENCE.replace(". ", ".\n")
    return f"## Environment\n\n{table}\n\n{sentences}\n"
