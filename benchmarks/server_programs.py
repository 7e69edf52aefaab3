"""The compared servers as processes: how each is started on a model's files, asked, frozen while others run, and ended.

It knows flags, routes and bodies. What is measured of a server is for those who ask.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.driver import ROOT
from benchmarks.peers import Peer
from benchmarks.programs import Program, ProgramError
from benchmarks.scraping import free_port
from benchmarks.server_client import OK, ClientError, Reply, http_request, open_loop
from benchmarks.server_environments import LITSERVE, MOSEC, NAIVE, RAY, TRANSFORMERS
from benchmarks.server_peers.work import NEW_TOKENS, STEPS

OURS = "inference-server"
START_SECONDS = 60.0

MAX_BATCH: Mapping[str, int] = {"text-classification": 64, "text-generation": 32, "text-to-image": 8}
"""Largest batch of ours, and so of every peer that batches."""

WAIT_SECONDS: Mapping[str, float] = {LITSERVE: 0.002, MOSEC: 0.002, RAY: 0.002}
"""How long a batching peer waits for company. Ours does not wait."""

BATCHING = (LITSERVE, MOSEC, RAY)

PARAMETERS: Mapping[str, dict[str, int]] = {
    "text-classification": {},
    "text-generation": {"max_new_tokens": NEW_TOKENS},
    "text-to-image": {"num_inference_steps": STEPS},
}

SHARED = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": str(ROOT),
}
"""The environment of every server: one thread for an operation."""


@dataclass(frozen=True, slots=True)
class Server:
    """A started server and how it is asked for one task."""

    name: str
    program: Program
    port: int
    path: str
    task: str

    def request(self, text: str) -> bytes:
        """Return the whole request for a text or prompt."""
        body: dict[str, Any] = {"inputs": text, "parameters": PARAMETERS[self.task]}
        if self.name == TRANSFORMERS:
            body = {"prompt": text, "max_tokens": NEW_TOKENS, "temperature": 0.0}
        return http_request(self.path, json.dumps(body).encode())

    def ask(self, text: str) -> Reply:
        """Ask once, over a connection of its own.

        Raises:
            ClientError: no answer.
        """
        return open_loop(self.port, [self.request(text)], [0.0], connections=1).replies[0]

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let a frozen server run, and freeze it again."""
        self.thaw()
        try:
            yield
        finally:
            self.freeze()

    def freeze(self) -> None:
        """Stop it where it is, so that it takes nothing from who is measured."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.program.pids():
            with suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(pid, number)

    def stop(self) -> None:
        """End it with all its children."""
        self.thaw()
        left = self.program.pids()
        self.program.stop()
        for pid in left:  # what has left the process group
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def start(peer: Peer | None, task: str, models: Path, logs: Path) -> Server:
    """Start ours, or a peer, on the model of ``task`` below ``models``; return it when it answers.

    Raises:
        ProgramError: it does not; the message has the end of its log.
    """
    port = free_port()
    name = peer.name if peer is not None else OURS
    if peer is None:
        command, more, path = _ours(task, models, logs, port)
    else:
        command, more, path = _peer(peer, task, models / task, port)
    program = Program(name, command, SHARED | more, logs / f"{name.replace(' ', '-')}-{task}.log")
    server = Server(name, program, port, path, task)
    try:
        _wait(server)
    except ProgramError:
        server.stop()
        raise
    return server


_Start = tuple[Sequence[str], dict[str, str], str]


def _ours(task: str, models: Path, logs: Path, port: int) -> _Start:
    file = logs / f"ours-{task}.toml"
    file.write_text(f'[[model]]\nid = "bench"\ntask = "{task}"\nsource = "{models / task}"\n', encoding="utf-8")
    command = [sys.executable, "-m", "perjoule_server", "--models", str(file), "--tasks", task, "--device", "cpu",
               "--port", str(port)]  # fmt: skip
    return command, {"PYTHONPATH": f"{ROOT}:{ROOT / 'server'}"}, f"/v1/tasks/{task}"


def _peer(peer: Peer, task: str, folder: Path, port: int) -> _Start:
    python = str(peer.python)
    told = {
        "PEER_TASK": task,
        "PEER_FOLDER": str(folder),
        "PEER_PORT": str(port),
        "PEER_MAX_BATCH": str(MAX_BATCH[task]),
        "PEER_WAIT_SECONDS": str(WAIT_SECONDS.get(peer.name, 0.0)),
    }
    if peer.name == TRANSFORMERS:
        serve = [str(peer.python.with_name("transformers")), "serve", str(folder), "--host", "127.0.0.1", "--device",
                 "cpu", "--dtype", "float32", "--log-level", "error", "--port", str(port)]  # fmt: skip
        return serve, {}, "/v1/completions"
    module = [python, "-m", f"benchmarks.server_peers.{_MODULES[peer.name]}"]
    if peer.name == MOSEC:
        return (
            [
                *module,
                "--address",
                "127.0.0.1",
                "--port",
                str(port),
                "--log-level",
                "warning",
                "--timeout",
                str(_MOSEC_MILLISECONDS),
            ],
            told,
            "/inference",
        )
    return module, told, "/predict"


_MOSEC_MILLISECONDS = 60_000  # after three seconds, its default, a request under way is answered 408

_MODULES = {NAIVE: "naive", LITSERVE: "litserve_server", MOSEC: "mosec_server", RAY: "ray_server"}


def _wait(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if not server.program.alive():
            raise server.program.failed("ended while it started")
        with suppress(ClientError):  # nobody listens yet
            if server.ask("The council met.").status == OK:
                return
        time.sleep(0.25)
    raise server.program.failed(f"no answer after {START_SECONDS:g} s")
