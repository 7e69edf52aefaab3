"""perjoule_server."""
