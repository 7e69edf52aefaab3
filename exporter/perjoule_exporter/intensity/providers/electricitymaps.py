"""Electricity Maps: the average, life-cycle intensity of what a zone consumes, hourly, for most of the world.

``GET /v4/carbon-intensity/latest?zone=FR`` with the header ``auth-token``
(https://app.electricitymaps.com/developer-hub/api). Version 3 has the same members: ``--carbon.url
https://api.electricitymaps.com/v3``. Without a zone the service would take the caller's own place, so the zone is
always sent and the look-up switched off.
"""

from urllib.parse import urlencode

from perjoule.errors import UsageError
from perjoule_exporter.intensity.providers.alpha2 import alpha2
from perjoule_exporter.intensity.providers.provider import Provider, Query, Request
from perjoule_exporter.intensity.reply import grams_per_kwh, json_of, member, same, unix_seconds
from perjoule_exporter.intensity.value import AVERAGE, Intensity

_SPLIT = frozenset(
    ["ARG", "AUS", "BRA", "CAN", "CHL", "DNK", "IND", "ITA", "JPN", "MYS", "NOR", "PHL", "RUS", "SWE", "USA"]
)
"""Countries of several zones there (its public list, config/zones): a mean over them would be nobody's grid."""

_FACTORS = "lifecycle"


def region(zone: str, given: str | None) -> str:
    """Return Electricity Maps' zone key: the ISO alpha-2 code, except where a country has several zones."""
    if given is not None:
        return given
    if zone.startswith("US-") or zone in _SPLIT:
        raise UsageError(
            f"electricitymaps has several zones in {zone}: name one with --carbon.region, such as US-CAL-CISO or "
            "DK-DK1 (its map shows them)"
        )
    code = alpha2(zone)
    if code is None:
        raise UsageError(f"electricitymaps' name of {zone} is not known here: give it with --carbon.region")
    return code


def request(query: Query) -> Request:
    """Ask for the latest value."""
    asked = {"zone": query.region, "emissionFactorType": _FACTORS, "disableCallerLookup": "true"}
    return Request(f"{query.base_url}/carbon-intensity/latest?{urlencode(asked)}", {"auth-token": query.token()})


def parse(body: bytes, query: Query) -> Intensity:
    """Read the answer; what it does not call measured (``isEstimated: false``) counts as estimated."""
    answer = json_of(body)
    same(member(answer, "zone"), query.region, "zone")
    if isinstance(answer, dict) and "emissionFactorType" in answer:
        same(answer["emissionFactorType"], _FACTORS, "kind of factor")
    return Intensity(
        zone=query.zone,
        provider=PROVIDER.name,
        basis=AVERAGE,
        grams_per_kwh=grams_per_kwh(member(answer, "carbonIntensity")),
        valid_at=unix_seconds(member(answer, "datetime")),
        estimated=not (isinstance(answer, dict) and answer.get("isEstimated") is False),
    )


PROVIDER = Provider(
    name="electricitymaps",
    title="Electricity Maps",
    basis=AVERAGE,
    base_url="https://api.electricitymaps.com/v4",
    needs="token",
    interval_seconds=900,
    max_age_seconds=3 * 3600,
    region=region,
    request=request,
    parse=parse,
)
"""Hourly values that are of the hour's start: up to an hour old when they are new, so they serve for three."""
