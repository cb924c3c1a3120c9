"""Sums over all pairs of rows, and the own values and bounds that they give."""
