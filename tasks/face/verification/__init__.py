"""Face verification and identification: protocols, metrics, decisions and reports."""
