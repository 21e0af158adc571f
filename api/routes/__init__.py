"""Routes: one file per noun. Each parses, calls one door and shapes the answer."""
