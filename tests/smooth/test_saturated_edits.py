"""Edits of separable classes under a weak penalty, where hardly a row curves, against optima in long double."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence, edits
from skinfluence.smooth.optimum.accuracy import Accuracy
from tests.oracle import minimise, problem_of
from tests.oracle.algebra import Factor

PENALTIES = [(1e2, 30), (1e6, 1), (1e8, 30)]


def separable(scale, n_classes):
    rng = np.random.default_rng(1)
    X = scale * rng.standard_normal((30, 2))
    y = (X[:, 0] > 0).astype(int)
    X[:, 0] += np.where(y, 0.5, -0.5) * scale
    if n_classes == 3:
        y += y * (X[:, 1] > 0)
        X[:, 1] += np.where(y == 2, 0.5, -0.5) * scale
    return X, y


def asked(X, y, k, C):
    """Effects of edits that put a row on the wrong side, and the optima before and after them."""
    model = LogisticRegression(C=C, tol=1e-10, max_iter=1000, solver="newton-cholesky").fit(X, y)
    new, wrong = X[3] + 0.1, (y + 1) % k
    kinds = [
        (edits.add(new, wrong[3]), {}, [(new, wrong[3], 1.0)]),
        (edits.relabel(4, wrong[4]), {4: 0.0}, [(X[4], wrong[4], 1.0)]),
        (edits.replace(4, 3 * X[4], wrong[4]), {4: 0.0}, [(3 * X[4], wrong[4], 1.0)]),
    ]
    before = problem_of("LogisticRegression", {"C": C}, X, y, classes=range(k))
    return model, before, kinds


@pytest.mark.filterwarnings("ignore:1 of 1 edits could not be certified")
@pytest.mark.parametrize("C, scale", PENALTIES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_bounds_of_edits_that_make_saturated_rows_curve_hold_and_say_something(C, scale, n_classes):
    """They were 3 to 1e47: what rows move by allows more than they curve."""
    X, y = separable(scale, n_classes)
    model, before, kinds = asked(X, y, n_classes, C)
    inf, start = Influence(model, X, y), minimise(before)
    for edit, changes, new in kinds:
        effect = inf.effect(edit, X, of="decision_function", method="exact")
        after = before.edited(changes, new)
        end = minimise(after)
        assert start.converged and end.converged
        change = after.outputs(end.theta - start.theta, before.X)
        P = Factor(after.hessian(start.theta))
        norms = P.inverse_norms(before.directions(before.X)).reshape(change.shape)
        found = effect.values[:, None] if n_classes == 2 else effect.values
        rounding = 1e-14 * np.abs(before.X).max() * np.abs(end.theta).sum()
        assert np.all(np.abs(found - change) <= norms * effect.bound + rounding)
        # 1e-4: of three classes in units of 30 long double itself knows the optimum to 5e-9 only.
        assert effect.bound <= 1e-4 * P.norm((end.theta - start.theta).ravel())


def test_automatic_effects_of_two_saturated_classes_are_certified():
    X, y = separable(30, 2)
    model, _, kinds = asked(X, y, 2, 1e8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Influence(model, X, y).effect([one for one, _, _ in kinds], X, of="decision_function")


def hessian(objective):
    Z, weights = objective.design.dense_rows(), objective.weights
    curved = objective.loss.hessian(objective.eta, objective.y)
    H = np.einsum("n,nkl,nc,nd->kcld", weights, curved, Z, Z)
    H = H.reshape(objective.theta.size, objective.theta.size)
    return H + np.diag(np.tile(objective.penalty, objective.loss.n_outputs))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_hessian_relative_to_another_is_bounded_by_its_rows(n_classes):
    X, y = separable(1, n_classes)
    model, _, _ = asked(X, y, n_classes, 1.0)
    factor = Influence(model, X, y).answers.factor
    objective = factor.objective
    for scale in (0.0, 0.5, 3.0):
        other = objective.at(scale * objective.theta)
        P, H = hessian(other), hessian(objective)
        largest = np.linalg.eigvals(np.linalg.solve(H, P)).real.max()
        bound = Accuracy(factor).relative_to(other)
        assert largest <= bound <= 1 + len(H) * largest
