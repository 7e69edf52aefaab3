"""One invocation from the first question to the last baseline: ask everybody, idle, each task, idle again.

What can be known to fail is found before anything is sent. Computes and shows nothing: it returns what was measured.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from perjoule.errors import MeasurementError, UnreachableError, UsageError
from perjoule_loadgen.client import bearer, new_session
from perjoule_loadgen.clock import Clock
from perjoule_loadgen.config import Config
from perjoule_loadgen.crew import Crew
from perjoule_loadgen.crosscheck import Prometheus
from perjoule_loadgen.discovery import discover
from perjoule_loadgen.figures import Baseline
from perjoule_loadgen.inputs import Item, load_inputs
from perjoule_loadgen.measurement import Measurement, Plan
from perjoule_loadgen.meter import Idle, Meter, bracket_ids
from perjoule_loadgen.pages import Page
from perjoule_loadgen.phases import Phases
from perjoule_loadgen.preparing import asking, made_up
from perjoule_loadgen.settlement import Settlement
from perjoule_loadgen.status import Status
from perjoule_loadgen.studysets import load_study_set
from perjoule_loadgen.target import Target

_FIRST_READINGS = 12


@dataclass(slots=True)
class Campaign:
    """What was measured so far.

    Attributes:
        measurements: one for each task begun.
        before, after: idle baselines by device id.
        meter: history of the exporters' counters; None before they were reached.
        interrupted: whether a person ended it.
        faults: sentences about what belongs to no task.
    """

    measurements: list[Measurement] = field(default_factory=list)
    before: dict[str, Idle] = field(default_factory=dict)
    after: dict[str, Idle] = field(default_factory=dict)
    meter: Meter | None = None
    interrupted: bool = False
    faults: list[str] = field(default_factory=list)

    def baselines(self) -> dict[str, Baseline]:
        """Return the idle baselines of every device that has one."""
        return {id_: Baseline(self.before.get(id_), self.after.get(id_)) for id_ in {**self.before, **self.after}}


async def run(config: Config, clock: Clock, status: Status, campaign: Campaign) -> None:
    """Run everything; ``campaign`` holds what there is at any time, also after an interruption.

    Raises:
        UsageError: a task, model or device that is not there, inputs that cannot be used.
        UnreachableError: the server, an exporter or Prometheus does not answer at the start.
        MeasurementError: they answer, and measuring is not possible all the same.
    """
    items = {task: _inputs(config, task) for task in config.tasks or sorted(config.dialect.tasks)}
    async with new_session(config.timeout) as session:
        page = Page(session)
        status.enter("asking server and exporter", None)
        told = Page(session, bearer(config.token))
        target = await discover(told, config.target, config.dialect, config.model, config.rules.ready_seconds)
        tasks = target.tasks(config.tasks)
        campaign.meter = meter = await _first_readings(page, config, clock)
        if config.input_tokens is not None:
            status.enter("making texts with the server's own count of tokens", None)
            items = {task: await made_up(session, config, target.model(task, config.model), task) for task in tasks}
        plans = [_plan(config, target, meter, task, items[task]) for task in tasks]
        prometheus = await _prometheus(page, config, clock, meter, plans)
        status.count = len(plans)
        settlement = Settlement(page, meter, clock, config.rules)
        poller = asyncio.create_task(meter.run())
        crew = await Crew.started(config.workers, config.timeout) if config.workers > 1 else None
        try:
            await _tasks(Phases(config, clock, session, meter, prometheus, settlement, status, crew), campaign, plans)
        finally:
            poller.cancel()
            if crew is not None:
                crew.close()
            with contextlib.suppress(asyncio.CancelledError):
                await poller


async def _tasks(phases: Phases, campaign: Campaign, plans: Sequence[Plan]) -> None:
    try:
        campaign.before = await phases.idle("idle baseline")
        for number, plan in enumerate(plans, 1):
            phases.status.task, phases.status.number = plan.task, number
            campaign.measurements.append(measurement := Measurement(plan))
            await phases.measure(measurement)
        phases.status.task = ""
        if any(measurement.charged for measurement in campaign.measurements):
            campaign.after = await phases.idle("idle baseline again")
    except MeasurementError as error:  # a baseline: the tasks have their own faults
        if not campaign.measurements:
            raise
        campaign.faults.append(str(error))
    except asyncio.CancelledError:
        campaign.interrupted = True


async def _first_readings(page: Page, config: Config, clock: Clock) -> Meter:
    """Reach every exporter and read it a few times in a row, so that a short tick is seen."""
    meter = Meter(page, config.energy, clock, config.rules)
    try:
        await meter.read_once()
    except UnreachableError as error:
        raise UnreachableError(f"no exporter answers ({error}); start one with: gpu-energy-exporter") from error
    for _ in range(_FIRST_READINGS):
        await asyncio.sleep(config.rules.edge_poll_seconds)
        await meter.read()
    if not meter.tracks:
        raise MeasurementError(f"{', '.join(config.energy)} shows no energy counter with its time: no device to charge")
    lead = max(track.times[-1] for track in meter.tracks.values()) - clock.unix()
    if lead > config.rules.max_lead_seconds:
        raise MeasurementError(f"the exporter's clock is {lead:.1f} s ahead of this machine's: synchronise them")
    return meter


def _inputs(config: Config, task: str) -> Sequence[Item]:
    if config.dataset is not None:
        return load_study_set(task, config.dataset, config.dataset_from)
    return load_inputs(task, config.inputs)


def _source(config: Config) -> str:
    """Return where the inputs come from, in words."""
    if config.dataset is not None:
        return f"dataset {config.dataset}"
    if config.input_tokens is not None:
        return f"made up, {config.input_tokens} tokens"
    return "built-in" if config.inputs is None else config.inputs.name


def _plan(config: Config, target: Target, meter: Meter, task: str, inputs: Sequence[Item]) -> Plan:
    model = target.model(task, config.model)
    ask = asking(config, model, task)
    items = [config.dialect.prepare(item, ask) for item in inputs]
    return Plan(task, model, items, _scope(config, model.devices, meter), _source(config))


def _scope(config: Config, told: Sequence[str], meter: Meter) -> tuple[str, ...]:
    """Return the ids of the devices that pay: those named, else those that the server says, else the only one.

    Raises:
        UsageError: they are not among the exporters' devices, or nobody says which of several it is.
    """
    shown = ", ".join(meter.tracks)
    wanted = config.device or tuple(told)
    if not wanted:
        bases = {track.device.base for track in meter.tracks.values()}
        if len(bases) > 1:
            raise UsageError(f"{config.target} does not say on which device it runs; name one with --device: {shown}")
        return tuple(meter.tracks)
    for name in wanted:
        if not bracket_ids(meter.tracks, [name]):
            said = f"--device {name}" if config.device else f"the server says that it runs on {name}, which"
            raise UsageError(
                f"{said} is not among the exporter's devices ({shown}); start the exporter on the server's machine, or"
                " name the device that pays: loadgen --device, inference-server --energy-device"
            )
    return bracket_ids(meter.tracks, wanted)


async def _prometheus(
    page: Page, config: Config, clock: Clock, meter: Meter, plans: Sequence[Plan]
) -> Prometheus | None:
    if config.prometheus is None:
        return None
    prometheus = Prometheus(page, config.prometheus, clock)
    charged = {meter.tracks[id_].device.exporter for plan in plans for id_ in plan.devices}
    await prometheus.learn(config.target, sorted(charged))
    return prometheus
