"""Who waits for an answer, and until when: the deadline of one HTTP request, and whether its client is still there."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.requests import Request

from perjoule.errors import ExpiredError
from perjoule_server.bodies import ClientLeftError
from perjoule_server.tickets import Ticket


class Vigil:
    """Watches within its ``with`` block over the inferences that one HTTP request asked for."""

    def __init__(self, request: Request, seconds: float) -> None:
        self._request, self._seconds = request, seconds
        self._tickets: list[Ticket] = []
        self._over: tuple[Exception, str] | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        late = ExpiredError("the deadline passed")
        self._timer = loop.call_later(self._seconds, self._forsake, late, "expired")
        self._watcher = loop.create_task(self._gone())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Watch no longer."""
        self._timer.cancel()
        self._watcher.cancel()

    def add(self, ticket: Ticket) -> None:
        """Watch over one more inference; nobody may wait for it already."""
        self._tickets.append(ticket)
        if self._over is not None:
            ticket.forsake(*self._over)

    async def _gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._forsake(ClientLeftError(), "cancelled")

    def _forsake(self, error: Exception, outcome: str) -> None:
        self._over = self._over or (error, outcome)
        for ticket in self._tickets:
            ticket.forsake(error, outcome)
