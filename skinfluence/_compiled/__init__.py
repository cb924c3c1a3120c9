"""Compiled twins of numpy functions.

Nothing is imported here, so importing the package never imports numba.
"""
