"""A model behind FastAPI as people write it first: a synchronous handler that runs one request at a time.

With a lock, because FastAPI calls such a handler on many threads: without one texts are answered more slowly, and a
diffusers pipeline fails.
"""

import threading
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

from benchmarks.server_peers.work import PNG, Settings

settings = Settings.from_environment()
work = settings.load()
app = FastAPI()
turn = threading.Lock()


class Ask(BaseModel):
    """The body of a request."""

    inputs: str


@app.post("/predict", response_model=None)
def predict(ask: Ask) -> Any:
    """Answer one request."""
    with turn:
        answer = work([ask.inputs])[0]
    return Response(answer, media_type=PNG) if isinstance(answer, bytes) else answer


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=settings.port, log_level="warning", access_log=False)
