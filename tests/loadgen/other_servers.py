"""Servers of other kinds, in the shapes that vLLM and text-embeddings-inference document, with known times."""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.loadgen.stubs import Power

FIRST, GAP = 0.03, 0.01
"""Seconds to the first token, and between tokens."""


@dataclass
class Vllm:
    """An OpenAI-compatible server.

    Attributes:
        power: told when it works.
        usage: whether answers tell their tokens.
        short: how many tokens fewer than asked each answer has.
        broken: ends streams before their end: "cut" hangs up, "error" says so in an event, "silent" leaves [DONE] out.
        others: requests of somebody else, counted with each answer.
        seen: every request as (path, authorization, body).
    """

    power: Power
    usage: bool = True
    short: int = 0
    broken: str = ""
    others: int = 0
    tokens: int = 0
    finished: int = 0
    seen: list[tuple[str, str | None, dict[str, Any]]] = field(default_factory=list)

    async def infer(self, request: web.Request) -> web.StreamResponse:
        """Answer any of the routes."""
        body = json.loads(await request.read())
        self.seen.append((request.path, request.headers.get("authorization"), body))
        self.power.work(+1)
        try:
            return await self._answer(request, body)
        finally:
            self.power.work(-1)
            self.finished += 1 + self.others

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if request.path in {"/v1/completions", "/v1/chat/completions"}:
            count = body["max_tokens"] - self.short
            self.tokens += count
            if body.get("stream"):
                return await self._stream(request, count, chat="messages" in body)
            await asyncio.sleep(FIRST)
            choice = {"message": {"content": "x"}} if "messages" in body else {"text": "x"}
            return web.json_response({"choices": [choice], "usage": self._usage(count)})
        await asyncio.sleep(FIRST)
        if request.path == "/v1/embeddings":
            return web.json_response({"data": [{"embedding": [0.5, 0.25]}], "usage": {"prompt_tokens": 5}})
        width, height = map(int, body["size"].split("x"))
        png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + bytes(5)
        return web.json_response({"data": [{"b64_json": base64.b64encode(png).decode()}]})

    def _usage(self, count: int) -> dict[str, int] | None:
        return {"prompt_tokens": 5, "completion_tokens": count} if self.usage else None

    async def _stream(self, request: web.Request, count: int, *, chat: bool) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        async for event in self._events(count, chat=chat):
            await reply.write(b"data: " + event + b"\n\n")
        if self.broken == "cut":
            assert request.transport is not None
            request.transport.close()
        return reply

    async def _events(self, count: int, *, chat: bool) -> AsyncIterator[bytes]:
        for number in range(count):
            await asyncio.sleep(GAP if number else FIRST)
            if self.broken in {"cut", "error"} and number == 2:
                if self.broken == "error":
                    yield b'{"error": {"message": "out of memory"}}'
                return
            choice: dict[str, Any] = {"delta": {"content": "x"}} if chat else {"text": "x"}
            yield json.dumps({"choices": [choice], "usage": None}).encode()
        if self.usage:
            yield json.dumps({"choices": [], "usage": self._usage(count)}).encode()
        if self.broken != "silent":
            yield b"[DONE]"

    def metrics(self) -> str:
        """Return what ``/metrics`` says now."""
        return (
            f'vllm:generation_tokens_total{{model_name="m"}} {self.tokens}\n'
            f'vllm:request_success_total{{finished_reason="length",model_name="m"}} {self.finished}\n'
        )


def vllm_app(vllm: Vllm) -> web.Application:
    """Return it as an application."""

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "llama", "object": "model"}, {"id": "lora"}]})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=vllm.metrics())

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_get("/metrics", metrics)
    for path in ("completions", "chat/completions", "embeddings", "images/generations"):
        app.router.add_post(f"/v1/{path}", vllm.infer)
    return app


def tei_app(power: Power) -> web.Application:
    """Return a text-embeddings-inference server."""

    async def info(_: web.Request) -> web.Response:
        return web.json_response(
            {"model_id": "BAAI/bge-small-en-v1.5", "model_type": {"embedding": {"pooling": "cls"}}}
        )

    async def embed(request: web.Request) -> web.Response:
        assert set(await request.json()) == {"inputs"}
        power.work(+1)
        await asyncio.sleep(0.005)
        power.work(-1)
        return web.json_response([[0.5, 0.25]], headers={"x-compute-tokens": "9"})

    app = web.Application()
    app.router.add_get("/info", info)
    app.router.add_post("/embed", embed)
    return app
