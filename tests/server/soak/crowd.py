"""Many light clients on raw sockets, and the processes that they ask."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.server.fakes import PATIENCE, Running, eventually

TASK = "text-classification"


@dataclass(frozen=True)
class Told:
    """What one client saw: the status of its answer, 0 without one, and how long it waited."""

    status: int
    seconds: float
    retry_after: float | None = None


async def ask(port: int, text: str, *, leave_after: float | None = None, timeout_ms: int = 60_000) -> Told:
    """Send one request and read its answer, or close the connection after ``leave_after`` seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    body = json.dumps({"inputs": text}).encode()
    head = (
        f"POST /v1/tasks/{TASK} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-timeout-ms: {timeout_ms}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return Told(0, loop.time() - began)
    try:
        writer.write(head.encode() + body)
        await writer.drain()
        if leave_after is not None:
            await asyncio.sleep(leave_after)
            return Told(0, loop.time() - began)
        answer = await reader.read()
    except ConnectionError:
        return Told(0, loop.time() - began)
    finally:
        writer.close()
    status = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    later = re.search(rb"\r\nretry-after: (\d+)", answer.lower())
    return Told(int(status[1]) if status else 0, loop.time() - began, float(later[1]) if later else None)


class Served:
    """A server in a process of its own."""

    def __init__(self, log: Path, command: Sequence[str]) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stderr=file, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        self.server = Running(None, self._port())  # type: ignore[arg-type]  # only its HTTP side is used
        eventually(lambda: self.server.ready)

    def _port(self) -> int:
        for _ in range(int(PATIENCE * 20)):
            found = re.search(r"http://127\.0\.0\.1:(\d+)", self.log.read_text())
            if found:
                return int(found[1])
            assert self.process.poll() is None, self.log.read_text()
            threading.Event().wait(0.1)
        raise AssertionError(self.log.read_text())

    @property
    def port(self) -> int:
        return self.server.port

    def rss_bytes(self) -> int:
        """Return the resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def terminate(self) -> int:
        """Ask it to end and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait(PATIENCE)


def tiny_server(folder: Path, name: str, *flags: str) -> Served:
    """Start the program with one tiny model."""
    program = str(Path(sys.executable).with_name("inference-server"))
    return Served(folder / f"{name}.log", [program, "--tasks", TASK, *flags])


def slow_server(folder: Path, seconds: float, queue: int) -> Served:
    """Start a server whose model takes ``seconds`` for each request."""
    command = [sys.executable, "-m", "tests.server.soak.slow_server", str(seconds), str(queue)]
    return Served(folder / "slow.log", command)
