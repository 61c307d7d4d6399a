"""Face alignment: templates, the aligner, and its cache of landmarks."""
