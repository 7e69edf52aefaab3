"""The dashboards as files: which there are, and their text."""

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from perjoule_grafana.boards import carbon, energy, fleet, run, study, trust

BOARDS = {
    "energy-per-inference": energy.board,
    "load-test-run": run.board,
    "fleet": fleet.board,
    "carbon-and-budget": carbon.board,
    "against-the-study": study.board,
    "trust": trust.board,
}
"""By the name of the file, in the order in which documents show them."""


def dashboard_files() -> dict[str, str]:
    """Return every dashboard: path from the repository's root, and classic JSON."""
    return {f"grafana/dashboards/{name}.json": _text(board()) for name, board in BOARDS.items()}


def _text(board: dashboard.Dashboard) -> str:
    return json.dumps(board, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
