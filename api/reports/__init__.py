"""Pages that show what was measured: each one file, with everything in it."""
