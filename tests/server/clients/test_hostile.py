"""No body, however wrong, is answered 500, and the server serves on: by OpenAI's shapes and by the tasks' own.

schemathesis makes requests of the API's description, right and wrong ones. The other bodies break parsers
and decoders; ``HOSTILE_BODIES`` is how many of them each route gets. ``benchmarks/server_soak.py`` sends more.
"""

import json
import os
import random
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from tests.server.fakes import Running
from tests.server.hostile import ANSWERS, TYPES, VALID, hostile

BODIES = int(os.environ.get("HOSTILE_BODIES", "100"))

EXAMPLES = 15
"""Requests that schemathesis makes of each operation, right ones and as many wrong ones."""


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(path, method) for path, methods in document["paths"].items() for method in methods]


def test_schemathesis_finds_no_failure(served: Running) -> None:
    """Whatever is made of the description is answered as described, and never with 500."""
    document = served.get("/openapi.json").json
    schema = schemathesis.openapi.from_dict(document)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance]
    tried = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        # Without a body there is nothing that could be wrong.
        for mode in list(schemathesis.GenerationMode) if operation.body else [schemathesis.GenerationMode.POSITIVE]:

            @seed(20_240_603)
            @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                nonlocal tried
                tried += 1
                # Not by its own transport, which cannot do with the urllib3 that comes with Grafana's client.
                reply = requests.request(**case.as_transport_kwargs(base_url=served.url), timeout=60)
                case.validate_response(reply, checks=checks)

            ask()
    assert tried > EXAMPLES * len(operations(document)) / 2
    assert served.infer("text-classification", "still here").status == 200


@pytest.mark.parametrize("path", VALID)
def test_hostile_bodies_are_no_errors(served: Running, path: str) -> None:
    """Each is answered, by 200 or by what is wrong with it, in the shape of every error; the right ones still pass."""
    dice = random.Random(path)  # noqa: S311 (the same bodies each time)
    for number in range(BODIES):
        body = hostile(dice, path)
        kind = dice.choice(TYPES)
        reply = served.request("POST", path, body, content_type=kind, x_timeout_ms="60000")
        assert reply.status in ANSWERS, (number, kind, body[:2000], reply.body)
        if reply.status != 200:
            assert {"code", "message", "request_id"} <= reply.json["error"].keys()
    reply = served.request("POST", path, json.dumps(VALID[path]).encode(), content_type="application/json")
    assert reply.status == 200
