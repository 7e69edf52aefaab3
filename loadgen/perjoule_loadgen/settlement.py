"""Reads the exporters' ledgers at a window's edges, once what was sent before is settled.

Energy is charged some time after it was used: a grace for late lines, and up to two seconds while the watts of new work
are learned. So each reading waits until nothing is open beyond what the idle device draws meanwhile, and at the end
until as many requests have been charged as were answered. Both waits are bounded: what is missing then is told by
``attribution``. Never raises for an exporter that does not answer.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from perjoule.errors import PerjouleError
from perjoule_loadgen.books import Books, books, restarted
from perjoule_loadgen.clock import Clock
from perjoule_loadgen.config import Rules
from perjoule_loadgen.measurement import Edge, Plan
from perjoule_loadgen.meter import Meter, Track
from perjoule_loadgen.pages import Page

_GRACE_SECONDS = 0.1
"""What an exporter waits for lines, and its reading;"""

_MOST_GRACE_SECONDS = 0.25
"""the same while it hears that lines come late. After as much quiet it is no work that is open."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """Reads ledgers."""

    page: Page
    meter: Meter
    clock: Clock
    rules: Rules

    async def edge(self, plan: Plan, before: Edge | None = None, answered: int = 0) -> Edge:
        """Return what the ledgers of the plan's devices say once they are settled, or once the bound has passed.

        Args:
            plan: whose.
            before: the edge at the window's start; None for that edge itself.
            answered: requests that were answered since then.
        """
        tracks = [self.meter.tracks[id_] for id_ in plan.devices]
        began = self.clock.now()
        deadline = began + self.rules.settlement_seconds
        while True:
            edge = await self._read(track.device.exporter for track in tracks)
            if edge.failure is not None or self.clock.now() > deadline:
                return edge
            grace = _GRACE_SECONDS if self.clock.now() - began < _MOST_GRACE_SECONDS else _MOST_GRACE_SECONDS
            too_open = any(_too_open(track, edge.books, grace) for track in tracks)
            if not too_open and _charged(plan, before, edge) >= answered:
                return edge
            if plan.work not in edge.works or _begun_anew(before, edge):  # nothing will come
                return edge
            await asyncio.sleep(self.rules.edge_poll_seconds)

    async def _read(self, exporters: Iterable[str]) -> Edge:
        found: dict[str, Books] = {}
        for url in dict.fromkeys(exporters):
            try:
                found[url] = books(await self.page.text(url), self.clock.unix())
            except PerjouleError as error:
                return Edge({}, str(error))
        return Edge(found)


def _too_open(track: Track, found: Mapping[str, Books], grace: float) -> bool:
    """Tell whether more is open than what the idle device draws until it is shared out; it may where nobody knows."""
    of = found[track.device.exporter]
    joules, idle_watts = of.open.get(track.device.base), of.idle_watts.get(track.device.base)
    if joules is None or idle_watts is None:
        return False
    return joules > idle_watts * (2 * track.tick + grace)


def _begun_anew(before: Edge | None, edge: Edge) -> bool:
    return before is not None and any(
        url in before.books and restarted(before.books[url], found) for url, found in edge.books.items()
    )


def _charged(plan: Plan, before: Edge | None, edge: Edge) -> float:
    """Return how many requests of the plan's work ended ok since ``before``."""
    start = 0.0 if before is None else _ended(plan, before)
    return _ended(plan, edge) - start


def _ended(plan: Plan, edge: Edge) -> float:
    return edge.requests(plan.work)[0] + edge.unmeasured(plan.work)
