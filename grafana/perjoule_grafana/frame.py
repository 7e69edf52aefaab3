"""What every dashboard has: identity, variables, links to the others, and annotations of load tests."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as dashboard_builder
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard

from perjoule_grafana.layout import Band, laid_out
from perjoule_grafana.panels import DATA_SOURCE
from perjoule_grafana.queries import POWER

TAG = "perjoule"
RUN_TAGS = ("perjoule", "load-test")
"""Tags of the annotation of a load-test run; whoever writes one uses these."""

PLACE = 'cluster=~"$cluster", node=~"$node"'
TASK = f'{PLACE}, task=~"$task", model=~"$model"'
GRAFANA = common.DataSourceRef(type_val="grafana", uid="-- Grafana --")


@dataclass(frozen=True, slots=True)
class Frame:
    """Identity of a dashboard, what it lets one choose, and the range that it opens with."""

    uid: str
    title: str
    description: str
    tags: tuple[str, ...]
    choices: tuple[str, ...] = ()
    """Beside the data source, cluster and node: ``task``, ``model``, ``instance``."""

    since: str = "now-1h"
    refresh: str = "15s"


def framed(frame: Frame, bands: Sequence[Band]) -> dashboard.Dashboard:
    """Return the whole dashboard."""
    board = (
        dashboard_builder.Dashboard(frame.title)
        .uid(frame.uid)
        .description(frame.description)
        .tags([TAG, *frame.tags])
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time(frame.since, "now")
        .refresh(frame.refresh)
        .timezone("browser")
        .variables(_variables(frame.choices))
        .link(_to_the_others())
        .annotation(_runs())
        .build()
    )
    board.panels = laid_out(bands)
    return board


def _variables(choices: Sequence[str]) -> list[Builder[dashboard.VariableModel]]:
    requests = "inference_requests_total"
    cluster, node, task = 'cluster=~"$cluster"', PLACE, f'{PLACE}, task=~"$task"'
    offered = {
        "instance": ("Exporter", f'label_values(up{{job="gpu-energy-exporter", {node}}}, instance)'),
        "task": ("Task", f"label_values({requests}{{{node}}}, task)"),
        "model": ("Model", f"label_values({requests}{{{task}}}, model)"),
    }
    return [
        dashboard_builder.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _choice("cluster", "Cluster", f"label_values({POWER}, cluster)"),
        _choice("node", "Node", f"label_values({POWER}{{{cluster}}}, node)"),
        *(_choice(name, *offered[name]) for name in choices),
    ]


def _choice(name: str, label: str, query: str) -> dashboard_builder.QueryVariable:
    """Return a variable that offers the values of a label, several at once, all by default."""
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        dashboard_builder.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .query({"query": query, "refId": f"Variable-{name}"})
        .definition(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")  # also matches series that carry no such label: one machine needs no cluster or node
        .current(everything)
    )


def _to_the_others() -> dashboard_builder.DashboardLink:
    link = dashboard_builder.DashboardLink("Perjoule").type(dashboard.DashboardLinkType.DASHBOARDS)
    return link.tags([TAG]).as_dropdown(False).include_vars(True).keep_time(True).icon("external link")


def _runs() -> dashboard_builder.AnnotationQuery:
    """Mark the load tests: regions that ``perjoule-grafana annotate`` and ``loadgen --grafana`` write."""
    tagged = dashboard_builder.AnnotationTarget().limit(100).match_any(False).tags(list(RUN_TAGS)).type("tags")
    query = dashboard_builder.AnnotationQuery().name("Load tests").datasource(GRAFANA).enable(True)
    return query.icon_color("purple").target(tagged)  # type: ignore[arg-type]  # the SDK wants a query, Grafana this
