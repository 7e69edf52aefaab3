"""perjoule_exporter."""
