"""Runs inside a peer's environment: measures when it is told to, and answers each line with one line of JSON.

    python peer_child.py zeus-energy | zeus-power SECONDS | zeus-power inferred | codecarbon

``begin`` starts a window and ``end`` ends it. Both answer the Unix time of that edge, ``end`` also joules, by GPU or in
sum; either answers the error that was raised. It imports nothing of Perjoule's, and the peer by its name.
"""

import importlib
import json
import sys
import time
from typing import Any, Protocol


class Window(Protocol):
    """A way to measure."""

    def begin(self) -> dict[str, Any]:
        """Start a window. Its time is ``at`` of what it returns, else the middle of the call."""

    def end(self) -> dict[str, Any]:
        """End it and return its joules."""


class ZeusEnergy:
    """``ZeusMonitor`` as its documentation shows it."""

    def __init__(self) -> None:
        self._monitor = importlib.import_module("zeus.monitor").ZeusMonitor()

    def begin(self) -> dict[str, Any]:
        """Start a window; no torch is here to be synchronised."""
        self._monitor.begin_window("window", sync_execution=False, restart=True)
        return {}

    def end(self) -> dict[str, Any]:
        """End it."""
        measured = self._monitor.end_window("window", sync_execution=False)
        return {"gpus": {str(gpu): joules for gpu, joules in measured.gpu_energy.items()}}


class ZeusPower:
    """``PowerMonitor``, which polls in processes of its own from the start."""

    def __init__(self, period: str) -> None:
        monitor = importlib.import_module("zeus.monitor").PowerMonitor
        self._monitor = monitor(update_period=None if period == "inferred" else float(period))
        self._begun = 0.0

    def begin(self) -> dict[str, Any]:
        """Note the time."""
        self._begun = time.time()
        return {}

    def end(self) -> dict[str, Any]:
        """Return its own integral of power."""
        energy = self._monitor.get_energy(self._begun, time.time()) or {}
        return {"gpus": {str(gpu): joules for gpu, joules in energy.items()}, "period": self._monitor.update_period}


class CodeCarbon:
    """An offline tracker with its own intervals; one for each window, as a run of a program has."""

    def __init__(self) -> None:
        self._make = importlib.import_module("codecarbon").OfflineEmissionsTracker
        self._tracker: Any = None

    def begin(self) -> dict[str, Any]:
        """Start a tracker. Making one takes seconds and is not in its window."""
        self._tracker = self._make(
            country_iso_code="FRA", save_to_file=False, allow_multiple_runs=True, log_level="error"
        )
        self._tracker.start()  # takes a second or so and reads the counters at its end
        return {"at": time.time()}

    def end(self) -> dict[str, Any]:
        """Stop it; it counts kilowatt-hours of all GPUs together."""
        at = time.time()
        self._tracker.stop()  # reads them at its beginning
        return {"at": at, "joules": self._tracker.final_emissions_data.gpu_energy * 3.6e6}


def main(arguments: list[str]) -> None:
    """Answer lines until there are no more."""
    kind, *rest = arguments
    made: Window
    if kind == "zeus-energy":
        made = ZeusEnergy()
    elif kind == "zeus-power":
        made = ZeusPower(*rest)
    else:
        made = CodeCarbon()
    _say({"ready": True})
    for line in sys.stdin:
        before = time.time()
        try:
            answer = made.end() if line.strip() == "end" else made.begin()
        except Exception as error:  # noqa: BLE001 (the process's edge: what the peer raises is what is observed)
            answer = {"error": f"{type(error).__name__}: {error}"}
        _say({"at": (before + time.time()) / 2, **answer})


def _say(answer: dict[str, Any]) -> None:
    sys.__stdout__.write(json.dumps(answer) + "\n")  # type: ignore[union-attr]  # our parent gave us a pipe
    sys.__stdout__.flush()  # type: ignore[union-attr]  # as above


if __name__ == "__main__":
    main(sys.argv[1:])
