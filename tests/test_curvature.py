"""The Hessian and the gradient of whole objectives, against finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, losses
from skinfluence.curvature import Curvature
from skinfluence.design import design_of
from skinfluence.objective import Objective
from tests.registries import LOSSES
from tests.truth import relative_error

CASES = pytest.mark.parametrize("case", LOSSES.values(), ids=LOSSES)
KINDS = pytest.mark.parametrize("kind", ["dense", "csr"])


def make(case, kind="dense", hold="C", intercept=1.0, n=23, d=4):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * (rng.uniform(size=(n, d)) < 0.8)
    design = design_of(sp.csr_array(X) if kind == "csr" else X, intercept)
    return Objective(
        loss=case.loss,
        design=design,
        y=case.draw(rng, n),
        weights=rng.uniform(0.2, 2.0, n) * (np.arange(n) != 5),
        penalty=np.r_[np.full(d, 0.7), 0.0][: design.n_columns],
        theta=0.3 * rng.standard_normal((case.loss.n_outputs, design.n_columns)),
        hold=hold,
    )


@CASES
@KINDS
def test_gradient_is_the_derivative_of_the_value(case, kind):
    """Central differences at 1e-5: 1e-8 of the largest entry."""
    objective = make(case, kind)
    flat, h = objective.theta.ravel(), 1e-5
    slope = [
        (objective.at(flat + h * e).value() - objective.at(flat - h * e).value()) / (2 * h)
        for e in np.eye(len(flat))
    ]
    assert relative_error(objective.gradient(), np.array(slope)) < 1e-8


@CASES
@KINDS
@pytest.mark.parametrize("intercept", [1.0, 0.0, 2.5])
def test_hessian_is_the_derivative_of_the_gradient(case, kind, intercept):
    if case is LOSSES["squared-hinge"]:
        kwargs = {"rtol": 1e-4}  # The kink lies between two points for some entries.
    else:
        kwargs = {"rtol": 1e-7}
    objective = make(case, kind, intercept=intercept)
    flat, h = objective.theta.ravel(), 1e-5
    columns = [
        (objective.at(flat + h * e).gradient() - objective.at(flat - h * e).gradient()) / (2 * h)
        for e in np.eye(len(flat))
    ]
    assert relative_error(Curvature(objective).dense(), np.array(columns).T) < kwargs["rtol"]


@CASES
@KINDS
@pytest.mark.parametrize("shift", [0.0, -1.3])
def test_operator_dense_and_diagonal_are_one_matrix(case, kind, shift, rng):
    objective = make(case, kind, hold="lambda")
    operator = Curvature(objective, shift)
    H = operator.dense()
    np.testing.assert_allclose(H, H.T, rtol=0, atol=1e-13 * np.abs(H).max())
    V = rng.standard_normal((len(H), 3))
    assert relative_error(operator @ V, H @ V) < 1e-12
    assert relative_error(operator @ V[:, 0], H @ V[:, 0]) < 1e-12
    assert relative_error(operator.T @ V, H @ V) < 1e-12
    assert relative_error(operator.diagonal(), np.diag(H)) < 1e-12


@CASES
def test_shift_adds_the_share_of_the_penalty(case):
    """hold="lambda": R grows with the weight. hold="C": it stays."""
    for hold, share in (("C", 0.0), ("lambda", 1.0)):
        objective = make(case, hold=hold)
        grown = Curvature(objective, 2.0).dense() - Curvature(objective).dense()
        unit = objective.penalty / objective.total_weight
        expected = 2.0 * share * np.diag(np.tile(unit, case.loss.n_outputs))
        np.testing.assert_allclose(grown, expected, atol=1e-12)


def test_hold_has_three_values():
    objective = make(LOSSES["binomial"])
    assert objective.holding("lambda").hold == "lambda"
    assert objective.holding("auto").hold == "C"
    with pytest.raises(ValueError, match="hold must be"):
        objective.holding("penalty")


@pytest.mark.parametrize("intercept", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("loss", ["binomial", "sum-to-zero", "poisson", "squared-3"])
def test_the_largest_decrement_bounds_the_decrement(loss, intercept, rng):
    """From one pass and no solve; at a gradient along the intercept it is close."""
    objective = make(LOSSES[loss], intercept=intercept)
    H = Curvature(objective)
    k, d = objective.theta.shape
    along = np.zeros((k, d))
    along[:, -1] = rng.standard_normal(k)
    for gradient in (objective.gradient(), *rng.standard_normal((5, k * d)), along.ravel()):
        true = np.sqrt(gradient @ np.linalg.solve(H.dense(), gradient))
        assert true <= H.largest_decrement(gradient) * (1.0 + 1e-12)
    # Coefficients that hardly move leave the intercept's part alone, which is exact.
    stiff = Curvature(replace(objective, penalty=1e9 * objective.penalty))
    true = np.sqrt(along.ravel() @ np.linalg.solve(stiff.dense(), along.ravel()))
    assert true <= stiff.largest_decrement(along.ravel()) * (1.0 + 1e-12)
    assert (
        Curvature(replace(objective, penalty=0.0 * objective.penalty)).largest_decrement(
            along.ravel()
        )
        == np.inf
    )


def test_asking_about_an_optimum_costs_no_solve(monkeypatch):
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    near = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X, y)
    far = LogisticRegression(max_iter=3).fit(X, y)
    products = []
    original = Curvature.product
    monkeypatch.setattr(Curvature, "product", lambda *args: products.append(1) or original(*args))
    Influence(near, X, y, solver="cg")
    assert not products
    with pytest.warns(ConvergenceWarning, match="not at the optimum"):
        Influence(far, X, y, solver="cg")
    assert products


@pytest.mark.parametrize("intercept", [0.0, 1.0])
def test_the_hessian_of_many_classes_is_that_of_its_products(rng, intercept):
    """By one product of all pairs of classes, where rows are certain and weights are zero too."""
    n, d, k = 90, 4, 15
    X = rng.standard_normal((n, d))
    loss = losses.SumToZero(losses.Multinomial(k))
    penalty = np.append(np.full(d, 0.3), np.zeros(int(intercept)))
    theta = rng.standard_normal((k - 1, len(penalty)))
    theta[0] *= 30.0
    weights = rng.uniform(0.0, 2.0, n) * (rng.random(n) > 0.1)
    y = rng.integers(0, k, n)
    objective = Objective(loss, design_of(X, intercept), y, weights, penalty, theta)
    curvature = Curvature(objective)
    expected = curvature.matmat(np.eye(objective.n_parameters))
    for dtype, rtol in ((np.float64, 1e-12), (np.float32, 1e-4)):
        found = curvature.dense(dtype)
        np.testing.assert_allclose(found, expected, atol=rtol * np.abs(expected).max())
        assert (found == found.T).all()
