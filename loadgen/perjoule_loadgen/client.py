"""Sends one request and says how it ended. The hot path: aiohttp, bodies made beforehand, one small value a request.

A failed request is a result with a class, never an exception, and has no latency. Redirects are not followed and no
proxy is used: requests go to the target named and nowhere else. Knows nothing of when to send.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp

from perjoule_loadgen.dialect import Answer, Dialect, Prepared
from perjoule_loadgen.ours import Ours
from perjoule_loadgen.records import ERRORS, Result
from perjoule_loadgen.streaming import Stream
from perjoule_loadgen.transport import TooLongError, printable, read_body, why

__all__ = ["ERRORS", "Client", "Prepared", "Result", "Route", "bearer", "new_session"]

_DETAIL_CHARACTERS = 160
# Below uvicorn's five seconds: a connection that the server is about to close is not used again after a quiet gap.
_KEEPALIVE_SECONDS = 3.0
_MOST_BYTES = 64 * 2**20  # far more than an answer of any task: one that never ends must not fill the memory
_NOTHING = Answer()


@dataclass(frozen=True, slots=True)
class Route:
    """Where the requests of one task go, and what they hold.

    Attributes:
        task: workload id.
        url: of the route.
        items: inputs, ready to send.
        dialect: makes sense of the answers.
        stream: whether they come as they are written.
        headers: sent along with each request, and to nobody else.
    """

    task: str
    url: str
    items: Sequence[Prepared]
    dialect: Dialect = field(default_factory=Ours)
    stream: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Client:
    """Sends the requests of one route."""

    def __init__(self, session: aiohttp.ClientSession, route: Route, now: Callable[[], float]) -> None:
        self._session, self._route, self._now = session, route, now

    async def send(self, index: int, intended: float | None = None) -> Result:
        """Send input ``index`` and return how it went; ``intended`` is now in a closed loop."""
        sent = self._now()
        status, stream, answer = 0, Stream(self._route.dialect) if self._route.stream else None, _NOTHING
        try:
            async with self._session.post(
                self._route.url, data=self._route.items[index].body, headers=self._headers(index), allow_redirects=False
            ) as reply:
                status = reply.status
                if stream is not None and status == HTTPStatus.OK:
                    await self._follow(reply, stream)
                    error, detail, answer = _judged(stream)
                else:
                    error, detail, answer = self._judge(status, reply.headers, await read_body(reply, _MOST_BYTES))
        except (TimeoutError, aiohttp.ClientError, OSError) as failure:
            error, detail = _failure_class(failure), why(failure)
        started = sent if intended is None else intended
        return Result(
            started, sent, self._now(), status, error, detail[:_DETAIL_CHARACTERS], answer.output_tokens, index,
            answer.input_tokens, None if stream is None else stream.first, answer.size,
            () if stream is None or error else tuple(stream.gaps),
        )  # fmt: skip

    def _headers(self, index: int) -> dict[str, str]:
        return {"content-type": self._route.items[index].content_type, **self._route.headers}

    async def _follow(self, reply: aiohttp.ClientResponse, stream: Stream) -> None:
        """Read a stream to its end.

        Raises:
            TooLongError: it has more bytes than any answer.
        """
        size = 0
        async for part in reply.content.iter_any():
            stream.feed(part, self._now())
            size += len(part)
            if size > _MOST_BYTES:
                raise TooLongError(f"the answer has more than {_MOST_BYTES / 2**20:g} MiB")

    def _judge(self, status: int, headers: Mapping[str, str], body: bytes) -> tuple[str, str, Answer]:
        if status == HTTPStatus.OK:
            answer = self._route.dialect.read(self._route.task, headers, body)
            if answer is not None:
                return "", "", answer
            said = printable(body, _DETAIL_CHARACTERS)
            return "wrong_shape", f"not an answer to {self._route.task}: {said}", _NOTHING
        return _status_class(status), f"{status} {printable(body, _DETAIL_CHARACTERS)}", _NOTHING


def _judged(stream: Stream) -> tuple[str, str, Answer]:
    """Return how a stream that has ended went."""
    if stream.error is not None:
        return "truncated", f"in the stream: {printable(stream.error.encode(), _DETAIL_CHARACTERS)}", _NOTHING
    if not stream.whole:
        return "truncated", "the stream ended before the answer did", _NOTHING
    return "", "", stream.answer or _NOTHING


def bearer(token: str | None) -> dict[str, str]:
    """Return the header of a bearer token; nothing without one."""
    return {} if token is None else {"authorization": f"Bearer {token}"}


def new_session(timeout: float) -> aiohttp.ClientSession:
    """Return the session of a run: no limit on connections (the load decides), ``timeout`` seconds for a request."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"user-agent": "perjoule-loadgen"},
    )


def _status_class(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "429"
    # An answer that is neither 200 nor an error (a redirect, 204) is none that the task prescribes.
    first_server, first_client = HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_REQUEST
    return "5xx" if status >= first_server else "4xx" if status >= first_client else "wrong_shape"


def _failure_class(failure: BaseException) -> str:
    if isinstance(failure, asyncio.TimeoutError):
        return "timeout"
    # The head of an answer came and the rest did not, or what came is no HTTP.
    return "truncated" if isinstance(failure, aiohttp.ClientPayloadError | aiohttp.ClientResponseError) else "connect"
