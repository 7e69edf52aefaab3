"""What the values of flags may be: each reader returns the value, or says in one line what is wrong with it."""

import argparse
import math
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from perjoule.carbon import static_intensity
from perjoule.errors import PerjouleError, UsageError
from perjoule.workloads import workload
from perjoule_loadgen.config import Shard
from perjoule_loadgen.durations import parse_duration


def checked(check: Callable[[str], object], name: str) -> Callable[[str], object]:
    """Return ``check`` as an argparse type, so that its error is one clear line about the flag."""

    def convert(text: str) -> object:
        try:
            return check(text)
        except (PerjouleError, ValueError) as error:
            message = str(error) if isinstance(error, PerjouleError) else f"{text!r} is not {name}"
            raise argparse.ArgumentTypeError(message) from None

    return convert


def positive(text: str) -> float:
    """Return a finite number above 0."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{text!r} is not a positive number")
    return value


def count(text: str) -> int:
    """Return a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise UsageError(f"{text!r} is not a positive whole number")
    return value


def some_time(text: str) -> float:
    """Return the seconds of a duration that is not 0."""
    seconds = parse_duration(text)
    if seconds == 0:
        raise UsageError("0 is no time to measure in")
    return seconds


def base_url(text: str) -> str:
    """Return an http URL without a trailing slash; a bare ``host:port`` gets the scheme."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{text!r} is no http URL")
    return url.rstrip("/")


def energy_url(text: str) -> str:
    """Return the URL of an exporter's metrics; a bare host gets ``/metrics``."""
    parts = urlsplit(base_url(text))
    return urlunsplit(parts._replace(path="/metrics")) if parts.path in {"", "/"} else urlunsplit(parts)


def tasks(text: str) -> tuple[str, ...]:
    """Return the ids of ``a,b``; nothing for ``all``."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("name a task, or all")
    if names == ["all"]:
        return ()
    return tuple(dict.fromkeys(workload(name).id for name in names))


def shard(text: str) -> Shard:
    """Return the part of ``2/3``: the second of three."""
    index, slash, count_ = text.partition("/")
    if not (slash and index.isdecimal() and count_.isdecimal() and 1 <= int(index) <= int(count_)):
        raise UsageError(f"{text!r} is no part of a load: write 1/3, 2/3 and 3/3")
    return Shard(int(index) - 1, int(count_))


def zone(text: str) -> str:
    """Return the code of a zone whose carbon intensity is known."""
    return static_intensity(text).zone
