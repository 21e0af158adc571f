"""One file per change of the schema, written once and never edited."""
