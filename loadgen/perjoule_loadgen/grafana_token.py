"""Where the token for ``--grafana`` comes from: a file or the environment, never the command line."""

import os
from collections.abc import Mapping
from pathlib import Path

from perjoule.errors import UsageError

TOKEN = "GRAFANA_TOKEN"  # noqa: S105 (the name of a variable)


def token(path: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the service account's token, from a file if one is named, else from ``GRAFANA_TOKEN``; None without.

    Raises:
        UsageError: the file cannot be read, or is empty.
    """
    if path is None:
        return environment.get(TOKEN) or None
    try:
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--grafana-token-file {path} cannot be read: {error}") from error
    if not found or any(character.isspace() for character in found):
        raise UsageError(f"--grafana-token-file {path} holds no token: one line, and nothing else in it")
    return found
