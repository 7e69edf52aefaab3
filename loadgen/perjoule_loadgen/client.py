"""Sends one request and says how it ended. The hot path: aiohttp, bodies made beforehand, one small value a request.

A failed request is a result with a class, never an exception, and has no latency. Redirects are not followed and no
proxy is used: requests go to the target named and nowhere else. Knows nothing of when to send.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

import aiohttp

from perjoule_loadgen.shapes import right_shape
from perjoule_loadgen.transport import printable, read_body, why

ERRORS = ("connect", "timeout", "4xx", "429", "5xx", "truncated", "wrong_shape")
"""Classes of failed requests."""

_DETAIL_CHARACTERS = 160
# Below uvicorn's five seconds: a connection that the server is about to close is not used again after a quiet gap.
_KEEPALIVE_SECONDS = 3.0
_TOKENS_HEADER = "x-output-tokens"
_MOST_BYTES = 64 * 2**20  # far more than an answer of any task: one that never ends must not fill the memory


class Prepared(NamedTuple):
    """One input as it goes over the wire, and what its answer is held to."""

    label: str
    body: bytes
    content_type: str
    min_tokens: int | None = None
    max_tokens: int | None = None
    audio_seconds: float | None = None


class Result(NamedTuple):
    """How one request went. Times are monotonic seconds.

    Attributes:
        intended: when the schedule wanted it sent; equals ``sent`` in a closed loop.
        sent: when it was sent.
        done: when it had ended, however it did.
        status: HTTP status, 0 without an answer.
        error: empty, or one of ``ERRORS``.
        detail: what an error said, shortened.
        output_tokens: as the answer tells, None where it does not.
        item: index of the input.
    """

    intended: float
    sent: float
    done: float
    status: int
    error: str
    detail: str
    output_tokens: int | None
    item: int

    @property
    def ok(self) -> bool:
        """Whether it was answered as the task prescribes."""
        return not self.error

    @property
    def latency(self) -> float:
        """Seconds from the intended send to the end of the answer."""
        return self.done - self.intended


@dataclass(frozen=True, slots=True)
class Route:
    """Where the requests of one task go, and what they hold."""

    task: str
    url: str
    items: Sequence[Prepared]


class Client:
    """Sends the requests of one route."""

    def __init__(self, session: aiohttp.ClientSession, route: Route, now: Callable[[], float]) -> None:
        self._session, self._route, self._now = session, route, now
        self._headers = [{"content-type": item.content_type} for item in route.items]

    async def send(self, index: int, intended: float | None = None) -> Result:
        """Send input ``index`` and return how it went; ``intended`` is now in a closed loop."""
        sent = self._now()
        status, tokens = 0, None
        try:
            async with self._session.post(
                self._route.url, data=self._route.items[index].body, headers=self._headers[index], allow_redirects=False
            ) as reply:
                status = reply.status
                body = await read_body(reply, _MOST_BYTES)
                tokens = _tokens(reply.headers.get(_TOKENS_HEADER))
        except (TimeoutError, aiohttp.ClientError, OSError) as failure:
            error, detail = _failure_class(failure), why(failure)
        else:
            error, detail = self._judge(status, body)
        started = sent if intended is None else intended
        return Result(started, sent, self._now(), status, error, detail[:_DETAIL_CHARACTERS], tokens, index)

    def _judge(self, status: int, body: bytes) -> tuple[str, str]:
        if status == HTTPStatus.OK:
            if right_shape(self._route.task, body):
                return "", ""
            return "wrong_shape", f"not an answer to {self._route.task}: {printable(body, _DETAIL_CHARACTERS)}"
        return _status_class(status), f"{status} {printable(body, _DETAIL_CHARACTERS)}"


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


def _tokens(header: str | None) -> int | None:
    return int(header) if header is not None and header.isascii() and header.isdigit() else None
