"""Panels in the house style, and how they are laid out: titled, described, with a unit, on the chosen data source.

Knows Grafana's panel model; knows nothing of energy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as dashboard_builder
from grafana_foundation_sdk.builders import prometheus as prometheus_builder
from grafana_foundation_sdk.builders import stat as stat_builder
from grafana_foundation_sdk.builders import table as table_builder
from grafana_foundation_sdk.builders import timeseries as timeseries_builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATA_SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
GRID_WIDTH = 24
COUNT = "locale"
"""Grafana's unit of a number of things: written out with separators, no decimals."""

MIN_INTERVAL = "15s"
"""No panel asks for more points than the rules record (``queries.FIVE_MINUTES.every``)."""


@dataclass(frozen=True, slots=True)
class Text:
    """What a panel is called, what it says it shows, and the Grafana unit of its values."""

    title: str
    description: str
    unit: str


@dataclass(frozen=True, slots=True)
class Column:
    """A value column of a table: header, Grafana unit, and the instant query that fills it."""

    header: str
    unit: str
    expr: str


@dataclass(frozen=True, slots=True)
class Band:
    """A titled row of the dashboard with panels of one height; each panel comes with its width (the grid has 24)."""

    title: str
    height: int
    panels: Sequence[tuple[dashboard.Panel, int]]


def stat(text: Text, expr: str, color: str, *, legend: str = "", interval: str = MIN_INTERVAL) -> dashboard.Panel:
    """Return one big figure per series of an instant query, in one of Grafana's named colours."""
    return (
        stat_builder.Panel()
        .title(text.title)
        .description(text.description)
        .unit(text.unit)
        .datasource(DATA_SOURCE)
        .interval(interval)
        .with_target(_target(expr).instant().legend_format(legend))
        .color_scheme(_fixed(color))
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("—")
        .build()
    )


def lines(text: Text, expr: str, legend: str, *, log: bool = False, stacked: bool = False) -> dashboard.Panel:
    """Return lines over time, one per series of ``expr``; gaps stay gaps."""
    scale = common_builder.ScaleDistributionConfig()
    legends = common_builder.VizLegendOptions().show_legend(True)
    legends = legends.display_mode(common.LegendDisplayMode.TABLE).placement(common.LegendPlacement.RIGHT)
    tooltip = common_builder.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    builder = (
        timeseries_builder.Panel()
        .title(text.title)
        .description(text.description)
        .unit(text.unit)
        .datasource(DATA_SOURCE)
        .interval(MIN_INTERVAL)
        .with_target(_target(expr).range().legend_format(legend))
        .draw_style(common.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(40 if stacked else 0)
        .show_points(common.VisibilityMode.AUTO)
        .span_nulls(False)
        .scale_distribution(scale.type(common.ScaleDistribution.LOG).log(10) if log else scale)
        .legend(legends.calcs(["lastNotNull"]).sort_by("Last *").sort_desc(True))
        .tooltip(tooltip.sort(common.SortOrder.DESCENDING))
        .no_value("—")
    )
    if stacked:
        builder = builder.stacking(common_builder.StackingConfig().mode(common.StackingMode.NORMAL))
    return (builder if log else builder.min(0)).build()


def table(text: Text, names: Sequence[str], columns: Sequence[Column], *, sort: str) -> dashboard.Panel:
    """Return a table: one row per combination of the labels ``names``, one column per query, ``sort`` descending."""
    builder = (
        table_builder.Panel()
        .title(text.title)
        .description(text.description)
        .unit(text.unit)
        .datasource(DATA_SOURCE)
        .interval(MIN_INTERVAL)
        .cell_height(common.TableCellHeight.SM)
        .sort_by([common_builder.TableSortByFieldState().display_name(sort).desc(True)])
        .no_value("—")
    )
    for position, column in enumerate(columns):
        ref = chr(ord("A") + position)
        builder.with_target(_target(column.expr).instant().format(PromQueryFormat.TABLE).ref_id(ref))
        header = dashboard.DynamicConfigValue("displayName", column.header)
        unit = dashboard.DynamicConfigValue("unit", column.unit)
        whole = [dashboard.DynamicConfigValue("decimals", 0)] if column.unit == COUNT else []
        builder.override_by_name(f"Value #{ref}", [header, unit, *whole])
    for transformation in _one_row_each(names):
        builder.with_transformation(transformation)
    return builder.build()


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


def _fixed(color: str) -> dashboard_builder.FieldColor:
    return dashboard_builder.FieldColor().mode(dashboard.FieldColorModeId.FIXED).fixed_color(color)


def _target(expr: str) -> prometheus_builder.Dataquery:
    return prometheus_builder.Dataquery().expr(expr).ref_id("A").datasource(DATA_SOURCE)


def _one_row_each(names: Sequence[str]) -> list[dashboard.DataTransformerConfig]:
    """Join the queries on their labels and drop the time column, so that a row is one combination of labels."""
    shown = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate(names)},
        "renameByName": {name: name.capitalize() for name in names},
    }
    return [
        dashboard.DataTransformerConfig(id_val="merge", options={}),
        dashboard.DataTransformerConfig(id_val="organize", options=shown),
    ]
