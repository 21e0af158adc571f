"""the first schema"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# SQLite: an FTS5 index over `words` that keeps no second copy of the text; triggers follow the table.
SQLITE_FULL_TEXT = (
    "CREATE VIRTUAL TABLE words_text USING fts5("
    "body, content='words', content_rowid='item_id', tokenize='porter unicode61 remove_diacritics 2')",
    "CREATE TRIGGER words_after_insert AFTER INSERT ON words BEGIN "
    "INSERT INTO words_text(rowid, body) VALUES (new.item_id, new.body); END",
    "CREATE TRIGGER words_after_delete AFTER DELETE ON words BEGIN "
    "INSERT INTO words_text(words_text, rowid, body) VALUES ('delete', old.item_id, old.body); END",
    "CREATE TRIGGER words_after_update AFTER UPDATE ON words BEGIN "
    "INSERT INTO words_text(words_text, rowid, body) VALUES ('delete', old.item_id, old.body); "
    "INSERT INTO words_text(rowid, body) VALUES (new.item_id, new.body); END",
)
POSTGRESQL_FULL_TEXT = ("CREATE INDEX words_text ON words USING gin (to_tsvector('english', body))",)
FULL_TEXT = {"sqlite": SQLITE_FULL_TEXT, "postgresql": POSTGRESQL_FULL_TEXT}


def upgrade() -> None:
    op.create_table(
        "galleries",
        sa.Column("id", Identity, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=512), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("dimension", sa.Integer(), nullable=True),
        sa.Column("vectors", sa.Integer(), nullable=True),
        sa.Column("precision", sa.String(length=16), nullable=False),
        sa.Column("sources", sa.JSON(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("lease_holder", sa.String(length=128), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_galleries")),
        sa.UniqueConstraint("name", name=op.f("uq_galleries_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "blocks",
        sa.Column("id", Identity, nullable=False),
        sa.Column("gallery_id", Identity, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name=op.f("fk_blocks_gallery_id_galleries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blocks")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_blocks_gallery_id"), "blocks", ["gallery_id"], unique=False)

    op.create_table(
        "evaluations",
        sa.Column("id", Identity, nullable=False),
        sa.Column("gallery_id", Identity, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(length=512), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("measures", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name=op.f("fk_evaluations_gallery_id_galleries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_evaluations_gallery_id"), "evaluations", ["gallery_id"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("id", Identity, nullable=False),
        sa.Column("gallery_id", Identity, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name=op.f("fk_jobs_gallery_id_galleries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_jobs_gallery_id"), "jobs", ["gallery_id"], unique=False)

    op.create_table(
        "items",
        sa.Column("id", Identity, nullable=False),
        sa.Column("gallery_id", Identity, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("uri_hash", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=True),
        sa.Column("content_hash", sa.String(length=64), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("block_id", Identity, nullable=True),
        sa.Column("row", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["block_id"], ["blocks.id"], name=op.f("fk_items_block_id_blocks")),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name=op.f("fk_items_gallery_id_galleries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_items")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_items_uri_hash", "items", ["uri_hash"], unique=False)
    op.create_index("ix_items_block_id_row", "items", ["block_id", "row"], unique=False)
    op.create_index("ix_items_gallery_id_content_hash", "items", ["gallery_id", "content_hash"], unique=False)
    op.create_index(
        "uq_items_living_uri",
        "items",
        ["gallery_id", "kind", "uri_hash"],
        unique=True,
        sqlite_where=sa.text("state NOT IN ('deleted', 'pending')"),
        postgresql_where=sa.text("state NOT IN ('deleted', 'pending')"),
    )

    op.create_table(
        "shards",
        sa.Column("id", Identity, nullable=False),
        sa.Column("gallery_id", Identity, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("block_id", Identity, nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("index_key", sa.String(length=64), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("measured_recall", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["block_id"], ["blocks.id"], name=op.f("fk_shards_block_id_blocks")),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name=op.f("fk_shards_gallery_id_galleries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shards")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_shards_gallery_id"), "shards", ["gallery_id"], unique=False)

    op.create_table(
        "pairs",
        sa.Column("text_id", Identity, nullable=False),
        sa.Column("image_id", Identity, nullable=False),
        sa.Column("gallery_id", Identity, nullable=False),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name=op.f("fk_pairs_gallery_id_galleries")),
        sa.ForeignKeyConstraint(["image_id"], ["items.id"], name=op.f("fk_pairs_image_id_items")),
        sa.ForeignKeyConstraint(["text_id"], ["items.id"], name=op.f("fk_pairs_text_id_items")),
        sa.PrimaryKeyConstraint("text_id", "image_id", name=op.f("pk_pairs")),
    )
    op.create_index(op.f("ix_pairs_gallery_id"), "pairs", ["gallery_id"], unique=False)
    op.create_index(op.f("ix_pairs_image_id"), "pairs", ["image_id"], unique=False)

    op.create_table(
        "words",
        sa.Column("item_id", Identity, autoincrement=False, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_words_item_id_items")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_words")),
    )
    for statement in FULL_TEXT.get(op.get_bind().dialect.name, ()):
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE words_text")
    op.drop_table("words")
    op.drop_index(op.f("ix_pairs_image_id"), table_name="pairs")
    op.drop_index(op.f("ix_pairs_gallery_id"), table_name="pairs")

    op.drop_table("pairs")
    op.drop_index(op.f("ix_shards_gallery_id"), table_name="shards")

    op.drop_table("shards")
    op.drop_index(
        "uq_items_living_uri",
        table_name="items",
        sqlite_where=sa.text("state NOT IN ('deleted', 'pending')"),
        postgresql_where=sa.text("state NOT IN ('deleted', 'pending')"),
    )
    op.drop_index("ix_items_gallery_id_content_hash", table_name="items")
    op.drop_index("ix_items_uri_hash", table_name="items")
    op.drop_index("ix_items_block_id_row", table_name="items")

    op.drop_table("items")
    op.drop_index(op.f("ix_jobs_gallery_id"), table_name="jobs")

    op.drop_table("jobs")
    op.drop_index(op.f("ix_evaluations_gallery_id"), table_name="evaluations")

    op.drop_table("evaluations")
    op.drop_index(op.f("ix_blocks_gallery_id"), table_name="blocks")

    op.drop_table("blocks")
    op.drop_table("galleries")
