"""The configuration file: the same settings as the flags, from TOML, and read again on SIGHUP."""

import os
import signal
from pathlib import Path

import pytest

from perjoule.errors import UsageError
from perjoule_exporter.config import parse
from tests.exporter.running import RunningExporter, StartExporter, wait_until

EVERYTHING = """
meter = ["simulated", "estimate"]
estimate = {idle-watts = 5, max-watts = 50.5}
sampling.interval = "50ms"
state.file = "/s"

[web]
listen-address = ":9"
telemetry-path = "/m"

[carbon]
zone = "FRA"
pue = 1.2

[log]
level = "debug"
format = "json"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "exporter.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_says_what_flags_say(tmp_path: Path) -> None:
    """The same settings either way."""
    flags = (
        "--meter simulated --meter estimate --estimate.idle-watts 5 --estimate.max-watts 50.5 --sampling.interval 50ms "
        "--state.file /s --web.listen-address :9 --web.telemetry-path /m --carbon.zone FRA --carbon.pue 1.2 "
        "--log.level debug --log.format json"
    )
    assert parse(["--config.file", str(written(tmp_path, EVERYTHING))]) == parse(flags.split())


def test_flags_win(tmp_path: Path) -> None:
    """Over the file, which wins over defaults; a repeatable flag replaces the file's list."""
    path = written(tmp_path, EVERYTHING)
    config = parse(["--carbon.pue", "1.0", "--meter", "simulated", "--meter", "nvml", "--config.file", str(path),
                    "--estimate.idle-watts", "0", "--meter", "estimate"])  # fmt: skip
    assert (config.carbon.pue, config.meters) == (1.0, ("simulated", "nvml", "estimate"))
    assert config.telemetry_path == "/m"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("carbon.zon = 'FRA'", "carbon.zon is no setting; did you mean carbon.zone?"),
        ("[carbon]\nzone = 'Frankreich'", "no carbon intensity for zone"),
        ("zebra = 1", "zebra is no setting"),
        ("config.file = 'x'", "config.file is no setting"),
        ("help = true", "help is no setting"),
        ("carbon.pue = 'much'", "exporter.toml: carbon.pue: invalid float value: 'much'$"),
        ("carbon.zone = 2024-01-01", "carbon.zone must be a text, a number, true or false"),
        ("carbon = 'FRA'", "carbon is no setting"),
        ("carbon.zone = ", "is no TOML"),
        (f"carbon.zone = {'[' * 5000}", "is no TOML"),
        (f"{'.'.join('a' * 5000)} = 1", "is no setting"),
        ('state.file = "a\\u0000b"', "state.file holds a character that no setting has"),
        (f"meter = [{'7, ' * 30000}]", "is over 65536 bytes"),
        ("meter = 'gpu'", "invalid choice: 'gpu'"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """By a sentence that says what is wrong."""
    with pytest.raises(UsageError, match=sentence.replace("(", r"\(")):
        parse(["--config.file", str(written(tmp_path, text))])


@pytest.mark.parametrize(("name", "sentence"), [("none.toml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    """With the system's reason and the file's name."""
    with pytest.raises(UsageError, match=f"{tmp_path}.*{sentence}"):
        parse(["--config.file", str(tmp_path / name)])


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """It is refused, and not waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="cannot be read: it is a pipe"):
        parse(["--config.file", str(pipe)])


def reloaded(exporter: RunningExporter, text: str) -> None:
    lines = exporter.text().count(text)
    exporter.process.send_signal(signal.SIGHUP)
    wait_until(lambda: exporter.text().count(text) > lines, f"the log says: {text}")


def test_sighup_reads_the_file_again(start_exporter: StartExporter, tmp_path: Path) -> None:
    """New factors are in force at once and rewrite nothing; counters and the port stay; the log level changes."""
    path = written(tmp_path, "meter = 'simulated'\ncarbon.zone = 'FRA'\n")
    exporter = start_exporter("--config.file", str(path)).ready()
    assert exporter.scrape().value("grid_carbon_intensity_grams_per_kwh", zone="FRA") is not None
    energy = wait_until(lambda: exporter.scrape().value("gpu_energy_joules_total"), "energy")
    factors = "carbon.zone = 'DEU'\ncarbon.pue = 1.5\nembodied = {kg = 164, years = 4}\n"
    written(tmp_path, f"meter = 'simulated'\n{factors}price = {{per-kwh = 0.25, currency = 'EUR'}}\n")
    reloaded(exporter, "settings read again")
    assert (
        "settings read again: carbon.zone FRA → DEU, carbon.pue 1 → 1.5, price.per-kwh none → 0.25," in exporter.text()
    )
    scrape = exporter.scrape()
    assert scrape.value("grid_carbon_intensity_grams_per_kwh", zone="FRA") is None
    assert scrape.value("grid_carbon_intensity_grams_per_kwh", zone="DEU") is not None
    assert scrape.value("datacenter_pue_ratio") == 1.5
    assert "carbon intensity of Germany (DEU)" in exporter.text()
    assert scrape.value("electricity_price_per_kwh", currency="EUR") == 0.25
    assert scrape.number("gpu_energy_joules_total") >= energy
    wait_until(lambda: exporter.scrape().value("gpu_embodied_emissions_grams_total"), "manufacture is counted")


def test_a_bad_file_keeps_the_old_settings(start_exporter: StartExporter, tmp_path: Path) -> None:
    """And says so; so does a setting that needs a restart."""
    path = written(tmp_path, "meter = 'simulated'\ncarbon.zone = 'FRA'\n")
    exporter = start_exporter("--config.file", str(path)).ready()
    written(tmp_path, "carbon.zone = 'nowhere'\n")
    reloaded(
        exporter, f"the new settings are of no use, the old ones stay: {path}: no carbon intensity for zone 'nowhere'"
    )
    path.unlink()
    reloaded(exporter, "No such file")
    written(tmp_path, "meter = 'estimate'\ncarbon.zone = 'FRA'\n")
    reloaded(exporter, "--meter has changed: that needs a restart")
    scrape = exporter.scrape()
    assert scrape.value("grid_carbon_intensity_grams_per_kwh", zone="FRA") is not None
    assert scrape.value("gpu_up", uuid="GPU-simulated-0") == 1
