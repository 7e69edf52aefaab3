"""Families to text, in the format that the scraper asked for: Prometheus text or OpenMetrics 1.0.0.

Byte for byte what prometheus_client writes (a test compares them), in a fraction of its time: labels of a series are
the same from scrape to scrape, so their text is kept. It does not know where families come from. Exemplars are written
on histograms only; native histograms, timestamps and names beyond ``[a-zA-Z_:][a-zA-Z0-9_:]*`` are not: nothing here
makes any.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_PLAIN_1 = "text/plain; version=1.0.0; charset=utf-8"
_PLAIN_TYPES = MappingProxyType(
    {"counter": "counter", "gauge": "gauge", "histogram": "histogram", "summary": "summary", "unknown": "untyped"}
)
_SCHEMES = frozenset({"allow-utf-8", "underscores", "values"})
"""Ways to write names beyond ASCII. Ours are ASCII, so these are all the same; another, dots, doubles underscores."""

_KEPT_SERIES = 16384
_GO_DIGITS = 6  # Go writes an exponent from a million on


@dataclass(frozen=True, slots=True)
class Format:
    """How to write a registry, and what that is called."""

    content_type: str
    encode: Callable[[CollectorRegistry], bytes]


def choose(accept: str) -> Format:
    """Return the format of ours with the highest ``q`` in an Accept header, the first named of equals.

    What nobody here can write (protobuf, later versions) is passed over; in the end there is plain text, which everyone
    reads: an odd header costs no scrape.
    """
    best, best_quality = Format(PLAIN, plain), 0.0
    for part in accept.split(","):
        media, *parameters = (text.strip() for text in part.split(";"))
        named = _parameters(parameters)
        offered = _offer(media.lower(), named.get("version", ""))
        quality = _quality(named.get("q", "1"))
        if offered is not None and quality > best_quality:
            scheme = named.get("escaping", "")
            suffix = f"; escaping={scheme if scheme in _SCHEMES else 'underscores'}" if scheme else ""
            best, best_quality = Format(offered.content_type + suffix, offered.encode), quality
    return best


def _parameters(texts: Iterable[str]) -> Mapping[str, str]:
    pairs = (text.partition("=") for text in texts)
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def _offer(media: str, version: str) -> Format | None:
    match media, version:
        case "application/openmetrics-text", "" | "1.0.0":
            return Format(OPENMETRICS, openmetrics)
        case "text/plain", "1.0.0":
            return Format(_PLAIN_1, plain)
        case (("text/plain" | "text/*" | "*/*"), "" | "0.0.4"):
            return Format(PLAIN, plain)
        case _:
            return None


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def plain(registry: CollectorRegistry) -> bytes:
    """Return Prometheus's text format, version 0.0.4.

    Raises:
        KeyError: a family of a type that is not among counter, gauge, histogram, summary and unknown.
    """
    lines: list[str] = []
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines.append(_plain_head(name, _PLAIN_TYPES[family.type], family.documentation))
        _write_samples(family, lines)
    return "".join(lines).encode(errors="replace")  # a text that is none costs itself, not the scrape


def openmetrics(registry: CollectorRegistry) -> bytes:
    """Return OpenMetrics 1.0.0.

    Raises:
        KeyError: as ``plain``.
    """
    lines: list[str] = []
    for family in registry.collect():
        _PLAIN_TYPES[family.type]
        lines.append(_openmetrics_head(family.name, family.type, family.documentation, family.unit))
        (_write_exemplars if family.type == "histogram" else _write_samples)(family, lines)
    lines.append("# EOF\n")
    return "".join(lines).encode(errors="replace")  # a text that is none costs itself, not the scrape


def _write_samples(family: Family, lines: list[str]) -> None:
    labels, number = _labels, _number  # looked up once: this loop is what a scrape costs
    for sample in family.samples:
        series = sample.labels
        text = labels(tuple(series.items())) if series else ""
        lines.append(f"{sample.name}{text} {number(sample.value)}\n")


def _write_exemplars(family: Family, lines: list[str]) -> None:
    """Write the samples of a histogram with the exemplars that some have."""
    _write_samples(family, lines)
    first = len(lines) - len(family.samples)
    for place, sample in enumerate(family.samples, first):
        exemplar = sample.exemplar
        if exemplar is not None:
            labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(exemplar.labels.items()))
            stamp = "" if exemplar.timestamp is None else f" {exemplar.timestamp}"
            lines[place] = f"{lines[place][:-1]} # {{{labels}}} {_number(exemplar.value)}{stamp}\n"


@lru_cache(1024)
def _plain_head(name: str, kind: str, text: str) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


@lru_cache(1024)
def _openmetrics_head(name: str, kind: str, text: str, unit: str) -> str:
    return f"# HELP {name} {_escaped(text)}\n# TYPE {name} {kind}\n" + (f"# UNIT {name} {unit}\n" if unit else "")


@lru_cache(_KEPT_SERIES)
def _labels(series: tuple[tuple[str, str], ...]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(series)) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    text = repr(float(value))
    if 0 < text.find(".") <= _GO_DIGITS:
        return text
    return str(floatToGoString(value))  # type: ignore[no-untyped-call] # not typed there
