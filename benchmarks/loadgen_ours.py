"""Our load generator's sending by itself, with the bare sleep loop that its dispatch is held against. Prints JSON.

    loadgen_ours.py closed URL SECONDS CONCURRENCY
    loadgen_ours.py open URL SECONDS RATE
    loadgen_ours.py sleep - SECONDS RATE

The code is that of a run, with its inputs, checks and records; meter, display and files are not in it.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop

from perjoule_loadgen.client import new_session
from perjoule_loadgen.config import Arrival, Config, Shard
from perjoule_loadgen.dialect import Ask
from perjoule_loadgen.driving import STEADY, Job, drive, route_to
from perjoule_loadgen.inputs import load_inputs
from perjoule_loadgen.load import Load
from perjoule_loadgen.ours import Ours
from perjoule_loadgen.sketch import Sketch

TASK = "text-classification"


async def load(config: Config, seconds: float) -> dict[str, Any]:
    """Drive the stub and return what it cost."""
    items = [Ours().prepare(item, Ask(TASK, {})) for item in load_inputs(TASK, None)]
    async with new_session(10.0) as session:
        job = Job(config, route_to(config, TASK, items, stream=False), STEADY, seconds, 0, Shard())
        warm = Load()
        await drive(session, time.monotonic, Job(config, job.route, "warm-up", 0.5, 0, Shard()), warm, None)
        made, cpu, began = Load(), time.process_time(), time.monotonic()
        await drive(session, time.monotonic, job, made, None)
        used, took = time.process_time() - cpu, time.monotonic() - began
    lags = Sketch(result.sent - result.intended for result in made.results)
    return {"requests": made.ok, "errors": len(made.results) - made.ok, "scheduled": made.scheduled,
            "cpu_seconds": used, "seconds": took, "lag_p99": lags.percentile(99)}  # fmt: skip


async def sleep(rate: float, seconds: float) -> dict[str, Any]:
    """Sleep to each time of the same schedule and return how late that was."""
    began, lags = time.monotonic(), Sketch()
    for number in range(int(rate * seconds)):
        at = began + number / rate
        if (wait := at - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        lags.add(time.monotonic() - at)
    return {"lag_p99": lags.percentile(99)}


def main(argv: Sequence[str]) -> None:
    """Run one part and print what it came to."""
    kind, url, seconds, amount = argv[0], argv[1], float(argv[2]), float(argv[3])
    if kind == "sleep":
        found = uvloop.run(sleep(amount, seconds))
    elif kind == "closed":
        found = uvloop.run(load(Config((TASK,), target=url, concurrency=int(amount)), seconds))
    else:
        found = uvloop.run(load(Config((TASK,), target=url, arrival=Arrival.CONSTANT, rate=amount), seconds))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
