"""perjoule_grafana."""
