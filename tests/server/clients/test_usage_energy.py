"""What ``usage`` says of joules, with the real exporter beside the server: the program, on a simulated GPU."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.exporter.running import RunningExporter
from tests.exporter.span_books import GPU
from tests.server.clients.test_streams import LetterTask, Reader
from tests.server.energy_fakes import telling
from tests.server.fakes import Running, eventually, running, spec


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Running]:
    """A server that writes letters, and whose spans the exporter takes."""
    socket = tmp_path / "s.sock"
    exporter = RunningExporter(tmp_path / "exporter.log", "--meter", "simulated", "--span.socket", str(socket)).ready()
    task = LetterTask()
    task.steps.release(10**6)
    try:
        with running([spec("text-generation")], lambda _: task, telling(socket), device=None) as server:
            eventually(lambda: server.get("/v1/models").json["data"][0]["device"] == GPU)
            yield server
    finally:
        exporter.kill()


def energy(server: Running, name: str) -> Any:
    return server.get(f"/v1/requests/{name}/energy").json


def test_a_stream_ends_with_its_settled_joules(measured: Running) -> None:
    """With ``x-energy: settled`` the last chunk's usage has what the exporter charged the request."""
    for number in range(20):
        name = f"stream-{number}"
        *_, last, done = Reader(measured, "some letters" * 50, **{"x-energy": "settled", "x-request-id": name}).events()
        assert done == "[DONE]"
        if last["usage"]["energy_quality"] == "settled":
            break
    assert last["usage"]["energy_quality"] == "settled"
    assert last["usage"]["energy_joules"] == energy(measured, name)["joules"] > 0


def test_choices_add_up(measured: Running) -> None:
    """The usage of an answer with several choices is the sum of theirs, and the header says the same."""
    body = json.dumps({"prompt": ["many letters " * 40] * 2, "n": 2}).encode()
    for number in range(20):
        reply = measured.request("POST", "/v1/completions", body, x_energy="settled", x_request_id=f"choices-{number}")
        told = reply.json["usage"]
        if told["energy_quality"] == "settled":
            break
    assert told["energy_quality"] == reply.headers["x-energy-quality"] == "settled"
    assert told["energy_joules"] == float(reply.headers["x-energy-joules"]) > 0
    assert told["completion_tokens"] == 4 * 13 * 40
