"""Gaussian process regression with its kernel held: kernel ridge regression about a mean that moves.

With the noise ``s`` and targets about their mean m the fit is ``f(x) = m + k(x)' (K + s I)^-1 (y - m)``,
kernel ridge regression with ``alpha = s``. With ``normalize_y`` m is the mean of the targets, so that an edit
adds ``(m' - m) (1 - h'(x))``, where ``h'`` is what the edited rows make of targets that are all one.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.answers import answers_of, check_method
from skinfluence.kernel.answers import KernelAnswers
from skinfluence.kernel.design import KernelDesign
from skinfluence.kernel.function_answers import FunctionAnswers, check_options
from skinfluence.kernel.functions import Kernel
from skinfluence.kernel.problem import KernelProblem
from skinfluence.losses import Loss, SquaredError
from skinfluence.problem import Chosen, Problem, check_hold_is_free


@dataclass(frozen=True)
class Covariance(Kernel):
    """A kernel of :mod:`sklearn.gaussian_process.kernels`, without its white noise.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        With its parameters as they are to be held.
    """

    kernel: object

    def _values(self, X, Z):
        # Of two arguments, be they the same: noise is where there is one.
        return np.asarray(self.kernel(X, Z), dtype=np.float64)

    def diagonal(self, X):
        blocks = row_blocks(X.shape[0], 8, budget=8 * 64)
        return np.concatenate([self._values(X[b], X[b]).diagonal() for b in blocks])


class _System(KernelProblem):
    model_name = "a Gaussian process"


@dataclass(frozen=True, eq=False)
class GaussianProcessProblem(Problem):
    """A Gaussian process regression, its kernel held, and its training data.

    Parameters
    ----------
    design : KernelDesign
    y, weights : ndarray of shape (n_samples,)
    noise : float
        What is added to the diagonal of the kernel matrix.
    jitter : float
        The part of it that is no noise of the kernel: ``alpha`` of the estimator.
    fitted_coef : ndarray of shape (n_samples,)
        As fitted, in units of the targets.
    normalises : bool
        Whether the mean of the targets is taken off them.
    chosen : Chosen or None
    """

    design: KernelDesign
    y: np.ndarray
    weights: np.ndarray
    noise: float
    jitter: float
    fitted_coef: np.ndarray
    normalises: bool
    chosen: Chosen | None
    loss: Loss = field(default_factory=SquaredError)
    labels: None = None

    model_name = "a Gaussian process"

    @property
    def sample_weight(self):
        """The weights: a row of weight 2 is one that was given twice."""
        return self.weights

    @cached_property
    def mean(self):
        """What is taken off the targets."""
        return float(self.weights @ self.y / self.total_weight) if self.normalises else 0.0

    @property
    def system(self):
        """Kernel ridge regression of the targets about their mean."""
        y = self.y - self.mean
        return _System(self.design, y, self.weights, self.noise, self.fitted_coef)

    def on(self, X, rows, carried):
        design, coef = self.design.like(X), np.zeros(X.shape[0])
        return replace(self, design=design, y=rows.y, weights=rows.weights, fitted_coef=coef)

    def holding(self, hold):
        check_hold_is_free("Edits of a Gaussian process hold its noise, as refitting does", hold)
        return self


class GaussianProcessAnswers(FunctionAnswers):
    """Answers about a Gaussian process regression: exact, its kernel held.

    Parameters
    ----------
    problem : GaussianProcessProblem

    Attributes
    ----------
    centred : KernelAnswers
        Of the targets about their mean.
    ones : KernelAnswers or None
        Of targets that are all one, where the mean moves with the rows.
    """

    def __init__(self, problem):
        self.problem = problem
        self.centred = KernelAnswers(problem.system)
        self.ones = None
        if problem.normalises:
            self.ones = self.centred.with_targets(np.ones(problem.n_samples))

    @property
    def system(self):
        """Of the targets about their mean, and of any others."""
        return self.centred.system

    def report(self):
        return self.centred.report()

    @property
    def concern(self):
        return self.centred.concern

    @cached_property
    def eta(self):
        """Predictions at the training rows, (n_samples,)."""
        return self.problem.mean + self.centred.eta

    def values_at(self, design):
        return self.problem.mean + self.centred.values_at(design)

    # Derivatives

    def up_loss(self, tests, rows, aggregate):
        out = self.centred.up_loss(self._centred_tests(tests), rows, aggregate)
        if self.ones is None:
            return out
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        pull = self.values_at(tests.design) - tests.y
        moved = pull * (1.0 - self.ones.values_at(tests.design))
        moved = moved.mean(keepdims=True) if aggregate else moved
        share = self.problem.n_samples / self.problem.total_weight
        return out + share * moved[:, None] * (self.problem.y[rows] - self.problem.mean)

    def _centred_tests(self, tests):
        return replace(tests, y=tests.y - self.problem.mean)

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        self._refuse("influence_pert", "effect(edits.replace(...))")

    def self_influence(self):
        found = self.centred.self_influence()
        if self.ones is None:
            return found
        problem = self.problem
        moved = (problem.y - problem.mean) * (1.0 - self.ones.eta)
        return found - problem.n_samples / problem.total_weight * self.centred.gradients * moved

    # Edits

    def removal_steps(self, design, rows, method):
        inner = self.centred.removal_steps(design, rows, method)
        yield from inner if self.ones is None else self._with_mean(design, rows, method, inner)

    def _with_mean(self, design, rows, method, inner):
        ones = self.ones.values_at(design)
        outer = self.ones.removal_steps(design, rows, method)
        for (block, moved), (_, h) in zip(inner, outer, strict=True):
            part = rows[block]
            left = 1.0 - ones - (0.0 if method == "influence" else h)
            yield block, moved + self._mean_without(part, method)[:, None] * left

    def _mean_without(self, rows, method):
        """What the mean of the targets gains without each row."""
        problem = self.problem
        w = problem.weights[rows]
        gone = problem.total_weight - (0.0 if method == "influence" else w)
        with np.errstate(divide="ignore", invalid="ignore"):
            return -w * (problem.y[rows] - problem.mean) / gone

    def edit_steps(self, points, design, method):
        mean = self.problem.mean
        centred = [_with_targets(one, lambda y: y - mean) for one in points]
        inner = self.centred.edit_steps(centred, design, method)
        if self.ones is None:
            yield from inner
            return
        before = self.ones.values_at(design)
        ones = self.ones.edit_steps(
            [_with_targets(one, np.ones_like) for one in points], design, method
        )
        for one, (moved, solved), (h, _) in zip(points, inner, ones, strict=True):
            left = 1.0 - before - (0.0 if method == "influence" else h)
            yield moved + self._mean_after(one, method) * left, solved

    def _mean_after(self, points, method):
        """What the mean of the targets gains by an edit."""
        problem = self.problem
        gain = points.row_changes @ (problem.y[points.rows] - problem.mean)
        if points.new is not None:
            gain += points.new_weights @ (points.new_y - problem.mean)
        return gain / (problem.total_weight + (0.0 if method == "influence" else points.shift))

    def own_removals(self, method, tol, rows=None):
        check_method(method)
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        out = self.problem.mean + self.centred.own_removals(method, tol, rows)
        if self.ones is not None:
            if method == "influence":
                left = 1.0 - self.ones.eta[rows, None]
            else:
                left = 1.0 - self.ones.own_removals(method, tol, rows)
            out = out + self._mean_without(rows, method)[:, None] * left
        return out

    def own_group_removals(self, removals, method, tol):
        out = self.problem.mean + self.centred.own_group_removals(removals, method, tol)
        if self.ones is not None:
            if method == "influence":
                left = 1.0 - self.ones.eta[:, None]
            else:
                left = 1.0 - self.ones.own_group_removals(removals, method, tol)
            for one in removals:
                out[one.rows] += self._mean_after(one, method) * left[one.rows]
        return out

    def effect_on_others(self, answered, thorough=False):
        if self.ones is None:
            return self.centred.effect_on_others(answered, thorough)
        return super().effect_on_others(answered, thorough)

    def knows(self, question):
        return super().knows(question) and (question != "effect_on_others" or self.ones is None)

    # Without each row, its own

    def own_variances(self):
        """Variance of each target under the model without it, its noise included, (n_samples,).

        With ``normalize_y`` in units of the variance of the other targets.
        """
        return 1.0 / self.centred.system.inverse.diagonal()

    def units(self):
        """What variances are in units of: the variance of the other targets, or one, (n_samples,)."""
        if not self.problem.normalises:
            return np.ones(self.problem.n_samples)
        return spread_without(self.problem.y, self.problem.weights)


def spread_without(y, w):
    """Variance of the targets without each row; one where the others are all the same."""
    total = w.sum()
    gap = y - w @ y / total
    gap -= w @ gap / total
    squares, left = w @ gap**2, total - w
    out = (squares - w * gap**2 * total / left) / left
    lost = np.flatnonzero(out * left < 1e-5 * squares)
    for i in lost:
        others = np.delete(y, i)
        mean = np.average(others, weights=np.delete(w, i))
        out[i] = np.average((others - mean) ** 2, weights=np.delete(w, i))
        # scikit-learn does not divide by what is no more than rounding.
        if np.sqrt(out[i]) < 10 * np.finfo(float).eps:
            out[i] = 1.0
    return out


def _with_targets(points, change):
    if points.new is None:
        return points
    return replace(points, new_y=change(points.new_y))


@answers_of.register
def _(problem: GaussianProcessProblem, *, solver, hold, precision, verbose):
    check_options(problem, solver, hold, precision)
    return GaussianProcessAnswers(problem)
