"""A free intercept takes up what is added to a column: it changes no answer, however much it is."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model

from skinfluence import Influence, diagnostics, edits
from skinfluence.design import design_of
from skinfluence.design.far import far_from_zero
from skinfluence.distributed import fit as fit_blocks
from skinfluence.influence import influence_of_fit
from skinfluence.model_selection import LeaveOneOutSearch
from skinfluence.solvers import CG, SingularHessianError
from tests.truth import relative_error

TIGHT = {"tol": 1e-12, "max_iter": 1000, "solver": "newton-cholesky"}
MODELS = {
    "ridge": (linear_model.Ridge(alpha=1.0), "numbers"),
    "least-squares": (linear_model.LinearRegression(), "numbers"),
    "logistic": (linear_model.LogisticRegression(C=1.0, **TIGHT), "binary"),
    "unpenalised logistic": (linear_model.LogisticRegression(C=np.inf, **TIGHT), "binary"),
    "softmax": (linear_model.LogisticRegression(C=0.5, **TIGHT), "classes"),
    "ridge classifier": (linear_model.RidgeClassifier(alpha=1.0), "classes"),
    "poisson": (linear_model.PoissonRegressor(alpha=0.1, **TIGHT), "counts"),
    "gamma": (linear_model.GammaRegressor(alpha=0.1, **TIGHT), "positive"),
}
EVERY = pytest.mark.parametrize("name", MODELS)
OFFSETS = pytest.mark.parametrize("offset", [1e4, 1e7, -1e8])


def rows(n=40, d=3, seed=0):
    """Rows in steps of 2^-20, so that offsets up to 2^33 are added without rounding."""
    return np.round(np.random.default_rng(seed).standard_normal((n, d)) * 2**20) / 2**20


def targets(X, task):
    rng = np.random.default_rng(1)
    eta = X @ np.linspace(0.8, -0.4, X.shape[1])
    return {
        "numbers": lambda: eta + rng.standard_normal(len(X)),
        "binary": lambda: np.where(eta + rng.logistic(size=len(X)) > 0, "yes", "no"),
        "classes": lambda: rng.integers(0, 3, len(X)),
        "counts": lambda: rng.poisson(np.exp(0.3 * eta)) + 0.0,
        "positive": lambda: rng.gamma(2.0, np.exp(0.3 * eta)),
    }[task]()


def twins(name, offset, of=np.asarray, n=40, d=3, **options):
    """The same model on rows and on the rows with an offset in all columns but the last."""
    model, task = MODELS[name]
    X = rows(n, d)
    y, weight = targets(X, task), np.random.default_rng(2).uniform(0.5, 2.0, n)
    shift = np.append(np.full(d - 1, offset), 0.0)
    model = copy.deepcopy(model).fit(X, y, sample_weight=weight)
    other = copy.deepcopy(model)
    other.intercept_ = model.intercept_ - np.squeeze(model.coef_ @ shift)
    here = Influence(model, of(X), y, weight, **options)
    there = Influence(other, of(X + shift), y, weight, **options)
    return (here, X, X[:4]), (there, X + shift, X[:4] + shift), y


QUESTIONS = {
    "influence_up_loss": lambda inf, X, T, y: inf.influence_up_loss(T, y[:4]),
    "influence_pert": lambda inf, X, T, y: inf.influence_pert(T, y[:4]),
    "self_influence": lambda inf, X, T, y: inf.self_influence(),
    "one-step": lambda inf, X, T, y: inf.removal_effect(T, y[:4], method="one-step"),
    "auto": lambda inf, X, T, y: inf.removal_effect(T, y[:4], method="auto"),
    "exact": lambda inf, X, T, y: inf.removal_effect(T, y[:4], method="exact"),
    "groups": lambda inf, X, T, y: inf.removal_effect(T, y[:4], groups=np.arange(len(y)) % 7),
    "replace": lambda inf, X, T, y: inf.effect(edits.replace(2, X[3]), T, y[:4]).values,
    "add": lambda inf, X, T, y: inf.effect(edits.add(T[1], y[3]), T, y[:4]).values,
    "loo": lambda inf, X, T, y: inf.loo_decision_function(method="exact"),
    "leverage": lambda inf, X, T, y: diagnostics.leverage(inf),
    "cooks_distance": lambda inf, X, T, y: diagnostics.cooks_distance(inf),
    "dffits": lambda inf, X, T, y: diagnostics.dffits(inf, method="exact"),
    "residuals": lambda inf, X, T, y: diagnostics.resid_studentized_internal(inf),
    "dfbetas": lambda inf, X, T, y: diagnostics.dfbetas(inf)[..., :-1],
    "up_params": lambda inf, X, T, y: inf.influence_up_params()[..., :-1],
}


@EVERY
@OFFSETS
def test_an_offset_changes_no_answer(name, offset):
    here, there, y = twins(name, offset)
    for question, ask in QUESTIONS.items():
        found, expected = ask(*there, y), ask(*here, y)
        assert relative_error(found, expected) < 1e-6, question


@OFFSETS
@pytest.mark.parametrize("options", [{"solver": CG()}, {"precision": "mixed"}, {"hold": "lambda"}])
@pytest.mark.parametrize("name", ["ridge", "softmax"])
def test_nor_with_another_solver_or_meaning(name, options, offset):
    here, there, y = twins(name, offset, **options)
    for question in ("one-step", "auto", "leverage", "up_params"):
        found, expected = QUESTIONS[question](*there, y), QUESTIONS[question](*here, y)
        tol = 1e-3 if "precision" in options else 1e-6
        assert relative_error(found, expected) < tol, question


@OFFSETS
@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_nor_with_more_columns_than_rows(name, offset):
    here, there, y = twins(name, offset, n=12, d=20)
    assert "dual" in there[0].report().solver
    for question in ("one-step", "exact", "leverage", "influence_pert"):
        found, expected = QUESTIONS[question](*there, y), QUESTIONS[question](*here, y)
        # The residuals of the fit are small, and its intercept is rounded to 2e-7.
        tol = 1e-6 if question in ("exact", "leverage") else 1e-5
        assert relative_error(found, expected) < tol, question


@OFFSETS
@pytest.mark.parametrize("name", ["least-squares", "logistic"])
def test_nor_in_sparse_rows(name, offset):
    here, there, y = twins(name, offset, of=sp.csr_array)
    assert there[0].objective.design.is_sparse
    for question in ("one-step", "exact", "leverage", "replace", "influence_pert"):
        found, expected = QUESTIONS[question](*there, y), QUESTIONS[question](*here, y)
        assert relative_error(found, expected) < 1e-6, question


@pytest.mark.parametrize("name", ["ridge", "poisson"])
def test_the_intercept_is_that_of_the_columns_as_they_were_given(name):
    """Its changes and standard errors, against a dense Hessian of the rows that were given."""
    (here, X, _), (there, Z, _), _ = twins(name, 5e4)
    objective = here.objective
    assert there.objective.design.shift is not None and objective.design.shift is None
    J = np.column_stack([Z, np.ones(len(Z))]).astype(np.longdouble)
    w = objective.weights * objective.hessians[:, 0, 0]
    T = np.eye(4)
    T[-1, :-1] = -(Z - X)[0]
    H = T.T @ (J.T * w) @ J @ T + np.diag(objective.penalty)
    inverse = T @ np.linalg.inv(H.astype(float)) @ T.T
    up = -len(Z) * objective.gradients * (J @ inverse)
    if objective.hold == "lambda":
        up -= len(Z) * inverse @ (objective.unit_penalty * objective.theta[0])
    assert relative_error(there.influence_up_params()[:, 0], up.astype(float)) < 1e-8
    moved = diagnostics.dfbetas(here, method="exact")[:, 0]
    errors = np.sqrt(np.diag(np.linalg.inv(H.astype(float))))
    expected = (moved * errors) @ T.T / np.sqrt(np.diag(inverse))
    found = diagnostics.dfbetas(there, method="exact")[:, 0]
    assert relative_error(found, expected) < 1e-6


def test_a_model_fitted_far_from_zero_is_answered_as_where_it_is():
    """By refits on the centred rows, to more digits than refits on the rows themselves have."""
    X = rows(25)
    y = targets(X, "numbers")
    for offset in (1e6, 1e8):
        Z = X + [0.0, offset, 0.0]
        found = Influence(linear_model.Ridge(1.0).fit(Z, y), Z, y).loo_predict()
        model = linear_model.Ridge(1.0)
        for i in range(25):
            model.fit(np.delete(X, i, axis=0), np.delete(y, i))
            assert abs(found[i] - model.predict(X[[i]])[0]) < 1e-9


def test_a_search_scores_the_same_far_from_zero():
    X = rows(30)
    y = targets(X, "numbers")
    grid = {"alpha": [0.1, 1.0, 10.0]}
    scores = [
        LeaveOneOutSearch(linear_model.Ridge(), grid).fit(Z, y).cv_results_["mean_test_score"]
        for Z in (X, X + 1e8)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-7)


def test_fits_by_blocks_are_the_same_far_from_zero():
    X = rows(40)
    y = targets(X, "numbers")
    here, there = (fit_blocks(linear_model.Ridge(), Z, y) for Z in (X, X + [1e7, 0.0, 1e8]))
    np.testing.assert_allclose(there.coef_, here.coef_, rtol=1e-9)
    np.testing.assert_allclose(there.predict(X + [1e7, 0.0, 1e8]), here.predict(X), atol=1e-6)


# Where it cannot be done ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        linear_model.LogisticRegression(solver="liblinear"),
        linear_model.LogisticRegression(fit_intercept=False),
        linear_model.Ridge(fit_intercept=False),
    ],
)
@pytest.mark.filterwarnings("ignore:The fit is not at the optimum")
def test_an_intercept_that_does_not_take_it_up_is_not_blamed_on_the_penalty(model):
    """Squares of these columns have no digits left: the columns are named, with the number."""
    X = rows()
    y = targets(X, "numbers" if isinstance(model, linear_model.Ridge) else "binary")
    model.fit(X, y)
    # Decision values that the offset does not saturate.
    model.coef_ = np.reshape([0.5, -0.5, 0.0], model.coef_.shape)
    with pytest.raises(SingularHessianError, match=r"\de\+08 times their spread.*Centre") as caught:
        influence_of_fit(model, X + 3e8, y, None)
    assert "Penalise" not in str(caught.value)


def test_penalised_models_are_not_told_to_be_penalised():
    X = rows()
    X = np.column_stack([X, X])
    y = targets(X, "numbers")
    with pytest.raises(SingularHessianError, match="penalise more"):
        Influence(linear_model.Ridge(alpha=1e-16).fit(X, y), X, y)


# Which columns are far -------------------------------------------------------------------------


@pytest.mark.parametrize("of", [np.asarray, sp.csr_array])
def test_columns_far_from_zero_are_found_among_others(of):
    rng = np.random.default_rng(0)
    n = 500
    X = np.column_stack(
        [
            rng.standard_normal(n),
            rng.standard_normal(n) + 1e7,
            np.ones(n),
            np.full(n, 1e9),
            np.append(np.full(n - 1, 1e7), 0.0),
            rng.uniform(size=n) < 0.99,
            1e-9 * rng.standard_normal(n) - 1.0,
        ]
    )
    columns, middles, spreads = far_from_zero(of(X))
    assert columns.tolist() == [1, 3, 6]
    np.testing.assert_allclose(middles, X[:, columns].mean(axis=0))
    np.testing.assert_allclose(spreads, (X - X[0])[:, columns].std(axis=0), atol=1e-12)


@pytest.mark.parametrize("of", [np.asarray, sp.csr_array])
def test_only_far_columns_are_moved_and_rows_come_back(of):
    X = rows() + [1e8, 0.0, 0.0]
    X[3, 1] = 0.0
    design = design_of(of(X)).centred()
    assert design.shift.tolist()[1:] == [0.0, 0.0]
    given = design.given([0, 3, 5])
    given = given.toarray() if sp.issparse(given) else given
    np.testing.assert_array_equal(given, X[[0, 3, 5]])
    np.testing.assert_array_equal(design.dense_rows()[:, 1:3], X[:, 1:])
    np.testing.assert_allclose(design.like(of(X[:5])).dense_rows(), design.dense_rows()[:5])
    both = design.extended(design.take(slice(0, 2)))
    np.testing.assert_array_equal(both.dense_rows()[40:], design.dense_rows()[:2])
    near = design_of(of(rows()))
    assert near.centred() is near
