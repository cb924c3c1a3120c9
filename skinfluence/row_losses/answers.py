"""Derivatives and edits of a user's loss: each row has its whole Hessian, H is dense."""

import warnings
from dataclasses import replace
from functools import cached_property

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence._utils.progress import progress_bar
from skinfluence._utils.validation import check_tol
from skinfluence.answers import LOCAL, Answers, answers_of, check_method
from skinfluence.answers.checks import rows_alone, warn_alone
from skinfluence.edits.points import edited
from skinfluence.quantity import Quantity
from skinfluence.row_losses.checks import how_far, refuse_damped_refits, warn_unsolved
from skinfluence.row_losses.deletions import MDeletions
from skinfluence.row_losses.newton import factored, minimise
from skinfluence.row_losses.problem import MProblem
from skinfluence.row_losses.steps import (
    newton_steps,
    points_changes,
    points_step,
    refit,
    row_changes,
    with_row,
)
from skinfluence.solvers import SingularHessianError, SolveReport
from skinfluence.solvers.base import DistantFitError, relative_residuals

# Hessians of rows kept at once: each block takes all passes of autograd anew.
BATCH_BYTES = 2**28
FEWER_ROWS = "Ask for fewer rows with indices=."


class MAnswers(Answers):
    """Answers about a :class:`~skinfluence.row_losses.problem.MProblem`.

    Parameters
    ----------
    problem : MProblem
        At the parameters as fitted.
    verbose : bool
        Show a progress bar on long work.

    Notes
    -----
    With ``A = H + damping I`` and each row's gradient ``g_j`` and Hessian ``H_j``, an edit of the
    weights by ``dw_j`` moves the parameters by

    - ``"influence"``: ``-A^-1 sum_j dw_j g_j``;
    - ``"one-step"``: ``-(A + sum_j dw_j H_j)^-1 sum_j dw_j g_j``, one dense solve per edit;
    - ``"auto"``, ``"exact"``: to the minimum of the edited problem that Newton's method reaches
      from the one-step answer, without damping. A loss of which nothing is known has no
      certificate, so the two are the same.
    """

    def __init__(self, problem, verbose=False):
        self.problem = problem
        self.verbose = verbose
        self._found = self._moved = None
        self._H = problem.hessian()
        try:
            self._solve, self._rcond = factored(self._H, problem.damping)
        except SingularHessianError as error:
            problem.refuse_singular(error)
            self._refuse_distant(error)
            raise
        if problem.has_distance and problem.distance is None:
            # Nothing says yet that there is an optimum.
            self.optimum()

    def _refuse_distant(self, error):
        """Of a problem that knows another way to its optimum: whether the Hessian is singular there, too."""
        if not self.problem.has_distance:
            return
        found = self.problem.by_another_way()
        if found is None or not found.converged:
            raise self.problem.without_minimum() from error

        def polished():
            other = MAnswers(found.problem, self.verbose)
            other._moved = how_far(self.problem, found.problem, np.inf)
            return other

        raise DistantFitError(
            f"The Hessian at the fit must be positive definite. Got {self.problem.model_name} that ended far "
            f"from its optimum, {self.problem.value() - found.problem.value():.1e} above the least of its "
            "objective. Scale the features or raise max_iter and fit again, or pass polish=True to "
            "Influence to ask about the optimum.",
            polished,
        ) from error

    def __getstate__(self):
        return {"problem": self.problem, "verbose": self.verbose, "_moved": self._moved}

    def __setstate__(self, state):
        # The solve is a function; the Hessian it is made from comes again.
        self.__init__(state["problem"], state["verbose"])
        self._moved = state["_moved"]

    def holding(self, hold):
        if hold is None or self.problem.holding(hold).hold == self.problem.hold:
            return self
        return MAnswers(self.problem.holding(hold), self.verbose)

    @property
    def concern(self):
        """Whether the fit is so far from a stationary point that answers around it mislead."""
        problem, report = self.problem, self.report()
        gain, lost = 0.5 * report.newton_decrement**2, 0.0
        if problem.has_distance and problem.distance is None:
            # The optimum may be far from where the Hessian at the fit says.
            lost = problem.value() - self.optimum()[0].value()
        # As for linear models: a tenth of the loss of an average row.
        enough = 0.1 * problem.size / problem.n_samples + 1e-12
        # Of a perfect fit only round-off is left.
        if lost <= enough and (
            gain <= enough or report.newton_decrement <= 10.0 * problem.rounding(self._solve)
        ):
            return None
        return (
            "The parameters are not at an optimum of the objective: Newton decrement "
            f"{report.newton_decrement:.1e}, relative gradient {report.relative_gradient:.1e}. "
            "Derivatives, 'one-step' and 'influence' describe the model as it is; 'auto' and "
            "'exact' start from the optimum. Raise max_iter, scale the features, or pass "
            "polish=True to Influence; and check that X, y and sample_weight are those of the fit."
        )

    @property
    def optimum_bound(self):
        problem, H = self.optimum()
        return np.inf if problem.distance is None else problem.distance.in_norm(H)

    def polished(self):
        before, (after, _) = self.problem, self.optimum()
        other = MAnswers(after, self.verbose)
        other._moved = how_far(before, after, self.report().newton_decrement)
        return other

    def report(self):
        return replace(self._report, moved=self._moved)

    @cached_property
    def _report(self):
        problem, gradient = self.problem, self.problem.gradient()
        probe = gradient if gradient.any() else np.ones_like(gradient)
        solution = self._solve(probe)
        left = self._H @ solution + problem.damping * solution - probe
        residual = relative_residuals(probe[:, None], left[:, None])[0]
        largest = np.max(problem.weights @ np.abs(problem.gradients), initial=0.0)
        decrement = np.sqrt(np.maximum(0.0, gradient @ solution)) if gradient.any() else 0.0
        return SolveReport(
            solver="dense Cholesky" + (f", damping {problem.damping:g}" if problem.damping else ""),
            n_parameters=problem.n_parameters,
            iterations=0,
            residual=float(residual),
            converged=bool(residual < 1e-6),
            rcond=self._rcond,
            newton_decrement=float(decrement),
            leverage_error=0.0,
            relative_gradient=float(np.abs(gradient).max() / largest) if largest else 0.0,
            damping=problem.damping,
        )

    @cached_property
    def inverse(self):
        """``A^-1``, explicit."""
        return self._solve(np.eye(self.problem.n_parameters))

    # Derivatives

    @cached_property
    def _row_gradients(self):
        """``g_i`` of the training rows with each row's share of the penalty, (n_samples, p)."""
        problem = self.problem
        return problem.gradients + problem.unit_penalty * problem.theta

    def up_params(self, rows):
        check_fits((len(rows), self.problem.n_parameters), FEWER_ROWS)
        steps = -self.problem.n_samples * self._solve(self._row_gradients[rows].T).T
        return steps[:, None, :]

    def up_loss(self, tests, rows, aggregate):
        chosen = slice(None) if rows is None else rows
        S = self._solve(self._test_gradients(tests, aggregate))
        return -self.problem.n_samples * (S.T @ self._row_gradients[chosen].T)

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        problem = self.problem
        S = -problem.n_samples * self._solve(self._test_gradients(tests, aggregate))
        for block in row_blocks(len(rows), 16 * S.shape[1] * problem.design.n_features):
            part = rows[block]
            X, y = problem.design.X[part], problem.y[part]
            found = problem.row_loss.input_gradients(problem.theta, X, y, S)
            out[:, block] = pull_back(part, found)
        return out

    def self_influence(self):
        solved = self._solve(self._row_gradients.T).T
        return self.problem.n_samples * np.einsum("ip,ip->i", self.problem.gradients, solved)

    def _test_gradients(self, tests, aggregate):
        """Gradients of the test losses, (p, n_test), or their mean as one column."""
        problem = self.problem
        G = problem.row_loss.gradients(problem.theta, tests.design.X, tests.y)
        return G.mean(axis=0)[:, None] if aggregate else G.T

    # Edits

    def optimum(self):
        """The problem at its optimum, and its Hessian there; found on first use."""
        if self._found is None:
            self._found = self._find_optimum()
        return self._found

    def _find_optimum(self):
        if self.problem.damping:
            refuse_damped_refits(self._H)
        found = minimise(self.problem, self._H)
        if not found.converged and self.problem.has_distance:
            raise self.problem.without_minimum()
        if not found.converged:
            warnings.warn(
                f"Newton's method did not reach an optimum from the parameters as fitted: "
                f"decrement {found.decrement:.1e}. Effects are measured from where it stopped.",
                ConvergenceWarning,
                stacklevel=level_outside(),
            )
        moved = found.problem.theta is not self.problem.theta
        return found.problem, found.problem.hessian() if moved else self._H

    def _basis(self, method):
        """The problem that a method's effects start from, and the Hessian that it solves with."""
        check_method(method)
        if method not in LOCAL:
            return self.optimum()
        return self.problem, self._H + self.problem.damping * np.eye(len(self._H))

    def quantity(self, tests, of, method):
        problem, _ = self._basis(method)
        eta = problem.outputs(problem.theta, tests.design.X, tests.y)
        return Quantity(of, problem.loss, tests, eta)

    def row_stream(self, quantity, rows, label, method, tol):
        for block, steps in self.row_steps(rows, label, method, tol):
            yield block, self._changes(quantity, steps, method)

    def effects(self, points, quantity, method, tol):
        steps, leverage = self.points_steps(points, method, tol)
        values = self._changes(quantity, steps, method)
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        used = np.full(len(points), method if method in LOCAL else "newton", dtype="<U9")
        return values, self._bounds(points, steps, method), used, leverage

    def _bounds(self, points, steps, method):
        """How far each step ends from the optimum, in the norm of the edited Hessian at the fit."""
        bounds = np.full(len(points), np.inf)
        problem, H = self._basis(method)
        if method in LOCAL or problem.distance is None:
            return bounds
        for i in np.flatnonzero(~np.isnan(steps).any(axis=1)):
            end = edited(problem, points[i]).at(problem.theta + steps[i]).distance
            if end is not None:
                P = H + points_changes(problem, points[i])[0].hessian[0]
                bounds[i] = problem.distance.in_norm(P) + end.in_norm(P)
        return bounds

    def own_removals(self, method, tol, rows=None):
        problem, _ = self._basis(method)
        rows = np.arange(problem.n_samples) if rows is None else rows
        eta = problem.outputs(problem.theta, problem.design.X, problem.y)
        # The caller knows which those are, and says so.
        alone = np.isin(rows, rows_alone(problem))
        for block, steps in self._row_steps(rows, None, method, tol, alone):
            self._move(eta, [[row] for row in rows[block]], steps, problem)
        return eta[rows]

    def deletions(self):
        return MDeletions(self)

    def own_group_removals(self, removals, method, tol):
        problem, _ = self._basis(method)
        eta = problem.outputs(problem.theta, problem.design.X, problem.y)
        steps, _ = self.points_steps(removals, method, tol)
        self._move(eta, [one.rows for one in removals], steps, problem)
        return eta

    def row_steps(self, rows, label, method, tol):
        """Steps of the parameters of one-row edits, as ``(block, (b, n_params))``.

        Removals, or relabellings where a label's position is given. NaN, with a warning, where
        the edited problem has no minimum near.
        """
        alone = np.isin(rows, rows_alone(self.problem)) & (label is None)
        if alone.any():
            warn_alone(self.problem, rows[alone])
        return self._row_steps(rows, label, method, tol, alone)

    def _row_steps(self, rows, label, method, tol, alone):
        problem, H = self._basis(method)
        if method == "auto":
            check_tol(tol)
        p, unsolved = problem.n_parameters, 0
        with progress_bar(len(rows), "edits", self.verbose) as advance:
            for block in row_blocks(len(rows), 32 * p * p, BATCH_BYTES):
                asked = np.flatnonzero(~alone[block])
                part = rows[block][asked]
                y = None if label is None else np.repeat(problem.labels.targets[label], len(part))
                steps = np.full((len(rows[block]), p), np.nan)
                if len(part):
                    steps[asked] = self._block_steps(problem, H, part, y, method)
                unsolved += np.count_nonzero(np.isnan(steps[asked]).any(axis=1))
                advance(len(steps))
                yield block, steps
        warn_unsolved(problem, unsolved, len(rows), method)

    def _block_steps(self, problem, H, rows, y, method):
        changes = row_changes(problem, rows, y, second=method != "influence")
        if method == "influence":
            return -self._solve(changes.gradient.T).T
        steps = newton_steps(H, changes)
        if method == "one-step":
            return steps
        for i, row in enumerate(rows):
            if changes.gradient[i].any() or np.isnan(steps[i]).any():
                other = with_row(problem, row, None if y is None else y[i])
                steps[i] = refit(problem, other, steps[i], H + changes.hessian[i])
        return steps

    def points_steps(self, points, method, tol):
        """Steps of the parameters under edits, (n_edits, n_params), and their leverages."""
        problem, H = self._basis(method)
        if method == "auto":
            check_tol(tol)
        steps, leverage = np.empty((len(points), problem.n_parameters)), np.empty(len(points))
        with progress_bar(len(points), "edits", self.verbose) as advance:
            for i, one in enumerate(points):
                steps[i], leverage[i] = points_step(problem, H, one, method)
                advance(1)
        unsolved = np.count_nonzero(np.isnan(steps).any(axis=1))
        warn_unsolved(problem, unsolved, len(points), method)
        return steps, leverage

    def _changes(self, quantity, steps, method):
        """Change of a quantity under steps (b, p), shape (b, n_test, ...)."""
        problem, _ = self._basis(method)
        X, y = quantity.design.X, quantity.y
        values = np.full((len(steps), *quantity.shape), np.nan)
        for i in np.flatnonzero(~np.isnan(steps).any(axis=1)):
            moved = problem.outputs(problem.theta + steps[i], X, y) - quantity.eta
            values[i] = quantity.change(moved[None])[0]
        return values

    @staticmethod
    def _move(eta, groups, steps, problem):
        """Put in place the decision values of groups of rows, each at its own parameters."""
        for rows, step in zip(groups, steps, strict=True):
            if np.isnan(step).any():
                eta[rows] = np.nan
                continue
            X, y = problem.design.X[rows], problem.y[rows]
            eta[rows] = problem.outputs(problem.theta + step, X, y)


@answers_of.register
def _(problem: MProblem, *, solver, hold, precision, verbose):
    if solver not in ("auto", "exact") or precision != "float64":
        raise ValueError(
            "An MEstimator is solved by dense Cholesky in float64. Got "
            f"solver={solver!r}, precision={precision!r}; leave them out."
        )
    return MAnswers(problem.holding(hold), verbose)
