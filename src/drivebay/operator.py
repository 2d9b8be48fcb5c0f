"""The operator's commands: those that work on a data folder instead of over HTTP.

`serve` runs the service; `user`, `standard` and `fault` change the catalog directly, while the
service runs or not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from drivebay import folder, settings
from drivebay.catalog import Catalog, Transaction
from drivebay.catalog import claims as claim_rows
from drivebay.catalog import drives as drive_rows
from drivebay.catalog import users as user_rows
from drivebay.cli.output import Cell, print_json, print_table
from drivebay.client.errors import Conflict, NotFound, SettingsRefused
from drivebay.errors import SetupFailed
from drivebay.model import EVERYONE, NAME_LENGTH_MAX, ClaimType, Drive, DriveState, Standard, User
from drivebay.service import accounts, claims, sessions
from drivebay.units import parse_size
from drivebay.wire import parse_uuid

Command = Callable[..., None]
Row = dict[str, Any]
"""What is printed of one thing, key by key."""


def _setting_options(*names: str) -> Callable[[Command], Command]:
    """Add an option for each setting, and --config; they reach the command as keywords."""

    def decorate(function: Command) -> Command:
        for name, (kind, text) in reversed(settings.options().items()):
            if names and name not in names:
                continue
            metavar = {"path": "PATH", "int": "N", "seconds": "SECONDS", "size": "BYTES"}
            function = click.option(
                f"--{name.replace('_', '-')}",
                name,
                metavar=metavar.get(kind, "TEXT"),
                help=f"{text}  [{settings.variable(name)}]",
            )(function)
        return click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            help="A configuration file; its [serve] table is read.  [DRIVEBAY_CONFIG]",
        )(function)

    return decorate


_data_options = _setting_options("data")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def _folder_options(function: Command) -> Command:
    return _json_option(_data_options(function))


def _settings(given: dict[str, Any], config: Path | None) -> settings.Settings:
    try:
        return settings.load(given, config)
    except SetupFailed as failure:
        raise SettingsRefused(reason=failure.reason, hint=failure.hint) from failure


@contextmanager
def _catalog(
    data: str | None, config: Path | None, *, may_make: bool = False
) -> Iterator[tuple[Catalog, settings.Settings]]:
    loaded = _settings({"data": data}, config)
    # A mistyped folder must not become one with users of its own.
    if not may_make and not (loaded.data / "catalog.sqlite").exists():
        raise NotFound(
            status=404,
            message=f"{loaded.data} is no data folder",
            hint="name it with --data; the service makes it at its first start",
        )
    folder.prepare(loaded.data)
    catalog = folder.catalog_of(loaded.data)
    try:
        yield catalog, loaded
    finally:
        catalog.close()


@click.command()
@_setting_options()
def serve(config: Path | None, **given: str | None) -> None:
    """Run the service on this machine.

    \b
    drivebay serve
    drivebay serve --data /srv/drives --http 0.0.0.0:8080 --workers 4

    The first start makes the data folder, a master key and a first user.  One line on stdout,
    `ready http://HOST:PORT`, says that requests are answered.  SIGTERM ends the service after
    what is in flight.
    """
    # The service's libraries take a while to import, and no other command needs them.
    from drivebay import serve as service  # noqa: PLC0415

    service.run(_settings(given, config))


@click.group()
def user() -> None:
    """Add, list and change the users of a data folder."""


@user.command("add")
@click.argument("name", default="")
@_folder_options
def user_add(name: str, data: str | None, config: Path | None, *, as_json: bool) -> None:
    """Make a user, and print UUID:KEY.

    \b
    drivebay user add alice
    drivebay user add --data /srv/drives

    This is the only time that the key is shown.
    """
    if len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise click.UsageError(f"NAME is up to {NAME_LENGTH_MAX} characters that can be printed")
    with _catalog(data, config, may_make=True) as (catalog, loaded), catalog.write() as tx:
        added, key = accounts.add(
            tx, name, drives=loaded.quota_drives or None, size_bytes=loaded.quota_bytes or None
        )
    _show_key(added, key, as_json=as_json)


@user.command("list")
@_folder_options
def user_list(data: str | None, config: Path | None, *, as_json: bool) -> None:
    """List the users with what they have and may have.

    \b
    drivebay user list
    drivebay user list --json

    In a pipe each line is uuid, name, true or false for enabled, drives, the quota of drives, bytes
    and the quota of bytes, with tabs between them.
    """
    with _catalog(data, config) as (catalog, _), catalog.read() as tx:
        rows = [_user_row(tx, row) for row in user_rows.listed(tx)]
    _print(rows, as_json=as_json, sizes=("bytes", "quota_bytes"))


@user.command("disable")
@click.argument("user")
@_folder_options
def user_disable(user: str, data: str | None, config: Path | None, *, as_json: bool) -> None:
    """Refuse the user's requests from now on; the drives stay.

    \b
    drivebay user disable alice
    drivebay user disable 2164ce57-591c-43ee-ade5-e2fe0ee13c3e

    So do the user's claims on drives, whose NBD connections are closed when this returns.
    """
    _change_user(user, data, config, as_json=as_json, enabled=False)


@user.command("enable")
@click.argument("user")
@_folder_options
def user_enable(user: str, data: str | None, config: Path | None, *, as_json: bool) -> None:
    """Answer the user's requests again.

    \b
    drivebay user enable alice
    drivebay user enable 2164ce57-591c-43ee-ade5-e2fe0ee13c3e
    """
    _change_user(user, data, config, as_json=as_json, enabled=True)


@user.command("rotate-key")
@click.argument("user")
@_folder_options
def user_rotate_key(user: str, data: str | None, config: Path | None, *, as_json: bool) -> None:
    """Give the user a new key, and print UUID:KEY.

    \b
    drivebay user rotate-key alice
    drivebay user rotate-key alice --data /srv/drives

    The old key is refused at once, and so are the tickets of the user's claims, whose NBD
    connections are closed when this returns; a claim that is repeated gets a new ticket.
    """
    with _catalog(data, config) as (catalog, loaded):
        with catalog.write() as tx:
            named = _named(tx, user)
            key = accounts.rotate_key(tx, named)
            ended = claims.void_tickets(tx, named.uuid)
        _show_key(named, key, as_json=as_json)
        _end_connections(loaded, ended)


def _end_connections(loaded: settings.Settings, ended: list[int]) -> None:
    """Wait until the connections of claims that were ended are closed."""
    if not sessions.end(loaded.data / folder.SESSIONS, ended):
        raise Conflict(
            status=409,
            message="a connection of a claim does not end, though its process was killed",
            hint="its store may hang; nothing more is written by it",
        )


@user.command("quota")
@click.argument("user")
@click.option("--drives", metavar="N", help="Drives that the user may have, or 'none'.")
@click.option("--bytes", "size", metavar="BYTES", help="Bytes with k, M, G or T, or 'none'.")
@_folder_options
def user_quota(
    user: str,
    drives: str | None,
    size: str | None,
    data: str | None,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    """Set how many drives and bytes a user may have.

    \b
    drivebay user quota alice --drives 10 --bytes 100G
    drivebay user quota alice --bytes none

    Drives past a new quota stay; no more can be made.
    """
    given = {"quota_drives": drives, "quota_bytes": size}
    changes = {key: _quota(text) for key, text in given.items() if text is not None}
    if not changes:
        raise click.UsageError("give --drives, --bytes or both")
    _change_user(user, data, config, as_json=as_json, **changes)


def _quota(text: str) -> int | None:
    return None if text == "none" else _size(text)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _named(tx: Transaction, name: str) -> User:
    found = user_rows.find(tx, name)
    if found is None:
        hint = "'drivebay user list' shows the users"
        raise NotFound(status=404, message=f"there is no user {name}", hint=hint)
    return found


def _user_row(tx: Transaction, user: User) -> Row:
    usage = drive_rows.usage(tx, user.uuid)
    return {
        "user": str(user.uuid),
        "name": user.name,
        "enabled": user.enabled,
        "drives": usage.drives,
        "quota_drives": user.quota_drives,
        "bytes": usage.size_bytes,
        "quota_bytes": user.quota_bytes,
    }


def _show_key(user: User, key: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"user": str(user.uuid), "name": user.name, "key": key})
    else:
        click.echo(f"{user.uuid}:{key}")


def _change_user(
    name: str, data: str | None, config: Path | None, *, as_json: bool, **changes: Any
) -> None:
    with _catalog(data, config) as (catalog, loaded):
        with catalog.write() as tx:
            uuid = _named(tx, name).uuid
            user_rows.change(tx, uuid, **changes)
            row = _user_row(tx, _named(tx, str(uuid)))
            held = [] if row["enabled"] else [claim.id for claim in claim_rows.of_holder(tx, uuid)]
        if as_json:
            print_json(row)
        _end_connections(loaded, held)


@click.group()
def standard() -> None:
    """Say which drives are standard: images that every user may copy."""


@standard.command("add")
@click.argument("drive")
@click.option(
    "--media",
    type=click.Choice(["disk", "cdrom"]),
    default="disk",
    help="What it holds.  [default: disk]",
)
@click.option("--gzip", is_flag=True, help="The drive holds a gzip stream, to image with gunzip.")
@click.option("--rawsize", metavar="BYTES", help="How long the stream is when unpacked.")
@_folder_options
def standard_add(  # noqa: PLR0913 - its options
    drive: str,
    *,
    media: str,
    rawsize: str | None,
    data: str | None,
    config: Path | None,
    gzip: bool,
    as_json: bool,
) -> None:
    """Mark a drive as standard.

    \b
    drivebay standard add 0012e24a-6eae-4279-9912-3432f698cec8
    drivebay standard add 0012e24a-6eae-4279-9912-3432f698cec8 --gzip

    It is listed for everybody then, and everybody may read it and image from it.
    """
    size = None if rawsize is None else _size(rawsize)
    marked = Standard(media=media, format="gzip" if gzip else "", rawsize=size)
    values = {"standard": marked, "readers": (EVERYONE,), "claim_type": ClaimType.SHARED}
    changed = _change_drive(drive, data, config, values)
    if as_json:
        print_json(_standard_row(changed))


@standard.command("remove")
@click.argument("drive")
@_folder_options
def standard_remove(drive: str, data: str | None, config: Path | None, *, as_json: bool) -> None:
    """Make a standard drive an ordinary one again.

    \b
    drivebay standard remove 0012e24a-6eae-4279-9912-3432f698cec8
    drivebay standard remove 0012e24a-6eae-4279-9912-3432f698cec8 --json

    Only its owner may read it then.
    """
    changed = _change_drive(drive, data, config, {"standard": None, "readers": ()})
    if as_json:
        print_json({"drive": str(changed.uuid), "name": changed.name})


@standard.command("list")
@_folder_options
def standard_list(data: str | None, config: Path | None, *, as_json: bool) -> None:
    """List the standard drives.

    \b
    drivebay standard list
    drivebay standard list --json
    """
    with _catalog(data, config) as (catalog, _), catalog.read() as tx:
        rows = [_standard_row(row) for row in drive_rows.standard(tx)]
    _print(rows, as_json=as_json, sizes=("size", "rawsize"))


def _standard_row(drive: Drive) -> Row:
    marked = drive.standard
    return {
        "drive": str(drive.uuid),
        "name": drive.name,
        "size": drive.size,
        "media": marked.media if marked else "",
        "format": marked.format if marked else "",
        "rawsize": marked.rawsize if marked else None,
    }


@click.group()
def fault() -> None:
    """See and clear drives that a failed flush has taken out of service."""


@fault.command("list")
@_folder_options
def fault_list(data: str | None, config: Path | None, *, as_json: bool) -> None:
    """List the drives that are out of service, with the reason.

    \b
    drivebay fault list
    drivebay fault list --json
    """
    with _catalog(data, config) as (catalog, _), catalog.read() as tx:
        rows = [_fault_row(row) for row in drive_rows.all_ready(tx) if row.fault]
    _print(rows, as_json=as_json)


@fault.command("clear")
@click.argument("drive")
@_folder_options
def fault_clear(drive: str, data: str | None, config: Path | None, *, as_json: bool) -> None:
    """Put a drive back into service.

    \b
    drivebay fault clear 0012e24a-6eae-4279-9912-3432f698cec8
    drivebay fault clear 0012e24a-6eae-4279-9912-3432f698cec8 --json

    Check its store and its content first: a failed flush may have lost what was written.
    """
    changed = _change_drive(drive, data, config, {"fault": ""})
    if as_json:
        print_json(_fault_row(changed))


def _fault_row(drive: Drive) -> Row:
    return {
        "drive": str(drive.uuid),
        "user": str(drive.owner),
        "store": drive.store,
        "fault": drive.fault,
    }


def _change_drive(
    text: str, data: str | None, config: Path | None, values: dict[str, Any]
) -> Drive:
    """Change a drive that is there, and return it as it is then."""
    try:
        uuid = parse_uuid(text.lower())
    except ValueError as error:
        raise click.UsageError(f"{text!r} is not a drive's uuid") from error
    with _catalog(data, config) as (catalog, loaded):
        with catalog.write() as tx:
            found = drive_rows.get(tx, uuid)
            if found is None or found.state is not DriveState.READY:
                raise NotFound(status=404, message=f"there is no drive {uuid}")
            drive_rows.change(tx, uuid, **values)
            changed = drive_rows.get(tx, uuid)
            assert changed is not None, "a drive cannot go while its row is being changed"
            ended = claims.drop_strangers(tx, changed)
        _end_connections(loaded, ended)
    return changed


# Short ones, for a terminal of 80 columns; MAX belongs to the column before it.
_HEADERS = {"enabled": "ON", "quota_drives": "MAX", "quota_bytes": "MAX"}


def _print(rows: list[Row], *, as_json: bool, sizes: tuple[str, ...] = ()) -> None:
    """Print a table in which the columns *sizes* are bytes."""
    if as_json:
        print_json(rows)
        return
    if rows:
        print_table(
            [_HEADERS.get(key, key.upper()) for key in rows[0]],
            [[_cell(row[key], is_size=key in sizes) for key in row] for row in rows],
        )


def _cell(value: Any, *, is_size: bool) -> Cell:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return int(value) if is_size else str(value)
