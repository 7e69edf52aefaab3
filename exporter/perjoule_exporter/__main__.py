"""``gpu-energy-exporter``: the command line's edge. Flags in, one line for an error, an exit code out.

Exit codes: 0 ended by a signal, 1 failed, 2 a setting that cannot be honoured. SIGHUP reads the settings again.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

from perjoule.errors import PerjouleError, UsageError
from perjoule_exporter.config import Config, parse
from perjoule_exporter.flags import PROGRAM
from perjoule_exporter.logs import start_logging
from perjoule_exporter.notify import Notifier
from perjoule_exporter.program import Exporter

_LOG = logging.getLogger(__name__)

_FAILED = b"\0"  # no signal has this number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the exporter until SIGTERM or SIGINT and return its exit code."""
    try:
        config = parse(argv)
        start_logging(config.log_level, config.log_format)
        return _run_until_signal(config, argv)
    except PerjouleError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code


def _run_until_signal(config: Config, argv: Sequence[str] | None) -> int:
    # The kernel may hand a signal to any thread, and a lock that the main thread waits for would not wake it then. The
    # interpreter writes the signal's number to this socket from whichever thread it is.
    told, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    manager = Notifier(os.environ)
    exporter = Exporter(config, failed=lambda: _tell(tell))
    status = f"listening on {exporter.url}{config.telemetry_path}"
    manager.ready(status)
    manager.watch(exporter.health)
    while (order := told.recv(1)) == bytes([signal.SIGHUP]):
        manager.reloading()
        _reload(exporter, argv)
        manager.ready(status)
    manager.stopping()
    exporter.close()
    return 1 if order == _FAILED else 0


def _tell(tell: socket.socket) -> None:
    with suppress(BlockingIOError):  # full of signals already: one of them ends the program, or all are reloads
        tell.send(_FAILED)


def _reload(exporter: Exporter, argv: Sequence[str] | None) -> None:
    try:
        exporter.reconfigure(parse(argv))
    except UsageError as error:
        _LOG.error("the new settings are of no use, the old ones stay: %s", error)


if __name__ == "__main__":
    sys.exit(main())
