"""Store for galleries in an SQLite file."""
