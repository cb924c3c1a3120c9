"""Numbers as an audit shows them, on the page and on a terminal."""

import numpy as np


def percent(share, digits=0):
    """Format a share as a percentage; a dash where it is not known."""
    if np.isnan(share):
        return "–"
    return f"{100 * share:.{digits}f}\u202f%"


def at_most(share, digits=2):
    """Format the largest of some errors as a percentage; what rounds to 0 is not called 0."""
    least = 10.0**-digits
    return f"<\u202f{least:g}\u202f%" if 0 <= 100 * share < least else percent(share, digits)


def chance(probability):
    """Format an estimated probability; certainty is never claimed."""
    return "≥\u202f95\u202f%" if probability >= 0.945 else percent(probability)


def number(value, digits=3):
    """Format a number with a proper minus sign, `digits` significant digits and no exponent noise."""
    if not np.isfinite(value):
        return "–"
    if value == 0 or 1e-4 <= abs(value) < 10**digits:
        text = f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
    else:
        text = f"{value:,.0f}" if 1 <= abs(value) < 1e9 else f"{value:.{digits - 1}e}"
    return text.replace("-", "\u2212")


def signed(value, digits=2):
    """Format a percentage with its sign always shown; what rounds to 0 is not called 0."""
    if not np.isfinite(value):
        return "–"
    small = 0 < abs(value) < 0.5 * 10.0**-digits
    text = f"{value:+.1g}" if small else f"{value:+.{digits}f}"
    return text.replace("-", "\u2212") + "\u202f%"
