"""How each provider is asked, and what is made of its answers, good and bad. Pure: no network, no clock."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from perjoule.carbon import static_intensities
from perjoule.errors import IntensityError, UsageError
from perjoule_exporter.intensity.providers import PROVIDERS
from perjoule_exporter.intensity.providers.alpha2 import alpha2
from perjoule_exporter.intensity.providers.provider import Query
from perjoule_exporter.intensity.secret import Secret
from perjoule_exporter.intensity.value import Intensity

RECORDED = Path(__file__).with_name("recorded_intensity")
NINE = datetime(2026, 3, 1, 9, tzinfo=UTC).timestamp()
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC).timestamp()

ZONES = {"electricitymaps": "FR", "uk": "GB", "energidataservice": "DK1", "ember": "FRA", "watttime": "CAISO_NORTH"}


def query(provider: str, region: str | None = None) -> Query:
    """Ask for the label Z."""
    found = PROVIDERS[provider]
    return Query(found.base_url, "Z", region or ZONES[provider], NINE, Secret("s3cret") if found.needs else None)


def parsed(provider: str, body: bytes, region: str | None = None) -> Intensity:
    return PROVIDERS[provider].parse(body, query(provider, region))


@pytest.mark.parametrize(
    ("recorded", "region", "expected"),
    [
        ("electricitymaps", "FR", Intensity("Z", "electricitymaps", "average", 58.0, NINE, estimated=True)),
        ("electricitymaps-v3", "DK-DK1", Intensity("Z", "electricitymaps", "average", 105.5, NINE, estimated=False)),
        ("uk", "GB", Intensity("Z", "uk", "average", 163.0, NINE, estimated=False)),
        ("uk-null-actual", "GB", Intensity("Z", "uk", "average", 166.0, NINE, estimated=True)),
        ("uk-postcode", "RG10", Intensity("Z", "uk", "average", 126.0, NINE, estimated=True)),
        ("uk-region", "13", Intensity("Z", "uk", "average", 0.0, NINE, estimated=True)),
        ("energidataservice", "DK1", Intensity("Z", "energidataservice", "average", 87.0, NINE, estimated=False)),
        (
            "energidataservice-null-newest",
            "DK1",
            Intensity("Z", "energidataservice", "average", 87.0, NINE, estimated=False),
        ),
        ("ember", "FRA", Intensity("Z", "ember", "average", 38.9, FEBRUARY, estimated=False)),
        ("watttime", "CAISO_NORTH", Intensity("Z", "watttime", "marginal", 870 * 0.45359237, NINE, estimated=True)),
    ],
)
def test_recorded_answers(recorded: str, region: str, expected: Intensity) -> None:
    """Value, unit, time, basis and whether it is an estimate, from the documented shape."""
    body = RECORDED.joinpath(f"{recorded}.json").read_bytes()
    assert parsed(expected.provider, body, region) == expected


def test_a_watttime_login() -> None:
    """The token of the documented answer; one that is no header value is refused."""
    login = PROVIDERS["watttime"].login
    assert login is not None
    body = RECORDED.joinpath("watttime-login.json").read_bytes()
    assert login.token(body).reveal() == "eyJhbGciOiJIUzI1NiJ9.e30.not-a-real-token"
    for bad in (b"{}", b'{"token": null}', b'{"token": ""}', b'{"token": "a\\r\\nb"}', b"[]"):
        with pytest.raises(IntensityError):
            login.token(bad)


@pytest.mark.parametrize(
    ("provider", "region", "path", "parameters", "header"),
    [
        (
            "electricitymaps",
            "DK-DK1",
            "/v4/carbon-intensity/latest",
            {"zone": ["DK-DK1"], "emissionFactorType": ["lifecycle"], "disableCallerLookup": ["true"]},
            {"auth-token": "s3cret"},
        ),
        ("uk", "GB", "/intensity", {}, {}),
        ("uk", "13", "/regional/regionid/13", {}, {}),
        ("uk", "RG10", "/regional/postcode/RG10", {}, {}),
        (
            "energidataservice",
            "DK2",
            "/dataset/CO2Emis",
            {"limit": ["2"], "sort": ["Minutes5UTC desc"], "filter": ['{"PriceArea":["DK2"]}']},
            {},
        ),
        (
            "ember",
            "FRA",
            "/v1/carbon-intensity/monthly",
            {"entity_code": ["FRA"], "start_date": ["2025-03"], "api_key": ["s3cret"]},
            {},
        ),
        (
            "watttime",
            "CAISO_NORTH",
            "/v3/forecast",
            {"region": ["CAISO_NORTH"], "signal_type": ["co2_moer"], "horizon_hours": ["0"]},
            {"Authorization": "Bearer s3cret"},
        ),
    ],
)
def test_requests(
    provider: str, region: str, path: str, parameters: dict[str, list[str]], header: dict[str, str]
) -> None:
    """Path, parameters and headers as documented; a token is where the provider wants it and nowhere else."""
    request = PROVIDERS[provider].request(query(provider, region))
    parts = urlsplit(request.url)
    assert f"{parts.scheme}://{parts.netloc}" == "https://" + urlsplit(PROVIDERS[provider].base_url).netloc
    assert (parts.path, parse_qs(parts.query), dict(request.headers)) == (path, parameters, header)


def test_a_login_sends_user_and_password() -> None:
    """HTTP's basic authentication, other than ASCII as UTF-8."""
    login = PROVIDERS["watttime"].login
    assert login is not None
    request = login.request(Query("https://h", "Z", "CAISO_NORTH", NINE, Secret("zoé:p:w")))
    assert (request.url, dict(request.headers)) == ("https://h/login", {"Authorization": "Basic em/DqTpwOnc="})


def test_nothing_that_holds_a_secret_shows_it() -> None:
    """Not the query, not the request, not the secret."""
    for name, provider in PROVIDERS.items():
        asked = query(name)
        shown = repr(asked) + repr(provider.request(asked)) + str(asked) + str(provider.request(asked))
        assert "s3cret" not in shown
        assert "czNjcmV0" not in shown  # its base 64


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"3",
        b'"text"',
        b"{",
        b"<html>it works</html>",
        b"\xff\xfe\x00",
        b'{"data": []}',
        b'{"data": {}}',
        b'{"data": [null]}',
        b'{"data": "x", "records": 3, "zone": ["FR"]}',
        b'{"records": []}',
        b'{"zone": "FR"}',
        b"[" * 100_000,
        b"9" * 10_000,
    ],
)
def test_garbage_is_an_error_of_ours(provider: str, body: bytes) -> None:
    """Empty, truncated, deep, another shape: one sentence, no other exception."""
    with pytest.raises(IntensityError) as error:
        parsed(provider, body)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_truncated_answers(provider: str) -> None:
    """Cut anywhere, an answer is no answer."""
    body = RECORDED.joinpath(f"{provider}.json").read_bytes().rstrip()
    for cut in range(0, len(body), 7):
        with pytest.raises(IntensityError):
            parsed(provider, body[:cut])


def _set(*path: str | int) -> Callable[[Any, object], None]:
    def change(answer: Any, value: object) -> None:
        for step in path[:-1]:
            answer = answer[step]
        answer[path[-1]] = value

    return change


VALUE = {
    "electricitymaps": _set("carbonIntensity"),
    "uk": _set("data", 0, "intensity", "actual"),
    "energidataservice": _set("records", 0, "CO2Emission"),
    "ember": _set("data", 1, "emissions_intensity_gco2_per_kwh"),
    "watttime": _set("data", 0, "value"),
}
TIME = {
    "electricitymaps": _set("datetime"),
    "uk": _set("data", 0, "from"),
    "energidataservice": _set("records", 0, "Minutes5UTC"),
    "ember": _set("data", 1, "date"),
    "watttime": _set("data", 0, "point_time"),
}
ZONE = {
    "electricitymaps": _set("zone"),
    "energidataservice": _set("records", 0, "PriceArea"),
    "ember": _set("data", 0, "entity_code"),
    "watttime": _set("meta", "region"),
}


def changed(provider: str, change: Callable[[Any, object], None], value: object) -> bytes:
    answer = json.loads(RECORDED.joinpath(f"{provider}.json").read_bytes())
    change(answer, value)
    return json.dumps(answer).encode()


@pytest.mark.parametrize("provider", VALUE)
@pytest.mark.parametrize(
    "value", ["58", True, [], {}, -1, -0.001, 5_000_000, float("nan"), float("inf"), -float("inf"), 10**400, 1e308]
)
def test_values_that_no_grid_has(provider: str, value: object) -> None:
    """Text, a truth value, negative, not finite, or far above the dirtiest grid: refused, never clipped."""
    with pytest.raises(IntensityError, match="no number from 0 to 5000 g/kWh"):
        parsed(provider, changed(provider, VALUE[provider], value))


def test_the_largest_value_that_counts_is_of_grams() -> None:
    """The bound holds after conversion: 11,000 pounds a MWh pass, 12,000 do not; 5,000 g pass, 5,001 do not."""
    assert parsed("watttime", changed("watttime", VALUE["watttime"], 11_000)).grams_per_kwh == pytest.approx(4989.516)
    assert parsed("uk", changed("uk", VALUE["uk"], 5000)).grams_per_kwh == 5000
    for provider, value in (("watttime", 12_000), ("uk", 5001)):
        with pytest.raises(IntensityError):
            parsed(provider, changed(provider, VALUE[provider], value))


@pytest.mark.parametrize("provider", ["electricitymaps", "watttime"])
def test_null_is_no_value(provider: str) -> None:
    """Where nothing older is in the answer, null is an error that says so, not 0."""
    with pytest.raises(IntensityError, match="has no value now"):
        parsed(provider, changed(provider, VALUE[provider], None))


def test_null_everywhere() -> None:
    """Rows without any value, and a half hour with neither actual nor forecast."""
    row = {"Minutes5UTC": "2026-03-01T09:05:00", "PriceArea": "DK1", "CO2Emission": None}
    month = {"entity_code": "FRA", "date": "2026-01", "emissions_intensity_gco2_per_kwh": None}
    half_hour = {"from": "2026-03-01T09:00Z", "intensity": {"forecast": None, "actual": None}}
    for provider, answer in (
        ("energidataservice", {"records": [row, row]}),
        ("ember", {"data": [month]}),
        ("uk", {"data": [half_hour]}),
    ):
        with pytest.raises(IntensityError, match="has no value now"):
            parsed(provider, json.dumps(answer).encode())


@pytest.mark.parametrize("provider", TIME)
@pytest.mark.parametrize("value", [None, 5, "", "yesterday", "2026-13-01", "2026-03-01T25:00Z", [], {"a": 1}])
def test_times_that_are_none(provider: str, value: object) -> None:
    """A value without a time of its own has no age, so it is no value."""
    with pytest.raises(IntensityError, match="that is none"):
        parsed(provider, changed(provider, TIME[provider], value))


@pytest.mark.parametrize("provider", ZONE)
@pytest.mark.parametrize("value", ["DE", None, 4, "", "FRB"])
def test_an_answer_for_another_zone(provider: str, value: object) -> None:
    """Refused, whatever its number is."""
    with pytest.raises(IntensityError, match="answered for another"):
        parsed(provider, changed(provider, ZONE[provider], value))


@pytest.mark.parametrize(("recorded", "asked"), [("uk-postcode", "RG11"), ("uk-region", "12")])
def test_an_answer_for_another_british_region(recorded: str, asked: str) -> None:
    """Refused too: regions name themselves one level down."""
    with pytest.raises(IntensityError, match=f"answered for another region than {asked}"):
        parsed("uk", RECORDED.joinpath(f"{recorded}.json").read_bytes(), asked)


@pytest.mark.parametrize(
    ("path", "value"),
    [(("meta", "units"), "percentile"), (("meta", "signal_type"), "co2_aoer"), (("meta", "units"), None)],
)
def test_watttimes_other_signals(path: tuple[str, ...], value: object) -> None:
    """A percentile or an average rate is no marginal rate in pounds: the unit and signal must be said."""
    with pytest.raises(IntensityError, match="answered for another"):
        parsed("watttime", changed("watttime", _set(*path), value))


def test_direct_factors_are_not_life_cycle() -> None:
    """Electricity Maps' other kind of factor is another quantity."""
    with pytest.raises(IntensityError, match="another kind of factor"):
        parsed("electricitymaps", changed("electricitymaps", _set("emissionFactorType"), "direct"))


@pytest.mark.parametrize("value", [None, "no", 0, [], {}])
def test_what_is_not_called_measured_is_estimated(value: object) -> None:
    """Only ``isEstimated: false`` says measured."""
    assert parsed("electricitymaps", changed("electricitymaps", _set("isEstimated"), value)).estimated


def test_times_without_an_offset_are_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Denmark's are, wherever the exporter runs."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        body = RECORDED.joinpath("energidataservice.json").read_bytes()
        assert parsed("energidataservice", body).valid_at == NINE
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("date", "end"),
    [("2025-12", (2026, 1)), ("2026-01", (2026, 2)), ("2026-02-01", (2026, 3))],
)
def test_a_month_is_of_its_end(date: str, end: tuple[int, int]) -> None:
    """December's ends a year later."""
    row = {"entity_code": "FRA", "date": date, "emissions_intensity_gco2_per_kwh": 40}
    found = parsed("ember", json.dumps({"data": [row]}).encode())
    assert found.valid_at == datetime(*end, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("provider", "zone", "given", "region"),
    [
        ("electricitymaps", "FRA", None, "FR"),
        ("electricitymaps", "GBR", None, "GB"),
        ("electricitymaps", "DNK", "DK-DK1", "DK-DK1"),
        ("electricitymaps", "US-CA", "US-CAL-CISO", "US-CAL-CISO"),
        ("uk", "GBR", None, "GB"),
        ("uk", "GBR", "13", "13"),
        ("uk", "GBR", "rg10", "RG10"),
        ("energidataservice", "DNK", "dk1", "DK1"),
        ("energidataservice", "DNK", "DK-DK2", "DK2"),
        ("ember", "FRA", None, "FRA"),
        ("ember", "FRA", "EU", "EU"),
        ("watttime", "US-CA", "CAISO_NORTH", "CAISO_NORTH"),
    ],
)
def test_spellings(provider: str, zone: str, given: str | None, region: str) -> None:
    """Our zone codes in each provider's words."""
    assert PROVIDERS[provider].region(zone, given) == region


@pytest.mark.parametrize(
    ("provider", "zone", "given", "sentence"),
    [
        ("electricitymaps", "DNK", None, "name one with --carbon.region, such as US-CAL-CISO or DK-DK1"),
        ("electricitymaps", "US-CA", None, "name one with --carbon.region"),
        ("electricitymaps", "XKX", None, "give it with --carbon.region"),
        ("uk", "FRA", None, "--carbon.zone GBR"),
        ("uk", "GBR", "18", "a region id from 1 to 17"),
        ("uk", "GBR", "London", "the first half of a postcode, as RG10"),
        ("energidataservice", "FRA", None, "--carbon.zone DNK"),
        ("energidataservice", "DNK", None, "--carbon.region DK1 (west of the Great Belt) or DK2"),
        ("energidataservice", "DNK", "DK3", "--carbon.region DK1"),
        ("ember", "US-CA", None, "--carbon.zone USA"),
        ("watttime", "US-CA", None, "such as CAISO_NORTH"),
    ],
)
def test_zones_that_cannot_work(provider: str, zone: str, given: str | None, sentence: str) -> None:
    """Refused with what to write."""
    with pytest.raises(UsageError) as refusal:
        PROVIDERS[provider].region(zone, given)
    assert sentence in str(refusal.value)


def test_every_country_has_two_letters() -> None:
    """The table of codes covers the countries of the static table, one to one."""
    countries = {zone for zone in static_intensities() if not zone.startswith("US-")}
    codes = {alpha2(zone) for zone in countries}
    assert None not in codes
    assert len(codes) == len(countries)
    assert {alpha2(zone) for zone in ("FRA", "DEU", "CHE", "AUT", "GBR")} == {"FR", "DE", "CH", "AT", "GB"}
    assert alpha2("US-CA") is None


def test_every_provider_says_what_it_is() -> None:
    """Basis, https, a pace within reason, and a value that outlives some failed questions."""
    for provider in PROVIDERS.values():
        assert provider.basis == ("marginal" if provider.name == "watttime" else "average")
        assert provider.base_url.startswith("https://")
        assert 300 <= provider.interval_seconds <= 6 * 3600
        assert provider.max_age_seconds >= 4 * provider.interval_seconds


def test_the_document_has_the_figures_of_the_code() -> None:
    """Pace and age of each provider in docs/carbon.md are those that hold."""
    text = Path(__file__).parents[2].joinpath("docs", "carbon.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")
    ]
    seconds = {"min": 60, "h": 3600, "days": 86400}

    def length(words: str) -> float:
        number, unit, *_ = words.split()
        return float(number) * seconds[unit]

    written = {
        cells[0]: (length(cells[1]), length(cells[3])) for cells in rows if len(cells) == 4 and cells[0] in PROVIDERS
    }
    assert written == {name: (p.interval_seconds, p.max_age_seconds) for name, p in PROVIDERS.items()}
