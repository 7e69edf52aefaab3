"""Between the devices that are read and the servers that tell of their work: a ledger for each device.

``Charging`` is the book that the span socket writes in, and gives each device's sums the ``Account`` that its energy is
told to. All of it happens under the one lock of the sums, so that a scrape sees whole chunks, whole settlements and one
moment of all devices. Inside: ``account`` (one device), ``book`` (all of them), ``settings``, ``kept``.
"""

from perjoule_exporter.charging.book import Charging
from perjoule_exporter.charging.settings import IdleWatts, SpanSettings, idle_watts

__all__ = ["Charging", "IdleWatts", "SpanSettings", "idle_watts"]
