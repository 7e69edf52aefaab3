"""The same requests by locust's FastHttpUser, its quickest; prints what they cost when it stops."""

import json
import os
import time
from typing import Any

from locust import FastHttpUser, constant_throughput, events, task

_EACH = float(os.environ.get("EACH_PER_SECOND", "0"))
_BODY = json.dumps({"inputs": "A fine film, and long enough to be a sentence of its own.", "parameters": {}})
_edge: dict[str, float] = {}


class Caller(FastHttpUser):
    """One user: at a rate of its own, or without a pause."""

    if _EACH:
        wait_time = constant_throughput(_EACH)

    @task
    def classify(self) -> None:
        """Send one request and hold its answer against the shape, as ours does."""
        path = "/v1/tasks/text-classification"
        with self.client.post(
            path, data=_BODY, headers={"content-type": "application/json"}, catch_response=True
        ) as reply:
            if "label" not in json.loads(reply.text)[0][0]:
                reply.failure("another shape")


@events.spawning_complete.add_listener
def begun(**_: Any) -> None:
    """All users are there: what was before is not counted."""
    _edge.update(cpu=time.process_time(), at=time.monotonic())


@events.quitting.add_listener
def ended(environment: Any, **_: Any) -> None:
    """Print requests, failures and CPU since ``begun``; locust resets its own counts there (--reset-stats)."""
    total = environment.stats.total
    print("RESULT " + json.dumps({
        "requests": total.num_requests - total.num_failures, "errors": total.num_failures,
        "cpu_seconds": time.process_time() - _edge["cpu"], "seconds": time.monotonic() - _edge["at"],
    }), flush=True)  # fmt: skip
