"""What the last run left half done, finished or undone before anybody is served.

Every step may be cut short and done again.
"""

import logging

from drivebay.catalog import drives as rows
from drivebay.errors import DrivebayError
from drivebay.model import Drive
from drivebay.service.context import Context, stored_size
from drivebay.service.drives import abandon

_log = logging.getLogger("drivebay.recovery")


def recover(ctx: Context) -> None:
    """Undo creates, finish destroys and settle changes of size that were cut short."""
    with ctx.catalog.read() as tx:
        unfinished, ready = rows.unfinished(tx), rows.all_ready(tx)
    for drive in unfinished:
        try:
            abandon(ctx, drive)
        except DrivebayError as error:
            # Its store may be unmounted; the row keeps the intent for the next start.
            _log.warning("drive %s: still %s: %s", drive.uuid, drive.state, error)
        else:
            _log.info("drive %s: %s was cut short; cleared", drive.uuid, drive.state)
    for drive in ready:
        try:
            _settle_size(ctx, drive)
        except DrivebayError as error:
            _log.warning("drive %s: %s", drive.uuid, error)


def _settle_size(ctx: Context, drive: Drive) -> None:
    """Make the volume as long as the row says: the row is changed when a change of size counts."""
    with ctx.store_of(drive).open(drive.uuid) as stored:
        present = stored.size
    wanted = stored_size(drive.size, drive.cipher)
    if present < wanted:
        _log.error("drive %s: its volume has %d of %d bytes", drive.uuid, present, wanted)
    elif present > wanted:
        with ctx.open_volume(drive) as volume:
            volume.resize(drive.size)
        _log.info("drive %s: a change of its size was cut short; settled", drive.uuid)
