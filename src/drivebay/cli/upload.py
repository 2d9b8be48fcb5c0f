"""The command `upload`."""

import click

from drivebay.cli.app import App, common
from drivebay.cli.confirm import confirm_loss
from drivebay.cli.drives import create_drive, record_options
from drivebay.cli.files import Input, opened_input
from drivebay.cli.naming import DRIVE, SIZE, find_record, label
from drivebay.cli.output import print_json
from drivebay.cli.statuses import ExitStatus
from drivebay.cli.transfers import Stopwatch, TransferOptions, transfer_options, watched
from drivebay.client.errors import NoRoom
from drivebay.client.session import Session
from drivebay.client.source import Source, open_source
from drivebay.client.upload import Upload
from drivebay.units import format_size
from drivebay.wire import Record


@click.command()
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--name", metavar="NAME", help="The new drive's name.  [default: the file's name]")
@click.option("--size", type=SIZE, metavar="SIZE", help="The new drive's size; how long stdin is.")
@click.option("--drive", type=DRIVE, metavar="DRIVE", help="Overwrite this drive instead.")
@click.option(
    "--offset",
    type=SIZE,
    default=0,
    metavar="OFFSET",
    help="Resume here; what is before is only verified.",
)
@record_options
@transfer_options
@common(is_long=True)
def upload(  # noqa: PLR0913 - its options
    app: App,
    file: str,
    *,
    name: str | None,
    size: int | None,
    drive: str | None,
    offset: int,
    values: dict[str, str],
    how: TransferOptions,
) -> None:
    """Upload a file, device or stdin (-), and print the drive's uuid.

    \b
    drivebay upload disk.img --name web
    zcat disk.img.gz | drivebay upload - --name web --size 10G

    FILE may be a block device; the length of a pipe must be given as SIZE.  Moves 4 MiB pieces
    over several connections, packs them where it pays, sends nothing for the zeros of a new drive,
    and reads back what it sent.  When it is stopped it prints the command that resumes.
    """
    if drive is None and offset:
        raise click.UsageError("--offset needs --drive: a new drive starts at 0")
    if drive is not None and (values or name):
        raise click.UsageError("--drive takes a drive as it is: leave out what a new one would get")
    with opened_input(file) as given, how.session(app) as session:
        source = open_source(given.name, given.fd, size)
        if source.size == 0:
            raise click.UsageError(f"{given.name} is empty, and a drive cannot be")
        if size is not None and size < source.size:
            raise click.UsageError(f"--size is less than the {source.size} bytes of {given.name}")
        if offset > source.size:
            raise click.UsageError(f"--offset is past the end of {given.name} at {source.size}")
        if drive is None:
            wanted = max(size or 0, source.size)
            record = create_drive(session, name or given.drive_name, wanted, values)
            app.note(f"created {label(record)} ({record['drive']})")
        else:
            record = find_record(session, drive)
            _check_fits(record, source)
            confirm_loss(record, "overwrite", yes=how.yes)
        work = Upload(
            session=session,
            drive=str(record["drive"]),
            source=source,
            offset=offset,
            is_new=drive is None,
            connections=how.connections,
        )
        _run(app, work, given, how)
        _show(app, session, record)


def _run(app: App, work: Upload, given: Input, how: TransferOptions) -> None:
    def resume() -> list[str]:
        length = ["--size", str(work.source.size)] if given.argument == "-" else []
        # A file called "-x" would be taken for an option.
        name = (
            f"./{given.argument}" if given.argument[:1] == "-" != given.argument else given.argument
        )
        where = ["--drive", work.drive, "--offset", str(work.offset), "--yes"]
        verify = [] if how.verify else ["--no-verify"]
        return ["drivebay", "upload", name, *length, *where, *verify, *app.same_service()]

    watch, first = Stopwatch(), work.offset
    with watched(app, how, resume) as progress:
        work.progress = progress
        work.run()
        if how.verify:
            work.verify()
    if work.source.was_changed():
        app.warn(f"{given.name} was written to while it was uploaded; the drive may be torn")
    sentence = watch.summary("uploaded", work.source.size - first)
    holes = f"; {format_size(work.skipped)} of zeros not sent" if work.skipped else ""
    verified = ", verified" if how.verify else ""
    app.note(f"{sentence}{verified}{holes}")


def _show(app: App, session: Session, record: Record) -> None:
    if app.as_json:
        print_json(session.info(str(record["drive"]), full=True))
        app.event("outcome", exit_status=ExitStatus.DONE, drive=record["drive"])
    else:
        click.echo(record["drive"])


def _check_fits(record: Record, source: Source) -> None:
    size = int(record["size"])
    if source.size > size:
        raise NoRoom(
            status=507,
            message=f"{label(record)} has {size} bytes, {source.size - size} too few",
            hint=f"drivebay set {record['drive']} --size {source.size}",
        )
