"""Store for galleries in a PostgreSQL database with pgvector."""
