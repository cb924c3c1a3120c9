"""The maximum of a log likelihood of few parameters in a box, by Newton's method."""

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

# Where to stop: gains of a mean log likelihood, its gradient within the box, steps.
LEAST_GAIN, FLAT, MOST_STEPS = 1e-9, 1e-7, 200
# What is added to the curvature: at first, at least and at most, in units of its diagonal; its changes.
AT_FIRST, LEAST, MOST, MORE, LESS = 1e-2, 1e-8, 1e8, 8.0, 0.1
# Of the gain that a step promises, how much it must make.
ENOUGH = 0.1


def highest(parts, start, low, high):
    """Climb to a maximum from a start.

    Parameters
    ----------
    parts : callable
        ``parts(x)``: a mean over rows, its gradient, and minus its Hessian.
    start, low, high : ndarray of shape (n_parameters,)

    Returns
    -------
    x : ndarray of shape (n_parameters,)
    value : float

    Notes
    -----
    Steps of Levenberg and Marquardt: the diagonal of the curvature is added to it, less where steps gain
    what they promise, more where they do not or where the curvature is not positive definite. Parameters at
    a bound that the gradient pushes against are held, and steps are cut off at the box.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.cleaning.uphill import highest
    >>> def parts(x):
    ...     a, b = x - 2.0
    ...     slope = np.array([2.0 * b - 4.0 * a, 2.0 * (a - b)])
    ...     return -(a**2) - (a - b) ** 2, slope, np.array([[4.0, -2.0], [-2.0, 2.0]])
    >>> x, value = highest(parts, np.zeros(2), np.zeros(2), np.array([9.0, 1.0]))
    >>> x.round(3), round(value, 3)
    (array([1.5, 1. ]), -0.5)
    """
    x, added = np.clip(start, low, high), AT_FIRST
    value, slope, curved = parts(x)
    for _ in range(MOST_STEPS):
        held = ((x <= low) & (slope <= 0)) | ((x >= high) & (slope >= 0))
        if np.abs(np.where(held, 0.0, slope)).max() <= FLAT or added > MOST:
            break
        step = _step(curved, slope, held, added)
        if step is not None:
            moved = np.clip(x + step, low, high)
            change = moved - x
            promised = slope @ change - 0.5 * change @ curved @ change
            if 0.0 <= promised <= LEAST_GAIN:
                # Not worth a look.
                return moved, float(value + promised)
            after = parts(moved)
            if promised > 0.0 and after[0] - value >= ENOUGH * promised:
                x, (value, slope, curved) = moved, after
                added = max(added * LESS, LEAST)
                continue
        added *= MORE
    return x, float(value)


def _step(curved, slope, held, added):
    """A step of the parameters that are not held; None where the curvature is not positive definite."""
    free = np.flatnonzero(~held)
    part = curved[free[:, None], free]
    diagonal = part.ravel()[:: len(free) + 1]
    part = part + np.diag(added * np.maximum(np.abs(diagonal), 1e-12))
    lower, failed = dpotrf(part, lower=1)
    if failed:
        return None
    step = np.zeros_like(slope)
    step[free] = dpotrs(lower, slope[free], lower=1)[0]
    return step
