"""`zoo faces`: one file for each of its verbs."""
