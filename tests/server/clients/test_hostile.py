"""No body, however wrong, is answered 500, and the server serves on: by OpenAI's shapes and by the tasks' own.

schemathesis makes requests of the API's description, right and wrong ones. The bodies below it are those that break
parsers and decoders; ``HOSTILE_BODIES`` is how many of them each route gets.
"""

import base64
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

from perjoule.workloads import WORKLOADS, Modality
from perjoule_server import samples
from perjoule_server.adapters.routes import ROUTES
from tests.server.fakes import Running

BODIES = int(os.environ.get("HOSTILE_BODIES", "100"))

EXAMPLES = 15
"""Requests that schemathesis makes of each operation, right ones and as many wrong ones."""

VALID: dict[str, Any] = {f"/v1/tasks/{task}": samples.body(task) for task in WORKLOADS}
VALID |= {route.path: dict(next(iter(route.examples.values()))) for route in ROUTES}

ANSWERS = {200, 404, 413, 422}


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


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**63, -(2**63), 10**400, 1e308, -1e-308, 0.5, "", " ", "\0", "a\0b", "NaN", "\u202e",
    "é" * 50, "😀" * 20, "\ufffd", "\ud800", "x" * 5000, "../../etc/passwd", "file:///etc/hostname",
    "http://127.0.0.1:1/x.png", "data:image/png;base64,", "data:,x", "====", [], [[]], {}, {"": {}}, ["a"], [None],
    [1, "a"], {"type": "text"}, [{"role": "user"}], "auto", "1x1", "99999x99999", "-1x5", [""] * 20,
    {"include_usage": 3},
)  # fmt: skip


MORE = ("top_k", "stop", "seed", "model", "stream", "n", "x", "parameters", "")


def mutated(dice: random.Random, value: Any, depth: int = 0) -> Any:
    """Return ``value`` with something in it replaced, left out, added, repeated or wrapped."""
    if isinstance(value, dict) and value and depth < 4 and dice.random() < 0.85:
        name = dice.choice(list(value))
        other = {**value, name: mutated(dice, value[name], depth + 1)}
        if dice.random() < 0.15:
            del other[name]
        if dice.random() < 0.2:
            other[dice.choice(["top_k", "stop", "seed", "model", "stream", "n", "x", "parameters", ""])] = dice.choice(
                ODD
            )
        return other
    if isinstance(value, list) and value and dice.random() < 0.6:
        return [mutated(dice, one, depth + 1) for one in value] * dice.choice([1, 1, 2, 50])
    if isinstance(value, str) and value and dice.random() < 0.4:
        place = dice.randrange(len(value))
        return value[:place] + str(dice.choice(ODD)) + value[place + dice.randrange(3) :]
    return dice.choice(ODD)


def media(dice: random.Random, path: str) -> bytes:
    """Return an image or recording that is cut off, overwritten in places, or the other kind."""
    task = WORKLOADS.get(path.rpartition("/")[2])
    whole = samples.wav() if task is not None and task.input is Modality.AUDIO else samples.png()
    if dice.random() < 0.1:
        whole = samples.png() if whole == samples.wav() else samples.wav()
    raw = bytearray(whole[: dice.randrange(1, len(whole) + 1)])
    for _ in range(dice.randrange(8)):
        raw[dice.randrange(len(raw))] = dice.randrange(256)
    return bytes(raw)


def mangled(dice: random.Random, path: str) -> bytes:
    """Return a right body whose text was broken somewhere."""
    whole = json.dumps(VALID[path], ensure_ascii=False)
    name, depth = dice.choice(list(VALID[path])), dice.choice([50, 2_000, 100_000])
    number = dice.choice(["NaN", "Infinity", "-Infinity", "1e999", "0x1", "01"])
    quote = dice.choice(["'", "", '""', '"\\ud83d', '"\\u0000'])
    texts = (
        whole[: dice.randrange(len(whole))],
        whole.replace('"', quote, dice.randrange(1, 6)),
        f'{{"{name}": ' + dice.choice(["[", '{"a":']) * depth,
        f'{whole[:-1]}, "x": {number}}}',
    )
    return dice.choice(texts).encode()


def hostile(dice: random.Random, path: str) -> bytes:
    """Return one body."""
    kind = dice.random()
    if kind < 0.55:
        return json.dumps(mutated(dice, VALID[path]), ensure_ascii=dice.random() < 0.5).encode(errors="surrogatepass")
    if kind < 0.85:
        return mangled(dice, path)
    raw = media(dice, path) if kind < 0.95 else dice.randbytes(dice.randrange(1, 500))
    return json.dumps({**VALID[path], "inputs": base64.b64encode(raw).decode()}).encode() if kind < 0.9 else raw


@pytest.mark.parametrize("path", VALID)
def test_hostile_bodies_are_no_errors(served: Running, path: str) -> None:
    """Each is answered, by 200 or by what is wrong with it, in the shape of every error; the right ones still pass."""
    dice = random.Random(path)  # noqa: S311 (the same bodies each time)
    for number in range(BODIES):
        body = hostile(dice, path)
        kind = dice.choice(["application/json", "application/json", "", "application/octet-stream", "image/png"])
        reply = served.request("POST", path, body, content_type=kind, x_timeout_ms="60000")
        assert reply.status in ANSWERS, (number, kind, body[:2000], reply.body)
        if reply.status != 200:
            assert {"code", "message", "request_id"} <= reply.json["error"].keys()
    reply = served.request("POST", path, json.dumps(VALID[path]).encode(), content_type="application/json")
    assert reply.status == 200
