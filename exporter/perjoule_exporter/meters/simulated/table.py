"""One table of a TOML file, read key by key: a value that cannot be is refused with the file, the place and the key.

It knows types and ranges. What keys mean, and whether two fit together, is up to who asks.
"""

from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from perjoule.errors import UsageError


class Table:
    """The values of one table. ``place`` names it in messages: the file, and where in it."""

    def __init__(self, values: Mapping[str, Any], place: str) -> None:
        self._values = values
        self._asked: dict[str, None] = {}
        self.place = place

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def raw(self, key: str) -> Any:
        """Return whatever is there; None if nothing is."""
        self._asked[key] = None
        return self._values.get(key)

    def number(self, key: str, default: float | None, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``; without a default it must be there."""
        value = self.raw(key)
        if value is None:
            return self._required(key) if default is None else default
        if not is_number(value, low, high):
            self.refuse(key, f"a number from {low:.15g} to {high:.15g}")
        return float(value)

    def maybe_number(self, key: str, low: float, high: float) -> float | None:
        """Return a number from ``low`` to ``high``, or None where there is none."""
        return self.number(key, None, low, high) if key in self._values else self.raw(key)

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, int) or not is_number(value, low, high):
            self.refuse(key, f"a whole number from {low} to {high}")
        return int(value)

    def text(self, key: str, default: str) -> str:
        """Return a text of 1 to 200 printable characters."""
        value = self.raw(key)
        if value is None:
            return default
        if not (isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()):  # noqa: PLR2004 (said above)
            self.refuse(key, "a text of 1 to 200 printable characters")
        return str(value)

    def choice(self, key: str, default: str | None, allowed: Collection[str]) -> str:
        """Return one of ``allowed``."""
        value = self.raw(key)
        if value is None:
            return self._required(key) if default is None else default
        if not isinstance(value, str) or value not in allowed:
            self.refuse(key, f"one of {', '.join(allowed)}")
        return value

    def choices(self, key: str, allowed: Collection[str]) -> frozenset[str]:
        """Return some of ``allowed``, none if nothing is there."""
        value = self.raw(key)
        if value is None:
            return frozenset()
        if not isinstance(value, list) or not all(isinstance(name, str) and name in allowed for name in value):
            self.refuse(key, f"a list of {', '.join(allowed)}")
        return frozenset(value)

    def flag(self, key: str) -> bool:
        """Return true or false; false if nothing is there."""
        value = self.raw(key)
        if value is not None and not isinstance(value, bool):
            self.refuse(key, "true or false")
        return bool(value)

    def tables(self, key: str, most: int) -> list["Table"]:
        """Return the tables of an array of tables, at most ``most``."""
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value) or len(value) > most:
            self.refuse(key, f"at most {most} tables, each [[…{key}]]")
        return [Table(item, f"{self.place}: {key} {number}") for number, item in enumerate(value, start=1)]

    def done(self) -> None:
        """Refuse what nobody asked for: a misspelt key would be a setting that silently does nothing."""
        for key in self._values:
            if key not in self._asked:
                raise UsageError(f"{self.place}: unknown key {key!r} (allowed: {', '.join(sorted(self._asked))})")

    def refuse(self, key: str, allowed: str) -> NoReturn:
        """Refuse the value of ``key``."""
        if key not in self._values:
            raise UsageError(f"{self.place}: {key} is missing: {allowed}")
        shown = repr(self._values[key])
        shown = shown if len(shown) <= 60 else shown[:57] + "..."  # noqa: PLR2004 (a line for a person)
        raise UsageError(f"{self.place}: {key} = {shown} must be {allowed}")

    def _required(self, key: str) -> NoReturn:
        raise UsageError(f"{self.place}: {key} is missing")


def is_number(value: object, low: float, high: float) -> bool:
    """Tell whether a value of TOML or JSON is a finite number from ``low`` to ``high``."""
    # Compared and not converted: an integer of TOML may be too large for a float, and nan is between nothing.
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
