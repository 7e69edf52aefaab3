"""Word to systemd, by the protocol of sd_notify(3): ready, reloading, stopping, and that the program still works.

A datagram on the socket that ``NOTIFY_SOCKET`` names; without that variable nothing is sent and nobody is the wiser. It
does not know what ready or healthy means: that is asked of the caller. A message that cannot be sent is lost, never an
error.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping

_LOG = logging.getLogger(__name__)

_SEND_SECONDS = 0.5
_MICROSECONDS = 1_000_000


class Notifier:
    """One service manager's ear."""

    def __init__(self, environment: Mapping[str, str], monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._beat_seconds = _beat_seconds(environment) if self._address else None
        self._monotonic_ns = monotonic_ns
        self._stop = threading.Event()

    def ready(self, status: str) -> None:
        """Say that starting, or reading settings again, has ended; ``status`` is a line for ``systemctl status``."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """Say that settings are being read again, as of now. ``ready`` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}", "STATUS=reading the settings again")

    def stopping(self) -> None:
        """Say that the program ends, and that its heart may stop beating."""
        self._stop.set()
        self._send("STOPPING=1", "STATUS=ending")

    def watch(self, health: Callable[[], str | None]) -> None:
        """Say so twice within each ``WatchdogSec`` while ``health`` returns None, in a thread that ends with stopping.

        What is wrong becomes the status instead, and without a word the manager ends and restarts the program.
        """
        if self._beat_seconds is not None:
            threading.Thread(target=self._beat, args=(health, self._beat_seconds), name="heart", daemon=True).start()

    def _beat(self, health: Callable[[], str | None], seconds: float) -> None:
        while True:
            wrong = health()
            self._send("WATCHDOG=1") if wrong is None else self._send(f"STATUS={_one_line(wrong)}")
            if self._stop.wait(seconds):
                return

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
                to.settimeout(_SEND_SECONDS)
                to.connect(self._address)
                to.sendall("\n".join(lines).encode())
        except OSError as error:
            _LOG.debug("the service manager was not told %s: %s", lines[0], error)


def _address(name: str) -> str:
    """Return the socket's address; empty where there is none that a program of this kind can reach."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _beat_seconds(environment: Mapping[str, str]) -> float | None:
    """Return half of the time that the manager waits for a sign of life; None where it waits for none of ours."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit()) or int(microseconds) == 0:
        return None
    return int(microseconds) / _MICROSECONDS / 2


def _one_line(text: str) -> str:
    return " ".join(text.split())
