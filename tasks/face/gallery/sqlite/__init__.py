"""Gallery in one SQLite file."""
