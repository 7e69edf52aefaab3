"""Settings of the carbon factors, and what they mean together: whom to ask for what, checked before anyone is asked.

It knows no file and no network: whether the token file can be read shows when the exporter starts.
"""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from perjoule.carbon import static_intensity
from perjoule.errors import UnknownZoneError, UsageError
from perjoule_exporter.intensity.fetch import is_loopback
from perjoule_exporter.intensity.providers import PROVIDERS
from perjoule_exporter.intensity.providers.provider import Provider
from perjoule_exporter.intensity.value import STATIC

PROVIDER_NAMES = (STATIC, *PROVIDERS)
"""What ``--carbon.provider`` may be."""

SHORTEST_INTERVAL_SECONDS = 60.0
"""No provider has a new value more often than every five minutes; more would only cost it requests."""

_MOST_PUE = 100.0
_HOURS_OF_TWO_DAYS = 48
_LONGEST_SECONDS = 366 * 86400.0
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class CarbonSettings:
    """The flags ``--carbon.*`` as they were given. None leaves a choice to the provider; times are in seconds."""

    zone: str | None = None
    provider: str = STATIC
    region: str | None = None
    token_file: Path | None = None
    url: str | None = None
    cache: Path | None = None
    interval_seconds: float | None = None
    max_age_seconds: float | None = None
    pue: float = 1.0


@dataclass(frozen=True, slots=True)
class Source:
    """A live provider and what is asked of it, complete. ``zone`` is the label, ``region`` the provider's spelling."""

    provider: Provider
    zone: str
    region: str
    base_url: str
    token_file: Path | None
    interval_seconds: float
    max_age_seconds: float


def checked(settings: CarbonSettings) -> CarbonSettings:
    """Return the settings with the zone in its canonical spelling.

    Raises:
        UsageError: something cannot be honoured; the message says what to write.
    """
    if not (math.isfinite(settings.pue) and settings.pue >= 1):
        raise UsageError(
            f"--carbon.pue {settings.pue:g} is impossible: a site uses at least what its machines use (1.0)"
        )
    if settings.pue > _MOST_PUE:
        raise UsageError(f"--carbon.pue {settings.pue:g} is impossible: {_MOST_PUE:g} is more than any site's")
    zone = None if settings.zone is None else _zone(settings.zone)
    found = replace(settings, zone=zone)
    source_of(found)
    return found


def _zone(text: str) -> str:
    try:
        return static_intensity(text).zone
    except UnknownZoneError as error:
        raise UnknownZoneError(f"{error} (--carbon.zones lists all)") from error


def source_of(settings: CarbonSettings) -> Source | None:
    """Return whom to ask; None for the yearly averages, who need no asking.

    Raises:
        UsageError: as ``checked``.
    """
    if settings.provider == STATIC:
        _check_static(settings)
        return None
    provider = PROVIDERS.get(settings.provider)
    if provider is None:
        raise UsageError(f"--carbon.provider {settings.provider!r} is none of {', '.join(PROVIDER_NAMES)}")
    if settings.zone is None:
        raise UsageError(f"--carbon.provider {provider.name} needs --carbon.zone, such as FRA or US-CA")
    _check_token(provider, settings)
    region = provider.region(settings.zone, _region(settings.region))
    interval_seconds = _interval(provider, settings.interval_seconds)
    max_age_seconds = _max_age(provider, settings.max_age_seconds)
    if max_age_seconds < 2 * interval_seconds:
        raise UsageError(
            f"--carbon.max-age {span(max_age_seconds)} must be twice --carbon.interval {span(interval_seconds)} at "
            "least: a value would be too old before the next one is asked for"
        )
    return Source(
        provider=provider,
        zone=settings.zone if settings.region is None else region,
        region=region,
        base_url=_base_url(provider, settings.url),
        token_file=settings.token_file,
        interval_seconds=interval_seconds,
        max_age_seconds=max_age_seconds,
    )


def span(seconds: float) -> str:
    """Return a length of time for a person: hours, or days from two of them on."""
    hours = seconds / 3600
    return f"{hours:.3g} h" if hours < _HOURS_OF_TWO_DAYS else f"{hours / 24:.3g} days"


def _check_static(settings: CarbonSettings) -> None:
    given = {
        "--carbon.region": settings.region,
        "--carbon.token-file": settings.token_file,
        "--carbon.url": settings.url,
        "--carbon.cache": settings.cache,
        "--carbon.interval": settings.interval_seconds,
        "--carbon.max-age": settings.max_age_seconds,
    }
    for flag, value in given.items():
        if value is not None:
            raise UsageError(f"{flag} needs a live --carbon.provider: {', '.join(PROVIDERS)}")


def _check_token(provider: Provider, settings: CarbonSettings) -> None:
    if provider.needs and settings.token_file is None:
        raise UsageError(
            f"--carbon.provider {provider.name} needs --carbon.token-file FILE, a file that holds {_needed(provider)} "
            "(never the command line: every user of the machine can read that)"
        )
    if not provider.needs and settings.token_file is not None:
        raise UsageError(f"--carbon.provider {provider.name} takes no token: leave out --carbon.token-file")


def _needed(provider: Provider) -> str:
    return "the API token" if provider.needs == "token" else provider.needs


def _region(region: str | None) -> str | None:
    if region is not None and not _REGION.fullmatch(region):
        raise UsageError(f"--carbon.region {region!r} must be a provider's name of a region, such as DK-DK1")
    return region


def _base_url(provider: Provider, url: str | None) -> str:
    if url is None:
        return provider.base_url
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UsageError("--carbon.url must be a URL such as https://mirror.example/carbon") from None
    # The value is not repeated: a URL with a user and password in it is one of the mistakes that are refused here.
    if parts.scheme not in {"http", "https"} or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError("--carbon.url must be a URL such as https://mirror.example/carbon")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError("--carbon.url takes no user, query or fragment: a token comes from --carbon.token-file")
    if provider.needs and parts.scheme == "http" and not is_loopback(host):
        raise UsageError(f"--carbon.url must be https: {provider.name} would send its token in the clear")
    return url.rstrip("/")


def _interval(provider: Provider, seconds: float | None) -> float:
    if seconds is None:
        return provider.interval_seconds
    if not SHORTEST_INTERVAL_SECONDS <= seconds <= _LONGEST_SECONDS:
        raise UsageError(f"--carbon.interval must be from {SHORTEST_INTERVAL_SECONDS:g} s to a year")
    return seconds


def _max_age(provider: Provider, seconds: float | None) -> float:
    if seconds is None:
        return provider.max_age_seconds
    if not SHORTEST_INTERVAL_SECONDS <= seconds <= _LONGEST_SECONDS:
        raise UsageError(f"--carbon.max-age must be from {SHORTEST_INTERVAL_SECONDS:g} s to a year")
    return seconds
