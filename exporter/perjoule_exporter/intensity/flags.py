"""The flags ``--carbon.*``: their names and help, and the settings that they make."""

import argparse
import re
from pathlib import Path
from typing import Any

from perjoule.carbon import static_intensities
from perjoule.errors import UsageError
from perjoule_exporter.intensity.settings import PROVIDER_NAMES, CarbonSettings, checked

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_carbon_flags(group: Any) -> None:
    """Add the flags to argparse's ``group`` (whose class is private)."""
    _add_factors(group)
    _add_live(group)


def _add_factors(group: Any) -> None:
    add = group.add_argument
    add(
        "--carbon.zone",
        dest="zone",
        metavar="ZONE",
        help="carbon intensity of a country (FRA) or US state (US-CA), in capitals or not",
    )
    add("--carbon.zones", action=_ListZones, nargs=0, default=argparse.SUPPRESS, help="list all zones and end")
    add(
        "--carbon.pue",
        dest="pue",
        metavar="RATIO",
        type=number,
        default=1.0,
        help="power usage effectiveness of the site, applied to emissions (default: %(default)s)",
    )


def _add_live(group: Any) -> None:
    add = group.add_argument
    add(
        "--carbon.provider",
        dest="carbon_provider",
        choices=PROVIDER_NAMES,
        default="static",
        help="where the intensity comes from: the zone's yearly average, or live (default: %(default)s)",
    )
    add(
        "--carbon.region",
        dest="carbon_region",
        metavar="NAME",
        help="the zone in the provider's spelling, such as DK-DK1 or CAISO_NORTH",
    )
    add(
        "--carbon.token-file",
        dest="carbon_token_file",
        metavar="FILE",
        type=Path,
        help="file with the provider's token, for watttime user:password; read again when it changes",
    )
    add("--carbon.url", dest="carbon_url", metavar="URL", help="the provider's base URL, for a mirror of it")
    add(
        "--carbon.cache",
        dest="carbon_cache",
        metavar="FILE",
        type=Path,
        help="keep the last live value there, so that a restart does not ask again (default: it does)",
    )
    add(
        "--carbon.interval",
        dest="carbon_interval",
        metavar="TIME",
        help="how often the provider is asked, such as 15m (default: the provider's own, docs/carbon.md)",
    )
    add(
        "--carbon.max-age",
        dest="carbon_max_age",
        metavar="TIME",
        help="how old a live value may be that still counts, such as 2h (default: the provider's own)",
    )


class _ListZones(argparse.Action):
    """Prints each zone with its yearly average, and ends the program."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        rows = static_intensities().values()
        print("\n".join(f"{row.zone:<6} {row.grams_per_kwh:8.1f} g/kWh ({row.year})  {row.name}" for row in rows))  # noqa: T201 (what was asked for)
        parser.exit()


def number(text: str) -> float:
    """Return a number.

    Raises:
        argparse.ArgumentTypeError: it is none; one with a comma is told how to write it.
    """
    try:
        return float(text)
    except ValueError:
        pointed = text.replace(",", ".", 1)
        hint = f": write {pointed}" if re.fullmatch(r"[0-9]+\.[0-9]+", pointed) else ""
        raise argparse.ArgumentTypeError(f"invalid float value: {text!r}{hint}") from None


def carbon_settings(given: argparse.Namespace) -> CarbonSettings:
    """Return what the flags ask for.

    Raises:
        UsageError: it cannot be honoured.
    """
    return checked(
        CarbonSettings(
            zone=given.zone,
            provider=given.carbon_provider,
            region=given.carbon_region,
            token_file=given.carbon_token_file,
            url=given.carbon_url,
            cache=given.carbon_cache,
            interval_seconds=_seconds("--carbon.interval", given.carbon_interval),
            max_age_seconds=_seconds("--carbon.max-age", given.carbon_max_age),
            pue=given.pue,
        )
    )


def _seconds(flag: str, text: str | None) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])", text.strip())
    if found is None:
        raise UsageError(f"{flag} {text!r} must be a time such as 90s, 15m, 2h or 3d")
    return float(found[1]) * _UNITS[found[2]]
