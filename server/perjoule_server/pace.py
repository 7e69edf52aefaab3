"""How long a lane's batches take, learned from those that ran, and how much company pays.

A device's time for a batch is close to a fixed part and a part for each token, padding included. On a GPU that is not
full the first is nearly all of it and every mate is welcome; on a CPU padding costs as much as text, and a short text
among long ones is dearer than two batches. So the two parts are measured and not assumed. Numbers in, numbers out: it
knows neither requests nor clocks.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf

KEPT = 0.99
"""What an older batch weighs against the next newer one: half as much after 69."""

_FEWEST = 8  # batches, before anything is said
_LEAST_SPREAD = 0.01  # of the tokens, as variance over mean square: a tenth up and down


@dataclass(slots=True)
class Pace:
    """Weighted least squares of seconds over padded tokens, in sums."""

    _weight: float = 0.0
    _tokens: float = 0.0
    _seconds: float = 0.0
    _tokens_tokens: float = 0.0
    _tokens_seconds: float = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        """Take in a batch that ran: its tokens, padding included, and its seconds on the device."""
        self._weight = self._weight * KEPT + 1
        self._tokens = self._tokens * KEPT + tokens
        self._seconds = self._seconds * KEPT + seconds
        self._tokens_tokens = self._tokens_tokens * KEPT + tokens * tokens
        self._tokens_seconds = self._tokens_seconds * KEPT + tokens * seconds

    @property
    def parts(self) -> tuple[float, float] | None:
        """Return seconds of any batch and seconds of a token; None while they cannot be told apart.

        That is so after a few batches, with batches of one size, and where noise makes either part negative.
        """
        if self._weight < _FEWEST:
            return None
        mean, seconds = self._tokens / self._weight, self._seconds / self._weight
        variance = self._tokens_tokens / self._weight - mean * mean
        if variance < _LEAST_SPREAD * mean * mean:
            return None
        per_token = (self._tokens_seconds / self._weight - mean * seconds) / variance
        fixed = seconds - per_token * mean
        return (fixed, per_token) if fixed > 0 and per_token > 0 else None

    def worthwhile(self, lengths: Sequence[int]) -> Collection[int]:
        """Return the places of those in ``lengths`` that are worth running with the first, itself among them.

        All of ``lengths`` are divided into batches that together cost least, and the first one's batch is taken; all of
        them while nothing is known.
        """
        parts = self.parts
        if parts is None:
            return range(len(lengths))
        low, high = _division(Counter(lengths), lengths[0], *parts)
        return [place for place, length in enumerate(lengths) if low <= length <= high]


def _division(counts: Mapping[int, int], length: int, fixed: float, per_token: float) -> tuple[int, int]:
    """Return the shortest and the longest of the batch with ``length``, if so many of each length cost least together.

    Batches are ranges of lengths then, since who fits below another's padding is best there. The least cost of the
    shortest up to each length follows from those before it.
    """
    sizes = sorted(counts)
    least, first = [0.0], [0]  # of the shortest n lengths: seconds; the first length of the last batch
    for last, longest in enumerate(sizes):
        best, start, together = inf, last, 0
        for begin in range(last, -1, -1):
            together += counts[sizes[begin]]
            seconds = least[begin] + fixed + per_token * longest * together
            if seconds <= best:
                best, start = seconds, begin
        least.append(best)
        first.append(start)
    place, end = sizes.index(length), len(sizes)
    while first[end] > place:
        end = first[end]
    return sizes[first[end]], sizes[end - 1]
