"""WattTime: the marginal emission rate (MOER) of a balancing authority, every five minutes.

``GET /login`` with user and password gives a token for half an hour; ``GET /v3/forecast`` with it gives the rate of now
in pounds of CO2 per MWh (https://docs.watttime.org). Its first point is the current five minutes; what was measured
comes later, so the value is an estimate. Marginal is not average: it tells what one more kWh emits, no footprint.
"""

from urllib.parse import urlencode

from perjoule.errors import IntensityError, UsageError
from perjoule_exporter.intensity.providers.provider import Login, Provider, Query, Request, basic
from perjoule_exporter.intensity.reply import grams_per_kwh, json_of, member, rows, same, unix_seconds
from perjoule_exporter.intensity.secret import Secret
from perjoule_exporter.intensity.value import MARGINAL, Intensity

GRAMS_PER_KWH_OF_POUNDS_PER_MWH = 0.45359237
"""One avoirdupois pound is 453.59237 g by definition (1959); one MWh is 1,000 kWh."""

_SIGNAL, _UNITS = "co2_moer", "lbs_co2_per_mwh"

_TOKEN_SECONDS = 25 * 60.0
"""The documentation says that tokens last 30 minutes."""


def region(zone: str, given: str | None) -> str:
    """Return the balancing authority, which must be named: countries and states have several."""
    if given is None:
        raise UsageError(
            f"watttime has regions of its own: name the one of {zone} with --carbon.region, such as CAISO_NORTH"
        )
    return given


def login_request(query: Query) -> Request:
    """Trade user and password for a token."""
    return Request(f"{query.base_url}/login", {"Authorization": basic(query.token())})


def login_token(body: bytes) -> Secret:
    """Read the token of a login."""
    token = member(json_of(body), "token")
    if not (isinstance(token, str) and token and token.isascii() and token.isprintable() and " " not in token):
        raise IntensityError("answered a login without a token")
    return Secret(token)


def request(query: Query) -> Request:
    """Ask for the rate of now: a forecast whose horizon is this interval."""
    asked = urlencode({"region": query.region, "signal_type": _SIGNAL, "horizon_hours": 0})
    return Request(f"{query.base_url}/v3/forecast?{asked}", {"Authorization": f"Bearer {query.token()}"})


def parse(body: bytes, query: Query) -> Intensity:
    """Read the first point, after the answer has said that it is of this region, signal and unit."""
    answer = json_of(body)
    same(member(answer, "meta", "region"), query.region, "region")
    same(member(answer, "meta", "signal_type"), _SIGNAL, "signal")
    same(member(answer, "meta", "units"), _UNITS, "unit")
    point = rows(answer, "data")[0]
    return Intensity(
        zone=query.zone,
        provider=PROVIDER.name,
        basis=MARGINAL,
        grams_per_kwh=grams_per_kwh(member(point, "value"), GRAMS_PER_KWH_OF_POUNDS_PER_MWH),
        valid_at=unix_seconds(member(point, "point_time")),
        estimated=True,
    )


PROVIDER = Provider(
    name="watttime",
    title="WattTime",
    basis=MARGINAL,
    base_url="https://api.watttime.org",
    needs="user:password",
    interval_seconds=300,
    max_age_seconds=2 * 3600,
    region=region,
    request=request,
    parse=parse,
    login=Login(login_request, login_token, _TOKEN_SECONDS),
)
"""Five minutes each; a value serves for two hours, and then nothing does."""
