"""Where tokens come from: a file or the environment, never the command line, which others can read."""

import os
from collections.abc import Mapping
from pathlib import Path

from perjoule.errors import UsageError

GRAFANA = "GRAFANA_TOKEN"


def read_token(flag: str, path: Path) -> str:
    """Return the token in the file that a flag names.

    Raises:
        UsageError: it cannot be read, or holds something else than one token.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{flag} {path}: {getattr(error, 'strerror', None) or 'it is not ASCII'}") from None
    if not token or any(not one.isprintable() or one.isspace() for one in token):
        raise UsageError(f"{flag} {path}: write one token into it, and nothing else")
    return token


def grafana_token(path: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the service account's token, from a file if one is named, else from ``GRAFANA_TOKEN``; None without.

    Raises:
        UsageError: as ``read_token``.
    """
    return environment.get(GRAFANA) or None if path is None else read_token("--grafana-token-file", path)
