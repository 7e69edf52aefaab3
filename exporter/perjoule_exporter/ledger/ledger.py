"""The ledger of one device: its measured energy, interval by interval, charged to the inferences that ran. Pure.

Energy comes as intervals between two moves of the device's counter, work as spans, each with its own times. An interval
is shared out once the lines of its time are in. Joules are integers of microjoules that only ever move from one place
to another, so that at any time counter = charged + idle + unattributed + open.

It knows no clock, socket or device, and no lock: calls come one at a time, and a snapshot is of one moment. What it
cannot know is what a span really drew: spans in one interval share it by the watts that their kinds of work are known
for, and that knowledge is marked where it is weak.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from perjoule_exporter.division import shared
from perjoule_exporter.ledger.accounts import Accounts, Row, amount, count
from perjoule_exporter.ledger.clients import Clients
from perjoule_exporter.ledger.grace import Grace
from perjoule_exporter.ledger.idle import Idle
from perjoule_exporter.ledger.interval import Interval, Taken
from perjoule_exporter.ledger.overlap import overlap
from perjoule_exporter.ledger.requests import Held, Settled, charge_alone, grams_of
from perjoule_exporter.ledger.snapshot import Snapshot, shown
from perjoule_exporter.ledger.span import ABANDONED, NEVER, OUTCOMES, OVERHEAD, Kind, Owner, Owners, Share, Span
from perjoule_exporter.ledger.watts import HALF_LIFE_SECONDS, Watts
from perjoule_exporter.meters import MICRO

GRACE_SECONDS = 0.05
"""How long after its end an interval waits for the lines of its time."""

LONGEST_SECONDS = 1.0
"""Over a longer time without a move of the counter, nobody can tell whose the energy was: it is ``stall``."""

_PATIENCE_SECONDS = 2 * LONGEST_SECONDS
"""Spans that ended longer ago than this, since when no energy was told, will not get any."""


class Ledger:
    """One device's accounts.

    Common to the ledgers of all devices: ``owners``, who has series of their own, and ``clients``, who is connected.
    """

    def __init__(
        self,
        owners: Owners | None = None,
        idle_watts: float | None = None,
        *,
        clients: Clients | None = None,
        half_life: float = HALF_LIFE_SECONDS,
        grace: float = GRACE_SECONDS,
        most_grace: float = GRACE_SECONDS,
    ) -> None:
        """``most_grace``: how long it waits for lines at most, where they come late; ``grace`` where they do not."""
        self._owners = owners or Owners()
        self._grace = Grace(grace, most_grace)
        self._accounts = Accounts()
        self._held = Held(self._accounts)
        self._idle = Idle(idle_watts)
        self._watts: Watts[Kind] = Watts(half_life)
        if idle_watts is not None:
            self._watts.fix_base(idle_watts)
        self._clients = clients or Clients()
        self._live: list[Span] = []  # whose end no taken interval has reached
        self._intervals: deque[Interval] = deque()  # the lines of whose time may not be in yet
        self._taken: deque[Taken] = deque()  # whose spans are known, and wait for better watts
        self._unshared = 0  # microjoules of both
        self._carried = 0  # of them, those of no time at all, which the next interval takes along
        self._told_until = -NEVER  # all energy before this was told
        self._known_until = -NEVER  # all spans before this are known
        self._ordinary = False  # what the last taken interval was
        self._delay: float | None = None
        self._late = 0

    @property
    def awaiting(self) -> bool:
        """Whether there are spans whose energy the counter has not told all of."""
        return bool(self._live)

    @property
    def late(self) -> int:
        """How many lines told of times whose energy was given away already."""
        return self._late

    def announced(self, task: str, model: str) -> None:
        """Note that somebody may work: the owner's series start at 0."""
        self._row(self._owners.owner(Owner(task, model)))

    def opened(self, client: int, number: int, kind: Kind, start: float, now: float) -> bool:
        """Take over that a span has begun; False if the client has one of that number open, or is gone.

        Times in the future are taken for now. What was before the latest known time is given away already: the span
        is late, and gets nothing of it.
        """
        account = self._clients.came(client)
        if number in account.open or account.gone:
            return False
        kind = self._owners.kind(kind)
        row = self._row(Owner(kind.task, kind.model))
        self._grace.heard(start, now)
        span = Span(client, number, kind, row, self._clipped(start, now), min(start, now))
        account.opened(span)
        self._live.append(span)
        return True

    def closed(
        self, client: int, number: int, end: float, shares: tuple[Share, ...], now: float, *, reply: bool = False
    ) -> bool:
        """Take over that a span has ended; False if the client has none of that number open.

        An end before the start is taken for the start.
        """
        account = self._clients.find(client)
        span = None if account is None else account.open.get(number)
        if account is None or span is None:
            return False
        self._grace.heard(end, now)
        span.end = max(span.start, self._clipped(end, now))
        span.told = min(end, now) - span.told_start
        span.shares = shares
        span.reply = reply
        account.ended(span, now)
        return True

    def left(self, client: int, now: float) -> None:
        """Take over that a client is gone: what it had not ended is abandoned."""
        self._clients.left(client, now)

    def used(self, interval: Interval) -> None:
        """Take over energy: the counter has moved. Intervals come in the order of their times.

        Raises:
            ValueError: it is negative.
        """
        if interval.microjoules < 0:
            raise ValueError(f"a device cannot use {interval.microjoules} µJ")
        self._accounts.counter += interval.microjoules
        start = max(interval.start, self._told_until)
        if interval.end > start:
            self._unshared += interval.microjoules
            self._told_until = interval.end
            self._intervals.append(
                interval._replace(
                    start=start,
                    microjoules=interval.microjoules + self._carried,
                    foreign=min(1.0, max(0.0, interval.foreign)),
                )
            )
            self._carried = 0
        elif interval.reason is None:
            self._unshared += interval.microjoules
            self._carried += interval.microjoules
        else:
            self._accounts.leave(interval.reason, interval.microjoules)

    def settle(self, now: float) -> list[Settled]:
        """Share out what can be by now, and return the spans that asked for what they were given."""
        settled: list[Settled] = []
        known_until = now - self._grace.seconds(now)
        while self._intervals and self._intervals[0].end <= known_until:
            self._taken.append(self._take(self._intervals.popleft()))
        while self._taken and not (self._taken[0].doubtful and self._watts.worth_waiting(self._taken[0].kinds, now)):
            taken = self._taken.popleft()
            self._share(taken)
            self._delay = now - taken.interval.end
            for span in taken.ended:
                self._end(span, now, settled)
        self._clients.expire(now)
        if self._live and now - self._told_until > _PATIENCE_SECONDS:
            self._give_up(now, settled)
        return settled

    def snapshot(self) -> Snapshot:
        """Return the frozen picture of now."""
        return shown(
            self._accounts,
            open_microjoules=self._open(),
            learned=self._watts.learned(),
            idle_watts=self._idle.watts,
            clients=self._clients.connected,
            late=self._late,
            delay_seconds=self._delay,
        )

    def saved(self) -> dict[str, Any]:
        """Return what ``restore`` needs, as JSON values. What is open is as good as abandoned: who knows is ending."""
        given: list[list[Any]] = [
            [span.kind.task, span.kind.model, span.microjoules, span.grams] for span in self._unsettled()
        ]
        return {
            "accounts": self._accounts.saved(),
            "given": given + self._held.saved(),
            "unshared": self._unshared,
            "late": self._late,
            "idle_watts": self._idle.watts,
            "watts": [] if self._idle.watts is None else self._watts.saved(),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from ``saved``, in a new ledger. What was open then is abandoned, or lost while the exporter was down.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is not what ``saved`` returned. Nothing is taken over.
        """
        accounts = Accounts.restored(saved["accounts"])
        for task, model, microjoules, grams in saved["given"]:
            accounts.row(str(task), str(model)).charge(ABANDONED, count(microjoules), amount(grams))
        accounts.leave("down", count(saved["unshared"]))
        if accounts.settled() != accounts.counter:
            raise ValueError("the saved sums do not add up")
        late, idle_watts = count(saved["late"]), amount(saved["idle_watts"])
        learned = [(Kind(*map(str, kind)), amount(watts), amount(error)) for kind, watts, error in saved["watts"]]
        self._accounts, self._held, self._late = accounts, Held(accounts), late
        for task, model in accounts.rows:
            self._owners.owner(Owner(task, model))
        self._idle.restore(idle_watts)
        if self._idle.watts is not None:
            self._watts.fix_base(self._idle.watts)
        for kind, watts, error in learned:
            if watts is not None and error is not None:
                self._watts.remember(kind, watts, error)

    # Intervals

    def _take(self, interval: Interval) -> Taken:
        """Return an interval with the spans in it, and learn from it."""
        spans, firsts, lasts = self._lying_in(interval.start, interval.end)
        ended = [span for span in self._live if span.end <= interval.end]
        if ended:
            self._live = [span for span in self._live if span.end > interval.end]
        self._known_until = interval.end
        if spans and interval.reason is None and interval.length > LONGEST_SECONDS:
            interval = interval._replace(reason="stall")
        # The first interval, and one after a reset or a gap, may begin elsewhere than its energy does.
        sound, self._ordinary = self._ordinary, interval.reason is None
        if not spans or interval.reason is not None:
            taken = Taken(interval, ended)
            taken.sound = sound
            return taken
        taken = Taken(interval, ended, spans, overlap(firsts, lasts))
        for span, length in zip(taken.spans, taken.seconds, strict=True):
            taken.kinds[span.kind] = taken.kinds.get(span.kind, 0.0) + length
        taken.doubtful = len(taken.kinds) > 1 or (self._idle.watts is None and taken.free > 0)
        if sound:
            self._learn(taken)
        return taken

    def _lying_in(self, start: float, end: float) -> tuple[list[Span], list[float], list[float]]:
        """Return the spans of which a part lies between two times, and from when to when each does."""
        spans: list[Span] = []
        firsts: list[float] = []
        lasts: list[float] = []
        for span in self._live:
            first = span.start if span.start > start else start  # noqa: FURB136 (max costs four times this)
            last = span.end if span.end < end else end  # noqa: FURB136 (as above)
            if last > first:
                spans.append(span)
                firsts.append(first)
                lasts.append(last)
        return spans, firsts, lasts

    def _learn(self, taken: Taken) -> None:
        interval, idle_watts = taken.interval, self._idle.watts
        own = 1.0 - interval.foreign
        if own <= 0:
            return
        joules = interval.microjoules / MICRO
        if idle_watts is None:
            self._watts.learn(taken.kinds, interval.length, joules * own, interval.end)
        else:
            above = (joules - idle_watts * interval.length) * own
            self._watts.learn(taken.kinds, interval.length, above, interval.end)

    def _share(self, taken: Taken) -> None:
        """Move an interval's energy to where it belongs."""
        interval, accounts = taken.interval, self._accounts
        rest = interval.microjoules
        self._unshared -= rest
        if interval.reason is not None:
            accounts.leave(interval.reason, rest)
            return
        idle_watts = self._idle.watts
        if idle_watts is not None:
            idle = min(rest, round(idle_watts * taken.free * MICRO))
            accounts.idle += idle
            rest -= idle
        foreign = round(rest * interval.foreign)
        accounts.leave("foreign", foreign)
        rest -= foreign
        if taken.spans:
            self._give(taken, rest)
            return
        accounts.leave("idle_unknown" if idle_watts is None else "no_span", rest)
        if taken.sound and interval.idle and not interval.foreign:
            self._idle.unused(interval.microjoules / MICRO, interval.length, interval.end)
            if self._idle.watts is not None:
                self._watts.fix_base(self._idle.watts)

    def _give(self, taken: Taken, rest: int) -> None:
        """Give energy to the spans, and to the free time of a device whose idle watts are not known."""
        watts, base = self._watts, self._watts.base
        unknown = taken.free if self._idle.watts is None else 0.0
        if len(taken.spans) == 1 and not unknown:
            parts = [rest]
        else:
            weights = [
                watts[span.kind] * length + base * part
                for span, length, part in zip(taken.spans, taken.seconds, taken.parts, strict=True)
            ]
            weights.append(base * unknown)
            if not sum(weights) > 0:
                weights = [*taken.seconds, unknown]
            *parts, nobody = shared(rest, weights)
            self._accounts.leave("idle_unknown", nobody)
        factor = taken.interval.grams_per_joule
        for span, microjoules, seconds in zip(taken.spans, parts, taken.seconds, strict=True):
            span.microjoules += microjoules
            span.measured += seconds
            if factor is not None:
                span.grams = (span.grams or 0.0) + microjoules / MICRO * factor

    # Ends

    def _end(self, span: Span, now: float, settled: list[Settled]) -> None:
        """Charge a span whose energy is final, or the requests that end with it."""
        parts: list[int] = []
        if not span.shares:
            span.row.charge(ABANDONED if span.abandoned else OVERHEAD, span.microjoules, span.grams)
        else:
            names, weights, outcomes = zip(*span.shares, strict=True)
            parts = shared(span.microjoules, weights)
            if span.requests:
                self._settle(span, parts, now)
            else:
                charge_alone(span, names, outcomes, parts, now)
        if span.reply:
            settled.append(Settled(span, tuple(parts)))
        self._clients.settled(span.client)

    def _settle(self, span: Span, parts: list[int], now: float) -> None:
        for request, part, grams in zip(span.requests, parts, grams_of(span, parts), strict=True):
            request.settle(span, self._held, part, grams)
            request.charge_if_done(now)

    def _give_up(self, now: float, settled: list[Settled]) -> None:
        """End spans for which no energy is told any more."""
        if not self._intervals and not self._taken:
            until = now - _PATIENCE_SECONDS
            ended = [span for span in self._live if span.end <= until]
            self._live = [span for span in self._live if span.end > until]
            for span in ended:
                self._end(span, now, settled)

    def _row(self, owner: Owner) -> Row:
        """Return an owner's row, of which nothing is missing: an increase from nothing at all would be lost."""
        row = self._accounts.row(*owner)
        if len(row.charges) < len(OUTCOMES):
            for outcome in OUTCOMES:
                row.charge(outcome, 0, None)
        return row

    def _clipped(self, time: float, now: float) -> float:
        """Return a told time between what is known already and now, and count it where it is not."""
        if not time >= self._known_until:
            self._late += 1
            return min(now, self._known_until)
        return min(time, now)

    def _unsettled(self) -> list[Span]:
        return [*self._live, *(span for taken in self._taken for span in taken.ended)]

    def _open(self) -> int:
        """Return the microjoules whose owner is not final."""
        spans = sum(span.microjoules for span in self._unsettled())
        return self._unshared + spans + self._held.microjoules()
