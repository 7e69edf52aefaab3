"""A model behind LitServe, with its batching."""

from collections.abc import Sequence
from typing import Any

import litserve  # type: ignore[import-not-found]  # lives in its own environment
from fastapi import Response

from benchmarks.server_peers.work import PNG, Settings

settings = Settings.from_environment()


class Api(litserve.LitAPI):  # type: ignore[misc]  # as above
    """The hooks that LitServe calls, in its own process."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self.work = settings.load()

    def decode_request(self, request: dict[str, Any]) -> str:
        """Return the text of a request."""
        return str(request["inputs"])

    def batch(self, inputs: Sequence[str]) -> list[str]:
        """Keep texts as a list; the default makes an array of them."""
        return list(inputs)

    def predict(self, texts: Sequence[str]) -> list[Any]:
        """Answer a batch."""
        return self.work(texts)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Return one answer for each request."""
        return output

    def encode_response(self, output: Any) -> Any:
        """Return the reply of one request."""
        return Response(output, media_type=PNG) if isinstance(output, bytes) else output


if __name__ == "__main__":
    api = Api(max_batch_size=settings.max_batch, batch_timeout=settings.wait_seconds)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(
        host="127.0.0.1", port=settings.port, log_level="warning", num_api_servers=1, generate_client_file=False,
        access_log=False,
    )  # fmt: skip
