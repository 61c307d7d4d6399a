"""Signatures and encryption of models and other artefacts, and the decision which models may be loaded."""
