"""Progress while a run lasts, on stderr: a live display on a terminal, else a line a phase and every ten seconds.

Reads the status and the meter, writes nothing but to the screen, and never stands in the way of the load.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from perjoule.units import scaled, significant
from perjoule_loadgen.campaign import Campaign
from perjoule_loadgen.load import Load
from perjoule_loadgen.meter import Track
from perjoule_loadgen.result import SIMULATED_BANNER
from perjoule_loadgen.status import Status

_REFRESH_SECONDS = 0.25
_LINE_SECONDS = 10.0
_BAR_COLUMNS = 40
_RECENT_SECONDS = 5.0


class Display:
    """Shows a status until cancelled."""

    def __init__(self, out: Console, status: Status, campaign: Campaign) -> None:
        self._out, self._status, self._campaign = out, status, campaign
        self._started = status.now()
        self._bannered = False
        self._shown: set[str] = set()

    async def run(self) -> None:
        """Show until cancelled; the task that finished last is told before the end."""
        if not self._out.is_terminal or self._out.is_dumb_terminal:
            self._status.entered.append(self._line)
            await self._lines()
            return
        with Live(console=self._out, auto_refresh=False, transient=True) as live:
            try:
                while True:
                    self._banner()
                    self._finished_tasks()
                    live.update(self._panel(), refresh=True)
                    await asyncio.sleep(_REFRESH_SECONDS)
            finally:
                self._finished_tasks()

    async def _lines(self) -> None:
        last = self._status.now()
        try:
            while True:
                await asyncio.sleep(_REFRESH_SECONDS)
                self._banner()
                if self._status.now() - max(last, self._status.began) >= _LINE_SECONDS and not self._nearly_over():
                    last = self._status.now()
                    self._line()
        finally:
            self._finished_tasks()

    def _nearly_over(self) -> bool:
        status = self._status
        return status.seconds is not None and status.now() - status.began > status.seconds - 1

    def _banner(self) -> None:
        meter = self._campaign.meter
        if not self._bannered and meter is not None and meter.simulated():
            self._bannered = True
            self._out.print(Text(f"=== {SIMULATED_BANNER} ===", style="bold yellow"))

    def _line(self) -> None:
        """Print one line: where the run stands."""
        self._finished_tasks()
        status = self._status
        facts = [self._where(), *self._facts()]
        self._out.print(Text(f"[{status.now() - self._started:6.1f} s] {' · '.join(facts)}"), soft_wrap=True)

    def _where(self) -> str:
        status = self._status
        task = f"{status.task} ({status.number}/{status.count}): " if status.task else ""
        upto = "at most " if status.phase == "warm-up" else ""
        return f"{task}{status.phase}" + (f", {upto}{status.seconds:g} s" if status.seconds else "")

    def _finished_tasks(self) -> None:
        """Say once of every finished task what it came to, as far as is known before the last baseline."""
        for measurement in self._campaign.measurements:
            task, load = measurement.plan.task, measurement.steady
            ended = bool(measurement.charged or measurement.faults)
            if not ended or task in self._shown:
                continue
            self._shown.add(task)
            joules = sum(bracket.joules for bracket in measurement.charged)
            each = f"{scaled(joules / load.ok, 'J')}/inference gross" if joules and load.ok else "no energy figure"
            failed = len(load.results) - load.ok
            told = "; ".join(measurement.faults) or f"{load.ok:,} ok, {failed:,} failed, {each}"
            self._out.print(Text(f"  {task}: {told}"), soft_wrap=True)

    def _panel(self) -> Group:
        status = self._status
        rows: list[Any] = [Text(self._where(), style="bold")]
        if status.seconds:
            done = min((status.now() - status.began) / status.seconds, 1.0)
            line = Table.grid(padding=(0, 1))
            gone = status.now() - status.began
            elapsed = f"{gone:.0f} of {status.seconds:.0f} s, {max(status.seconds - gone, 0):.0f} s left"
            line.add_row(ProgressBar(total=1.0, completed=done, width=_BAR_COLUMNS), Text(elapsed))
            rows.append(line)
        rows.append(Text(" · ".join(self._facts())))
        return Group(*rows)

    def _facts(self) -> list[str]:
        facts: list[str] = []
        load, meter = self._status.load, self._campaign.meter
        if load is not None and load.sent:
            facts += self._load_facts(load)
        tracks = meter.tracks if meter is not None else {}
        for id_, track in tracks.items():
            if (watts := track.watts()) is not None and (len(tracks) == 1 or id_ in self._status.edge or not load):
                facts.append(f"{id_} {significant(watts)} W")
        if load is not None and load.ok and (joules := self._joules(tracks)) is not None:
            facts.append(f"{scaled(joules / load.ok, 'J')}/inference so far")
        if meter is not None and meter.failure is not None:
            facts.append(f"exporter: {meter.failure}")
        return facts

    def _load_facts(self, load: Load) -> list[str]:
        since = max(self._status.now() - load.began, 1e-3)
        span = min(since, _RECENT_SECONDS)
        recent = len(load.recent) - bisect_left(load.recent, self._status.now() - span)
        failed = len(load.results) - load.ok
        rate = f" of {significant(load.scheduled / since)} asked" if load.scheduled else ""
        asked = f" of {load.scheduled:,} due" if load.scheduled is not None else ""
        return [
            f"{significant(recent / span)} inf/s{rate}",
            f"{load.sent:,} sent{asked}",
            f"{load.ok:,} ok",
            f"{failed:,} failed",
            f"{load.sent - len(load.results):,} in flight",
        ]

    def _joules(self, tracks: Mapping[str, Track]) -> float | None:
        edge = self._status.edge
        if not edge:
            return None
        return sum(tracks[id_].readings[-1].pair.joules - pair.joules for id_, pair in edge.items())
