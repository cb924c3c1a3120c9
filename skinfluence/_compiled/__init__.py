"""Loops that are compiled by numba.

Nothing is imported here, so importing the package never imports numba.
"""
