"""perjoule_loadgen."""
