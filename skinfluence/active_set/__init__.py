"""Hinge SVMs as a piecewise linear function of their data: exact optima and exact edits.

The problem is the dual of a C-SVM with bounds of its own for every row::

    min_beta  1/2 beta' K beta - y' beta,   0 <= y_j beta_j <= C_j,   sum(beta) = 0 (free bias only)
    f = K beta + b

A row is on the *margin* (``f_j = y_j``, its coefficient free in its box), at its *bound*
(``y_j beta_j = C_j``) or *none* (``beta_j = 0``). Between changes of these roles the solution is
linear in bounds, targets and coefficients that are moved, so that following the roles gives the
solution of an edited problem exactly.

- :class:`HingeProblem`: kernel, labels, bounds. Nothing here knows estimators or classes.
- :func:`polish`: the optimum to round-off, from any start: ``HingeOptimum``; :func:`polish_near`: from one
  that is near it; ``few_rows``: from that of a problem that differs in few rows.
- :class:`Paths`: edits of a solution. ``remove``, ``change``, ``remove_groups``, ``edit`` are exact
  and certified; ``one_step`` is local; all return ``CoefficientMoves``.
- :func:`near_optima`: the optima of many problems near one, each with a kernel of its own.

>>> import numpy as np
>>> from skinfluence.active_set import HingeProblem, Paths, polish
>>> x = np.array([-2.0, -1.0, -0.5, 0.3, 1.0, 2.0])
>>> y = np.array([-1, -1, 1, -1, 1, 1])
>>> problem = HingeProblem(np.outer(x, x), y, C=1.0, free_bias=True)
>>> solution = polish(problem)
>>> moves = Paths(solution).remove([0, 1, 2])
>>> change = moves.decision_change(np.outer(x, [1.5]))
>>> bool(moves.kkt_residual.max() < 1e-10)
True

"""

from skinfluence.active_set.moves import CoefficientMoves
from skinfluence.active_set.near_start import polish_near
from skinfluence.active_set.nearby import near_optima
from skinfluence.active_set.paths import Paths
from skinfluence.active_set.polish import HingeOptimum, distance_under, polish
from skinfluence.active_set.problem import BOUND, MARGIN, NONE, HingeProblem, NewRows

__all__ = [
    "BOUND",
    "MARGIN",
    "NONE",
    "CoefficientMoves",
    "HingeOptimum",
    "HingeProblem",
    "NewRows",
    "Paths",
    "distance_under",
    "near_optima",
    "polish",
    "polish_near",
]
