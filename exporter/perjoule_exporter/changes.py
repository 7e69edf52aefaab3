"""What new settings change, in the words of the configuration file, for the log.

Settings only, and never what a file that they name holds: a token has no place in a log. It knows no reason for a
change, nor whether a running exporter can follow it.
"""

from collections.abc import Mapping

from perjoule_exporter.config import Config

_NONE = "none"


def changes(old: Config, new: Config) -> str:
    """Return what differs, such as ``carbon.zone FRA → DEU, carbon.pue 1.2 → 1.5``; empty when nothing does.

    Only settings that a running exporter follows are looked at.
    """
    before, after = _followed(old), _followed(new)
    differing = [f"{name} {before[name]} → {after[name]}" for name in before if before[name] != after[name]]
    return ", ".join(differing + _groups(old.collectors, new.collectors))


def _followed(config: Config) -> Mapping[str, str]:
    carbon, price, embodied, pace = config.carbon, config.price, config.embodied, config.pace
    values = {
        "carbon.zone": carbon.zone,
        "carbon.pue": carbon.pue,
        "carbon.provider": carbon.provider,
        "carbon.region": carbon.region,
        "carbon.token-file": carbon.token_file,
        "carbon.url": carbon.url,
        "carbon.cache": carbon.cache,
        "carbon.interval": _seconds(carbon.interval_seconds),
        "carbon.max-age": _seconds(carbon.max_age_seconds),
        "price.per-kwh": price.per_kwh if price else None,
        "price.currency": price.currency if price else None,
        "embodied.kg": embodied.kilograms if embodied else None,
        "embodied.years": embodied.years if embodied else None,
        "sampling.interval": _seconds(pace.busy_seconds),
        "sampling.idle-interval": _seconds(pace.idle_seconds),
        "log.level": config.log_level,
        "log.format": config.log_format,
    }
    return {name: _text(value) for name, value in values.items()}


def _groups(old: frozenset[str], new: frozenset[str]) -> list[str]:
    return [f"collector {name} off → on" for name in sorted(new - old)] + [
        f"collector {name} on → off" for name in sorted(old - new)
    ]


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:g} s"


def _text(value: object) -> str:
    if value is None:
        return _NONE
    return f"{value:g}" if isinstance(value, float) else str(value)
