"""Which meters there are, by the names of ``--meter``, and how each is opened.

A driver's binding is imported when its meter is opened, so that nobody pays for one that is not used. A driver may hang
already when it is opened, which nothing in the process can end: then the program says so and exits.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from types import MappingProxyType

from perjoule.errors import NoMeterError, PerjouleError, UsageError
from perjoule_exporter.clock import Clock
from perjoule_exporter.config import Config
from perjoule_exporter.flags import AUTO
from perjoule_exporter.meters import Meter
from perjoule_exporter.meters.estimate import EstimateMeter
from perjoule_exporter.meters.presence import amd_gpu_present
from perjoule_exporter.meters.rapl import RaplMeter
from perjoule_exporter.meters.replay import ReplayMeter
from perjoule_exporter.meters.simulated import DEFAULT, NodeLoad, SimulatedMeter, TruthFile, load_script

_LOG = logging.getLogger(__name__)

OPEN_SECONDS = 30.0
"""A driver that needs longer to start hangs: loading one takes a few seconds on a node of eight GPUs."""

_HARDWARE = ("nvml", "amd", "rapl")
"""What ``auto`` asks, in the order of the devices."""


def open_meters(config: Config, clock: Clock) -> tuple[Meter, ...]:
    """Open the meters that were asked for. ``auto``: every hardware meter that answers, else the estimate.

    Raises:
        NoMeterError: a meter that was named finds nothing on this machine.
        UsageError: its settings cannot be honoured.
    """
    if {"rapl", "estimate"} <= set(config.meters):
        raise UsageError("--meter rapl and --meter estimate are both of the CPU packages: name one of them")
    if config.meters != (AUTO,):
        return tuple(_named(name, config, clock) for name in config.meters)
    found: list[Meter] = []
    missing: dict[str, NoMeterError] = {}
    for name in _HARDWARE:
        try:
            found.append(_opened(name, config, clock))
        except NoMeterError as error:
            missing[name] = error
    _tell(missing, config, logging.DEBUG if found else logging.INFO)
    if found:
        return tuple(found)
    _LOG.warning("no hardware meter here: CPU energy is an ESTIMATE from utilisation")
    return (_opened("estimate", config, clock),)


def _named(name: str, config: Config, clock: Clock) -> Meter:
    try:
        return _opened(name, config, clock)
    except NoMeterError as error:
        raise NoMeterError(f"{error} (named by --meter {name}: leave it out, or use --meter auto)") from error


def _tell(missing: Mapping[str, NoMeterError], config: Config, level: int) -> None:
    """Log why meters are not there. What is not there may well be so; what may not be read can be changed."""
    for name, why in missing.items():
        at = logging.WARNING if isinstance(why.__cause__, PermissionError) else level
        if name == "amd" and not amd_gpu_present(config.sysfs):
            at = logging.DEBUG  # its library may be missing too, and nobody has to bring it
        _LOG.log(at, "%s", why)


def _opened(name: str, config: Config, clock: Clock) -> Meter:
    results: SimpleQueue[Meter | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            results.put(METERS[name](config, clock))
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
            results.put(error)

    threading.Thread(target=run, name=f"open {name}", daemon=True).start()
    try:
        result = results.get(timeout=OPEN_SECONDS)
    except Empty:
        raise PerjouleError(f"the driver of --meter {name} has not answered for {OPEN_SECONDS:g} s") from None
    if isinstance(result, BaseException):
        raise result
    return result


def _open_nvml(config: Config, clock: Clock) -> Meter:  # noqa: ARG001 (one signature for all)
    from perjoule_exporter.meters.nvml import NvmlMeter

    return NvmlMeter(clock)


def _open_amd(config: Config, clock: Clock) -> Meter:  # noqa: ARG001 (as above)
    from perjoule_exporter.meters.amd import AmdMeter

    return AmdMeter(clock)


def _open_rapl(config: Config, clock: Clock) -> Meter:
    return RaplMeter(clock, config.sysfs)


def _open_estimate(config: Config, clock: Clock) -> Meter:
    meter = EstimateMeter(config.estimate, clock)
    _LOG.info("CPU energy is estimated: %.3g W idle to %.3g W at full load, no measurement", *meter.watts)
    return meter


def _open_simulated(config: Config, clock: Clock) -> Meter:
    script = load_script(config.simulated_script) if config.simulated_script is not None else DEFAULT
    truth = TruthFile(config.simulated_truth) if config.simulated_truth is not None else None
    return SimulatedMeter(script, clock, NodeLoad() if script.follows_node else None, truth, work=True)


def _open_replay(config: Config, clock: Clock) -> Meter:
    if config.replay is None:
        raise UsageError("--meter replay needs --replay.file")
    return ReplayMeter(config.replay, clock)


METERS: Mapping[str, Callable[[Config, Clock], Meter]] = MappingProxyType(
    {
        "nvml": _open_nvml,
        "amd": _open_amd,
        "rapl": _open_rapl,
        "estimate": _open_estimate,
        "simulated": _open_simulated,
        "replay": _open_replay,
    }
)
