"""Folder or dataset to snapshot."""
