"""Trains a bundled ALBEF on the frozen vision tower of another bundled model."""
