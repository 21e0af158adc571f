"""One reader per layout of pictures: each yields records."""
