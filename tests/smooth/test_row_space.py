"""Least squares on columns that depend on each other: predictions, leverages and Cook's distance are determined."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from skinfluence import Influence, edits
from skinfluence.diagnostics import cooks_distance, dfbetas, leverage
from skinfluence.inference import covariance
from skinfluence.robustness import coef, smallest_flip
from skinfluence.solvers import SingularHessianError
from tests.versions import SCIKIT_LEARN

N = 50
rng = np.random.default_rng(0)
COLOUR = rng.integers(0, 4, N)
COLOUR[:2] = 4  # two rows of a colour
SIZE = rng.standard_normal(N)
Y = COLOUR + SIZE + rng.standard_normal(N)
W = rng.uniform(0.5, 2.0, N)
ONE_HOT = np.eye(5)[COLOUR]
DESIGNS = {
    "one-hot": np.column_stack([ONE_HOT, SIZE]),
    "duplicates": np.column_stack([SIZE, SIZE, 2 * SIZE + 3.0]),
    "constant": np.column_stack([SIZE, COLOUR, np.ones(N)]),
    "far from zero": np.column_stack([ONE_HOT + 1e4, SIZE]),
}


@pytest.fixture(params=DESIGNS)
def X(request):
    if request.param == "far from zero" and SCIKIT_LEARN < (1, 9):
        pytest.skip("LinearRegression kept a direction that is rounding before.")
    return DESIGNS[request.param]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weight", [None, W])
@pytest.mark.parametrize("intercept", [True, False])
def test_edits_are_refits(X, sparse, weight, intercept):
    """The truth is scikit-learn's own fit, by singular values, which leaves the same directions out."""
    model = LinearRegression(fit_intercept=intercept).fit(X, Y, weight)
    w = np.ones(N) if weight is None else weight
    inf = Influence(model, sp.csr_array(X) if sparse else X, Y, weight)
    own = inf.loo_predict(indices=[0, 7])
    gone = inf.effect(edits.remove([7, 9, 20]) + edits.relabel(3, 9.0), X, of="predict").values
    moved = inf.effect(edits.add(X[4], 2.0) + edits.replace(6, X[30]), X, of="predict").values
    digits = 1e-7
    for j, row in enumerate([0, 7]):
        kept = np.delete(np.arange(N), row)
        refit = clone(model).fit(X[kept], Y[kept], w[kept])
        assert_allclose(own[j], refit.predict(X[[row]])[0], rtol=digits)
    y2, kept = np.where(np.arange(N) == 3, 9.0, Y), np.delete(np.arange(N), [7, 9, 20])
    refit = clone(model).fit(X[kept], y2[kept], w[kept])
    assert_allclose(gone, refit.predict(X) - model.predict(X), atol=digits)
    X2, y2 = np.vstack([X, X[4]]), np.append(Y, 2.0)
    X2[6] = X[30]
    refit = clone(model).fit(X2, y2, np.append(w, 1.0))
    assert_allclose(moved, refit.predict(X) - model.predict(X), atol=digits)


@pytest.mark.parametrize("first", [True, False])
def test_new_sparse_rows_go_with_training_rows_which_are_kept_dense(first):
    X = DESIGNS["duplicates"]
    model = LinearRegression().fit(X, Y)
    new, old = edits.add(sp.csr_array(X[[4]]), 2.0), edits.relabel(3, 9.0)
    both = new + old if first else old + new
    found = Influence(model, sp.csr_array(X), Y).effect(both, X, of="predict").values
    refit = LinearRegression().fit(
        np.vstack([X, X[4]]), np.append(np.where(np.arange(N) == 3, 9.0, Y), 2.0)
    )
    assert_allclose(found, refit.predict(X) - model.predict(X), atol=1e-7)


def test_leverages_and_cooks_distance_are_those_of_the_pseudo_inverse(X):
    """As statsmodels and R answer."""
    inf = Influence(LinearRegression().fit(X, Y), X, Y)
    Z = np.column_stack([X - X.mean(axis=0), np.ones(N)])
    U, s, _ = np.linalg.svd(Z, full_matrices=False)
    U = U[:, s > 1e-12 * s[0]]
    h, rank = (U**2).sum(axis=1), U.shape[1]
    assert_allclose(leverage(inf), h, rtol=1e-6, atol=1e-9)
    e = Y - U @ (U.T @ Y)
    phi = e @ e / (N - rank)
    assert_allclose(cooks_distance(inf), e**2 * h / (1 - h) ** 2 / (rank * phi), rtol=1e-5)


def test_coefficients_are_not_determined_and_questions_about_them_refused(X):
    inf = Influence(LinearRegression().fit(X, Y), X, Y)
    asked = [
        inf.influence_up_params,
        lambda: inf.influence_pert(X[:2], Y[:2]),
        lambda: dfbetas(inf),
        lambda: covariance(inf, "hc3"),
        lambda: smallest_flip(inf, coef(0)),
    ]
    for question in asked:
        with pytest.raises(ValueError, match="depend on each other"):
            question()
    # And the remedy works.
    inf = Influence(Ridge(1e-3).fit(X, Y), X, Y)
    assert np.isfinite(inf.influence_up_params()).all()


def test_derivatives_of_losses_are_those_of_weights():
    """rtol=1e-6: central differences of refits at 1e-4."""
    X = DESIGNS["one-hot"]
    inf = Influence(LinearRegression().fit(X, Y), X, Y)
    found, own = inf.influence_up_loss(X[:4], Y[:4]), inf.self_influence()
    ends = []
    for eps in (1e-4, -1e-4):
        w = np.ones(N)
        w[5] += eps
        ends.append(0.5 * (LinearRegression().fit(X, Y, w).predict(X) - Y) ** 2)
    slope = N * (ends[0] - ends[1]) / 2e-4
    assert_allclose(found[:, 5], slope[:4], rtol=1e-6)
    assert_allclose(own[5], -slope[5], rtol=1e-6)


def test_the_model_after_an_edit_has_the_smallest_coefficients():
    X = DESIGNS["one-hot"]
    inf = Influence(LinearRegression().fit(X, Y), X, Y)
    after = inf.edited(edits.remove([7, 9]) + edits.relabel(2, 1.0)).estimator
    y2, kept = np.where(np.arange(N) == 2, 1.0, Y), np.delete(np.arange(N), [7, 9])
    refit = LinearRegression().fit(X[kept], y2[kept])
    assert_allclose(after.coef_, refit.coef_, rtol=1e-8)
    assert_allclose(after.intercept_, refit.intercept_, rtol=1e-8)
    then = inf.after(edits.remove([7, 9])).after(edits.remove(11))
    refit = LinearRegression().fit(np.delete(X, [7, 9, 11], 0), np.delete(Y, [7, 9, 11]))
    assert_allclose(then.estimator.predict(X), refit.predict(X), rtol=1e-8)


@pytest.mark.parametrize("full_rank", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_row_that_decides_a_direction_alone_has_no_answer_and_is_named(full_rank, seed):
    """In turned columns too, where rounding leaves its leverage beside 1."""
    rng = np.random.default_rng(seed)
    X = np.eye(3)[np.r_[2, rng.integers(0, 2, N - 1)]][:, int(full_rank) :]
    X = np.column_stack([X, SIZE])
    X = X @ np.linalg.qr(rng.standard_normal((X.shape[1], X.shape[1])))[0]
    inf = Influence(LinearRegression().fit(X, Y), X, Y)
    with pytest.warns(UserWarning, match="Row 0 has"):
        own = inf.loo_predict()
    assert np.isnan(own[0]) and np.isfinite(own[1:]).all()
    with pytest.raises(SingularHessianError, match="after an edit"):
        inf.effect(edits.remove(0), X[:2], of="predict")


def test_a_row_outside_of_the_others_is_refused():
    X = DESIGNS["one-hot"]
    inf = Influence(LinearRegression().fit(X, Y), X, Y)
    for edit in (edits.add(np.ones(6), 1.0), edits.replace(3, np.ones(6))):
        with pytest.raises(ValueError, match="leave open"):
            inf.effect(edit, X, of="predict")


NEARLY = np.column_stack([SIZE, SIZE + 1e-10 * rng.standard_normal(N), COLOUR])


@pytest.mark.parametrize("X", [rng.standard_normal((20, 30)), NEARLY], ids=["wide", "nearly"])
def test_without_rows_to_miss_or_digits_it_is_refused(X):
    y = Y[: len(X)]
    with pytest.raises(SingularHessianError, match="Penalise the model"):
        Influence(LinearRegression().fit(X, y), X, y)
    Influence(Ridge(1e-3).fit(X, y), X, y)


FRAME = np.column_stack([COLOUR, SIZE])
HOLES = FRAME.copy()
HOLES[[4, 17], 1] = np.nan
PIPELINES = {
    "encoder": (make_pipeline(OneHotEncoder(), LinearRegression()), FRAME[:, :1]),
    "columns": (
        make_pipeline(
            make_column_transformer((OneHotEncoder(), [0]), (StandardScaler(), [1])),
            LinearRegression(),
        ),
        FRAME,
    ),
    "holes": (
        make_pipeline(
            make_column_transformer(
                (OneHotEncoder(sparse_output=False), [0]),
                (make_pipeline(SimpleImputer(), PolynomialFeatures(2)), [1]),
            ),
            LinearRegression(),
        ),
        HOLES,
    ),
    "targets": (
        TransformedTargetRegressor(
            make_pipeline(OneHotEncoder(), LinearRegression()), transformer=StandardScaler()
        ),
        FRAME[:, :1],
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_of_one_hot_columns_are_refits(name):
    """rtol=1e-6: where lsqr, the fit of sparse rows, stops."""
    model, X = PIPELINES[name]
    model = clone(model).fit(X, Y)
    inf, rows = Influence(model, X, Y), [0, 4, 17, 30]
    own = inf.loo_predict(indices=rows)
    both = inf.effect(edits.remove([0, 4, 30]), X[5:9], of="predict").values
    for j, row in enumerate(rows):
        refit = clone(model).fit(np.delete(X, row, 0), np.delete(Y, row))
        assert_allclose(own[j], refit.predict(X[[row]])[0], rtol=1e-6)
    refit = clone(model).fit(np.delete(X, [0, 4, 30], 0), np.delete(Y, [0, 4, 30]))
    assert_allclose(both, refit.predict(X[5:9]) - model.predict(X[5:9]), atol=1e-6)


@pytest.mark.parametrize("far", [1e7, -3e7])
def test_a_column_beside_far_larger_ones_is_not_left_out_for_it(far):
    """A constant beside columns at 1e7 is determined, if by few digits: no answer without it."""
    X = np.column_stack([np.ones(N), SIZE + far, COLOUR, W - far])
    scaled = X / np.abs(X).max(axis=0)
    assert np.linalg.matrix_rank(scaled) == 4
    with np.errstate(all="ignore"), pytest.raises(SingularHessianError, match="Centre the columns"):
        Influence(LinearRegression(fit_intercept=False, tol=1e-16).fit(X, Y), X, Y)
    # What it says to do.
    centred = X - np.round(X.mean(axis=0)) * [0, 1, 1, 1]
    model = LinearRegression(fit_intercept=False).fit(centred, Y)
    found = Influence(model, centred, Y).effect(edits.remove(7), centred, of="predict").values
    kept = np.delete(np.arange(N), 7)
    refit = LinearRegression(fit_intercept=False).fit(centred[kept], Y[kept])
    assert_allclose(found, refit.predict(centred) - model.predict(centred), atol=1e-10)
