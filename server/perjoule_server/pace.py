"""How long a lane's batches take, learned from those that ran, and how much company pays.

A device's time for a batch is close to a fixed part and a part for each token, padding included. On a GPU that is not
full the first is nearly all of it and every mate is welcome; on a CPU padding costs as much as text, and a short text
among long ones is dearer than two batches. So the two parts are measured and not assumed. Numbers in, numbers out: it
knows neither requests nor clocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
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

    def worthwhile(self, lengths: Sequence[int]) -> int:
        """Return how many of the first ``lengths`` to take, so that they and the rest in a batch of its own cost least.

        All of them while nothing is known; of two numbers that are as good, the larger.
        """
        parts = self.parts
        if parts is None:
            return len(lengths)
        fixed, per_token = parts
        rest = list(accumulate(reversed(lengths), max))[::-1]  # the longest from here on
        best, least, longest = 0, inf, 0
        for count, length in enumerate(lengths, 1):
            longest = max(longest, length)
            left = len(lengths) - count
            seconds = per_token * longest * count + (fixed + per_token * rest[count] * left if left else 0.0)
            if seconds <= least:
                best, least = count, seconds
        return best
