"""The second way to the same number: Prometheus's own counters over the window, as exact deltas with ``@``.

A scrape sees counters as they were when it was taken. So the window's edges lie in quiet, after a scrape of every
target concerned has been stored there; then request counters are exact, and the energies differ by at most one scrape
interval of idle power. ``increase()`` is not used: over a short window it extrapolates by tens of percent.
"""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from perjoule.errors import MeasurementError, UnreachableError, UsageError
from perjoule_loadgen.clock import Clock
from perjoule_loadgen.energy import Device
from perjoule_loadgen.measurement import Bracket, CrossCheck, Plan
from perjoule_loadgen.meter import Track
from perjoule_loadgen.pages import Page

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 (compared, not bound)
_DISCOVERY_SECONDS = 15.0
"""Prometheus lists its targets about five seconds after it started."""
_ALIGNED_SECONDS = 0.005
"""Prometheus moves a sample's timestamp by up to 2 ms to align scrapes (``scrape.timestamp-tolerance``)."""
_MISSED_SCRAPES = 3
_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}
_GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """One target as Prometheus knows it."""

    job: str
    instance: str
    interval: float

    def labels(self, **more: str) -> str:
        """Return a selector's labels, quoted."""
        pairs = {**more, "job": self.job, "instance": self.instance}
        return ",".join(f"{name}={_quoted(value)}" for name, value in pairs.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def scrape_interval(text: str) -> float:
    """Return the seconds of a duration as Prometheus writes it: ``1m30s``.

    Raises:
        MeasurementError: it is none.
    """
    parts = re.findall(r"(\d{1,12})(ms|[smhdwy])", text)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not seconds or "".join(map("".join, parts)) != text:
        raise MeasurementError(f"Prometheus gives {text[:32]!r} as a scrape interval")
    return seconds


def _is_target(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("labels"), dict) and isinstance(value.get("scrapeUrl"), str)


def match(targets: Sequence[Mapping[str, Any]], url: str, job: str) -> ScrapeTarget | None:
    """Return the scrape target that is ``url``: by host and port, else by port alone, else by the job's name.

    None where no target, or more than one, fits: in containers the same program has another name, but one of its own.
    """
    for fits in (_same_host_and_port, _same_port, lambda target, _: target.get("labels", {}).get("job") == job):
        found = [target for target in targets if fits(target, url)]
        if len(found) == 1:
            labels = found[0].get("labels", {})
            interval = scrape_interval(str(found[0].get("scrapeInterval", "1m")))
            return ScrapeTarget(str(labels.get("job", "")), str(labels.get("instance", "")), interval)
    return None


def _address(url: str) -> tuple[str, int] | None:
    """Return host and port of a URL; None where it is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a port that is no number, half an IPv6 address
        return None
    return "localhost" if host in _LOOPBACK else host, port or (443 if parts.scheme == "https" else 80)


def _same_host_and_port(target: Mapping[str, Any], url: str) -> bool:
    return _address(str(target.get("scrapeUrl", ""))) == _address(url)


def _same_port(target: Mapping[str, Any], url: str) -> bool:
    own, wanted = _address(str(target.get("scrapeUrl", ""))), _address(url)
    return own is not None and wanted is not None and own[1] == wanted[1]


def instant(at: float) -> str:
    """Return ``at`` for an ``@`` modifier: milliseconds, rounded up so that a sample at the edge is seen."""
    return f"{math.ceil(at * 1000) / 1000:.3f}"


def increase(selector: str, start: float, end: float, over: str = "sum") -> str:
    """Return the exact increase of ``selector`` between two Unix times, aggregated by ``over``."""
    return f"({over}({selector} @ {instant(end)}) - {over}({selector} @ {instant(start)}))"


class Prometheus:
    """A Prometheus that scrapes the server and the exporters of the run."""

    def __init__(self, page: Page, url: str, clock: Clock) -> None:
        self._page, self._url, self._clock = page, url.rstrip("/"), clock
        self._server: ScrapeTarget | None = None
        self._exporters: dict[str, ScrapeTarget] = {}

    async def learn(self, server: str, exporters: Sequence[str]) -> None:
        """Find the scrape targets of the server and the exporters.

        Raises:
            UnreachableError: Prometheus does not answer.
            UsageError: it does not scrape one of them; the message says which.
        """
        deadline = self._clock.now() + _DISCOVERY_SECONDS
        while True:
            targets = await self._targets()
            self._server = match(targets, server, "inference-server")
            found = {url: match(targets, url, "gpu-energy-exporter") for url in exporters}
            self._exporters = {url: target for url, target in found.items() if target is not None}
            missing = [server] * (self._server is None) + [url for url, target in found.items() if target is None]
            if not missing:
                return
            if targets or self._clock.now() > deadline:
                raise UsageError(
                    f"the Prometheus at {self._url} does not scrape {missing[0]}, or more than one of its targets could"
                    " be it: add it to scrape_configs (prometheus.yml), or leave --prometheus out"
                )
            await asyncio.sleep(0.2)

    async def _targets(self) -> list[Mapping[str, Any]]:
        try:
            answer = await self._page.json(f"{self._url}/api/v1/targets", {"state": "active"})
        except UnreachableError as error:
            raise UnreachableError(
                f"no Prometheus answers at {self._url}; start one with: prometheus --config.file=prometheus.yml"
            ) from error
        data = answer.get("data") if isinstance(answer, dict) else None
        targets = data.get("activeTargets") if isinstance(data, dict) else None
        return [target for target in targets if _is_target(target)] if isinstance(targets, list) else []

    def interval(self, exporters: Sequence[str]) -> float:
        """Return the longest scrape interval of the server and these exporters."""
        return max(target.interval for target in (self._known_server(), *(self._exporters[url] for url in exporters)))

    def _known_server(self) -> ScrapeTarget:
        if self._server is None:
            raise MeasurementError(f"the targets of {self._url} are not known yet")
        return self._server

    async def wait_scraped(self, plan: Plan, tracks: Sequence[Track], after: float) -> float:
        """Wait until a scrape of every target has seen what was true after ``after``; return the last one's time.

        The server's scrape must have been taken after it, and the exporter's must show a counter that moved after it.

        Raises:
            MeasurementError: three scrape intervals passed without.
        """
        server = self._known_server()
        ok = f"inference_requests_total{{{server.labels(task=plan.task, outcome='ok')}}}"
        # (expression whose value must exceed ``after``, expression of the sample's own time)
        seen = [(f"max(timestamp({ok}))", f"max(timestamp({ok}))")]
        for track in tracks:
            moved = self._energy(track.device, "timestamp_seconds")
            seen.append((f"max({moved})", f"max(timestamp({moved}))"))
        interval = self.interval([track.device.exporter for track in tracks])
        deadline = self._clock.now() + _MISSED_SCRAPES * interval + _GRACE_SECONDS
        times = [await self._until(value, time, after, (deadline, interval)) for value, time in seen]
        return max(times)

    async def _until(self, value: str, time: str, after: float, bounds: tuple[float, float]) -> float:
        deadline, interval = bounds
        while True:
            reached = await self._value(value)
            if reached is not None and reached > after + _ALIGNED_SECONDS:
                stored = await self._value(time)
                if stored is not None:
                    return stored
            if self._clock.now() > deadline:
                raise MeasurementError(
                    f"Prometheus stored no scrape of {value} within {_MISSED_SCRAPES} intervals of {interval:g} s"
                )
            await asyncio.sleep(min(max(interval / 10, 0.02), 0.25))

    async def check(self, plan: Plan, brackets: Sequence[Bracket]) -> CrossCheck:
        """Return what Prometheus makes of the window.

        Raises:
            MeasurementError: it has no value.
        """
        start, end = min(b.start.at for b in brackets), max(b.end.at for b in brackets)
        joules, per_inference = self.expressions(plan, brackets)
        values = [await self._value(query, end) for query in (joules, per_inference)]
        if values[0] is None or values[1] is None:
            raise MeasurementError(f"Prometheus has no value for {joules} between {start:.3f} and {end:.3f}")
        interval = self.interval([bracket.device.exporter for bracket in brackets])
        return CrossCheck(values[0], values[1], per_inference, interval)

    def expressions(self, plan: Plan, brackets: Sequence[Bracket]) -> tuple[str, str]:
        """Return PromQL for the task's joules in the window, and for its joules per inference.

        Joules: device energy × the task's share of the device's busy time, which is 1 while nothing else runs there.
        """
        start, end = min(b.start.at for b in brackets), max(b.end.at for b in brackets)
        server = self._known_server()
        task = {"task": plan.task} if plan.model.id == "unknown" else {"task": plan.task, "model": plan.model.id}
        terms = []
        for base in dict.fromkeys(bracket.device.base for bracket in brackets):
            energy = " + ".join(
                # max: an exporter may repeat a board's energy, once for each MIG slice
                increase(self._energy(bracket.device, "joules_total"), bracket.start.at, bracket.end.at, "max")
                for bracket in brackets
                if bracket.device.base == base
            )
            mine, everyone = (
                increase(f"inference_device_busy_seconds_total{{{server.labels(**labels)}}}", start, end)
                for labels in ({**task, "device": base}, {"device": base})
            )
            terms.append(f"({energy}) * {mine} / {everyone}")
        ok = increase(f"inference_requests_total{{{server.labels(**task, outcome='ok')}}}", start, end)
        joules = " + ".join(terms)
        return joules, f"({joules}) / {ok}"

    def _energy(self, device: Device, what: str) -> str:
        target = self._exporters[device.exporter]
        if device.kind == "cpu":
            return f"cpu_energy_{what}{{{target.labels(package=device.package, zone=device.zone)}}}"
        return f"gpu_energy_{what}{{{target.labels(uuid=device.id)}}}"

    async def _value(self, query: str, at: float | None = None) -> float | None:
        params = {"query": query} if at is None else {"query": query, "time": instant(at)}
        answer = await self._page.json(f"{self._url}/api/v1/query", params)
        data = answer.get("data") if isinstance(answer, dict) else None
        vector = data.get("result") if isinstance(data, dict) else None
        if not isinstance(vector, list) or len(vector) != 1:
            return None
        try:
            value = float(vector[0]["value"][1])
        except (TypeError, ValueError, LookupError) as error:
            raise MeasurementError(f"{self._url} answered something that is no sample") from error
        return value if math.isfinite(value) else None
