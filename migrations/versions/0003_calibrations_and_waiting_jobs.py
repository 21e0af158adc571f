"""calibrations, jobs that wait, can be cancelled and say how far they are, and items in pages"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# SQLite alters a column by copying its table, which must not lose AUTOINCREMENT: ids are never reused.
COPIED = {"sqlite_autoincrement": True}


def upgrade() -> None:
    with op.batch_alter_table("jobs", table_kwargs=COPIED) as jobs:
        jobs.alter_column("gallery_id", existing_type=Identity, nullable=True)
        jobs.alter_column("started_at", existing_type=sa.DateTime(timezone=True), nullable=True)
        jobs.add_column(sa.Column("gallery", sa.String(length=64), nullable=True))
        jobs.add_column(sa.Column("request", sa.JSON(), nullable=True))
        jobs.add_column(sa.Column("error", sa.Text(), nullable=True))
        jobs.add_column(sa.Column("stage", sa.String(length=32), nullable=True))
        jobs.add_column(sa.Column("done", sa.BigInteger(), server_default="0", nullable=False))
        jobs.add_column(sa.Column("total", sa.BigInteger(), server_default="0", nullable=False))
        jobs.add_column(sa.Column("stage_started_at", sa.DateTime(timezone=True), nullable=True))
        jobs.add_column(sa.Column("progressed_at", sa.DateTime(timezone=True), nullable=True))
        jobs.add_column(sa.Column("cancel_wanted", sa.Boolean(), server_default=sa.false(), nullable=False))
        jobs.add_column(sa.Column("holder", sa.String(length=128), nullable=True))
        jobs.add_column(sa.Column("holder_until", sa.DateTime(timezone=True), nullable=True))
        jobs.add_column(sa.Column("deaths", sa.Integer(), server_default="0", nullable=False))
        jobs.add_column(sa.Column("created_at", sa.DateTime(timezone=True), nullable=True))
        jobs.create_index("ix_jobs_state", ["state"], unique=False)
    op.execute("UPDATE jobs SET created_at = started_at")
    op.execute("UPDATE jobs SET gallery = (SELECT name FROM galleries WHERE galleries.id = jobs.gallery_id)")
    op.create_index("ix_items_gallery_id_kind_state_id", "items", ["gallery_id", "kind", "state", "id"], unique=False)
    op.create_table(
        "calibrations",
        sa.Column("id", Identity, nullable=False),
        sa.Column("gallery_id", Identity, nullable=False),
        sa.Column("matcher", sa.String(length=512), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("direction", sa.String(length=16), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("measured", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name=op.f("fk_calibrations_gallery_id_galleries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibrations")),
        sa.UniqueConstraint("gallery_id", "matcher", "direction", name="uq_calibrations_gallery_id_matcher_direction"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_calibrations_gallery_id"), "calibrations", ["gallery_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_calibrations_gallery_id"), table_name="calibrations")
    op.drop_table("calibrations")
    op.drop_index("ix_items_gallery_id_kind_state_id", table_name="items")
    # What never began has no place in the older schema.
    op.execute("DELETE FROM jobs WHERE gallery_id IS NULL OR started_at IS NULL")
    with op.batch_alter_table("jobs", table_kwargs=COPIED) as jobs:
        jobs.drop_index("ix_jobs_state")
        for name in (
            "created_at",
            "deaths",
            "holder_until",
            "holder",
            "cancel_wanted",
            "progressed_at",
            "stage_started_at",
            "total",
            "done",
            "stage",
            "error",
            "request",
            "gallery",
        ):
            jobs.drop_column(name)
        jobs.alter_column("started_at", existing_type=sa.DateTime(timezone=True), nullable=False)
        jobs.alter_column("gallery_id", existing_type=Identity, nullable=False)
