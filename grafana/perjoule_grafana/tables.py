"""Panels whose queries become columns: tables, and bar charts of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import barchart as barchart_builder
from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import table as table_builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from perjoule_grafana.panels import COUNT, Text, dressed, lettered, target


@dataclass(frozen=True, slots=True)
class Column:
    """A value column: header, Grafana unit, and the instant query that fills it."""

    header: str
    unit: str
    expr: str


@dataclass(frozen=True, slots=True)
class Jump:
    """Where a click on a cell of column ``header`` leads; ``url`` may hold ``${__data.fields.…}``."""

    header: str
    title: str
    url: str


def table(
    text: Text, names: Sequence[str], columns: Sequence[Column], *, sort: str, jumps: Sequence[Jump] = ()
) -> dashboard.Panel:
    """Return a table: one row per combination of the labels ``names``, one column per query, ``sort`` descending."""
    builder = dressed(table_builder.Panel(), text)
    builder.cell_height(common.TableCellHeight.SM)
    builder.sort_by([common_builder.TableSortByFieldState().display_name(sort).desc(True)])
    for letter, column in lettered(columns):
        builder.with_target(target(column.expr, letter).instant().format(PromQueryFormat.TABLE))
        builder.override_by_name(f"Value #{letter}", _shown(column))
    for jump in jumps:
        link = {"title": jump.title, "url": jump.url, "targetBlank": False}
        builder.override_by_name(jump.header, [dashboard.DynamicConfigValue("links", [link])])
    for transformation in _one_row_each(names):
        builder.with_transformation(transformation)
    return builder.build()


def compared(text: Text, name: str, columns: Sequence[Column], *, sort: str) -> dashboard.Panel:
    """Return bars on a logarithmic axis: a group per value of the label ``name``, by the query with letter ``sort``."""
    builder = dressed(barchart_builder.Panel(), text)
    for letter, column in lettered(columns):
        builder.with_target(target(column.expr, letter).instant().format(PromQueryFormat.TABLE))
        builder.override_by_name(f"Value #{letter}", _shown(column))
    scale = common_builder.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10)
    legend = common_builder.VizLegendOptions().show_legend(True).display_mode(common.LegendDisplayMode.LIST)
    builder.scale_distribution(scale).legend(legend.placement(common.LegendPlacement.BOTTOM).calcs([]))
    builder.orientation(common.VizOrientation.HORIZONTAL).x_field(name.capitalize()).fill_opacity(80)
    builder.show_value(common.VisibilityMode.NEVER).group_width(0.8).bar_width(0.9)
    order = {"fields": {}, "sort": [{"field": f"Value #{sort}", "desc": True}]}
    sorting = dashboard.DataTransformerConfig(id_val="sortBy", options=order)
    for transformation in (*_one_row_each([name]), sorting):
        builder.with_transformation(transformation)
    return builder.build()


def _shown(column: Column) -> list[dashboard.DynamicConfigValue]:
    header = dashboard.DynamicConfigValue("displayName", column.header)
    unit = dashboard.DynamicConfigValue("unit", column.unit)
    whole = [dashboard.DynamicConfigValue("decimals", 0)] if column.unit == COUNT else []
    return [header, unit, *whole]


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
