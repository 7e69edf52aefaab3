"""Groups of families: which are there, which can be chosen, and that one which fails costs only itself."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric as Family

from perjoule.errors import UsageError
from perjoule.metrics import CATALOGUE, Program
from perjoule_exporter.collector import registry
from perjoule_exporter.collector.groups import DEFAULT_GROUPS, GROUPS, chosen_groups
from perjoule_exporter.collector.snapshot import Snapshot
from perjoule_exporter.config import parse
from perjoule_exporter.exposition import plain
from perjoule_exporter.intensity import Factors
from tests.exporter.charged import some_charged
from tests.exporter.running import Scrape, StartExporter
from tests.exporter.test_collector import CORE, CPU, FACTORS, GPU, MEASURED, view
from tests.exporter.test_configfile import reloaded, written

VIEWS = [view(GPU, MEASURED, some_charged()), view(CPU, MEASURED), view(CORE, MEASURED)]
ALWAYS = {"gpu_exporter_collector_success", "perjoule_build_info"}


def scrape(groups: frozenset[str]) -> Scrape:
    return Scrape(plain(registry(lambda: VIEWS, lambda: FACTORS, lambda: groups)).decode())


def families(groups: frozenset[str]) -> set[str]:
    return {line.split()[2] for line in scrape(groups).text.splitlines() if line.startswith("# HELP")}


def test_every_family_is_in_exactly_one_group() -> None:
    """Alone, the groups have nothing in common but what is always there; together they are the catalogue."""
    parts = {name: families(frozenset({name})) - ALWAYS for name in GROUPS}
    assert sum(len(part) for part in parts.values()) == len(set().union(*parts.values()))
    ours = {name for name in set().union(*parts.values()) if not name.startswith(("process_", "DCGM_"))}
    assert ours | ALWAYS == {row.name for row in CATALOGUE.values() if row.program is not Program.SERVER}


@pytest.mark.parametrize("name", sorted(DEFAULT_GROUPS - {"energy"}))
def test_a_group_is_left_out_without_a_trace(name: str) -> None:
    """Disabled, its families are gone, its success too, and all others are there."""
    groups = chosen_groups([], [name])
    assert families(groups) == families(DEFAULT_GROUPS) - (families(frozenset({name})) - ALWAYS)
    assert scrape(groups).value("gpu_exporter_collector_success", collector=name) is None


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--collector.disable energy", "gpu_up and gpu_info are what the other families and all rules stand on"),
        ("--collector.disable clock", "there is no collector 'clock'; did you mean clocks?"),
        ("--collector.enable zebra", "there is no collector 'zebra'; there are energy, power,"),
        ("--collector.enable mig --collector.disable mig", "collector mig is both enabled and disabled"),
        ("--compat.dcgm --collector.disable dcgm", "collector dcgm is both enabled and disabled"),
    ],
)
def test_what_cannot_be_chosen_is_refused(flags: str, sentence: str) -> None:
    """By a sentence that says why, or what was meant."""
    with pytest.raises(UsageError) as refusal:
        parse(flags.split())
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("flags", "groups"),
    [
        ("", DEFAULT_GROUPS),
        ("--collector.disable mig --collector.disable clocks", DEFAULT_GROUPS - {"mig", "clocks"}),
        ("--collector.enable dcgm --collector.disable mig", DEFAULT_GROUPS - {"mig"} | {"dcgm"}),
        ("--compat.dcgm", DEFAULT_GROUPS | {"dcgm"}),
        ("--collector.enable mig", DEFAULT_GROUPS),
    ],
)
def test_groups_are_chosen_by_flags(flags: str, groups: frozenset[str]) -> None:
    """Both are repeatable; enabling what is there changes nothing."""
    assert parse(flags.split()).collectors == groups


def test_groups_are_chosen_in_the_file_too(tmp_path: Path) -> None:
    """As lists."""
    path = written(tmp_path, "collector = {disable = ['mig', 'clocks'], enable = ['dcgm']}\n")
    assert parse(["--config.file", str(path)]).collectors == DEFAULT_GROUPS - {"mig", "clocks"} | {"dcgm"}


def test_a_group_that_fails_costs_only_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even what it made before the fault is shown; it is said once, and once more when it works again."""
    broken = True

    def failing(now: Snapshot) -> Iterator[Family]:
        yield from GROUPS["mig"].families(now)
        if broken:
            raise ZeroDivisionError("a bug")

    groups = {**GROUPS, "power": replace(GROUPS["power"], families=failing)}
    monkeypatch.setattr("perjoule_exporter.collector.collect.GROUPS", groups)
    made = registry(lambda: VIEWS, lambda: FACTORS, lambda: DEFAULT_GROUPS - {"mig"})
    with caplog.at_level(logging.WARNING):
        texts = [plain(made).decode() for _ in range(3)]
        broken = False
        texts.append(plain(made).decode())
    success = [Scrape(text).value("gpu_exporter_collector_success", collector="power") for text in texts]
    assert success == [0, 0, 0, 1]
    assert [("gpu_mig_info" in text, "gpu_energy_joules_total" in text) for text in texts] == [(False, True)] * 3 + [
        (True, True)
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "collector power fails, its series are withdrawn",
        "collector power works again",
    ]


def test_factors_that_fail_cost_carbon_only(caplog: pytest.LogCaptureFixture) -> None:
    """Joules are shown whatever becomes of grams."""

    def factors() -> Factors:
        raise ZeroDivisionError("a bug")

    found = Scrape(plain(registry(lambda: VIEWS, factors)).decode())
    assert found.value("gpu_exporter_collector_success", collector="carbon") == 0
    assert found.value("gpu_energy_joules_total") == MEASURED.energy_joules
    assert not {name for name in found.names() if name.startswith(("gpu_emissions", "cpu_emissions"))}
    assert len(caplog.records) == 1


def test_groups_are_read_again_on_sighup(start_exporter: StartExporter, tmp_path: Path) -> None:
    """Other groups are there from the next scrape on; a name that is none keeps the old ones."""
    path = written(tmp_path, "meter = 'simulated'\n")
    exporter = start_exporter("--config.file", str(path)).ready()
    assert exporter.scrape().value("process_start_time_seconds") is not None
    written(tmp_path, "meter = 'simulated'\ncollector.disable = ['runtime']\ncompat.dcgm = true\n")
    reloaded(exporter, "settings read again")
    names = exporter.scrape().names()
    assert "process_start_time_seconds" not in names
    assert "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" in names
    written(tmp_path, "meter = 'simulated'\ncollector.disable = ['energi']\n")
    reloaded(exporter, "there is no collector 'energi'; did you mean energy?")
    assert "process_start_time_seconds" not in exporter.scrape().names()


def test_a_registry_shows_the_default_groups() -> None:
    """Who names none gets what a user gets who names none."""
    text = plain(registry(lambda: VIEWS, lambda: FACTORS)).decode()
    assert {s.labels["collector"] for s in Scrape(text).samples if "collector" in s.labels} == set(DEFAULT_GROUPS)
