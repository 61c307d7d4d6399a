"""Gallery in a PostgreSQL database with pgvector."""
