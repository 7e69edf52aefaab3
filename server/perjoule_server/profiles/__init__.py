"""What ``--models`` can name: four profiles and a file of the user's own, each a list of specifications.

A profile answers "which models for these workloads", without importing torch, so that a command line is answered at
once. Where the weights lie on this disk is found afterwards (``hub``), loading comes later still (``tasks.loaders``).
"""
