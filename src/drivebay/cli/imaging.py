"""The command `image`: start, watch and stop server-side copies."""

import time

import click

from drivebay.cli.app import App, common
from drivebay.cli.naming import DRIVE, find_record, find_uuid, label
from drivebay.cli.output import print_json
from drivebay.cli.progress import chosen, close, with_progress
from drivebay.cli.statuses import ExitStatus
from drivebay.client.errors import ImagingFailed, Interrupted
from drivebay.client.session import Session
from drivebay.client.transfer import RETRIES, Progress
from drivebay.wire import Record

# The first looks come quickly, for small drives; later ones cost the server little.
_POLL_FIRST_S = 0.1
_POLL_S_MAX = 2.0


@click.command()
@click.argument("drive", metavar="DEST", type=DRIVE)
@click.argument("source", type=DRIVE, required=False)
@click.option("--gzip", "conversion", flag_value="gzip", help="Write a gzip stream of SOURCE.")
@click.option("--gunzip", "conversion", flag_value="gunzip", help="Unpack the stream on SOURCE.")
@click.option("--wait/--no-wait", default=True, help="Wait for the end.  [default: wait]")
@click.option("--cancel", is_flag=True, help="Stop imaging onto DEST.")
@with_progress
@common(is_long=True)
def image(  # noqa: PLR0913 - its options
    app: App,
    drive: str,
    source: str | None,
    conversion: str | None,
    progress_mode: str,
    *,
    wait: bool,
    cancel: bool,
) -> None:
    """Copy drive SOURCE onto drive DEST, on the server.

    \b
    drivebay image web golden
    drivebay image web debian-12 --gunzip --no-wait

    SOURCE may be a standard drive or one that you may read.  Waits and shows progress; with
    --no-wait it ends at once, with status 8.
    """
    if (source is None) != cancel:
        raise click.UsageError("give SOURCE, or --cancel without it")
    if cancel and (conversion or not wait):
        raise click.UsageError("--cancel goes with no other option")
    with app.session(retries=RETRIES) as session:
        record = find_record(session, drive)
        uuid = str(record["drive"])
        if source is None:
            session.cancel_imaging(uuid)
            app.note(f"stopped imaging onto {label(record)}")
            _finish(app, session.info(uuid, full=True), ExitStatus.DONE)
            return
        session.image(uuid, find_uuid(session, source, standard=True), conversion or "")
        if not wait:
            app.note(f"imaging onto {label(record)} has started; 'drivebay show' tells how far")
            _finish(app, session.info(uuid, full=True), ExitStatus.STARTED)
            click.get_current_context().exit(ExitStatus.STARTED)
        progress = chosen(app, progress_mode)
        try:
            done = wait_for(session, record, progress)
        except KeyboardInterrupt:
            hint = f"imaging goes on; stop it with: drivebay image {uuid} --cancel"
            raise Interrupted(hint=hint) from None
        finally:
            close(progress)
        app.note(f"imaged {label(record)}")
        _finish(app, done, ExitStatus.DONE)


def wait_for(session: Session, before: Record, progress: Progress) -> Record:
    """Poll until imaging onto the drive has ended, and return its record.

    Raises:
        ImagingFailed: it ended badly.
    """
    uuid, size = str(before["drive"]), int(before["size"])
    progress.start("imaging", total=size)
    shown, pause_s = 0, _POLL_FIRST_S
    while True:
        record = session.info(uuid, full=True)
        state = str(record.get("imaging", ""))
        if not state:
            progress.advance(size - shown)
            return record
        if state.startswith(("failed", "error")):
            reason = str(record.get("imaging:error", ""))
            raise ImagingFailed(drive=label(record), reason=reason)
        # Rounded up, as the percents that are shown of it are rounded down.
        done = -(-size * _percent(state) // 100)
        progress.advance(max(0, done - shown))
        shown = max(shown, done)
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _POLL_S_MAX)


def _percent(state: str) -> int:
    digits = state.removesuffix("%")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) <= 3
    return min(int(digits), 100) if is_number else 0


def _finish(app: App, record: Record, status: ExitStatus) -> None:
    if app.as_json:
        print_json(record)
        app.event("outcome", exit_status=status, drive=record["drive"])
