"""Signatures of models and other artefacts: making and verifying them, and deciding which models may be loaded."""
