"""Commands on drive records: list, show, create, set, destroy."""

import functools
from collections.abc import Sequence
from typing import Any

import click

from drivebay.cli.app import App, Command, common
from drivebay.cli.confirm import confirm_loss
from drivebay.cli.naming import DRIVE, SIZE, find_record, find_uuid, label
from drivebay.cli.output import print_json, print_pairs, print_table, status_text
from drivebay.client.session import Session
from drivebay.model import EVERYONE
from drivebay.units import format_size
from drivebay.wire import Record

_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask; needed in scripts.")


@click.command("list")
@click.option("--standard", is_flag=True, help="List the standard drives instead.")
@click.option("--tag", metavar="TAG", help="Only drives with this tag.")
@common()
def list_drives(app: App, tag: str | None, *, standard: bool) -> None:
    """List your drives.

    \b
    drivebay list
    drivebay list --tag web --json

    In a pipe each line is uuid, name, size in bytes, status and tags, with tabs between them.
    """
    with app.session() as session:
        records = session.infos(full=True, standard=standard)
    if tag is not None:
        records = [r for r in records if tag in str(r.get("tags", "")).split(" ")]
    if app.as_json:
        print_json(records)
        return
    records.sort(key=lambda record: (str(record.get("name", "")), str(record.get("drive", ""))))
    rows = [
        (
            str(record.get("drive", "")),
            str(record.get("name", "")),
            int(record.get("size", 0)),
            status_text(record),
            str(record.get("tags", "")),
        )
        for record in records
    ]
    if rows:
        print_table(("DRIVE", "NAME", "SIZE", "STATUS", "TAGS"), rows)
    else:
        app.note("no drives yet: make one with 'drivebay create --name NAME --size SIZE'")


@click.command()
@click.argument("drive", type=DRIVE)
@common()
def show(app: App, drive: str) -> None:
    """Show everything about one drive.

    \b
    drivebay show web
    drivebay show 0012e24a-6eae-4279-9912-3432f698cec8 --json
    """
    with app.session() as session:
        record = find_record(session, drive)
    if app.as_json:
        print_json(record)
    else:
        print_pairs(record)


def record_options(function: Command) -> Command:
    """Add the options that make up a new drive's record, and pass them on as `values`.

    Their values are those of the API, but for the names in `avoid`, which need a session.
    """

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> Any:
        values = _shared_values(kwargs)
        values["tier"] = kwargs.pop("tier")
        values["encryption:cipher"] = kwargs.pop("cipher")
        values["avoid"] = " ".join(kwargs.pop("avoid"))
        kwargs["values"] = {key: value for key, value in values.items() if value}
        return function(*args, **kwargs)

    decorated: Command = command
    for option in (
        click.option(
            "--avoid",
            metavar="DRIVE",
            type=DRIVE,
            multiple=True,
            help="Keep off this drive's hardware; may be repeated.",
        ),
        click.option("--tier", metavar="TIER", help="Kept and shown, as old tools send it."),
        click.option(
            "--cipher",
            type=click.Choice(["aes-xts-plain", "none"]),
            help="Encryption at rest.  [default: aes-xts-plain]",
        ),
        *_shared_options,
    ):
        decorated = option(decorated)
    return decorated


_shared_options = (
    click.option(
        "--user-data",
        metavar="KEY=VALUE",
        multiple=True,
        help="Set user:KEY; may be repeated.",
    ),
    click.option("--tag", metavar="TAG", multiple=True, help="A tag; may be repeated."),
    click.option(
        "--reader",
        metavar="USER",
        multiple=True,
        help="A user's uuid, or 'all'; may be repeated.",
    ),
    click.option(
        "--claim-type",
        type=click.Choice(["exclusive", "shared"]),
        help="How many servers may hold it at once.",
    ),
)


@click.command()
@click.option("--name", metavar="NAME", default="", help="Its name; without one it has its uuid.")
@click.option("--size", type=SIZE, metavar="SIZE", required=True, help="How many bytes it has.")
@record_options
@common()
def create(app: App, name: str, size: int, values: dict[str, str]) -> None:
    """Create a drive of zeros and print its uuid.

    \b
    drivebay create --name web --size 10G
    drivebay create --name db --size 500G --tag prod --avoid web

    SIZE is in bytes, or with k, M, G or T in powers of 1024.
    """
    with app.session() as session:
        record = create_drive(session, name, size, values)
    if app.as_json:
        print_json(record)
        return
    click.echo(record["drive"])
    app.note(f"created {label(record)}, {format_size(size)}")


def create_drive(session: Session, name: str, size: int, values: dict[str, str]) -> Record:
    """Create a drive with the *values* of `record_options`."""
    avoided = [find_uuid(session, drive) for drive in values.get("avoid", "").split(" ") if drive]
    if avoided:
        values = {**values, "avoid": " ".join(avoided)}
    return session.create({"name": name, "size": size, **values})


def _shared_record_options(function: Command) -> Command:
    for option in _shared_options:
        function = option(function)
    return function


@click.command("set")
@click.argument("drive", type=DRIVE)
@click.option("--name", metavar="NAME", help="A new name.")
@click.option("--size", type=SIZE, metavar="SIZE", help="A new size; a smaller one cuts the end.")
@_shared_record_options
@click.option("--no-tags", is_flag=True, help="Remove all tags.")
@click.option("--no-readers", is_flag=True, help="Let nobody else read it.")
@_yes
@common()
def set_drive(app: App, drive: str, *, yes: bool, **options: Any) -> None:
    """Change a drive's name, size, tags, readers or own data.

    \b
    drivebay set web --size 20G --tag prod
    drivebay set web --name www --user-data backup= --no-readers

    Tags and readers replace those that were there; an empty VALUE removes its KEY.  A smaller size
    loses the bytes behind it, so it asks for the drive's name first; in a script it needs --yes.
    """
    changes = _changes(options)
    with app.session() as session:
        uuid = find_uuid(session, drive)
        if "size" in changes:
            before, size = session.info(uuid), int(changes["size"])
            if size < int(before["size"]):
                lost = format_size(int(before["size"]) - size)
                confirm_loss(before, f"cut the last {lost} off", yes=yes)
        record = session.set(uuid, changes)
    if app.as_json:
        print_json(record)
    else:
        app.note(f"changed {label(record)}")


def _changes(options: dict[str, Any]) -> dict[str, str | int]:
    """Return the keys that `set` is to send; an empty value removes its key."""
    shared = _shared_values(options)
    changes = {key: value for key, value in shared.items() if value or key.startswith("user:")}
    for flag, key in (("no_tags", "tags"), ("no_readers", "readers")):
        if options[flag]:
            if key in changes:
                raise click.UsageError(f"--no-{key} and --{key[:-1]} contradict each other")
            changes[key] = ""
    changes |= {key: options[key] for key in ("name", "size") if options[key] is not None}
    if not changes:
        raise click.UsageError("nothing to change: give at least one option")
    return changes


@click.command()
@click.argument("drives", metavar="DRIVE...", type=DRIVE, nargs=-1, required=True)
@_yes
@click.option("--dry-run", is_flag=True, help="Only list what would be destroyed.")
@common()
def destroy(app: App, drives: Sequence[str], *, yes: bool, dry_run: bool) -> None:
    """Destroy drives; nothing of their bytes remains.

    \b
    drivebay destroy web
    drivebay destroy web db --yes

    Asks for each drive's name first; in a script it needs --yes.
    """
    done = []
    with app.session() as session:
        found = [find_record(session, drive) for drive in drives]
        # A drive that was named twice is destroyed once.
        records = list({record["drive"]: record for record in found}.values())
        for record in records:
            if not dry_run:
                confirm_loss(record, "destroy", yes=yes)
                session.destroy(str(record["drive"]))
                app.note(f"destroyed {label(record)}")
            done.append({"drive": record["drive"], "name": record.get("name", "")})
    if app.as_json:
        print_json(done)
    elif dry_run:
        sizes = [int(record["size"]) for record in records]
        rows = [(str(d["drive"]), str(d["name"]), n) for d, n in zip(done, sizes, strict=True)]
        print_table(("DRIVE", "NAME", "SIZE"), rows)


def _shared_values(kwargs: dict[str, Any]) -> dict[str, Any]:
    readers = [EVERYONE if reader == "all" else reader for reader in kwargs.pop("reader")]
    values = {
        "claim:type": kwargs.pop("claim_type"),
        "readers": " ".join(readers),
        "tags": " ".join(kwargs.pop("tag")),
    }
    for pair in kwargs.pop("user_data"):
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise click.UsageError(f"--user-data {pair!r} is not KEY=VALUE")
        values[f"user:{key}"] = value
    return values
