"""Help that belongs to no command: the environment, the exit statuses; and shell completion."""

import click

from drivebay.cli.output import clean
from drivebay.cli.statuses import ExitStatus

ENVIRONMENT = {
    "DRIVEBAY_URL": "The address of the service, such as https://drives.example.org.",
    "DRIVEBAY_TOKEN": "The credentials, as UUID:KEY.",
    "DRIVEBAY_TOKEN_FILE": "A file whose first line is UUID:KEY.",
    "DRIVEBAY_TOKEN_COMMAND": "A command that prints UUID:KEY, such as one of a password store.",
    "DRIVEBAY_PROFILE": "The profile to use instead of the default one.",
    "DRIVEBAY_CONFIG": (
        "The file with the profiles, instead of $XDG_CONFIG_HOME/drivebay/config.toml."
    ),
    "DRIVEBAY_PROGRESS_FPS": "How often a second progress is drawn, at most 10.",
    "DRIVEBAY_DEBUG": "Anything but 0 prints each request, as --debug does.",
    "EHURI": "As DRIVEBAY_URL, which comes first; the variable of the elastichosts tools.",
    "EHAUTH": "As DRIVEBAY_TOKEN, which comes first; the variable of the elastichosts tools.",
    "NO_COLOR": "Anything prints without colours.",
    "CLICOLOR_FORCE": "Anything but 0 prints with colours, also into a pipe.",
    "TERM": "If it is 'dumb', prints without colours and progress.",
    "SSL_CERT_FILE": "The certificates that https is checked against, instead of the system's.",
    "XDG_CONFIG_HOME": "Where configuration lives, instead of ~/.config.",
}

PRECEDENCE = (
    "A flag comes before the environment, the environment before the profile, and the profile"
    " before the default. A profile that is named with --profile comes before the environment."
    " 'drivebay profile show --origin' says where each value comes from."
)


def write_environment(page: click.HelpFormatter) -> None:
    """Write the topic `environment`."""
    with page.section("What the client commands take from the environment"):
        page.write_dl(list(ENVIRONMENT.items()))
    page.write_paragraph()
    page.write_text(PRECEDENCE)


def write_statuses(page: click.HelpFormatter) -> None:
    """Write the topic `exit-statuses`."""
    with page.section("What a command ends with"):
        page.write_dl([(f"{status.value:3d}", status.meaning) for status in ExitStatus])
    page.write_paragraph()
    page.write_text("Any other status means that it failed.")


_TOPICS = {"environment": write_environment, "exit-statuses": write_statuses}


@click.command("help")
@click.argument("words", metavar="[TOPIC | COMMAND...]", nargs=-1)
@click.pass_context
def show_help(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Explain a command or a topic.

    \b
    drivebay help upload
    drivebay help environment

    The topics are: environment, exit-statuses.
    """
    if len(words) == 1 and words[0] in _TOPICS:
        page = ctx.make_formatter()
        _TOPICS[words[0]](page)
        click.echo(page.getvalue(), nl=False)
    elif words == ("reference",):
        # Not listed: it makes docs/cli.md.
        from drivebay.cli.reference import reference  # noqa: PLC0415 - no other command needs it

        click.echo(reference(ctx.find_root().command), nl=False)
    else:
        _show_command(ctx.find_root(), words)


def _show_command(ctx: click.Context, words: tuple[str, ...]) -> None:
    for word in words:
        group = ctx.command
        command = group.get_command(ctx, word) if isinstance(group, click.Group) else None
        if command is None:
            topics = " and ".join(_TOPICS)
            message = f"there is no command or topic {clean(' '.join(words))!r}; topics: {topics}"
            raise click.UsageError(message)
        ctx = click.Context(command, info_name=word, parent=ctx)
    click.echo(ctx.get_help())


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell's completion script; drive names complete live.

    \b
    source <(drivebay completion bash)
    drivebay completion fish > ~/.config/fish/completions/drivebay.fish
    """
    from click import shell_completion  # noqa: PLC0415 - no other command needs it

    kind = shell_completion.get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "drivebay", "_DRIVEBAY_COMPLETE").source())
