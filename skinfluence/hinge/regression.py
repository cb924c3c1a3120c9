"""Support vector regression: a row is two hinge rows, one on either side of the tube.

    1/2 |f|^2 + C sum_i w_i max(0, |y_i - f(x_i)| - epsilon)

The side above has label 1 and target ``y - epsilon``, the side below label -1 and ``y + epsilon``; never
both have a coefficient. Targets are counted from their mean, where the intercept is free, and in units
of their spread, so that decision values are of the size of those of a classifier.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.active_set import NewRows, Paths, polish, polish_near
from skinfluence.answers import EditsOnly, answers_of, check_method
from skinfluence.answers.checks import check_solved_exactly, far_from_optimum
from skinfluence.hinge.edits import equal_rows
from skinfluence.hinge.gammas import Engine, Start, without_rows
from skinfluence.hinge.trust import HingeEffect, HingeReport
from skinfluence.hinge.tube import Tube
from skinfluence.kernel.design import KernelDesign
from skinfluence.losses import Loss, SingleOutputLoss
from skinfluence.losses.curved import through
from skinfluence.objective import resolve_hold
from skinfluence.problem import Chosen, Problem
from skinfluence.quantity import Quantity

ROLES = np.array(["none", "margin", "bound"])


class EpsilonInsensitive(SingleOutputLoss):
    """``max(0, |eta - y| - epsilon)``.

    Parameters
    ----------
    epsilon : float
    """

    def __init__(self, epsilon):
        self.epsilon = epsilon

    def _value(self, eta, y):
        return np.maximum(0.0, np.abs(eta - y) - self.epsilon)

    def _first(self, eta, y):
        return np.where(np.abs(eta - y) > self.epsilon, np.sign(eta - y), 0.0)

    def _second(self, eta, y):
        return np.zeros(np.broadcast_shapes(np.shape(eta), np.shape(y)))


@dataclass(frozen=True, eq=False)
class TubeProblem(Problem):
    """A support vector regression and its training data.

    Parameters
    ----------
    design : KernelDesign
        The training rows and their kernel, which holds the intercept when that is penalised.
    y, weights : ndarray of shape (n_samples,)
    C, epsilon : float
    free_bias : bool
        Whether an unpenalised intercept is fitted.
    beta : ndarray of shape (n_samples,)
        Coefficients of the kernel expansion as fitted.
    bias : float
        The unpenalised intercept as fitted.
    gamma_counts : {"rows", "rows left"}, default=None
        As in :class:`~skinfluence.problem.Problem`; so is ``chosen``.
    chosen : Chosen, default=None
    fitted_eta : ndarray of shape (n_samples,), default=None
        What the fit predicts, where ``beta`` is a guess.
    through : Curve, default=None
        What the targets went through, as in ``skinfluence.losses.curved.through``.
    near : bool, default=False
        Whether the coefficients are those of a fit on nearly the same rows.
    """

    design: KernelDesign
    y: np.ndarray
    weights: np.ndarray
    C: float
    epsilon: float
    free_bias: bool
    beta: np.ndarray
    bias: float
    gamma_counts: str | None = None
    fitted_eta: np.ndarray | None = None
    labels: None = None
    chosen: Chosen | None = None
    through: object = None
    near: bool = False

    model_name = "a support vector regression"
    n_outputs = 1

    @cached_property
    def loss(self) -> Loss:
        """The loss of the decision values."""
        loss = EpsilonInsensitive(self.epsilon)
        return loss if self.through is None else through(loss, self.through)

    @property
    def sample_weight(self):
        """The weights: there are no class weights."""
        return self.weights

    def holding(self, hold):
        """The same problem: the bound of every row is held."""
        if resolve_hold(hold, "C") == "lambda":
            raise ValueError(
                "An edit of a support vector regression holds C. Got hold='lambda', which would change "
                "the bound of every row; ask with hold='C', or fit with the C that is meant."
            )
        return self

    def expansion(self, beta, X):
        """``sum_j beta_j k(x_j, x)`` over the training rows at points X, (n_points,)."""
        used = np.flatnonzero(beta)
        kernel, support = self.design.kernel, self.design.X[used]
        out = np.zeros(X.shape[0])
        if not len(used):
            return out
        for block in row_blocks(len(out), 8 * (len(used) + 1)):
            out[block] = kernel(X[block], support) @ beta[used]
        return out


class TubeAnswers(EditsOnly):
    """Exact effects of edits of a support vector regression.

    Parameters
    ----------
    problem : TubeProblem
    tube : Tube, default=None
        Units of a solution that is known.
    solution : HingeOptimum, default=None

    Notes
    -----
    From the polished optimum the path of each edit is followed, as for classifiers.
    """

    effect_type = HingeEffect

    def __init__(self, problem, tube=None, solution=None):
        self.problem = problem
        self.tube = Tube(problem) if tube is None else tube
        self.solution = self._solved() if solution is None else solution
        n = problem.n_samples
        self.beta = self.tube.size * (self.solution.beta[:n] + self.solution.beta[n:])
        self.bias = self.tube.middle + self.tube.size * self.solution.bias
        self.eta = self.tube.middle + self.tube.size * self.solution.f[:n]

    def _solved(self):
        problem, tube = self.problem, self.tube
        engine = tube.engine(problem, problem.design, problem.y, problem.weights)
        start = problem.beta / tube.size
        start = np.concatenate([np.maximum(start, 0.0), np.minimum(start, 0.0)])
        solved = polish_near if problem.near else polish
        return solved(engine, start, (problem.bias - tube.middle) / tube.size)

    def __getstate__(self):
        return {"problem": self.problem}

    def __setstate__(self, state):
        TubeAnswers.__init__(self, state["problem"])

    @cached_property
    def _paths(self):
        return Paths(self.solution)

    def at_gamma(self, gamma):
        """The answers at another gamma of the kernel, solved from here."""
        design = self.problem.design
        design = replace(design, kernel=replace(design.kernel, gamma=gamma))
        fitted = {"beta": self.beta, "bias": self.bias, "fitted_eta": None}
        return TubeAnswers(replace(self.problem, design=design, **fitted))

    def removals_at(self, rows, gammas, Z, each=False):
        """Predictions without each row under a gamma of its own, at points or at one for each.

        See :func:`~skinfluence.hinge.gammas.without_rows`; of shape (n_rows, n_points, 1).
        """
        problem, n = self.problem, self.problem.n_samples
        moves = self._paths.remove_groups([np.array([row, n + row]) for row in rows])
        start = Start(self.solution.beta, moves, moves.moving, rows, np.arange(n), sides=2)
        engine = Engine(self.solution.problem, problem.design.X, start, sides=2)
        found = without_rows(engine, gammas, problem.design.kernel, Z, each)
        return (self.tube.middle + self.tube.size * found)[:, :, None]

    def start(self, design, method):
        """Decision values at ``design`` that changes are measured from."""
        return self._decision(design.X)[:, None]

    def holding(self, hold):
        if hold is not None:
            self.problem.holding(hold)
        return self

    def polished(self):
        return self

    @property
    def at_optimum(self):
        return replace(self.problem, beta=self.beta, bias=self.bias)

    @property
    def concern(self):
        distance = self._distance()
        if distance <= 1e-2 * self.tube.size:
            return None
        return far_from_optimum(f"a prediction is {distance:.1e} away from it")

    def _distance(self):
        """The largest of the distances of the fit's predictions from those of the optimum."""
        fitted = self.problem.fitted_eta
        if fitted is None:
            return float(self.solution.distance) * self.tube.size
        return float(np.abs(fitted - self.eta)[self.problem.weights > 0].max(initial=0.0))

    def report(self):
        n, role = self.problem.n_samples, self.solution.role
        role = np.maximum(role[:n], role[n:])
        return HingeReport(
            distance=self._distance(),
            kkt_residual=float(self.solution.kkt_residual) * self.tube.size,
            n_pivots=int(self.solution.n_pivots),
            n_support=np.array([np.count_nonzero(role)]),
            n_margin=np.array([np.count_nonzero(role == 1)]),
            role=ROLES[role][:, None],
        )

    def _decision(self, X):
        return self.problem.expansion(self.beta, X) + self.bias

    # Edits

    def quantity(self, tests, of, method):
        check_method(method)
        if method in ("influence", "one-step"):
            raise ValueError(
                "A support vector regression is answered by its exact path: method must be 'auto' or "
                f"'exact'. Got {method!r}."
            )
        return Quantity(of, self.problem.loss, tests, self._decision(tests.design.X)[:, None])

    def row_stream(self, quantity, rows, label, method, tol):
        X = quantity.design.X
        for block in row_blocks(len(rows), 64 * (1 + X.shape[0]), budget=2**26):
            steps = self._removed(rows[block], X)
            yield block, quantity.change(steps[:, :, None])

    def _removed(self, rows, X):
        """Changes of predictions at points without each row, (n_rows, m)."""
        n = self.problem.n_samples
        moves = self._paths.remove_groups([np.array([row, n + row]) for row in rows])
        return self.tube.size * moves.decision_change(self._cross(moves.columns, X))

    def _cross(self, columns, X):
        """Kernel values between the rows of some columns of the engine and points."""
        if not (len(columns) and X.shape[0]):
            return np.zeros((len(columns), X.shape[0]))
        n = self.problem.n_samples
        return self.problem.design.kernel(self.problem.design.X[columns % n], X)

    def effects(self, points, quantity, method, tol):
        values = np.empty((len(points), *quantity.shape))
        kkt, pivots = np.full(len(points), np.nan), np.zeros(len(points), dtype=int)
        for i, one in enumerate(points):
            step, kkt[i], pivots[i] = self._change(one, quantity.design.X)
            values[i] = quantity.change(step[None, :, None])[0]
        bound = self._bounds(points, kkt)
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        used = np.full(len(points), "path", dtype="<U9")
        return values, bound, used, np.full(len(points), np.nan), kkt, pivots

    def _bounds(self, points, kkt):
        """Of the error of ``f`` in the norm of the kernel, from the gap between primal and dual."""
        weight = np.array([self.problem.total_weight + max(one.shift, 0.0) for one in points])
        return np.sqrt(2.0 * kkt * self.problem.C * weight)

    def _change(self, points, X):
        """Change of predictions at points under an edit, its violation and changes of role."""
        problem, tube, n = self.problem, self.tube, self.problem.n_samples
        mine = points.rows
        after = problem.weights[mine] + points.row_changes
        after[after < 1e-12 * problem.weights[mine]] = 0.0
        y, kept = problem.y[mine].copy(), []
        for k in range(len(points.new_weights)):
            # A row removed and given back with another target stays where it is.
            back = (after == 0.0) & equal_rows(problem.design.X[mine], points.new.X[[k]])
            if back.any():
                j = back.argmax()
                y[j], after[j] = points.new_y[k], points.new_weights[k]
            else:
                kept.append(k)
        new_y, new_weights = np.empty(0), np.empty(0)
        new = None
        if kept:
            new, new_y, new_weights = (
                points.new.X[kept],
                points.new_y[kept],
                points.new_weights[kept],
            )
        added = None
        if kept:
            labels, targets = tube.sides(new_y)
            kernel = problem.design.kernel
            cross = np.tile(kernel(problem.design.X, new), (2, 2))
            added = NewRows(
                cross, np.tile(kernel(new), (2, 2)), labels, tube.bounds(new_weights), targets
            )
        _, targets = tube.sides(y)
        rows = np.concatenate([mine, n + mine])
        moves = self._paths.edit(rows, C=tube.bounds(after), target=targets, new=added)
        joined = None if added is None else np.tile(problem.design.kernel(new, X), (2, 1))
        step = moves.decision_change(self._cross(moves.columns, X), joined)[0]
        kkt = float(moves.kkt_residual[0]) * tube.size
        return tube.size * step, kkt, int(moves.n_pivots[0])

    def own_removals(self, method, tol, rows=None):
        check_method(method)
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        X, out = self.problem.design.X, self.eta[rows].copy()
        n = self.problem.n_samples
        for block in row_blocks(len(rows), 64 * n, budget=2**26):
            part = rows[block]
            moves = self._paths.remove_groups([np.array([row, n + row]) for row in part])
            if len(moves.moving):
                values = self._cross(moves.columns, X[part[moves.moving]])
                change = np.einsum("ij,ji->i", moves.delta_beta, values) + moves.delta_bias
                out[block][moves.moving] += self.tube.size * change
        return out[:, None]

    def own_group_removals(self, removals, method, tol):
        check_method(method)
        out = self.eta.copy()
        for one in removals:
            out[one.rows] += self._change(one, self.problem.design.X[one.rows])[0]
        return out[:, None]


@answers_of.register
def _(problem: TubeProblem, *, solver, hold, precision, verbose):
    how = "Support vector regressions are solved by their exact path"
    check_solved_exactly(how, solver, precision)
    return TubeAnswers(problem.holding(hold))
