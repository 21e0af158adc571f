"""Full-text search over names and captions, for galleries without a model: by the database's own index."""

from __future__ import annotations

import re

from sqlalchemy import text

from storage.db import Session

SQLITE = text(
    """
    SELECT items.id FROM words_text JOIN items ON items.id = words_text.rowid
    WHERE words_text MATCH :any_of AND items.gallery_id = :gallery AND items.kind = :kind AND items.state = 'listed'
    ORDER BY bm25(words_text), items.id LIMIT :k
    """
)
POSTGRESQL = text(
    """
    SELECT items.id FROM words JOIN items ON items.id = words.item_id
    WHERE to_tsvector('english', words.body) @@ to_tsquery('english', :any_of)
      AND items.gallery_id = :gallery AND items.kind = :kind AND items.state = 'listed'
    ORDER BY ts_rank(to_tsvector('english', words.body), to_tsquery('english', :any_of)) DESC, items.id LIMIT :k
    """
)


def search(session: Session, gallery_id: int, kind: str, query: str, *, k: int) -> list[int]:
    """Find the items whose words answer a query best: any word counts, rare and many words count more."""
    terms = re.findall(r"\w+", query.replace("_", " "))
    if not terms:
        return []
    if session.get_bind().dialect.name == "postgresql":
        statement, any_of = POSTGRESQL, " | ".join(terms)
    else:
        statement, any_of = SQLITE, " OR ".join(f'"{term}"' for term in terms)
    found = session.execute(statement, {"any_of": any_of, "gallery": gallery_id, "kind": kind, "k": k})
    return [item_id for (item_id,) in found]
