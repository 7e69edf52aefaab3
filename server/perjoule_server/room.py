"""How large a lane's batches may be, where the device once had too little memory for one.

Memory follows the padded tokens of a batch, not the requests. After a batch that did not fit, half as many are allowed,
and half again as long as that does not fit. Batches that come close to the limit and fit raise it, slowly: what took
the memory may have gone. Numbers in, numbers out.
"""

from dataclasses import dataclass

FITTING = 50
"""Batches that came close to the limit and fitted, before it is raised."""

RAISE = 1.125
"""By how much it is raised then: after six times it is twice as high."""


@dataclass(slots=True)
class Room:
    """The most padded tokens of a batch that fitted lately; None without a limit."""

    tokens: int | None = None
    _fitted: int = 0

    def within(self, budget: int) -> int:
        """Return the token budget of the next batch."""
        return budget if self.tokens is None else min(budget, self.tokens)

    def overflowed(self, tokens: int) -> None:
        """Take over that a batch of so many tokens did not fit."""
        half = max(1, tokens // 2)
        self.tokens = half if self.tokens is None else min(self.tokens, half)
        self._fitted = 0

    def fitted(self, tokens: int, budget: int) -> None:
        """Take over that a batch of so many tokens did fit, where ``budget`` are allowed without a limit."""
        if self.tokens is None or tokens * 2 < self.tokens:
            return
        self._fitted += 1
        if self._fitted >= FITTING:
            self._fitted = 0
            raised = max(self.tokens + 1, round(self.tokens * RAISE))
            self.tokens = raised if raised < budget else None
