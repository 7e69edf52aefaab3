"""Reads the committed dashboards: their panels, their queries, and the queries with the variables filled in."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.grafana.world import END

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
RANGE = 1800
FROM, TO = END - RANGE, END
TIMES = {"__from": f"{FROM}000", "__to": f"{TO}000", "__range_s": str(RANGE), "__range": f"{RANGE}s"}
VARIABLES = {**TIMES, "__rate_interval": "1m"} | dict.fromkeys(("cluster", "node", "instance", "task", "model"), ".*")


@dataclass(frozen=True)
class Query:
    """One query of one panel."""

    board: str
    panel: dict[str, Any]
    target: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.board}: {self.panel['title']} [{self.target['refId']}]"

    @property
    def expr(self) -> str:
        """The expression with every variable replaced, everything chosen."""
        return self.choosing()

    def choosing(self, **choice: str) -> str:
        """Return the expression with every variable replaced, these by a choice; an unknown one raises KeyError."""
        known = VARIABLES | choice
        return re.sub(r"\$\{?([a-zA-Z_]\w*)\}?", lambda found: known[found[1]], self.target["expr"])


def load(path: Path) -> dict[str, Any]:
    """Return a dashboard."""
    board = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(board, dict)
    return board


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the dashboard's panels, those inside rows too, without the rows."""
    every = [inner for panel in board["panels"] for inner in (panel, *panel.get("panels", []))]
    return [panel for panel in every if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Yield every query of every dashboard."""
    for path in DASHBOARDS:
        for panel in panels(load(path)):
            for target in panel.get("targets", []):
                yield Query(path.stem, panel, target)
