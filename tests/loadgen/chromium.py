"""Headless Chromium through its DevTools protocol: opens a page, says what its console said, and answers questions."""

import asyncio
import base64
import json
import subprocess
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import required_program

_DEADLINE_SECONDS = 30


class Tab:
    """One page in one browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number = socket, 0
        self.complaints: list[str] = []
        self.fetched: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; what the page complains of meanwhile is kept."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            said = await self._socket.receive_json(timeout=_DEADLINE_SECONDS)
            if said.get("id") == self._number:
                assert "error" not in said, said
                found: dict[str, Any] = said["result"]
                return found
            self._event(said)

    def _event(self, said: dict[str, Any]) -> None:
        what, parameters = said["method"], said["params"]
        if what == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        if what == "Log.entryAdded" or (
            what == "Runtime.consoleAPICalled" and parameters["type"] in {"error", "warning"}
        ):
            self.complaints.append(json.dumps(parameters))
        if what == "Network.requestWillBeSent":
            self.fetched.append(parameters["request"]["url"])

    async def open(self, url: str, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Open ``url`` on a screen of this size and wait until it has run."""
        for domain in ("Runtime", "Log", "Network", "Page"):
            await self.call(f"{domain}.enable")
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                        mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call("Page.navigate", url=url)
        until = time.monotonic() + _DEADLINE_SECONDS
        while await self.ask("document.readyState + location.protocol") != f"complete{url.split('/', 1)[0]}":
            assert time.monotonic() < until, "the page does not load"
            await asyncio.sleep(0.02)

    async def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def mouse(self, kind: str, x: float, y: float) -> None:
        """Move, press or release the mouse."""
        button = "none" if kind == "mouseMoved" else "left"
        await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    async def picture(self) -> bytes:
        """Return a PNG of the whole page."""
        found = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])


def in_browser(folder: Path, script: Callable[[Tab], Coroutine[Any, Any, None]]) -> None:
    """Start Chromium with its profile in ``folder``, run ``script`` with a tab, and end it by its own process."""
    binary = required_program("chromium", "chromium")
    profile = folder / "profile"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={profile}"]  # fmt: skip
    with (folder / "chromium.log").open("w") as log:
        process = subprocess.Popen([binary, *flags, "about:blank"], stdout=log, stderr=log)
    try:
        asyncio.run(_run(_port(profile / "DevToolsActivePort"), script))
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _port(told: Path) -> int:
    until = time.monotonic() + _DEADLINE_SECONDS
    while not (told.exists() and "\n" in told.read_text()):
        assert time.monotonic() < until, "Chromium does not start"
        time.sleep(0.05)
    return int(told.read_text().splitlines()[0])


async def _run(port: int, script: Callable[[Tab], Coroutine[Any, Any, None]]) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json") as reply:
            (tab,) = [each for each in await reply.json() if each["type"] == "page"]
        async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            await script(Tab(socket))
