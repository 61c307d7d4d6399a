"""Face embeddings: options, heads, losses, distances and combination."""
