"""The drawings of the world, by kind, as data."""
