"""The landing page: what a scrape shows, for a person."""

import re
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from perjoule_exporter.intensity import Carbon, CarbonSettings, Factors, Intensity, ProviderState
from perjoule_exporter.landing import About, landing_page
from perjoule_exporter.meters import Device, DeviceKind, Status
from perjoule_exporter.price import Price
from perjoule_exporter.program import ready
from perjoule_exporter.view import DeviceView, Measured

MEASURED = Measured(
    energy_joules=4321.0,
    energy_time=1.8e9,
    integrated_joules=4400.0,
    update_interval_seconds=None,
    resets=0,
    power_watts=123.4,
    average_power_watts=100.0,
    max_power_watts=None,
    min_power_watts=None,
    emissions_grams=None,
    embodied_grams=None,
    throttled_seconds=MappingProxyType({}),
    status=Status(),
)
NOW = 1.8e9 + 700
ABOUT = About("/m", "node-7", 7300.0)
NO_ZONE = Factors(None, None, 1.0)
FRANCE = Carbon(CarbonSettings(zone="FRA", pue=1.2)).factors()


def page(measured: Measured | None = MEASURED, factors: Factors = NO_ZONE, **device: str) -> str:
    identity = {"uuid": "GPU-a", "method": "counter", "scope": "gpu", "name": "H100"} | device
    made = Device(DeviceKind.GPU, identity["uuid"], 0, identity["method"], identity["scope"], name=identity["name"])
    return landing_page([DeviceView(made, measured, 0.0, MappingProxyType({}), (), 0.0)], factors, ABOUT, NOW)


def test_figures_and_links() -> None:
    """Name, method, watts, joules, a dash for what is unknown, and where the metrics are."""
    html = page()
    for text in (
        "H100",
        "GPU-a",
        "hardware counter",
        "123 W",
        "4.321 kJ",
        ">—<",
        'href="/m"',
        'href="/healthz"',
        'href="/readyz"',
    ):
        assert text in html
    assert 'class="banner"' not in html


def test_the_zone_with_its_source_and_year() -> None:
    """Whose figure it is, of which year, under which licence."""
    html = page(factors=FRANCE)
    for text in ("France (FRA)", "56.0 g/kWh, average", "2023", "3 years ago", "<dd>1.2</dd>", "Ember", "CC BY 4.0"):
        assert text in html


def test_a_live_intensity_with_its_provider_and_time() -> None:
    """Whose figure, of what, of which kind and when; the average's source is not shown beside it."""
    live = Intensity("FRA", "electricitymaps", "average", 43.21, 1.8e9, estimated=True)
    html = page(factors=replace(FRANCE, intensity=live))
    for text in ("43.2 g/kWh, average, estimated", "electricitymaps for FRA", "2027-01-15 08:00 UTC, 11 min ago"):
        assert text in html
    assert "56.0" not in html


def test_a_pause_of_emissions() -> None:
    """A zone without a value in force says so, and shows no figure."""
    html = page(factors=replace(FRANCE, intensity=None))
    assert "no average stands in for a marginal one" in html
    assert "g/kWh" not in html


@pytest.mark.parametrize(
    ("method", "banner"),
    [
        ("simulated", "SIMULATED: this GPU does not exist. Its joules are for tests and demonstrations only."),
        ("replayed", "REPLAYED: these joules were recorded earlier."),
        ("estimated", "ESTIMATED: CPU energy is computed from utilisation, not measured."),
    ],
)
def test_what_is_no_measurement_has_a_banner(method: str, banner: str) -> None:
    """Nobody takes it for one."""
    assert banner in page(method=method)


def test_a_machine_without_devices_says_so() -> None:
    """Rather than an empty table."""
    assert "No device is known" in landing_page([], NO_ZONE, ABOUT, NOW)


def test_the_page_loads_nothing() -> None:
    """No script, no address but its own links: it works behind any wall and any Content-Security-Policy for styles."""
    html = page(factors=FRANCE)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', html)) == {"/m", "/healthz", "/readyz"}
    assert "<script" not in html
    assert "http" not in html.replace("<!DOCTYPE html>", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5.0, "0 s"), (0.0, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (7199.0, "119 min"), (7200.0, "2 h"),
     (172800.0, "2 days"), (1.4 * 365.25 * 86400, "511 days"),
     (2.9 * 365.25 * 86400, "about 3 years")],
)  # fmt: skip
def test_ages_in_words(seconds: float, text: str) -> None:
    """In the largest unit of which there are two; a forecast is not of the past."""
    live = Intensity("FRA", "electricitymaps", "average", 43.21, NOW - seconds, estimated=False)
    assert f", {text} ago" in page(factors=replace(FRANCE, intensity=live))


def test_a_device_that_does_not_answer_has_no_figures() -> None:
    """It is named, and that is all."""
    html = page(measured=None)
    assert "does not answer" in html
    assert "4.321" not in html


def test_a_counter_that_is_not_told_is_a_dash() -> None:
    """Its integral of power stands in no column that says "hardware counter"."""
    html = page(measured=replace(MEASURED, energy_joules=None))
    assert "hardware counter" in html
    assert "4.400" not in html
    assert ">—</td>" in html


def test_names_from_a_driver_are_escaped() -> None:
    """A board may be called anything."""
    assert "<script>" not in page(name="<script>alert(1)</script>", uuid='"><script>')


def views_of(*methods: str, **more: Any) -> list[DeviceView]:
    return [
        DeviceView(Device(DeviceKind.GPU, f"GPU-{n}", n, method, "gpu"), more.get("measured", MEASURED), 0.0,
                   MappingProxyType({}), (), 0.0, failure=more.get("failure"))
        for n, method in enumerate(methods)
    ]  # fmt: skip


def test_several_simulated_gpus_are_plural() -> None:
    """Three of them beside a real one."""
    html = landing_page(views_of("simulated", "simulated", "simulated", "counter"), NO_ZONE, ABOUT, NOW)
    assert "SIMULATED: these 3 GPUs do not exist. Their joules are" in html


@pytest.mark.parametrize(
    ("intensity", "sentence"),
    [
        (FRANCE.intensity, "uk was asked for and answered with status 500; the yearly average of 2023 stands in."),
        (Intensity("GBR", "uk", "average", 9.0, NOW, estimated=False), "; its last value still counts."),
        (None, "; emissions pause meanwhile."),
    ],
)
def test_a_live_provider_that_fails_has_a_banner(intensity: Intensity | None, sentence: str) -> None:
    """With what was wrong, and what counts meanwhile."""
    asked = ProviderState("uk", answered=False, failure="answered with status 500")
    assert sentence in page(factors=replace(FRANCE, intensity=intensity, asked=asked))


@pytest.mark.parametrize("answered", [True, None])
def test_a_live_provider_that_does_not_fail_has_none(*, answered: bool | None) -> None:
    """Neither before it was asked."""
    factors = replace(FRANCE, asked=ProviderState("uk", answered=answered, failure=None))
    assert 'class="banner"' not in page(factors=factors)


def test_an_estimate_claims_no_digits() -> None:
    """Two of them, and that its error is not known."""
    html = page(method="estimated")
    for text in ("estimated from utilisation, error unknown", ">120 W<", ">4.3 kJ<"):
        assert text in html


def test_price_and_manufacture_are_there_where_stated() -> None:
    """And no column where not."""
    assert "Embodied" not in page()
    html = page(replace(MEASURED, embodied_grams=1234.0), replace(FRANCE, price=Price(0.25, "EUR")))
    cpu = DeviceView(Device(DeviceKind.CPU, "cpu-0", 0, "counter", "package"),
                     replace(MEASURED, embodied_grams=1234.0), 0.0, MappingProxyType({}), (), 0.0)  # fmt: skip
    assert "1.2 kg" not in landing_page([cpu], NO_ZONE, ABOUT, NOW)
    for text in ("0.25 EUR per kWh", "Embodied CO<sub>2</sub>e", ">1.2 kg<"):
        assert text in html


def test_the_program_says_where_and_how_long_it_runs() -> None:
    """The host, the time since its start, and where counters are kept."""
    html = page()
    for text in ("every device of node-7", "<dd>2 h</dd>", "none: they start at 0"):
        assert text in html
    about = replace(ABOUT, state_file=Path("/s/<x>"))
    assert "<dd>/s/&lt;x&gt;</dd>" in landing_page([], NO_ZONE, about, NOW)


def test_the_source_of_the_average_is_a_footnote_where_it_is_in_force() -> None:
    """Its licence wants it named; a live value is not its."""
    assert page(factors=FRANCE).index("CC BY 4.0") > page(factors=FRANCE).index("<footer")
    live = Intensity("FRA", "electricitymaps", "average", 43.21, 1.8e9, estimated=True)
    assert "<footer" not in page(factors=replace(FRANCE, intensity=live))


def test_why_a_device_does_not_answer() -> None:
    """Its own words, without its name a second time, escaped; the health check says the same."""
    views = views_of("replayed", measured=None, failure="GPU-0: the trace <has> ended")
    assert "does not answer: the trace &lt;has&gt; ended<" in landing_page(views, NO_ZONE, ABOUT, NOW)
    assert ready(tuple(views)) == "no device answers: GPU-0: the trace <has> ended"
    assert ready(tuple(views_of("replayed", measured=None))) == "no device answers"
    assert ready(()) == "no device answers"
