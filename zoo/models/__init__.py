"""Models: building, calling, saving, loading, weights, freezing, fingerprints."""
