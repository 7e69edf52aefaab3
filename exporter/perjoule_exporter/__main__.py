"""``gpu-energy-exporter``: the command line's edge. Flags in, one line for an error, an exit code out.

Exit codes: 0 ended by a signal, 1 failed, 2 a setting that cannot be honoured.
"""

import signal
import sys
import threading
from collections.abc import Sequence

from perjoule.errors import PerjouleError
from perjoule_exporter.config import PROGRAM, Config, parse
from perjoule_exporter.logs import start_logging
from perjoule_exporter.program import Exporter


def main(argv: Sequence[str] | None = None) -> int:
    """Run the exporter until SIGTERM or SIGINT and return its exit code."""
    try:
        config = parse(argv)
        start_logging(config.log_level)
        return _run_until_signal(config)
    except PerjouleError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code


def _run_until_signal(config: Config) -> int:
    ended, failed = threading.Event(), threading.Event()

    def fail() -> None:
        failed.set()
        ended.set()

    # From the first moment, so that a signal during the start ends the program as well.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    exporter = Exporter(config, fail)
    ended.wait()
    exporter.close()
    return 1 if failed.is_set() else 0


if __name__ == "__main__":
    sys.exit(main())
