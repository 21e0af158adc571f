"""Alembic migrations; they import storage.tables only."""
