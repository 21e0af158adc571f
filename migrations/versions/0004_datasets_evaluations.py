"""what datasets say of items, and evaluations that keep every query's page and go on after a kill"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# SQLite alters a column by copying its table, which must not lose AUTOINCREMENT: ids are never reused.
COPIED = {"sqlite_autoincrement": True}


def upgrade() -> None:
    op.create_table(
        "item_metadata",
        sa.Column("item_id", Identity, autoincrement=False, nullable=False),
        sa.Column("split", sa.String(length=64), nullable=True),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_item_metadata_item_id_items")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_item_metadata")),
    )
    with op.batch_alter_table("evaluations", table_kwargs=COPIED) as evaluations:
        evaluations.add_column(sa.Column("task", sa.String(length=16), server_default="retrieval", nullable=False))
        evaluations.add_column(sa.Column("state", sa.String(length=16), server_default="done", nullable=False))
        evaluations.add_column(sa.Column("digest", sa.String(length=64), nullable=True))
        evaluations.add_column(sa.Column("fingerprint", sa.String(length=64), nullable=True))
        evaluations.add_column(sa.Column("matcher_fingerprint", sa.String(length=64), nullable=True))
        evaluations.add_column(sa.Column("protocol", sa.String(length=32), nullable=True))
        evaluations.add_column(sa.Column("versions", sa.JSON(), nullable=True))
        evaluations.add_column(sa.Column("seconds", sa.Double(), nullable=True))
        evaluations.add_column(sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "evaluation_pages",
        sa.Column("evaluation_id", Identity, nullable=False),
        sa.Column("direction", sa.String(length=16), nullable=False),
        sa.Column("query_id", Identity, autoincrement=False, nullable=False),
        sa.Column("fold", sa.Integer(), nullable=False),
        sa.Column("before", sa.Integer(), nullable=True),
        sa.Column("after", sa.Integer(), nullable=True),
        sa.Column("first_milliseconds", sa.Double(), nullable=False),
        sa.Column("rerank_milliseconds", sa.Double(), nullable=False),
        sa.Column("page", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluations.id"], name=op.f("fk_evaluation_pages_evaluation_id_evaluations")
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "direction", "query_id", name=op.f("pk_evaluation_pages")),
    )


def downgrade() -> None:
    op.drop_table("evaluation_pages")
    with op.batch_alter_table("evaluations", table_kwargs=COPIED) as evaluations:
        for name in (
            *("finished_at", "seconds", "versions", "protocol", "matcher_fingerprint"),
            *("fingerprint", "digest", "state", "task"),
        ):
            evaluations.drop_column(name)
    op.drop_table("item_metadata")
