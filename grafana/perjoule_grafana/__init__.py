"""The side of Perjoule that shows: recording rules and Grafana dashboards, generated from code.

It knows Prometheus's names and nothing of how a joule is measured or a request served.
"""
