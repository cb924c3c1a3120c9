"""An estimator on a sample: its influence, and what refits of it say."""

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from skinfluence._utils._compat import fitted_gamma
from skinfluence.answers import Answers, Tests, answers_of
from skinfluence.influence import Influence
from skinfluence.inputs import Inputs
from skinfluence.objective import Objective
from skinfluence.quantity import Quantity
from skinfluence.row_losses.problem import MProblem
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.solvers import resolve_solver
from skinfluence.statistics import any_learns, in_old_units, moving_curve
from skinfluence.utils.estimator_checks.failing import relative_error, skip
from skinfluence.utils.estimator_checks.samples import Sample

# Ten times what scikit-learn's solvers leave by default on the made samples.
FIT_TOL = 2e-3
# Rows that are removed one at a time, spread over the data.
MOST_REMOVALS = 18
# Of fourth-order differences: at the first, truncation near 1e-12 and round-off of a refit 1e-9 of
# most derivatives; the others are for losses that curve within 1e-3.
STEPS = (1e-3, 1e-4, 1e-5)


def refit_by_clone(estimator, X, y, sample_weight):
    """The default way to refit: a clone, fitted on the other data."""
    new = clone(estimator)
    if sample_weight is None:
        return new.fit(X, y)
    return new.fit(X, y, sample_weight=sample_weight)


@dataclass(frozen=True, eq=False)
class Refit:
    """A model after a change of the training data.

    Attributes
    ----------
    eta : ndarray of shape (n_test, n_outputs)
        Decision values of the test points.
    parameters : ndarray of shape (n_outputs, n_columns) or None
        In the user's outputs and units, for smooth objectives.
    """

    eta: np.ndarray
    parameters: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Subject:
    """What the checks are about.

    Attributes
    ----------
    estimator : estimator
        Not fitted; never changed.
    sample : Sample
    refit : callable
        ``refit(estimator, X, y, sample_weight)``, a fitted estimator.
    fit_tol : float
        How far, relative to the spread of the decision values, a fit may be from its optimum.

    Notes
    -----
    The truth is the estimator refitted on the changed data, taken to the optimum of the problem *of
    that refit*: by Newton's method for an :class:`~skinfluence.objective.Objective`, else by what
    answers about such problems. So a sloppy solver can be checked too; checks of their own see to it
    that this does not move the fit by more than ``fit_tol``. Quantities learned from the data that
    derivatives hold are those of the first fit: balanced class weights and gamma="scale".
    """

    estimator: object
    sample: Sample
    refit: object = refit_by_clone
    fit_tol: float = FIT_TOL

    @cached_property
    def takes_weights(self):
        return has_fit_parameter(self.estimator, "sample_weight")

    @property
    def X(self):
        return self.sample.X

    @property
    def y(self):
        return self.sample.y

    @cached_property
    def weight(self):
        """Sample weights of the fit; ones where it takes none."""
        return self.sample.weight if self.takes_weights else np.ones(len(self.y))

    @cached_property
    def model(self):
        """The fitted estimator."""
        model = self.fitted(self.X, self.y, self.weight)
        if any_learns(Inputs(model, self.X).steps):
            raise TypeError(
                "The contract is about models: transformers stay as fitted in every answer, and refits "
                f"would change them. Got {type(self.estimator).__name__} with transformers; check its "
                "last step on transformed data=(X, y)."
            )
        return model

    def fitted(self, X, y, weight, estimator=None):
        """The estimator fitted on other data, quietly; rows of weight zero left out if need be."""
        estimator = self.estimator if estimator is None else estimator
        if not self.takes_weights:
            X, y, weight = X[weight > 0], y[weight > 0], None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.refit(estimator, X, y, weight)

    def influence_of(self, model, X=None, y=None, weight=None, **options):
        """Influence of a fitted model on its training data, quietly."""
        X, y = self.X if X is None else X, self.y if y is None else y
        weight = self.weight if weight is None else weight
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Influence(model, X, y, weight if self.takes_weights else None, **options)

    @cached_property
    def influence(self):
        """Influence around the optimum."""
        as_fitted = self.influence_of(self.model)
        if isinstance(as_fitted.objective, Objective | MProblem):
            return self.influence_of(self.model, polish=True)
        return as_fitted

    @property
    def problem(self):
        return self.influence.objective

    @property
    def is_smooth_objective(self):
        """Whether the truth is polished by Newton's method."""
        return isinstance(self.problem, Objective)

    @property
    def has_kinks(self):
        """Whether the loss has kinks: derivatives of refits do not exist at all rows."""
        return type(self.influence.answers).smoothed is not Answers.smoothed

    @property
    def has_derivatives(self):
        """Whether the kind of model says how a test loss moves with the weight of a row."""
        return not self.has_kinks and self.influence.answers.knows("up_loss")

    def need_derivatives(self):
        """Leave out a check of derivatives where there are none."""
        if not self.influence.answers.knows("up_loss"):
            skip(f"Edits alone are known of {self.problem.model_name}.")
        if self.has_kinks:
            skip("The loss has kinks, where refits have no derivative.")

    def need_objective(self):
        """Leave out a check of what only smooth objectives have."""
        if not self.is_smooth_objective:
            skip(f"The problem is a {type(self.problem).__name__}, not an Objective.")

    @cached_property
    def held(self):
        """The estimator with what its derivatives hold."""
        return self._holding(class_weight=True, gamma=True)

    @cached_property
    def edited(self):
        """The estimator with what its edits hold."""
        problem = self.problem
        return self._holding(
            class_weight=problem.labels is not None and problem.balanced is None,
            gamma=problem.gamma_counts is None,
        )

    def _holding(self, class_weight, gamma):
        params, held = self.estimator.get_params(deep=False), {}
        labels = self.problem.labels
        if class_weight and isinstance(params.get("class_weight"), str):
            held["class_weight"] = dict(
                zip(labels.classes.tolist(), labels.class_weight.tolist(), strict=True)
            )
        if gamma and isinstance(params.get("gamma"), str):
            held["gamma"] = fitted_gamma(self.model)
        return clone(self.estimator).set_params(**held) if held else self.estimator

    # Truth

    def after(self, X=None, y=None, weight=None, at=None, derivative=False):
        """The :class:`Refit` on other training data, at the test points or other ones.

        For a derivative, what those hold is held.
        """
        X, y = self.X if X is None else X, self.y if y is None else y
        weight = self.weight if weight is None else weight
        model = self.fitted(X, y, weight, self.held if derivative else self.edited)
        inputs = Inputs(model, X)
        if not self.takes_weights:
            inputs, y, weight = Inputs(model, X[weight > 0]), y[weight > 0], None
        problem = inputs.problem(y, weight)
        at = problem.design.like(inputs.transform(self.sample.X_test if at is None else at))
        curve = moving_curve(problem)
        if isinstance(problem, Objective):
            best = optimum(problem)
            eta = at.multiply(best.theta.T)
            eta = eta if curve is None else in_old_units(self.problem.curve, curve, eta)
            return Refit(eta, parameters_of(best))
        answers = answers_of(
            problem, solver="auto", hold="auto", precision="float64", verbose=False
        )
        start = answers.quantity(Tests(at, None, None), "decision_function", "exact")
        eta = start.eta if curve is None else in_old_units(self.problem.curve, curve, start.eta)
        return Refit(eta, None)

    @cached_property
    def before(self):
        """The :class:`Refit` on the data as they are."""
        return self.after()

    def without(self, rows):
        """The :class:`Refit` without some rows: they are not there, rather than of weight zero."""
        keep = np.setdiff1d(np.arange(len(self.y)), rows)
        return self.after(self.X[keep], self.y[keep], self.weight[keep])

    @cached_property
    def removable(self):
        """Rows to remove, without any of which every class is still there."""
        rows = np.arange(len(self.y))
        if self.problem.labels is not None:
            _, codes = np.unique(self.y, return_inverse=True)
            rows = rows[np.bincount(codes)[codes] > 1]
        return rows[np.unique(np.linspace(0, len(rows) - 1, MOST_REMOVALS).astype(int))]

    @cached_property
    def removals(self):
        """The refits without each removable row, (n_removable, n_test, n_outputs)."""
        return np.stack([self.without([row]).eta for row in self.removable])

    @property
    def some_rows(self):
        """Four rows, the first and the last among them."""
        return np.linspace(0, len(self.y) - 1, 4).astype(int)

    def reweighted(self, step):
        """For each of ``some_rows``, the four :func:`refits <around>` with its weight moved."""
        if step not in self._reweighted:
            self._reweighted[step] = [
                [
                    self.after(
                        weight=with_rows(self.weight, row, self.weight[row] + h), derivative=True
                    )
                    for h in around(step)
                ]
                for row in self.some_rows
            ]
        return self._reweighted[step]

    @cached_property
    def _reweighted(self):
        return {}

    def change(self, eta, of="loss"):
        """After minus before of a quantity at the test points, from the refits' decision values.

        Shape (n_test, m, ...) from eta of shape (m, n_test, n_outputs).
        """
        tests = self.influence.data.tests(self.sample.X_test, self.sample.y_test)
        quantity = Quantity(of, self.problem.loss, tests, self.before.eta)
        return np.swapaxes(quantity.change(np.asarray(eta) - self.before.eta), 0, 1)


def optimum(objective):
    """An objective at its minimum, by Newton's method with an exact factor."""
    solver = resolve_solver("exact", objective, "float64")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minimise(objective, solver).objective


def parameters_of(objective):
    """Parameters in the user's outputs and units, (n_outputs, n_features + fit_intercept)."""
    theta = objective.loss.expand(objective.theta.T).T
    if objective.design.intercept:
        theta = np.column_stack([theta[:, :-1], theta[:, -1] * objective.design.intercept])
    return theta


def around(step):
    """Where a difference of fourth order takes its values."""
    return step, -step, 2.0 * step, -2.0 * step


def slope(values, step):
    """Derivative from values at the places :func:`around` 0."""
    near, far = values[0] - values[1], values[2] - values[3]
    return (8.0 * near - far) / (12.0 * step)


def smallest_error(found, differences, enough):
    """Smallest relative error of a derivative from differences at the steps, until small enough."""
    best = np.inf
    for step in STEPS:
        best = min(best, relative_error(found, differences(step)))
        if best < enough:
            break
    return best


def with_rows(array, rows, values):
    """A copy with some rows replaced."""
    out = np.array(array)
    out[rows] = values
    return out
