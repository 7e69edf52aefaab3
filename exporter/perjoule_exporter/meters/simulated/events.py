"""When something happens to a simulated board: pure functions of the seconds since the script began."""

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to just before ``stop``, and again each ``every`` seconds where that is given."""

    start: float
    stop: float = math.inf
    every: float | None = None

    def holds(self, time: float) -> bool:
        """Tell whether ``time`` is inside."""
        if self.every is not None and time >= self.start:
            time = self.start + (time - self.start) % self.every
        return self.start <= time < self.stop

    def covered(self, time: float) -> float:
        """Return how many seconds before ``time`` were inside."""
        rest = max(0.0, time - self.start)
        if self.every is None:
            return min(rest, self.stop - self.start)
        rounds, rest = divmod(rest, self.every)
        length = self.stop - self.start
        return rounds * length + min(rest, length)


@dataclass(frozen=True, slots=True)
class Instant:
    """At ``time``, and again each ``every`` seconds where that is given. ``joules`` are those of a jump."""

    time: float
    every: float | None = None
    joules: float = 0.0

    def count(self, until: float) -> int:
        """Return how often it happened until then, ``until`` itself included."""
        if until < self.time:
            return 0
        return 1 if self.every is None else 1 + math.floor((until - self.time) / self.every)

    def last(self, until: float) -> float | None:
        """Return when it last happened, ``until`` itself included; None if it did not yet."""
        count = self.count(until)
        return self._nth(count) if count else None

    def between(self, after: float, until: float) -> Iterator[float]:
        """Return the times in (after, until]."""
        return map(self._nth, range(self.count(after) + 1, self.count(until) + 1))

    def _nth(self, count: int) -> float:
        return self.time + (count - 1) * (self.every or 0.0)


@dataclass(frozen=True, slots=True)
class Frozen:
    """The counter stands still. With ``catch_up`` it shows all at once at the end, else it never counts that energy."""

    start: float
    stop: float
    catch_up: bool


@dataclass(frozen=True, slots=True)
class Events:
    """All that happens to one board."""

    resets: tuple[Instant, ...] = ()
    jumps: tuple[Instant, ...] = ()
    frozen: tuple[Frozen, ...] = ()
    lost: tuple[Window, ...] = ()
    hangs: tuple[Window, ...] = ()
    absent: tuple[Window, ...] = ()

    def answers(self, time: float) -> bool:
        """Tell whether a call that is made at ``time`` is answered at once."""
        return not any_holds((*self.lost, *self.hangs, *self.absent), time)

    def last_reset(self, time: float) -> float | None:
        """Return when the counter last went back to 0, ``time`` itself included."""
        return max((at for reset in self.resets if (at := reset.last(time)) is not None), default=None)

    def jumped(self, after: float, until: float) -> float:
        """Return the joules that the counter jumped by in (after, until]."""
        return sum(jump.joules * (jump.count(until) - jump.count(after)) for jump in self.jumps)

    def pins(self, after: float, until: float) -> Iterator[float]:
        """Return the times in (after, until] whose energy the counter refers to later."""
        for reset in self.resets:
            yield from reset.between(after, until)
        for frozen in self.frozen:
            yield from (time for time in (frozen.start, frozen.stop) if after < time <= until)


def any_holds(windows: tuple[Window, ...], time: float) -> bool:
    """Tell whether ``time`` is inside any of them."""
    return any(window.holds(time) for window in windows)
