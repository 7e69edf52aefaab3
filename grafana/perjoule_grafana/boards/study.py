"""*Against the study*: each workload's joules beside published ones, with the boundary of each in words."""

from grafana_foundation_sdk.models import dashboard

from perjoule.reference import ENERGY_SCORE, STUDY_BOUNDARY, STUDY_CAVEATS, STUDY_ONE_GPU_BOUNDARY, references
from perjoule_grafana.frame import Frame, framed
from perjoule_grafana.layout import Band
from perjoule_grafana.panels import Text, words
from perjoule_grafana.promql import active_per_inference, per_inference
from perjoule_grafana.queries import FIVE_MINUTES
from perjoule_grafana.tables import Column, Jump, compared, table

FRAME = Frame(
    "perjoule-study",
    "Against the study",
    "Energy per inference beside that of 'Power Hungry Processing' (arXiv 2311.16863) and AI Energy Score.",
    ("energy", "inference", "study"),
    ("task", "model"),
)
CAVEATS = "\n".join(f"- {caveat}" for caveat in STUDY_CAVEATS)
BOUNDARIES = f"""\
Published figures are of other people's hardware, models and inputs: they say which order of magnitude to expect, never
what this machine should give.

- **Study, as published**: {STUDY_BOUNDARY}.
- **Study, one GPU**: {STUDY_ONE_GPU_BOUNDARY}.
- **AI Energy Score**: one H100 alone, batch 1; median over models (February 2025).
- **Measured**: the devices of your own exporters, no PUE. *Active* is what the inferences themselves used; *fully
  loaded* has their share of idle energy in it.

{CAVEATS}
"""
JUMP = Jump("Task", "Energy of this task", "/d/perjoule-energy?var-task=${__data.fields.Task}&${__url_time_range}")


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    return framed(FRAME, [_bars(), _table(), _text()])


def _published(boundary: str) -> str:
    """Return the published figure of each workload as a series by ``task``, of those that have one."""
    figures = (
        (task, figure.joules_per_inference)
        for task, published in references().items()
        for figure in published
        if boundary in {figure.boundary, figure.source}
    )
    return "\nor ".join(f'label_replace(vector({joules!r}), "task", "{task}", "", "")' for task, joules in figures)


def _columns(by: str) -> tuple[Column, ...]:
    return (
        Column("Measured, fully loaded", "joule", per_inference(FIVE_MINUTES.energy, by)),
        Column("Measured, active", "joule", active_per_inference(by)),
        Column("AI Energy Score", "joule", _published(ENERGY_SCORE)),
        Column("Study, one GPU", "joule", _published(STUDY_ONE_GPU_BOUNDARY)),
        Column("Study, as published", "joule", _published(STUDY_BOUNDARY)),
    )


def _bars() -> Band:
    text = Text("Energy per inference beside the published", "Selected models, over the selected range; logarithmic"
                " axis: each line is ten times the one before. The boundaries differ: see below.", "joule")  # fmt: skip
    return Band("At a glance", 16, [(compared(text, "task", _columns("task"), sort="E"), 24)])


def _table() -> Band:
    measured = active_per_inference("task")
    columns = (
        *_columns("task"),
        Column("Active over one GPU", "percentunit", f"{measured} / on (task) ({_published(STUDY_ONE_GPU_BOUNDARY)})"),
    )
    text = Text("Each workload", "Selected models, over the selected range. Tasks that nothing was measured of show the"
                " published figures alone.", "short")  # fmt: skip
    return Band("In figures", 16, [(table(text, ("task",), columns, sort="Study, as published", jumps=(JUMP,)), 24)])


def _text() -> Band:
    description = "What is inside each published figure, and three things to say whenever they are shown."
    return Band("What is inside each figure", 8, [(words("Boundaries", description, BOUNDARIES), 24)])
