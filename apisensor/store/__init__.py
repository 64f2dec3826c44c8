"""The embedded store: SQLite, one writer in core, readers anywhere."""
