"""What every row changes in the model of a set of rows: one fit, and an edit for each row."""

from dataclasses import replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from skinfluence._utils.influences import influence_of
from skinfluence._utils.memory import check_fits
from skinfluence.kernel.answers import KernelAnswers
from skinfluence.problem import refuse_chosen, refuse_curve
from skinfluence.quantity import Quantity
from skinfluence.smooth.answers import SmoothAnswers
from skinfluence.smooth.one_step import steps
from skinfluence.smooth.optimum.newton import polish
from skinfluence.statistics import any_learns


def asked(influence):
    """The Influence of what values are asked about.

    Raises
    ------
    TypeError
        For what is none, and for models that would be others with few rows.
    """
    influence = influence_of(influence, "Values are of")
    if any_learns(influence.data.inputs.steps):
        raise TypeError(
            "Values are of models whose transformers do not learn from the rows: with few of them they "
            "would be others. Got "
            f"{', '.join(name for name, _ in influence.data.inputs.steps)}. Ask about the model on "
            "transformed rows, Influence(pipeline[-1], pipeline[:-1].transform(X), y)."
        )
    refuse_chosen(influence.objective, "Values of rows")
    refuse_curve(influence.objective, "Values of rows")
    return influence


def game_of(influence, X, y, of, method, tol):
    """The game of a fitted model.

    Raises
    ------
    TypeError
        For models whose fit on a few rows is not known here.
    """
    influence = asked(influence)
    kinds = {KernelAnswers: KernelGame, SmoothAnswers: SmoothGame}
    if type(influence.answers) not in kinds:
        raise TypeError(
            "Values are known for ridge, kernel ridge, logistic regression with fixed class weights, GLMs, "
            "and by shapley for KNeighborsClassifier. Got "
            f"{type(influence.data.inputs.model).__name__}."
        )
    return kinds[type(influence.answers)](influence, X, y, of, method, tol)


class Game:
    """A utility of sets of rows.

    Parameters
    ----------
    influence : Influence
    X, y
        The test points.
    of, method, tol
        As in :func:`leave_one_out`.

    Attributes
    ----------
    n : int
        Training rows.
    empty, full : float
        Utilities of no row and of all.
    """

    def __init__(self, influence, X, y, of, method, tol):
        self.influence = influence
        self.problem = influence.objective
        self.n = self.problem.n_samples
        self._of, self._method, self._tol = of, method, tol
        self._tests = influence.data.tests(X, y)
        eta = np.zeros((self._tests.design.n_samples, self.problem.loss.n_outputs))
        nothing = self._quantity(eta)
        # A loss is a cost; of anything else more is more.
        self._sign = -1.0 if nothing.greater_is_better is False else 1.0
        self.empty = self._utility(nothing.before)
        self.full = self.utility(np.ones(self.n, dtype=bool))

    def _quantity(self, eta):
        return Quantity(self._of, self.problem.loss, self._tests, eta)

    def _utility(self, values):
        """Of values (n_test,), or a scalar."""
        return self._sign * float(np.mean(values))

    def _changes(self, quantity, moved):
        """Changes of the utility for changes of the decision values (b, n_test, K)."""
        found = quantity.change(moved)
        return self._sign * found.reshape(len(moved), -1).mean(axis=1)

    def marginals(self, mask):
        """``u(S + i) - u(S - i)`` for every row i, and ``u(S)``."""
        if not self._has_model(mask):
            return self._from_nothing(mask), self.empty
        found, utility = self._around(mask)
        for i in np.flatnonzero(mask):
            smaller = mask.copy()
            smaller[i] = False
            if not self._has_model(smaller):
                found[i] = utility - self.empty
        return found, utility

    def _from_nothing(self, mask):
        """Around a set without a model: the rows that make it one."""
        found = np.zeros(self.n)
        for i in np.flatnonzero(~mask):
            larger = mask.copy()
            larger[i] = True
            if self._has_model(larger):
                found[i] = self.utility(larger) - self.empty
        return found


class SmoothGame(Game):
    """Of smooth linear models."""

    def __init__(self, influence, X, y, of, method, tol):
        self._solver = influence.answers.solver
        objective = influence.objective
        free = objective.penalty == 0
        if free[: objective.design.n_features].any():
            raise ValueError(
                "A model of few rows must be determined: values need a penalty on every coefficient. Got "
                "none on some. Fit a penalised model."
            )
        self._start = influence.answers.edit_solver().objective
        self._kinds = objective.kinds(objective.y) if objective.needs_all_classes else None
        super().__init__(influence, X, y, of, method, tol)

    def _has_model(self, mask):
        weights = np.where(mask, self.problem.weights, 0.0)
        if self._kinds is not None:
            known = self._kinds >= 0
            return len(np.unique(self._kinds[known & (weights > 0)])) == len(
                np.unique(self._kinds[known])
            )
        # No row at all gives decision values of zero, or none.
        return bool((weights > 0).any())

    def _fitted(self, mask):
        start = self._start
        weights = np.where(mask, start.weights, 0.0)
        share = weights.sum() / start.weights.sum() if start.hold != "C" else 1.0
        some = replace(start, weights=weights, sample_weight=weights, penalty=start.penalty * share)
        return polish(self._solver.factor(some), self._solver)

    def utility(self, mask):
        """The utility of the model of a set of rows."""
        if not self._has_model(mask):
            return self.empty
        theta = self._fitted(mask).objective.theta
        return self._utility(self._quantity(self._tests.design.multiply(theta.T)).before)

    def _around(self, mask):
        answers = SmoothAnswers(self._fitted(mask), self._solver)
        objective = answers.basis(self._method)
        quantity = self._quantity(self._tests.design.multiply(objective.theta.T))
        weight = np.where(mask, 0.0, self.problem.weights)
        rows = np.arange(self.n)
        asked = steps.row_edits(objective, rows, objective.y, weight)
        found = np.empty(self.n)
        # Removals that leave no model are answered by who asks.
        lonely = np.array([mask[i] and not self._has_model(_without(mask, i)) for i in rows])
        asked = asked.undone(lonely, objective)
        for block, moved in answers.steps_by_method(asked, self._method, self._tol):
            k, d = self.problem.theta.shape
            flat = np.ascontiguousarray(moved.reshape(-1, d).T)
            eta = self._tests.design.multiply(flat).reshape(-1, len(moved), k)
            found[block] = self._changes(quantity, eta.transpose(1, 0, 2))
        return np.where(mask, -found, found), self._utility(quantity.before)


class KernelGame(Game):
    """Of kernel ridge regression, in closed form."""

    def __init__(self, influence, X, y, of, method, tol):
        problem = influence.objective
        check_fits((3, problem.n_samples, problem.n_samples), "Ask about fewer rows.")
        if (problem.weights != 1.0).any():
            raise ValueError("Values of kernel ridge regression are of rows without weights.")
        tests = influence.data.tests(X, None).design
        self._K = influence.answers.K
        self._at = np.ascontiguousarray(tests.cross(problem.design))
        super().__init__(influence, X, y, of, method, tol)

    def _has_model(self, mask):
        return True

    def utility(self, mask):
        """The utility of the model of a set of rows."""
        if not mask.any():
            return self.empty
        factor = self._factor(mask)
        eta = self._at[:, mask] @ cho_solve(factor, self.problem.y[mask])
        return self._utility(self._quantity(eta[:, None]).before)

    def _factor(self, mask):
        A = self._K[np.ix_(mask, mask)]
        A.flat[:: len(A) + 1] += self.problem.alpha
        return cho_factor(A, lower=True, overwrite_a=True)

    def _around(self, mask):
        K, y, alpha = self._K, self.problem.y, self.problem.alpha
        moved = np.empty((self.n, len(self._at)))
        inside = self._at[:, mask]
        if mask.any():
            inverse = cho_solve(self._factor(mask), np.eye(np.count_nonzero(mask)))
            beta = inverse @ y[mask]
            pull = beta / np.diagonal(inverse)
            # Minus the change without each: what it adds.
            moved[mask] = (inside @ inverse * pull).T
        else:
            inverse, beta = np.zeros((0, 0)), np.zeros(0)
        across = K[np.ix_(mask, ~mask)]
        solved = inverse @ across
        left = np.diagonal(K)[~mask] - np.einsum("so,so->o", across, solved)
        pull = (y[~mask] - across.T @ beta) / (alpha + left)
        moved[~mask] = ((self._at[:, ~mask] - inside @ solved) * pull).T
        quantity = self._quantity((inside @ beta)[:, None])
        sign = np.where(mask, -1.0, 1.0)
        found = self._changes(quantity, (sign[:, None] * moved)[:, :, None])
        return sign * found, self._utility(quantity.before)


def _without(mask, i):
    smaller = mask.copy()
    smaller[i] = False
    return smaller
