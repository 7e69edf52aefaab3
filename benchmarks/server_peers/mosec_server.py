"""A model behind mosec, with its batching; address and port are in mosec's own command line."""

from typing import Any

from mosec import Server, Worker  # type: ignore[import-not-found]  # lives in its own environment

from benchmarks.server_peers.work import Settings

settings = Settings.from_environment()


class Inference(Worker):  # type: ignore[misc]  # as above
    """The worker process."""

    resp_mime_type = settings.media_type

    def __init__(self) -> None:
        super().__init__()
        self.work = settings.load()

    def forward(self, data: list[dict[str, Any]]) -> list[Any]:
        """Answer a batch."""
        return self.work([each["inputs"] for each in data])

    def serialize(self, data: Any) -> bytes:
        """Return the body of a reply."""
        return data if isinstance(data, bytes) else bytes(super().serialize(data))


if __name__ == "__main__":
    server = Server()
    wait = max(1, round(settings.wait_seconds * 1000))
    server.append_worker(Inference, num=1, max_batch_size=settings.max_batch, max_wait_time=wait)
    server.run()
