"""The entry point `drivebay`: finds the command, and turns failures into sentences and statuses."""

import importlib
import io
import os
import sys
from collections.abc import Sequence

import click

from drivebay import __version__
from drivebay.cli.app import App
from drivebay.cli.output import clean
from drivebay.cli.statuses import ExitStatus, status_of
from drivebay.client.errors import ClientError
from drivebay.errors import DrivebayError

# The name of each command, with its module and what it is called there.  Modules are imported
# when a command runs, so that none pays for another's libraries.
_CLIENT = {
    "list": ("drivebay.cli.drives", "list_drives"),
    "show": ("drivebay.cli.drives", "show"),
    "create": ("drivebay.cli.drives", "create"),
    "set": ("drivebay.cli.drives", "set_drive"),
    "destroy": ("drivebay.cli.drives", "destroy"),
    "upload": ("drivebay.cli.upload", "upload"),
    "download": ("drivebay.cli.download", "download"),
    "image": ("drivebay.cli.imaging", "image"),
    "read": ("drivebay.cli.ranges", "read"),
    "write": ("drivebay.cli.ranges", "write"),
    "attach": ("drivebay.cli.claims", "attach"),
    "detach": ("drivebay.cli.claims", "detach"),
    "claims": ("drivebay.cli.claims", "claims"),
    "profile": ("drivebay.cli.profile", "profile"),
    "api": ("drivebay.cli.raw", "api"),
    "completion": ("drivebay.cli.topics", "completion"),
    "help": ("drivebay.cli.topics", "show_help"),
}

# These belong to the service.  Their summaries stand here, because to import them takes the whole
# service, and this side is to work without it.
_OPERATOR = {
    "serve": "Run the service on this machine.",
    "user": "Add, list and change the users of a data folder.",
    "standard": "Say which drives are standard.",
    "fault": "See and clear drives that are out of service.",
}
_OPERATOR_MODULE = "drivebay.operator"


class LazyGroup(click.Group):
    """The commands by name, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        del ctx
        return [*_CLIENT, *_OPERATOR]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name."""
        del ctx
        if cmd_name in _OPERATOR:
            module, attribute = _OPERATOR_MODULE, cmd_name
        elif cmd_name in _CLIENT:
            module, attribute = _CLIENT[cmd_name]
        else:
            return None
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{module}.{attribute} is no command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and name a similar one when there is none."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise click.UsageError(f"there is no command {args[0]!r}{_similar(args[0])}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing the service."""
        rows = []
        for name in _CLIENT:
            command = self.get_command(ctx, name)
            rows.append((name, command.get_short_help_str(66) if command else ""))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        with formatter.section("Commands on the service's machine"):
            formatter.write_dl(list(_OPERATOR.items()))


@click.group(cls=LazyGroup, no_args_is_help=True)
@click.version_option(__version__, message="drivebay %(version)s")
def cli() -> None:
    """Keep, move and copy drives on a drivebay service.

    \b
    drivebay upload disk.img --name web
    drivebay list

    'drivebay help environment' and 'drivebay help exit-statuses' explain settings and results.
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _open_closed_streams()
    _print_anything()
    app = App()
    try:
        status = cli.main(args, prog_name="drivebay", standalone_mode=False, obj=app)
        sys.stdout.flush()
    except click.ClickException as error:
        return _refused(error)
    except (ClientError, DrivebayError) as failure:
        exit_status = status_of(failure)
        app.show_failure(failure, exit_status)
        return exit_status
    except (click.Abort, KeyboardInterrupt):
        click.echo("drivebay: interrupted", err=True)
        return ExitStatus.INTERRUPTED
    except OSError as error:
        return _stopped(error)
    return status if isinstance(status, int) else ExitStatus.DONE


def _refused(error: click.ClickException) -> int:
    """Say what is wrong with the words of the command."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError) or not isinstance(
        error, click.UsageError
    ):
        error.show()
        return error.exit_code
    click.echo(f"drivebay: {clean(error.format_message())}", err=True)
    command = error.ctx.command_path if error.ctx else "drivebay"
    hint = getattr(error, "hint", "") or f"'{command} --help' explains the command"
    click.echo(f"hint: {clean(hint)}", err=True)
    return ExitStatus.USAGE


def _stopped(error: OSError) -> int:
    """Say what could not be used; nothing when who read stdout, such as `head`, has seen enough."""
    if not isinstance(error, BrokenPipeError):
        # Such as a full disk behind stdout, or a folder that only somebody else may enter.
        what = f"cannot use {error.filename}" if error.filename else "cannot write the output"
        click.echo(f"drivebay: {clean(what)}: {error.strerror or error}", err=True)
    # Python flushes stdout once more at its end; that must not fail too.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitStatus.FAILED


def _open_closed_streams() -> None:
    """Put /dev/null in place of a stream that the caller has closed (`>&-`)."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r", encoding="utf-8", closefd=False))


def _print_anything() -> None:
    """Keep a terminal that speaks only ASCII from turning a name into a crash."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _similar(word: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only a typing error needs it

    matches = get_close_matches(word, [*_CLIENT, *_OPERATOR], n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
