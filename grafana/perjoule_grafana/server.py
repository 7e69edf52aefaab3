"""A Grafana server, reached through grafana-client: the one place where its errors become ours.

Knows addresses, tokens, TLS and HTTP statuses, and not what is published.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaException, GrafanaTimeoutError
from niquests.exceptions import RequestException, SSLError

from perjoule.errors import GrafanaError, UnreachableError, UsageError

DEFAULT_URL = "http://127.0.0.1:3000"
TOKEN_VARIABLE = "GRAFANA_TOKEN"  # noqa: S105 (the name of a variable)
TIMEOUT_SECONDS = 20.0
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, PRECONDITION = 401, 403, 404, 409, 412
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class Address:
    """Where Grafana is, and how one proves who one is. ``ca``: a file of certificates to trust, not the system's."""

    url: str
    token: str | None
    ca: Path | None = None
    timeout: float = TIMEOUT_SECONDS

    @property
    def exposed(self) -> bool:
        """Whether the token travels readable for others."""
        parts = urlsplit(self.url)
        return self.token is not None and parts.scheme == "http" and not _this_machine(parts.hostname or "")


def address(url: str, token_file: Path | None, ca: Path | None, environment: Mapping[str, str]) -> Address:
    """Return the address after a look at what was given.

    Raises:
        UsageError: the URL is none, holds a password, or a file cannot be used.
    """
    parts = _parts(url)
    if parts.username or parts.password:
        raise UsageError(f"no user or password in --url: put a token into {TOKEN_VARIABLE} or --token-file")
    if ca is not None and not os.access(ca, os.R_OK):
        raise UsageError(f"--ca-file {ca} cannot be read")
    return Address(url.rstrip("/"), _token(token_file, environment), ca)


def without_password(url: str, flag: str) -> str:
    """Return an http(s) URL as it is.

    Raises:
        UsageError: it is none, or holds a password.
    """
    parts = _parts(url, flag)
    if parts.username or parts.password:
        raise UsageError(f"no user or password in {flag}: set them in Grafana, where they stay over the next publish")
    return url


def _parts(url: str, flag: str = "--url") -> Any:
    parts = urlsplit(url)
    try:
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        sound = False
    if not sound or parts.query or parts.fragment:
        raise UsageError(f"{flag} wants an address such as {DEFAULT_URL}, with a path where it has one")
    return parts


def _token(file: Path | None, environment: Mapping[str, str]) -> str | None:
    if file is None:
        token, origin = environment.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
    else:
        token, origin = _content(file), f"--token-file {file}"
    token = token.strip()
    if file is not None and not token:
        raise UsageError(f"{origin} is empty")
    if not token.isascii() or any(character.isspace() for character in token):
        raise UsageError(f"{origin} holds something else than one token")
    return token or None


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {file} cannot be read: {error}") from error


def _this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Grafana:
    """A Grafana server. Every call answers with its JSON, or raises one of ours."""

    def __init__(self, where: Address) -> None:
        self._where = where
        parts = urlsplit(where.url)
        path = parts.path.strip("/")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self.api = GrafanaApi(
            where.token, protocol=parts.scheme, host=host, port=parts.port, url_path_prefix=f"{path}/" if path else "",
            verify=str(where.ca) if where.ca is not None else True, timeout=where.timeout,
        )  # fmt: skip

    def check(self) -> str:
        """Return the server's version; Grafana hides it from some, then it is ``unknown``.

        Raises:
            UnreachableError, GrafanaError: nothing answers there, or something that is no Grafana.
        """
        try:
            health = self._called("/api/health", self.api.client.GET, "/health")
        except GrafanaError as error:
            if error.status == NOT_FOUND:
                raise GrafanaError(f"{self._where.url} is no Grafana: it has no /api/health", NOT_FOUND) from error
            raise
        if not isinstance(health, dict) or "database" not in health:
            raise GrafanaError(f"{self._where.url} does not answer as Grafana does: check the address and its path")
        return str(health.get("version") or "unknown")

    def found(self, what: str, call: Callable[..., Any], *arguments: Any) -> dict[str, Any] | None:
        """Return what is there, None where it is not."""
        try:
            return self.document(what, call, *arguments)
        except GrafanaError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def document(self, what: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> dict[str, Any]:
        """Return the JSON object that a call answers with."""
        answer = self._called(what, call, *arguments, **named)
        if not isinstance(answer, dict):
            raise GrafanaError(f"{what}: {self._where.url} does not answer as Grafana does; is a login page before it?")
        return answer

    def rows(self, what: str, call: Callable[..., Any], **named: Any) -> list[dict[str, Any]]:
        """Return the JSON objects of the list that a call answers with."""
        answer = self._called(what, call, **named)
        if not isinstance(answer, list):
            raise GrafanaError(f"{what}: {self._where.url} does not answer as Grafana does; is a login page before it?")
        return [row for row in answer if isinstance(row, dict)]

    def _called(self, what: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except GrafanaTimeoutError as error:
            raise UnreachableError(
                f"Grafana at {self._where.url} does not answer within {self._where.timeout:g} s"
            ) from error
        except GrafanaException as error:
            raise GrafanaError(_explained(what, error), error.status_code or None) from error
        except SSLError as error:
            hint = "" if self._where.ca else "; a CA of your own is told by --ca-file"
            raise UnreachableError(f"no trust in {self._where.url}: {_cause(error)}{hint}") from error
        except RequestException as error:
            raise UnreachableError(f"no Grafana answers at {self._where.url} (--url): {_cause(error)}") from error


def _explained(what: str, error: GrafanaException) -> str:
    response = error.response if isinstance(error.response, dict) else {}
    said = _short(response.get("message") or error.message)
    hints = {
        UNAUTHORIZED: f"401, the token is missing, wrong or expired: make one for a service account of Grafana and"
        f" put it into {TOKEN_VARIABLE} or --token-file",
        FORBIDDEN: "403, the token's role may not do this: dashboards, folders and annotations want Editor, a data"
        " source wants Admin",
        NOT_FOUND: "404, it is not there",
        CONFLICT: "409, there is another one of that name: rename or remove it in Grafana",
        PRECONDITION: _precondition(str(response.get("status", ""))),
    }
    hint = hints.get(error.status_code)
    return f"{what}: {hint} (Grafana says: {said})" if hint else f"{what}: Grafana says {error.status_code}: {said}"


def _precondition(status: str) -> str:
    """Say what of Grafana's was otherwise than expected; ``status`` is the word in its answer."""
    return {
        "version-mismatch": "412, somebody changed it meanwhile: call this again",
        "name-exists": "412, another dashboard in that folder has its title: rename or remove it in Grafana",
        "plugin-dashboard": "412, it belongs to a plugin, which would write over it: remove it there",
    }.get(status, "412, it was changed meanwhile: call this again")


def _cause(error: Exception) -> str:
    """Return the system's words for a connection that failed, out of the nested exceptions that hold them."""
    found = re.search(r"\[(?:Errno -?\d+|SSL[^\]]*)\] ([^'\")]+)", str(error))
    return found[1].strip() if found else _short(error)


def _short(what: object) -> str:
    text = " ".join(str(what).split())
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"
