"""The vocabulary that every Perjoule component shares: units, errors, metric names, workloads, factors, references.

Standard library only, immutable values, and no I/O but reading the tables that ship in ``perjoule/data`` and, in
``perjoule.spans``, the socket by which a server tells the exporter when its batches ran. It knows
nothing about GPUs, models, HTTP or Prometheus: those live in the components, which import this package and never each
other.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("perjoule")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0.0.0+source"
