"""From a measurement to figures: joules and grams per inference and per unit of work, each with its interval.

Pure. The arithmetic of the interval: an edge of the window is one update of the counter off at most, and it lies in
quiet, so each of the two costs idle watts × tick; the bounds add, they are not averaged. ``gross`` also holds the quiet
between the edges and the load, which is known (idle watts × quiet seconds) and widens its lower bound. ``active`` takes
idle watts × window out, and is as uncertain as half the drift between the two idle baselines plus their own edges. Not
in any interval: the gain of a board's sensor (±5 % from board to board) and the model behind an estimate. The interval
of ``attributed`` is another one (``attribution``).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perjoule.carbon import grams, static_intensities, static_intensity
from perjoule.units import JOULES_PER_KWH
from perjoule.workloads import WORKLOADS, WorkUnit
from perjoule_loadgen.attribution import Attribution, attribution
from perjoule_loadgen.energy import Exposition, Price
from perjoule_loadgen.measurement import Bracket, Measurement
from perjoule_loadgen.meter import Idle, mean_watts
from perjoule_loadgen.sci import Sci, sci
from perjoule_loadgen.sketch import Sketch
from perjoule_loadgen.stats import Interval, Latency, latency
from perjoule_loadgen.work import told

_SAME_FACTOR = 1e-3


@dataclass(frozen=True, slots=True)
class Carbon:
    """The factor from joules to grams.

    Attributes:
        zone: code of the zone.
        grams_per_kwh: intensity.
        source: who publishes it, None where the exporter does not tell.
        year: of what year it is, likewise.
        pue: power usage effectiveness, None where the exporter tells none: then nothing beyond the device is counted.
        recomputed: whether ``--zone`` replaced the exporter's factor.
    """

    zone: str
    grams_per_kwh: float
    source: str | None
    year: int | None
    pue: float | None
    recomputed: bool


@dataclass(frozen=True, slots=True)
class Baseline:
    """Idle power of one device: the baselines before and after all tasks, None where one was not measured."""

    before: Idle | None
    after: Idle | None

    @property
    def watts(self) -> float | None:
        """Mean of both, weighted by time."""
        return mean_watts([idle for idle in (self.before, self.after) if idle is not None])

    @property
    def drift(self) -> float | None:
        """Change from before to after relative to the mean; None without both."""
        if self.before is None or self.after is None or not self.watts:
            return None
        return (self.after.watts - self.before.watts) / self.watts

    def uncertainty(self, tick: float) -> float:
        """Return the bound on the error of ``watts``: half the drift, and one tick at each edge of each baseline."""
        measured = [idle for idle in (self.before, self.after) if idle is not None]
        watts = self.watts or 0.0
        edges = 2 * len(measured) * tick * watts / sum(idle.seconds for idle in measured) if measured else 0.0
        return abs(self.drift or 0.0) * watts / 2 + edges


@dataclass(frozen=True, slots=True)
class Streaming:
    """Times of streamed answers in seconds: to the first token from the intended send, and between pieces of text."""

    first_token: Latency
    between_tokens: Latency


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run comes to. Figures of energy are None without brackets, an inference that succeeded, or idle power.

    Attributes:
        joules: energy of the window, all charged devices.
        seconds: from the first start edge to the last end edge.
        start, end: those edges, Unix seconds.
        gross: all joules ÷ inferences.
        active: joules above idle ÷ inferences; its value is None below the resolution.
        attributed: what the exporter's ledger charged to these inferences.
        grams: gCO2e per inference, from ``gross``.
        sci: the same with the devices' manufacture; None without a zone or without their stated manufacture.
        units: amount of the task's unit of work, None where the answers do not tell.
        joules_per_unit: all joules ÷ units.
        latency: of requests that succeeded.
        per_second: inferences per second of load.
        streaming: times of streamed answers, None without any.
        tokens_per_second: output tokens per second of load, None where nobody tells them.
    """

    joules: float | None
    seconds: float | None
    start: float | None
    end: float | None
    gross: Interval | None
    active: Interval | None
    attributed: Attribution
    grams: Interval | None
    sci: Sci | None
    units: float | None
    joules_per_unit: float | None
    latency: Latency
    per_second: float | None
    streaming: Streaming | None = None
    tokens_per_second: float | None = None


def figures(measurement: Measurement, baselines: Mapping[str, Baseline], carbon: Carbon | None) -> Figures:
    """Compute the figures of a measurement; ``baselines`` by device id."""
    load, charged = measurement.steady, measurement.charged
    ok = load.ok
    joules = math.fsum(bracket.joules for bracket in charged) if charged and all(b.sound for b in charged) else None
    units = work_units(measurement)
    began, ended = measurement.began, measurement.ended
    gross = gross_interval(measurement, baselines) if joules is not None and ok else None
    busy = (ended - began) if began is not None and ended is not None else 0.0
    grams_each = _scaled(gross, carbon)
    return Figures(
        joules=joules,
        seconds=max(b.end.at for b in charged) - min(b.start.at for b in charged) if charged else None,
        start=min((b.start.at for b in charged), default=None),
        end=max((b.end.at for b in charged), default=None),
        gross=gross,
        active=active_interval(charged, baselines, ok) if joules is not None and ok else None,
        attributed=attribution(measurement, _replaced(carbon)),
        grams=grams_each,
        sci=sci(measurement, grams_each),
        units=units,
        joules_per_unit=joules / units if joules is not None and units else None,
        latency=latency(result.latency for result in load.results if result.ok),
        streaming=streaming(measurement),
        per_second=ok / busy if busy > 0 else None,
        tokens_per_second=tokens / busy if busy > 0 and (tokens := output_tokens(measurement)) is not None else None,
    )


def gross_interval(measurement: Measurement, baselines: Mapping[str, Baseline]) -> Interval:
    """Return all joules of the window ÷ inferences; needs brackets and a request that succeeded."""
    joules = edge = quiet = 0.0
    for bracket in measurement.charged:
        baseline = baselines.get(bracket.device.id)
        # Without a baseline the mean power of the window, which is more, stands for idle power in the bounds.
        watts = (baseline.watts if baseline else None) or bracket.joules / bracket.seconds
        joules += bracket.joules
        edge += 2 * watts * bracket.tick
        began, ended = measurement.began or bracket.start.at, measurement.ended or bracket.end.at
        quiet += watts * max(began - bracket.start.at + bracket.end.at - ended, 0.0)
    ok = measurement.steady.ok
    return Interval(joules / ok, max(joules - edge - quiet, 0.0) / ok, (joules + edge) / ok)


def active_interval(charged: Sequence[Bracket], baselines: Mapping[str, Baseline], ok: int) -> Interval | None:
    """Return joules above idle ÷ inferences; None where a device has no idle baseline."""
    joules = uncertainty = 0.0
    for bracket in charged:
        baseline = baselines.get(bracket.device.id)
        if baseline is None or baseline.watts is None:
            return None
        joules += bracket.joules - baseline.watts * bracket.seconds
        uncertainty += 2 * baseline.watts * bracket.tick + baseline.uncertainty(bracket.tick) * bracket.seconds
    value = joules / ok if joules > uncertainty else None
    return Interval(value, (joules - uncertainty) / ok, (joules + uncertainty) / ok)


def work_units(measurement: Measurement) -> float | None:
    """Return how many units of work the successful answers hold; None where they do not tell."""
    unit = WORKLOADS[measurement.plan.task].unit
    found = told(measurement.plan.items, measurement.steady.results)
    if unit is WorkUnit.OUTPUT_TOKEN:
        return None if (tokens := output_tokens(measurement)) is None else float(tokens)
    if unit is WorkUnit.AUDIO_SECOND:
        return found.audio_seconds if found.with_audio == found.answers else None
    return float(found.answers)


def output_tokens(measurement: Measurement) -> int | None:
    """Return the tokens that were written: by the answers, else by the server's own metrics, else None."""
    found = told(measurement.plan.items, measurement.steady.results)
    return found.output_tokens if found.answers and found.with_output == found.answers else measurement.server_tokens


def streaming(measurement: Measurement) -> Streaming | None:
    """Return the times of answers that came in pieces, None where none did."""
    load = measurement.steady
    first = Sketch(at for r in load.results if r.ok and (at := r.first_token_seconds) is not None)
    return Streaming(latency(first), latency(load.gaps)) if first.count else None


def _scaled(gross: Interval | None, carbon: Carbon | None) -> Interval | None:
    if gross is None or carbon is None or gross.value is None:
        return None
    value, low, high = (grams(j, carbon.grams_per_kwh, carbon.pue or 1.0) for j in (gross.value, gross.low, gross.high))
    return Interval(value, low, high)


def cost(gross: Interval | None, price: Price | None, pue: float | None) -> Interval | None:
    """Return what the electricity of an inference costs: joules × PUE ÷ 3.6e6 × price of a kWh; None without either."""
    if gross is None or gross.value is None or price is None:
        return None
    each = (pue or 1.0) / JOULES_PER_KWH * price.per_kwh
    return Interval(gross.value * each, gross.low * each, gross.high * each)


def _replaced(carbon: Carbon | None) -> float | None:
    """Return grams per joule where they replace those that the exporter added up; else None."""
    return grams(1.0, carbon.grams_per_kwh, carbon.pue or 1.0) if carbon is not None and carbon.recomputed else None


def carbon_factor(exporter: Exposition | None, zone: str | None) -> Carbon | None:
    """Return the factor in use: of ``zone`` if given, else the exporter's; None without either.

    Raises:
        UnknownZoneError: no such zone.
    """
    pue = exporter.pue if exporter is not None else None
    if zone is not None:
        row = static_intensity(zone)
        return Carbon(row.zone, row.grams_per_kwh, row.source, row.year, pue, recomputed=True)
    if exporter is None or not exporter.factors:
        return None
    factor = exporter.factors[0]
    known = static_intensities().get(factor.zone)
    same = (
        known is not None
        and factor.provider == "static"
        and math.isclose(known.grams_per_kwh, factor.grams_per_kwh, rel_tol=_SAME_FACTOR)
    )
    source, year = (known.source, known.year) if same and known is not None else (factor.provider or None, None)
    return Carbon(factor.zone, factor.grams_per_kwh, source, year, pue, recomputed=False)
