"""What the last run left half done, finished or undone before anybody is served.

Every step may be cut short and done again.
"""

import logging

from drivebay.catalog import drives as rows
from drivebay.errors import StorageFailed
from drivebay.service.context import Context
from drivebay.service.drives import abandon

_log = logging.getLogger("drivebay.recovery")


def recover(ctx: Context) -> None:
    """Undo creates and finish destroys that were cut short."""
    with ctx.catalog.read() as tx:
        unfinished = rows.unfinished(tx)
    for drive in unfinished:
        try:
            abandon(ctx, drive)
        except StorageFailed as error:
            # Its store may be unmounted; the row keeps the intent for the next start.
            _log.warning("drive %s: still %s: %s", drive.uuid, drive.state, error)
        else:
            _log.info("drive %s: %s was cut short; cleared", drive.uuid, drive.state)
