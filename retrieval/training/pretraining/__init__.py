"""Trains the bundled models from nothing, in the world of postcards."""
