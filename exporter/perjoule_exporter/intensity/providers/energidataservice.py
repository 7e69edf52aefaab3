"""Energi Data Service of Energinet: Denmark's two price areas, average, every five minutes, without a key.

``GET /dataset/CO2Emis`` (https://www.energidataservice.dk/tso-electricity/CO2Emis): CO2 of electricity consumed, from
generation and exchange. The newest row may still be empty, so two are asked for.
"""

import json
from urllib.parse import quote, urlencode

from perjoule.errors import IntensityError, UsageError
from perjoule_exporter.intensity.providers.provider import Provider, Query, Request
from perjoule_exporter.intensity.reply import grams_per_kwh, json_of, member, rows, same, unix_seconds
from perjoule_exporter.intensity.value import AVERAGE, Intensity

_AREAS = ("DK1", "DK2")


def region(zone: str, given: str | None) -> str:
    """Return the price area, which must be named: no one knows from the country alone."""
    if zone != "DNK":
        raise UsageError(
            f"energidataservice knows Denmark only, not {zone}: --carbon.zone DNK, or another --carbon.provider"
        )
    area = (given or "").upper().removeprefix("DK-")
    if area not in _AREAS:
        raise UsageError("energidataservice needs --carbon.region DK1 (west of the Great Belt) or DK2 (east of it)")
    return area


def request(query: Query) -> Request:
    """Ask for the newest two rows of the area."""
    area = json.dumps({"PriceArea": [query.region]}, separators=(",", ":"))
    asked = urlencode({"limit": 2, "sort": "Minutes5UTC desc", "filter": area}, quote_via=quote)
    return Request(f"{query.base_url}/dataset/CO2Emis?{asked}")


def parse(body: bytes, query: Query) -> Intensity:
    """Read the newest row that has a value."""
    for row in rows(json_of(body), "records"):
        same(member(row, "PriceArea"), query.region, "price area")
        value = member(row, "CO2Emission")
        if value is not None:
            return Intensity(
                zone=query.zone,
                provider=PROVIDER.name,
                basis=AVERAGE,
                grams_per_kwh=grams_per_kwh(value),
                valid_at=unix_seconds(member(row, "Minutes5UTC")),
                estimated=False,
            )
    raise IntensityError("has no value now (null)")


PROVIDER = Provider(
    name="energidataservice",
    title="Energi Data Service",
    basis=AVERAGE,
    base_url="https://api.energidataservice.dk",
    needs="",
    interval_seconds=300,
    max_age_seconds=2 * 3600,
    region=region,
    request=request,
    parse=parse,
)
"""Five minutes each, some minutes late; a value serves for two hours."""
