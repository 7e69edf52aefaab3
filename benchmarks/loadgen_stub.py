"""An HTTP server that does nothing but answer, so that what a load generator costs is its own: one protocol, one reply.

Prints its port. Answers every request on a connection in order, with a classification as our server makes it; bodies
are read by their content-length. Nothing else of HTTP is understood.
"""

import asyncio
from typing import cast

import uvloop

_BODY = b'[[{"label": "POSITIVE", "score": 0.98}, {"label": "NEGATIVE", "score": 0.02}]]'
_REPLY = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-input-tokens: 12\r\nx-output-tokens: 0\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
_LENGTH = b"content-length: "


class Answering(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, and is no subclass of it

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:end].lower()
            at = head.find(_LENGTH)
            body = int(head[at + len(_LENGTH) :].split(b"\r", 1)[0]) if at >= 0 else 0
            if len(self._rest) < end + 4 + body:
                return
            self._rest = self._rest[end + 4 + body :]
            self._transport.write(_REPLY)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
