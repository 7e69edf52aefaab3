"""The ledger: a device's energy, charged to the inferences that ran on it. Pure.

``Ledger`` is one device's. It is told of work (``announced``, ``opened``, ``closed``, ``left``) and of energy
(``used``), shares out what it can by a time (``settle``, called at each reading), and shows a ``Snapshot``; ``saved``
and ``restore`` carry it over a restart. ``Owners`` and ``Clients`` are one for all ledgers of a program: a request may
be on several devices. Inside: ``span`` and ``interval`` (what it is told), ``overlap`` (how they lie in each other),
``grace`` (how long it waits for lines), ``watts`` and ``solve`` (what each kind of work draws), ``idle`` (what the
device draws without any), ``clients`` (what is open) and ``requests`` (who is charged when), ``accounts`` (the sums),
``snapshot`` (what is shown).
"""

from perjoule_exporter.ledger.accounts import BOUNDS_JOULES, Charge, Exemplar
from perjoule_exporter.ledger.clients import Clients
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
    "Clients",
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
