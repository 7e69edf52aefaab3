"""The one table of what alerts compare with. Budgets are settings instead, in ``prometheus/rules/budgets.yml``."""

from dataclasses import dataclass

from perjoule.metrics import Program


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of the alerts, each with the unit in its name and the reason for its value beside it."""

    over_limit_ratio: float = 1.25
    """Power by the counter over the board's limit: boards overshoot by some per cent for milliseconds only."""

    disagreement_ratio: float = 0.05
    """Counter against integral of power: normally within 1 %; 5 % is the sensor's own gain from board to board."""

    residual_joules: float = 0.001
    """Conservation: the ledger is exact to the microjoule; a double of a billion joules is exact to a tenth of one."""

    least_requests: int = 10
    """Requests in five minutes from which on they must have energy: a single one may fall between two scrapes."""

    regression_ratio: float = 1.2
    """Joules per inference against the week's: repeats of one workload differ by some 2 %."""

    regression_requests: int = 100
    """Requests in an hour below which no regression is told."""

    budget_fast_ratio: float = 1.5
    """Five minutes over the budget by this much."""

    budget_slow_ratio: float = 1.0
    """An hour over the budget."""

    idle_ratio: float = 0.8
    """Share of a GPU's joules that are idle: served clusters of universities had 0.48 (docs/energy.md)."""

    capped_ratio: float = 0.5
    """Share of time with the clocks held down for power."""

    intensity_age_seconds: int = 3 * 3600
    """Age of a live carbon intensity: providers publish hourly or faster, some an hour late."""

    carbon_fast_ratio: float = 2.0
    """Grams of an hour over those that the 30-day budget has for an hour."""

    carbon_slow_ratio: float = 1.0
    """Grams of a week over those that the 30-day budget has for a week."""


THRESHOLDS = Thresholds()
JOB = Program.EXPORTER.value
LIVE_PROVIDERS = 'provider!~"static|ember"'
"""Ember publishes months, and the table that Perjoule carries years: they are always old."""

CAPPED_REASONS = "sw_power_cap|hw_power_brake_slowdown"
ENERGY_BUDGET = "task:inference_energy_joules_per_inference:budget"
"""Setting: joules per inference, by ``task`` and, where it has the label, ``model``."""

CARBON_BUDGET = "cluster:emissions_grams_per_30d:budget"
"""Setting: grams of CO2e in 30 days, by ``cluster`` as far as the series have that label."""
