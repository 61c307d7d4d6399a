"""Compile a model for an engine, verify it against eager float32, tune, cache and export."""
