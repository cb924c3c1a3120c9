"""Models behind frozen transformers whose training rows move, fitted again after every move."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.rows import named
from skinfluence._utils.untouched import untouched
from skinfluence.answers import answers_of
from skinfluence.hinge import derivatives as hinge_derivatives
from skinfluence.hinge.conditional import having
from skinfluence.hinge.problem import HingeObjective
from skinfluence.inputs import Inputs
from skinfluence.objective import Objective
from skinfluence.smooth import derivatives
from skinfluence.smooth.optimum.newton import minimise, polish
from skinfluence.solvers import SingularHessianError, resolve_solver


def head_of(estimator, X, y, sample_weight):
    """The model to attack and its data, as a :class:`Head` of its kind.

    Raises
    ------
    TypeError
        For models that are no classifiers with a smooth objective or a hinge, and sparse rows.
    ValueError
        For hinge machines of several classes, and such whose gamma moves with the rows.
    """
    check_is_fitted(estimator)
    if hasattr(X, "iloc") or sp.issparse(X):
        raise TypeError(
            f"X must be a dense array: its values are to be moved. Got {type(X).__name__}; fit "
            "and attack on X.to_numpy() or X.toarray()."
        )
    X = np.asarray(X)
    X = X if X.dtype.kind == "f" else X.astype(float)
    inputs = Inputs(estimator, X, y)
    problem = inputs.problem(y, sample_weight)
    if isinstance(problem, HingeObjective):
        return HingeHead(estimator, X, inputs, problem)
    if not isinstance(problem, Objective) or problem.labels is None:
        raise TypeError(
            "The attack needs a classifier with a smooth objective, such as LogisticRegression, or "
            f"with a hinge, such as SVC. Got {type(inputs.model).__name__}."
        )
    return SmoothHead(estimator, X, inputs, problem)


class Head(ABC):
    """The model behind the transformers, at its optimum.

    Attributes
    ----------
    X : ndarray of shape (n_train, ...)
        The training rows as they were.
    objective : Objective or HingeObjective
        With the rows as they are now.
    """

    def __init__(self, estimator, X, inputs, problem):
        if sp.issparse(problem.design.X):
            raise TypeError("The attack needs dense features. Got sparse ones.")
        self.estimator, self.X, self.inputs = estimator, X, inputs
        self._begin(problem)

    @abstractmethod
    def _begin(self, problem):
        """Solve the problem and set ``objective``."""

    @abstractmethod
    def decision(self, design):
        """Decision values of other rows, (n_rows, n_outputs)."""

    @abstractmethod
    def sides(self, eta, codes):
        """Directions along which the decision values give margins, as the loss expands them."""

    @abstractmethod
    def uphill(self, eta, y):
        """Slopes of what an attack climbs in the decision values, (n_targets, n_outputs)."""

    @abstractmethod
    def direction(self, design, slopes):
        """A sum of decision values, with ``slopes``, of some rows: what gradients are taken of."""

    @abstractmethod
    def directions(self, design, slopes):
        """The same with a sum of its own for each of the rows."""

    @abstractmethod
    def _fill_gradients(self, rows, direction, pull_back, out):
        """Write ``n`` times the gradients in rows of unit weight, (m, n_rows, n_inputs), to ``out``."""

    @abstractmethod
    def _move(self, features):
        """Solve with these rows of features, and set ``objective``."""

    def again(self):
        """The same start for another attack: moves of one are not seen by the other."""
        return copy.copy(self)

    def input_gradients(self, rows, direction, here=None):
        """Of ``w_i / n influence_pert`` for the sums of a direction: (m, n_rows, ...).

        ``here``: inputs at the rows as they are now, the rows of X when None.
        """
        here = self.inputs if here is None else here
        local = here is not self.inputs
        found = self._fill_gradients(
            rows,
            direction,
            lambda part, V: here.pull_back(np.searchsorted(rows, part) if local else part, V),
            np.empty((direction.size, len(rows), self.inputs.n_raw_features)),
        )
        found *= (self.objective.weights[rows] / self.objective.n_samples)[:, None]
        return found.reshape(*found.shape[:2], *self.X.shape[1:])

    def input_gradient(self, rows, direction, X_rows):
        """The same for one sum, at moved rows: (n_rows, ...)."""
        order = np.argsort(rows)
        here = Inputs(self.estimator, X_rows[order])
        out = np.empty_like(X_rows)
        out[order] = self.input_gradients(rows[order], direction, here)[0]
        return out

    def sizes(self, rows, direction, *, in_features):
        """L1 norms of the gradients of rows, in the model's features or the raw inputs."""
        out = np.empty(len(rows))
        for block in row_blocks(len(rows), 32 * self.inputs.n_raw_features):
            part = rows[block]
            if in_features:
                shape = (direction.size, len(part), self.objective.design.n_features)
                found = self._fill_gradients(part, direction, lambda _, V: V, np.empty(shape))
                found *= self.objective.weights[part][:, None]
            else:
                found = self.input_gradients(part, direction)
            out[block] = np.abs(found[0]).reshape(len(part), -1).sum(axis=1)
        return out

    def move(self, rows, X_rows):
        """Move rows and fit again."""
        features = self.objective.design.X.copy()
        features[rows] = self.inputs.transform(X_rows)
        self._move(features)

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


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of sums of decision values in the parameters, (n_outputs, n_columns, size)."""

    values: np.ndarray

    @property
    def size(self):
        """Sums."""
        return self.values.shape[2]


class SmoothHead(Head):
    """A smooth linear model. Its Hessian is factored anew only where old steps no longer contract."""

    # Of the Newton decrement, relative to the size of the objective: margins to eight digits.
    TOL = 1e-9

    def _begin(self, problem):
        self.solver = resolve_solver("auto", problem)
        self.factor = polish(self.solver.factor(problem), self.solver)
        self.objective = self.factor.objective

    def decision(self, design):
        return design.multiply(self.objective.theta.T)

    def sides(self, eta, codes):
        eta = self.objective.loss.expand(eta)
        if eta.shape[1] == 1:
            return np.where(codes == 1, 1.0, -1.0)[:, None]
        every = np.arange(len(eta))
        others = eta.copy()
        others[every, codes] = -np.inf
        sides = np.zeros_like(eta)
        sides[every, codes] = 1.0
        sides[every, others.argmax(axis=1)] = -1.0
        return sides

    def uphill(self, eta, y):
        return self.objective.loss.gradient(eta, y)

    def direction(self, design, slopes):
        return Gradients(design.adjoint(slopes).T[:, :, None])

    def directions(self, design, slopes):
        return Gradients(slopes.T[:, None, :] * design.dense_rows().T[None])

    def _fill_gradients(self, rows, direction, pull_back, out):
        factor = SimpleNamespace(objective=self.objective, solve=self.factor.solve)
        return derivatives.pert_loss(factor, direction.values, rows, pull_back, out)

    def _move(self, features):
        design = self.objective.design.like(features)
        self.objective = self._optimum(replace(self.objective, design=design))

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


@dataclass(frozen=True, eq=False)
class DecisionSums:
    """Sums of decision values of some rows: one of all of them, or each for itself."""

    X: np.ndarray
    slopes: np.ndarray
    together: bool

    @property
    def size(self):
        """Sums."""
        return 1 if self.together else len(self.slopes)


class HingeHead(Head):
    """A machine of two classes with a hinge. Gradients hold the rows on the margin there."""

    def _begin(self, problem):
        n_classes = len(problem.labels.classes)
        if n_classes > 2:
            raise ValueError(
                f"The attack on a hinge machine needs two classes. Got {n_classes}; attack it on the "
                "rows of two, or LogisticRegression."
            )
        if problem.gamma_counts is not None:
            gamma = problem.design.kernel.gamma
            raise ValueError(
                "gamma must not move with the rows that are moved. Got gamma='scale'; fit with "
                f"gamma={gamma:.6g}."
            )
        self._solve(problem)

    def _solve(self, problem):
        self._answers = answers_of(
            problem, solver="auto", hold="auto", precision="float64", verbose=False
        )
        self.objective = problem

    def decision(self, design):
        return self._answers.start(design, "exact")

    def sides(self, eta, codes):
        return self.objective.loss.signs[codes]

    def uphill(self, eta, y):
        # As if the hinge had no corner: beyond the margin its own slope is 0 and shows no way.
        return -self.objective.loss.signs[y]

    def direction(self, design, slopes):
        return DecisionSums(design.X, slopes, together=True)

    def directions(self, design, slopes):
        return DecisionSums(design.X, slopes, together=False)

    def _fill_gradients(self, rows, direction, pull_back, out):
        problem, optimum = self.objective, self._answers.optimum
        held = [
            having(problem, one, optimum.beta[j])
            for j, one in enumerate(optimum.conditionals(None))
        ]
        # Means of the rows' gradients, of which the sum is asked.
        scale, aggregate = (len(direction.X), "mean") if direction.together else (1.0, None)
        return hinge_derivatives.pert_loss(
            problem, held, optimum.beta, scale * direction.slopes, direction.X,
            rows, aggregate, pull_back, out,
        )  # fmt: skip

    def _move(self, features):
        problem, optimum = self.objective, self._answers.optimum
        self._solve(
            replace(
                problem,
                design=problem.design.like(features),
                beta=optimum.beta,
                bias=optimum.bias,
                fitted_eta=None,
            )
        )


def checked_rows(rows, head):
    """Positions of the rows to move, as the user names them."""
    found = named(rows, what="rows").positions(len(head.X), head.inputs.labels)
    if not len(found) or len(np.unique(found)) < len(found):
        raise ValueError(f"rows must be distinct, and at least one. Got {rows!r}.")
    return found
