"""judgements, and what stands behind a pair"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # Every pair that is there was read from a captions.jsonl.
    op.add_column("pairs", sa.Column("standing", sa.String(length=16), server_default="given", nullable=False))
    op.create_table(
        "judgements",
        sa.Column("image_id", Identity, nullable=False),
        sa.Column("text_hash", sa.String(length=64), nullable=False),
        sa.Column("captioner", sa.String(length=512), nullable=False),
        sa.Column("gallery_id", Identity, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("match_probability", sa.Double(), nullable=False),
        sa.Column("kept", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name=op.f("fk_judgements_gallery_id_galleries")),
        sa.ForeignKeyConstraint(["image_id"], ["items.id"], name=op.f("fk_judgements_image_id_items")),
        sa.PrimaryKeyConstraint("image_id", "text_hash", "captioner", name=op.f("pk_judgements")),
    )
    op.create_index(op.f("ix_judgements_gallery_id"), "judgements", ["gallery_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_judgements_gallery_id"), table_name="judgements")
    op.drop_table("judgements")
    op.drop_column("pairs", "standing")
