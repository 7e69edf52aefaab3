"""Whose energy it was: a GPU's joules shared out over the processes and containers that used it.

``owner`` names them, ``shares`` and ``ledger`` are the pure arithmetic, ``procfs`` and ``cgroups`` find out who a pid
is, ``polls`` asks the drivers.
"""
