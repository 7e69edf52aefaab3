"""The last live value on disk (``--carbon.cache``), so that a restarted exporter neither asks again nor starts without.

The file holds the value, when it was fetched, and of which source it is; never a token. One that cannot be read or
written costs a warning and nothing else.
"""

import json
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from perjoule.errors import IntensityError
from perjoule_exporter.clock import Moment
from perjoule_exporter.intensity.force import FUTURE_SECONDS, Held
from perjoule_exporter.intensity.reply import grams_per_kwh, json_of, member
from perjoule_exporter.intensity.settings import Source
from perjoule_exporter.intensity.value import Intensity
from perjoule_exporter.ownfile import check_own

_LOG = logging.getLogger(__name__)

_FORMAT = 1
_BEGINNING = b'{\n "format": '
_MOST_BYTES = 65536


def check_cache(path: Path) -> None:
    """See that ``path`` may become the cache.

    Raises:
        UsageError: it is a folder, a device, or somebody else's file.
    """
    check_own("--carbon.cache", path, _BEGINNING, "carbon cache", "carbon.json")


class CacheFile:
    """One file for one source. Writing is atomic: a new file takes the old one's place."""

    def __init__(self, path: Path, source: Source) -> None:
        self._path = path
        self._source = source
        self._warned = False

    def load(self, now: Moment) -> Held | None:
        """Return the value that the file holds, None where there is none of this source that may still count.

        A file that makes no sense is set aside under another name, with a warning.
        """
        try:
            if not self._path.is_file():
                if self._path.exists():
                    self._warn("is no file")
                return None
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES)
        except OSError as error:
            self._warn(f"cannot be read: {error.strerror}")
            return None
        try:
            return self._held(json_of(content), now)
        except IntensityError:
            self._set_aside()
            return None

    def store(self, held: Held) -> None:
        """Write the value; a failure is one warning."""
        value = held.intensity
        content = self._identity() | {
            "grams_per_kwh": value.grams_per_kwh,
            "valid_at": value.valid_at,
            "estimated": value.estimated,
            "fetched_at": held.fetched.wall,
        }
        try:
            self._replace(json.dumps(content, indent=1))
        except OSError as error:
            self._warn(f"cannot be written: {error.strerror}")

    def _identity(self) -> dict[str, str | float]:
        source = self._source
        return {
            "format": _FORMAT,
            "provider": source.provider.name,
            "basis": source.provider.basis,
            "zone": source.zone,
            "region": source.region,
            "url": source.base_url,
        }

    def _held(self, content: object, now: Moment) -> Held | None:
        if any(member(content, key) != value for key, value in self._identity().items()):
            return None
        valid_at, fetched_at = _seconds(member(content, "valid_at")), _seconds(member(content, "fetched_at"))
        if max(valid_at, fetched_at) > now.wall + FUTURE_SECONDS:
            return None
        source = self._source
        value = Intensity(
            zone=source.zone,
            provider=source.provider.name,
            basis=source.provider.basis,
            grams_per_kwh=grams_per_kwh(member(content, "grams_per_kwh")),
            valid_at=valid_at,
            estimated=member(content, "estimated") is not False,
        )
        return Held(value, Moment(now.monotonic - (now.wall - fetched_at), fetched_at))

    def _replace(self, text: str) -> None:
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(name, self._path)  # noqa: PTH105 (mkstemp gives a name)
        except OSError:
            with suppress(OSError):
                os.unlink(name)  # noqa: PTH108 (as above)
            raise

    def _set_aside(self) -> None:
        aside = self._path.with_name(f"{self._path.name}.corrupt")
        try:
            self._path.replace(aside)
        except OSError as error:
            self._warn(f"makes no sense and cannot be set aside: {error.strerror}")
        else:
            _LOG.warning("the carbon cache %s makes no sense: set aside as %s", self._path, aside)

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            _LOG.warning("the carbon cache %s %s", self._path, what)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:  # noqa: PLR2004 (any Unix time)
        raise IntensityError("no Unix time")
    return float(value)
