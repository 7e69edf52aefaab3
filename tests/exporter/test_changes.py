"""What the log says of new settings."""

from dataclasses import fields

import pytest

from perjoule_exporter.changes import _followed, changes
from perjoule_exporter.config import NEEDS_RESTART, Config, parse
from perjoule_exporter.intensity import CarbonSettings


def changed(old: str, new: str) -> str:
    return changes(parse(old.split()), parse(new.split()))


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("", "", ""),
        ("--carbon.zone FRA --carbon.pue 1.2", "--carbon.zone DEU --carbon.pue 1.5",
         "carbon.zone FRA → DEU, carbon.pue 1.2 → 1.5"),
        ("", "--carbon.zone FRA", "carbon.zone none → FRA"),
        ("--price.per-kwh 0.25 --price.currency EUR", "", "price.per-kwh 0.25 → none, price.currency EUR → none"),
        ("", "--embodied.kg 164 --embodied.years 4", "embodied.kg none → 164, embodied.years none → 4"),
        ("", "--sampling.interval 50ms", "sampling.interval 0.025 s → 0.05 s"),
        ("--collector.disable mig", "--collector.enable dcgm --collector.disable clocks",
         "collector dcgm off → on, collector mig off → on, collector clocks on → off"),
        ("", "--log.level debug --log.format json", "log.level info → debug, log.format logfmt → json"),
        ("", "--meter simulated --state.file /s", ""),
    ],
)  # fmt: skip
def test_changes_in_words(old: str, new: str, text: str) -> None:
    """Each by its name in the file, with what it was and is; what waits for a restart is said elsewhere."""
    assert changed(old, new) == text


def test_live_settings_are_named_and_no_token_is() -> None:
    """The file that holds a token, not the token."""
    uk = "--carbon.zone GBR --carbon.provider uk --carbon.interval 15m --carbon.max-age 2h --carbon.cache /c"
    maps = "--carbon.zone GBR --carbon.provider electricitymaps --carbon.token-file /t --carbon.url https://m/x"
    assert changed(uk, maps) == (
        "carbon.provider uk → electricitymaps, carbon.token-file none → /t, carbon.url none → https://m/x, "
        "carbon.cache /c → none, carbon.interval 900 s → none, carbon.max-age 7200 s → none"
    )


def test_no_setting_is_forgotten() -> None:
    """Each field of the settings waits for a restart or is looked at here."""
    looked_at = {"carbon", "price", "embodied", "collectors", "pace", "log_level", "log_format"}
    assert {field.name for field in fields(Config) if field.compare} == set(NEEDS_RESTART) | looked_at
    names = [name for name in _followed(parse([])) if name.startswith("carbon.")]
    assert len(names) == len(fields(CarbonSettings))
