"""Face embeddings: heads, margin losses, distances and options."""
