"""Least squares from normal equations of a few unknowns, none of them negative. Pure.

Matrices are lists of rows. The standard library is enough for a few dozen unknowns. It knows no units.
"""

import math
from collections.abc import Sequence
from operator import mul

_TRACE = 1e-12
"""Smallest pivot, as a share of its diagonal: below it is rounding."""

_PULL = 1e-9
"""A gradient of less than this share of the largest moment frees no unknown."""

Matrix = list[list[float]]


def solved(gram: Matrix, moments: Sequence[float]) -> list[float]:
    """Return the non-negative x that fits ``gram`` x = ``moments`` best; ``gram`` has ones in its diagonal or more.

    Lawson and Hanson's active set (Solving Least Squares Problems, 1974, chapter 23), begun with all unknowns free,
    which they mostly are, and ended after as many rounds as are ever useful.
    """
    size = len(moments)
    values = [0.0] * size
    free = list(range(size))
    for _ in range(2 * size):
        found = _of(gram, moments, free)
        while min(found, default=0.0) < 0:
            values, free = _towards(values, free, found)
            found = _of(gram, moments, free)
        values = [0.0] * size
        for index, value in zip(free, found, strict=True):
            values[index] = value
        pull, index = max(
            ((moments[row] - sum(map(mul, gram[row], values)), row) for row in range(size) if row not in free),
            default=(0.0, 0),
        )
        if pull <= _PULL * max(map(abs, moments)):
            break
        free = sorted([*free, index])
    return values


def inverse(gram: Matrix) -> Matrix:
    """Return the inverse of a positive definite matrix."""
    lower = _cholesky(gram)
    size = len(gram)
    columns = [_forward(lower, [float(index == column) for index in range(size)]) for column in range(size)]
    return [[sum(map(mul, one, other)) for other in columns] for one in columns]


def _of(gram: Matrix, moments: Sequence[float], free: list[int]) -> list[float]:
    """Return the unknowns that are free, the others being 0."""
    lower = _cholesky([[gram[row][column] for column in free] for row in free])
    return _substituted(lower, [moments[index] for index in free])


def _towards(values: list[float], free: list[int], found: list[float]) -> tuple[list[float], list[int]]:
    """Go from ``values`` towards what was found as far as nothing is negative, and return those that are above 0."""
    step, first = min((values[i] / (values[i] - new), i) for i, new in zip(free, found, strict=True) if new < 0)
    moved = list(values)
    for index, new in zip(free, found, strict=True):
        moved[index] += step * (new - values[index])
    return moved, [i for i, new in zip(free, found, strict=True) if i != first and (new >= 0 or moved[i] > 0)]


def _cholesky(matrix: Matrix) -> Matrix:
    """Return the lower triangle L of ``matrix`` = L Lᵀ; a pivot that is lost in rounding is made a trace."""
    lower: Matrix = []
    for index, line in enumerate(matrix):
        row: list[float] = []
        for column in range(index):
            other = lower[column]
            row.append((line[column] - sum(map(mul, row, other))) / other[column])
        pivot = line[index] - sum(map(mul, row, row))
        row.append(math.sqrt(max(pivot, _TRACE * line[index])))
        lower.append(row)
    return lower


def _forward(lower: Matrix, right: Sequence[float]) -> list[float]:
    values: list[float] = []
    for row, value in zip(lower, right, strict=True):
        values.append((value - sum(map(mul, row, values))) / row[-1])
    return values


def _substituted(lower: Matrix, right: Sequence[float]) -> list[float]:
    """Return x of L Lᵀ x = ``right``."""
    values = _forward(lower, right)
    for index in range(len(values) - 1, -1, -1):
        row = lower[index]
        values[index] /= row[-1]
        for column in range(index):
            values[column] -= row[column] * values[index]
    return values
