"""Where the exporter's socket is: what was named, else the two places where it listens by default."""

from collections.abc import Mapping
from pathlib import Path

ENVIRONMENT = "PERJOULE_SPAN_SOCKET"
SYSTEM = Path("/run/perjoule/spans.sock")


def default_paths(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the system's path and, where there is one, that in the user's runtime directory."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    user = (Path(runtime) / "perjoule" / "spans.sock",) if runtime.startswith("/") else ()
    return (SYSTEM, *user)


def client_paths(named: str | Path | None, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the paths to try, in this order: what was named here or by the environment, else the defaults."""
    named = named or environment.get(ENVIRONMENT)
    return (Path(named),) if named else default_paths(environment)
