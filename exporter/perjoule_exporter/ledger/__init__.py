"""The ledger: a device's energy, charged to the inferences that ran on it. Pure.

``Ledger`` is one device's; it is told of spans and of energy, and shows a ``Snapshot``. Inside: ``span`` and
``interval`` (what it is told), ``overlap`` (how they lie in each other), ``watts`` and ``solve`` (what each kind of
work draws), ``idle`` (what the device draws without any), ``requests`` (who is charged when), ``accounts`` (the sums),
``snapshot`` (what is shown).
"""

from perjoule_exporter.ledger.accounts import BOUNDS_JOULES, Charge, Exemplar
from perjoule_exporter.ledger.interval import REASONS, Interval
from perjoule_exporter.ledger.ledger import Ledger
from perjoule_exporter.ledger.requests import Settled
from perjoule_exporter.ledger.snapshot import Snapshot
from perjoule_exporter.ledger.span import MORE, OUTCOMES, Kind, Owner, Owners, Share
from perjoule_exporter.ledger.watts import Learned

__all__ = [
    "BOUNDS_JOULES",
    "MORE",
    "OUTCOMES",
    "REASONS",
    "Charge",
    "Exemplar",
    "Interval",
    "Kind",
    "Learned",
    "Ledger",
    "Owner",
    "Owners",
    "Settled",
    "Share",
    "Snapshot",
]
