"""Derivatives and edits of a module: the network is linear in its parameters, the loss is not."""

import warnings
from functools import cached_property

import numpy as np
from scipy import linalg

from skinfluence._utils.calls import level_outside
from skinfluence._utils.locks import Locked
from skinfluence._utils.memory import check_fits
from skinfluence._utils.progress import progress_bar
from skinfluence.answers import FEWER_TESTS, Answers, check_method
from skinfluence.answers.checks import rows_alone, warn_alone
from skinfluence.edits.points import Points
from skinfluence.quantity import Quantity
from skinfluence.solvers import SolveReport

# Numbers that a pass forward moves for each vector and activation, for one of a row's gradient: which
# of them is taken for the product of both. Seen on dense and convolutional networks.
FORWARD = 4
FEWER_ROWS = "Ask for fewer rows with indices=, or choose fewer parameters=."


class ModuleAnswers(Locked, Answers):
    """Answers about a :class:`~skinfluence.neural.problem.ModuleProblem`.

    Parameters
    ----------
    factor : Factor
    verbose : bool
        Show a progress bar on long work.
    """

    def __init__(self, factor, verbose=False):
        super().__init__()
        self.problem = factor.objective
        self.factor = factor
        self.verbose = verbose

    def holding(self, hold):
        if hold is None:
            return self
        factor = self.factor.holding(hold)
        return self if factor is self.factor else ModuleAnswers(factor, self.verbose)

    def report(self):
        return self._report

    @cached_property
    def _report(self):
        problem, gradient = self.problem, self._gradient
        probe = gradient if gradient.any() else np.ones_like(gradient)
        solution = self.factor.probed(probe[:, None])
        step, error = solution.X[:, 0], solution.standard_error
        decrement = np.sqrt(np.maximum(0.0, gradient @ step)) if gradient.any() else 0.0
        return SolveReport(
            solver=f"{problem.hessian}, {self.factor.name}",
            n_parameters=problem.n_parameters,
            iterations=int(solution.iterations[0]),
            residual=float(solution.residual[0]),
            converged=bool(solution.converged[0]),
            rcond=self.factor.rcond,
            newton_decrement=float(decrement),
            leverage_error=0.0,
            relative_gradient=self._relative_gradient,
            standard_error=0.0 if error is None else float(linalg.norm(error) / linalg.norm(step)),
        )

    @cached_property
    def _gradient(self):
        # A pass through the network.
        return self.problem.gradient()

    @cached_property
    def _relative_gradient(self):
        """The largest entry of the gradient over what it would be if no terms cancelled."""
        problem = self.problem
        largest = np.zeros(problem.n_parameters)
        for rows, G in self._row_gradients(np.arange(problem.n_samples), share=False):
            largest += np.abs(problem.weights[rows]) @ np.abs(G)
        return float(np.abs(self._gradient).max() / max(largest.max(), 1e-300))

    @property
    def concern(self):
        """Whether the network is so far from a stationary point that answers around it mislead."""
        problem = self.problem
        suboptimality = 0.5 * self.factor.decrement(self._gradient) ** 2
        mean = abs(problem.value()) / problem.n_samples
        # As for linear models: a tenth of the loss of an average row.
        if suboptimality <= 0.1 * mean + 1e-12:
            return None
        return (
            "The network is not at a stationary point of its objective: one Newton step would "
            f"lower it by about {suboptimality / mean:.1e} times the loss of an average row "
            f"(relative gradient {self._relative_gradient:.1e}). Answers describe the next step "
            "from here, not training to the end. Train on, and check that weight_decay, the loss "
            "and the rows are those of training."
        )

    # Derivatives

    def up_params(self, rows):
        p = len(self.problem.network.theta)
        check_fits((len(rows), p), FEWER_ROWS)
        out = np.empty((len(rows), p))
        for place, G in self._row_gradients(rows):
            step = -self.problem.n_samples * self.factor.solve(G.T).T
            out[place] = self.problem.network.expand(step)
        return out

    def up_loss(self, tests, rows, aggregate):
        S = self.factor.solve(self._test_gradients(tests, aggregate))
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        out = np.empty((S.shape[1], len(rows)))
        for place, along in self._row_products(rows, S):
            out[:, place] = -self.problem.n_samples * along.T
        return out

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        problem = self.problem
        if problem.network.takes_integers:
            raise ValueError(
                "influence_pert needs rows that can move. Got integers, such as tokens; ask it of "
                "the module after its embedding, on embedded rows."
            )
        S = -problem.n_samples * self.factor.solve(self._test_gradients(tests, aggregate))
        for block in problem.blocks(2 * problem.loss.n_outputs, len(rows)):
            part = rows[block]
            X = problem.design.X[part]
            moved = problem.hessians[part] @ problem.network.multiply(X, S)
            found = problem.network.input_gradients(X, moved, problem.gradients[part], S)
            out[:, block] = pull_back(part, found)
        return out

    def self_influence(self):
        problem = self.problem
        out = np.empty(problem.n_samples)
        extra = problem.unit_penalty_gradient
        for rows, G in self._row_gradients(np.arange(problem.n_samples)):
            # Of the row on its own loss: the decay belongs to the training side only.
            solved = self.factor.solve((G - extra).T)
            out[rows] = problem.n_samples * np.einsum("ip,pi->i", G, solved)
        return out

    def _row_gradients(self, rows, share=True):
        """``J_i' g_i``, with each row's share of the penalty, as ``(slice, (b, p))``."""
        problem = self.problem
        for block in problem.blocks(3, len(rows)):
            part = rows[block]
            x = problem.design.inputs(part, problem.network)
            G = problem.network.gradients(x, problem.gradients[part])
            yield block, (G + self._shares(part) if share else G)

    def _shares(self, rows):
        """Each row's share of the penalty's gradient, one line for all where all rows count."""
        share, counted = self.problem.unit_penalty_gradient, self.problem.counted
        if counted is None or counted.all():
            return share[None]
        return counted[rows, None] * share

    def _row_products(self, rows, S):
        """The products of rows' gradients with the columns of ``S``, as ``(slice, (b, m))``."""
        problem, network, m = self.problem, self.problem.network, S.shape[1]
        moving, _ = problem.activations
        dear = FORWARD * m * moving >= problem.n_parameters
        if dear or not network.goes_forward:
            for block, G in self._row_gradients(rows):
                yield block, G @ S
            return
        shares = self._shares(rows) @ S
        for block in problem.passes(m, n_rows=len(rows)):
            part = rows[block]
            moved = network.multiply(problem.design.inputs(part, network), S)
            along = np.einsum("bk,bkm->bm", problem.gradients[part], moved)
            yield block, along + (shares[block] if len(shares) > 1 else shares)

    def _test_gradients(self, tests, aggregate):
        """``J_t' g_t`` as (p, n_test), or their mean as one column."""
        problem, X = self.problem, tests.design.X
        g = problem.loss.gradient(problem.network.outputs(X), tests.y)
        if not aggregate:
            check_fits((problem.n_parameters, len(X)), FEWER_TESTS)
        out = np.zeros((problem.n_parameters, 1 if aggregate else len(X)))
        for block in problem.blocks(3, len(X)):
            if aggregate:
                out += problem.network.adjoint(X[block], g[block, :, None] / len(X))
            else:
                out[:, block] = problem.network.gradients(X[block], g[block]).T
        return out

    # Edits

    def quantity(self, tests, of, method):
        _local(method)
        eta = self.problem.network.outputs(tests.design.X)
        return Quantity(of, self.problem.loss, tests, eta)

    def row_stream(self, quantity, rows, label, method, tol):
        # Without the only row of weight nothing is left to train on, whatever a derivative says.
        alone = np.isin(rows, rows_alone(self.problem)) & (label is None)
        if alone.any():
            warn_alone(self.problem, rows[alone])
        with progress_bar(len(rows), "edits", self.verbose) as advance:
            for block in self._edit_blocks(len(rows)):
                asked = np.flatnonzero(~alone[block])
                points = [self._one_row(row, label) for row in rows[block][asked]]
                values = np.full((len(alone[block]), *quantity.shape), np.nan)
                if points:
                    values[asked] = self._changes(quantity, self.steps(points, method))
                yield block, values
                advance(len(values))

    def effects(self, points, quantity, method, tol):
        values, leverage = [], []
        with progress_bar(len(points), "edits", self.verbose) as advance:
            for block in self._edit_blocks(len(points)):
                values.append(self._changes(quantity, self.steps(points[block], method)))
                leverage += [self._leverage(one) for one in points[block]]
                advance(len(points[block]))
        values = np.concatenate(values) if values else np.empty((0, *quantity.shape))
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        used = np.full(len(points), _local(method), dtype="<U9")
        return values, np.full(len(points), np.inf), used, np.array(leverage)

    def own_removals(self, method, tol, rows=None):
        problem = self.problem
        rows = np.arange(problem.n_samples) if rows is None else rows
        eta = problem.eta[rows]
        for block in self._edit_blocks(len(rows)):
            steps = self.steps([self._one_row(row, None) for row in rows[block]], method)
            J = problem.network.jacobians(problem.design.inputs(rows[block], problem.network))
            eta[block] += np.einsum("bkp,bp->bk", J.cpu().numpy(), steps)
        return eta

    def own_group_removals(self, removals, method, tol):
        problem = self.problem
        eta = problem.eta.copy()
        for one in removals:
            (step,) = self.steps([one], method)
            moved = problem.network.multiply(problem.design.X[one.rows], step[:, None])
            eta[one.rows] += moved[:, :, 0]
        return eta

    def _edit_blocks(self, n_edits):
        """Slices of edits: their solved rows and their steps are kept at once."""
        return self.problem.blocks(3 * (self.problem.loss.n_outputs + 1), n_edits)

    def _one_row(self, row, label):
        problem, weight = self.problem, self.problem.weights[row]
        rows, change = np.array([row]), np.array([-weight])
        if label is None:
            return Points(rows, change, None, None, np.empty(0))
        labels = problem.labels
        y = labels.targets[[label]]
        placed = problem.counted is None or problem.counted[row]
        if placed and (y == problem.y[row]).all():
            return Points(rows, np.zeros(1), None, None, np.empty(0))
        added = problem.sample_weight[[row]] * labels.class_weight[label]
        return Points(rows, change, problem.design.take(rows), y, added)

    def _changes(self, quantity, steps):
        """Change of a quantity for steps (E, p) of the parameters: (E, n_test, ...) or (E,)."""
        problem, X = self.problem, quantity.design.X
        moved = np.empty((len(steps), *quantity.eta.shape))
        many = len(steps) > problem.loss.n_outputs
        for block in problem.blocks(2 * problem.loss.n_outputs, len(X)):
            if many:
                J = problem.network.jacobians(X[block]).cpu().numpy()
                moved[:, block] = np.einsum("bkp,ep->ebk", J, steps, optimize=True)
            else:
                moved[:, block] = problem.network.multiply(X[block], steps.T).transpose(2, 0, 1)
        return quantity.change(moved)

    def steps(self, points, method):
        """Steps of the parameters (E, p) of a list of edits."""
        method = _local(method)
        shifts = np.array([one.shift for one in points])
        if method == "influence" or not self.problem.unit_penalty.any():
            shifts[:] = 0.0
        out = np.empty((len(points), self.problem.n_parameters))
        for shift in np.unique(shifts):
            chosen = np.flatnonzero(shifts == shift)
            edits = self._weighted_rows([points[i] for i in chosen])
            with self._lock:
                factor = self.factor.shifted(float(shift))
            out[chosen] = _woodbury(factor, edits, method)
        _warn_undetermined(int(np.isnan(out).any(axis=1).sum()), len(points))
        return out

    def _leverage(self, one):
        """Largest eigenvalue of ``D^1/2 h D^1/2`` over the rows that lose weight; 0 if none."""
        losing = one.row_changes < 0
        if not losing.any():
            return 0.0
        lost = Points(one.rows[losing], one.row_changes[losing], None, None, np.empty(0))
        ((J, D, _),) = self._weighted_rows([lost])
        return float(linalg.eigvals(-D @ (J @ self.factor.solve(J.T))).real.max())

    def _weighted_rows(self, points):
        """Jacobians (r K, p), block-diagonal ``D`` (r K, r K) and ``b`` (p,) of each edit's rows."""
        problem, p = self.problem, self.problem.n_parameters
        parts = [self._one_edit(one) for one in points]
        # One pass for the rows of all edits: a pass for one row costs as much as for many.
        X = np.concatenate([X for X, _, _, _ in parts])
        J = [problem.network.jacobians(X[block]).cpu() for block in problem.blocks(4, len(X))]
        J = np.concatenate(J).astype(np.float64)
        out, start = [], 0
        for one, (X, dw, g, curved) in zip(points, parts, strict=True):
            own = J[start : start + len(X)].reshape(-1, p)
            start += len(X)
            b = own.T @ (dw[:, None] * g).ravel() + one.shift * problem.unit_penalty_gradient
            out.append((own, linalg.block_diag(*(dw[:, None, None] * curved)), b))
        return out

    def _one_edit(self, one):
        """Rows, changes of weight, gradients and Hessians in the outputs of one edit."""
        problem = self.problem
        X, dw = problem.design.X[one.rows], one.row_changes
        g, curved = problem.gradients[one.rows], problem.hessians[one.rows]
        if one.new is None:
            return X, dw, g, curved
        eta = problem.network.outputs(one.new.X)
        return (
            np.concatenate([X, one.new.X]),
            np.concatenate([dw, one.new_weights]),
            np.concatenate([g, problem.loss.gradient(eta, one.new_y)]),
            np.concatenate([curved, problem.loss.hessian(eta, one.new_y)]),
        )


def _woodbury(factor, edits, method):
    """``-(H + J'DJ)^-1 b`` of each edit; NaN where its rows alone determine a parameter."""
    if method == "influence":
        return -factor.solve(np.column_stack([b for _, _, b in edits])).T
    solved = factor.solve(np.column_stack([np.column_stack([J.T, b]) for J, _, b in edits]))
    steps, start = [], 0
    for J, D, _ in edits:
        m = len(J)
        V, v = solved[:, start : start + m], solved[:, start + m]
        start += m + 1
        kept = np.eye(m) + D @ (J @ V)
        positive = linalg.eigvals(kept).real.min(initial=1.0) > 1e-10
        steps.append(
            V @ np.linalg.solve(kept, D @ (J @ v)) - v if positive else np.full_like(v, np.nan)
        )
    return np.array(steps)


def _warn_undetermined(n_lost, n_edits):
    if n_lost:
        warnings.warn(
            f"{n_lost} of {n_edits} edits take away more curvature than the Hessian has in some "
            "direction, so one Newton step has no answer: theirs are NaN. Ask with "
            "method='influence', raise damping or weight_decay, or use hessian='gauss-newton'.",
            UserWarning,
            stacklevel=level_outside(),
        )


def _local(method):
    """The method that answers; a network has no certificate and no unique optimum."""
    check_method(method)
    if method == "exact":
        raise ValueError(
            "method='exact' needs a convex objective. A network has no unique optimum: train it "
            "again without the rows to verify, or ask with method='one-step'."
        )
    return "one-step" if method == "auto" else method
