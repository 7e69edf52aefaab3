"""The power of a script's GPU: from the forms that a script may give it in, to a curve.

A number (constant), "node" (the machine's CPUs), points, a square wave, or two columns of a CSV file.
"""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule_exporter.meters.simulated.curve import Curve, curve, stairs
from perjoule_exporter.meters.simulated.table import Table, is_number

LONGEST_SECONDS = 1e8  # three years
MOST_WATTS = 1e5
_SHORTEST_SECONDS = 1e-6
_MOST_POINTS = 200_000
_LONGEST_LINE = 10_000
_FORMS = 'a number of watts, "node", or one of {points = …}, {square = …}, {csv = …}'


def power_of(table: Table, key: str, folder: Path, limit_watts: float) -> Curve | None:
    """Return the power that ``key`` describes; None where it is "node". CSV files are relative to ``folder``.

    Raises:
        UsageError: no such form, or a curve that cannot be.
    """
    value = table.raw(key)
    if value == "node":
        return None
    if is_number(value, 0, limit_watts):
        return curve([(0.0, float(value))])
    forms = [form for form in _READERS if form in value] if isinstance(value, dict) else []
    if len(forms) != 1:
        table.refuse(key, f"{_FORMS}, from 0 to {limit_watts:g} W")
    form = Table(value, f"{table.place}: {key}")
    points, repeats = _READERS[forms[0]](form, folder)
    form.done()
    _check(form, points, repeats=repeats, limit_watts=limit_watts)
    return curve(points, repeats=repeats)


Points = Sequence[tuple[float, float]]


def _from_points(table: Table, folder: Path) -> tuple[Points, bool]:  # noqa: ARG001 (one signature for all)
    value = table.raw("points")
    if not isinstance(value, list) or not value or not all(_is_point(point) for point in value):
        table.refuse("points", "a list of [seconds, watts]")
    points = [(float(time), float(watts)) for time, watts in value]
    return (stairs(points) if table.flag("steps") else points), table.flag("repeat")


def _from_square(table: Table, folder: Path) -> tuple[Points, bool]:  # noqa: ARG001 (one signature for all)
    value = table.raw("square")
    if not (isinstance(value, list) and len(value) == 2 and all(is_number(watts, 0, MOST_WATTS) for watts in value)):  # noqa: PLR2004 (a pair)
        table.refuse("square", "[low watts, high watts]")
    low, high = map(float, value)
    period = table.number("period_seconds", None, 1e-3, LONGEST_SECONDS)
    on = period * table.number("duty", 0.5, 0.001, 0.999)
    return [(0.0, high), (on, high), (on, low), (period, low)], True


def _from_csv(table: Table, folder: Path) -> tuple[Points, bool]:
    path = folder / table.text("csv", "")
    columns = table.text("time", "seconds"), table.text("column", "watts")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            points = list(_rows(csv.DictReader(_short_lines(file)), path, columns))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table.place}: cannot read {path}: {error}") from error
    if not points:
        raise UsageError(f"{table.place}: {path} has no rows")
    return (stairs(points) if table.flag("steps") else points), table.flag("repeat")


def _rows(reader: "csv.DictReader[str]", path: Path, columns: tuple[str, str]) -> Iterator[tuple[float, float]]:
    if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
        raise UsageError(f"{path}: no column {missing[0]!r} (there are: {', '.join(reader.fieldnames or ())})")
    for row in islice(reader, _MOST_POINTS + 1):
        try:
            yield float(row[columns[0]]), float(row[columns[1]])
        except (TypeError, ValueError) as error:
            raise UsageError(f"{path}: line {reader.line_num} has no number in {' and '.join(columns)}") from error


def _short_lines(file: Any) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        yield line


def _is_point(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(is_number(x, -1e18, 1e18) for x in value)  # noqa: PLR2004 (a pair)


def _check(table: Table, points: Points, *, repeats: bool, limit_watts: float) -> None:
    """Refuse a curve that goes back in time, leaves the board's range, or begins again without having lasted."""
    if len(points) > _MOST_POINTS:
        raise UsageError(f"{table.place}: more than {_MOST_POINTS} points")
    for time, watts in points:
        if not (is_number(time, 0, LONGEST_SECONDS) and is_number(watts, 0, limit_watts)):
            raise UsageError(
                f"{table.place}: {watts:g} W at {time:g} s is impossible: power is from 0 to {limit_watts:g} W "
                f"(max_watts), time from 0 to {LONGEST_SECONDS:g} s"
            )
    for (before, _), (time, _) in pairwise(points):
        if time < before or 0 < time - before < _SHORTEST_SECONDS:
            raise UsageError(
                f"{table.place}: {time:g} s after {before:g} s: times must rise, by 1 µs or more, or be equal"
            )
    if repeats and points[-1][0] < 1e-3:  # noqa: PLR2004 (the shortest period)
        raise UsageError(f"{table.place}: what repeats must last at least 0.001 s")


_READERS = {"points": _from_points, "square": _from_square, "csv": _from_csv}
