"""``gamma="scale"`` of a support vector machine: it moves with an edit, as a refit would move it.

Gamma is one over the variance of all cells. Without a row it is another number, and all entries of the
kernel move. From the exact path at gamma as fitted the conditions of the optimum are solved for under
each row's own kernel and verified on all rows (:mod:`skinfluence.hinge.gammas`); where that fails the
machine is solved at that gamma. One step, which meets no conditions, is taken at a few values of gamma
and interpolated between them where that is sure.
"""

import copy

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.memory import row_blocks
from skinfluence.answers.checks import rows_alone
from skinfluence.kernel.gammas import lagrange
from skinfluence.statistics.balanced import with_balanced
from skinfluence.statistics.held import MovingAnswers, started_at

# Nodes of the interpolation of one step, and the spread of log gamma up to which it is tried.
NODES = 5
FARTHEST = 0.2
# Values with and without a node agree to this share of the largest change where they are sure, and to
# this share of the decision values, which is round-off.
SURE, ROUND_OFF = 1e-8, 1e-12
# Intervals are halved so often where a row enters or leaves the margin within; fewer rows are solved.
HALVINGS, FEW = 5, 3
# Of log gamma, for its slope.
STEP = 1e-5


def moving(answers):
    """The answers in which what the estimator itself learned from the rows moves with them."""
    return with_gamma(with_balanced(answers))


def with_gamma(answers):
    """The answers in which gamma moves with the rows; themselves where it was given."""
    return GammaAnswers(answers) if answers.problem.gamma_counts else answers


class Variance:
    """Sums over the rows of a problem that the variance of their cells is made of.

    Parameters
    ----------
    problem : HingeObjective
    """

    def __init__(self, problem):
        X = problem.design.X
        self.d = X.shape[1]
        self.amounts = problem.counted(problem.sample_weight)
        self.of_weights = problem.gamma_counts == "weights"
        total = self.amounts.sum()
        self.mean = float((self.amounts @ X).sum() / (total * self.d))
        self.sums = self.of(X)
        self.total = np.array([total, *(self.amounts @ self.sums)])

    def of(self, X):
        """Sums of the cells of each row and of their squares, from the mean, (n_rows, 2)."""
        if sp.issparse(X):
            X = sp.csr_array(X)
            away = X.copy()
            away.data = away.data - self.mean
            first = np.asarray(away.sum(axis=1)).ravel()
            away.data = away.data**2
            second = np.asarray(away.sum(axis=1)).ravel()
            unstored = self.d - np.diff(X.indptr)
            return np.column_stack([first - unstored * self.mean, second + unstored * self.mean**2])
        away = X - self.mean
        return np.column_stack([away.sum(axis=1), (away**2).sum(axis=1)])

    def gamma(self, moved):
        """Gamma where the sums have moved, (n_edits, 3): amounts, cells, squares."""
        total, first, second = (self.total + moved).T
        with np.errstate(divide="ignore", invalid="ignore"):
            cells = total * self.d
            variance = second / cells - (first / cells) ** 2
            # What is left of equal cells is round-off.
            flat = ~(variance > 1e-15 * second / cells)
            return np.where(flat, 1.0, 1.0 / (self.d * variance))

    def removals(self, rows):
        """What leaving each row out moves, (n_rows, 3)."""
        amounts = self.amounts[rows, None]
        return -amounts * np.column_stack([np.ones(len(rows)), self.sums[rows]])

    def of_edit(self, problem, points):
        """What an edit moves, (1, 3)."""
        moved = np.zeros(3)
        if self.of_weights:
            weight = problem.labels.class_weight
            less = points.row_changes / weight[problem.y[points.rows]]
            moved += less @ np.column_stack([np.ones(len(less)), self.sums[points.rows]])
        else:
            moved += self.removals(points.gone).sum(axis=0)
        if points.new is not None:
            more = np.ones(points.new.n_samples)
            if self.of_weights:
                more = points.new_weights / problem.labels.class_weight[points.new_y]
            sums = self.of(points.new.X)
            moved += more @ np.column_stack([np.ones(len(more)), sums])
        return moved[None]

    def slopes(self, moved):
        """Of log gamma, to first order in what has moved."""
        total, first, second = self.total
        variance = second / total - first**2 / (total**2 * self.d)
        change = moved[:, 2] / total - second * moved[:, 0] / total**2
        change -= 2.0 * first * moved[:, 1] / (total**2 * self.d)
        change += 2.0 * first**2 * moved[:, 0] / (total**3 * self.d)
        return -change / variance


class GammaAnswers(MovingAnswers):
    """Answers about edits after which gamma is the scale of the rows that are left.

    Parameters
    ----------
    answers : Answers
        At gamma as fitted.
    """

    def __init__(self, answers):
        super().__init__(answers)
        self._variance = Variance(self.problem)
        self._fitted = self.problem.design.kernel.gamma
        self._slope = {}

    def _at(self, gamma):
        """The answers at another gamma, solved from the fit."""
        if gamma == self._fitted:
            return self._held
        return with_balanced(self.held.at_gamma(float(gamma)))

    def gamma_pulls(self, tests, aggregate):
        """What moving the cells of each training row does to test losses through gamma.

        Returns
        -------
        pulls : ndarray of shape (n_test or 1, n_samples, n_features)
        """
        problem, variance = self.problem, self._variance
        slope = self._slope_at(_Removals(tests, "influence", None), None)[0]
        gradients = problem.loss.gradient(self.held.start(tests.design, "influence"), tests.y)
        losses = np.einsum("tj,tj->t", gradients, slope)
        if aggregate:
            losses = losses.mean(keepdims=True)
        X = problem.design.X
        away = (X.toarray() if sp.issparse(X) else X) - variance.mean
        total, first, second = variance.total
        spread = second - first**2 / (total * variance.d)
        # The mean moves too, but the squares are smallest there.
        along = -2.0 * variance.amounts[:, None] * (away - first / (total * variance.d)) / spread
        return losses[:, None, None] * along

    # Rows, one at a time

    def row_stream(self, quantity, rows, label, method, tol):
        if label is not None:
            # It keeps its features.
            yield from self._held.row_stream(quantity, rows, label, method, tol)
            return
        width = 8 * NODES * quantity.design.X.shape[0] * self.problem.n_outputs
        for block in row_blocks(len(rows), 4 * width):
            eta = self._values(rows[block], _Removals(quantity, method, tol), method)
            with np.errstate(invalid="ignore"):
                yield block, quantity.change(eta - quantity.eta)

    def own_removals(self, method, tol, rows=None):
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        return self._values(rows, _OwnRemovals(method, tol), method)[:, 0]

    def _values(self, rows, ask, method):
        """Decision values without each row, (n_rows, n_points, n_outputs)."""
        moved = self._variance.removals(rows)
        if method == "influence":
            eta = ask(self._held, rows)
            slope = self._slope_at(ask, rows)
            return eta + self._variance.slopes(moved)[:, None, None] * slope
        gamma = self._variance.gamma(moved)
        # What has no model without it is said once, by the answers at gamma as fitted.
        base = ask(self._held, rows)
        lonely = np.isin(rows, rows_alone(self.problem)) | np.isnan(base).all(axis=(1, 2))
        out = np.array(base)
        left = np.flatnonzero(~lonely & (gamma != self._fitted))
        if method != "one-step":
            if len(left):
                out[left] = self._held.removals_at(
                    rows[left], gamma[left], *ask.points(self, rows[left])
                )
            for i in left[np.isnan(out[left]).any(axis=(1, 2))]:
                out[i] = ask(self._at(gamma[i]), rows[[i]])[0]
            return out
        for some in _near(np.log(gamma[left] / self._fitted)):
            self._interpolate(out, left[some], rows, gamma, ask, base, HALVINGS)
        return out

    def _slope_at(self, ask, rows):
        """Of the decision values of the fit in log gamma."""
        ends = [ask.start(self._at(self._fitted * np.exp(h)), self, rows) for h in (STEP, -STEP)]
        return (ends[0] - ends[1]) / (2.0 * STEP)

    def _interpolate(self, out, chosen, rows, gamma, ask, base, halvings):
        """Write one step without some rows, by nodes where that is sure, else one by one."""
        if len(chosen) <= FEW * NODES:
            for i in chosen:
                out[i] = ask(self._at(gamma[i]), rows[[i]])[0]
            return
        at = np.log(gamma[chosen])
        low, high = at.min(), at.max()
        # The ends among them: nothing is extrapolated.
        angle = np.pi * np.arange(NODES) / (NODES - 1)
        nodes = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(angle)
        values = np.array([ask(self._at(np.exp(node)), rows[chosen]) for node in nodes])
        found = np.einsum("ik,kitj->itj", lagrange(nodes, at), values)
        error = np.zeros(len(chosen))
        for k in range(1, NODES - 1):
            # Without a node inside, at the row's own gamma and at the node.
            others = np.delete(np.arange(NODES), k)
            rough = np.einsum("ik,kitj->itj", lagrange(nodes[others], at), values[others])
            there = lagrange(nodes[others], nodes[[k]])[0]
            seen = np.einsum("k,kitj->itj", there, values[others]) - values[k]
            miss = np.maximum(np.abs(found - rough), np.abs(seen)).max(axis=(1, 2))
            error = np.maximum(error, miss)
        change = np.abs(found - ask.start(self._held, self, rows[chosen])).max(axis=(1, 2))
        floor = ROUND_OFF * np.abs(base[chosen]).max(initial=1.0)
        sure = error <= np.maximum(SURE * change, floor)
        out[chosen[sure]] = found[sure]
        left = chosen[~sure]
        if not len(left):
            return
        if halvings == 0:
            for i in left:
                out[i] = ask(self._at(gamma[i]), rows[[i]])[0]
            return
        below = np.log(gamma[left]) < 0.5 * (low + high)
        for part in (left[below], left[~below]):
            if len(part):
                self._interpolate(out, part, rows, gamma, ask, base, halvings - 1)

    # Any edit

    def effects(self, points, quantity, method, tol):
        found = []
        for one in points:
            found.append(self._effect(one, quantity, method, tol))
        if not found:
            return self._held.effects([], quantity, method, tol)
        values, *trust = zip(*found, strict=True)
        axis = 1 if quantity.shape else 0
        return np.concatenate(values, axis=axis), *[np.concatenate(one) for one in trust]

    def _effect(self, points, quantity, method, tol):
        moved = self._variance.of_edit(self.problem, points)
        if method == "influence":
            shift = self._variance.slopes(moved)[0] * self._tests_slope(quantity, method)
            view = copy.copy(quantity)
            view.eta = quantity.eta + shift
            return self._held.effects([points], view, method, tol)
        answers = self._at(self._variance.gamma(moved)[0])
        moved_quantity = started_at(quantity, answers, self._held, method)
        return answers.effects([points], moved_quantity, method, tol)

    def _tests_slope(self, quantity, method):
        ask = _Removals(quantity, method, None)
        return self._slope_at(ask, np.arange(1))[0]

    def own_group_removals(self, removals, method, tol):
        out = np.full((self.problem.n_samples, self.problem.n_outputs), np.nan)
        for one in removals:
            moved = self._variance.of_edit(self.problem, one)
            if method == "influence":
                shift = self._variance.slopes(moved)[0]
                slope = self._slope_at(_OwnRemovals(method, tol), one.rows)[:, 0]
                values = self._held.own_group_removals([one], method, tol)[one.rows]
                out[one.rows] = values + shift * slope
                continue
            answers = self._at(self._variance.gamma(moved)[0])
            out[one.rows] = answers.own_group_removals([one], method, tol)[one.rows]
        return out

    def __getstate__(self):
        return {**super().__getstate__(), "_slope": {}}


class _Removals:
    """Decision values at the points of a quantity without each of some rows."""

    def __init__(self, quantity, method, tol):
        self.quantity, self.method, self.tol = quantity, method, tol

    def __call__(self, answers, rows):
        raw = _Raw(self.quantity, answers.start(self.quantity.design, self.method))
        out = np.empty((len(rows), *raw.eta.shape))
        for block, values in answers.row_stream(raw, rows, None, self.method, self.tol):
            out[block] = values
        return out

    def points(self, answers, rows):
        """Where, and whether there is one point for each row."""
        return self.quantity.design.X, False

    def start(self, answers, moving, rows):
        """Those of the fit, in the shape of those without rows."""
        return answers.held.start(self.quantity.design, self.method)[None]


class _OwnRemovals:
    """Decision values of rows without themselves, as if there were one point."""

    def __init__(self, method, tol):
        self.method, self.tol = method, tol

    def __call__(self, answers, rows):
        return answers.own_removals(self.method, self.tol, rows)[:, None]

    def points(self, answers, rows):
        return answers.problem.design.X[rows], True

    def start(self, answers, moving, rows):
        design = answers.problem.design
        return answers.held.start(design.take(rows), self.method)[:, None]


class _Raw:
    """A quantity that is the decision values themselves."""

    def __init__(self, quantity, eta):
        self.design, self.eta, self.shape = quantity.design, eta, eta.shape

    def change(self, eta_steps):
        return self.eta + eta_steps


def _near(logs):
    """Positions of values that are near each other, a list of arrays; those far out alone."""
    inside = np.abs(logs) <= FARTHEST
    groups = [np.flatnonzero(inside)] if inside.any() else []
    return groups + [np.array([i]) for i in np.flatnonzero(~inside)]
