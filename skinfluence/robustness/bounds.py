"""How many rows a conclusion needs at least: what no k of them can do, by leverages and self-concordance.

For a number ``a' theta`` of a smooth model of one output at its optimum. The removal of rows S moves it by

    a'd = a'u + a'(d - u),      u = P^-1 b,      b = sum_S w_i g_i x_i,      P = H - sum_S D_i x_i x_i'

With ``lambda`` the largest eigenvalue of ``D^1/2 h D^1/2`` over S, ``P >= (1 - lambda) H``, and so

    |a'u - sum_S c_i r_i| <= |b| min(sqrt(lambda) (sum_S D_i c_i^2)^1/2, lambda |a|) / (1 - lambda)
    |a'(d - u)| <= |a| / sqrt(1 - lambda) newton_step_bound(|u|_P)

``c_i = a'H^-1 x_i``, ``r_i = w_i g_i`` and norms those of ``H^-1``. Each sum over S is at most that over
the k rows with the largest terms, which is all that is known of S; ``lambda`` is at most the k largest
leverages added up, and the largest sum of a row of ``|D^1/2 h D^1/2|`` over k columns. Where a unit of weight
takes a share of the penalty along (``hold="lambda"``), that share is one more term.

The rows with the largest terms need not be the same ones, so that a few rows of great leverage end this
at one. One row at a time is known better: ``a'u = c_i r_i / (1 - D_i h_i)``, with its own step in what is
left. Rows that this does not clear are taken out one by one, each solved with its certificate.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence import certificate
from skinfluence._utils.weights import weigh
from skinfluence.objective import Objective
from skinfluence.smooth.one_step import steps
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.accuracy import shrink
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.smooth.unanswered import leaves_no_model

# Rows up to which all pairs of leverages are looked at.
PAIRS = 3000
# Relative error of the steps of rows that are solved one by one.
SINGLE = 0.01


def lower_bound(influence, conclusion, by, most, held):
    """The smallest number of rows that is not excluded, at least 1.

    Parameters
    ----------
    influence : Influence
    conclusion : Conclusion
        That has begun.
    by : {"remove", "relabel"}
    most : int
        Where to stop.
    held : bool
        Whether all but the model stays as fitted.
    """
    problem, found = influence.objective, conclusion.weights()
    if found is None or not held or not isinstance(problem, Objective):
        return 1
    if piecewise.is_piecewise(problem.loss) or problem.loss.self_concordance is None:
        return 1
    if problem.loss.n_outputs != 1 or influence.data.inputs.moves_targets:
        return 1
    solver = influence.answers.held.edit_solver()
    changes = _changes(solver, by)
    if changes is None:
        return 1
    design = conclusion.tests(influence).design
    weights, level = found
    number = _Number.concluded(solver, design.adjoint(weights[:, None]).ravel(), level, conclusion)
    least = _smallest(number, changes, most)
    if least > 1 or not _no_row_does(number, changes, by):
        return least
    return 2


@dataclass(frozen=True, eq=False)
class _Number:
    """A number ``a' theta`` at the optimum, and what rows can do to it.

    Attributes
    ----------
    solver : EditSolver
    a : ndarray of shape (n_params,)
    side : {-1, 1}
        The sign that the number keeps until the conclusion flips.
    solved : ndarray of shape (n_params,)
        ``H^-1 a``.
    size : float
        ``|a|`` in the norm of ``H^-1``, rounding included.
    margin : float
        How far the number is from the flip, less what rounding leaves.
    """

    solver: EditSolver
    a: np.ndarray
    side: int
    solved: np.ndarray
    size: float
    margin: float

    @classmethod
    def concluded(cls, solver, a, level, conclusion):
        """The number, as far above the level as the side of its conclusion says."""
        solved = solver.factor.solve(a[:, None])[:, 0]
        size = float(np.sqrt(a @ solved)) * (1.0 + 1e-6)
        margin = conclusion.side * float(a @ solver.objective.theta.ravel() - level)
        margin -= size * solver.accuracy.floor
        return cls(solver, a, conclusion.side, solved, size, margin)

    @cached_property
    def c(self):
        """``a'H^-1 x_i`` of each row, (n_samples,)."""
        return self.solver.objective.design.multiply(self.solved[:, None])[:, 0]

    @cached_property
    def h(self):
        """``x_i'H^-1 x_i`` of each row, rounding included, (n_samples,)."""
        h = np.maximum(self.solver.factor.leverages()[:, 0, 0], 0.0)
        return h * (1.0 + self.solver.accuracy.solve_error)

    @property
    def kappa2(self):
        """The largest of them where a row weighs something."""
        return float(self.h[self.solver.objective.weights > 0].max(initial=0.0))


def _changes(solver, by):
    """What each row adds to the gradient and takes from the Hessian, ``r`` and ``D``; None for unknown."""
    objective = solver.objective
    w, g = objective.weights, objective.gradients[:, 0]
    if by == "remove":
        return weigh(w, g), weigh(w, objective.hessians[:, 0, 0]), w
    labels = objective.labels
    if len(labels.classes) != 2 or np.ptp(labels.class_weight):
        return None
    other = labels.targets[1 - labels.codes_of(objective.y)]
    after = objective.loss.gradient(objective.eta, other)[:, 0]
    if not np.allclose(objective.loss.hessian(objective.eta, other), objective.hessians):
        return None
    return w * (g - after), np.zeros(len(w)), np.zeros(len(w))


def _smallest(number, changes, most):
    """The smallest number of rows that is not excluded by what any so many can do together."""
    if number.margin <= 0:
        return 1
    objective, factor = number.solver.objective, number.solver.factor
    r, curved, lost = changes
    c, h, size, kappa2 = number.c, number.h, number.size, number.kappa2
    pairs = _pair_sums(objective, factor, curved) if len(c) <= PAIRS and curved.any() else None
    shares = objective.hold != "C" and bool(lost.any())
    pull = objective.penalty * objective.theta.ravel() if shares else np.zeros(len(number.a))
    pulled = float(np.sqrt(np.maximum(0.0, pull @ factor.solve(pull[:, None])[:, 0])))
    along = abs(float(pull @ number.solved))
    M = objective.loss.self_concordance
    # The removal of row i moves the number by about c_i r_i; towards the flip is against its side.
    first = _top(-number.side * c * r)
    own, bent = _top(np.abs(r) * np.sqrt(h)), _top(curved * c**2)
    leverage, weight = _top(curved * h), _top(lost)
    for k in range(1, most + 1):
        share = weight(k) / objective.total_weight if shares else 0.0
        lam = leverage(k) if pairs is None else min(leverage(k), pairs(k))
        lam += share
        if not lam < 1.0:
            return k
        b = own(k) + share * pulled
        if shares:
            bend = lam * size * b / (1.0 - lam)
        else:
            bend = b * min(np.sqrt(lam * bent(k)), lam * size) / (1.0 - lam)
        u = b / np.sqrt(1.0 - lam)
        left = 0.0
        if M:
            kappa = np.sqrt(kappa2 / (1.0 - lam))
            left = float(certificate.newton_step_bound(M, kappa, np.array(u)))
            left *= size / np.sqrt(1.0 - lam)
        reach = first(k) + share * along + bend + left
        if not reach * (1.0 + 1e-9) < number.margin:
            return k
    return most + 1


def _no_row_does(number, changes, by):
    """Whether the conclusion is certified to stand under the edit of every row alone."""
    solver, objective = number.solver, number.solver.objective
    rows = np.flatnonzero(objective.weights > 0)
    if objective.hold == "C":
        rows = rows[~_clear(number, changes)[rows]]
    for edits in _edits_of(objective, rows, by):
        edits = edits.take(np.flatnonzero(~leaves_no_model(edits, objective)))
        # ``P >= kept H``, and so ``|a|_P^-1 <= |a| / kept^1/2``.
        for block, one in solver.rows.solve(edits, SINGLE):
            kept = shrink(edits.shift[block], objective) * (1.0 - one.leverage)
            moved = one.steps.reshape(len(kept), -1) @ number.a
            with np.errstate(divide="ignore", invalid="ignore"):
                error = one.bound * number.size / np.sqrt(np.maximum(kept, 0.0))
            if not (number.margin + number.side * moved > error * (1.0 + 1e-9)).all():
                return False
    return True


def _edits_of(objective, rows, by):
    """The edits that are asked about: of each row one, in one batch or one for each class."""
    if by == "remove":
        yield steps.removals(objective, rows)
        return
    codes = objective.labels.codes_of(objective.y[rows])
    for label in range(len(objective.labels.classes)):
        yield steps.relabels(objective, rows[codes != label], label)


def _clear(number, changes):
    """Rows whose edit alone cannot flip the conclusion, by their leverage and their gradient."""
    r, curved, _ = changes
    left = np.maximum(1.0 - curved * number.h, 1e-300)
    reach = -number.side * number.c * r / left
    M = number.solver.objective.loss.self_concordance
    if M:
        u = np.abs(r) * np.sqrt(number.h / left)
        beyond = certificate.newton_step_bound(M, np.sqrt(number.kappa2 / left), u)
        reach = reach + number.size / np.sqrt(left) * beyond
    # Round-off of leverages, where a row decides nearly alone, is left to its own solution.
    return (reach * (1.0 + 1e-6) < number.margin) & (left > 1e-3)


def _top(values):
    """The largest sum of k of some values, those below zero left out, as a function of k."""
    sums = np.cumsum(np.sort(np.maximum(values, 0.0))[::-1])
    return lambda k: float(sums[min(k, len(sums)) - 1])


def _pair_sums(objective, factor, curved):
    """The largest sum of a row of ``|D^1/2 h D^1/2|`` over k columns, the diagonal among them."""
    rows = objective.design.dense_rows() * np.sqrt(curved)[:, None]
    size = np.abs(rows @ factor.solve(rows.T))
    own = size.diagonal().copy()
    np.fill_diagonal(size, np.inf)
    size = -np.sort(-size, axis=1)
    size[:, 0] = own
    sums = np.cumsum(size, axis=1).max(axis=0) * (1.0 + 1e-9)
    return lambda k: float(sums[min(k, len(sums)) - 1])
