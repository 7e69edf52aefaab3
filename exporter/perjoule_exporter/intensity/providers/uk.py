"""NESO's Carbon Intensity API: Great Britain, average, half-hourly, without a key.

``GET /intensity`` for the country; ``/regional/regionid/13`` and ``/regional/postcode/RG10`` for a part of it
(https://carbon-intensity.github.io/api-definitions/). The current half hour has no ``actual`` yet, and regions never
have one: then the forecast of that half hour is taken, and called estimated.
"""

import re
from urllib.parse import quote

from perjoule.errors import IntensityError, UsageError
from perjoule_exporter.intensity.providers.provider import Provider, Query, Request
from perjoule_exporter.intensity.reply import grams_per_kwh, json_of, member, rows, unix_seconds
from perjoule_exporter.intensity.value import AVERAGE, Intensity

_NATIONAL = "GB"
_REGION = re.compile(r"1[0-7]|[1-9]")
_OUTWARD = re.compile(r"[A-Z]{1,2}[0-9][0-9A-Z]?")


def region(zone: str, given: str | None) -> str:
    """Return the whole of Great Britain, a region id, or an outward postcode."""
    if zone != "GBR":
        raise UsageError(f"uk knows Great Britain only, not {zone}: --carbon.zone GBR, or another --carbon.provider")
    if given is None:
        return _NATIONAL
    name = given.upper()
    if not (_REGION.fullmatch(name) or _OUTWARD.fullmatch(name)):
        raise UsageError("--carbon.region of uk is a region id from 1 to 17 or the first half of a postcode, as RG10")
    return name


def request(query: Query) -> Request:
    """Ask for the current half hour."""
    if query.region == _NATIONAL:
        return Request(f"{query.base_url}/intensity")
    kind = "regionid" if query.region.isdecimal() else "postcode"
    return Request(f"{query.base_url}/regional/{kind}/{quote(query.region)}")


def parse(body: bytes, query: Query) -> Intensity:
    """Read the last half hour of the answer: its actual value, else its forecast."""
    answer = json_of(body)
    if query.region != _NATIONAL:
        answer = rows(answer, "data")[0]
        _same_region(answer, query.region)
    half_hour = rows(answer, "data")[-1]
    values = member(half_hour, "intensity")
    actual = values.get("actual") if isinstance(values, dict) else None
    return Intensity(
        zone=query.zone,
        provider=PROVIDER.name,
        basis=AVERAGE,
        grams_per_kwh=grams_per_kwh(member(values, "forecast") if actual is None else actual),
        valid_at=unix_seconds(member(half_hour, "from")),
        estimated=actual is None,
    )


def _same_region(answer: object, asked: str) -> None:
    answered = str(member(answer, "regionid" if asked.isdecimal() else "postcode"))
    if answered.upper() != asked:
        raise IntensityError(f"answered for another region than {asked}")


PROVIDER = Provider(
    name="uk",
    title="the UK Carbon Intensity API",
    basis=AVERAGE,
    base_url="https://api.carbonintensity.org.uk",
    needs="",
    interval_seconds=900,
    max_age_seconds=2 * 3600,
    region=region,
    request=request,
    parse=parse,
)
"""Half hours, asked for twice in each; a value serves for four of them."""
