"""AMD GPUs through ROCm's AMD SMI: the firmware's energy accumulator, power, and the state of the board.

``meter`` is all boards, ``counter`` the accumulator and whether it is to be believed, ``driver`` the border to the
amdsmi package. What none of them knows: boards that are added, or partitioned anew, after AMD SMI was started; what
each half of an MI250 drew (its driver counts both in the first; the second one tells neither energy nor power and is
left out); why clocks are held down (the one call that tells it, ``amdsmi_get_violation_status``, waits 100 ms).
"""

from perjoule_exporter.meters.amd.meter import AmdMeter

__all__ = ["AmdMeter"]
