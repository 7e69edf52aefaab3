"""``--fail-if "active>+5%"``: a condition on a difference, for continuous integration. Pure.

It holds where the difference is beyond the limit *and* known to be one: a figure that only wobbles fails nobody's
build. Where nothing is known of its uncertainty (one run each, and a figure without bounds) the figure alone decides.
A figure that is absent cannot be judged, and what cannot be judged does not pass.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from perjoule.errors import UsageError
from perjoule_loadgen.compare.figures import FIGURES, Change

_GRAMMAR = re.compile(r"\s*(?P<name>[a-z0-9]+)\s*(?P<way>[<>])\s*(?P<limit>[+-]?\d+(?:\.\d+)?)\s*%\s*")


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition.

    Attributes:
        text: as it was given.
        name: a key of ``FIGURES``.
        above: whether it fails above the limit, else below.
        limit: relative difference, as a fraction.
    """

    text: str
    name: str
    above: bool
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Gate":
        """Read ``active>+5%``.

        Raises:
            UsageError: it is something else.
        """
        found = _GRAMMAR.fullmatch(text)
        if found is None or found["name"] not in FIGURES:
            raise UsageError(
                f"{text!r} is no condition: write FIGURE>+5% or FIGURE<-5%, FIGURE one of {', '.join(FIGURES)}"
            )
        return cls(text.strip(), found["name"], found["way"] == ">", float(found["limit"]) / 100)

    def failed(self, changes: Mapping[str, Change]) -> str | None:
        """Return why it fails, a sentence; None where it does not."""
        change = changes[self.name]
        if change.ratio is None:
            return f"{self.text} cannot be judged: {change.absent}"
        beyond = change.ratio > self.limit if self.above else change.ratio < self.limit
        if not beyond or change.differs is False:
            return None
        return f"{self.text}: {self.name} differs by {change.ratio:+.1%}{_bounds(change)} ({change.basis})"


def _bounds(change: Change) -> str:
    return "" if change.low is None or change.high is None else f", {change.low:+.1%} to {change.high:+.1%}"
