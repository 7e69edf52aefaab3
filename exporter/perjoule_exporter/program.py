"""The exporter put together: meters, sampler and web server, from start to end.

It knows the order in which things start and stop. Signals and exit codes are the command line's.
"""

import logging
from collections.abc import Callable

from perjoule_exporter.clock import Clock
from perjoule_exporter.collector import registry
from perjoule_exporter.config import Config
from perjoule_exporter.landing import SIMULATED_BANNER, landing_page
from perjoule_exporter.registry import open_meters
from perjoule_exporter.sampler import Sampler
from perjoule_exporter.view import DeviceView
from perjoule_exporter.web import Site, WebHandle, start_web

_LOG = logging.getLogger(__name__)


class Exporter:
    """A running exporter. ``failed`` is called when it can no longer measure."""

    def __init__(self, config: Config, failed: Callable[[], None] = lambda: None, clock: Clock | None = None) -> None:
        """Open the meters, start sampling, then listen: the first scrape already finds readings.

        Raises:
            PerjouleError: a meter, a file or the port cannot be had.
        """
        clock = clock or Clock()
        factors = config.factors
        self._sampler = Sampler(
            open_meters(config, clock), config.interval_seconds, factors.grams_per_joule, clock, failed
        )
        try:
            self._sampler.start()
            self._web = self._listen(config)
        except BaseException:
            self._sampler.close()
            raise
        _announce(config, self._sampler.views(), self.url)

    @property
    def url(self) -> str:
        """Where the exporter listens, without a path."""
        return self._web.url

    def close(self) -> None:
        """Stop listening and measuring."""
        self._web.close()
        self._sampler.close()

    def _listen(self, config: Config) -> WebHandle:
        views = self._sampler.views
        site = Site(
            registry=registry(views, config.factors),
            telemetry_path=config.telemetry_path,
            health=lambda: health(views()),
            landing_page=lambda: landing_page(views(), config.factors, config.telemetry_path),
        )
        return start_web(site, config.address)


def health(views: tuple[DeviceView, ...]) -> str | None:
    """Return what is wrong, or None. One device that answers is enough: ``gpu_up`` tells of the others."""
    return None if any(view.measured is not None for view in views) else "no device answers"


def _announce(config: Config, views: tuple[DeviceView, ...], url: str) -> None:
    for view in views:
        device = view.device
        _LOG.info("found %s (%s), method=%s", device.uuid, device.name or device.kind, device.method)
    if any(view.device.method == "simulated" for view in views):
        _LOG.warning(SIMULATED_BANNER)
    intensity = config.factors.intensity
    if intensity is None:
        unused = "" if config.factors.pue == 1 else f", and --carbon.pue {config.factors.pue:g} multiplies nothing"
        _LOG.info("no --carbon.zone: energy is published, emissions are not%s", unused)
    else:
        _LOG.info(
            "carbon intensity of %s (%s): %g g/kWh, average of %d, PUE %g",
            intensity.name, intensity.zone, intensity.grams_per_kwh, intensity.year, config.factors.pue,
        )  # fmt: skip
    _LOG.info("listening on %s%s", url, config.telemetry_path)
