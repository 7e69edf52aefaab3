"""Tokens on their way from the device thread to the clients who read along.

Bounded by the answer itself: who reads slowly finds all that was written meanwhile in one piece, and holds up nobody.
Knows nothing of HTTP or of what tokens mean.
"""

import asyncio
from collections.abc import Callable, Sequence

from perjoule_server.tasks.base import Token, Writer


class Pieces:
    """The tokens of one request that its reader has not taken yet. For the event loop only."""

    def __init__(self) -> None:
        self._writer: Writer | None = None
        self._tokens: list[Token] = []
        self._known = 0
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def writer(self) -> Writer:
        """What makes text of them; it is there before the first."""
        if self._writer is None:
            raise RuntimeError("nothing has been written yet")
        return self._writer

    @writer.setter
    def writer(self, writer: Writer) -> None:
        self._writer = writer

    def put(self, token: Token) -> None:
        """Add a token, unless it was told before: by a run of the batch that failed."""
        if token.position >= self._known and not self._closed:
            self._known = token.position + 1
            self._tokens.append(token)
            self._changed.set()

    def close(self) -> None:
        """Say that nothing more comes."""
        self._closed = True
        self._changed.set()

    async def take(self) -> list[Token]:
        """Wait for tokens and return all that are there; nothing once they are closed and taken."""
        while not (self._tokens or self._closed):
            self._changed.clear()
            await self._changed.wait()
        tokens, self._tokens = self._tokens, []
        return tokens


class Readers:
    """Those who wait for the requests of a batch; see ``tasks.base.Audience``. For the device thread.

    Args:
        pieces: of each request, None where nobody reads along.
        left: tells of which requests nobody waits.
        post: calls a function with arguments on the event loop.
    """

    def __init__(self, pieces: Sequence[Pieces | None], left: Callable[[int], bool], post: Callable[..., None]) -> None:
        self._pieces, self._post = pieces, post
        self.left = left

    def listens(self, index: int) -> bool:
        """See ``Audience.listens``."""
        return self._pieces[index] is not None

    def tell(self, tokens: Sequence[Token]) -> None:
        """See ``Audience.tell``: one call on the loop for a whole step of the batch."""
        self._post(self._put, tokens)

    def _put(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            pieces = self._pieces[token.row]
            if pieces is not None:
                pieces.put(token)
