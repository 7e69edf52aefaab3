"""Small GETs to exporters, Prometheus and the server's own pages, with transport errors translated once.

Not for the load itself: ``client`` sends that. Knows nothing of what the pages mean.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from perjoule.errors import MeasurementError, UnreachableError
from perjoule_loadgen.transport import printable, read_body, why

_SECONDS = 5.0
_SHOWN_CHARACTERS = 200
_MOST_BYTES = 16 * 2**20  # a page of metrics has some hundred kilobytes


class Page:
    """GETs through one session, with ``headers``. Raises ``UnreachableError`` where nobody answers."""

    def __init__(self, session: aiohttp.ClientSession, headers: Mapping[str, str] | None = None) -> None:
        self._session, self._headers = session, headers

    async def get(self, url: str, params: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Return status and text of ``url``.

        Raises:
            UnreachableError: no connection, no answer in five seconds, or one that breaks off.
            MeasurementError: the URL cannot be fetched at all.
        """
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with self._session.get(
                url, params=params, timeout=timeout, allow_redirects=False, headers=self._headers
            ) as reply:
                return reply.status, (await read_body(reply, _MOST_BYTES)).decode(errors="replace")
        except aiohttp.InvalidURL as error:
            raise MeasurementError(f"{url} is no URL that can be fetched") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"{url} does not answer: {why(error)}") from error

    async def text(self, url: str) -> str:
        """Return the text of ``url``.

        Raises:
            UnreachableError: as ``get``.
            MeasurementError: any status but 200.
        """
        status, text = await self.get(url)
        if status != HTTPStatus.OK:
            raise MeasurementError(f"{url} answered {status}: {_shown(text)}")
        return text

    async def json(self, url: str, params: Mapping[str, str] | None = None) -> Any:
        """Return the JSON value of ``url``.

        Raises:
            UnreachableError: as ``get``.
            MeasurementError: any status but 200, or no JSON.
        """
        status, text = await self.get(url, params)
        if status != HTTPStatus.OK:
            raise MeasurementError(f"{url} answered {status}: {_shown(text)}")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MeasurementError(f"{url} answered something that is not JSON") from error


def _shown(text: str) -> str:
    return printable(text[:_SHOWN_CHARACTERS].encode(), _SHOWN_CHARACTERS)
