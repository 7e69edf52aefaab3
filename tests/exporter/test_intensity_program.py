"""The program with a live provider, as a user meets it: start, scrape, new settings, restart and end."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perjoule.carbon import static_intensity
from tests.exporter.carbon_server import Answer, Asked, FarEnd, far_end
from tests.exporter.running import RunningExporter, Scrape, StartExporter, wait_until


def half_hour(grams: float) -> bytes:
    """Return what the UK's API would say now."""
    values = {"forecast": grams, "actual": None, "index": "low"}
    start = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())
    return json.dumps({"data": [{"from": start, "to": start, "intensity": values}]}).encode()


def test_a_live_intensity_from_socket_to_scrape(start_exporter: StartExporter) -> None:
    """Asked at the start, in force under its own labels, in the grams; the average's series is gone."""
    with far_end() as end:
        end.answer = Answer(body=half_hour(500.0))
        exporter = start_exporter(
            "--meter", "simulated", "--carbon.zone", "GBR", "--carbon.provider", "uk", "--carbon.url", end.url,
            "--price.per-kwh", "0.25", "--price.currency", "GBP",
        ).ready()  # fmt: skip
        live = {"zone": "GBR", "provider": "uk", "basis": "average"}
        wait_until(
            lambda: exporter.scrape().value("grid_carbon_intensity_grams_per_kwh") == 500.0,
            "the live value is in force",
        )
        before = exporter.scrape()
        assert before.value("grid_carbon_intensity_grams_per_kwh", **live) == 500.0
        assert abs(before.number("grid_carbon_intensity_timestamp_seconds", **live) - time.time()) < 120
        assert before.value("electricity_price_per_kwh", currency="GBP") == 0.25
        grams, joules = (before.value(f"gpu_{name}_total") or 0.0 for name in ("emissions_grams", "energy_joules"))

        def ten_more() -> Scrape | None:
            scrape = exporter.scrape()
            return scrape if scrape.number("gpu_energy_joules_total") > joules + 10 else None

        after = wait_until(ten_more, "ten more joules")
        more = after.number("gpu_energy_joules_total") - joules
        assert after.number("gpu_emissions_grams_total") - grams == pytest.approx(more * 500 / 3.6e6, rel=1e-6)
        assert exporter.stop() == 0
        assert "live from the UK Carbon Intensity API for GB" in exporter.text()


def test_a_provider_that_hangs_delays_neither_start_nor_end(start_exporter: StartExporter) -> None:
    """The average holds meanwhile, and SIGTERM ends the program with the request still open."""
    release = threading.Event()
    with far_end() as end:

        def late(_: Asked) -> Answer:
            release.wait(30)
            return Answer()

        end.answer = late
        exporter = start_exporter(
            "--meter", "simulated", "--carbon.zone", "GBR", "--carbon.provider", "uk", "--carbon.url", end.url
        ).ready()
        end.wait()
        assert exporter.scrape().value("grid_carbon_intensity_grams_per_kwh", provider="static") is not None
        began = time.monotonic()
        assert exporter.stop() == 0
        assert time.monotonic() - began < 2
        release.set()


def test_a_token_file_that_is_not_there(start_exporter: StartExporter) -> None:
    """A usage error: exit code 2 and one line."""
    exporter = start_exporter(
        "--meter", "simulated", "--carbon.zone", "FRA", "--carbon.provider", "ember", "--carbon.token-file", "/none"
    )
    assert exporter.ended() == 2
    assert exporter.text().splitlines()[-1] == "gpu-energy-exporter: the token file /none does not exist"


@pytest.fixture
def end() -> Iterator[FarEnd]:
    """A far end that speaks as the UK's API, as WattTime and as its login."""
    with far_end() as running:

        def answer(asked: Asked) -> Answer:
            now = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())
            meta = {"region": "CAISO_NORTH", "signal_type": "co2_moer", "units": "lbs_co2_per_mwh"}
            rate = {"data": [{"point_time": now, "value": 1000.0}], "meta": meta}
            if asked.path == "/login":
                return Answer(body=b'{"token": "given"}')
            return Answer(body=half_hour(500.0) if asked.path == "/intensity" else json.dumps(rate).encode())

        running.answer = answer
        yield running


def live(exporter: RunningExporter, provider: str) -> Scrape:
    """Wait until the provider's value is in force and grams were counted by it."""

    def scrape() -> Scrape | None:
        found = exporter.scrape()
        counted = found.value("gpu_emissions_grams_total")
        in_force = found.value("grid_carbon_intensity_grams_per_kwh", provider=provider) is not None
        return found if in_force and counted else None

    return wait_until(scrape, f"{provider} is in force")


def settings(folder: Path, end: FarEnd, text: str) -> Path:
    token = folder / "token"
    token.write_text("user:pass\n")
    token.chmod(0o600)
    path = folder / "exporter.toml"
    state = f'meter = "simulated"\nstate.file = "{folder / "state"}"\n'
    path.write_text(state + text.format(url=end.url, token=token))
    return path


def reread(exporter: RunningExporter, line: str = "settings read again") -> None:
    """Send SIGHUP and wait for the line that answers it."""
    lines = exporter.text().count(line)
    exporter.process.send_signal(signal.SIGHUP)
    wait_until(lambda: exporter.text().count(line) > lines, f"the log says: {line}")


UK = '[carbon]\nzone = "GBR"\nprovider = "uk"\nurl = "{url}"\n'
WATTTIME = (
    '[carbon]\nzone = "US-CA"\nprovider = "watttime"\nregion = "CAISO_NORTH"\nurl = "{url}"\ntoken-file = "{token}"\n'
)


def test_sighup_to_a_live_provider_and_back(start_exporter: StartExporter, end: FarEnd, tmp_path: Path) -> None:
    """The series changes its provider, one at a time, and the grams go on."""
    path = settings(tmp_path, end, '[carbon]\nzone = "GBR"\n')
    exporter = start_exporter("--config.file", str(path)).ready()
    grams = live(exporter, "static").number("gpu_emissions_grams_total")
    settings(tmp_path, end, UK)
    reread(exporter)
    scrape = live(exporter, "uk")
    assert scrape.value("grid_carbon_intensity_grams_per_kwh") == 500.0
    assert scrape.number("gpu_emissions_grams_total") >= grams
    settings(tmp_path, end, '[carbon]\nzone = "GBR"\n')
    reread(exporter)
    average = static_intensity("GBR").grams_per_kwh
    assert live(exporter, "static").value("grid_carbon_intensity_grams_per_kwh") == average


def test_sighup_does_not_change_the_basis(start_exporter: StartExporter, end: FarEnd, tmp_path: Path) -> None:
    """Marginal where average was counted: the old settings stay, and the log says why."""
    exporter = start_exporter("--config.file", str(settings(tmp_path, end, UK))).ready()
    live(exporter, "uk")
    settings(tmp_path, end, WATTTIME)
    reread(exporter, "the old ones stay")
    assert "never mixed in one counter" in exporter.text()
    assert live(exporter, "uk").value("grid_carbon_intensity_grams_per_kwh") == 500.0


def test_a_restart_with_another_basis_starts_grams_at_0(
    start_exporter: StartExporter, end: FarEnd, tmp_path: Path
) -> None:
    """With the same state file joules go on, and grams of two kinds never add up; with the same basis they go on."""
    path = str(settings(tmp_path, end, UK))
    first = start_exporter("--config.file", path).ready()
    wait_until(lambda: live(first, "uk").number("gpu_energy_joules_total") > 20, "twenty joules")
    before = live(first, "uk")
    first.stop()
    second = start_exporter("--config.file", path).ready()
    assert live(second, "uk").number("gpu_emissions_grams_total") >= before.number("gpu_emissions_grams_total")
    second.stop()
    settings(tmp_path, end, WATTTIME)
    third = start_exporter("--config.file", path).ready()
    after = live(third, "watttime")
    assert after.number("gpu_energy_joules_total") >= before.number("gpu_energy_joules_total")
    since = after.number("gpu_energy_joules_total") - before.number("gpu_energy_joules_total")
    assert after.number("gpu_emissions_grams_total") <= since * 453.59237 / 3.6e6 * 1.000001
    assert third.text().count("emissions were counted by average intensity and now are by marginal") == 1
