"""Which meters there are, by the names of ``--meter``, and how each is opened.

A driver's binding is imported when its meter is opened, so that nobody pays for one that is not used.
"""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

from perjoule.errors import NoMeterError
from perjoule_exporter.clock import Clock
from perjoule_exporter.config import AUTO, Config
from perjoule_exporter.meters import Meter
from perjoule_exporter.meters.estimate import EstimateMeter
from perjoule_exporter.meters.simulated import DEFAULT, NodeLoad, SimulatedMeter, TruthFile

_LOG = logging.getLogger(__name__)


def open_meters(config: Config, clock: Clock) -> tuple[Meter, ...]:
    """Open the meters that were asked for. ``auto``: every hardware meter that answers, else the estimate.

    Raises:
        NoMeterError: a meter that was named finds nothing on this machine.
        UsageError: its settings cannot be honoured.
    """
    if config.meters != (AUTO,):
        return tuple(METERS[name](config, clock) for name in config.meters)
    try:
        return (METERS["nvml"](config, clock),)
    except NoMeterError as error:
        _LOG.warning("%s; CPU energy is estimated from utilisation instead (method=estimated)", error)
        return (METERS["estimate"](config, clock),)


def _open_nvml(config: Config, clock: Clock) -> Meter:  # noqa: ARG001 (one signature for all)
    from perjoule_exporter.meters.nvml import NvmlMeter

    return NvmlMeter(clock)


def _open_estimate(config: Config, clock: Clock) -> Meter:
    meter = EstimateMeter(config.estimate, clock)
    _LOG.info("CPU energy is estimated: %.3g W idle to %.3g W at full load, no measurement", *meter.watts)
    return meter


def _open_simulated(config: Config, clock: Clock) -> Meter:
    truth = TruthFile(config.simulated_truth) if config.simulated_truth is not None else None
    return SimulatedMeter(DEFAULT, clock, NodeLoad(), truth)


METERS: Mapping[str, Callable[[Config, Clock], Meter]] = MappingProxyType(
    {"nvml": _open_nvml, "estimate": _open_estimate, "simulated": _open_simulated}
)
