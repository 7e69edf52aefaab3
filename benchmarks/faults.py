"""What each program says when one GPU of eight fails: its counter restarts, it is lost, its driver hangs, it has none.

What is written in the table is what was observed, in this run. The truth is known: the fake GPU goes on drawing its
square wave whatever the driver tells.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks import driver as fake
from benchmarks.fleet import OURS, START_SECONDS, Bench, Child, Exporter, Fleet
from benchmarks.peers import CODECARBON, NVITOP, ZEUS
from benchmarks.report import Section, Table
from benchmarks.scraping import Answer, Scraper
from benchmarks.summary import Check, digits, median, percent, quantile, relative_error, scaled, tick_bound
from tests.exporter.driver import FakeDriver, joules

GPUS, BAD = 8, 3
GONE_SECONDS = 1.0
"""Within this time of a hang the GPU's series must be gone."""

SCRAPE_SECONDS = 0.05
"""And each scrape answered within this, p99: "milliseconds", with room for a busy machine."""

MOST_INTEGRATED_ERROR = 0.02
"""Of integrated power. The fake driver samples every 20 ms, and where the wave jumped between two samples is unknown:
its falling edges lie on the grid, so that 10 ms of 200 W are missed twice a second, 1.74 % of GPU 3's energy."""

_EVERY_SECONDS, _BEFORE_SECONDS, _BACK_SECONDS, _PATIENCE_SECONDS = 0.05, 2.0, 8.0, 5.0
_ENERGY, _POWER, _TIME = "gpu_energy_joules_total", "gpu_power_watts", "gpu_energy_timestamp_seconds"


@dataclass(slots=True)
class Watched:
    """Scrapes of one exporter over a while: when, and what was answered."""

    times: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def values(self, name: str, **labels: str) -> list[tuple[float, float]]:
        """Return the times and values of one sample, where it was there."""
        every = zip(self.times, (answer.of(name, **labels) for answer in self.answers), strict=True)
        return [(time, value) for time, value in every if value is not None]

    def seconds(self) -> list[float]:
        """Return how long the scrapes took."""
        return [answer.seconds for answer in self.answers]


@dataclass(slots=True)
class Scene:
    """The programs under one fault, and what they answered."""

    ours: Exporter
    nvitop: Exporter | None
    children: dict[str, Child]
    start: dict[str, Answer] = field(default_factory=dict)
    injected: float = 0.0
    during: dict[str, Watched] = field(default_factory=dict)
    begun: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    said: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    after: dict[str, Watched] = field(default_factory=dict)
    released: float = 0.0

    def exporters(self) -> list[Exporter]:
        """Return the programs that are scraped."""
        return [self.ours, *([self.nvitop] if self.nvitop else [])]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what the driver is told, from the start or later, what ends it, and how ours is judged."""

    title: str
    tell: Callable[[FakeDriver], None]
    ours: Callable[[Scene], str]
    checks: Callable[[Scene], Iterator[Check]]
    untell: Callable[[FakeDriver], None] | None = None
    from_start: bool = False


def faults(bench: Bench) -> Section:
    """Inject each fault and observe."""
    rows: list[tuple[str, ...]] = []
    checks: list[Check] = []
    for number, fault in enumerate(FAULTS):
        with Fleet(bench) as fleet:
            scene = _played(bench, fleet, fault, bench.driver(f"fault-{number}", gpus=GPUS))
        rows += [(fault.title, name, said) for name, said in _told(fault, scene)]
        checks += fault.checks(scene)
    low, high = (watts + BAD * fake.STEP_WATTS for watts in (fake.LOW_WATTS, fake.HIGH_WATTS))
    notes = (
        f"GPU {BAD} of {GPUS} fails; it draws {low:g} and {high:g} W in turn throughout.",
        f"Exporters are scraped every {scaled(_EVERY_SECONDS, 's')}; nvitop-exporter reads every 0.3 s here.",
        "zeus and codecarbon measure a window that starts before the fault and ends while it lasts.",
    )
    table = Table("What is said of a GPU that fails", ("fault", "program", "observed"), rows, notes)
    return Section("faults", [table], checks, {"observed": rows})


def _played(bench: Bench, fleet: Fleet, fault: Fault, driver: FakeDriver) -> Scene:
    if fault.from_start:
        fault.tell(driver)
    scene = _scene(bench, fleet, driver)
    for child in scene.children.values():
        child.ready()
    for name, child in scene.children.items():
        scene.begun[name] = child.ask("begin", START_SECONDS)
    time.sleep(bench.seconds(_BEFORE_SECONDS, 1))
    scene.start = {each.name: _scrape(each) for each in scene.exporters()}
    if not fault.from_start:
        fault.tell(driver)
    scene.injected = time.time()
    scene.during = _watched(scene.exporters(), bench.seconds(6, 3))
    for name, child in scene.children.items():
        scene.said[name] = _asked(child)
    if fault.untell is not None:
        fault.untell(driver)
        scene.released = time.time()
        scene.after = _watched(scene.exporters(), bench.seconds(_BACK_SECONDS, 3))
    return scene


def _scene(bench: Bench, fleet: Fleet, driver: FakeDriver) -> Scene:
    children = {}
    if bench.peers:
        children = {ZEUS: fleet.zeus(driver, "zeus-energy"), CODECARBON: fleet.codecarbon(driver)}
    ours = fleet.ours(driver)
    # Not its usual second, which would be in step with the wave and look frozen.
    return Scene(ours, fleet.nvitop(driver, "--interval", "0.3") if bench.peers else None, children)


def _asked(child: Child) -> dict[str, Any] | None:
    if not child.program.alive():
        return {"error": "it had ended"}
    return child.ask("end", _PATIENCE_SECONDS)


def _scrape(exporter: Exporter) -> Answer:
    return Scraper(exporter.port, as_prometheus=False).scrape()


def _watched(exporters: list[Exporter], seconds: float) -> dict[str, Watched]:
    found = {each.name: Watched() for each in exporters}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for each in exporters:
            found[each.name].times.append(time.time())
            found[each.name].answers.append(_scrape(each))
        time.sleep(_EVERY_SECONDS)
    return found


# What was observed, in words.


def _told(fault: Fault, scene: Scene) -> Iterator[tuple[str, str]]:
    yield OURS, fault.ours(scene)
    if scene.nvitop is not None:
        yield NVITOP, _told_of_nvitop(fault, scene)
    for name in scene.children:
        yield name, _told_of_child(name, scene)


def _told_of_nvitop(fault: Fault, scene: Scene) -> str:
    watts = scene.during[NVITOP].values("gpu_power_usage_W", index=str(BAD))
    if not watts:
        return "no power of the GPU; it has no energy"
    seconds, last = watts[-1][0] - scene.injected, watts[-1][1]
    if math.isnan(last):
        first = next(time for time, value in watts if math.isnan(value)) - scene.injected
        return f"NaN watts, from {scaled(first, 's')} after the fault on; it has no energy"
    said = f"{digits(last)} W, {scaled(seconds, 's')} after the fault"
    return f"stale: still {said}" if fault.untell is not None else f"{said}; it has no energy"


def _told_of_child(name: str, scene: Scene) -> str:
    begun, said = scene.begun[name], scene.said[name]
    if begun is None or said is None:
        return f"no answer within {_PATIENCE_SECONDS:g} s: the caller hangs with it"
    if "error" in begun or "error" in said:
        return f"raises {str(begun.get('error') or said.get('error'))[:90]}"
    start, end = begun["at"], said["at"]
    if "gpus" in said:
        value, true = said["gpus"].get(str(BAD)), joules(BAD, start, end)
        return f"{'nothing' if value is None else scaled(value, 'J')} for the GPU, which drew {scaled(true, 'J')}"
    true = sum(joules(gpu, start, end) for gpu in range(GPUS))
    error = percent(relative_error(said["joules"], true))
    return f"{scaled(said['joules'], 'J')} for all GPUs, which drew {scaled(true, 'J')}: {error} off"


def _labels() -> Mapping[str, str]:
    return {"gpu": str(BAD)}


def _shown_until(scene: Scene) -> float:
    """Return the seconds after the fault of the last scrape that still showed energy or power of the GPU."""
    shown = [*scene.during[OURS].values(_ENERGY, **_labels()), *scene.during[OURS].values(_POWER, **_labels())]
    return max((time for time, _ in shown), default=scene.injected) - scene.injected


def _gone(until: float) -> str:
    return f"after {scaled(until, 's')}" if until > _EVERY_SECONDS else "from the next scrape on"


def _others_up(scene: Scene) -> int:
    last = scene.during[OURS].answers[-1]
    ages = [last.of("gpu_sample_age_seconds", gpu=str(gpu)) for gpu in range(GPUS) if gpu != BAD]
    shown = [last.of(_ENERGY, gpu=str(gpu)) for gpu in range(GPUS) if gpu != BAD]
    return sum(age is not None and age < 0.5 and value is not None for age, value in zip(ages, shown, strict=True))  # noqa: PLR2004 (well below the second after which it would be hidden)


def _back(scene: Scene) -> str:
    shown = scene.after[OURS].values(_ENERGY, **_labels())
    return f"back {scaled(max(0.0, shown[0][0] - scene.released), 's')} after the GPU" if shown else "not back"


def _withdrawn(scene: Scene) -> str:
    up = scene.during[OURS].values("gpu_up", **_labels())
    return (
        f"gone {_gone(_shown_until(scene))}, gpu_up {up[-1][1]:g}, {_others_up(scene)} others go on; "
        f"scrapes p50 {scaled(median(scene.during[OURS].seconds()), 's')}, "
        f"longest {scaled(max(scene.during[OURS].seconds()), 's')}; {_back(scene)}"
    )


def _reset(scene: Scene) -> str:
    error, _ = _reset_error(scene)
    resets = scene.during[OURS].values("gpu_energy_resets_total", **_labels())
    return f"counter {'goes on' if _never_back(scene) else 'WENT BACK'}, {percent(error)} off; resets {resets[-1][1]:g}"


def _reset_error(scene: Scene) -> tuple[float, bool]:
    """Return the error over the reset, and whether it is within the bound: one tick at the reset and none elsewhere."""
    start, end = scene.start[OURS], scene.during[OURS].answers[-1]
    values = [each.of(name, **_labels()) or 0.0 for each in (start, end) for name in (_ENERGY, _TIME)]
    measured, true = values[2] - values[0], joules(BAD, values[1], values[3])
    bound = tick_bound([fake.HIGH_WATTS + BAD * fake.STEP_WATTS] * 2, fake.TICK_SECONDS)
    return relative_error(measured, true), abs(measured - true) <= bound


def _never_back(scene: Scene) -> bool:
    values = [value for _, value in scene.during[OURS].values(_ENERGY, **_labels())]
    return values == sorted(values)


def _no_counter(scene: Scene) -> str:
    method, error = _integrated(scene)
    return "no energy of the GPU" if error is None else f"∫power, {percent(error)} off; method={method}"


def _integrated(scene: Scene) -> tuple[str, float | None]:
    """Return the method that is told, and the error between the first and the last (energy, time) pair."""
    watched = scene.during[OURS]
    methods = [each for each in ("counter", "integrated") if watched.values("gpu_info", **_labels(), method=each)]
    energies = [value for _, value in watched.values(_ENERGY, **_labels())]
    times = [value for _, value in watched.values(_TIME, **_labels())]
    if len(energies) < 2 or len(times) != len(energies):  # noqa: PLR2004 (a difference takes two)
        return ", ".join(methods), None
    return ", ".join(methods), relative_error(energies[-1] - energies[0], joules(BAD, times[0], times[-1]))


# What ours is held to.


def _reset_checks(scene: Scene) -> Iterator[Check]:
    error, within = _reset_error(scene)
    yield Check("reset: energy over it", percent(error), "within power × tick at the reset", within)
    yield Check("reset: counter goes back", "no" if _never_back(scene) else "yes", "never", _never_back(scene))


def _withdrawn_checks(what: str) -> Callable[[Scene], Iterator[Check]]:
    def checks(scene: Scene) -> Iterator[Check]:
        until, others = _shown_until(scene), _others_up(scene)
        yield Check(f"{what}: series gone", _gone(until), f"≤ {GONE_SECONDS:g} s", until <= GONE_SECONDS)
        yield Check(f"{what}: other GPUs", f"{others} of {GPUS - 1}", "all go on", others == GPUS - 1)
        p99 = quantile(scene.during[OURS].seconds(), 0.99)
        limit = f"≤ {scaled(SCRAPE_SECONDS, 's')}"
        yield Check(f"{what}: scrape p99", scaled(p99, "s"), limit, p99 <= SCRAPE_SECONDS)
        back = scene.after[OURS].values(_ENERGY, **_labels())
        yield Check(f"{what}: recovers", _back(scene), "by itself", bool(back))

    return checks


def _no_counter_checks(scene: Scene) -> Iterator[Check]:
    method, error = _integrated(scene)
    told = "unknown" if error is None else percent(error)
    within = error is not None and abs(error) <= MOST_INTEGRATED_ERROR
    yield Check("no counter: energy", told, f"≤ {percent(MOST_INTEGRATED_ERROR)}", within)
    yield Check("no counter: method", method, "integrated", method == "integrated")


FAULTS = (
    Fault("counter reset", lambda driver: driver.set(**{f"reset_{BAD}": 1}), _reset, _reset_checks),
    Fault(
        "GPU lost",
        lambda driver: driver.set(lost_mask=1 << BAD),
        _withdrawn,
        _withdrawn_checks("lost"),
        lambda driver: driver.set(lost_mask=0),
    ),
    Fault(
        "driver hangs",
        lambda driver: driver.set(hang_mask=1 << BAD),
        _withdrawn,
        _withdrawn_checks("hang"),
        lambda driver: driver.set(hang_mask=0),
    ),
    Fault(
        "no energy counter",
        lambda driver: driver.set(no_counter_mask=1 << BAD),
        _no_counter,
        _no_counter_checks,
        from_start=True,
    ),
)
