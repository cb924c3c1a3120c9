"""Side by side with other packages: the same weights, agreement checked before any time is told.

``python -m benchmarks.peers`` runs every cell (a work and a contestant) in a fresh process and
writes one table. Works are in :mod:`works`, plain numpy answers in :mod:`reference`, and one
adapter for each contestant in the module of its name.
"""
