"""The vector store: exact search over shards of one gallery, behind one protocol."""

from storage.vectors.store import Shard, VectorStore

__all__ = ["Shard", "VectorStore"]
