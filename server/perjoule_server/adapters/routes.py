"""OpenAI's routes: which there are, and what the API's description says of them.

Descriptions only: bodies are checked where they are read, not against these.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from perjoule_server import openapi
from perjoule_server.adapters import fields, images
from perjoule_server.adapters.base import JSON, OpenAI
from perjoule_server.adapters.images import read_images
from perjoule_server.adapters.text import read_chat, read_completion
from perjoule_server.adapters.vectors import read_embedding
from perjoule_server.exchange import Exchange

_MODEL = {"type": "string", "description": "One of the task's models; its first by default."}
_TEXTS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_SAMPLING: Mapping[str, Any] = {
    "max_tokens": {"type": "integer", "minimum": 1},
    "n": {"type": "integer", "minimum": 1, "maximum": fields.MOST_CHOICES},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2, "default": 1},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
    "seed": {"type": "integer", "minimum": 0},
    "stop": _TEXTS,
    "stream": {"type": "boolean"},
    "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
    "top_k": {"type": "integer", "minimum": 0, "description": "vLLM's: draw from the k likeliest."},
    "min_tokens": {"type": "integer", "minimum": 0, "description": "vLLM's: write at least so many."},
    "ignore_eos": {"type": "boolean", "description": "vLLM's: write max_tokens whatever the model would."},
}
_CONTENT = {
    "oneOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "text"],
                "properties": {"type": {"type": "string", "enum": ["text"]}, "text": {"type": "string"}},
            },
        },
    ]
}
_MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant"]},
        "content": _CONTENT,
    },
}


def _schema(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": [required], "properties": {"model": _MODEL, **properties}}


COMPLETIONS = OpenAI(
    "/v1/completions", "text-generation", read_completion, "Continue a text",
    _schema("prompt", prompt=_TEXTS, echo={"type": "boolean"}, **_SAMPLING),
    {"completion": {"prompt": "Once upon a time", "max_tokens": 10, "temperature": 0},
     "streamed": {"prompt": "Once upon a time", "max_tokens": 10, "stream": True}},
    fields.NAMES,
)  # fmt: skip
CHAT = OpenAI(
    "/v1/chat/completions", "text-generation", read_chat, "Answer a conversation",
    _schema(
        "messages", messages={"type": "array", "items": _MESSAGE, "minItems": 1},
        max_completion_tokens=_SAMPLING["max_tokens"], **_SAMPLING,
    ),
    {"chat": {"messages": [{"role": "user", "content": "Where is the heat pump?"}], "max_tokens": 10, "seed": 1},
     "streamed": {"messages": [{"role": "user", "content": "Where?"}], "max_tokens": 10, "stream": True,
                  "stream_options": {"include_usage": True}}},
    fields.NAMES,
)  # fmt: skip
EMBEDDINGS = OpenAI(
    "/v1/embeddings", "feature-extraction", read_embedding, "Make vectors of texts",
    _schema("input", input=_TEXTS, encoding_format={"type": "string", "enum": ["float", "base64"]}),
    {"one": {"input": "The heat pump is quiet."},
     "several": {"input": ["The heat pump is quiet.", "It is loud."], "encoding_format": "base64"}},
)  # fmt: skip
IMAGES = OpenAI(
    "/v1/images/generations", "text-to-image", read_images, "Draw images",
    _schema(
        "prompt", prompt={"type": "string"}, n={"type": "integer", "minimum": 1, "maximum": 10},
        size={"type": "string", "description": "auto or <width>x<height>"},
        response_format={"type": "string", "enum": ["b64_json"]}, seed={"type": "integer", "minimum": 0},
        num_inference_steps={"type": "integer", "minimum": 1}, guidance_scale={"type": "number", "minimum": 0},
        negative_prompt={"type": "string"},
    ),
    {"image": {"prompt": "a small house by a lake", "response_format": "b64_json", "size": "64x64"}},
    images.NAMES,
)  # fmt: skip

ROUTES = (COMPLETIONS, CHAT, EMBEDDINGS, IMAGES)
"""All of them."""


def add_openai(app: FastAPI, exchange: Exchange) -> None:
    """Add the routes to ``app``."""
    for route in ROUTES:
        app.add_api_route(
            route.path,
            _answering(route, exchange),
            methods=["POST"],
            tags=["openai"],
            summary=route.summary,
            response_class=Response,
            responses=_responses(route),
            openapi_extra=_request(route),
        )


def _answering(route: OpenAI, exchange: Exchange) -> Any:
    async def answer(request: Request) -> Response:
        return await exchange.answer(request, route)

    return answer


def _responses(route: OpenAI) -> dict[int | str, dict[str, Any]]:
    events = {"text/event-stream": {"schema": {"type": "string"}}} if "stream" in route.schema["properties"] else {}
    answers = openapi.inference_responses()
    answers[200] = {**answers[200], "description": "As OpenAI answers; usage also has energy_joules and energy_quality",
                    "content": {JSON: {"schema": {"type": "object"}}, **events}}  # fmt: skip
    return answers


def _request(route: OpenAI) -> dict[str, Any]:
    examples = {name: {"value": value} for name, value in route.examples.items()}
    body = {"required": True, "content": {JSON: {"schema": dict(route.schema), "examples": examples}}}
    return {"requestBody": body, "parameters": openapi.inference_request(())["parameters"]}
