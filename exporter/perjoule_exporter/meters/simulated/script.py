"""A simulation script: a TOML file that says which boards there are, what they draw, and what happens to them.

Everything is checked here, before anything is measured: an unknown key or an impossible value ends the program with
the file, the place and what is allowed. Times are seconds since the meter was opened.
"""

import math
import os
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule_exporter.meters import THROTTLE_REASONS, Device, DeviceKind, Slice
from perjoule_exporter.meters.simulated.board import (
    READING_FIELDS,
    STATUS_FIELDS,
    Gpu,
    Process,
    Sensor,
    status_values,
)
from perjoule_exporter.meters.simulated.curve import Curve
from perjoule_exporter.meters.simulated.events import Events, Frozen, Instant, Window
from perjoule_exporter.meters.simulated.powers import LONGEST_SECONDS, MOST_WATTS, power_of
from perjoule_exporter.meters.simulated.table import Table, is_number

UUID = "GPU-simulated-0"

_MOST_BYTES = 1 << 20
_MOST_GPUS = 256
_MOST_ROWS = 1000
_MOST_JOULES = 1e12
_CLOCKS = ("graphics", "sm", "memory", "video")
_WINDOWS = ("lost", "hang", "absent")
_KINDS = ("reset", "jump", "frozen", *_WINDOWS)


@dataclass(frozen=True, slots=True)
class Script:
    """The boards of a simulation."""

    gpus: tuple[Gpu, ...]

    @property
    def follows_node(self) -> bool:
        """Whether any board follows the load of the node."""
        return any(gpu.power is None for gpu in self.gpus)


def simulated_device(index: int) -> Device:
    """Return the identity of a board that a script says nothing of."""
    return Device(
        kind=DeviceKind.GPU,
        uuid=f"GPU-simulated-{index}",
        index=index,
        method="simulated",
        scope="gpu",
        name="Simulated GPU",
        vendor="Perjoule",
        driver="simulated",
        pci_bus_id=f"00000000:{index:02X}:00.0",
    )


DEFAULT = Script((Gpu(simulated_device(0)),))
"""Without a script: one board that follows the load of the node."""


def load_script(path: Path) -> Script:
    """Return the script in a file.

    Raises:
        UsageError: it cannot be read, or says what cannot be.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise UsageError(f"{path}: a script is at most {_MOST_BYTES} bytes")
        values = tomllib.loads(text.decode())
    except OSError as error:
        raise UsageError(f"cannot read the script {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # tomllib's, the decoder's, and that of an endless number
        raise UsageError(f"{path} is no TOML file: {error}") from error
    return script_of(values, str(path), path.parent)


def script_of(values: Mapping[str, Any], place: str, folder: Path) -> Script:
    """Return the script that the values of a TOML file describe. ``place`` names the file in messages.

    Raises:
        UsageError: it says what cannot be.
    """
    table = Table(values, place)
    gpus: list[Gpu] = []
    for entry in table.tables("gpu", _MOST_GPUS):
        gpu = _gpu(entry, folder, len(gpus))
        gpus += _copies(entry, gpu)
        entry.done()
    table.done()
    if not 0 < len(gpus) <= _MOST_GPUS:
        raise UsageError(
            f"{place}: a script has 1 to {_MOST_GPUS} GPUs, each in a table [[gpu]]; this one has {len(gpus)}"
        )
    uuids = Counter(uuid for gpu in gpus for uuid in (gpu.device.uuid, *(part.uuid for part in gpu.device.slices)))
    if doubled := [uuid for uuid, count in uuids.items() if count > 1]:
        raise UsageError(f"{place}: two GPUs or slices have the uuid {doubled[0]!r}; each needs its own")
    return Script(tuple(gpus))


def _copies(table: Table, gpu: Gpu) -> list[Gpu]:
    count = table.whole("count", 1, 1, _MOST_GPUS)
    if count > 1 and ("uuid" in table or "slice" in table):
        raise UsageError(f"{table.place}: count = {count} makes several GPUs, and uuid and slice belong to one")
    first = gpu.device.index
    return [gpu] + [
        replace(gpu, device=replace(gpu.device, index=index, uuid=(new := simulated_device(index)).uuid,
                                    pci_bus_id=new.pci_bus_id))
        for index in range(first + 1, first + count)
    ]  # fmt: skip


def _gpu(table: Table, folder: Path, index: int) -> Gpu:
    max_watts = table.number("max_watts", 400.0, 1.0, MOST_WATTS)
    period = table.maybe_number("status_period_seconds", 0.1, LONGEST_SECONDS)
    unsupported = table.choices("unsupported", (*READING_FIELDS, *STATUS_FIELDS))
    sensor, events = _sensor(table), _events(table)
    if "energy" in unsupported and (sensor.start_joules or events.resets or events.jumps or events.frozen):
        raise UsageError(
            f"{table.place}: start_joules, reset, jump and frozen need a counter, and energy is unsupported"
        )
    return Gpu(
        device=_device(table, index),
        idle_watts=table.number("idle_watts", min(70.0, max_watts), 0.0, max_watts),
        max_watts=max_watts,
        power=power_of(table, "power", folder, max_watts),
        cpu_power=_cpu_power(table, folder),
        sensor=sensor,
        events=events,
        statuses=_statuses(table, period),
        status_period=period,
        processes=_processes(table),
        unsupported=unsupported,
    )


def _device(table: Table, index: int) -> Device:
    default = simulated_device(index)
    return replace(
        default,
        uuid=table.text("uuid", default.uuid),
        name=table.text("name", default.name),
        scope=table.choice("scope", "gpu", ("gpu", "module")),
        slices=tuple(_slices(table, index)),
    )


def _slices(table: Table, index: int) -> list[Slice]:
    found = []
    for number, row in enumerate(table.tables("slice", 64)):
        found.append(
            Slice(
                uuid=row.text("uuid", f"MIG-simulated-{index}-{number}"),
                name=row.text("name", "MIG 1g.10gb"),
                gpu_instance=row.whole("gpu_instance", number, 0, 1000),
                compute_instance=row.whole("compute_instance", 0, 0, 1000),
            )
        )
        row.done()
    return found


def _cpu_power(table: Table, folder: Path) -> Curve | None:
    if "cpu_power" not in table:
        table.raw("cpu_power")
        return None
    if table.raw("scope") != "module":
        raise UsageError(f'{table.place}: cpu_power needs scope = "module": a GPU\'s own energy has no CPU in it')
    power = power_of(table, "cpu_power", folder, MOST_WATTS)
    if power is None:
        table.refuse("cpu_power", "a curve of the script, or a number of watts")
    return power


def _sensor(table: Table) -> Sensor:
    tick = table.number("tick_seconds", 0.1, 0.001, 10.0)
    return Sensor(
        tick_seconds=tick,
        delay_seconds=table.number("delay_seconds", 2 * tick, 0.0, 10.0),
        instant_seconds=table.number("instant_seconds", tick, 0.0001, tick),
        average_seconds=table.number("average_seconds", max(1.0, tick), tick, 60.0),
        gain=table.number("gain", 1.0, 0.01, 100.0),
        start_joules=table.number("start_joules", 0.0, 0.0, _MOST_JOULES),
    )


def _events(table: Table) -> Events:
    found: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    for row in table.tables("event", _MOST_ROWS):
        kind = row.choice("kind", None, _KINDS)
        found[kind].append(_event(row, kind))
        row.done()
    frozen = sorted(found["frozen"], key=lambda event: event.start)
    for before, after in pairwise(frozen):
        if after.start < before.stop:
            raise UsageError(f"{table.place}: two events freeze the counter at {after.start:g} s")
    return Events(
        resets=tuple(found["reset"]),
        jumps=tuple(found["jump"]),
        frozen=tuple(frozen),
        lost=tuple(found["lost"]),
        hangs=tuple(found["hang"]),
        absent=tuple(found["absent"]),
    )


def _event(row: Table, kind: str) -> Instant | Window | Frozen:
    if kind in ("reset", "jump"):
        return Instant(
            time=row.number("at_seconds", None, 0.0, LONGEST_SECONDS),
            every=row.maybe_number("every_seconds", 1.0, LONGEST_SECONDS),
            joules=row.number("joules", None, -_MOST_JOULES, _MOST_JOULES) if kind == "jump" else 0.0,
        )
    if kind == "frozen":
        window = _window(row, may_repeat=False)
        return Frozen(window.start, window.stop, row.flag("catch_up"))
    return _window(row, may_repeat=True)


def _window(row: Table, *, may_repeat: bool) -> Window:
    start = row.number("from_seconds", 0.0, 0.0, LONGEST_SECONDS)
    stop = row.maybe_number("to_seconds", 0.0, LONGEST_SECONDS)
    every = row.maybe_number("every_seconds", 0.1, LONGEST_SECONDS) if may_repeat else None
    if stop is not None and stop <= start:
        row.refuse("to_seconds", f"over from_seconds ({start:g})")
    if every is not None and (stop is None or every < stop - start):
        row.refuse("every_seconds", "at least as long as from from_seconds to to_seconds, which must both be there")
    return Window(start, math.inf if stop is None else stop, every)


def _statuses(table: Table, period: float | None) -> tuple[tuple[float, Mapping[str, Any]], ...]:
    rows = []
    for row in table.tables("status", _MOST_ROWS):
        start = row.number("from_seconds", 0.0, 0.0, LONGEST_SECONDS if period is None else period)
        values = {key: value for key in STATUS_FIELDS if (value := _status_value(row, key)) is not None}
        row.done()
        rows.append((start, status_values(values)))
    return tuple(sorted(rows, key=lambda row: row[0]))


def _status_value(row: Table, key: str) -> Any:
    if key not in row:
        return row.raw(key)
    if key == "throttle_reasons":
        return row.choices(key, THROTTLE_REASONS)
    if key == "clocks_hertz":
        return _clocks(row)
    if key.endswith("_bytes"):
        return row.whole(key, 0, 0, 1 << 50)
    low, high = {"limit_watts": (0.0, MOST_WATTS), "utilization_ratio": (0.0, 1.0)}.get(key, (-273.15, 1000.0))
    return row.number(key, None, low, high)


def _clocks(row: Table) -> Mapping[str, float]:
    value = row.raw("clocks_hertz")
    if not isinstance(value, dict) or not all(
        domain in _CLOCKS and is_number(hertz, 0, 1e11) for domain, hertz in value.items()
    ):
        row.refuse("clocks_hertz", f"a table of {', '.join(_CLOCKS)}, each in hertz")
    return {domain: float(hertz) for domain, hertz in value.items()}


def _processes(table: Table) -> tuple[Process, ...] | None:
    if "process" not in table:
        return table.raw("process")  # type: ignore[no-any-return]  # None, and asked for
    found = []
    for row in table.tables("process", _MOST_ROWS):
        pid = os.getpid() if row.raw("pid") == "self" else row.whole("pid", 0, 1, 1 << 22)
        if not pid:
            raise UsageError(f'{row.place}: pid is missing; "self" is the exporter\'s own')
        ratio = row.maybe_number("utilization_ratio", 0.0, 1.0)
        memory = row.whole("memory_bytes", 0, 0, 1 << 50) if "memory_bytes" in row else row.raw("memory_bytes")
        found.append(Process(pid, ratio, memory, _window(row, may_repeat=True)))
        row.done()
    return tuple(found)
