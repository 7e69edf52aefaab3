"""Ember: monthly averages of countries, one or two months late. Fresher than a yearly table, and still no hour.

``GET /v1/carbon-intensity/monthly?entity_code=FRA`` with the key as a query parameter (https://api.ember-energy.org):
the URL is a secret here, and no message may show it.
"""

import re
from datetime import UTC, datetime
from urllib.parse import urlencode

from perjoule.errors import IntensityError, UsageError
from perjoule_exporter.intensity.providers.provider import Provider, Query, Request
from perjoule_exporter.intensity.reply import grams_per_kwh, json_of, member, rows, same
from perjoule_exporter.intensity.value import AVERAGE, Intensity

_ASKED_MONTHS = 12
_MONTHS = 12  # of a year
_MONTH = re.compile(r"([12][0-9]{3})-(0[1-9]|1[0-2])(?:-[0-9]{2})?")
_DAY = 86400.0


def region(zone: str, given: str | None) -> str:
    """Return the ISO alpha-3 code as it is."""
    if given is not None:
        return given
    if zone.startswith("US-"):
        raise UsageError(f"ember knows countries, not {zone}: --carbon.zone USA, or another --carbon.provider")
    return zone


def request(query: Query) -> Request:
    """Ask for the months of the last year."""
    now = datetime.fromtimestamp(query.now, UTC)
    start = _shifted(now.year, now.month, -_ASKED_MONTHS)
    asked = {"entity_code": query.region, "start_date": f"{start.year:04}-{start.month:02}", "api_key": query.token()}
    return Request(f"{query.base_url}/carbon-intensity/monthly?{urlencode(asked)}")


def parse(body: bytes, query: Query) -> Intensity:
    """Read the latest month that has a value; it is of the month's end."""
    months = []
    for row in rows(json_of(body), "data"):
        same(member(row, "entity_code"), query.region, "country")
        value = member(row, "emissions_intensity_gco2_per_kwh")
        if value is not None:
            months.append((_end_of_month(member(row, "date")), grams_per_kwh(value)))
    if not months:
        raise IntensityError("has no value now (null)")
    valid_at, grams = max(months)
    return Intensity(query.zone, PROVIDER.name, AVERAGE, grams, valid_at, estimated=False)


def _end_of_month(date: object) -> float:
    found = _MONTH.fullmatch(date) if isinstance(date, str) else None
    if found is None:
        raise IntensityError("answered a month that is none")
    return _shifted(int(found[1]), int(found[2]), 1).timestamp()


def _shifted(year: int, month: int, by: int) -> datetime:
    months = year * _MONTHS + month - 1 + by
    return datetime(months // _MONTHS, months % _MONTHS + 1, 1, tzinfo=UTC)


PROVIDER = Provider(
    name="ember",
    title="Ember",
    basis=AVERAGE,
    base_url="https://api.ember-energy.org/v1",
    needs="token",
    interval_seconds=6 * 3600,
    max_age_seconds=180 * _DAY,
    region=region,
    request=request,
    parse=parse,
)
"""Months that come one or two late, for some countries later: asked for four times a day, serving for half a year."""
