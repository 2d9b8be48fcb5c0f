"""The operator's commands: those that work on a data folder instead of over HTTP.

`serve` runs the service; `user`, `standard` and `fault` change the catalog directly, while the
service runs or not.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from drivebay import folder, settings
from drivebay.catalog import Catalog
from drivebay.catalog import drives as drive_rows
from drivebay.catalog import users as user_rows
from drivebay.errors import DrivebayError, SetupFailed
from drivebay.model import EVERYONE, ClaimType, Drive, DriveState, Standard
from drivebay.service import accounts
from drivebay.units import parse_size
from drivebay.wire import parse_uuid

Command = Callable[..., None]


class _Failed(click.ClickException):
    """A sentence, a hint, exit status 1."""

    def __init__(self, failure: DrivebayError) -> None:
        super().__init__(str(failure))
        self.hint = getattr(failure, "hint", "")

    def show(self, file: Any = None) -> None:
        click.echo(f"drivebay: {self.format_message()}", file=file, err=file is None)
        if self.hint:
            click.echo(f"hint: {self.hint}", file=file, err=file is None)


def _told(function: Command) -> Command:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except DrivebayError as failure:
            raise _Failed(failure) from failure

    return wrapper


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


_folder_options = _setting_options("data")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@contextmanager
def _catalog(data: str | None, config: Path | None) -> Iterator[tuple[Catalog, settings.Settings]]:
    loaded = settings.load({"data": data}, config)
    folder.prepare(loaded.data)
    catalog = folder.catalog_of(loaded.data)
    try:
        yield catalog, loaded
    finally:
        catalog.close()


@click.command()
@_setting_options()
@_told
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
    from drivebay import serve as service

    service.run(settings.load(given, config))


@click.group()
def user() -> None:
    """Add, list and change the users of a data folder."""


@user.command("add")
@click.argument("name", default="")
@_folder_options
@_told
def user_add(name: str, data: str | None, config: Path | None) -> None:
    """Make a user; prints UUID:KEY, the only time that the key is shown.

    \b
    drivebay user add alice
    drivebay user add --data /srv/drives
    """
    with _catalog(data, config) as (catalog, loaded), catalog.write() as tx:
        added, key = accounts.add(
            tx, name, drives=loaded.quota_drives or None, size_bytes=loaded.quota_bytes or None
        )
    click.echo(f"{added.uuid}:{key}")


@user.command("list")
@_folder_options
@_json_option
@_told
def user_list(data: str | None, config: Path | None, *, as_json: bool) -> None:
    """List the users with what they have and may have.

    \b
    drivebay user list
    drivebay user list --json
    """
    with _catalog(data, config) as (catalog, _), catalog.read() as tx:
        rows = [
            {
                "user": str(row.uuid),
                "name": row.name,
                "enabled": row.enabled,
                "drives": (usage := drive_rows.usage(tx, row.uuid)).drives,
                "quota_drives": row.quota_drives,
                "bytes": usage.size_bytes,
                "quota_bytes": row.quota_bytes,
            }
            for row in user_rows.listed(tx)
        ]
    _print(rows, as_json=as_json)


@user.command("disable")
@click.argument("user")
@_folder_options
@_told
def user_disable(user: str, data: str | None, config: Path | None) -> None:
    """Refuse the user's requests from now on; the drives stay.

    \b
    drivebay user disable alice
    drivebay user disable 2164ce57-591c-43ee-ade5-e2fe0ee13c3e --data /srv/drives
    """
    _change_user(user, data, config, enabled=False)


@user.command("enable")
@click.argument("user")
@_folder_options
@_told
def user_enable(user: str, data: str | None, config: Path | None) -> None:
    """Answer the user's requests again.

    \b
    drivebay user enable alice
    drivebay user enable 2164ce57-591c-43ee-ade5-e2fe0ee13c3e --data /srv/drives
    """
    _change_user(user, data, config, enabled=True)


@user.command("rotate-key")
@click.argument("user")
@_folder_options
@_told
def user_rotate_key(user: str, data: str | None, config: Path | None) -> None:
    """Give the user a new key; prints UUID:KEY, and the old key is refused at once.

    \b
    drivebay user rotate-key alice
    drivebay user rotate-key alice --data /srv/drives
    """
    with _catalog(data, config) as (catalog, _), catalog.write() as tx:
        named = accounts.named(tx, user)
        key = accounts.rotate_key(tx, named)
    click.echo(f"{named.uuid}:{key}")


@user.command("quota")
@click.argument("user")
@click.option("--drives", metavar="N", help="Drives that the user may have, or 'none'.")
@click.option("--bytes", "size", metavar="BYTES", help="Bytes with k, M, G or T, or 'none'.")
@_folder_options
@_told
def user_quota(
    user: str, drives: str | None, size: str | None, data: str | None, config: Path | None
) -> None:
    """Set how many drives and bytes the user may have; what is over stays.

    \b
    drivebay user quota alice --drives 10 --bytes 100G
    drivebay user quota alice --bytes none
    """
    changes: dict[str, int | None] = {}
    try:
        if drives is not None:
            changes["quota_drives"] = None if drives == "none" else parse_size(drives)
        if size is not None:
            changes["quota_bytes"] = None if size == "none" else parse_size(size)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not changes:
        raise click.UsageError("give --drives, --bytes or both")
    _change_user(user, data, config, **changes)


def _change_user(name: str, data: str | None, config: Path | None, **changes: Any) -> None:
    with _catalog(data, config) as (catalog, _), catalog.write() as tx:
        user_rows.change(tx, accounts.named(tx, name).uuid, **changes)


@click.group()
def standard() -> None:
    """Say which drives are standard: images that every user may copy."""


@standard.command("add")
@click.argument("drive")
@click.option("--media", type=click.Choice(["disk", "cdrom"]), default="disk", show_default=True)
@click.option("--gzip", is_flag=True, help="The drive holds a gzip stream, to image with gunzip.")
@click.option("--rawsize", metavar="BYTES", help="How long the stream is when unpacked.")
@_folder_options
@_told
def standard_add(
    drive: str,
    media: str,
    rawsize: str | None,
    data: str | None,
    config: Path | None,
    *,
    gzip: bool,
) -> None:
    """Mark a drive as standard: listed for everybody, readable and imageable by all.

    \b
    drivebay standard add 0012e24a-6eae-4279-9912-3432f698cec8
    drivebay standard add 0012e24a-6eae-4279-9912-3432f698cec8 --gzip --rawsize 2G
    """
    try:
        size = None if rawsize is None else parse_size(rawsize)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    marked = Standard(media=media, format="gzip" if gzip else "", rawsize=size)
    with _catalog(data, config) as (catalog, _), catalog.write() as tx:
        row = _ready(drive_rows.get(tx, _uuid(drive)), drive)
        drive_rows.change(
            tx, row.uuid, standard=marked, readers=(EVERYONE,), claim_type=ClaimType.SHARED
        )


@standard.command("remove")
@click.argument("drive")
@_folder_options
@_told
def standard_remove(drive: str, data: str | None, config: Path | None) -> None:
    """Make a standard drive an ordinary one that only its owner may read.

    \b
    drivebay standard remove 0012e24a-6eae-4279-9912-3432f698cec8
    drivebay standard remove 0012e24a-6eae-4279-9912-3432f698cec8 --data /srv/drives
    """
    with _catalog(data, config) as (catalog, _), catalog.write() as tx:
        row = _ready(drive_rows.get(tx, _uuid(drive)), drive)
        drive_rows.change(tx, row.uuid, standard=None, readers=())


@standard.command("list")
@_folder_options
@_json_option
@_told
def standard_list(data: str | None, config: Path | None, *, as_json: bool) -> None:
    """List the standard drives.

    \b
    drivebay standard list
    drivebay standard list --json
    """
    with _catalog(data, config) as (catalog, _), catalog.read() as tx:
        drives = drive_rows.standard(tx)
    _print(
        [
            {
                "drive": str(row.uuid),
                "name": row.name,
                "size": row.size,
                "media": row.standard.media if row.standard else "",
                "format": row.standard.format if row.standard else "",
                "rawsize": row.standard.rawsize if row.standard else None,
            }
            for row in drives
        ],
        as_json=as_json,
    )


@click.group()
def fault() -> None:
    """See and clear drives that a failed flush has taken out of service."""


@fault.command("list")
@_folder_options
@_json_option
@_told
def fault_list(data: str | None, config: Path | None, *, as_json: bool) -> None:
    """List the drives that are out of service, with the reason.

    \b
    drivebay fault list
    drivebay fault list --json
    """
    with _catalog(data, config) as (catalog, _), catalog.read() as tx:
        rows = [
            {"drive": str(row.uuid), "user": str(row.owner), "store": row.store, "fault": row.fault}
            for row in drive_rows.all_ready(tx)
            if row.fault
        ]
    _print(rows, as_json=as_json)


@fault.command("clear")
@click.argument("drive")
@_folder_options
@_told
def fault_clear(drive: str, data: str | None, config: Path | None) -> None:
    """Put a drive back into service once its store and its content have been checked.

    \b
    drivebay fault clear 0012e24a-6eae-4279-9912-3432f698cec8
    drivebay fault clear 0012e24a-6eae-4279-9912-3432f698cec8 --data /srv/drives
    """
    with _catalog(data, config) as (catalog, _), catalog.write() as tx:
        row = _ready(drive_rows.get(tx, _uuid(drive)), drive)
        drive_rows.change(tx, row.uuid, fault="")


def _uuid(text: str) -> UUID:
    try:
        return parse_uuid(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r} is not a drive's uuid") from error


def _ready(drive: Drive | None, named: str) -> Drive:
    if drive is None or drive.state is not DriveState.READY:
        raise SetupFailed(reason=f"there is no drive {named}")
    return drive


def _print(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        cells = ("-" if value is None else str(value) for value in row.values())
        click.echo("\t".join(cells))
