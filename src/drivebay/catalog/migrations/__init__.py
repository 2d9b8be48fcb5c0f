"""The history of the catalog's schema, told to Alembic.

A new revision: change `tables.py`, add a file to `versions/` and name it in `HEAD`; a test compares
the two.  There are no downgrades: an older program refuses a newer catalog.
"""

import logging

from sqlalchemy import Connection, inspect, text

from drivebay.errors import SetupFailed

HEAD = "0002"
"""The revision that this program works with."""

_VERSION_TABLE = "alembic_version"


def is_current(tx: Connection) -> bool:
    """Whether the tables are those that this program works with."""
    return _revision(tx) == HEAD


def upgrade(tx: Connection) -> None:
    """Bring the tables up to `HEAD`, from whatever older revision or from nothing.

    Raises:
        SetupFailed: they are of a revision that this program does not know.
    """
    # Alembic tells of every step and every plug-in, from its import on.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It takes a third of a second to import, and is of no use once the tables are current.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config(attributes={"connection": tx})
    config.set_main_option("script_location", "drivebay.catalog:migrations")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    present = _revision(tx)
    if present is not None and present not in known:
        raise SetupFailed(
            reason=f"the catalog was written by a newer drivebay (schema {present})",
            hint="start that version again, or restore the backup made before it",
        )
    command.upgrade(config, HEAD)


def _revision(tx: Connection) -> str | None:
    if not inspect(tx).has_table(_VERSION_TABLE):
        return None
    # The table's name is a constant; Alembic keeps one row in it.
    query = text(f"SELECT version_num FROM {_VERSION_TABLE}")  # noqa: S608
    revision: str | None = tx.execute(query).scalar()
    return revision
