"""Many clients, a third of which leave early: all places come back and the metrics add up."""

import json
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from perjoule.metrics import REQUEST_OUTCOMES
from perjoule_server.config import ServerConfig
from tests.server.fakes import EchoTask, Running, eventually, running, spec

TASK = "text-classification"
REQUESTS = 600


def leave_early(server: Running, number: int) -> None:
    """Send a whole request and reset the connection without reading."""
    body = json.dumps({"inputs": f"leaver {number}"}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset instead of goodbye
        client.sendall(
            f"POST /v1/tasks/{TASK} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        )


def test_early_leavers_cost_nobody_anything() -> None:
    """The others are all answered, each request that arrived has one outcome, and nothing is left over."""
    task = EchoTask(max_batch=4)

    def visit(number: int) -> int | None:
        if number % 3 == 0:
            leave_early(server, number)
            return None
        return server.infer(TASK, f"stayer {number}").status

    with running([spec(TASK)], lambda _: task, ServerConfig(queue=64)) as server:
        with ThreadPoolExecutor(24) as pool:
            statuses = [status for status in pool.map(visit, range(REQUESTS)) if status is not None]
        eventually(lambda: server.metric("inference_in_flight") == 0)
        assert statuses == [200] * (REQUESTS * 2 // 3)
        counted = {each: server.metric("inference_requests_total", outcome=each) for each in REQUEST_OUTCOMES}
        # A reset may overtake its request inside the kernel, which then never reached the server.
        assert len(statuses) <= sum(counted.values()) <= REQUESTS
        assert counted["ok"] + counted["cancelled"] == sum(counted.values())
        assert counted["ok"] >= len(statuses)
        assert server.metric("inference_queue_depth") == 0
        assert server.metric("inference_batch_size_sum") <= sum(counted.values())
