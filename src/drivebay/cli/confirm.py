"""Asking before something is lost."""

import sys

import click

from drivebay.cli.naming import HintedUsageError, label
from drivebay.cli.output import clean, is_terminal
from drivebay.client.errors import LocalFailed
from drivebay.wire import Record


def confirm_loss(record: Record, what: str, *, yes: bool) -> None:
    """Have the drive's name typed before *what* happens to it; without a terminal, demand --yes.

    Raises:
        UsageError: nobody can be asked.
        LocalFailed: something else was typed.
    """
    if yes:
        return
    # Cleaned before it stands in the question: a line break in a name must not forge lines of it.
    name = clean(str(record.get("name") or record["drive"]))
    loss = clean(f"{what} {label(record)} ({record['drive']})")
    answer = _ask(loss, f"This will {loss}.\nType {name} to go on: ")
    if answer != name.strip():
        raise LocalFailed(reason="not confirmed; nothing was changed")


def confirm_replacing(path: str, *, yes: bool) -> None:
    """Ask before a local file is replaced; raises as `confirm_loss`."""
    if yes:
        return
    shown = clean(path)
    if _ask(f"replace {shown}", f"{shown} exists.  Type yes to replace it: ") != "yes":
        raise LocalFailed(reason=f"{path} was left as it is")


def _ask(loss: str, question: str) -> str:
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise HintedUsageError(f"not without a yes: {loss}", "repeat the command with --yes")
    click.echo(question, err=True, nl=False)
    return sys.stdin.readline().strip()
