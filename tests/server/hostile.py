"""Bodies that break parsers and decoders: right ones with something in them wrong, by a seed. Pure."""

import base64
import json
import random
from typing import Any

from perjoule.workloads import WORKLOADS, Modality
from perjoule_server import samples
from perjoule_server.adapters.routes import ROUTES

VALID: dict[str, Any] = {f"/v1/tasks/{task}": samples.body(task) for task in WORKLOADS}
VALID |= {route.path: dict(next(iter(route.examples.values()))) for route in ROUTES}

ANSWERS = {200, 404, 413, 422}
"""Statuses that a hostile body may get."""

TYPES = ("application/json", "application/json", "", "application/octet-stream", "image/png")
"""Content types that hostile bodies are sent with."""

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
            other[dice.choice(MORE)] = dice.choice(ODD)
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
