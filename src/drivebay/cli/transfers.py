"""What `upload` and `download` share: options, and how a stopped transfer says how to go on."""

import functools
import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from drivebay.cli.app import App, Command
from drivebay.cli.output import clean
from drivebay.cli.progress import chosen, close, summary, with_progress
from drivebay.client.errors import ClientError, Interrupted, VerificationFailed
from drivebay.client.session import Session
from drivebay.client.transfer import CONNECTIONS, CONNECTIONS_MAX, RETRIES, Progress


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """What both directions can be told."""

    connections: int
    retries: int
    verify: bool
    progress_mode: str
    yes: bool

    def session(self, app: App) -> Session:
        """Return a session that is as patient and as wide as was asked."""
        return app.session(retries=self.retries, connections=self.connections)


_NAMES = ("connections", "retries", "verify", "progress_mode", "yes")


def transfer_options(function: Command) -> Command:
    """Add the options of both directions, and pass them on as `how`."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> Any:
        how = TransferOptions(**{name: kwargs.pop(name) for name in _NAMES})
        return function(*args, how=how, **kwargs)

    decorated: Command = command
    for option in (
        click.option("-y", "--yes", is_flag=True, help="Do not ask before overwriting."),
        with_progress,
        click.option(
            "--verify/--no-verify",
            default=True,
            help="Read back and compare.  [default: verify]",
        ),
        click.option(
            "--retries",
            type=click.IntRange(0, 100),
            metavar="N",
            default=RETRIES,
            help=f"How often a failed piece is tried again.  [default: {RETRIES}]",
        ),
        click.option(
            "--connections",
            type=click.IntRange(1, CONNECTIONS_MAX),
            metavar="N",
            default=CONNECTIONS,
            help=f"Pieces under way at once, up to {CONNECTIONS_MAX}.  [default: {CONNECTIONS}]",
        ),
    ):
        decorated = option(decorated)
    return decorated


@contextmanager
def watched(app: App, how: TransferOptions, resume: Callable[[], list[str]]) -> Iterator[Progress]:
    """Give out what shows the progress; when the block is stopped, say which command resumes.

    Raises:
        Interrupted: Ctrl-C.
    """
    progress = chosen(app, how.progress_mode)
    try:
        yield progress
    except KeyboardInterrupt:
        raise Interrupted(hint=_resume_hint(resume())) from None
    except VerificationFailed:
        # Going on behind the damage would keep it.
        raise
    except ClientError as failure:
        resuming = _resume_hint(resume())
        failure.hint = f"{failure.hint}; {resuming}" if failure.hint else resuming
        raise
    finally:
        close(progress)


class Stopwatch:
    """Says at the end how long it took."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()

    def summary(self, verb: str, size: int) -> str:
        """Return the line at the end."""
        return summary(verb, size, time.monotonic() - self._started_s)


def _resume_hint(words: list[str]) -> str:
    return f"resume with: {' '.join(map(_quoted, words))}"


def _quoted(word: str) -> str:
    """Return *word* as a shell takes it, in characters that a terminal shows as they are."""
    if clean(word) == word:
        return shlex.quote(word)
    return "$'" + "".join(f"\\x{byte:02x}" for byte in os.fsencode(word)) + "'"
