"""NVIDIA GPUs through NVML: the driver's energy counter, power, and the state of the board.

``meter`` is all GPUs and how they come and go, ``board`` one of them; ``power`` what its energy is made of, ``status``,
``mig`` and ``processes`` what else it tells; ``driver`` is the border to the binding, ``gate`` who is inside it. What
none of them knows: whether the counter integrates all of the time (no publication says so), and what a MIG slice uses.
"""

from perjoule_exporter.meters.nvml.meter import NvmlMeter

__all__ = ["NvmlMeter"]
