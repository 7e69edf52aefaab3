"""What was measured of one task, before anything is computed from it: loads, energy brackets, faults.

Values only. Grows while the task runs, so that an interruption keeps what there is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from perjoule_loadgen.books import Books, Work
from perjoule_loadgen.client import Prepared
from perjoule_loadgen.energy import Device, Pair
from perjoule_loadgen.load import Load
from perjoule_loadgen.target import Model


@dataclass(frozen=True, slots=True)
class Bracket:
    """The energy of one device between two of its own counter's updates.

    Attributes:
        device: which.
        start: counter and time at the start edge.
        end: the same at the end edge.
        tick: update interval of the counter, in seconds.
        reset: whether the counter was reset, or the exporter restarted, in between.
        doubt: why its pairs cannot be relied on, a sentence; None where they can.
    """

    device: Device
    start: Pair
    end: Pair
    tick: float
    reset: bool
    doubt: str | None = None

    @property
    def sound(self) -> bool:
        """Whether its energy may be published."""
        return not self.reset and self.doubt is None

    @property
    def joules(self) -> float:
        """Energy of the window."""
        return self.end.joules - self.start.joules

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.end.at - self.start.at


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """What Prometheus says of the same window.

    Attributes:
        joules: device energy × the task's share of the device's busy time.
        joules_per_inference: the same ÷ requests that the server answered with success.
        query: the expression of the latter.
        interval: longest scrape interval of the targets concerned, in seconds.
    """

    joules: float
    joules_per_inference: float
    query: str
    interval: float


@dataclass(frozen=True, slots=True)
class Edge:
    """The ledgers at one edge of the window.

    Attributes:
        books: by the exporter's URL.
        failure: why they could not be read, a sentence; None where they could.
    """

    books: Mapping[str, Books]
    failure: str | None = None

    @property
    def works(self) -> frozenset[Work]:
        """Tasks and models that any of them was told of."""
        return frozenset(work for each in self.books.values() for work in each.requests)

    def requests(self, work: Work) -> tuple[float, float]:
        """Return how many requests of ``work`` ended ok so far, and their joules."""
        found = [each.requests.get(work, (0.0, 0.0)) for each in self.books.values()]
        return sum(count for count, _ in found), sum(joules for _, joules in found)

    def unmeasured(self, work: Work) -> float:
        """Return how many more ended ok, of whose energy nobody knows all."""
        return sum(each.unmeasured.get(work, 0.0) for each in self.books.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """One task to measure.

    Attributes:
        task: workload id.
        model: who answers.
        items: inputs, ready to send.
        devices: ids of the devices that pay.
        source: where the inputs come from, in words.
    """

    task: str
    model: Model
    items: Sequence[Prepared]
    devices: tuple[str, ...]
    source: str = "built-in"

    @property
    def work(self) -> Work:
        """Task and model, as the exporter's ledgers call them."""
        return self.task, self.model.id


@dataclass(slots=True)
class Measurement:
    """One task's run as far as it got.

    Attributes:
        plan: what was to be measured.
        warmup: load of the warm-up.
        steady: load of the window.
        began: Unix time of the start of the window's load, None before.
        ended: Unix time at which the window's last answer was in, None before.
        charged: brackets of the plan's devices; empty without an energy figure.
        excluded: brackets of every other device that the exporters show.
        opening, closing: the ledgers at the window's edges, None where it did not get there.
        crosscheck: None without Prometheus or without an answer of it.
        server_tokens: output tokens of the window by the server's own metrics, None where they cannot be this run's.
        faults: sentences that say why something is missing.
        interrupted: whether a person ended it.
    """

    plan: Plan
    warmup: Load = field(default_factory=Load)
    steady: Load = field(default_factory=Load)
    began: float | None = None
    ended: float | None = None
    charged: tuple[Bracket, ...] = ()
    excluded: tuple[Bracket, ...] = ()
    opening: Edge | None = None
    closing: Edge | None = None
    crosscheck: CrossCheck | None = None
    server_tokens: int | None = None
    faults: list[str] = field(default_factory=list)
    interrupted: bool = False
