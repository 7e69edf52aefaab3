"""Sums kept over a restart, so that no counter that was published ever goes back, not even after SIGKILL.

What a scrape is about to show is written first: a temporary file and a rename, which a killed process leaves whole. The
file is of one boot; after another one all counters start at 0, as the hardware's do. There is no fsync: what a power
cut may tear is of a boot that is over. It does not know what the sums mean.
"""

import fcntl
import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from perjoule.errors import PerjouleError, UsageError
from perjoule_exporter.ownfile import check_own

_LOG = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FORMAT = 1
_BEGINNING = b'{"format": '
_LARGEST_BYTES = 16 << 20  # of 128 devices: some hundred kilobytes


class StateFile:
    """One state file, held by a lock beside it until closed."""

    def __init__(self, path: Path, boot_id: Path = BOOT_ID) -> None:
        """Take the file.

        Raises:
            UsageError: it cannot be written here, or is a folder, a device, or somebody else's file.
            PerjouleError: another exporter holds it.
        """
        self._path = path
        self._failed = False
        try:
            check_own("--state.file", path, _BEGINNING, "state file", "counters.json")
            self._boot = boot_id.read_text(encoding="ascii").strip()
            self._lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"--state.file {path} cannot be written: {error.strerror}") from error
        except ValueError as error:
            raise UsageError(f"--state.file {str(path)!r} cannot be written: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise PerjouleError(f"--state.file {path} is held by another exporter: give each its own") from error

    def load(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the sums by device; none where there is no file, or one of another boot.

        A file that is not what was written is set aside with a warning.
        """
        try:
            with self._path.open("rb") as file:
                content = json.loads(file.read(_LARGEST_BYTES))
            if content["format"] != _FORMAT:
                raise ValueError  # noqa: TRY301 (one place sets a file aside)
            boot, devices = content["boot_id"], dict(content["devices"])
            if not all(isinstance(kept, dict) for kept in devices.values()):
                raise TypeError  # noqa: TRY301 (as above)
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._set_aside(f"it cannot be read: {error.strerror}")
            return {}
        except json.JSONDecodeError as error:
            self._set_aside(f"it is no whole JSON, from character {error.pos} on" if error.pos else "it is empty")
            return {}
        except (ValueError, KeyError, TypeError, RecursionError):
            self._set_aside("it does not hold what this version writes")
            return {}
        if boot != self._boot:
            _LOG.info("the state file %s is of an earlier boot: all counters start at 0", self._path)
            return {}
        return devices

    def write(self, devices: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the file. The first failure is said, and removes it: an old file would make counters go back."""
        content = json.dumps({"format": _FORMAT, "boot_id": self._boot, "devices": devices})
        new = self._path.with_name(self._path.name + ".new")
        try:
            new.write_text(content, encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            self._give_up(new, error)
        else:
            if self._failed:
                _LOG.warning("the state file %s is written again", self._path)
            self._failed = False

    def _give_up(self, new: Path, error: OSError) -> None:
        """Remove what is of no use any more, and say once what will be after a restart."""
        for path in (new, self._path):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if not self._failed and os.path.lexists(self._path):
            _LOG.warning(
                "the state file %s can neither be written (%s) nor removed: remove it, or a restart takes sums back",
                self._path, error.strerror,
            )  # fmt: skip
        elif not self._failed:
            _LOG.warning(
                "the state file %s cannot be written (%s) and is removed: after a restart counters start at 0",
                self._path, error.strerror,
            )  # fmt: skip
        self._failed = True

    def close(self) -> None:
        """Let another exporter have the file."""
        os.close(self._lock)

    def _set_aside(self, why: str) -> None:
        aside = self._path.with_name(self._path.name + ".corrupt")
        with suppress(OSError):
            self._path.replace(aside)
        _LOG.warning(
            "the state file %s is of no use (%s): set aside as %s, all counters start at 0", self._path, why, aside
        )
