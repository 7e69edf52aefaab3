"""A ledger's sums from one run to the next, beside the energy of its device. Pure.

The device's energy is the measure: what it counted and the ledger did not is used up in time that nobody knows of.
"""

from collections.abc import Mapping
from typing import Any

from perjoule_exporter.ledger import Interval, Ledger

_NEVER = float("-inf")


def go_on(ledger: Ledger, saved: Any, total: int, *, with_grams: bool) -> None:
    """Let a new ledger go on from ``saved``, None for the first time, on a device that has used ``total`` microjoules.

    Args:
        ledger: a new one.
        saved: what a ledger saved in an earlier run.
        total: all that the device has used, as its own counter goes on.
        with_grams: whether emissions go on too; they do not where they are now counted by another basis.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: ``saved`` is not what a ledger saves, or of other energy.
    """
    if saved is not None:
        ledger.restore(saved if with_grams else _without_grams(saved))
    missing = total - ledger.snapshot().counter
    if missing:
        # Of no time at all: the ledger leaves it at once. A negative one is refused there.
        ledger.used(Interval(missing, _NEVER, _NEVER, "down"))


def _without_grams(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    rows = [
        [task, model, {**row, "charges": {outcome: [joules, None] for outcome, (joules, _) in row["charges"].items()}}]
        for task, model, row in saved["accounts"]["rows"]
    ]
    given = [[task, model, joules, None] for task, model, joules, _ in saved["given"]]
    return {**saved, "accounts": {**saved["accounts"], "rows": rows}, "given": given}
