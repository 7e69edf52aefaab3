"""A server in a process of its own whose one model takes a given time for each request, one at a time.

    python -m tests.server.soak.slow_server SECONDS QUEUE

Its log on stderr begins with the address. SIGTERM ends it as it ends the real program.
"""

import sys
import time
from collections.abc import Sequence

from perjoule.errors import PerjouleError
from perjoule_server.config import ServerConfig
from perjoule_server.energy import Device
from perjoule_server.program import Process, listen, set_up_logging
from perjoule_server.tasks.base import ENCODE, Prepared, RawOutput, Work
from tests.server.fakes import EchoTask, spec


class SlowTask(EchoTask):
    """Echoes, and keeps the device busy for ``seconds`` a request."""

    seconds = 0.05

    def run(self, batch: Sequence[Prepared], work: Work) -> Sequence[RawOutput]:
        with work.phase(ENCODE, [1] * len(batch)):
            time.sleep(self.seconds * len(batch))
        return [RawOutput(prepared.payload.upper()) for prepared in batch]


def main(seconds: float, queue: int) -> int:
    """Serve until a signal; return the exit code."""
    task = SlowTask(max_batch=1)
    task.seconds = seconds
    set_up_logging("info")
    with listen("127.0.0.1", 0) as listener:
        try:
            config = ServerConfig(queue=queue, span_socket="/nonexistent/spans.sock")
            Process(config, [spec("text-classification")], Device("cpu", "cpu-slow"), lambda _: task).run(listener)
        except PerjouleError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
