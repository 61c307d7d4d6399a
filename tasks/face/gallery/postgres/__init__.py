"""A gallery in a PostgreSQL database with pgvector."""
