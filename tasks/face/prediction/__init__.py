"""Faces of one picture: results, embedding files, examples."""
