"""What ``--carbon.*`` means together, and that what cannot be honoured is refused with a sentence."""

from pathlib import Path
from typing import Any

import pytest

from perjoule.errors import UnknownZoneError, UsageError
from perjoule_exporter.intensity import PROVIDER_NAMES
from perjoule_exporter.intensity.settings import CarbonSettings, checked, source_of, span

TOKEN = Path("token")


def test_the_default_is_a_yearly_average_of_no_zone() -> None:
    """Nobody is asked."""
    assert checked(CarbonSettings()) == CarbonSettings(provider="static", pue=1.0)
    assert source_of(CarbonSettings(zone="FRA")) is None
    assert PROVIDER_NAMES == ("static", "electricitymaps", "uk", "energidataservice", "ember", "watttime")


def test_zones_are_spelled_our_way() -> None:
    """Whatever case they came in."""
    assert checked(CarbonSettings(zone=" us-ca ")).zone == "US-CA"


@pytest.mark.parametrize(
    ("settings", "zone", "region"),
    [
        (CarbonSettings("FRA", "electricitymaps", token_file=TOKEN), "FRA", "FR"),
        (CarbonSettings("DNK", "electricitymaps", "DK-DK1", TOKEN), "DK-DK1", "DK-DK1"),
        (CarbonSettings("GBR", "uk"), "GBR", "GB"),
        (CarbonSettings("GBR", "uk", "rg10"), "RG10", "RG10"),
        (CarbonSettings("DNK", "energidataservice", "dk-dk1"), "DK1", "DK1"),
        (CarbonSettings("USA", "ember", token_file=TOKEN), "USA", "USA"),
        (CarbonSettings("US-CA", "watttime", "CAISO_NORTH", TOKEN), "CAISO_NORTH", "CAISO_NORTH"),
    ],
)
def test_whom_to_ask_for_what(settings: CarbonSettings, zone: str, region: str) -> None:
    """The label is our code, or the region where one was named: it says what the value is of."""
    source = source_of(checked(settings))
    assert source is not None
    assert (source.zone, source.region) == (zone, region)
    assert source.base_url == source.provider.base_url
    assert source.interval_seconds == source.provider.interval_seconds
    assert source.max_age_seconds == source.provider.max_age_seconds


def test_what_was_given_counts() -> None:
    """URL, interval and age over the provider's own; a trailing slash is no part of a base."""
    given = CarbonSettings("GBR", "uk", url="http://mirror:8080/uk/", interval_seconds=60.0, max_age_seconds=120.0)
    source = source_of(given)
    assert source is not None
    assert (source.base_url, source.interval_seconds, source.max_age_seconds) == ("http://mirror:8080/uk", 60.0, 120.0)


UK: dict[str, Any] = {"zone": "GBR", "provider": "uk"}
MAPS: dict[str, Any] = {"zone": "FRA", "provider": "electricitymaps", "token_file": TOKEN}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"provider": "grid"}, "none of static, electricitymaps, uk"),
        ({"provider": "uk"}, "--carbon.provider uk needs --carbon.zone"),
        (
            {"zone": "FRA", "provider": "electricitymaps"},
            "needs --carbon.token-file FILE, a file that holds the API token",
        ),
        ({"zone": "US-CA", "provider": "watttime", "region": "X"}, "a file that holds user:password"),
        (UK | {"token_file": TOKEN}, "takes no token"),
        (UK | {"zone": "FRA"}, "--carbon.zone GBR"),
        ({"zone": "DNK", "provider": "energidataservice"}, "--carbon.region DK1"),
        (UK | {"pue": 0.99}, "--carbon.pue 0.99 is impossible"),
        (UK | {"pue": float("nan")}, "--carbon.pue nan is impossible"),
        (UK | {"pue": float("inf")}, "--carbon.pue inf is impossible"),
        (UK | {"interval_seconds": 59.0}, "--carbon.interval must be from 60 s"),
        (UK | {"interval_seconds": float("nan")}, "--carbon.interval must be from 60 s"),
        (UK | {"max_age_seconds": 0.0}, "--carbon.max-age must be from 60 s"),
        (UK | {"max_age_seconds": float("inf")}, "--carbon.max-age must be from 60 s"),
        (MAPS | {"region": ""}, "--carbon.region '' must be"),
        (MAPS | {"region": "FR&x=1"}, "--carbon.region 'FR&x=1' must be"),
        (MAPS | {"region": "../FR"}, "--carbon.region '../FR' must be"),
        (UK | {"max_age_seconds": 1799.0}, "--carbon.max-age 0.5 h must be twice --carbon.interval 0.25 h"),
        (UK | {"interval_seconds": 3601.0}, "must be twice --carbon.interval"),
        ({"zone": "FRA", "region": "FR"}, "--carbon.region needs a live --carbon.provider"),
        ({"zone": "FRA", "token_file": TOKEN}, "--carbon.token-file needs a live --carbon.provider"),
        ({"url": "https://h"}, "--carbon.url needs a live"),
        ({"cache": Path("c")}, "--carbon.cache needs a live"),
        ({"interval_seconds": 300.0}, "--carbon.interval needs a live"),
        ({"max_age_seconds": 300.0}, "--carbon.max-age needs a live"),
        *[
            (UK | {"url": url}, "--carbon.url must be a URL")
            for url in ("", "mirror", "file:///etc", "ftp://h", "https://", "http://[", "http://h:x", "http://h/a b")
        ],
        (UK | {"url": "https://user:s3cret@h/"}, "a token comes from --carbon.token-file"),
        (UK | {"url": "https://h/?key=s3cret"}, "a token comes from --carbon.token-file"),
        (MAPS | {"url": "http://mirror/"}, "--carbon.url must be https"),
    ],
)
def test_what_cannot_be_honoured(settings: dict[str, Any], sentence: str) -> None:
    """One sentence that says what to write, and repeats no password of a URL."""
    with pytest.raises(UsageError) as refusal:
        checked(CarbonSettings(**settings))
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


def test_an_unknown_zone_is_its_own_error() -> None:
    """The table's own suggestion passes through, for live providers too: the zone's average is what stands behind."""
    with pytest.raises(UnknownZoneError):
        checked(CarbonSettings("XX", "uk"))


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost", "[::1]:9"])
def test_a_token_may_go_to_this_machine_in_the_clear(host: str) -> None:
    """A proxy beside the exporter needs no certificate."""
    assert source_of(CarbonSettings(**MAPS | {"url": f"http://{host}"})) is not None


@pytest.mark.parametrize(
    ("seconds", "text"), [(60, "0.0167 h"), (7200, "2 h"), (172800, "2 days"), (15552000, "180 days")]
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    """Hours, then days."""
    assert span(seconds) == text
