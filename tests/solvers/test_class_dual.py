"""The dual form of a softmax by classes: the inverse of the Hessian, and leave-one-out as refits say."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.curvature import Curvature
from skinfluence.design import design_of
from skinfluence.losses import Multinomial, SumToZero
from skinfluence.objective import Objective
from skinfluence.solvers import Exact, SingularHessianError
from skinfluence.solvers.class_dual import (
    FAIR,
    ClassDualFactor,
    SingleClassDualFactor,
    dual_form,
)
from skinfluence.solvers.dual import DualFactor
from tests.truth import relative_error

# Classes; the size of the parameters, of which the last leaves classes that are impossible for some rows.
SIZES = {"mild": 0.3, "sure": 1.5, "saturated": 8.0}
INTERCEPTS = {
    "none": (0.0, True),
    "free": (1.0, True),
    "far": (5.0, True),
    "penalised": (1.0, False),
}


def make(n_classes=5, size="mild", intercept="free", n=30, d=45):
    """Sparse rows, two of them the same, one that does not count."""
    rng = np.random.default_rng(n_classes)
    X = rng.standard_normal((n, d)) * (rng.uniform(size=(n, d)) < 0.5)
    X[3] = X[4]
    value, free = INTERCEPTS[intercept]
    design = design_of(sp.csr_array(X), value)
    penalty = np.full(design.n_columns, 0.4)
    if value and free:
        penalty[-1] = 0.0
    return Objective(
        loss=SumToZero(Multinomial(n_classes)),
        design=design,
        y=rng.integers(0, n_classes, n),
        weights=rng.uniform(0.2, 2.0, n) * (np.arange(n) != 5),
        penalty=penalty,
        theta=SIZES[size] * rng.standard_normal((n_classes - 1, design.n_columns)),
        hold="C",
    )


def dense_leverages(objective, design):
    k = objective.loss.n_outputs
    J = np.einsum("id,ab->iabd", design.dense_rows(), np.eye(k)).reshape(design.n_samples, k, -1)
    return np.einsum("iap,pq,ibq->iab", J, np.linalg.inv(Curvature(objective).dense()), J)


@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_classes", [3, 4, 6])
def test_it_is_the_inverse_of_the_hessian(n_classes, size, intercept, rng):
    """Solves, leverages of the rows and of others, what is left of 1: 1e-9, of numbers of size 1 to 1e3."""
    objective = make(n_classes, size, intercept)
    factor = ClassDualFactor(objective)
    B = rng.standard_normal((objective.n_parameters, 3))
    expected = np.linalg.solve(Curvature(objective).dense(), B)
    assert relative_error(factor.solve(B), expected) < 1e-9
    h = dense_leverages(objective, objective.design)
    assert relative_error(factor.leverages(), h) < 1e-9
    other = objective.design.like(sp.csr_array(rng.standard_normal(objective.design.X.shape)))
    assert relative_error(factor.leverages(other), dense_leverages(objective, other)) < 1e-9
    rows, k = np.flatnonzero(objective.weights), objective.loss.n_outputs
    for share in (1.0, 0.3):
        left = np.eye(k) - share * objective.weights[:, None, None] * (objective.hessians @ h)
        found = factor.complements(rows, np.full(len(rows), share))
        np.testing.assert_allclose(found, left[rows], rtol=0, atol=1e-10)


def test_classes_that_are_next_to_impossible_have_their_digits():
    """Of which the form of all outputs does not know what is left of 1."""
    objective = make(4, "saturated")
    factor = ClassDualFactor(objective)
    least = factor._mass.min(axis=1) * factor._own_kernel[factor._rows]
    assert least.min() < 1e-30 and (least < FAIR).sum() > 20
    rows = factor._rows
    share = np.ones(len(rows))
    assert np.isfinite(factor.complements(rows, share)).all()
    assert not np.isfinite(DualFactor(objective).complements(rows, share)).all()


def test_single_precision_serves_steps(monkeypatch, rng):
    monkeypatch.setattr("skinfluence.solvers.class_dual.FEW", 1)
    monkeypatch.setattr("skinfluence.solvers.class_dual.SINGLE", 1e-9)
    objective = make(5)
    factor = ClassDualFactor(objective)
    light = factor.for_steps()
    assert light is not factor and light.for_steps() is light
    B = 1e-30 * rng.standard_normal((objective.n_parameters, 2))
    error = relative_error(light.solve(B), factor.solve(B))
    assert 1e-9 < error < 1e-5


def test_who_takes_it():
    assert dual_form(make(4)) is ClassDualFactor
    # Of three classes one matrix of all outputs is solved with in half of the time.
    assert dual_form(make(3)) is DualFactor


@pytest.mark.parametrize("class_weight", [None, {0: 3.0}])
def test_texts_without_each_row_are_refits(class_weight, rng):
    """1e-6 of the largest change: the refits end at a gradient of 1e-10."""
    X = rng.poisson(0.1, (22, 50)).astype(float)
    y = np.arange(22) % 5
    X[np.arange(22), y] += rng.poisson(2.0, 22)
    model = LogisticRegression(
        C=2.0, solver="newton-cholesky", tol=1e-10, max_iter=500, class_weight=class_weight
    )
    influence = Influence(model.fit(X, y), X, y)
    assert dual_form(influence.objective) is ClassDualFactor
    assert influence.report().solver == ClassDualFactor.name
    found = influence.loo_decision_function(method="exact")
    expected = np.empty_like(found)
    for i in range(len(y)):
        kept = np.arange(len(y)) != i
        expected[i] = model.fit(X[kept], y[kept]).decision_function(X[[i]])[0]
    centred = [one - one.mean(axis=1, keepdims=True) for one in (found, expected)]
    assert relative_error(*centred) < 1e-6


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("intercept", ["free", "penalised"])
def test_in_single_precision_solves_are_refined_and_leverages_are_off_by_what_is_said(
    size, intercept, rng
):
    objective = make(5, size, intercept)
    factor = Exact("dual", precision="mixed").factor(objective)
    assert type(factor) is SingleClassDualFactor and factor._E.dtype == np.float32
    B = rng.standard_normal((objective.n_parameters, 3))
    expected = np.linalg.solve(Curvature(objective).dense(), B)
    assert relative_error(factor.solve(B), expected) < 1e-9
    h = dense_leverages(objective, objective.design)
    off = np.abs(factor.leverages() - h).max(axis=(1, 2)) / np.abs(h).max(axis=(1, 2))
    assert 0 < factor.leverage_error < 1e-3
    assert off.max() < factor.leverage_error


def test_what_single_precision_has_no_digits_for_goes_to_double():
    objective = replace(make(5), penalty=1e-5 * make(5).penalty)
    solver = Exact("dual", precision="mixed")
    with pytest.raises(SingularHessianError, match="use precision='float64'"):
        solver.factor(objective)
    assert type(solver.for_edits().factor(objective)) is ClassDualFactor


def test_exact_answers_from_a_factor_in_single_precision_are_those_of_double(rng):
    """1e-8 of the largest change: each row is solved for, by refined solves."""
    X = rng.poisson(0.2, (20, 50)).astype(float)
    y = np.arange(20) % 5
    model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10).fit(X, y)
    before = model.decision_function(X)
    found, expected = [
        Influence(model, X, y, solver=solver).loo_decision_function(method="exact") - before
        for solver in (Exact("dual", precision="mixed"), Exact("dual"))
    ]
    assert relative_error(found, expected) < 1e-8
