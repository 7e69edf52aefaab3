"""``gpu-energy-exporter``: the command line's edge. Flags in, one line for an error, an exit code out.

Exit codes: 0 ended by a signal, 1 failed, 2 a setting that cannot be honoured. SIGHUP reads the settings again.
"""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from perjoule.errors import PerjouleError, UsageError
from perjoule_exporter.config import Config, parse
from perjoule_exporter.flags import PROGRAM
from perjoule_exporter.logs import start_logging
from perjoule_exporter.notify import Notifier
from perjoule_exporter.orders import Order, Orders
from perjoule_exporter.program import Exporter

_LOG = logging.getLogger(__name__)


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
    orders = Orders()
    manager = Notifier(os.environ)
    exporter = _started(config, orders)
    if exporter is None:
        return 0
    status = f"listening on {exporter.url}{config.telemetry_path}"
    manager.ready(status)
    manager.watch(exporter.health)
    while (order := orders.next(Order.END, Order.FAILED, Order.RELOAD)) is Order.RELOAD:
        manager.reloading()
        _reload(exporter, argv)
        manager.ready(status)
    manager.stopping()
    exporter.close()
    return 1 if order is Order.FAILED else 0


def _started(config: Config, orders: Orders) -> Exporter | None:
    """Return a running exporter; None when told to end before it ran.

    It starts in a thread of its own: a driver that hangs must not keep the program from ending.
    """
    made: Future[Exporter] = Future()

    def start() -> None:
        try:
            made.set_result(Exporter(config, failed=lambda: orders.give(Order.FAILED)))
        except BaseException as error:  # noqa: BLE001 (the thread's edge: whoever waits for it raises it)
            made.set_exception(error)
        orders.give(Order.STARTED)

    threading.Thread(target=start, name="start", daemon=True).start()
    return made.result() if orders.next(Order.END, Order.STARTED) is Order.STARTED else None


def _reload(exporter: Exporter, argv: Sequence[str] | None) -> None:
    try:
        exporter.reconfigure(parse(argv))
    except UsageError as error:
        said = str(error)
        file = exporter.config.file
        where = "" if file is None or said.startswith(f"{file}: ") else f"{file}: "
        _LOG.error("the new settings are of no use, the old ones stay: %s%s", where, said)  # flags cannot have changed


if __name__ == "__main__":
    sys.exit(main())
