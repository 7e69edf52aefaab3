"""What is watched of an exporter over a long run: counters that must not go back, series, memory, threads, files.

Texts and numbers in, findings out. It starts nothing and reads no clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.scraping import samples

_MONOTONE = ("_total", "_count", "_sum", "_bucket")
_FINDINGS_KEPT = 5


@dataclass(slots=True)
class Monotone:
    """Every counter that was ever seen, and those that went back. One that was away must not come back lower."""

    highest: dict[str, float] = field(default_factory=dict)
    went_back: list[str] = field(default_factory=list)

    def see(self, text: str) -> None:
        """Take over one scrape."""
        for series, value in samples(text):
            if not series.partition("{")[0].endswith(_MONOTONE):
                continue
            before = self.highest.get(series)
            if before is not None and value < before and len(self.went_back) < _FINDINGS_KEPT:
                self.went_back.append(f"{series}: {before:.17g}, then {value:.17g}")
            self.highest[series] = value

    def total(self, name: str, *labels: str) -> float:
        """Return the sum of the counters of a name that have all of these labels, as ``outcome="ok"``."""
        return sum(
            value
            for series, value in self.highest.items()
            if series.startswith(f"{name}{{") and all(label in series for label in labels)
        )


class Watchable(Protocol):
    """A process that can be asked what it uses."""

    def rss_bytes(self) -> int:
        """Return the resident memory."""

    def threads(self) -> int:
        """Return how many threads run."""

    def descriptors(self) -> int:
        """Return how many files are open."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used at one time, and which series it showed."""

    rss_bytes: int
    threads: int
    descriptors: int
    series: frozenset[str]

    @classmethod
    def of(cls, process: Watchable, text: str) -> "Usage":
        """Measure it."""
        return cls(process.rss_bytes(), process.threads(), process.descriptors(), series_of(text))

    def settled(self, start: "Usage") -> bool:
        """Tell whether nothing is held any more that was not held at the start."""
        return (self.threads, self.descriptors) == (start.threads, start.descriptors) and self.series == start.series


def series_of(text: str) -> frozenset[str]:
    """Return the names and labels of a scrape's samples."""
    return frozenset(series for series, _ in samples(text))


def difference(start: Iterable[str], end: Iterable[str]) -> str:
    """Say which series came and which went, or that none did."""
    came, went = sorted(set(end) - set(start)), sorted(set(start) - set(end))
    said = [f"{len(each)} {word}, such as {each[0]}" for word, each in (("more", came), ("missing", went)) if each]
    return "; ".join(said) or "the same"
