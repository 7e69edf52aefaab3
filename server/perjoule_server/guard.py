"""Who is let in, before any route: by bearer tokens where there are some, and no browser's page where there are none.

Everything wants a token but what is named as open, so that no route can be forgotten. Knows nothing of what the routes
do, but that changing the set of models is for administrators.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from perjoule.errors import ForbiddenError, RequestError, UnauthorizedError
from perjoule_server.adapters.base import Dialect
from perjoule_server.auth import Role, Tokens
from perjoule_server.problems import problem, request_id

log = logging.getLogger(__name__)

HEALTH = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Open always: whoever starts and restarts the server asks them, often without being able to keep a secret."""

METRICS = "/metrics"
MODELS = "/v1/models/"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_REALM = 'Bearer realm="inference-server"'

QUIET_SECONDS = 60.0
"""How often at most the log speaks of refused requests."""


_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a request that is not let in is told; ``challenge`` is how to ask instead (RFC 6750, section 3)."""

    error: RequestError
    challenge: str = ""


def _refusal(message: str) -> Refusal:
    return Refusal(ForbiddenError(message))


_WANTED = UnauthorizedError("a valid token is needed: Authorization: Bearer <token>")
_NOBODY = Refusal(_WANTED, _REALM)
_UNKNOWN = Refusal(_WANTED, f'{_REALM}, error="invalid_token"')
_PLAIN = Refusal(
    ForbiddenError("models are loaded and unloaded with an admin's token; this one is plain"),
    f'{_REALM}, error="insufficient_scope"',
)


@dataclass(slots=True)
class Refusals:
    """Tells the log of refused requests, once in a while however many there are."""

    clock: Callable[[], float]
    count: int = 0
    told: float = float("-inf")

    def add(self, client: str) -> None:
        """Note one more, from ``client``."""
        self.count += 1
        now = self.clock()
        if now - self.told >= QUIET_SECONDS:
            log.warning("%d requests without a valid token were refused, the last from %s", self.count, client)
            self.count, self.told = 0, now


class Guard:
    """The ASGI application around the application.

    Args:
        app: what is guarded.
        tokens: who may ask; None lets everyone ask, and nobody load or unload.
        open_paths: what is answered without a token.
        dialects: the routes whose clients expect errors of a shape of their own, by path.
        refused: called for each request that is refused and would have been an inference.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: Tokens | None,
        open_paths: Collection[str],
        dialects: Mapping[str, Dialect],
        refused: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._open = frozenset(open_paths)
        self._dialects = dialects
        self._refused = refused
        self._refusals = Refusals(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "POST" and not scope["path"].startswith(MODELS):
            self._refused()
        await self._answer(refusal, scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Return why a request is not let in, None if it is."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        changes = scope["path"].startswith(MODELS) and scope["method"] not in _READING
        if self._tokens is None:
            if changes:
                return _refusal("models are loaded and unloaded with an admin's token: start with --auth.tokens")
            page = any(name == b"origin" for name, _ in headers)
            return _refusal("web pages may not ask a server that has no --auth.tokens") if page else None
        if scope["path"] in self._open:
            return None
        given = [value for name, value in headers if name == b"authorization"]
        bearer = self._tokens.match(given[0]) if len(given) == 1 else None
        if bearer is None:
            self._refusals.add((scope.get("client") or ("?",))[0])
            return _NOBODY if not given else _UNKNOWN
        return _PLAIN if changes and bearer.role is not Role.ADMIN else None

    async def _answer(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        error, route = refusal.error, self._dialects.get(scope["path"])
        message, more = (str(error), _NOTHING) if route is None else route.explain(error)
        headers = {"www-authenticate": refusal.challenge} if refusal.challenge else _NOTHING
        name = request_id(Headers(scope=scope))
        await problem(error.status, error.code, message, name, headers, more)(scope, receive, send)
