"""An inference server and an energy exporter with known truth, on a thread of their own, for end-to-end tests."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from perjoule.spans import Spans

IDLE_WATTS = 50.0
BUSY_WATTS = 150.0
TICK = 0.02
LATE = 0.03
"""A tick stamped T is readable so many seconds after T."""

Answer = Callable[[int, web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Power:
    """Watts over time: idle, plus busy watts while any request is in service. Integrates exactly."""

    began: float = field(default_factory=time.time)
    steps: list[tuple[float, float]] = field(default_factory=list)
    working: int = 0

    def work(self, change: int) -> None:
        """Count a request in (+1) or out (−1) of service."""
        self.working += change
        self.steps.append((time.time(), IDLE_WATTS + (BUSY_WATTS if self.working else 0.0)))

    def watts(self, at: float) -> float:
        """Return the power at ``at``."""
        return next((watts for moment, watts in reversed(self.steps) if moment <= at), IDLE_WATTS)

    def joules(self, until: float) -> float:
        """Return the energy from the beginning to ``until``."""
        total, at, watts = 0.0, self.began, IDLE_WATTS
        for moment, then in list(self.steps):
            if moment >= until:
                break
            total += watts * (moment - at)
            at, watts = moment, then
        return total + watts * max(until - at, 0.0)


@dataclass
class Exporter:
    """An exporter of one board, the server's, and optionally a neighbour.

    Attributes:
        power: the board's truth.
        neighbour: watts of a second board, None for none.
        reset_at: Unix time at which the counter restarts at 0, as an exporter does that does not bridge resets.
        bridged_at: Unix time from which one more reset is counted.
        answers: whether it answers at all.
        method: of ``gpu_info``.
        zone: whether it publishes a carbon factor.
        present: whether the board's series are there.
        started: ``process_start_time_seconds``.
        tells_tick: whether it publishes its update interval.
        tick: seconds between two moves of the counter.
        lead: how far its clock is ahead.
        jump: joules that are added to its counter.
        frozen: joules at which its counter stands, while its time goes on.
    """

    power: Power
    neighbour: float | None = None
    reset_at: float | None = None
    bridged_at: float | None = None
    answers: bool = True
    method: str = "counter"
    zone: bool = True
    present: bool = True
    started: float = 1000.0
    tells_tick: bool = True
    tick: float = TICK
    lead: float = 0.0
    jump: float = 0.0
    frozen: float | None = None

    def text(self) -> str:
        """Return what ``/metrics`` says now."""
        at = int((time.time() - LATE) / self.tick) * self.tick
        joules = self.power.joules(at)
        if self.reset_at is not None and at > self.reset_at:
            joules -= self.power.joules(self.reset_at)
        resets = int(self.bridged_at is not None and at > self.bridged_at)
        lines = [f"process_start_time_seconds {self.started}", "datacenter_pue_ratio 1.2"]
        if self.zone:
            lines.append('grid_carbon_intensity_grams_per_kwh{zone="FRA",provider="static",basis="average"} 44.18')
        if self.present:
            shown = joules + self.jump if self.frozen is None else self.frozen
            lines += self._board("0", "GPU-a", shown, at + self.lead, resets)
        if self.neighbour is not None:
            lines += self._board("1", "GPU-b", self.neighbour * (at - self.power.began), at + self.lead, 0)
        return "\n".join(lines) + "\n"

    def _board(self, index: str, uuid: str, joules: float, at: float, resets: int) -> list[str]:
        who = f'gpu="{index}",uuid="{uuid}"'
        lines = [
            f"gpu_energy_joules_total{{{who}}} {joules!r}",
            f"gpu_energy_timestamp_seconds{{{who}}} {at!r}",
            f"gpu_energy_resets_total{{{who}}} {resets}",
            f'gpu_info{{{who},name="Stub 9000",vendor="none",method="{self.method}",scope="gpu"}} 1',
        ]
        return [*lines, f"gpu_energy_update_interval_seconds{{{who}}} {self.tick}"] if self.tells_tick else lines


@dataclass
class Server:
    """An inference server: one request in service at a time, ``service`` seconds each.

    Attributes:
        power: told when it works.
        service: seconds of a request.
        tokens: value of ``x-output-tokens``, None for no such header.
        odd: answer to give instead of a good one for request number n, None for a good one.
        busy_elsewhere: seconds of another task for each second of a request.
        device: as in ``inference_model_info``; empty for a server without metrics.
        spans: whom it tells of each request; None for nobody.
        outcome: how request number n ended, as it tells; None for one that it does not tell of.
    """

    power: Power
    service: float = 0.005
    tokens: int | None = 12
    odd: Callable[[int], Answer | None] = lambda _: None
    device: str = "GPU-a"
    busy_elsewhere: float = 0.0
    spans: Spans | None = None
    outcome: Callable[[int], str | None] = lambda _: "ok"
    tasks: tuple[str, ...] = ("summarization", "text-classification")
    served: int = 0
    ok: dict[str, int] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    bodies: list[dict[str, object]] = field(default_factory=list)
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def infer(self, request: web.Request) -> web.StreamResponse:
        """Answer one inference."""
        self.served += 1
        number, task = self.served, request.match_info["task"]
        self.bodies.append(json.loads(await request.read()))
        async with self.gate:
            self.power.work(+1)
            began = time.time()
            told = self.outcome(number)
            span = None if self.spans is None or told is None else self.spans.span(task, f"tiny/{task}")
            try:
                await asyncio.sleep(self.service)
            finally:
                if span is not None and told is not None:
                    span.close([(f"request-{number}", 1, told)])
                self.power.work(-1)
                took = time.time() - began
                self.busy[task] = self.busy.get(task, 0.0) + took
                self.busy["other"] = self.busy.get("other", 0.0) + took * self.busy_elsewhere
        odd = self.odd(number)
        if odd is not None:
            return await odd(number, request)
        headers = {} if self.tokens is None else {"x-output-tokens": str(self.tokens)}
        good = {"summarization": [{"summary_text": "s"}], "text-classification": [[{"label": "x", "score": 1.0}]]}
        self.ok[task] = self.ok.get(task, 0) + 1
        return web.json_response(good[task], headers=headers)

    def text(self) -> str:
        """Return what ``/metrics`` says now."""
        lines = []
        for task in (*self.tasks, "other") if self.device else ():
            who = f'task="{task}",model="tiny/{task}"'
            info = f'{who},device="{self.device}",dtype="float32",revision="local",weights="tiny"'
            lines += [
                f"inference_model_info{{{info}}} 1",
                f'inference_requests_total{{{who},outcome="ok"}} {self.ok.get(task, 0)}',
                f'inference_device_busy_seconds_total{{{who},device="{self.device}"}} {self.busy.get(task, 0.0)}',
            ]
        return "\n".join(lines) + "\n"

    def listing(self) -> dict[str, object]:
        """Return what ``/v1/tasks`` says."""
        return {"data": [{"task": t, "models": [f"tiny/{t}"], "default": f"tiny/{t}"} for t in self.tasks]}


class Site:
    """Serves an application on a thread of its own."""

    def __init__(self, app: web.Application) -> None:
        self._app, self._ready, self.port = app, threading.Event(), 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._over.wait()
        await runner.cleanup()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Close every connection and stop listening."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(10)
            assert not self._thread.is_alive()


def exporter_app(exporter: Exporter) -> web.Application:
    """Return the exporter as an application."""

    async def metrics(_: web.Request) -> web.Response:
        if not exporter.answers:
            raise web.HTTPInternalServerError
        return web.Response(text=exporter.text())

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app


def server_app(server: Server) -> web.Application:
    """Return the server as an application."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=server.text())

    async def listing(_: web.Request) -> web.Response:
        return web.json_response(server.listing())

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ready")

    app = web.Application()
    app.router.add_post("/v1/tasks/{task}", server.infer)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/v1/tasks", listing)
    return app


async def status(code: int) -> web.Response:
    """Return an error answer as the server makes them."""
    return web.json_response({"error": {"code": "planted", "message": "planted", "request_id": "x"}}, status=code)


async def truncated(_: int, request: web.Request) -> web.StreamResponse:
    """Promise a thousand bytes, send ten, and hang up."""
    reply = web.StreamResponse(headers={"content-length": "1000"})
    await reply.prepare(request)
    await reply.write(b'[{"summary')
    assert request.transport is not None
    request.transport.close()
    return reply
