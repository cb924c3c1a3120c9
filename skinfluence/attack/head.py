"""A model behind frozen transformers whose training rows move, the targets it is asked about, the box."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.rows import named
from skinfluence._utils.untouched import untouched
from skinfluence.inputs import Inputs
from skinfluence.objective import Objective
from skinfluence.smooth import derivatives
from skinfluence.smooth.newton import minimise, polish
from skinfluence.solvers import SingularHessianError, resolve_solver


class Box:
    """What values a row may take: within ``radius`` of its own, and between ``low`` and ``high``."""

    def __init__(self, radius, low, high):
        radius = np.asarray(radius, dtype=float)
        if not (np.isfinite(radius).all() and (radius > 0).all()):
            raise ValueError(f"radius must be positive and finite. Got {radius} instead.")
        self.radius = radius
        self.low = -np.inf if low is None else low
        self.high = np.inf if high is None else high

    def of(self, X):
        """Smallest and largest allowed values around rows; a value outside low .. high may stay."""
        return (
            np.minimum(np.maximum(X - self.radius, self.low), X),
            np.maximum(np.minimum(X + self.radius, self.high), X),
        )

    def reach(self, X):
        """How far rows may go down and up."""
        smallest, largest = self.of(X)
        return smallest - X, largest - X


class Head:
    """The model behind the transformers, fitted again when rows move.

    The Hessian is factored anew only where steps with the old one no longer contract.
    """

    # Of the Newton decrement, relative to the size of the objective: margins to eight digits.
    TOL = 1e-9

    def __init__(self, estimator, X, y, sample_weight):
        check_is_fitted(estimator)
        if hasattr(X, "iloc") or sp.issparse(X):
            raise TypeError(
                f"X must be a dense array: its values are to be moved. Got {type(X).__name__}; fit "
                "and attack on X.to_numpy() or X.toarray()."
            )
        self.estimator = estimator
        X = np.asarray(X)
        self.X = X if X.dtype.kind == "f" else X.astype(float)
        self.inputs = Inputs(estimator, self.X, y)
        objective = self.inputs.problem(y, sample_weight)
        if not isinstance(objective, Objective) or objective.labels is None:
            raise TypeError(
                "The attack needs a classifier with a smooth objective, such as "
                f"LogisticRegression. Got {type(self.inputs.model).__name__}."
            )
        if objective.design.is_sparse:
            raise TypeError("The attack needs dense features. Got sparse ones.")
        self.solver = resolve_solver("auto", objective)
        self.factor = polish(self.solver.factor(objective), self.solver)
        self.objective = self.factor.objective

    def again(self):
        """The same start for another attack: moves of one are not seen by the other."""
        return copy.copy(self)

    def input_gradients(self, rows, gradients, here=None):
        """Of ``w_i / n influence_pert`` for test gradients (K, d, m): (m, n_rows, ...).

        ``here``: inputs at the rows as they are now, the rows of X when None.
        """
        shape = (gradients.shape[2], len(rows), self.inputs.n_raw_features)
        here = self.inputs if here is None else here
        local = here is not self.inputs
        found = derivatives.pert_loss(
            SimpleNamespace(objective=self.objective, solve=self.factor.solve),
            gradients,
            rows,
            lambda part, V: here.pull_back(np.searchsorted(rows, part) if local else part, V),
            np.empty(shape),
        )
        found *= (self.objective.weights[rows] / self.objective.n_samples)[:, None]
        return found.reshape(*shape[:2], *self.X.shape[1:])

    def input_gradient(self, rows, gradient, X_rows):
        """The same for one test gradient (K, d), at moved rows: (n_rows, ...)."""
        order = np.argsort(rows)
        here = Inputs(self.estimator, X_rows[order])
        out = np.empty_like(X_rows)
        out[order] = self.input_gradients(rows[order], gradient[:, :, None], here)[0]
        return out

    def sizes(self, rows, gradient, *, in_features):
        """L1 norms of the gradients of rows, in the model's features or the raw inputs."""
        out = np.empty(len(rows))
        for block in row_blocks(len(rows), 32 * self.inputs.n_raw_features):
            part = rows[block]
            if in_features:
                shape = (1, len(part), self.objective.design.n_features)
                factor = SimpleNamespace(objective=self.objective, solve=self.factor.solve)
                found = derivatives.pert_loss(
                    factor, gradient[:, :, None], part, lambda _, V: V, np.empty(shape)
                )
                found *= self.objective.weights[part][:, None]
            else:
                found = self.input_gradients(part, gradient[:, :, None])
            out[block] = np.abs(found[0]).reshape(len(part), -1).sum(axis=1)
        return out

    def move(self, rows, X_rows):
        """Move rows and fit again."""
        features = self.objective.design.X.copy()
        features[rows] = self.inputs.transform(X_rows)
        design = self.objective.design.like(features)
        self.objective = self._optimum(replace(self.objective, design=design))

    def moved(self, rows, X_rows, targets):
        """Margins of the targets with rows moved; the head is left as it was."""
        head = self.again()
        head.move(rows, X_rows)
        return targets.margins(head)

    def refitted(self, y, sample_weight):
        """The model, by its own ``fit`` on the features as they are now."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        model = clone(self.inputs.model)
        return model.fit(untouched(self.objective.design.X, model), y, **weights)

    def _optimum(self, objective):
        start, before, renewed = objective, np.inf, False
        for _ in range(30):
            gradient = objective.gradient()
            step = -self.factor.solve(gradient[:, None])[:, 0]
            decrement = np.sqrt(np.maximum(0.0, -gradient @ step))
            # Of the value here: where rows have just moved it may be far larger.
            if decrement <= self.TOL * np.sqrt(abs(objective.value())):
                if self._is_near(objective):
                    return objective
                # An old Hessian that is far larger makes a decrement look small.
                start, before = objective, 0.0
            if not decrement <= 0.5 * before:
                if renewed:
                    break
                # Not to where an old Hessian has led: from where its step began, with a new one.
                try:
                    self.factor, renewed = self.solver.factor(start), True
                except SingularHessianError:
                    break
                objective, before = start, np.inf
                continue
            start, before = objective, decrement
            objective = objective.at(objective.theta + step.reshape(objective.theta.shape))
        try:
            found = minimise(start, self.solver)
        except SingularHessianError:
            # Rows so far from where they were that no other one has curvature left.
            found = minimise(start.at(np.zeros_like(start.theta)), self.solver)
        self.factor = found.factor
        return found.objective

    def _is_near(self, objective):
        """Whether Hessians where the factor was made and here are within a factor of e."""
        moved = np.abs(objective.eta - self.factor.objective.eta)[objective.weights > 0]
        return moved.max(initial=0.0) <= 1.0


class Targets:
    """The test points: their features, labels, margins and gradients."""

    def __init__(self, head, X_test, y_test):
        labels = head.objective.labels
        self.features = head.inputs.transform(X_test)
        self.y = column_or_1d(y_test)
        self._design = head.objective.design.like(self.features)
        self._codes = labels.codes(self.y)
        self._encoded = labels.targets[self._codes]
        if len(self.y) != self._design.n_samples:
            raise ValueError(
                f"X_test and y_test must have one row each per target. Got "
                f"{self._design.n_samples} and {len(self.y)}."
            )

    def only(self, t):
        """One of the targets."""
        one = copy.copy(self)
        one.features, one.y, one._codes, one._encoded = (
            a[[t]] for a in (self.features, self.y, self._codes, self._encoded)
        )
        one._design = self._design.like(one.features)
        return one

    def _eta(self, head):
        return self._design.multiply(head.objective.theta.T)

    def losses(self, head):
        """Loss of each target."""
        return head.objective.loss.value(self._eta(head), self._encoded)

    def margins(self, head):
        """Decision value of the true class minus the largest other one."""
        return np.einsum("tk,tk->t", self._sides(head), head.objective.loss.expand(self._eta(head)))

    def _sides(self, head):
        """Directions (n_targets, n_classes or 1) along which the decision values give the margin."""
        eta = head.objective.loss.expand(self._eta(head))
        if eta.shape[1] == 1:
            return np.where(self._codes == 1, 1.0, -1.0)[:, None]
        every = np.arange(len(eta))
        others = eta.copy()
        others[every, self._codes] = -np.inf
        sides = np.zeros_like(eta)
        sides[every, self._codes] = 1.0
        sides[every, others.argmax(axis=1)] = -1.0
        return sides

    def loss_gradient(self, head, chosen):
        """Gradient of the mean loss of some targets in the parameters, (K, d)."""
        g = head.objective.loss.gradient(self._eta(head), self._encoded)
        return self._design.adjoint(g * chosen[:, None]).T / chosen.sum()

    def margin_gradients(self, head):
        """Gradients of the margins in the parameters, (K, d, n_targets)."""
        basis = head.objective.loss.expand(np.eye(head.objective.loss.n_outputs))
        c = self._sides(head) @ basis.T
        return c.T[:, None, :] * self._design.dense_rows().T[None]


def checked_rows(rows, head):
    """Positions of the rows to move, as the user names them."""
    found = named(rows, what="rows").positions(len(head.X), head.inputs.labels)
    if not len(found) or len(np.unique(found)) < len(found):
        raise ValueError(f"rows must be distinct, and at least one. Got {rows!r}.")
    return found
