"""The command `download`."""

from pathlib import Path

import click

from drivebay.cli.app import App, common
from drivebay.cli.confirm import confirm_replacing
from drivebay.cli.files import check_target, stdout_fd
from drivebay.cli.naming import DRIVE, find_record, label
from drivebay.cli.output import print_json
from drivebay.cli.statuses import ExitStatus
from drivebay.cli.transfers import Stopwatch, TransferOptions, transfer_options, watched
from drivebay.client.download import Download
from drivebay.wire import Record


@click.command()
@click.argument("drive", type=DRIVE)
@click.argument("file", type=click.Path(allow_dash=True))
@transfer_options
@common(is_long=True)
def download(app: App, drive: str, file: str, how: TransferOptions) -> None:
    """Download a drive into FILE, or to stdout (-).

    \b
    drivebay download web web.img
    drivebay download web - | gzip > web.img.gz

    Until it is whole the file is called FILE.part; the same command goes on where it stopped.
    Zeros become holes.  FILE is read back from disk and compared with what was received.
    """
    fd = stdout_fd() if file == "-" else None
    if fd is not None and app.as_json:
        raise click.UsageError("--json cannot share stdout with the drive's bytes: name a file")
    target = Path(file)
    if fd is None:
        check_target(target, f"drivebay download {drive} -")
        if target.exists():
            confirm_replacing(file, yes=how.yes)
    with how.session(app) as session:
        record = find_record(session, drive)
        work = Download(session=session, record=record, connections=how.connections)
        watch = Stopwatch()
        with watched(app, how, lambda: _resume(app, record, file, how)) as progress:
            work.progress = progress
            if fd is None:
                work.to_file(target, verify=how.verify)
            else:
                work.to_stream(fd)
        if work.was_changed():
            app.warn(
                f"{label(record)} was written to while it was downloaded; the copy may be torn"
            )
    verified = ", verified" if how.verify and fd is None else ""
    app.note(f"{watch.summary('downloaded', work.size)}{verified}: {label(record)}")
    if app.as_json:
        print_json(record)
        app.event("outcome", exit_status=ExitStatus.DONE, drive=record["drive"])


def _resume(app: App, record: Record, file: str, how: TransferOptions) -> list[str]:
    # Stdout cannot be taken up again: this is then the command that starts over.
    yes = ["--yes"] if how.yes else []
    verify = [] if how.verify else ["--no-verify"]
    name = f"./{file}" if file[:1] == "-" != file else file
    words = ["drivebay", "download", str(record["drive"]), name]
    return [*words, *yes, *verify, *app.same_service()]
