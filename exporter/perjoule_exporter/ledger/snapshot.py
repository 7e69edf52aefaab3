"""The frozen picture of a ledger that a scrape shows. Pure; amounts in microjoules, as they add up."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from perjoule_exporter.ledger.accounts import Accounts, Charge, Exemplar, Row
from perjoule_exporter.ledger.span import Kind, Owner
from perjoule_exporter.ledger.watts import Learned


@dataclass(frozen=True, slots=True)
class Requests:
    """The histogram of an owner's requests that ended ok. Its sum is what is charged to that outcome.

    Attributes:
        buckets: counts of the buckets of ``BOUNDS_JOULES`` and of what is above, each for itself.
        exemplars: a request of each; None of an empty one.
        unmeasured: how many others ended ok, whose energy is not known.
    """

    buckets: tuple[int, ...]
    exemplars: tuple[Exemplar | None, ...]
    unmeasured: int


@dataclass(frozen=True, slots=True)
class Charged:
    """What one owner was charged, by outcome, and its requests."""

    outcomes: Mapping[str, Charge]
    requests: Requests


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of a ledger: counter = charged + idle + unattributed + open.

    Attributes:
        counter: all that the device used since the ledger was opened.
        idle: of it, what it would have used without work, in time that no span covers.
        unattributed: what is nobody's, by reason.
        charged: what owners were charged.
        open: what is not final: not shared out yet, or given to spans and requests that have not ended.
        learned: watts above idle of every kind of work.
        idle_watts: watts of the device without work; None while nobody knows.
        clients: how many are connected.
        late: lines that told of times whose energy was given away already.
        delay_seconds: from the end of the last interval to when it was shared out; None before the first.
    """

    counter: int
    idle: int
    unattributed: Mapping[str, int]
    charged: Mapping[Owner, Charged]
    open: int
    learned: tuple[Learned[Kind], ...]
    idle_watts: float | None
    clients: int
    late: int
    delay_seconds: float | None


def shown(  # noqa: PLR0913 (each is one figure of the picture, by its name)
    accounts: Accounts,
    *,
    open_microjoules: int,
    learned: tuple[Learned[Kind], ...],
    idle_watts: float | None,
    clients: int,
    late: int,
    delay_seconds: float | None,
) -> Snapshot:
    """Return the picture of these accounts."""
    return Snapshot(
        counter=accounts.counter,
        idle=accounts.idle,
        unattributed=MappingProxyType(dict(accounts.unattributed)),
        charged=MappingProxyType({Owner(*key): _charged(row) for key, row in accounts.rows.items()}),
        open=open_microjoules,
        learned=learned,
        idle_watts=idle_watts,
        clients=clients,
        late=late,
        delay_seconds=delay_seconds,
    )


def _charged(row: Row) -> Charged:
    return Charged(
        MappingProxyType(dict(row.charges)), Requests(tuple(row.buckets), tuple(row.exemplars), row.unmeasured)
    )
