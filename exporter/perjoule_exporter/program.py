"""The exporter put together: meters, sampler, state and web server, from start to end.

It knows the order in which things start and stop, and what a running exporter can take over from new settings. Signals
and exit codes are the command line's.
"""

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from perjoule_exporter.access import Protection
from perjoule_exporter.banners import of_devices
from perjoule_exporter.changes import changes
from perjoule_exporter.charging import Charging
from perjoule_exporter.charging.foreign import Foreign
from perjoule_exporter.clock import Clock
from perjoule_exporter.collector import registry
from perjoule_exporter.config import NEEDS_RESTART, Config
from perjoule_exporter.intensity import Carbon, Factors
from perjoule_exporter.intensity.kept import basis_of, marked, of_basis
from perjoule_exporter.landing import About, landing_page
from perjoule_exporter.logs import start_logging
from perjoule_exporter.meters import DeviceKind, FollowsWork
from perjoule_exporter.registry import open_meters
from perjoule_exporter.sampler import Sampler
from perjoule_exporter.seat import Rules, Seats
from perjoule_exporter.spans import SpanServer, start_spans
from perjoule_exporter.state import StateFile
from perjoule_exporter.track import Charges, Track
from perjoule_exporter.view import DeviceView
from perjoule_exporter.web import Site, WebHandle, start_web
from perjoule_exporter.webconfig import WebConfigFile

if TYPE_CHECKING:
    from perjoule_exporter.processes.polls import Polls

_LOG = logging.getLogger(__name__)

_MOST_REASONS = 3  # of devices that do not answer, in one sentence


class Exporter:
    """A running exporter. ``failed`` is called when it can no longer measure."""

    def __init__(self, config: Config, failed: Callable[[], None] = lambda: None, clock: Clock | None = None) -> None:
        """Open the meters, start sampling, then listen: the first scrape already finds readings.

        Raises:
            PerjouleError: a meter, a file or the port cannot be had.
        """
        self._clock = clock = clock or Clock()
        self._began = clock.monotonic()
        self.config = config
        file = config.web_config_file
        self._protection = Protection if file is None else WebConfigFile(file).current
        self._publishing = threading.Lock()
        self._state = StateFile(config.state_file) if config.state_file is not None else None
        saved = self._state.load() if self._state is not None else {}
        self._carbon = Carbon(config.carbon, clock, counted=basis_of(saved))
        saved = of_basis(saved, self._carbon.basis)
        self._spans: SpanServer | None = None
        seats = Seats(self._found)
        self._foreign = Foreign(seats, self._clients, clock, config.processes.procfs)
        self._charging: Charging | None = None
        if "inference" in config.collectors:
            self._charging = Charging(config.idle, clock, seats.lock, self._foreign.start)
        meters = open_meters(config, clock)
        self._sampler = Sampler(meters, self._rules(), clock, saved, failed, seats)
        if self._charging is not None:
            self._charging.followed_by([meter for meter in meters if isinstance(meter, FollowsWork)])
        self._processes = self._asked_for_processes()
        try:
            self._carbon.start()
            self._sampler.start()
            self._listen_for_spans()
            if self._processes is not None:
                self._processes.start()
            self._web = self._listen(config)
        except BaseException:
            self._carbon.close()
            if self._processes is not None:
                self._processes.close()
            self._close_spans()
            self._sampler.close()
            raise
        self._announce()

    @property
    def url(self) -> str:
        """Where the exporter listens, without a path."""
        return self._web.url

    @property
    def views(self) -> tuple[DeviceView, ...]:
        """The devices as they are now."""
        return self._sampler.views()

    def health(self) -> str | None:
        """Return what is wrong with the program itself, or None."""
        return None if self._sampler.alive else "sampling has stopped"

    def reconfigure(self, config: Config) -> None:
        """Take over new settings; those that need a restart stay as they are, and that is said.

        Raises:
            UsageError: they cannot be honoured; then nothing has changed.
        """
        before = self._carbon.described()
        self._carbon.reconfigured(config.carbon)
        for name, flag in NEEDS_RESTART.items():
            if getattr(config, name) != getattr(self.config, name):
                _LOG.warning("%s has changed: that needs a restart, the old setting stays", flag)
        kept = {name: getattr(self.config, name) for name in NEEDS_RESTART}
        old, self.config = self.config, replace(config, **kept)
        self._sampler.rules = self._rules()
        self._follow_processes()
        if "inference" in config.collectors and self._charging is None:
            _LOG.warning("collector inference was off at the start: that needs a restart")
        start_logging(config.log_level, config.log_format)
        self._protection()  # its file says now, not at the next scrape, what is wrong with it
        if self._carbon.described() != before:
            _LOG.info("%s", self._carbon.described())
        _LOG.info("settings read again: %s", changes(old, self.config) or "no change")

    def close(self) -> None:
        """Stop listening and measuring."""
        self._web.close()
        self._close_spans()
        self._carbon.close()
        if self._processes is not None:
            self._processes.close()
        self._sampler.close()
        if self._state is not None:
            self._state.close()

    def _rules(self) -> Rules:
        embodied = self.config.embodied
        per_second = None if embodied is None else embodied.grams_per_second
        charging = self._charging
        return Rules(
            self.config.pace,
            lambda: Charges(self._carbon.grams_per_joule(), per_second),
            lambda device: charging is not None and charging.attended(device),
        )

    def _found(self, track: Track) -> None:
        if self._charging is not None:
            self._charging.adopt(track)

    def _clients(self) -> tuple[int, ...]:
        return () if self._spans is None else self._spans.pids

    def _listen_for_spans(self) -> None:
        if self._charging is not None:
            settings = self.config.spans
            self._spans = start_spans(self._charging, settings.socket, settings.group)

    def _close_spans(self) -> None:
        self._foreign.close()
        if self._spans is not None:
            self._spans.close()

    def _asked_for_processes(self) -> "Polls | None":
        if "process" not in self.config.collectors:
            return None
        from perjoule_exporter.processes.polls import Polls

        return Polls(self._sampler.seats, self._clock, self.config.processes)

    def _follow_processes(self) -> None:
        """Begin or end asking who uses the boards, as the settings say now."""
        if "process" not in self.config.collectors and self._processes is not None:
            self._processes.close()
            self._processes = None
        elif self._processes is None and (started := self._asked_for_processes()) is not None:
            self._processes = started
            started.start()

    def _published(self) -> tuple[DeviceView, ...]:
        """Return what a scrape is about to show, after it was written down. One scrape at a time, in this order."""
        if self._state is None:
            return self._sampler.views()
        with self._publishing:
            views, sums = self._sampler.views_and_sums()
            self._state.write(marked(sums, self._carbon.basis))
            return views

    def _listen(self, config: Config) -> WebHandle:
        site = Site(
            registry=registry(self._published, self._factors, lambda: self.config.collectors),
            telemetry_path=config.telemetry_path,
            health=self.health,
            ready=lambda: ready(self.views),
            landing_page=lambda: landing_page(self.views, self._factors(), self._about(), self._clock.wall()),
        )
        return start_web(site, config.address, self._protection)

    def _factors(self) -> Factors:
        return replace(self._carbon.factors(), price=self.config.price)

    def _about(self) -> About:
        uptime = self._clock.monotonic() - self._began
        return About(self.config.telemetry_path, socket.gethostname(), uptime, self.config.state_file)

    def _announce(self) -> None:
        _announce_devices(self.views)
        _LOG.info("%s", self._carbon.described())
        _LOG.info("listening on %s%s", self.url, self.config.telemetry_path)


def ready(views: tuple[DeviceView, ...]) -> str | None:
    """Return what is wrong, or None. One device that answers is enough: ``gpu_up`` tells of the others."""
    if any(view.measured is not None for view in views):
        return None
    why = [view.failure for view in views if view.failure is not None]
    return "no device answers" + (f": {'; '.join(why[:_MOST_REASONS])}" if why else "")


def _announce_devices(views: tuple[DeviceView, ...]) -> None:
    for view in views:
        device = view.device
        _LOG.info("found %s (%s), method=%s", device.uuid, device.name or device.kind, device.method)
    cpus = any(view.device.kind is not DeviceKind.GPU for view in views)
    if cpus and any(view.device.scope == "module" for view in views):
        _LOG.warning("a GPU's counter is its module's, CPU included: never add the joules of CPU and GPU up")
    for method, text in of_devices(views).items():
        if method != "estimated":  # which was said already, with its watts
            _LOG.warning("%s", text)
