"""``gpu-energy-exporter``: the command line's edge. Flags in, one line for an error, an exit code out.

Exit codes: 0 ended by a signal, 1 failed, 2 a setting that cannot be honoured. SIGHUP reads the settings again.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from queue import SimpleQueue

from perjoule.errors import PerjouleError, UsageError
from perjoule_exporter.config import Config, parse
from perjoule_exporter.flags import PROGRAM
from perjoule_exporter.logs import start_logging
from perjoule_exporter.notify import Notifier
from perjoule_exporter.program import Exporter

_LOG = logging.getLogger(__name__)

_RELOAD = -1


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
    # A simple queue may be put to from a signal handler at any moment; a lock that the handler finds held may not.
    orders: SimpleQueue[int] = SimpleQueue()
    for number, order in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGHUP, _RELOAD)):
        signal.signal(number, lambda *_, order=order: orders.put(order))
    manager = Notifier(os.environ)
    exporter = Exporter(config, failed=lambda: orders.put(1))
    status = f"listening on {exporter.url}{config.telemetry_path}"
    manager.ready(status)
    manager.watch(exporter.health)
    while (code := orders.get()) == _RELOAD:
        manager.reloading()
        _reload(exporter, argv)
        manager.ready(status)
    manager.stopping()
    exporter.close()
    return code


def _reload(exporter: Exporter, argv: Sequence[str] | None) -> None:
    try:
        exporter.reconfigure(parse(argv))
    except UsageError as error:
        _LOG.error("the new settings are of no use, the old ones stay: %s", error)


if __name__ == "__main__":
    sys.exit(main())
