"""The carbon factor in force, for whoever asks: the live value's poller, cache and fallback behind one object.

``grams_per_joule`` is asked at every reading of every device, so it takes no lock: it reads one reference to a frozen
state and two clocks. What it does not know is who asks, and how many joules there were.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import SystemRandom

from perjoule.carbon import StaticIntensity, grams, static_intensity
from perjoule.errors import IntensityError, UsageError
from perjoule_exporter.clock import Clock, Moment
from perjoule_exporter.intensity.ask import Asker, Fetch
from perjoule_exporter.intensity.cache import CacheFile, check_cache
from perjoule_exporter.intensity.factors import Factors, ProviderState
from perjoule_exporter.intensity.fetch import Http
from perjoule_exporter.intensity.force import Held, fallback_for, in_force, until_next
from perjoule_exporter.intensity.poll import Poller
from perjoule_exporter.intensity.settings import CarbonSettings, Source, checked, source_of, span
from perjoule_exporter.intensity.value import AVERAGE, Basis, Intensity, yearly

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _State:
    """All that an answer depends on, swapped as one."""

    settings: CarbonSettings
    static: StaticIntensity | None
    source: Source | None
    fallback: Intensity | None
    live: Held | None = None

    def in_force(self, now: Moment) -> Intensity | None:
        """Return the intensity that holds at ``now``."""
        max_age_seconds = 0.0 if self.source is None else self.source.max_age_seconds
        return in_force(self.live, self.fallback, now, max_age_seconds)

    def basis(self) -> Basis | None:
        """Return of which kind all emissions are that these settings count; None where they count none."""
        if self.settings.zone is None:
            return None
        return AVERAGE if self.source is None else self.source.provider.basis


class Carbon:
    """What turns joules into grams now. Nothing is asked before ``start``."""

    def __init__(
        self,
        settings: CarbonSettings,
        clock: Clock | None = None,
        fetch: Fetch | None = None,
        random: Callable[[], float] | None = None,
        counted: Basis | None = None,
    ) -> None:
        """``fetch`` and ``random`` are the network and a number from 0 to 1; tests pass their own.

        ``counted`` is the basis of emissions that go on from an earlier run, should these settings count none.

        Raises:
            UsageError: a setting that cannot be honoured, or a token file or cache that cannot be used.
        """
        self._clock = clock or Clock()
        self._fetch = fetch
        self._random = random or SystemRandom().random
        self._changing = threading.Lock()
        self._poller: Poller | None = None
        self._started = False
        self._state = _state(settings)
        self._asker = self._asker_for(self._state)
        self._basis = self._state.basis() or counted

    @property
    def settings(self) -> CarbonSettings:
        """The settings in force."""
        return self._state.settings

    @property
    def static(self) -> StaticIntensity | None:
        """The zone's yearly average, in force or not; None without a zone."""
        return self._state.static

    @property
    def basis(self) -> Basis | None:
        """Of which kind all emissions counted so far are; None where none were."""
        return self._basis

    def factors(self) -> Factors:
        """Return what is in force now, as one picture."""
        state, poller = self._state, self._poller
        asked = None if poller is None else ProviderState(state.settings.provider, *poller.outcome)
        return Factors(state.in_force(self._clock.now()), state.static, state.settings.pue, asked=asked)

    def described(self) -> str:
        """Return one line on what the settings mean, for the log at the start."""
        state = self._state
        pue = state.settings.pue
        if state.static is None:
            unused = "" if pue == 1 else f", and --carbon.pue {pue:g} multiplies nothing"
            return f"no --carbon.zone: energy is published, emissions are not{unused}"
        average = f"{state.static.grams_per_kwh:g} g/kWh, average of {state.static.year}"
        of_zone = f"carbon intensity of {state.static.name} ({state.static.zone})"
        if state.source is None:
            return f"{of_zone}: {average}, PUE {pue:g}"
        provider = state.source.provider
        without = "without it emissions pause" if state.fallback is None else f"without it {average}"
        return (
            f"{of_zone}: {provider.basis}, live from {provider.title} for {state.source.region}, {without}, PUE {pue:g}"
        )

    def current(self) -> Intensity | None:
        """Return the intensity in force now; None where there is none, and then no emissions are counted."""
        return self._state.in_force(self._clock.now())

    def grams_per_joule(self) -> float | None:
        """Return gCO2e per joule of a device now, PUE included; None as ``current``."""
        state = self._state
        found = state.in_force(self._clock.now())
        return None if found is None else grams(1.0, found.grams_per_kwh, state.settings.pue)

    def start(self) -> None:
        """Start asking, where there is someone to ask; a cached value that is young enough serves at once."""
        with self._changing:
            self._started = True
            self._start()

    def close(self) -> None:
        """Stop asking. Does not wait for a request that is under way."""
        with self._changing:
            self._started = False
            self._stop()

    def reconfigured(self, settings: CarbonSettings) -> None:
        """Go on with other settings. A live value stays where its source is the same.

        Raises:
            UsageError: as for a new one, or marginal where it was average; then the old settings go on.
        """
        state = _state(settings)
        basis = state.basis()
        if None not in {basis, self._basis} and basis != self._basis:
            raise UsageError(
                f"--carbon.provider {settings.provider} is {basis} and the emissions counted so far are {self._basis}: "
                "they are never mixed in one counter, so this needs a restart"
            )
        asker = self._asker_for(state)
        with self._changing:
            old = self._state
            self._stop()
            kept = old.live if _same_source(old.source, state.source) else None
            self._state, self._asker = replace(state, live=kept), asker
            self._basis = basis or self._basis
            if self._started:
                self._start()

    def _asker_for(self, state: _State) -> Asker | None:
        if state.source is None:
            return None
        if state.settings.cache is not None:
            check_cache(state.settings.cache)
        # Made only now: the certificates that it trusts are megabytes, and a static intensity needs none.
        self._fetch = self._fetch or Http(wall=self._clock.wall)
        asker = Asker(state.source, self._fetch, self._clock)
        try:
            asker.check_token()
        except IntensityError as error:
            raise UsageError(str(error)) from None
        return asker

    def _start(self) -> None:
        source, asker = self._state.source, self._asker
        if source is None or asker is None or self._poller is not None:
            return
        path = self._state.settings.cache
        cache = None if path is None else CacheFile(path, source)
        now = self._clock.now()
        if cache is not None and self._state.live is None:
            self._state = replace(self._state, live=cache.load(now))
        poller = Poller(
            asker.ask,
            lambda found: self._accept(poller, found, cache),
            source.interval_seconds,
            self._random,
            source.provider.title,
            lambda: _meanwhile(self._state, self._clock.now()),
        )
        self._poller = poller
        poller.start(until_next(self._state.live, now, source.interval_seconds, source.max_age_seconds))

    def _stop(self) -> None:
        if self._poller is not None:
            self._poller.close()
            self._poller = None

    def _accept(self, poller: Poller, found: Intensity, cache: CacheFile | None) -> None:
        held = Held(found, self._clock.now())
        with self._changing:
            if poller.closed:  # the settings have changed since it was asked
                return
            self._state = replace(self._state, live=held)
        if cache is not None:
            cache.store(held)


def _state(settings: CarbonSettings) -> _State:
    settings = checked(settings)
    static = None if settings.zone is None else static_intensity(settings.zone)
    average = None if static is None else yearly(static)
    source = source_of(settings)
    fallback = average if source is None else fallback_for(source.provider.basis, average)
    return _State(settings, static, source, fallback)


def _same_source(old: Source | None, new: Source | None) -> bool:
    def asked(source: Source) -> tuple[str, str, str, str]:
        return source.provider.name, source.zone, source.region, source.base_url

    return old is not None and new is not None and asked(old) == asked(new)


def _meanwhile(state: _State, now: Moment) -> str:
    """Return what counts while the provider fails, for the log."""
    static = state.static
    average = None if state.fallback is None or static is None else f"the yearly average of {static.year}"
    if state.source is not None and state.live is not None and state.in_force(now) is state.live.intensity:
        then = average or "emissions pause"
        return f"its last value serves until it is {span(state.source.max_age_seconds)} old, then {then}"
    why = "it has given no value yet" if state.live is None else "its last value is too old"
    if average is None or static is None:
        return f"{why}: emissions pause until it gives one"
    return f"{why}: {average} ({static.grams_per_kwh:g} g/kWh) counts meanwhile"
