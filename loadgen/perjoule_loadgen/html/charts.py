"""Charts as HTML and SVG: line charts over a continuous axis, and rows of a figure with its interval.

The plot is an SVG that is stretched to the width of the screen; its labels are HTML, so that they keep their size on a
phone and in print. Everything is drawn here: the page's script only adds a cursor and zoom. Knows nothing of runs.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from perjoule_loadgen.html.scales import Axis, Point

_SIZE = 1000
_LABEL_SHARE = 0.07
_SHOWN_ROWS = 40
_LAST = 0.9


@dataclass(frozen=True, slots=True)
class Line:
    """One series. ``style`` is a class of the style sheet: ``one``, ``two`` or ``three``."""

    name: str
    style: str
    points: Sequence[Point]
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of the x axis with a name; ``style`` is a class of the style sheet."""

    name: str
    style: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A line chart.

    Attributes:
        id: unique on the page.
        title: what it shows.
        text: one sentence for whoever cannot see it, and for whoever can.
        x, y: the axes.
        x_name: what the x axis is.
        lines: the series; each is drawn.
        bands: stretches behind them.
        marks: vertical lines with their names.
    """

    id: str
    title: str
    text: str
    x: Axis
    y: Axis
    x_name: str
    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    marks: Sequence[tuple[float, str]] = ()
    bars: Sequence[tuple[float, float, float]] = ()


def drawn(chart: Chart) -> str:
    """Return a chart as a ``figure``."""
    id_ = escape(chart.id)
    legend = _legend(chart) if len(chart.lines) + len(chart.bands) > 1 else ""
    return (
        f'<figure class="chart" id="{id_}"><figcaption><h3 id="{id_}-title">{escape(chart.title)}</h3>'
        f'<p id="{id_}-text">{escape(chart.text)}</p></figcaption>{legend}'
        f'<div class="plot" tabindex="0" role="group" aria-labelledby="{id_}-title" aria-describedby="{id_}-text">'
        f'<div class="y-axis" aria-hidden="true">{_y_labels(chart)}</div>'
        f'<div class="area">{_svg(chart)}{_band_labels(chart)}<div class="cursor" hidden></div></div>'
        f'<div class="x-axis" aria-hidden="true">{_x_labels(chart.x)}</div>'
        f'<p class="x-name" aria-hidden="true">{escape(chart.x_name)}</p></div>'
        f'<p class="readout" role="status"></p>{_data(chart)}{_table(chart)}</figure>'
    )


def _svg(chart: Chart) -> str:
    parts = [_band(chart, band) for band in chart.bands]
    parts += [f'<line class="grid" x1="0" x2="{_SIZE}" y1="{(y := _y(chart, tick)):.1f}" y2="{y:.1f}"/>'
              for tick, _ in chart.y.ticks()]  # fmt: skip
    parts += [_bar(chart, *bar) for bar in chart.bars]
    parts += [f'<path class="line {line.style}" d="{_path(chart, line)}"/>' for line in chart.lines]
    parts += [f'<line class="mark" x1="{(x := _x(chart, at)):.1f}" x2="{x:.1f}" y1="0" y2="{_SIZE}"/>'
              for at, _ in chart.marks]  # fmt: skip
    box = f'viewBox="0 0 {_SIZE} {_SIZE}" preserveAspectRatio="none"'
    return f'<svg {box} role="img" aria-labelledby="{escape(chart.id)}-title">{"".join(parts)}</svg>'


def _x(chart: Chart, value: float) -> float:
    return chart.x.at(value) * _SIZE


def _y(chart: Chart, value: float) -> float:
    return (1 - chart.y.at(value)) * _SIZE


def _band(chart: Chart, band: Band) -> str:
    low, high = _x(chart, band.low), _x(chart, band.high)
    return f'<rect class="band {band.style}" x="{low:.1f}" width="{max(high - low, 0):.1f}" y="0" height="{_SIZE}"/>'


def _bar(chart: Chart, low: float, high: float, value: float) -> str:
    left, right, top = _x(chart, low), _x(chart, high), _y(chart, value)
    return f'<rect class="bar" x="{left:.1f}" width="{right - left:.1f}" y="{top:.1f}" height="{_SIZE - top:.1f}"/>'


def _path(chart: Chart, line: Line) -> str:
    parts: list[str] = []
    for x, y in ((_x(chart, x), _y(chart, y)) for x, y in line.points):
        if not parts:
            parts.append(f"M{x:.1f} {y:.1f}")
        elif line.stepped:
            parts.append(f"V{y:.1f}H{x:.1f}")
        else:
            parts.append(f"L{x:.1f} {y:.1f}")
    return "".join(parts)


def _y_labels(chart: Chart) -> str:
    return "".join(
        f'<span style="top:{(1 - chart.y.at(value)) * 100:.2f}%">{escape(text)}</span>'
        for value, text in chart.y.ticks()
    )


def _x_labels(axis: Axis) -> str:
    return "".join(_x_label(axis.at(value), text) for value, text in axis.ticks())


def _x_label(at: float, text: str) -> str:
    """Return a label in the middle of its place, or left of it where it would stand out of the page."""
    end = ' class="end"' if at > _LAST else ""
    return f'<span{end} style="left:{at * 100:.2f}%">{escape(text)}</span>'


def _band_labels(chart: Chart) -> str:
    wide = [band for band in chart.bands if chart.x.at(band.high) - chart.x.at(band.low) >= _LABEL_SHARE]
    return "".join(
        f'<span class="band-label" aria-hidden="true" data-low="{chart.x.at(band.low):.4f}"'
        f' style="left:{chart.x.at(band.low) * 100:.2f}%;'
        f'max-width:{(chart.x.at(band.high) - chart.x.at(band.low)) * 100:.2f}%">{escape(band.name)}</span>'
        for band in wide
    )


def _legend(chart: Chart) -> str:
    entries = [(line.name, f"key line-key {line.style}") for line in chart.lines]
    entries += [
        (band.name, f"key band-key {band.style}") for band in {each.name: each for each in chart.bands}.values()
    ]
    entries += [("window edge", "key mark-key")] if chart.marks else []
    return '<ul class="legend">' + "".join(
        f'<li><span class="{style}"></span>{escape(name)}</li>' for name, style in entries
    ) + "</ul>"  # fmt: skip


def _data(chart: Chart) -> str:
    """Return what the script reads, with the characters that could end a script escaped."""
    content = {
        "x": {"low": chart.x.low, "high": chart.x.high, "log": chart.x.log, "unit": chart.x.unit},
        "y": {"unit": chart.y.unit},
        "lines": [{"name": line.name, "points": [[_r(x), _r(y)] for x, y in line.points]} for line in chart.lines],
        "bands": [{"name": band.name, "low": _r(band.low), "high": _r(band.high)} for band in chart.bands],
    }
    return f'<script type="application/json" class="data">{for_script(content)}</script>'


def for_script(content: object) -> str:
    """Return JSON that may stand in a script element."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _r(value: float) -> float:
    return float(f"{value:.6g}")


def _table(chart: Chart) -> str:
    """Return the same data as a table, thinned: the whole of it is in the CSV files."""
    tables = "".join(_line_table(chart, line) for line in chart.lines if line.points)
    return f'<details><summary>the data as a table</summary><div class="scroll">{tables}</div></details>'


def _line_table(chart: Chart, line: Line) -> str:
    step = max(len(line.points) // _SHOWN_ROWS, 1)
    rows = "".join(f"<tr><td>{x:,.6g}</td><td>{escape(chart.y.label(_r(y)))}</td></tr>" for x, y in line.points[::step])
    head = f"<tr><th>{escape(chart.x_name)}</th><th>{escape(line.name)}</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: a figure on a common axis with the range it lies in.

    Attributes:
        name: what it is.
        value: the figure, None below its resolution.
        low, high: its bounds, None where nothing is known of them.
        shown: the figure in words, with its uncertainty.
        text: what must be said of it, empty for nothing.
        own: whether it is this run's.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    shown: str
    text: str = ""
    own: bool = False


def intervals(bars: Iterable[Bar], axis: Axis) -> str:
    """Return rows of figures on one axis, which stands below them."""
    rows = "".join(_interval(bar, axis) for bar in bars)
    return (
        f'<div class="bars" role="list">{rows}</div><div class="bars-axis" aria-hidden="true">{_x_labels(axis)}</div>'
    )


def _interval(bar: Bar, axis: Axis) -> str:
    marks = "".join(f'<i class="tick" style="left:{axis.at(value) * 100:.2f}%"></i>' for value, _ in axis.ticks())
    if bar.low is not None and bar.high is not None:
        low, high = axis.at(bar.low) * 100, axis.at(bar.high) * 100
        marks += f'<i class="range" style="left:{low:.2f}%;width:{max(high - low, 0.3):.2f}%"></i>'
    if bar.value is not None:
        marks += f'<i class="dot" style="left:{axis.at(bar.value) * 100:.2f}%"></i>'
    own = " own" if bar.own else ""
    note = f'<p class="note">{escape(bar.text)}</p>' if bar.text else ""
    return (
        f'<div class="row{own}" role="listitem"><span class="name">{escape(bar.name)}</span>'
        f'<span class="shown">{escape(bar.shown)}</span><div class="track" aria-hidden="true">{marks}</div>{note}</div>'
    )
