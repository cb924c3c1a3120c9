"""Answers about smooth objectives: derivatives and edits from one factored Hessian."""

from dataclasses import replace
from functools import cached_property

import numpy as np

from skinfluence import certificate
from skinfluence._utils.locks import Locked
from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence._utils.progress import progress_bar
from skinfluence.answers import LOCAL, Answers, answers_of, check_method
from skinfluence.answers.checks import warn_alone
from skinfluence.objective import Objective, centred
from skinfluence.quantity import Quantity
from skinfluence.smooth import derivatives
from skinfluence.smooth.batches.group_batch import GroupBatch
from skinfluence.smooth.deletions import Deletions
from skinfluence.smooth.one_step import effects, point_steps, steps
from skinfluence.smooth.optimum.existence import refuse_unbounded_fit
from skinfluence.smooth.optimum.newton import polish, rounding_left
from skinfluence.smooth.optimum.row_space import in_row_space, refuse_turned
from skinfluence.smooth.optimum.saturated import refuse_saturated
from skinfluence.smooth.others import effect_on_others
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.smooth.stages.edit_start import serving_edits
from skinfluence.smooth.stages.rescaled import RescaledRemovals
from skinfluence.smooth.stages.solved import relative_tol
from skinfluence.smooth.unanswered import (
    failed_of,
    leaves_no_model,
    warn_unanswered,
    warn_uncertified,
)
from skinfluence.solvers import Exact, SingularHessianError, resolve_solver
from skinfluence.solvers.reports import Moved

# Arrays of a matrix for each row, of as many rows and columns as outputs, that are alive at once, and
# what they may take before rows are asked about by blocks.
ROW_MATRICES, ROWS_BYTES = 8, 2**28


class SmoothAnswers(Locked, Answers):
    """Effects of edits by method; polishes to the optimum once, when a method needs it.

    Parameters
    ----------
    factor : Factor
        At the parameters as fitted.
    solver : solver object
    verbose : bool
        Show a progress bar on long work.
    """

    # Where local steps are taken from, as a distance from the parameters; None for there.
    offset = None
    # Whether many removals of groups are solved together where that is known to be the same.
    batches_groups = True

    def __init__(self, factor, solver, verbose=False):
        super().__init__()
        self.problem = factor.objective
        self.factor = factor
        self.solver = solver
        self.verbose = verbose
        self._moved = None
        self._edit_solver, self._siblings = None, {}

    def holding(self, hold):
        """The answers under another meaning of edits; these ones for None."""
        if hold is None:
            return self
        factor = self.factor.holding(hold)
        if factor is self.factor:
            return self
        with self._lock:
            name = factor.objective.hold
            if name not in self._siblings:
                self._siblings[name] = SmoothAnswers(factor, self.solver, self.verbose)
            return self._siblings[name]

    def report(self):
        return self._report

    @cached_property
    def _report(self):
        return replace(self.factor.report(), moved=self._moved)

    def polished(self):
        try:
            off = self.report().newton_decrement
            return self._at_optimum(self.factor, self.solver, self.verbose, self.problem, off)
        except SingularHessianError as error:
            self._refuse_saturated(self.problem, self.solver, self.verbose, error)
            raise

    @staticmethod
    def _at_optimum(factor, solver, verbose, fitted, off):
        """The answers from the optimum, a Newton decrement off the fit."""
        other = SmoothAnswers(polish(factor, solver), solver, verbose)
        other._moved = Moved.between(fitted, other.problem, off)
        return other

    @classmethod
    def _refuse_saturated(cls, fitted, solver, verbose, error):
        def at_optimum(factor):
            return cls._at_optimum(factor, solver, verbose, fitted, np.inf)

        refuse_saturated(fitted, solver, error, at_optimum)

    @property
    def concern(self):
        """Whether the fit is so far from its optimum that answers around it mislead."""
        problem = self.problem
        # A tenth of the loss of an average row: beyond it, answers about single rows are off by more
        # than about a tenth themselves (breast cancer, digits).
        limit = np.sqrt(0.2 * abs(problem.value()) / problem.n_samples + 2e-12)
        if self.factor.largest_decrement(problem.gradient()) <= limit:
            return None
        try:
            report = self.report()
        except SingularHessianError as error:
            self._refuse_saturated(problem, self.solver, self.verbose, error)
            raise
        if report.newton_decrement <= max(limit, rounding_left(self.factor)):
            return None
        few = "" if problem.weights.all() else "leave rows of weight 0 out of the fit, "
        return (
            "The fit is not at the optimum of its objective: Newton decrement "
            f"{report.newton_decrement:.1e}, relative gradient {report.relative_gradient:.1e}. "
            "Derivatives, 'one-step' and 'influence' describe the model as it is; 'auto' and "
            f"'exact' start from the optimum. Scale the features, lower tol or raise max_iter, {few}or "
            "pass polish=True to Influence to ask about the optimum everywhere; and check that X, "
            "y and sample_weight are the data and the parameters the estimator was fitted with."
        )

    def up_params(self, rows):
        refuse_turned(self.problem.design, "The change of coefficients")
        k, d = self.problem.theta.shape
        outputs = self.problem.loss.expand(np.zeros(k)).shape[0]
        check_fits((len(rows), outputs, d), "Ask for fewer rows with indices=.")
        return derivatives.up_params(self.factor, rows)

    def up_loss(self, tests, rows, aggregate):
        gradients = derivatives.test_gradients(self.problem, tests, aggregate)
        return derivatives.up_loss(self.factor, gradients, rows)

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        refuse_turned(self.problem.design, "How features move the fit")
        gradients = derivatives.test_gradients(self.problem, tests, aggregate)
        return derivatives.pert_loss(self.factor, gradients, rows, pull_back, out)

    def test_pulls(self, tests):
        refuse_turned(self.problem.design, "How features move predictions")
        return derivatives.test_pulls(self.problem, tests)

    def self_influence(self):
        return derivatives.self_influence(self.factor)

    def edit_solver(self):
        """Solver of edits at the optimum, made on first use."""
        if self.factor.is_random:
            raise ValueError(
                "Certified and exact answers need exact leverages. Got random estimates, of the "
                f"solver {self.factor.name}; ask with method='one-step' or 'influence'."
            )
        if self.factor.curvature.damping:
            raise ValueError(
                "Certified and exact answers need the Hessian of the fit. Got damping="
                f"{self.factor.curvature.damping:g}; ask with method='one-step' or 'influence'."
            )
        with self._lock:
            if self._edit_solver is None:
                factor, solver = serving_edits(self.factor, self.solver)
                self._edit_solver = EditSolver(polish(factor, solver), solver)
            return self._edit_solver

    def basis(self, method):
        """The objective that a method's effects start from."""
        check_method(method)
        return self.problem if method in LOCAL else self.edit_solver().objective

    def quantity(self, tests, of, method):
        objective = self.basis(method)
        eta = tests.design.multiply(objective.theta.T)
        return Quantity(of, objective.loss, tests, eta)

    def start(self, design, method):
        """Decision values at ``design`` that the changes of a method start from."""
        return design.multiply(self.basis(method).theta.T)

    def row_edits(self, rows, label, method, say=True):
        """One edit for each row, and which of them leave no model, warned about and undone."""
        basis = self.basis(method)
        if label is None:
            edits = steps.removals(basis, rows)
        else:
            edits = steps.relabels(basis, rows, label)
        lonely = leaves_no_model(edits, basis)
        if say and lonely.any():
            warn_alone(basis, edits.rows[lonely])
        return edits.undone(lonely, basis), lonely

    def row_stream(self, quantity, rows, label, method, tol):
        for some in self._row_blocks(len(rows)):
            edits, lonely = self.row_edits(rows[some], label, method)
            for block, values in self._by_method(edits, quantity, method, tol):
                values[lonely[block]] = np.nan
                yield effects.inside(some, block), values

    def row_steps(self, rows, label, method, tol):
        for some in self._row_blocks(len(rows)):
            edits, lonely = self.row_edits(rows[some], label, method)
            for block, moved in self.steps_by_method(edits, method, tol):
                moved[lonely[block]] = np.nan
                yield effects.inside(some, block), moved

    def _row_blocks(self, m):
        """Slices of m rows asked about: one, unless matrices for each of them would be large."""
        k = self.problem.loss.n_outputs
        if not self.factor.leverages_by_blocks:
            check_fits((ROW_MATRICES, m, k, k), "Ask for fewer rows.", "Matrices for each row")
            return [slice(0, m)]
        return list(row_blocks(m, 8 * k * k * ROW_MATRICES, ROWS_BYTES))

    def steps_by_method(self, edits, method, tol):
        """Steps of the parameters under edits of one row each, as (which edits, their steps) in blocks."""
        if method in LOCAL:
            a = steps.step_coefficients(self.factor, edits, method)
            for block in row_blocks(len(edits.rows), 32 * self.problem.n_parameters):
                part = edits.take(block)
                yield block, steps.steps_from(self.factor, part, method, a[block])
            return
        for block, solved in self.solved(edits, method, tol):
            yield block, solved.steps

    def deletions(self):
        return Deletions(self)

    def effect_on_others(self, answered, thorough=False):
        return effect_on_others(self, answered, thorough)

    @property
    def certifies(self):
        """Whether leverages are exact, which certificates need."""
        return not self.factor.is_random

    def effects(self, points, quantity, method, tol):
        found, bound, used = self.solve_points(points, method, tol)
        values = effects.theta_effects(quantity, found)
        leverage = np.array([point_steps.points_leverage(self.factor, one) for one in points])
        return values, bound, used, leverage

    def _by_method(self, edits, quantity, method, tol):
        if method in LOCAL:
            yield from effects.streamed_row_effects(self.factor, edits, quantity, method)
            return
        solver, relative = self.edit_solver(), relative_tol(method, tol)
        sure, at_once = solver.own.moves_at(edits, quantity.design, relative)
        if sure.any():
            yield from self._rest_by_method(edits, quantity, method, tol, sure, at_once)
            return
        for block, solved in self.solved(edits, method, tol):
            for part, moved in effects.decision_steps(quantity.design, solved.steps):
                yield effects.inside(block, part), quantity.change(moved)

    def _rest_by_method(self, edits, quantity, method, tol, sure, at_once):
        """Effects of edits of which some are answered, as one block."""
        moved = np.empty((len(sure), *at_once.shape[1:]))
        moved[sure] = at_once
        rest = np.flatnonzero(~sure)
        for block, solved in self.solved(edits.take(rest), method, tol):
            for part, change in effects.decision_steps(quantity.design, solved.steps):
                moved[rest[effects.inside(block, part)]] = change
        for block in row_blocks(len(moved), 80 * moved[0].size):
            yield block, quantity.change(moved[block])

    def own_removals(self, method, tol, rows=None):
        basis = self.basis(method)
        rows = np.arange(basis.n_samples) if rows is None else rows
        eta = basis.eta[rows]
        for block in self._row_blocks(len(rows)):
            edits = steps.removals(basis, rows[block])
            # The caller knows them, and says NaN.
            edits = edits.undone(leaves_no_model(edits, basis), basis)
            if method in LOCAL:
                eta[block] += steps.own_eta_steps(self.factor, edits, method)
            else:
                self.own_values(edits, eta[block], method, tol)
        return eta

    def own_removals_rescaled(self, method, tol, rows, ratio, fills=None):
        """See :meth:`RescaledRemovals.own`."""
        return RescaledRemovals(self).own(method, tol, rows, ratio, fills)

    def rescaled_stream(self, quantity, rows, ratio, method, tol, fills=None, there=None):
        """See :meth:`RescaledRemovals.stream`."""
        return RescaledRemovals(self).stream(quantity, rows, ratio, method, tol, fills, there)

    def rescaled_effects(self, quantity, rows, ratio, method, tol, fills=None, there=None):
        """See :meth:`RescaledRemovals.effects`."""
        return RescaledRemovals(self).effects(quantity, rows, ratio, method, tol, fills, there)

    def own_values(self, edits, eta, method, tol):
        """Decision values after certified edits at their own rows, in the place of those before."""
        sure, moved = self.edit_solver().own.steps_at_once(edits, relative_tol(method, tol))
        eta[sure] += moved
        rest = np.flatnonzero(~sure)
        if sure.any():
            edits = edits.take(rest)
        for block, solved in self.solved(edits, method, tol):
            eta[rest[block]] += steps.at_rows(edits.design.take(block), solved.steps)
        return eta

    def own_group_removals(self, removals, method, tol):
        basis = self.basis(method)
        eta = basis.eta.copy()
        for block in row_blocks(len(removals), 8 * basis.n_parameters):
            found, _, _ = self.solve_points(removals[block], method, tol)
            for one, step in zip(removals[block], found, strict=True):
                eta[one.rows] += basis.design.take(one.rows).multiply(step.T)
        return eta

    def solve_points(self, points, method, tol):
        """Parameter steps, bounds and methods used of edits of any points."""
        found = np.empty((len(points), *self.problem.theta.shape))
        bound = np.full(len(points), np.inf)
        used = np.full(len(points), method, dtype="<U9")
        with progress_bar(len(points), "edits", self.verbose) as advance:
            if method in LOCAL:
                solver = self.solver.for_edits() if isinstance(self.solver, Exact) else self.solver
                for i, one in enumerate(points):
                    found[i] = point_steps.points_step(self.factor, solver, one, method)
                    advance(1)
                return found, bound, used
            solver, tol = self.edit_solver(), relative_tol(method, tol)
            size, round_off = np.zeros(len(points)), np.zeros(len(points))
            left = np.arange(len(points))
            batch = GroupBatch(solver)
            many = np.flatnonzero(batch.takes(points)) if self.batches_groups else left[:0]
            if len(many):
                solved = batch.solve([points[i] for i in many], tol)
                found[many], bound[many], size[many], used[many], round_off[many] = solved
                done = many[certificate.within(bound[many], size[many], tol, round_off[many])]
                left = np.setdiff1d(left, done)
                advance(len(done))
            for i in left:
                found[i], bound[i], size[i], used[i], round_off[i] = self._solve_one(
                    solver, points[i], tol
                )
                advance(1)
        if solver.M is None:
            # Edits without an answer have raised.
            return found, bound, used
        failed = ~certificate.within(bound, size, tol, round_off)
        warn_uncertified(np.count_nonzero(failed), len(points), tol)
        return found, bound, used

    def _solve_rows(self, solver, edits, tol):
        return solver.rows.solve(edits, tol)

    def _solve_one(self, solver, points, tol):
        return solver.points.solve(points, tol)

    def solved(self, edits, method, tol):
        """Certified steps of one-row edits, in blocks; says how many were not certified."""
        solver, tol = self.edit_solver(), relative_tol(method, tol)
        # Edits without an optimum get NaN from the caller: no work on them.
        edits = edits.undone(leaves_no_model(edits, solver.objective), solver.objective)
        failed, gone = 0, []
        with progress_bar(len(edits.rows), "edits", self.verbose) as advance:
            for block, solved in self._solve_rows(solver, edits, tol):
                uncertified = failed_of(solved, tol, solver)
                unanswered = np.isnan(solved.steps).any(axis=(1, 2))
                failed += np.count_nonzero(uncertified & ~unanswered)
                gone.extend(edits.rows[block][unanswered])
                advance(block.stop - block.start)
                yield block, solved
        warn_unanswered(gone, solver)
        warn_uncertified(failed, len(edits.rows), tol)


@answers_of.register
def _(problem: Objective, *, solver, hold, precision, verbose):
    objective = centred(problem.holding(hold))
    refuse_unbounded_fit(objective)
    solver = resolve_solver(solver, objective, precision)
    try:
        factor = solver.factor(objective)
    except SingularHessianError as error:
        turned = in_row_space(objective)
        if turned is not None:
            return SmoothAnswers(solver.factor(turned), solver, verbose)
        SmoothAnswers._refuse_saturated(objective, solver, verbose, error)
        raise
    return SmoothAnswers(factor, solver, verbose)
