"""Face verification and identification: protocols, metrics, decisions, report."""
