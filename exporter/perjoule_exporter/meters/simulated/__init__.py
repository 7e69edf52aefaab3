"""Simulated GPUs: boards whose every joule is known, to hold everything that measures against.

Without a script there is one: its power is 70 W + 330 W × the load of the node's CPUs, or from the first span on that
of the spans that are open (``work``), its counter ticks every 100 ms,
and a tick becomes readable 200 ms after the time that it is stamped with, as a driver's does. A script
(docs/simulation.md) gives more boards, other sensors, and things that go wrong. All say ``method="simulated"``
everywhere, and no figure from them means anything outside a test or a demonstration.
"""

from perjoule_exporter.meters.simulated.load import NodeLoad
from perjoule_exporter.meters.simulated.meter import SimulatedMeter
from perjoule_exporter.meters.simulated.script import DEFAULT, UUID, Script, load_script
from perjoule_exporter.meters.simulated.truth import Tick, TruthFile

__all__ = ["DEFAULT", "UUID", "NodeLoad", "Script", "SimulatedMeter", "Tick", "TruthFile", "load_script"]
