"""Ten thousand hostile bodies for each route of the inference server: does it serve on, and does its memory stay flat?

    make soak                                     or, a hundredth of it:
    .venv/bin/python benchmarks/server_soak.py --scale 0.01

The real program with all tiny models gets bodies of ``tests.server.hostile``, all routes in turn. Each must be answered
by 200 or by what is wrong with it; between them right bodies must be answered 200. The exit code is 1 when something
was not as it should be.
"""

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

if __package__ in {None, ""}:  # called by its file name: its neighbours are found from the repository's root
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.server.fakes import Running
from tests.server.hostile import ANSWERS, TYPES, VALID, hostile
from tests.server.test_program import Program

BODIES = 10_000
"""For each route."""

START_SECONDS = 300.0

READINGS = 10
"""How often the memory is read; growth counts from the second time on, since libraries first fill caches by shape."""

MOST_GROWTH_BYTES = 64 * 2**20
"""What the resident memory may grow by after that: 450 bytes for each body of a whole run. The C library's arenas alone
move by tens of megabytes."""

RIGHT_EVERY = 50
"""Rounds after which each route gets a right body."""


@dataclass
class Found:
    """What came of it."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory, as Linux tells it."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def soak(server: Running, pid: int, bodies: int, seed: int) -> Found:
    """Send ``bodies`` to each route."""
    found, dice = Found(), {path: random.Random(f"{seed} {path}") for path in VALID}  # noqa: S311 (the same each time)
    read_at = {bodies * reading // READINGS for reading in range(1, READINGS + 1)}
    for number in range(bodies):
        for path in VALID:
            _send(server, path, dice[path], found)
            if number % RIGHT_EVERY == 0:
                _send_right(server, path, found)
        if number + 1 in read_at:
            found.resident.append(resident_bytes(pid))
    return found


def _send(server: Running, path: str, dice: random.Random, found: Found) -> None:
    body, kind = hostile(dice, path), dice.choice(TYPES)
    reply = server.request("POST", path, body, content_type=kind, x_timeout_ms="60000")
    found.statuses[reply.status] += 1
    if reply.status not in ANSWERS:
        found.wrong.append(f"{path}: {reply.status} to {kind or 'no type'} {body[:200]!r}")


def _send_right(server: Running, path: str, found: Found) -> None:
    reply = server.request("POST", path, json.dumps(VALID[path]).encode(), content_type="application/json")
    if reply.status != 200:  # noqa: PLR2004 (HTTP's)
        found.wrong.append(f"{path}: {reply.status} to a right body")


def told(found: Found, seconds: float) -> int:
    """Print what came of it and return the exit code."""
    growth = found.resident[-1] - found.resident[1]
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(found.statuses.items()))
    print(f"{sum(found.statuses.values())} bodies on {len(VALID)} routes in {seconds:.0f} s: {statuses}")
    print("resident memory, MiB:", *(f"{resident / 2**20:.0f}" for resident in found.resident))
    for line in found.wrong[:20]:
        print(f"WRONG {line}")
    flat = growth <= MOST_GROWTH_BYTES
    if not flat:
        print(f"WRONG the memory grew by {growth / 2**20:.0f} MiB; {MOST_GROWTH_BYTES / 2**20:.0f} are allowed")
    return 0 if flat and not found.wrong else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and return the exit code."""
    parser = argparse.ArgumentParser(description="Sends the inference server hostile bodies.")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the 10,000 bodies a route (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the bodies (default: %(default)s)")
    flags = parser.parse_args(argv)
    program = Program("--span.socket", "/nonexistent/spans.sock")
    threading.Thread(target=program.process.communicate, daemon=True).start()  # so that its log never fills the pipe
    try:
        _wait(program)
        began = time.monotonic()
        found = soak(program.server, program.process.pid, max(READINGS, round(BODIES * flags.scale)), flags.seed)
        return told(found, time.monotonic() - began)
    finally:
        program.process.terminate()
        program.process.wait(30)


def _wait(program: Program) -> None:
    until = time.monotonic() + START_SECONDS
    while not program.server.ready:
        if program.process.poll() is not None or time.monotonic() > until:
            raise SystemExit("the server did not become ready")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
