"""How a model bears pictures that are worse than those it was trained on: corrupted ones, and ones made to mislead it."""
