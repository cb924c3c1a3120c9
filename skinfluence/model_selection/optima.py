"""Optima of one objective along a penalty path, each found from those of the penalties before it."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence.edits import NoOptimumError
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.solvers import CG, Exact, SingularHessianError, resolve_solver
from skinfluence.solvers.cholesky import cho_solved, cholesky
from skinfluence.solvers.class_dual import ClassDualFactor
from skinfluence.solvers.dual import FEW
from skinfluence.solvers.primal import PrimalFactor

# Suboptimality of a scanned fit, in units of the mean loss of a row.
NEGLIGIBLE = 1e-6
# That of where steps with a guessed Hessian end, from which one step with the Hessian itself leads on.
CLOSE = 1e-8
# The same of steps by products, after which no decision value moves far enough for another factor.
CLOSER = 1e-12
MAX_STEPS = 20
# A factor whose Hessian is older than this change of any decision value is made anew.
STALE = 1e-4
# Steps that move no decision value by more than this are whole ones.
SHORT = 0.5
# Steps with a guessed Hessian go on while each takes the squared decrement to this share.
FALLS = 0.25
# The way to the next penalty, in those between the last two, that is still guessed from both.
FAR = 2.0
# Relative residual of each step that leads to a place whose Hessian is factored in the space of the rows,
# and how many cubed outputs of them a number of the rows costs on the way: less for 300 texts of 9 words
# and 5 classes (1.12 times the time with factors alone), more for 700 (.61 times).
LOOSE, WAY = 1e-3, 3e5
# What a factor by classes costs in those: of the time with factors alone, products take .9 for 300 texts
# of 10 words and 5 classes, half for 700.
BY_CLASS_CUBES = 30
# Parameters up to which Hessians are kept.
KEPT = 4000


@dataclass(frozen=True, eq=False)
class _Known:
    """An optimum: the log of its penalty's ratio, its parameters, their slope in that, its Hessian."""

    at: float
    theta: np.ndarray
    slope: np.ndarray
    hessian: np.ndarray | None


class Optima:
    """Optima at several penalties.

    Parameters
    ----------
    objective : Objective
        Whose penalty is multiplied, and whose parameters the first search begins at.

    Notes
    -----
    Optima move smoothly with the logarithm of the penalty, along ``dθ/d log ρ = -H⁻¹ρRθ``, and so do
    Hessians. Each search begins where the last two optima and their slopes point, steps with the
    Hessian that the last two point to while that converges fast, and ends by the Hessian of the place
    itself: mostly one Hessian for each penalty. Of sparse rows that are fewer than the parameters it goes
    there by products, as a Hessian in the space of the rows costs more than all of them.
    """

    def __init__(self, objective):
        self._objective = objective
        self._known = []

    def at(self, ratio):
        """The optimum to well below what leaving a row out changes, and a factor there.

        Parameters
        ----------
        ratio : float
            What the penalty is multiplied by.

        Returns
        -------
        objective : Objective
        factor : Factor
        """
        here = np.log(ratio)
        penalty = ratio * self._objective.penalty
        start = replace(self._objective, penalty=penalty, theta=self._start(here))
        solver = _solver_for(start)
        found, factor = _minimised(self._approached(start, here), solver)
        pull = (found.penalty * found.theta).ravel()
        slope = -factor.solve(pull[:, None])[:, 0].reshape(found.theta.shape)
        kept = type(factor) is PrimalFactor and found.n_parameters <= KEPT
        hessian = factor.hessian if kept else None
        self._known = [*self._known[-1:], _Known(here, found.theta, slope, hessian)]
        return found, factor

    def _reach(self, here):
        """The way from the last optimum in those between the last two, or nothing that serves."""
        if len(self._known) < 2:
            return np.inf
        before, last = self._known
        way, between = here - last.at, last.at - before.at
        return way / between if 0 < abs(way) <= FAR * abs(between) else np.inf

    def _start(self, here):
        """Parameters by the slopes of the last two optima."""
        if not self._known:
            return self._objective.theta
        last, reach = self._known[-1], self._reach(here)
        way = here - last.at
        turned = 0.0
        if np.isfinite(reach):
            turned = 0.5 * reach * (last.slope - self._known[0].slope)
        return last.theta + way * (last.slope + turned)

    def _guessed(self, here):
        """Cholesky factor and scale of the Hessian that those of the last optima point to; or None."""
        if not self._known or self._known[-1].hessian is None:
            return None
        last, reach = self._known[-1], self._reach(here)
        H = self._rows(last)
        if np.isfinite(reach) and self._known[0].hessian is not None:
            H = H + reach * (H - self._rows(self._known[0]))
        H[np.diag_indices(len(H))] += self._diagonal(here)
        try:
            return cholesky(H, "A guessed Hessian")[:2]
        except SingularHessianError:
            return None

    def _diagonal(self, at):
        """The penalty's part of a Hessian."""
        return np.exp(at) * np.tile(self._objective.penalty, len(self._objective.theta))

    def _rows(self, known):
        """The rows' part of a Hessian."""
        return known.hessian - np.diag(self._diagonal(known.at))

    def _approached(self, objective, here):
        """An objective nearer its optimum, by steps with a guessed Hessian."""
        M = objective.loss.self_concordance
        if M and _prefers_products(objective):
            return _by_products(objective)
        guessed = self._guessed(here) if M else None
        if guessed is None:
            return objective
        L, scale = guessed
        enough, before = CLOSE * abs(objective.value()) / objective.n_samples, np.inf
        for _ in range(MAX_STEPS):
            gradient = objective.gradient()
            step = -scale * cho_solved(L, (scale * gradient)[:, None])[:, 0]
            decrement = -float(gradient @ step)
            if not enough < 0.5 * decrement < 0.5 * FALLS * before:
                break
            trial = objective.at(objective.theta + step.reshape(objective.theta.shape))
            if not _moved(objective, trial) <= SHORT:
                break
            objective, before = trial, decrement
        return objective


def _solver_for(objective):
    """In single precision where a factor by classes takes most of the time, if that has enough digits."""
    solver = resolve_solver("auto", objective)
    outputs = objective.n_samples * objective.loss.n_outputs
    by_class = ClassDualFactor.serves(objective) and outputs < objective.n_parameters
    if by_class and type(solver) is Exact and objective.n_samples >= FEW:
        return Exact("dual", precision="mixed").for_edits()
    return solver


def _prefers_products(objective):
    """Whether a few hundred products with the rows cost less than factors in the space of the rows."""
    outputs, design = objective.n_samples * objective.loss.n_outputs, objective.design
    if outputs >= objective.n_parameters or not design.in_memory:
        return False
    numbers = design.X.nnz if design.is_sparse else design.X.size
    cubes = outputs**3
    if ClassDualFactor.serves(objective):
        cubes = BY_CLASS_CUBES * (objective.loss.n_outputs + 1) * objective.n_samples**3
    return cubes > WAY * numbers * objective.loss.n_outputs


def _by_products(objective):
    """Where Newton's method by conjugate gradients ends, or as it was where that fails."""
    try:
        with warnings.catch_warnings():
            # What ends early is a start as well.
            warnings.simplefilter("ignore", ConvergenceWarning)
            enough = CLOSER * abs(objective.value()) / objective.n_samples
            return minimise(objective, CG(rtol=LOOSE), enough).objective
    except (SingularHessianError, NoOptimumError):
        return objective


def _moved(objective, trial):
    """The largest change of a decision value, times M; infinite where nothing bounds the Hessian's."""
    M = objective.loss.self_concordance
    if M is None:
        return np.inf
    return M * float(objective.loss.spread(trial.eta - objective.eta).max(initial=0.0))


def _minimised(objective, solver):
    """The optimum to well below what leaving a row out changes, and a factor there."""
    for _ in range(MAX_STEPS):
        factor = solver.factor(objective)
        gradient = objective.gradient()
        step = -factor.solve(gradient[:, None])[:, 0]
        decrement = -float(gradient @ step)
        enough = NEGLIGIBLE * (abs(objective.value()) + decrement) / objective.n_samples
        trial = objective.at(objective.theta + step.reshape(objective.theta.shape))
        r = _moved(objective, trial)
        if r > SHORT and 0.5 * decrement <= enough:
            return objective, factor
        if r > SHORT:
            # Only here can a full step overshoot, or the next one not be negligible.
            optimum = minimise(objective, solver)
            objective = optimum.objective
            return objective, solver.factor(objective) if optimum.moved > STALE else optimum.factor
        objective = trial
        if 0.5 * decrement * (0.5 * r) ** 2 <= enough:
            return objective, solver.factor(objective) if r > STALE else factor
    return minimise(objective, solver).objective, factor
