"""Face alignment: templates, the aligner, and the cache of aligned faces."""
