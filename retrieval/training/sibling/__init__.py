"""Trains the sibling of a bundled model: BLIP-2's Q-Former and a small language model on its frozen vision tower."""
