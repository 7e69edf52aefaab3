"""Panels in the house style: titled, described, with a unit, on the chosen data source.

Knows Grafana's panel model; knows nothing of energy. Tables and bar charts are in ``tables``, places in ``layout``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import bargauge as bargauge_builder
from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as dashboard_builder
from grafana_foundation_sdk.builders import prometheus as prometheus_builder
from grafana_foundation_sdk.builders import stat as stat_builder
from grafana_foundation_sdk.builders import text as text_builder
from grafana_foundation_sdk.builders import timeseries as timeseries_builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.text import TextMode

from perjoule_grafana.queries import FIVE_MINUTES

DATA_SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
COUNT = "locale"
"""Grafana's unit of a number of things: written out with separators, no decimals."""

MIN_INTERVAL = FIVE_MINUTES.every
"""No panel asks for more points than the rules record."""

MINUTE = "1m"
NOTHING = "—"
GOOD, BAD, PLAIN = "green", "red", "text"
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Text:
    """What a panel is called, what it says it shows, and the Grafana unit of its values."""

    title: str
    description: str
    unit: str


@dataclass(frozen=True, slots=True)
class Line:
    """One query of a panel over time: PromQL, the legend of its series, and whether they are drawn dashed."""

    expr: str
    legend: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """How one figure is shown: its colour, or from which values on which colour, or words in place of values."""

    color: str = PLAIN
    steps: tuple[tuple[float, str], ...] = ()
    words: tuple[tuple[str, str, str], ...] = ()
    """Value, text and colour."""


def stat(text: Text, expr: str, look: Look, *, legend: str = "", interval: str = MIN_INTERVAL) -> dashboard.Panel:
    """Return one big figure per series of an instant query."""
    builder = dressed(stat_builder.Panel(), text, interval)
    builder.with_target(target(expr).instant().legend_format(legend))
    builder.graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.VALUE)
    builder.reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
    if legend:  # by itself Grafana names figures only where there are several
        builder.text_mode(common.BigValueTextMode.VALUE_AND_NAME)
    builder.mappings([dashboard.ValueMap(_words(look))] if look.words else [])
    if look.steps:
        colored = dashboard_builder.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS)
        return builder.color_scheme(colored).thresholds(_steps(look)).build()
    return builder.color_scheme(fixed(look.color)).build()


@dataclass(frozen=True, slots=True)
class Axis:
    """The axis of values: logarithmic, or stacked, and at least from ``low`` to ``high``: noise looks small."""

    log: bool = False
    stacked: bool = False
    low: float | None = None
    high: float | None = None


LOG, STACKED, COUNTS = Axis(log=True), Axis(stacked=True, low=0), Axis(low=0, high=1)


def lines(text: Text, drawn: Sequence[Line], axis: Axis = Axis(low=0)) -> dashboard.Panel:
    """Return lines over time, one per series of each query; gaps stay gaps."""
    scale = common_builder.ScaleDistributionConfig()
    builder = dressed(timeseries_builder.Panel(), text)
    for letter, line in lettered(drawn):
        builder.with_target(target(line.expr, letter).range().legend_format(line.legend))
        if line.dashed:
            dash = common.LineStyle(fill="dash", dash=[8, 8])
            builder.override_by_query(letter, [dashboard.DynamicConfigValue("custom.lineStyle", dash)])
    builder.draw_style(common.GraphDrawStyle.LINE).line_width(1).fill_opacity(40 if axis.stacked else 0)
    builder.show_points(common.VisibilityMode.AUTO).span_nulls(False)
    builder.scale_distribution(scale.type(common.ScaleDistribution.LOG).log(10) if axis.log else scale)
    if axis.low is not None:
        builder.axis_soft_min(axis.low)
    if axis.high is not None:
        builder.axis_soft_max(axis.high)
    builder.legend(_legend()).tooltip(_tooltip())
    if axis.stacked:
        builder.stacking(common_builder.StackingConfig().mode(common.StackingMode.NORMAL))
    return builder.build()


def ranked(text: Text, expr: str, legend: str, color: str) -> dashboard.Panel:
    """Return horizontal bars, one per series of an instant query, in the query's own order."""
    builder = dressed(bargauge_builder.Panel(), text)
    builder.with_target(target(expr).instant().legend_format(legend))
    builder.orientation(common.VizOrientation.HORIZONTAL).display_mode(common.BarGaugeDisplayMode.BASIC)
    builder.reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
    return builder.color_scheme(fixed(color)).min(0).build()


def words(title: str, description: str, content: str) -> dashboard.Panel:
    """Return a panel of text (Markdown) that asks nothing."""
    return text_builder.Panel().title(title).description(description).mode(TextMode.MARKDOWN).content(content).build()


def dressed(builder: B, text: Text, interval: str = MIN_INTERVAL) -> B:
    """Give any panel builder what every panel has; the SDK's builders share these methods and no base class."""
    panel: Any = builder
    panel.title(text.title).description(text.description).unit(text.unit)
    panel.datasource(DATA_SOURCE).interval(interval).no_value(NOTHING)
    return builder


def target(expr: str, letter: str = "A") -> prometheus_builder.Dataquery:
    """Return a query of the chosen data source."""
    return prometheus_builder.Dataquery().expr(expr).ref_id(letter).datasource(DATA_SOURCE)


def lettered(queries: Sequence[B]) -> list[tuple[str, B]]:
    """Return queries with the letters that Grafana gives them: A, B and so on."""
    return [(chr(ord("A") + place), query) for place, query in enumerate(queries)]


def fixed(color: str) -> dashboard_builder.FieldColor:
    """Return one of Grafana's named colours."""
    return dashboard_builder.FieldColor().mode(dashboard.FieldColorModeId.FIXED).fixed_color(color)


def _steps(look: Look) -> dashboard_builder.ThresholdsConfig:
    steps = [dashboard.Threshold(None, look.color), *(dashboard.Threshold(value, color) for value, color in look.steps)]
    return dashboard_builder.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _words(look: Look) -> dict[str, dashboard.ValueMappingResult]:
    return {value: dashboard.ValueMappingResult(text=text, color=color) for value, text, color in look.words}


def _legend() -> common_builder.VizLegendOptions:
    legend = common_builder.VizLegendOptions().show_legend(True)
    legend = legend.display_mode(common.LegendDisplayMode.TABLE).placement(common.LegendPlacement.RIGHT)
    return legend.calcs(["lastNotNull"]).sort_by("Last *").sort_desc(True)


def _tooltip() -> common_builder.VizTooltipOptions:
    return common_builder.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
