"""Covariances are statsmodels' where it has them, the formulas written out, and true deletions."""

import json
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import linalg
from sklearn import linear_model
from sklearn.base import clone
from sklearn.linear_model import PoissonRegressor

import skinfluence.linear_model as ours
from skinfluence import Influence
from skinfluence.inference import covariance
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.m_estimation import MEstimator
from skinfluence.solvers import LiSSA
from tests import registries
from tests.truth import relative_error

GOLD = json.loads((Path(__file__).parents[1] / "gold" / "sandwich.json").read_text())
TIGHT = {"tol": 1e-12, "max_iter": 1000, "solver": "newton-cholesky"}
MODELS = {
    "gaussian": linear_model.LinearRegression(tol=1e-15),
    "binomial": linear_model.LogisticRegression(C=np.inf, **TIGHT),
    "poisson": PoissonRegressor(alpha=0.0, **TIGHT),
}
GROUPED = ("cr0", "cr1", "cr3", "jackknife", "ij")


def data_of(task, n=80, d=3):
    X, y = registries.make_data(task, n, d, 5)
    return X, y, np.random.default_rng(3).uniform(0.5, 2.0, n)


def gold_case(key):
    gold = {name: np.asarray(values) for name, values in GOLD[key].items()}
    X, y, weight = gold["X"], gold["y"], gold["weight"]
    model = clone(MODELS[key.partition("-")[0]]).fit(X, y, sample_weight=weight)
    return gold, Influence(model, X, y, weight)


@pytest.mark.parametrize("key", GOLD)
def test_unpenalised_models_give_the_covariances_of_statsmodels(key):
    gold, influence = gold_case(key)
    for kind in set(gold) & {"hc0", "hc1", "hc2", "hc3", "nonrobust"}:
        assert relative_error(covariance(influence, kind), gold[kind]) < 1e-9, kind
    found = covariance(influence, "cr1", groups=gold["groups"])
    assert relative_error(found, gold["cr1"]) < 1e-9


def test_deleted_clusters_are_those_of_pyfixest_but_for_its_factor():
    gold, influence = gold_case("gaussian")
    n, k, G = 40, 4, 8
    factor = G / (G - 1) * (n - 1) / (n - k) / ((G - 1) / G)
    found = factor * covariance(influence, "cr3", groups=gold["groups"])
    assert relative_error(found, gold["pyfixest"]) < 1e-9


# Formulas written out ----------------------------------------------------------------------------

FORMULAS = {
    "logistic": (linear_model.LogisticRegression(C=0.5, **TIGHT), "binary"),
    "logistic-free": (linear_model.LogisticRegression(C=np.inf, **TIGHT), "binary"),
    "poisson": (PoissonRegressor(alpha=0.1, **TIGHT), "counts"),
    "ridge": (linear_model.Ridge(alpha=2.0, solver="cholesky"), "regression"),
}


def written_out(model, X, y, weight, power):
    """``H^-1 sum (w g)^2 / (1 - l)^(2 power) x x' H^-1`` from the fitted coefficients alone."""
    Z = np.column_stack([X, np.ones(len(X))])
    eta = X @ model.coef_.ravel() + model.intercept_
    R = np.zeros(Z.shape[1])
    if isinstance(model, PoissonRegressor):
        mean = curvature = np.exp(eta)
        R[:-1] = model.alpha * weight.sum()
    elif isinstance(model, linear_model.Ridge):
        mean, curvature = eta, np.ones(len(y))
        R[:-1] = model.alpha
    else:
        mean = 1 / (1 + np.exp(-eta))
        curvature = mean * (1 - mean)
        R[:-1] = 0.0 if np.isinf(model.C) else 1 / model.C
        y = (y == model.classes_[1]).astype(float)
    H = (Z * (weight * curvature)[:, None]).T @ Z + np.diag(R)
    inverse = np.linalg.inv(H)
    left = 1 - weight * curvature * np.einsum("ij,jk,ik->i", Z, inverse, Z)
    scores = (weight * (mean - y) / left**power)[:, None] * Z
    return inverse @ (scores.T @ scores) @ inverse


@pytest.mark.parametrize("name", FORMULAS)
def test_scores_are_divided_by_what_weighted_leverages_leave(name):
    model, kind = FORMULAS[name]
    X, y, weight = data_of(kind)
    model = clone(model).fit(X, y, sample_weight=weight)
    influence = Influence(model, X, y, weight)
    for hc, power in {"hc0": 0, "hc2": 0.5, "hc3": 1}.items():
        expected = written_out(model, X, y, weight, power)
        assert relative_error(covariance(influence, hc), expected) < 1e-8, hc


def test_several_outputs_are_divided_by_roots_of_blocks():
    """Softmax in full, K = 3: each row's block by scipy's root of a matrix, class by class."""
    X, y, _ = data_of("softmax")
    model = linear_model.LogisticRegression(C=0.5, **TIGHT).fit(X, y)
    influence = Influence(model, X, y)
    P, K = model.predict_proba(X), len(model.classes_)
    Z = np.column_stack([X, np.ones(len(X))])
    d = Z.shape[1]
    J = np.einsum("kl,nd->nkld", np.eye(K), Z).reshape(len(X), K, K * d)
    L = np.einsum("nk,kl->nkl", P, np.eye(K)) - P[:, :, None] * P[:, None, :]
    R = np.tile(np.append(np.full(d - 1, 1 / model.C), 0.0), K)
    H = np.einsum("nka,nkl,nlb->ab", J, L, J) + np.diag(R)
    # Singular along a shift of the free intercepts, which no row moves.
    inverse = np.linalg.pinv(H, rcond=1e-12)
    gradients = P - np.eye(K)[np.searchsorted(model.classes_, y)]
    for kind, power in {"hc0": 0, "hc2": -0.5, "hc3": -1}.items():
        steps = []
        for j, lam, g in zip(J, L, gradients, strict=True):
            C = np.eye(K) - lam @ j @ inverse @ j.T
            root = np.real(linalg.fractional_matrix_power(C, power)) if power else np.eye(K)
            steps.append(inverse @ j.T @ root @ g)
        expected = np.transpose(steps) @ steps
        assert relative_error(covariance(influence, kind), expected) < 1e-7, kind


# Deletions ---------------------------------------------------------------------------------------

DELETED = {
    **FORMULAS,
    "softmax": (linear_model.LogisticRegression(C=0.5, **TIGHT), "softmax"),
    "least-squares": (linear_model.LinearRegression(tol=1e-14), "regression"),
}


def refitted(model, X, y, weight, groups):
    """Coefficients without each group, from true refits."""
    out = []
    for g in np.unique(groups):
        kept = groups != g
        new = clone(model).fit(X[kept], y[kept], sample_weight=weight[kept])
        coef = np.atleast_2d(new.coef_)
        intercept = np.reshape(new.intercept_, (-1, 1))
        if len(coef) > 1:
            coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
        out.append(np.column_stack([coef, intercept]).ravel())
    return np.array(out)


@pytest.mark.parametrize("name", DELETED)
def test_deleted_rows_and_clusters_are_refits(name):
    model, kind = DELETED[name]
    X, y, weight = data_of(kind)
    X, y, weight = X[:48], y[:48], weight[:48]
    model = clone(model).fit(X, y, sample_weight=weight)
    influence = Influence(model, X, y, weight)
    full = refitted(model, X, y, weight, np.full(len(y), 1) * np.nan)[0]
    for groups in (np.arange(48) % 6, None):
        each = np.arange(48) if groups is None else groups
        without = refitted(model, X, y, weight, each)
        n = len(without)
        about = without - without.mean(axis=0)
        expected = (n - 1) / n * about.T @ about
        found = covariance(influence, "jackknife", groups=groups, method="exact")
        assert relative_error(found, expected) < 1e-6
        if groups is not None:
            expected = (n - 1) / n * (without - full).T @ (without - full)
            found = covariance(influence, "cr3", groups=groups, method="exact")
            assert relative_error(found, expected) < 1e-6


@pytest.mark.parametrize("name", DELETED)
def test_hc3_is_the_sum_of_squared_newton_steps_without_each_row(name):
    """Where the penalty stays, one Newton step from the fit is the score over ``1 - l``."""
    model, kind = DELETED[name]
    X, y, weight = data_of(kind)
    model = clone(model).fit(X, y, sample_weight=weight)
    influence = Influence(model, X, y, weight, hold="C")
    parts = influence.answers.deletions()
    steps = np.concatenate([one for _, one in parts.steps("one-step", 1e-3)]).reshape(len(y), -1)
    assert relative_error(covariance(influence, "hc3"), steps.T @ steps) < 1e-9


@pytest.mark.parametrize("name", DELETED)
def test_clusters_of_one_row_are_rows(name):
    model, kind = DELETED[name]
    X, y, weight = data_of(kind)
    influence = Influence(clone(model).fit(X, y, sample_weight=weight), X, y, weight)
    each = np.arange(len(y))
    for clustered, kind in [("cr0", "hc0"), ("ij", "ij"), ("jackknife", "jackknife")]:
        expected = covariance(influence, kind, method="exact")
        found = covariance(influence, clustered, groups=each, method="exact")
        assert relative_error(found, expected) < 1e-7


def test_rows_of_weight_zero_are_no_rows():
    X, y, weight = data_of("regression")
    some = np.arange(len(y)) >= 7
    zeroed = np.where(some, weight, 0.0)
    model = ours.LinearRegression()
    all_rows = Influence(clone(model).fit(X, y, sample_weight=zeroed), X, y, zeroed)
    few = Influence(
        clone(model).fit(X[some], y[some], sample_weight=weight[some]),
        X[some],
        y[some],
        weight[some],
    )
    groups = np.arange(len(y)) % 5
    groups[~some] = 99
    for kind in ("hc0", "hc1", "hc2", "hc3", "jackknife", "ij", "nonrobust"):
        assert relative_error(covariance(all_rows, kind), covariance(few, kind)) < 1e-8, kind
    for kind in GROUPED:
        found = covariance(all_rows, kind, groups=groups)
        assert relative_error(found, covariance(few, kind, groups=groups[some])) < 1e-8, kind


def test_a_users_loss_has_the_covariances_of_the_same_model():
    X, y, _ = data_of("binary")
    y = (y == np.unique(y)[1]).astype(int)

    def loss(params, x, target):
        eta = anp.dot(x, params[:-1]) + params[-1]
        return anp.logaddexp(0.0, eta) - target * eta

    free = linear_model.LogisticRegression(C=np.inf, **TIGHT).fit(X, y)
    own = MEstimator(loss, n_params=X.shape[1] + 1).fit(X, y)
    expected, found = Influence(free, X, y), Influence(own, X, y)
    groups = np.arange(len(y)) % 6
    for kind in ("hc0", "hc1", "hc3", "jackknife", "ij", "nonrobust"):
        want = covariance(expected, kind, method="exact")
        assert relative_error(covariance(found, kind), want) < 1e-6, kind
    for kind in GROUPED:
        want = covariance(expected, kind, groups=groups, method="exact")
        assert relative_error(covariance(found, kind, groups=groups), want) < 1e-6, kind
    with pytest.raises(ValueError, match=r"hc2.*MEstimator"):
        covariance(found, "hc2")


@pytest.mark.parametrize("intercept_scaling", [1.0, 10.0])
def test_columns_far_from_zero_and_other_intercepts_are_in_the_units_of_the_fit(intercept_scaling):
    X, y, _ = data_of("binary")
    model = linear_model.LogisticRegression(
        solver="liblinear", intercept_scaling=intercept_scaling, C=1.0, tol=1e-10, max_iter=10000
    )
    model.fit(X + 3.0, y)
    found = covariance(Influence(model, X + 3.0, y), "hc0")
    Z = np.column_stack([X + 3.0, np.ones(len(X))])
    p = model.predict_proba(X + 3.0)[:, 1]
    R = np.append(np.ones(X.shape[1]), 1 / intercept_scaling**2)
    inverse = np.linalg.inv((Z * (p * (1 - p))[:, None]).T @ Z + np.diag(R))
    scores = Z * (p - (y == model.classes_[1]))[:, None]
    assert relative_error(found, inverse @ scores.T @ scores @ inverse) < 1e-6


# What is refused ---------------------------------------------------------------------------------


def test_kinds_and_groups_that_do_not_go_together_are_refused():
    X, y, _ = data_of("regression")
    model = ours.LinearRegression().fit(X, y)
    groups = np.arange(len(y)) % 4
    with pytest.raises(ValueError, match="kind must be one of"):
        covariance(model, "hc4")
    with pytest.raises(ValueError, match=r"cr1.*pass groups="):
        covariance(model, "cr1")
    with pytest.raises(ValueError, match="rows as independent"):
        covariance(model, "hc3", groups=groups)
    with pytest.raises(ValueError, match="at least two groups"):
        covariance(model, "cr1", groups=np.zeros(len(y)))
    with pytest.raises(ValueError, match="one label per training row"):
        covariance(model, "cr1", groups=groups[1:])
    with pytest.raises(TypeError, match="Influence"):
        covariance(linear_model.LinearRegression().fit(X, y))


def test_a_row_of_leverage_one_has_no_residual_to_divide():
    X, y, _ = data_of("regression")
    X = np.column_stack([X, np.zeros(len(X))])
    X[3, -1] = 1.0
    model = ours.LinearRegression().fit(X, y)
    for kind in ("hc2", "hc3"):
        with pytest.raises(ValueError, match="Row 3 has leverage 1"):
            covariance(model, kind)
    assert np.isfinite(covariance(model, "hc0")).all()


def test_a_group_that_holds_a_class_is_named():
    X, y, _ = data_of("binary")
    model = ours.LogisticRegression(**TIGHT).fit(X, y)
    groups = np.where(y == np.unique(y)[0], "b", "a")
    with pytest.raises(ValueError, match="Group a does not"):
        covariance(model, "cr3", groups=groups)


def test_estimates_of_leverages_are_refused():
    X, y, _ = data_of("regression")
    model = linear_model.Ridge().fit(X, y)
    influence = Influence(model, X, y, solver=LiSSA(damping=1e-3, random_state=0))
    for kind in ("hc0", "hc3", "ij", "nonrobust"):
        with pytest.raises(ValueError, match="Standard errors need the Hessian of the fit"):
            covariance(influence, kind)


def test_models_without_coefficients_are_refused():
    X, y, _ = data_of("regression")
    with pytest.raises(TypeError, match="Not every kind of model"):
        covariance(KernelRidge().fit(X, y))


def test_balanced_weights_are_given_or_refused():
    X, y, _ = data_of("binary")
    balanced = ours.LogisticRegression(class_weight="balanced", **TIGHT).fit(X, y)
    classes, count = np.unique(y, return_counts=True)
    weights = dict(zip(classes.tolist(), len(y) / (2 * count), strict=True))
    given = ours.LogisticRegression(class_weight=weights, **TIGHT).fit(X, y)
    for kind in ("hc0", "hc3", "ij"):
        assert relative_error(covariance(balanced, kind), covariance(given, kind)) < 1e-6, kind
    for kind in ("jackknife", "cr3"):
        with pytest.raises(ValueError, match="class weights of the fit"):
            covariance(balanced, kind, groups=np.arange(len(y)) % 5)
