"""What every client command shares: its common options, its session and its ways to speak."""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from drivebay.cli.connection import Target, config_path, required, resolve
from drivebay.cli.output import clean, json_text
from drivebay.client.errors import ClientError
from drivebay.client.profiles import load_profiles
from drivebay.client.session import Session
from drivebay.client.transport import Trace

Command = Callable[..., Any]


@dataclass
class App:
    """One run of one command.

    *is_long* marks commands that report on stderr in JSON lines when --json is given.
    """

    profile: str | None = None
    url: str | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    is_long: bool = False

    def target(self) -> Target:
        """Return which service is called and as whom."""
        return resolve(self.profile, self.url)

    def session(self, *, retries: int = 2, connections: int = 4) -> Session:
        """Return a session with the service."""
        target = required(self.target())
        if self.verbose:
            self.note(f"calling {target.url} as {target.user} ({target.token_origin})")
        trace = _print_trace if self.debug else None
        return Session(
            target.url,
            target.user,
            target.key,
            retries=retries,
            connections=connections,
            trace=trace,
        )

    def note(self, sentence: str) -> None:
        """Tell a person on stderr what happened."""
        if not (self.quiet or self.as_json):
            click.echo(clean(sentence), err=True)

    def warn(self, sentence: str) -> None:
        """Tell on stderr what must not be missed."""
        if self.is_long and self.as_json:
            self.event("warning", message=sentence)
        else:
            click.echo(f"drivebay: warning: {clean(sentence)}", err=True)

    def event(self, kind: str, **fields: object) -> None:
        """Print one JSON line on stderr."""
        click.echo(json_text({"type": kind, **fields}), err=True)

    def same_service(self) -> list[str]:
        """Return the flags that a later command needs to reach the same service."""
        flags = [("--profile", self.profile), ("--url", self.url)]
        return [word for flag, value in flags if value is not None for word in (flag, value)]

    def show_failure(self, failure: Exception, status: int) -> None:
        """Print a failure the way the command reports: sentences, or the last JSON line."""
        hint = getattr(failure, "hint", "")
        if self.is_long and self.as_json:
            self.event("outcome", exit_status=status, error=str(failure), hint=hint)
            return
        click.echo(f"drivebay: {clean(str(failure))}", err=True)
        if hint:
            click.echo(f"hint: {clean(hint)}", err=True)
        if self.verbose:
            for line in _details(failure):
                click.echo(clean(line), err=True)


def common(*, is_long: bool = False) -> Callable[[Command], Command]:
    """Add the options that every client command has, and pass an `App` as first argument."""

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def command(*args: Any, **kwargs: Any) -> Any:
            # `main` looks at the same object when the command fails.
            app = click.get_current_context().ensure_object(App)
            app.is_long = is_long
            for name in _NAMES:
                setattr(app, name, kwargs.pop(name))
            app.debug = app.debug or os.environ.get("DRIVEBAY_DEBUG", "0") not in {"", "0"}
            return function(app, *args, **kwargs)

        decorated: Command = command
        for option in reversed(_OPTIONS):
            decorated = option(decorated)
        return decorated

    return decorate


def complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the stored profiles that begin like *incomplete*."""
    del ctx, param
    try:
        names = load_profiles(config_path()).by_name
    except ClientError:
        # A completion must never print an error.
        return []
    return [name for name in sorted(names) if name.startswith(incomplete)]


_NAMES = ("profile", "url", "as_json", "quiet", "verbose", "debug")

_OPTIONS = (
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    click.option("-q", "--quiet", is_flag=True, help="Print no notes and no progress."),
    click.option("-v", "--verbose", is_flag=True, help="Say more, also about failures."),
    click.option("--debug", is_flag=True, help="Print each request, without credentials."),
    click.option(
        "--profile",
        metavar="NAME",
        shell_complete=complete_profile,
        help="Use this profile's service and credentials.",
    ),
    click.option("--url", metavar="URL", help="The address of the service."),
)


def _print_trace(trace: Trace) -> None:
    sent = f", {trace.sent_bytes} bytes sent" if trace.sent_bytes else ""
    took = f"{trace.elapsed_s * 1000:.0f} ms"
    text = f"debug: {trace.call} at {trace.url}{sent}: {trace.outcome}, {took}\n"
    # One write, so that the lines of parallel requests stay whole.
    sys.stderr.write(clean(text.rstrip("\n")) + "\n")


def _details(failure: BaseException) -> list[str]:
    lines = []
    cause: BaseException | None = failure
    while isinstance(cause, ClientError):
        status, word = getattr(cause, "status", None), getattr(cause, "word", "")
        if status is not None:
            lines.append(f"code: {word or '-'} (HTTP status {status})")
        if request_id := getattr(cause, "request_id", ""):
            lines.append(f"request id: {request_id}")
        cause = cause.__cause__
    if cause is not None:
        lines.append(f"cause: {type(cause).__name__}: {cause}")
    return lines
