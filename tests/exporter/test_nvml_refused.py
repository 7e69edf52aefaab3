"""What the NVML meter makes of refusals, over the real binding and the driver in C: each costs only itself."""

from dataclasses import fields

import pytest

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.meters import Device, Reading, Status
from tests.exporter.driver import UNKNOWN_ERROR, FakeDriver
from tests.exporter.nvml_remote import RemoteMeter

NO_PERMISSION = 4


def told(nvml_meter: RemoteMeter, device: Device) -> set[str]:
    """Return the names of all that is known of a device."""
    values: dict[str, object] = {}
    for answer in (device, nvml_meter.read(device), nvml_meter.status(device)):
        assert isinstance(answer, (Device, Reading, Status))
        names = Reading._fields if isinstance(answer, Reading) else [each.name for each in fields(answer)]
        values |= {name: getattr(answer, name) for name in names}
    clocks = values.pop("clocks_hertz")
    assert isinstance(clocks, dict)
    values |= {f"{domain} clock": clocks.get(domain) for domain in ("graphics", "sm", "memory", "video")}
    return {name for name, value in values.items() if value not in {None, ""}}


@pytest.mark.parametrize(
    ("switches", "absent"),
    [
        (["no_field_energy"], {"energy_time"}),  # the older call answers, without a stamp
        (["no_field_average"], {"average_power_watts"}),
        (["no_field_instant"], set()),
        (["no_fields"], {"energy_time", "average_power_watts"}),
        (["no_total_energy"], set()),
        (["no_power_usage"], set()),
        (["no_field_instant", "no_power_usage"], {"power_watts"}),
        (["no_fields", "no_power_usage"], {"energy_time", "average_power_watts", "power_watts"}),
        (["no_fields", "no_total_energy", "no_power_usage"], {"energy_time", "average_power_watts", "power_watts"}),
        (["no_samples"], set()),
        (["no_counter"], set()),  # integrated
        (["no_counter", "no_samples"], set()),
        (["no_limit"], {"limit_watts"}),
        (["no_temperature"], {"temperature_celsius"}),
        (["no_clock_graphics"], {"graphics clock"}),
        (["no_clock_sm"], {"sm clock"}),
        (["no_clock_memory"], {"memory clock"}),
        (["no_utilization"], {"utilization_ratio"}),
        (["no_memory"], {"memory_used_bytes", "memory_total_bytes"}),
        (["no_event_reasons"], set()),
        (["no_throttle_reasons"], set()),
        (["no_event_reasons", "no_throttle_reasons"], {"throttle_reasons"}),
        (["no_mig_mode"], set()),
        (["no_compute_processes", "no_graphics_processes", "no_process_utilization"], set()),
        (["no_name"], {"name"}),
        (["no_pci"], {"pci_bus_id"}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("code", [1, NO_PERMISSION], ids=["not supported", "not permitted"])
def test_an_answer_that_is_refused_costs_only_itself(
    nvml_meter: RemoteMeter, driver: FakeDriver, switches: list[str], absent: set[str], code: int
) -> None:
    """Whatever call or field a driver refuses, the value is absent, and nothing else is, in all later readings too."""
    (device,) = nvml_meter.open()
    everything = told(nvml_meter, device)
    driver.set(**dict.fromkeys(switches, code))
    (device,) = nvml_meter.open()
    for _ in range(2):
        assert everything - told(nvml_meter, device) == absent - (
            {"energy_time"} if device.method == "integrated" else set()
        )


@pytest.mark.parametrize(
    ("switch", "absent"),
    [
        ("no_limit", {"limit_watts"}),
        ("no_temperature", {"temperature_celsius"}),
        ("no_clock_sm", {"sm clock"}),
        ("no_utilization", {"utilization_ratio"}),
        ("no_memory", {"memory_used_bytes", "memory_total_bytes"}),
        ("no_event_reasons", set()),
        ("no_mig_mode", set()),
    ],
)
def test_an_unknown_error_of_a_slow_value_loses_no_gpu(
    nvml_meter: RemoteMeter, driver: FakeDriver, switch: str, absent: set[str]
) -> None:
    """Joules are read on when a driver fails over a clock; the value is absent, and there again when it is told."""
    (device,) = nvml_meter.open()
    everything = told(nvml_meter, device)
    driver.set(**{switch: UNKNOWN_ERROR})
    assert everything - told(nvml_meter, device) == absent
    driver.set(**{switch: 0})
    assert told(nvml_meter, device) == everything


@pytest.mark.parametrize(
    "switches", [["no_fields"], ["no_field_energy"], ["no_field_instant", "no_power_usage"]], ids=str
)
def test_an_unknown_error_of_energy_or_power_is_a_loss(
    nvml_meter: RemoteMeter, driver: FakeDriver, switches: list[str]
) -> None:
    """Nobody knows what such a board draws: it is lost until it answers."""
    (device,) = nvml_meter.open()
    driver.set(**dict.fromkeys(switches, UNKNOWN_ERROR))
    with pytest.raises(DeviceLostError):
        nvml_meter.read(device)
    driver.set(**dict.fromkeys(switches, 0))
    assert nvml_meter.read(device).energy_microjoules is not None


def test_nothing_that_gives_energy_means_no_energy(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """Without counter, samples and power the reading is empty, and the device is there all the same."""
    driver.set(no_fields=1, no_total_energy=1, no_power_usage=1, no_samples=1)
    (device,) = nvml_meter.open()
    assert nvml_meter.read(device) == Reading()
    assert nvml_meter.status(device).temperature_celsius == 41


def test_a_text_that_is_none_is_absent(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """Nobody can show such a name, address or version; the GPU is read all the same."""
    driver.set(odd_name=1)
    (device,) = nvml_meter.open()
    assert (device.name, device.pci_bus_id, device.driver) == ("", "", "")
    assert nvml_meter.read(device).energy_microjoules is not None


NOT_AVAILABLE = 2**32 - 1


@pytest.mark.parametrize(
    ("switches", "absent"),
    [
        ({"power_mw": NOT_AVAILABLE}, {"power_watts", "average_power_watts"}),
        ({"power_mw": 100_000_001}, {"power_watts", "average_power_watts"}),
        ({"odd_value": 1}, {"average_power_watts"}),  # the older call tells the power
        ({"odd_value": 2}, {"average_power_watts"}),
        ({"odd_value": 3}, {"average_power_watts"}),
        ({"energy_mj": -1}, {"energy_time"}),
        (
            {"status_value": NOT_AVAILABLE},
            {"limit_watts", "temperature_celsius", "utilization_ratio", "graphics clock", "sm clock", "memory clock"},
        ),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),  # the same in every worker
)
def test_a_value_that_cannot_be_is_absent(
    nvml_meter: RemoteMeter, driver: FakeDriver, switches: dict[str, int], absent: set[str]
) -> None:
    """As NVML_VALUE_NOT_AVAILABLE is where the call works: never 4.3 MW, never the program's end."""
    (device,) = nvml_meter.open()
    everything = told(nvml_meter, device)
    driver.set(**switches)
    assert absent <= everything - told(nvml_meter, device) <= absent | {"energy_microjoules"}
    driver.set(**{name: 0 if name in {"odd_value", "energy_mj"} else -1 for name in switches})
    assert told(nvml_meter, device) == everything


@pytest.mark.parametrize("samples", [0, 1], ids=["samples", "polls"])
def test_power_that_cannot_be_is_not_integrated(nvml_meter: RemoteMeter, driver: FakeDriver, samples: int) -> None:
    """Nothing is added while nobody knows what the board draws."""
    driver.set(no_counter=1, no_samples=samples)
    (device,) = nvml_meter.open()
    readings = nvml_meter.ask("readings", device, 0.3, 0.025)
    before = max(each.energy_microjoules or 0 for each in readings)
    driver.set(power_mw=NOT_AVAILABLE)
    readings = nvml_meter.ask("readings", device, 0.3, 0.025)
    assert max(each.energy_microjoules or 0 for each in readings) - before < 300 * 0.2 * 1e6


def test_a_temperature_below_0_is_one(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """The call answers it as a number without a sign."""
    driver.set(status_value=2**32 - 5)
    (device,) = nvml_meter.open()
    assert nvml_meter.status(device).temperature_celsius == -5


def test_of_two_gpus_with_one_uuid_the_first_is_read(nvml_meter: RemoteMeter, driver: FakeDriver) -> None:
    """Their joules are never mixed; the other one is left out."""
    driver.set(gpus=2, same_uuid_1=1)
    (device,) = nvml_meter.open()
    assert (device.uuid, device.index) == ("GPU-fake-0", 0)


@pytest.mark.parametrize("switches", [{"gpus": 0}, {"lost": 1}, {"init": 999}], ids=str)
def test_without_gpus_there_is_no_meter(nvml_meter: RemoteMeter, driver: FakeDriver, switches: dict[str, int]) -> None:
    """No GPU, only lost ones, or a driver that does not begin: an error that says so, and nothing is left open."""
    driver.set(**switches)
    with pytest.raises(NoMeterError):
        nvml_meter.open()
    driver.set(**dict.fromkeys(switches, 0) | {"gpus": 1})
    assert len(nvml_meter.open()) == 1
