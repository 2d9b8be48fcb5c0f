"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Build them from nothing."""
    op.create_table(
        "facts",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_facts")),
    )
    op.create_table(
        "users",
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("quota_drives", sa.BigInteger(), nullable=True),
        sa.Column("quota_bytes", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.CheckConstraint("quota_bytes >= 0", name=op.f("ck_users_quota_bytes")),
        sa.CheckConstraint("quota_drives >= 0", name=op.f("ck_users_quota_drives")),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_users")),
    )
    op.create_index("ix_users_name", "users", ["name"], unique=False)
    op.create_table(
        "drives",
        sa.Column(
            "id",
            sa.Integer().with_variant(sa.BigInteger(), "postgresql"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("owner", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("cipher", sa.Text(), nullable=False),
        sa.Column("claim_type", sa.Text(), nullable=False),
        sa.Column("readers", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("user_data", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=False),
        sa.Column("standard_media", sa.Text(), nullable=True),
        sa.Column("standard_format", sa.Text(), nullable=True),
        sa.Column("standard_rawsize", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.CheckConstraint("cipher IN ('none', 'aes-xts-plain')", name=op.f("ck_drives_cipher")),
        sa.CheckConstraint(
            "claim_type IN ('exclusive', 'shared')", name=op.f("ck_drives_claim_type")
        ),
        sa.CheckConstraint(
            "state IN ('creating', 'ready', 'destroying')", name=op.f("ck_drives_state")
        ),
        sa.CheckConstraint("size > 0", name=op.f("ck_drives_size")),
        sa.CheckConstraint("standard_rawsize >= 0", name=op.f("ck_drives_standard_rawsize")),
        sa.ForeignKeyConstraint(["owner"], ["users.uuid"], name=op.f("fk_drives_owner")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drives")),
        sa.UniqueConstraint("uuid", name=op.f("uq_drives_uuid")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_drives_owner", "drives", ["owner", "state", "size"], unique=False)
    op.create_index(
        "ix_drives_standard",
        "drives",
        ["standard_media"],
        unique=False,
        sqlite_where=sa.text("standard_media IS NOT NULL"),
        postgresql_where=sa.text("standard_media IS NOT NULL"),
    )
    op.create_index(
        "ix_drives_unfinished",
        "drives",
        ["state"],
        unique=False,
        sqlite_where=sa.text("state <> 'ready'"),
        postgresql_where=sa.text("state <> 'ready'"),
    )
    op.create_table(
        "jobs",
        sa.Column(
            "id",
            sa.Integer().with_variant(sa.BigInteger(), "postgresql"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("drive_uuid", sa.String(length=36), nullable=False),
        sa.Column("drive_owner", sa.String(length=36), nullable=False),
        sa.Column("source_uuid", sa.String(length=36), nullable=False),
        sa.Column("source_owner", sa.String(length=36), nullable=False),
        sa.Column("conversion", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.Boolean(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.CheckConstraint("conversion IN ('', 'gzip', 'gunzip')", name=op.f("ck_jobs_conversion")),
        sa.CheckConstraint("state IN ('queued', 'running', 'failed')", name=op.f("ck_jobs_state")),
        sa.CheckConstraint("position >= 0", name=op.f("ck_jobs_position")),
        sa.CheckConstraint("total >= 0", name=op.f("ck_jobs_total")),
        sa.ForeignKeyConstraint(
            ["drive_uuid"], ["drives.uuid"], name=op.f("fk_jobs_drive_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("drive_uuid", name=op.f("uq_jobs_drive_uuid")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_source_uuid", "jobs", ["source_uuid"], unique=False)
    op.create_index("ix_jobs_state", "jobs", ["state"], unique=False)
