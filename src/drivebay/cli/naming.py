"""DRIVE arguments: a uuid or a name that only one drive has; completed from the live service."""

from typing import Any

import click

from drivebay.cli.app import App
from drivebay.client.errors import NotFound
from drivebay.client.session import Session
from drivebay.units import format_size, parse_size
from drivebay.wire import Record, parse_uuid


class DriveName(click.ParamType[str]):
    """A drive as people name it."""

    name = "drive"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Offer the names and uuids of the user's drives; a service out of reach offers none."""
        del param
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion needs it

        app = App(profile=ctx.params.get("profile"), url=ctx.params.get("url"))
        try:
            with app.session(retries=0) as session:
                records = session.infos()
        except Exception:  # noqa: BLE001 - a completion must never print an error
            return []
        words: dict[str, str] = {}
        for record in records:
            name, uuid = str(record.get("name", "")), str(record.get("drive", ""))
            size = format_size(int(record.get("size", 0)))
            # Shells split at blanks and take other characters for their own.
            plain = name.replace("-", "").replace(".", "").replace("_", "")
            if plain.isalnum() and not name.startswith("-"):
                words[name] = f"{uuid}, {size}"
            if incomplete and uuid.startswith(incomplete):
                words[uuid] = f"{name}, {size}"
        return [CompletionItem(w, help=h) for w, h in words.items() if w.startswith(incomplete)]


class ByteCount(click.ParamType[int]):
    """A size: digits, and at most one of k, M, G, T."""

    name = "size"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DRIVE = DriveName()
SIZE = ByteCount()


class HintedUsageError(click.UsageError):
    """A usage error with advice of its own."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def find_uuid(session: Session, text: str, *, standard: bool = False) -> str:
    """Return the uuid of the drive that *text* names.

    Raises:
        NotFound: no drive has that name.
        UsageError: several have it.
    """
    try:
        return str(parse_uuid(text.lower()))
    except ValueError:
        return str(_named(session, text, standard=standard)["drive"])


def find_record(session: Session, text: str) -> Record:
    """Return the full record of the drive that *text* names; raises as `find_uuid`."""
    return session.info(find_uuid(session, text), full=True)


def label(record: Record) -> str:
    """Return what a sentence calls the drive."""
    return f'drive "{record["name"]}"' if record.get("name") else f"drive {record['drive']}"


def _named(session: Session, name: str, *, standard: bool) -> Record:
    matches = [record for record in session.infos() if record.get("name") == name]
    if not matches and standard:
        matches = [r for r in session.infos(standard=True) if r.get("name") == name]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        hint = "'drivebay list' shows your drives"
        raise NotFound(status=404, message=f'no drive is named "{name}"', hint=hint)
    uuids = ", ".join(str(record["drive"]) for record in matches)
    raise HintedUsageError(f'{len(matches)} drives are named "{name}"', f"give a uuid: {uuids}")
