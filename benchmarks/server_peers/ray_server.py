"""A model behind Ray Serve, with its batching: one replica on this machine."""

import signal
from typing import Any

import ray  # type: ignore[import-not-found]  # lives in its own environment
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from benchmarks.server_peers.work import PNG, Settings

settings = Settings.from_environment()


@serve.deployment(max_ongoing_requests=1024)
class Inference:
    """The replica."""

    def __init__(self) -> None:
        self.work = settings.load()

    @serve.batch(  # type: ignore[untyped-decorator]  # as above
        max_batch_size=settings.max_batch, batch_wait_timeout_s=settings.wait_seconds
    )
    async def run(self, texts: list[str]) -> list[Any]:
        """Answer a batch."""
        return self.work(texts)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        answer = await self.run((await request.json())["inputs"])
        return Response(answer, media_type=PNG) if isinstance(answer, bytes) else JSONResponse(answer)


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": settings.port, "access_log": False})
    application = Inference.bind()  # type: ignore[attr-defined]  # what the decorator adds
    serve.run(application, route_prefix="/predict")
    signal.pause()
