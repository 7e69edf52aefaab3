"""Emissions kept over a restart belong to a basis: grams by marginal intensity never go on by average ones.

The sums of the devices carry the basis that they were counted by; where the settings have another one now, the grams
start at 0, a reset that Prometheus understands, and the joules go on. What else the sums hold is not its business.
"""

import logging
from collections.abc import Mapping
from typing import Any

from perjoule_exporter.intensity.value import AVERAGE, MARGINAL, Basis

_LOG = logging.getLogger(__name__)

_KEY = "basis"

Sums = Mapping[str, Any]
"""By device; read from a file, so a device may hold anything."""


def marked(sums: Sums, basis: Basis | None) -> dict[str, dict[str, Any]]:
    """Return the sums of the devices with the basis that their grams were counted by."""
    return {device: {**kept, _KEY: basis} for device, kept in sums.items()}


def basis_of(saved: Sums) -> Basis | None:
    """Return the basis that saved grams were counted by; None where they say none."""
    found = [kept.get(_KEY) for kept in saved.values() if isinstance(kept, Mapping)]  # of any kind: no set takes them
    return next((basis for basis in (AVERAGE, MARGINAL) if basis in found), None)


def of_basis(saved: Sums, basis: Basis | None) -> Sums:
    """Return the sums without the grams, where those were counted by another basis than ``basis``."""
    before = basis_of(saved)
    if basis is None or before in {None, basis}:
        return saved
    _LOG.warning("emissions were counted by %s intensity and now are by %s: they start at 0", before, basis)
    return {device: _without_grams(kept) for device, kept in saved.items()}


def _without_grams(kept: Any) -> Any:
    energy = kept.get("energy") if isinstance(kept, Mapping) else None
    return {**kept, "energy": {**energy, "grams": None}} if isinstance(energy, Mapping) else kept
