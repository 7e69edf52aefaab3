"""Where panels lie: titled bands over a grid of 24 columns, each panel with its width."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.models import dashboard

GRID_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Band:
    """A titled row of the dashboard with panels of one height; each panel comes with its width (the grid has 24)."""

    title: str
    height: int
    panels: Sequence[tuple[dashboard.Panel, int]]


def laid_out(bands: Sequence[Band]) -> list[dashboard.Panel | dashboard.RowPanel]:
    """Return the bands' panels with ids and places, each band under its row, left to right, wrapping at the width."""
    placed: list[dashboard.Panel | dashboard.RowPanel] = []
    y = 0
    for band in bands:
        placed.append(dashboard.RowPanel(title=band.title, id_val=len(placed) + 1))
        placed[-1].grid_pos = dashboard.GridPos(h=1, w=GRID_WIDTH, x=0, y=y)
        y, x = y + 1, 0
        for panel, width in band.panels:
            if x + width > GRID_WIDTH:
                x, y = 0, y + band.height
            panel.id_val = len(placed) + 1
            panel.grid_pos = dashboard.GridPos(h=band.height, w=width, x=x, y=y)
            placed.append(panel)
            x += width
        y += band.height
    return placed
