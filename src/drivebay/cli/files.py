"""The local ends of transfers: files by name, and `-` for stdin and stdout."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from drivebay.cli.naming import HintedUsageError
from drivebay.cli.output import clean, is_terminal
from drivebay.client.errors import LocalFailed


@dataclass(frozen=True)
class Input:
    """Something open for reading; *argument* is what the user typed."""

    argument: str
    name: str
    fd: int

    @property
    def drive_name(self) -> str:
        """The name of a drive that is made from it."""
        if self.argument == "-":
            return "stdin"
        # A file's name may be no text at all, or hold line breaks; a drive's name does not.
        return clean(os.fsencode(Path(self.argument).name).decode("utf-8", "replace"))


@contextmanager
def opened_input(argument: str) -> Iterator[Input]:
    """Open *argument* for reading; `-` is stdin.

    Raises:
        LocalFailed: it cannot be opened.
        UsageError: it is a terminal.
    """
    if argument == "-":
        if is_terminal(sys.stdin):
            raise click.UsageError("a drive's bytes do not come from a terminal")
        yield Input(argument, "stdin", sys.stdin.fileno())
        return
    try:
        fd = os.open(argument, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LocalFailed(reason=f"cannot read {argument}: {error.strerror}") from error
    try:
        yield Input(argument, argument, fd)
    finally:
        os.close(fd)


def check_target(target: Path, command: str) -> None:
    """Refuse a *target* that no file can be renamed to; *command* prints the bytes instead.

    Raises:
        UsageError: it is a folder, a device or another thing that is no regular file.
    """
    if target.is_dir():
        raise click.UsageError(f"{target} is a folder: name the file in it")
    if target.exists() and not target.is_file():
        hint = f"{command} | dd of={target} bs=4M"
        raise HintedUsageError(f"{target} is not a regular file", hint)


def stdout_fd() -> int:
    """Return stdout for a drive's bytes.

    Raises:
        UsageError: it is a terminal.
    """
    if is_terminal(sys.stdout):
        message = "a drive's bytes are not for a terminal"
        raise HintedUsageError(message, "name a file, or send the output to one")
    sys.stdout.flush()
    return sys.stdout.fileno()
