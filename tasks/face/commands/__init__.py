"""`zoo faces`: one module per subcommand."""
