"""Measures one task on all servers, in turn: closed loops, then an open one at a rate that all must bear.

Only the server that is asked runs; the others are frozen. What the figures are worth is ``server_tables``'s business.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.driver import ROOT
from benchmarks.peers import Peer, say
from benchmarks.programs import Program, ProgramError
from benchmarks.scrape_cost import quiet_collector
from benchmarks.scraping import Scraper
from benchmarks.server_client import ClientError, Window, closed, open_loop
from benchmarks.server_environments import TRANSFORMERS
from benchmarks.server_load import Load, agree, answer, arrivals, batches, texts
from benchmarks.server_programs import OURS, SHARED, Server, start
from benchmarks.summary import median

CONCURRENCIES = (1, 16, 64)
BATCHED = (16, 64)
"""Where batches are expected, and compared with a loop over the same ones."""

TEXTS = 512
SEED = 20231128
SHARE = 0.7
"""Of the best peer's capacity, for the open loop."""

_LEAST, _MOST_SECONDS = 250, 20.0
_PROBE = "the council met by the lake"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often; ``folder`` holds the models and takes logs."""

    folder: Path
    peers: Mapping[str, Peer]
    rounds: int
    warm_seconds: float
    seconds: float
    open_seconds: float


@dataclass(frozen=True, slots=True)
class Layer:
    """CPU seconds per request of our server, and of two loops over the very batches that it made."""

    server: float
    tasks: float
    plain: float
    batch: float


@dataclass(slots=True)
class Found:
    """Everything that was measured of one task, round by round."""

    task: str
    closed: dict[tuple[str, int], list[Load]] = field(default_factory=lambda: defaultdict(list))
    open: dict[str, list[Load]] = field(default_factory=lambda: defaultdict(list))
    layer: dict[int, list[Layer]] = field(default_factory=lambda: defaultdict(list))
    useful: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    differing: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    client_cpu: list[float] = field(default_factory=list)
    open_rate: float = 0.0

    @property
    def servers(self) -> list[str]:
        """Return who was measured, ours first."""
        return [name for name in dict.fromkeys(name for name, _ in self.closed) if name not in self.missing]

    def capacity(self) -> float:
        """Return the most requests a second that a peer answered, as the median of the rounds; ours without peers."""
        names = [name for name in self.servers if name != OURS] or [OURS]
        return max(median([each.rate for each in self.closed[name, c]]) for name in names for c in CONCURRENCIES)


def measure(plan: Plan, task: str) -> Found:
    """Measure one task.

    Raises:
        ProgramError: ours does not start or answer.
    """
    found = Found(task)
    with ExitStack() as stack:
        servers = _started(plan, found, stack)
        loop = stack.enter_context(_loop(plan, task))
        sequence = texts(task, TEXTS, SEED)
        for number in range(plan.rounds):
            say(f"{task}: round {number + 1} of {plan.rounds}")
            for server in _turn(found, servers, number):
                with _guarded(found, server):
                    _closed(plan, found, server, sequence, loop)
        found.open_rate = SHARE * found.capacity()
        for number in range(plan.rounds):
            say(f"{task}: {found.open_rate:.0f} requests a second, round {number + 1} of {plan.rounds}")
            for server in _turn(found, servers, number):
                with _guarded(found, server):
                    _open(plan, found, server, sequence, number)
    return found


def _turn(found: Found, servers: Sequence[Server], number: int) -> list[Server]:
    """Return the servers that have not failed, from another first one in each round."""
    there = [server for server in servers if server.name not in found.missing]
    place = number % len(there)
    return [*there[place:], *there[:place]]


@contextmanager
def _guarded(found: Found, server: Server) -> Iterator[None]:
    """Let a server run; a peer that fails is left out of the tables, and told."""
    try:
        with server.awake(), quiet_collector():
            yield
    except ClientError as error:
        if server.name == OURS:
            raise server.program.failed(str(error)) from error
        found.missing[server.name] = str(error)
        say(f"{server.name} is left out of {found.task}: {error}")


def _started(plan: Plan, found: Found, stack: ExitStack) -> list[Server]:
    servers: list[Server] = []
    for peer in (None, *plan.peers.values()):
        if peer is not None and peer.name == TRANSFORMERS and found.task != "text-generation":
            continue
        name = OURS if peer is None else peer.name
        say(f"{found.task}: starting {name} ...")
        try:
            server = start(peer, found.task, plan.folder, plan.folder)
        except ProgramError as error:
            if peer is None:
                raise
            found.missing[name] = str(error).splitlines()[0].removeprefix(f"{name}: ")
            say(str(error))
            continue
        stack.callback(server.stop)
        servers.append(server)
        _compare(found, servers[0], server)
        with server.awake():  # and frozen afterwards
            continue
    return servers


def _compare(found: Found, ours: Server, server: Server) -> None:
    if server is ours:
        return
    with ours.awake():
        expected, told = answer(ours.ask(_PROBE)), answer(server.ask(_PROBE))
    if not agree(expected, told):
        found.differing[server.name] = f"{told}, not {expected}"


def _closed(plan: Plan, found: Found, server: Server, sequence: Sequence[str], loop: Program) -> None:
    requests = [server.request(text) for text in sequence]
    for concurrency in CONCURRENCIES:
        before = _tokens(server)
        seconds = (plan.warm_seconds, plan.seconds)
        window = closed(server.port, requests, concurrency, seconds, server.program.cpu_seconds)
        found.closed[server.name, concurrency].append(Load.of(window, with_cpu=True))
        found.client_cpu.append(window.client_cpu_seconds / len(window.replies))
        if server.name != OURS:
            continue
        after = _tokens(server)
        found.useful[concurrency].append(_useful(before, after))
        if concurrency in BATCHED:
            server.freeze()
            found.layer[concurrency].append(_layer(window, sequence, loop))
            server.thaw()


def _open(plan: Plan, found: Found, server: Server, sequence: Sequence[str], number: int) -> None:
    requests = [server.request(text) for text in sequence]
    count = round(found.open_rate * min(max(plan.open_seconds, _LEAST / found.open_rate), _MOST_SECONDS))
    closed(server.port, requests, 4, (plan.warm_seconds, plan.warm_seconds), server.program.cpu_seconds)  # awake again
    window = open_loop(server.port, requests, arrivals(found.open_rate, count, SEED + number))
    found.open[server.name].append(Load.of(window, with_cpu=False))


_KINDS = ("input", "output", "padding")


def _tokens(server: Server) -> dict[str, float]:
    """Return our server's token counters; nothing of another's."""
    if server.name != OURS:
        return {}
    scraper = Scraper(server.port, as_prometheus=False)
    scraped = scraper.scrape()
    scraper.close()
    return {kind: scraped.of("inference_tokens_total", kind=kind) or 0.0 for kind in _KINDS}


def _useful(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Return useful tokens over all tokens that the device computed."""
    grown = {kind: after[kind] - before[kind] for kind in _KINDS}
    return (grown["input"] + grown["output"]) / sum(grown.values())


def _layer(window: Window, sequence: Sequence[str], loop: Program) -> Layer:
    made = batches(window.replies)
    told = ask(loop, {"texts": list(sequence), "batches": made})
    requests = sum(map(len, made))
    server = (window.edges[1] - window.edges[0]) / len(window.replies)
    return Layer(server, told["tasks"] / requests, told["plain"] / requests, requests / len(made))


def ask(program: Program, question: Any) -> dict[str, float]:
    """Send a line to a program and return the one that comes back.

    Raises:
        ProgramError: it has ended.
    """
    into, out = program.process.stdin, program.process.stdout
    if into is None or out is None:
        raise program.failed("was started without pipes")
    into.write(json.dumps(question) + "\n")
    into.flush()
    line = out.readline()
    if not line:
        raise program.failed("ended")
    told: dict[str, float] = json.loads(line)
    return told


@contextmanager
def _loop(plan: Plan, task: str) -> Iterator[Program]:
    command = [sys.executable, "-m", "benchmarks.server_loop", task, str(plan.folder / task)]
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'server'}"}
    program = Program("the loop", command, SHARED | paths, plan.folder / f"loop-{task}.log", talks=True)
    try:
        yield program
    finally:
        program.stop()
