"""The command line's grammar, for tests that read commands without running them."""

import click

from drivebay.cli.main import cli

COLUMNS = 80
ROOT = click.Context(cli, info_name="drivebay", terminal_width=COLUMNS, max_content_width=COLUMNS)


def _below(context: click.Context) -> list[click.Context]:
    group = context.command
    if not isinstance(group, click.Group):
        return [context]
    found = [context]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found += _below(click.Context(command, info_name=name, parent=context))
    return found


EVERY = {context.command_path: context for context in _below(ROOT)}
"""Every command and group by what one types."""

COMMANDS = {
    path: context for path, context in EVERY.items() if not isinstance(context.command, click.Group)
}


def understood(words: list[str]) -> click.Context:
    """Parse *words*, which follow `drivebay`, as the command line does; nothing is run."""
    context = ROOT
    while isinstance(context.command, click.Group):
        name, *words = words
        command = context.command.get_command(context, name)
        assert command is not None, f"there is no command {name}"
        if isinstance(command, click.Group):
            context = click.Context(command, info_name=name, parent=context)
        else:
            context = command.make_context(name, list(words), parent=context)
    return context
