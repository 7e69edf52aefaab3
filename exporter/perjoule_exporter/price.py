"""What a kilowatt hour costs, as its owner states it: published beside the joules, multiplied by nothing here.

It knows no market and no hour: a tariff that changes is a setting that changes (SIGHUP).
"""

import math
import re
from dataclasses import dataclass

from perjoule.errors import UsageError


@dataclass(frozen=True, slots=True)
class Price:
    """Money for one kWh, in the currency of an ISO 4217 code."""

    per_kwh: float
    currency: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.per_kwh) and self.per_kwh >= 0):
            raise UsageError(f"--price.per-kwh {self.per_kwh:g} is impossible: it must be 0 or more")
        if not re.fullmatch(r"[A-Z]{3}", self.currency):
            raise UsageError(
                f"--price.currency {self.currency!r} must be three capital letters (ISO 4217), such as EUR"
            )


def price_of(per_kwh: float | None, currency: str | None) -> Price | None:
    """Return the price that two flags state; None without them.

    Raises:
        UsageError: one without the other, or a value that cannot be.
    """
    if per_kwh is None and currency is None:
        return None
    if per_kwh is None or currency is None:
        raise UsageError("--price.per-kwh and --price.currency need each other: a number alone is no price")
    return Price(per_kwh, currency)
