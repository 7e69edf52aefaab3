"""``--grafana``: an annotation for each finished run, so that dashboards show when it was and what it came to.

Grafana's HTTP API, ``POST /api/annotations``; the token is sent to that address and nowhere else. A Grafana that does
not answer, or refuses, is told in one line and costs the run nothing.
"""

import html
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import aiohttp

from perjoule_loadgen.report import figure, percent
from perjoule_loadgen.tokens import GRAFANA
from perjoule_loadgen.transport import printable, read_body, why

TAGS = ("perjoule", "load-test")
"""The dashboards of ``perjoule-grafana`` show annotations that have both."""

_SECONDS = 5.0
_SHOWN = 200
_MOST_BYTES = 2**16


def annotation(run: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what Grafana is told of a run; None where there was no window."""
    start, end = run["window"]["start"], run["window"]["end"]
    if start is None or end is None:
        return None
    gross = run["joules_per_inference"]["gross"]
    verdict = "VALID" if run["verdict"] == "valid" else "INVALID: " + "; ".join(run["reasons"])
    text = f"{run['task']} by {run['model']}: {figure(run, 'gross')}/inference gross {percent(gross)}, {verdict}"
    banner = "SIMULATED. " if run["simulated"] else ""
    return {
        "time": round(start * 1000),
        "timeEnd": round(end * 1000),
        "tags": [*TAGS, f"task:{run['task']}", f"verdict:{run['verdict']}"],
        "text": html.escape(banner + text),  # Grafana shows HTML, and a model's name is its server's word
    }


async def annotate(url: str, secret: str | None, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write an annotation for each run; return what went wrong, as sentences, none where nothing did."""
    headers = {"user-agent": "perjoule-loadgen"} | ({"authorization": f"Bearer {secret}"} if secret else {})
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    failed: list[str] = []
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        for body in filter(None, map(annotation, runs)):
            failure = await _post(session, f"{url}/api/annotations", body)
            if failure is not None:
                failed.append(f"no annotation in Grafana: {failure}")
                break  # the others would fail alike, five seconds each
    return failed


async def _post(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any]) -> str | None:
    try:
        async with session.post(url, json=body, allow_redirects=False) as reply:
            said = printable(await read_body(reply, _MOST_BYTES), _SHOWN)
    except aiohttp.InvalidURL:
        return f"{url} is no URL that can be fetched"
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        return f"{url} does not answer: {why(error)}"
    if reply.status == HTTPStatus.OK:
        return None
    refused = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    hint = f"; give a token of a service account with Editor: --grafana-token-file, or {GRAFANA}"
    return f"{url} answered {reply.status}: {said}{hint if reply.status in refused else ''}"
