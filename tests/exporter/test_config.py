"""Flags: what they mean, and that what cannot be honoured is refused with a sentence."""

from pathlib import Path

import pytest

from perjoule.errors import UnknownZoneError, UsageError
from perjoule_exporter.address import Address, parse_address
from perjoule_exporter.config import parse
from perjoule_exporter.intensity import CarbonSettings
from perjoule_exporter.price import Price


def test_defaults() -> None:
    """As documented: auto, localhost, no zone, PUE 1, 25 ms."""
    config = parse([])
    assert (config.meters, config.address, config.telemetry_path) == (
        ("auto",),
        Address("127.0.0.1", 10101),
        "/metrics",
    )
    assert (config.carbon, config.price) == (CarbonSettings(), None)
    assert (config.pace.busy_seconds, config.simulated_truth, config.log_level) == (0.025, None, "info")


def test_all_flags() -> None:
    """Each flag reaches its setting; meters keep their order and come once."""
    flags = (
        "--meter simulated --meter estimate --meter simulated --web.listen-address [::1]:0 --web.telemetry-path /m "
        "--carbon.zone us-ca --carbon.pue 1.54 --price.per-kwh 0.25 --price.currency EUR "
        "--estimate.idle-watts 5 --estimate.max-watts 50 --simulated.truth /t "
        "--sampling.interval 0.1s --log.level debug"
    )
    config = parse(flags.split())
    assert config.meters == ("simulated", "estimate")
    assert (config.address, config.telemetry_path) == (Address("::1", 0), "/m")
    assert (config.carbon, config.price) == (CarbonSettings(zone="US-CA", pue=1.54), Price(0.25, "EUR"))
    assert (config.estimate.idle_watts, config.estimate.max_watts) == (5.0, 50.0)
    assert (str(config.simulated_truth), config.pace.busy_seconds, config.log_level) == ("/t", 0.1, "debug")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--meter gpu", "invalid choice: 'gpu'"),
        ("--meter auto --meter nvml", "--meter auto chooses by itself"),
        ("--simulated.truth t", "--simulated.truth needs --meter simulated"),
        ("--meter nvml --estimate.max-watts 9", "need --meter estimate"),
        ("--meter simulated --path.sysfs /host/sys", "--path.sysfs needs --meter rapl or auto"),
        ("--meter rapl --embodied.kg 1 --embodied.years 4", "are of GPUs: no meter that is named has any"),
        ("--estimate.max-watts many", "invalid float value: 'many'"),
        ("--carbon.zone France", "did you mean FRA"),
        ("--carbon.zone", "expected one argument"),
        ("--carbon.zone=", "no carbon intensity for zone ''"),
        ("--carbon.pue 1,2", "argument --carbon.pue: invalid float value: '1,2': write 1.2"),
        ("--carbon.zone UK", "did you mean GBR (United Kingdom) or UKR (Ukraine)? (--carbon.zones lists all)"),
        ("--carbon.zone XYZ", "such as US-CA (--carbon.zones lists all)"),
        ("--carbon.pue 0.9", "--carbon.pue 0.9 is impossible"),
        ("--carbon.pue nan", "--carbon.pue nan is impossible"),
        ("--carbon.pue 1e308", "--carbon.pue 1e+308 is impossible"),
        ("--embodied.kg 1e306 --embodied.years 4", "is impossible for a GPU"),
        ("--embodied.kg 100 --embodied.years 1e-300", "is impossible for a GPU"),
        ("--carbon.pue inf", "--carbon.pue inf is impossible"),
        ("--carbon.provider grid", "invalid choice: 'grid'"),
        ("--carbon.provider uk", "--carbon.provider uk needs --carbon.zone"),
        ("--carbon.provider uk --carbon.zone FRA", "--carbon.zone GBR"),
        (
            "--carbon.provider ember --carbon.zone FRA",
            "--carbon.token-file FILE, a file that holds the API token (",
        ),
        ("--carbon.provider uk --carbon.zone GBR --carbon.interval 15", "such as 90s, 15m, 2h or 3d"),
        ("--carbon.provider uk --carbon.zone GBR --carbon.interval 5s", "--carbon.interval must be from 60 s"),
        ("--carbon.provider uk --carbon.zone GBR --carbon.max-age -2h", "expected one argument"),
        ("--carbon.zone FRA --carbon.max-age 2h", "needs a live --carbon.provider"),
        ("--price.per-kwh 0.25", "need each other"),
        ("--price.currency EUR", "need each other"),
        ("--price.per-kwh nan --price.currency EUR", "--price.per-kwh nan is impossible"),
        ("--price.per-kwh=-1 --price.currency EUR", "--price.per-kwh -1 is impossible"),
        ("--price.per-kwh 1 --price.currency euro", "must be three capital letters"),
        ("--web.listen-address :99999", "cannot listen on ':99999': port 99999 is over 65535"),
        ("--web.listen-address nowhere", "cannot listen on 'nowhere'"),
        ("--web.telemetry-path metrics", "must start with /"),
        ("--web.telemetry-path /", "must start with /"),
        ("--web.telemetry-path /healthz", "must start with /"),
        ("--sampling.interval 25", "must be a time from 1ms to 500ms"),
        ("--sampling.interval 0ms", "must be a time from 1ms to 500ms"),
        ("--sampling.interval 2s", "must be a time from 1ms to 500ms"),
        ("--carbon.zon FRA", "unrecognized arguments: --carbon.zon FRA"),
        ("--log.level loud", "invalid choice: 'loud'"),
    ],
)
def test_what_cannot_be_honoured_is_refused(flags: str, sentence: str) -> None:
    """A usage error with one sentence that names the flag or the value."""
    with pytest.raises(UsageError) as refusal:
        parse(flags.split())
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_live_intensity() -> None:
    """Each flag of a live provider reaches its setting; times have units."""
    flags = (
        "--carbon.provider electricitymaps --carbon.zone DNK --carbon.region DK-DK1 --carbon.token-file /t "
        "--carbon.url https://mirror/maps --carbon.cache /c --carbon.interval 10m --carbon.max-age 1.5h"
    )
    assert parse(flags.split()).carbon == CarbonSettings(
        zone="DNK",
        provider="electricitymaps",
        region="DK-DK1",
        token_file=Path("/t"),
        url="https://mirror/maps",
        cache=Path("/c"),
        interval_seconds=600.0,
        max_age_seconds=5400.0,
    )


def test_an_unknown_zone_is_its_own_error() -> None:
    """The table's own suggestion passes through."""
    with pytest.raises(UnknownZoneError):
        parse(["--carbon.zone", "XX"])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:10101", Address("127.0.0.1", 10101)),
        (":10101", Address("", 10101)),
        ("[::1]:9", Address("::1", 9)),
        ("[::]:0", Address("::", 0)),
        ("localhost:65535", Address("localhost", 65535)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """As Prometheus's programs take them, and written back the same way."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "10101", "host", "host:", "host:x", "host:-1", "::1:9", "http://h:1", "h:٣"])
def test_addresses_that_are_none(text: str) -> None:
    """Refused, with the three ways to write one."""
    with pytest.raises(UsageError, match=r"write host:port, \[IPv6\]:port or :port"):
        parse_address(text)
