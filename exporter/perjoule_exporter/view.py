"""The frozen picture of one device that a scrape, the landing page and the health check are made from.

Everything measured hangs below ``measured``, which is None as soon as the last reading failed or is too old: nothing
stale can be published by forgetting a check. What a value is called outside is the collector's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from perjoule_exporter.ledger import Snapshot
from perjoule_exporter.meters import Device, Status
from perjoule_exporter.processes.owner import Owner


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a device that answers. None is unknown. Energy in joules since the exporter first saw it.

    ``split`` is the same energy by whose it is, in microjoules.
    """

    energy_joules: float | None
    energy_time: float | None
    integrated_joules: float | None
    update_interval_seconds: float | None
    resets: int | None
    power_watts: float | None
    average_power_watts: float | None
    max_power_watts: float | None
    min_power_watts: float | None
    emissions_grams: float | None
    embodied_grams: float | None
    throttled_seconds: Mapping[str, float]
    status: Status
    split: Mapping[Owner, int] | None = None


@dataclass(frozen=True, slots=True)
class Charged:
    """Whose a device's energy was.

    ``wall_offset``: seconds from the monotonic clock to Unix time; ``emissions``: whether those are counted.
    """

    ledger: Snapshot
    wall_offset: float
    emissions: bool


@dataclass(frozen=True, slots=True)
class DeviceView:
    """One device at one instant. ``read_bucket_counts`` are not cumulative; the last one is the rest up to infinity.

    ``failure`` is why it does not answer; None while it does, or where nobody knows.
    """

    device: Device
    measured: Measured | None
    age_seconds: float | None
    samples: Mapping[str, int]
    read_bucket_counts: tuple[int, ...]
    read_seconds_sum: float
    charged: Charged | None = None
    failure: str | None = None

    @property
    def failed(self) -> bool:
        """Whether a reading ever failed."""
        return any(number for outcome, number in self.samples.items() if outcome != "ok")
