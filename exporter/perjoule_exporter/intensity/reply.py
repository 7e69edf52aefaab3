"""What a provider answered, taken apart: JSON, members, grams and times, each checked before it is believed.

The sentences name members and bounds, never what the far end wrote: an answer may repeat the token that was sent.
"""

import json
from datetime import UTC, datetime

from perjoule.errors import IntensityError
from perjoule_exporter.intensity.value import MOST_GRAMS_PER_KWH


def json_of(body: bytes) -> object:
    """Return the JSON value of ``body``.

    Raises:
        IntensityError: it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise IntensityError("answered what is no JSON") from None


def member(value: object, *path: str) -> object:
    """Return the member of nested objects at ``path``.

    Raises:
        IntensityError: it is not there, or on the way stands something else.
    """
    found = value
    for step in path:
        if not isinstance(found, dict) or step not in found:
            raise IntensityError(f"answered without {'.'.join(path)}")
        found = found[step]
    return found


def rows(value: object, name: str) -> list[object]:
    """Return the list ``name`` of an object; an empty one is an answer without a value.

    Raises:
        IntensityError: no such list, or nothing in it.
    """
    found = member(value, name)
    if not isinstance(found, list) or not found:
        raise IntensityError(f"answered with no row in {name}")
    return found


def grams_per_kwh(value: object, per_unit: float = 1.0) -> float:
    """Return an intensity in g/kWh; ``per_unit`` is how many of them one of the provider's unit is.

    Raises:
        IntensityError: null, no number, or a number that no grid can have.
    """
    if value is None:
        raise IntensityError("has no value now (null)")
    # Compared before it is made a float: JSON's integers may be larger than any float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_GRAMS_PER_KWH / per_unit:
        raise IntensityError(f"answered an intensity that is no number from 0 to {MOST_GRAMS_PER_KWH:g} g/kWh")
    return float(value) * per_unit


def unix_seconds(value: object) -> float:
    """Return the Unix time of an ISO 8601 text; one without an offset is UTC.

    Raises:
        IntensityError: it is no such text.
    """
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise IntensityError("answered a time that is none") from None


def same(value: object, expected: str, what: str) -> None:
    """Hold what the answer says of itself against what was asked for; case does not matter.

    Raises:
        IntensityError: it is the answer to another question.
    """
    if not isinstance(value, str) or value.casefold() != expected.casefold():
        raise IntensityError(f"answered for another {what} than {expected}")
