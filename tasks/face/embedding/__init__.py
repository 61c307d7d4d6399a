"""The face embedding: head, margin losses, distances, options."""
