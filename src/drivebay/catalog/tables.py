"""The catalog's tables: what `migrations/` builds, as the queries see it.

Plain types and named constraints only, so that SQLite and PostgreSQL build the same tables.  UUIDs
are text; `readers`, `tags` and `user_data` are JSON text that SQL never looks into.
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from drivebay.model import Cipher, ClaimAccess, ClaimType, Conversion, DriveState, JobState

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# SQLite counts up a primary key only when its type is spelled INTEGER, which there has 64 bits.
_Id = Integer().with_variant(BigInteger, "postgresql")
_Uuid = String(36)


def _created_at() -> Column[object]:
    return Column(
        "created_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("CURRENT_TIMESTAMP"),
    )


def _one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


users = Table(
    "users",
    metadata,
    Column("uuid", _Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("quota_drives", BigInteger),
    Column("quota_bytes", BigInteger),
    _created_at(),
    CheckConstraint("quota_drives >= 0", name="quota_drives"),
    CheckConstraint("quota_bytes >= 0", name="quota_bytes"),
    Index("ix_users_name", "name"),
)

drives = Table(
    "drives",
    metadata,
    # An id is a place in the counter files: one that came back would bring old counts with it.
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("uuid", _Uuid, nullable=False, unique=True),
    Column("owner", _Uuid, ForeignKey("users.uuid"), nullable=False),
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("cipher", Text, nullable=False),
    Column("claim_type", Text, nullable=False),
    Column("readers", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("user_data", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("store", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("wrapped_key", LargeBinary),
    Column("fault", Text, nullable=False),
    # A drive is standard where `standard_media` is set.
    Column("standard_media", Text),
    Column("standard_format", Text),
    Column("standard_rawsize", BigInteger),
    _created_at(),
    CheckConstraint("size > 0", name="size"),
    _one_of("cipher", Cipher),
    _one_of("claim_type", ClaimType),
    _one_of("state", DriveState),
    CheckConstraint("standard_rawsize >= 0", name="standard_rawsize"),
    # All that the sums of a quota need, so that they do not touch the rows of 10,000 drives.
    Index("ix_drives_owner", "owner", "state", "size"),
    Index(
        "ix_drives_unfinished",
        "state",
        sqlite_where=text("state <> 'ready'"),
        postgresql_where=text("state <> 'ready'"),
    ),
    Index(
        "ix_drives_standard",
        "standard_media",
        sqlite_where=text("standard_media IS NOT NULL"),
        postgresql_where=text("standard_media IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    # Never used again either: a runner that was too late must not find another job in its place.
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column(
        "drive_uuid",
        _Uuid,
        ForeignKey("drives.uuid", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    Column("drive_owner", _Uuid, nullable=False),
    # No foreign keys: a failed job outlives its source, and still says what it was.
    Column("source_uuid", _Uuid, nullable=False),
    Column("source_owner", _Uuid, nullable=False),
    Column("conversion", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    # Whether a runner ever had it, so that the destination may hold some of the source.
    Column("started", Boolean, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("error", Text, nullable=False),
    _created_at(),
    _one_of("conversion", Conversion),
    _one_of("state", JobState),
    CheckConstraint("position >= 0", name="position"),
    CheckConstraint("total >= 0", name="total"),
    Index("ix_jobs_source_uuid", "source_uuid"),
    Index("ix_jobs_state", "state"),
    sqlite_autoincrement=True,
)

claims = Table(
    "claims",
    metadata,
    # Never used again: connections are known by it, and must not pass to another claim.
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("drive_uuid", _Uuid, ForeignKey("drives.uuid", ondelete="CASCADE"), nullable=False),
    Column("server_uuid", _Uuid, nullable=False),
    Column("holder", _Uuid, ForeignKey("users.uuid"), nullable=False),
    Column("access", Text, nullable=False),
    Column("ticket_hash", LargeBinary, unique=True),
    _created_at(),
    _one_of("access", ClaimAccess),
    UniqueConstraint("drive_uuid", "server_uuid"),
    Index("ix_claims_holder", "holder"),
    sqlite_autoincrement=True,
)

facts = Table(
    "facts",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
