"""``gpu-energy-exporter``: the command line's edge. Flags in, one line for an error, an exit code out.

Exit codes: 0 ended by a signal, 1 failed, 2 a setting that cannot be honoured.
"""

import signal
import sys
from collections.abc import Sequence
from queue import SimpleQueue

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
    # A simple queue may be put to from a signal handler at any moment; a lock that the handler finds held may not.
    exit_codes: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: exit_codes.put(0))
    exporter = Exporter(config, failed=lambda: exit_codes.put(1))
    code = exit_codes.get()
    exporter.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
