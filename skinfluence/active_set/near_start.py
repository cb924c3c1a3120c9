"""The optimum of one problem from that of another one near it: no path, rounds of small systems."""

import numpy as np

from skinfluence.active_set.nearby import near_optima
from skinfluence.active_set.polish import LOOSE, TIGHT, polish, solution_of

# Rounds after which a path is followed instead: most starts need two, and a path costs some forty. From the
# second on one row enters at a time: rows that are there twice would enter together.
ROUNDS, CAREFUL = 40, 1


def polish_near(problem, beta0, bias0=None):
    """As :func:`~skinfluence.active_set.polish`, from coefficients that are near the optimum.

    Parameters
    ----------
    problem : HingeProblem
    beta0 : ndarray of shape (n,)
    bias0 : float, optional

    Returns
    -------
    solution : HingeOptimum

    Notes
    -----
    Rows on the margin are solved for, and those that leave it or come to it are told by the conditions of
    the optimum on all rows, which end the search. Where that does not end, the path is followed.
    """
    # Unlike a path it may start with a sum that is not zero: rows at their bound stay there.
    beta = np.clip(np.asarray(beta0, dtype=np.float64), problem.lo, problem.hi)

    def values(edits, beta):
        return np.array([problem.decision(one) for one in beta])

    def among(edits, rows):
        return np.array([problem.block(one, one) for one in rows])

    accepted = np.clip(problem.rounding(beta), TIGHT, LOOSE)
    absent = (problem.C == 0)[None]
    found = near_optima(problem, values, among, beta[None], absent, accepted, ROUNDS, CAREFUL)
    if not found.violation[0] <= accepted:
        return polish(problem, beta0, bias0)
    bias = found.bias[0]
    return solution_of(problem, found.beta[0], bias, found.decision[0] - bias, found.decision[0], 0)
