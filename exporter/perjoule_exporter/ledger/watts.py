"""Watts of each kind of work, from intervals of which only the sum is known: recursive non-negative least squares.

Pure. An interval says how long each kind of work ran in it, and the joules of all together; the watts are those that
fit the intervals of the last minutes best, older ones weighing less. While nobody knows what the device draws without
any work, that is one more unknown, the base, which runs for the whole of every interval.

What the intervals do not tell is taken from a prior: that all work draws alike. So energy is shared out by plain time
as far as nothing better is known, and two kinds that always run together stay alike while the rest is told apart.
Every figure has its standard error, which says the same in watts. It knows nothing of spans, devices or clocks.
"""

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from perjoule_exporter.ledger.solve import Matrix, inverse, solved

HALF_LIFE_SECONDS = 60.0

CONFIDENT = 0.05
"""Most standard error of a figure that has no mark, as a ratio of the watts with those of the idle device."""

YOUNG_SECONDS = 2.0
"""For so long since it first ran it may be worth waiting for the watts of a kind."""

_LEAST_INTERVALS = 3
_RESCALE = 1e60  # weights grow instead of old sums decaying; far below where doubles end
_MOST_HALF_LIVES = 500.0  # beyond it doubles end
_FADED = 0.5
"""A kind of whose intervals less is left than this many of now is remembered by its watts and their error alone."""

_MOST_AT_ONCE = 64
"""An interval of more kinds than this teaches next to nothing, and costs their square."""

_BLOCK = 32
"""Most kinds that are solved for at once; the work grows with their cube."""

_SOLVE_SECONDS, _SOLVE_KINDS = 1.0, 16.0
"""So many kinds are solved for so often; more of them more seldom."""

_YOUNG_INTERVALS, _YOUNG_PAUSE = 12, 0.1
"""While a kind has had fewer intervals, it is solved for so much more often: a few kinds at each interval."""

_GUESSED, _GUESSES = 0.05, 2.0
"""What is not explained of an interval is taken for this share of it, as if that had been seen so many times."""

_LEAST_UNEXPLAINED = 1e-4
"""At least this share of an interval's energy is taken to be unexplained: counters round, and no power is constant."""

_LEAST_SPREAD_WATTS = 1e-3  # of a prior, for a device that draws nothing

_REMEMBERED = 0.1
"""Least standard error, as a ratio, of watts that are remembered from long ago."""

K = TypeVar("K", bound=Hashable)


class Learned(NamedTuple, Generic[K]):
    """What is known of one kind of work.

    Attributes:
        kind: of work.
        watts: of the device while it runs alone.
        error_watts: their standard error.
        low_confidence: whether that is too large for the figure to be said without a mark.
    """

    kind: K
    watts: float
    error_watts: float
    low_confidence: bool


class _Term:
    """One unknown: its watts, and its sums over the intervals, each multiplied by the interval's weight."""

    __slots__ = (
        "error", "first", "gram", "intervals", "moment", "number", "prior", "solved_at", "squares", "told", "watts",
    )  # fmt: skip

    def __init__(self, time: float) -> None:
        self.first = time
        self.solved_at = -math.inf
        self.watts = 0.0
        self.error = math.inf
        self.prior: tuple[float, float] | None = None  # watts and error, remembered
        self.intervals = 0
        self.gram: dict[_Term, float] = {}  # of products of seconds
        self.moment = 0.0  # of seconds × joules
        self.number = 0.0  # of ones
        self.told = 0.0  # of ones, for intervals of which all was known before
        self.squares = 0.0  # of the squares of what these left unexplained


class _System(NamedTuple):
    """Normal equations of ``unknowns``, scaled so that the diagonal is 1, with what the priors add to it: ``trusts``.

    ``noise`` is the variance of an interval's joules around what was expected.
    """

    unknowns: list[_Term]
    scales: list[float]
    matrix: Matrix
    right: list[float]
    trusts: list[float]
    noise: float


class Watts(Generic[K]):
    """The fit of one device. ``half_life``: seconds after which an interval weighs half."""

    def __init__(self, half_life: float = HALF_LIFE_SECONDS) -> None:
        self._half_life = half_life
        self._terms: dict[K, _Term] = {}
        self._base = _Term(-math.inf)
        self._base_watts: float | None = None  # as known from elsewhere
        self._all = _Term(-math.inf)  # what is not of one kind alone; its moment is of joules
        self._seconds = 0.0  # of seconds of all work
        self._length = 0.0  # of lengths of intervals
        self._origin: float | None = None
        self._solved_at = -math.inf
        self._weighed = 1.0  # what the last interval weighs

    @property
    def base(self) -> float:
        """Watts of the device without work, as known or as fitted."""
        return self._base.watts if self._base_watts is None else self._base_watts

    def __getitem__(self, kind: K) -> float:
        """Return the watts of a kind above the base; 0 of one that never ran."""
        term = self._terms.get(kind)
        return 0.0 if term is None else term.watts

    def confident(self, kind: K) -> bool:
        """Return whether a kind's watts are known well enough to be said without a mark."""
        term = self._terms.get(kind)
        return term is not None and self._confident(term)

    def worth_waiting(self, kinds: Iterable[K], time: float) -> bool:
        """Return whether some of these kinds are not known well, and so new that they may be soon."""
        terms = [self._terms[kind] for kind in kinds if kind in self._terms]
        return any(time - term.first < YOUNG_SECONDS and not self._confident(term) for term in terms)

    def learned(self) -> tuple[Learned[K], ...]:
        """Return what is known of every kind of which anything is."""
        return tuple(
            Learned(kind, term.watts + self.base, term.error, not self._confident(term))
            for kind, term in self._terms.items()
            if math.isfinite(term.error)
        )

    def learn(self, seconds: Mapping[K, float], length: float, joules: float, time: float) -> None:
        """Take over an interval that ended at ``time``: seconds of each kind of work in it, and joules.

        Args:
            seconds: of each kind, above 0.
            length: seconds of the whole interval.
            joules: of all work together; with those of the base, as long as that is not known.
            time: monotonic seconds.
        """
        if len(seconds) > _MOST_AT_ONCE:
            return
        weight = self._weight(time)
        items = [(self._term(kind, time), length_of) for kind, length_of in seconds.items()]
        running = [term for term, _ in items]
        if self._base_watts is None:
            items.append((self._base, length))
        rest = joules - sum(term.watts * length_of for term, length_of in items)
        sure = all(term.intervals >= _LEAST_INTERVALS for term, _ in items)
        for term, length_of in items:
            self._add(term, items, weight * length_of, joules)
            _count(term, weight, rest if sure else None)
        _count(self._all, weight, rest if sure else None)
        self._all.moment += weight * joules
        self._seconds += weight * sum(seconds.values())
        self._length += weight * length
        if running:
            self._solve_in_time(time, running)

    def fix_base(self, watts: float) -> None:
        """Take over what the device draws without work: from now on joules are what is above that."""
        if self._base_watts is None:
            for term, product in self._base.gram.items():
                if term is not self._base:
                    term.moment -= watts * product
                    del term.gram[self._base]
            self._all.moment -= watts * self._length
            self._base.gram.clear()
            self._base_watts = watts
            self._solve_all()
        self._base_watts = watts

    def saved(self) -> list[list[object]]:
        """Return each kind with its watts and their error, for ``remember``."""
        return [[kind, term.watts, term.error] for kind, term in self._terms.items() if math.isfinite(term.error)]

    def remember(self, kind: K, watts: float, error: float) -> None:
        """Start from watts that were learned above a known base, until something newer is."""
        term = self._terms[kind] = _Term(-math.inf)
        term.watts, term.error = watts, error
        term.prior = (watts, max(error, _REMEMBERED * watts))

    def _confident(self, term: _Term) -> bool:
        known = term.intervals >= _LEAST_INTERVALS or term.prior is not None
        return known and term.error <= CONFIDENT * (term.watts + self.base)

    def _term(self, kind: K, time: float) -> _Term:
        term = self._terms.get(kind)
        if term is None:
            term = self._terms[kind] = _Term(time)
        return term

    def _add(self, term: _Term, items: list[tuple[_Term, float]], weighted: float, joules: float) -> None:
        gram = term.gram
        for other, length in items:
            gram[other] = gram.get(other, 0.0) + weighted * length
        term.moment += weighted * joules

    def _weight(self, time: float) -> float:
        if self._origin is None:
            self._origin = time
        weight = 2.0 ** min(_MOST_HALF_LIVES, (time - self._origin) / self._half_life)
        if weight > _RESCALE:
            self._rescale(1 / weight)
            self._origin, weight = time, 1.0
        self._weighed = float(weight)
        return self._weighed

    def _rescale(self, factor: float) -> None:
        self._seconds *= factor
        self._length *= factor
        for term in [*self._terms.values(), self._base, self._all]:
            term.gram = {other: value * factor for other, value in term.gram.items()}
            term.moment *= factor
            term.number *= factor
            term.told *= factor
            term.squares *= factor

    def _solve_in_time(self, time: float, running: list[_Term]) -> None:
        """Solve, seldom enough that it costs little: at once after the first intervals of a kind.

        Where there are too many kinds, it is for those of which there is news: the one that ran just now whose turn is
        longest ago, and those that ran together with it.
        """
        first = min(running, key=lambda term: term.solved_at)
        kinds = len(self._terms) if len(self._terms) <= _BLOCK else min(len(first.gram), _BLOCK)
        effort = (kinds / _SOLVE_KINDS) ** 3
        young = any(term.intervals <= _YOUNG_INTERVALS for term in running)
        pause = _YOUNG_PAUSE * effort if young else max(1.0, effort)
        if time < self._solved_at + _SOLVE_SECONDS * pause:
            return
        self._solved_at = time
        self._forget()
        block = self._block(first)
        for term in block:
            term.solved_at = time
        self._solve(block)

    def _solve_all(self) -> None:
        """Solve for every kind, in as many blocks as it takes."""
        left = dict.fromkeys(term for term in self._terms.values() if term.gram.get(term, 0.0) > 0)
        while left:
            block = self._block(next(iter(left)))
            self._solve(block)
            for term in block:
                left.pop(term, None)

    def _forget(self) -> None:
        """Drop the sums of kinds that have not run for long; their watts are remembered, once they mean something."""
        if self._base_watts is None:
            return
        old = [term for term in self._terms.values() if term.gram and term.number < _FADED * self._weighed]
        for term in old:
            for other in term.gram:
                if other is not term:
                    other.gram.pop(term, None)
            term.gram, term.moment, term.number, term.told, term.squares = {}, 0.0, 0.0, 0.0, 0.0
            term.prior = (term.watts, max(term.error, _REMEMBERED * term.watts))

    def _block(self, first: _Term) -> list[_Term]:
        """Return the kinds to be solved for now: all, or one with those that run together with it most."""
        terms = [term for term in self._terms.values() if term.gram.get(term, 0.0) > 0]
        if len(terms) <= _BLOCK:
            return terms
        together = {other: first.gram[other] / math.sqrt(other.gram[other]) for other in terms if other in first.gram}
        together[first] = math.inf
        return sorted(together, key=lambda other: -together[other])[:_BLOCK]

    def _solve(self, block: list[_Term]) -> None:
        """Work out the watts of these kinds, the others as they are, and the standard errors."""
        if not block:
            return
        system = self._system(block)
        for term, value, scale in zip(system.unknowns, solved(system.matrix, system.right), system.scales, strict=True):
            term.watts = value / scale
        # How base and work trade off does not matter for shares: errors are those of a base that is known.
        kinds = len(block)
        rows = inverse([row[:kinds] for row in system.matrix[:kinds]])
        for index, (term, row) in enumerate(zip(block, rows, strict=True)):
            assumed = sum(entry * entry * trust for entry, trust in zip(row, system.trusts, strict=False))
            told = max(0.0, row[index] - assumed)
            variance = self._noise(term, system.noise) * told + system.noise * assumed
            term.error = math.sqrt(self._weighed * variance) / system.scales[index]

    def _system(self, block: list[_Term]) -> _System:
        """Return the normal equations of these kinds, and of the base while it is not known, with the priors in."""
        noise = self._noise(self._all, (_GUESSED * self._mean()) ** 2)
        alike, base, spread = self._alike()
        unknowns = block if self._base_watts is not None else [*block, self._base]
        priors = [(alike, spread) if term.prior is None else term.prior for term in block] + [(base, spread)]
        scales = [math.sqrt(term.gram[term]) for term in unknowns]
        matrix = [
            [row.gram.get(column, 0.0) / (one * other) for column, other in zip(unknowns, scales, strict=True)]
            for row, one in zip(unknowns, scales, strict=True)
        ]
        inside, right, trusts = set(unknowns), [], []
        for index, (term, scale, (watts, error)) in enumerate(zip(unknowns, scales, priors, strict=False)):
            trust = self._weighed * noise / (max(error, _LEAST_SPREAD_WATTS) * scale) ** 2
            matrix[index][index] += trust
            outside = sum(product * other.watts for other, product in term.gram.items() if other not in inside)
            right.append((term.moment - outside) / scale + trust * watts * scale)
            trusts.append(trust)
        return _System(unknowns, scales, matrix, right, trusts, noise)

    def _noise(self, term: _Term, usual: float) -> float:
        """Return the variance of an interval's joules around what was expected, in intervals with this kind."""
        usual = max(usual, (_LEAST_UNEXPLAINED * self._mean()) ** 2)
        return (term.squares / self._weighed + _GUESSES * usual) / (term.told / self._weighed + _GUESSES)

    def _mean(self) -> float:
        """Return the mean joules of an interval."""
        return self._all.moment / self._all.number

    def _alike(self) -> tuple[float, float, float]:
        """Return the watts of all work if it draws alike, those of the base then, and how far both may be off.

        While the base is not known, alike means that nothing is above it.
        """
        if self._base_watts is None:
            mean = self._all.moment / self._length
            return 0.0, mean, mean
        mean = max(0.0, self._all.moment / self._seconds)
        return mean, self._base_watts, max(mean, self._base_watts)


def _count(term: _Term, weight: float, rest: float | None) -> None:
    """Count an interval, and what it left unexplained where that says something."""
    term.intervals += 1
    term.number += weight
    if rest is not None:
        term.told += weight
        term.squares += weight * rest * rest
