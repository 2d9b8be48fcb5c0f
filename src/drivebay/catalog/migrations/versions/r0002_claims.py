"""Claims of servers on drives."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add their table."""
    op.create_table(
        "claims",
        sa.Column(
            "id",
            sa.Integer().with_variant(sa.BigInteger(), "postgresql"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("drive_uuid", sa.String(length=36), nullable=False),
        sa.Column("server_uuid", sa.String(length=36), nullable=False),
        sa.Column("holder", sa.String(length=36), nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("ticket_hash", sa.LargeBinary(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.CheckConstraint("access IN ('read', 'write')", name=op.f("ck_claims_access")),
        sa.ForeignKeyConstraint(
            ["drive_uuid"],
            ["drives.uuid"],
            name=op.f("fk_claims_drive_uuid"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["holder"], ["users.uuid"], name=op.f("fk_claims_holder")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claims")),
        sa.UniqueConstraint("drive_uuid", "server_uuid", name=op.f("uq_claims_drive_uuid")),
        sa.UniqueConstraint("ticket_hash", name=op.f("uq_claims_ticket_hash")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_claims_holder", "claims", ["holder"], unique=False)
