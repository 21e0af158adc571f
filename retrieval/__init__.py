"""Query to hits, and everything that understands models."""
