"""From the frozen views of the devices to Prometheus families, built fresh at every scrape.

``collect`` puts a scrape together from groups of families; ``groups`` says which groups there are and which of them
are wanted; the others are one subject each: a function takes a snapshot and returns families. Names, types, labels and
help come from ``perjoule.metrics``. A value that is unknown is no sample, and a family without a sample is not exposed.
Nothing here can touch a device, so that no device can cost the scrape. What it does not know is how a value came about.
"""

from perjoule_exporter.collector.collect import registry
from perjoule_exporter.collector.groups import chosen_groups

__all__ = ["chosen_groups", "registry"]
