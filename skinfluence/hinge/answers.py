"""Answers about hinge models: exact edits by removal paths, derivatives with the margin held."""

import copy
import numbers
import warnings
from dataclasses import replace

import numpy as np

from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.naming import rows_have
from skinfluence._utils.progress import progress_bar
from skinfluence.active_set import BOUND, MARGIN
from skinfluence.answers import LOCAL, Answers, answers_of, check_method
from skinfluence.answers.checks import (
    check_solved_exactly,
    far_from_optimum,
    rows_alone,
    warn_alone,
)
from skinfluence.hinge import derivatives
from skinfluence.hinge.conditional import check_margin, having
from skinfluence.hinge.edits import edit_moves, influence_change, new_push
from skinfluence.hinge.gammas import Engine, Start, without_rows
from skinfluence.hinge.optimum import Optimum
from skinfluence.hinge.problem import HingeObjective
from skinfluence.hinge.shifts import Pushes, Shifts
from skinfluence.hinge.trust import HingeEffect, HingeReport
from skinfluence.quantity import Quantity

# Koh and Liang's temperature, the best of their Figure 3.
SMOOTHING = 1e-3
# Colder, round-off of the decision values decides which rows curve.
COLDEST = 1e-8
# Distance in decision values between the model as fitted and its optimum beyond which to warn.
FAR = 1e-2
# Moves of all rows asked for are kept for the next question up to this size, for each problem.
KEPT_BYTES = 2**27
ONE_STEP = (
    "method='one-step' of a hinge model is the span rule for removing one row. Got another edit; ask "
    "with method='auto', the exact path."
)


class HingeAnswers(Answers):
    """Exact effects of edits by the path of each binary problem from its polished optimum.

    Parameters
    ----------
    problem : HingeObjective
    verbose : bool
        Show a progress bar on long work.
    optimum : Optimum, default=None
        Where it is known.

    Attributes
    ----------
    optimum : Optimum
        What starts from it is kept for the next question.
    """

    effect_type = HingeEffect

    def __init__(self, problem, verbose=False, optimum=None):
        self.problem = problem
        self.verbose = verbose
        self._smoothing, self._share = "auto", None
        self.optimum, self._last_removals = optimum or Optimum(problem), {}

    def __getstate__(self):
        return {"problem": self.problem, "verbose": self.verbose, "_smoothing": self._smoothing}

    def __setstate__(self, state):
        # Solutions hold functions of the data: solving again is cheap from where the fit is.
        self.__dict__.update(state, _share=None)
        self.optimum, self._last_removals = Optimum(self.problem), {}

    def holding(self, hold):
        if hold is not None:
            self.problem.holding(hold)
        return self

    @property
    def at_optimum(self):
        return replace(self.problem, beta=self.optimum.beta, bias=self.optimum.bias)

    @property
    def concern(self):
        distance = self.optimum.distance
        if distance <= FAR:
            return None
        return far_from_optimum(f"a decision value is {distance:.1e} away from it")

    def polished(self):
        return self

    def smoothed(self, smoothing):
        is_temperature = isinstance(smoothing, numbers.Real) and COLDEST <= smoothing < np.inf
        if not (smoothing is None or is_temperature or str(smoothing) == "auto"):
            raise ValueError(
                f"smoothing must be a temperature of at least {COLDEST:.0e}, None (its limit) or "
                f"'auto'. Got {smoothing!r}."
            )
        view = copy.copy(self)
        view._smoothing = smoothing
        return view

    def report(self):
        problem, solutions = self.problem, self.optimum.solutions
        names = np.array(["none", "margin", "bound"])
        role = np.full((problem.n_samples, problem.n_outputs), "", dtype="<U6")
        for j, (rows, solution) in enumerate(zip(self.optimum.rows, solutions, strict=True)):
            role[rows, j] = names[solution.role]
        return HingeReport(
            distance=self.optimum.distance,
            kkt_residual=max(float(one.kkt_residual) for one in solutions),
            n_pivots=sum(int(one.n_pivots) for one in solutions),
            n_support=np.array([np.isin(one.role, (MARGIN, BOUND)).sum() for one in solutions]),
            n_margin=np.array([(one.role == MARGIN).sum() for one in solutions]),
            role=role,
        )

    def _smoothing_or(self, default):
        return default if self._smoothing == "auto" else self._smoothing

    # Derivatives

    def up_params(self, rows):
        if not self.problem.is_linear:
            raise ValueError(
                "influence_up_params needs a model with finitely many parameters. Got the kernel "
                f"{self.problem.design.kernel!r}; ask for the decision function itself: "
                "removal_effect(X, of='decision_function')."
            )
        return derivatives.up_params(self.problem, self.optimum.conditionals(None), rows)

    def up_loss(self, tests, rows, aggregate):
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        conditionals = self.optimum.conditionals(self._smoothing_or(SMOOTHING))
        gradients = self.problem.loss.gradient(self.optimum.decision(tests.design.X), tests.y)
        return derivatives.up_loss(
            self.problem, conditionals, gradients, tests.design.X, rows, aggregate
        )

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        smoothing = self._smoothing_or(None)
        conditionals = self.optimum.conditionals(smoothing)
        if smoothing is None:
            conditionals = [
                having(self.problem, one, self.optimum.beta[j])
                for j, one in enumerate(conditionals)
            ]
        gradients = self.problem.loss.gradient(self.optimum.decision(tests.design.X), tests.y)
        points = (gradients, tests.design.X, rows, aggregate, pull_back, out)
        return derivatives.pert_loss(self.problem, conditionals, self.optimum.beta, *points)

    def test_pulls(self, tests):
        gradients = self.problem.loss.gradient(self.optimum.decision(tests.design.X), tests.y)
        used = np.flatnonzero(self.optimum.beta.any(axis=0))
        kernel, X = self.problem.design.kernel, self.problem.design.X
        slopes = kernel.grad_combination(tests.design.X, X[used], self.optimum.beta[:, used].T)
        return np.einsum("tj,jtf->tf", gradients, slopes)

    def self_influence(self):
        gradients = self.problem.loss.gradient(self.optimum.eta, self.problem.y)
        conditionals = self.optimum.conditionals(self._smoothing_or(SMOOTHING))
        return derivatives.self_influence(self.problem, conditionals, gradients)

    # Edits

    def quantity(self, tests, of, method):
        check_method(method)
        return Quantity(of, self.problem.loss, tests, self.optimum.decision(tests.design.X))

    def start(self, design, method):
        """Decision values at ``design`` that changes are measured from."""
        return self.optimum.decision(design.X) + self._class_shift(design.X)

    def reweighted(self, ratio, method):
        """The answers where each class weighs ``ratio`` times as much, (n_classes,).

        ``"influence"`` is of first order in ``ratio - 1``.
        """
        moved = self.at_optimum.reweighted(ratio)
        if method != "influence":
            return HingeAnswers(moved, self.verbose)
        codes = self.problem.y
        before = self.problem.loss.factors[codes]
        after = ratio[codes, None] * moved.loss.factors[codes]
        view = copy.copy(self)
        view._share = np.divide(after, before, out=np.ones_like(after), where=before > 0) - 1.0
        return view

    def at_gamma(self, gamma):
        """The answers at another gamma of the kernel, solved from here."""
        design = self.problem.design
        kernel = replace(design.kernel, gamma=gamma)
        design = replace(design, kernel=kernel)
        problem = replace(self.at_optimum, design=design, fitted_eta=None)
        return HingeAnswers(problem)

    def removals_at(self, rows, gammas, Z, each=False):
        """Decision values without each row under a gamma of its own, at points or at one for each.

        See :func:`~skinfluence.hinge.gammas.without_rows`; of shape (n_rows, n_points, n_outputs).
        """
        kernel, out = self.problem.design.kernel, []
        for j, among in enumerate(self.optimum.rows):
            shifts, solution = self._removal_shifts(j, rows, "exact"), self.optimum.solutions[j]
            start = Start(solution.beta, shifts.moves, shifts.positions, rows, among)
            engine = Engine(solution.problem, self.problem.design.X[among], start)
            out.append(without_rows(engine, gammas, kernel, Z, each))
        return np.stack(out, axis=2)

    def _class_shift(self, at):
        """What the weights of the classes do to first order, where they move."""
        out = np.zeros((at.shape[0], self.problem.n_outputs))
        if self._share is None:
            return out
        for j, one in enumerate(self.optimum.conditionals(None)):
            pushing = np.flatnonzero(one.push)
            amounts = (self.problem.weights * self._share[:, j] * one.push)[pushing]
            out[:, j] = one.cross(at, self.problem.design.X[pushing]) @ amounts
        return out

    def row_stream(self, quantity, rows, label, method, tol):
        lonely = np.isin(rows, rows_alone(self.problem))
        if label is not None:
            lonely &= self.problem.y[rows] != label
        if lonely.any():
            warn_alone(self.problem, rows[lonely])
        tests = quantity.design.X
        with progress_bar(len(rows), "edits", self.verbose) as advance:
            shifts = [self._shifts(j, rows, label, method) for j in range(self.problem.n_outputs)]
            shifts = [one.at(tests) for one in shifts]
            width = tests.shape[0] * self.problem.n_outputs
            for block in row_blocks(len(rows), 40 * width):
                steps = np.zeros((block.stop - block.start, tests.shape[0], len(shifts)))
                for j, one in enumerate(shifts):
                    one.add(block, steps[:, :, j])
                values = quantity.change(steps)
                values[lonely[block]] = np.nan
                yield block, values
                advance(block.stop - block.start)

    def _shifts(self, output, rows, label, method):
        """Changes of one decision function when each row is removed or relabelled."""
        if method == "influence":
            return self._pushes(output, rows, label)
        if label is not None:
            if method == "one-step":
                raise ValueError(ONE_STEP)
            return self._relabel_shifts(output, rows, label)
        return self._removal_shifts(output, rows, method)

    def _removal_shifts(self, output, rows, method):
        key = (output, method == "one-step")
        asked, shifts = self._last_removals.get(key, (None, None))
        if asked is None or not np.array_equal(asked, rows):
            mine = np.flatnonzero(np.isin(rows, self.optimum.rows[output]))
            paths, among = self.optimum.path(output)
            at = np.searchsorted(among, rows[mine])
            turned = None
            if method == "one-step":
                moves = self._span(output, paths, at, rows[mine])
            else:
                moves = paths.remove(at)
                turned = self.optimum.plane(output, paths, among).after(moves)
            shifts = Shifts(self.problem, moves, mine, among, turned)
            if moves.delta_beta.nbytes < KEPT_BYTES:
                self._last_removals[key] = (rows, shifts)
        return shifts

    def _relabel_shifts(self, output, rows, label):
        problem = self.problem
        unit = problem.units(np.array([label]))[0, output]
        if unit == 0.0:
            # The new label has no part in this problem: the row leaves it.
            return self._removal_shifts(output, rows, "exact")
        bound = problem.sample_weight[rows] * problem.labels.class_weight[label] * np.abs(unit)
        before = problem.weights[rows] * problem.units(problem.y[rows])[:, output]
        mine = np.flatnonzero((problem.y[rows] != label) & (np.sign(unit) * bound != before))
        outsiders = (problem.loss.signs[problem.y[rows[mine]], output] == 0.0).any()
        paths, among = self.optimum.path(output, with_all_rows=outsiders)
        at = np.searchsorted(among, rows[mine])
        moves = paths.change(at, y=np.full(len(mine), np.sign(unit)), C=bound[mine])
        turned = self.optimum.plane(output, paths, among).after(moves)
        return Shifts(problem, moves, mine, among, turned)

    def _pushes(self, output, rows, label):
        problem, one = self.problem, self.optimum.conditionals(None)[output]
        amounts = -problem.weights[rows] * one.push[rows]
        if label is not None:
            codes = np.full(len(rows), label)
            relabelled = problem.sample_weight[rows] * problem.labels.class_weight[label]
            amounts += relabelled * new_push(problem, output, codes, self.optimum.eta[rows, output])
            amounts[problem.y[rows] == label] = 0.0
        return Pushes(problem, one, rows, amounts)

    def effects(self, points, quantity, method, tol):
        tests = quantity.design.X
        values = np.empty((len(points), *quantity.shape))
        kkt, pivots = np.full(len(points), np.nan), np.zeros(len(points), dtype=int)
        with progress_bar(len(points), "edits", self.verbose) as advance:
            for i, one in enumerate(points):
                step, kkt[i], pivots[i] = self._change(one, method, tests)
                values[i] = quantity.change(step[None])[0]
                advance(1)
        used = np.full(len(points), method if method in LOCAL else "path", dtype="<U9")
        bound = np.array([self._bound(*pair) for pair in zip(points, kkt, strict=True)])
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        return values, bound, used, np.full(len(points), np.nan), kkt, pivots

    def _bound(self, points, kkt):
        """Of the error of ``f`` in the norm of the kernel, from the gap between primal and dual.

        The gap is at most the sum of the violations times the bounds of their rows.
        """
        if np.isnan(kkt):
            return np.inf
        weight = self.problem.total_weight + max(points.shift, 0.0)
        bounds = self.problem.C * self.problem.loss.factors.max() * weight * self.problem.n_outputs
        return float(np.sqrt(2.0 * kkt * bounds))

    def _change(self, points, method, at):
        """Change of all decision functions at some points under one edit, its KKT and pivots."""
        step = np.zeros((at.shape[0], self.problem.n_outputs))
        if method == "influence":
            conditionals = self.optimum.conditionals(None)
            new_eta = None if points.new is None else self.optimum.decision(points.new.X)
            for j, one in enumerate(conditionals):
                step[:, j] = influence_change(self.problem, j, one, points, new_eta, at)
            return step, np.nan, 0
        kkt, pivots = 0.0, 0
        for j in range(self.problem.n_outputs):
            paths, rows = self.optimum.path(j)
            if method == "one-step":
                moves, new = self._span_moves(j, points, paths, rows), None
            else:
                moves, new = edit_moves(self.problem, j, rows, paths, points)
            if moves is None:
                continue
            columns = self.problem.cross(self.problem.design.X[rows[moves.columns]], at)
            added = None if new is None else self.problem.cross(new, at)
            step[:, j] = moves.decision_change(columns, added)[0]
            if method != "one-step":
                turned = self.optimum.plane(j, paths, rows).after(moves, new)
                if turned is not None:
                    step[:, j] = turned.at(at)[0]
            kkt = max(kkt, moves.kkt_residual[0])
            pivots += moves.n_pivots[0]
        return step, kkt if method != "one-step" else np.nan, pivots

    def _span(self, output, paths, at, rows):
        """The span rule for some rows, at their places in the path; says which it has no answer for."""
        check_margin(self.problem, self.optimum.solutions[output])
        moves = paths.one_step(at)
        gone = rows[moves.moving[np.isnan(moves.delta_bias)]]
        if len(gone):
            warnings.warn(
                f"{rows_have(gone)} no one-step answer (NaN): without it no row is left on the margin "
                "to hold the free intercept. Ask with method='auto', the exact path.",
                UserWarning,
                stacklevel=level_outside(),
            )
        return moves

    def _span_moves(self, output, points, paths, rows):
        removed = np.array_equal(points.row_changes, -self.problem.weights[points.rows])
        if points.new is not None or len(points.rows) != 1 or not removed:
            raise ValueError(ONE_STEP)
        at = np.flatnonzero(rows == points.rows[0])
        return self._span(output, paths, at, points.rows) if len(at) else None

    def own_removals(self, method, tol, rows=None):
        check_method(method)
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        eta = self.optimum.eta[rows] + self._class_shift(self.problem.design.X[rows])
        with progress_bar(self.problem.n_outputs, "problems", self.verbose) as advance:
            for j in range(self.problem.n_outputs):
                eta[:, j] += self._shifts(j, rows, None, method).own(rows)
                advance(1)
        return eta

    def own_group_removals(self, removals, method, tol):
        check_method(method)
        eta = self.optimum.eta + self._class_shift(self.problem.design.X)
        for one in removals:
            eta[one.rows] += self._change(one, method, self.problem.design.X[one.rows])[0]
        return eta


@answers_of.register
def _(problem: HingeObjective, *, solver, hold, precision, verbose):
    check_solved_exactly("Hinge models are solved by their exact path", solver, precision)
    return HingeAnswers(problem, verbose).holding(hold)
