"""Sets of rows that hold conclusions up: verified by refits, never below what cannot be."""

import itertools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.svm import SVR

from skinfluence import Influence, metrics
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.robustness import coef, metric, order, prediction, smallest_flip
from skinfluence.robustness.bounds import lower_bound
from skinfluence.svm import SVC, LinearSVC
from tests.versions import l1_logistic

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 500}
Xc, yc = load_breast_cancer(return_X_y=True)
Xc = scale(Xc)[:, :10]
Xd, yd = load_diabetes(return_X_y=True)
Xd, yd = 10.0 * Xd, yd - yd.mean()


def refit(model, X, y, flip):
    """The model on what a flip leaves of the rows."""
    if flip.labels is None:
        return clone(model).fit(np.delete(X, flip.rows, 0), np.delete(y, flip.rows))
    y = y.copy()
    y[flip.rows] = flip.labels
    return clone(model).fit(X, y)


@pytest.mark.parametrize("j", [0, 4, 8])
@pytest.mark.parametrize("by", ["remove", "relabel"])
def test_the_sign_of_a_coefficient_is_flipped_by_the_rows_that_are_named(j, by):
    model = LogisticRegression(**NEWTON).fit(Xc, yc)
    flip = smallest_flip(Influence(model, Xc, yc), coef(j), by=by)
    after = refit(model, Xc, yc, flip).coef_[0, j]
    assert flip.found and flip.verified
    assert np.sign(after) != np.sign(model.coef_[0, j])
    np.testing.assert_allclose([flip.before, flip.after], [model.coef_[0, j], after], rtol=1e-6)
    assert 1 <= flip.lower_bound <= len(flip.rows)


def test_no_larger_than_the_first_order_set():
    """The rows by their effect on the fitted model, as few as flip the sign by true refits."""
    model = LogisticRegression(**NEWTON).fit(Xc, yc)
    inf = Influence(model, Xc, yc)
    steps = inf.influence_up_params()[:, 0, :-1]
    smaller = 0
    for j in (0, 2, 6):
        flip = smallest_flip(inf, coef(j))
        assert flip.verified
        side = np.sign(model.coef_[0, j])
        ranked = np.argsort(-side * steps[:, j])
        flipped = []
        for k in range(1, len(flip.rows) + 1):
            left = np.setdiff1d(np.arange(len(yc)), ranked[:k])
            flipped.append(side * clone(model).fit(Xc[left], yc[left]).coef_[0, j] <= 0)
        assert not any(flipped[:-1])
        smaller += not flipped[-1]
    assert smaller >= 2


SMALL = {
    "logistic": (LogisticRegression(C=1.0, **NEWTON), None),
    "ridge": (Ridge(alpha=1.0), 0.2),
    "least-squares": (LinearRegression(), 0.2),
    "poisson": (PoissonRegressor(alpha=0.3, **NEWTON), 1.5),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SMALL)
def test_the_lower_bound_is_never_above_the_smallest_set_of_all(name, seed):
    """Against true refits without every set of rows, smallest first."""
    model, level = SMALL[name]
    rng = np.random.default_rng(seed)
    X, x = rng.standard_normal((10, 2)), 1.5 * rng.standard_normal(2)
    eta = X @ [1.0, 0.5] + 0.3
    y = {
        "logistic": eta + rng.logistic(size=10) > 0,
        "poisson": rng.poisson(np.exp(0.5 * eta)),
    }.get(name, eta + 0.5 * rng.standard_normal(10))
    model = clone(model).fit(X, y)

    def above(one):
        if level is None:
            return one.decision_function([x])[0] > 0
        return one.predict([x])[0] > level

    def best():
        for k in (1, 2):
            for rows in itertools.combinations(range(10), k):
                y_left = np.delete(y, rows)
                if (level is None and len(np.unique(y_left)) < 2) or not np.any(y_left):
                    continue
                if above(clone(model).fit(np.delete(X, rows, 0), y_left)) != above(model):
                    return k
        return 3

    flip = smallest_flip(Influence(model, X, y), prediction(x, level), max_rows=5)
    smallest = best()
    assert flip.lower_bound <= smallest
    if smallest < 3:
        assert flip.verified and len(flip.rows) == smallest


@pytest.mark.parametrize(
    "kind, by", [("logistic", "remove"), ("logistic", "relabel"), ("poisson", "remove")]
)
def test_a_bound_of_two_says_that_no_row_alone_does_it(kind, by):
    """Against a refit for each row, on rows of leverages up to a half; the penalty is held as a sum and as a mean."""
    X, y = Xc[:60, :6], yc[:60]
    model = LogisticRegression(C=10.0, **NEWTON)
    if kind == "poisson":
        y = np.random.default_rng(0).poisson(np.exp(X[:, 0]))
        model = PoissonRegressor(alpha=0.01, **NEWTON)
    model = model.fit(X, y)
    inf, alone = Influence(model, X, y), []
    for i in range(len(y)):
        rows, labels = np.delete(np.arange(len(y)), i), y.copy()
        if by == "relabel":
            rows, labels[i] = np.arange(len(y)), 1 - y[i]
        alone.append(np.ravel(clone(model).fit(X[rows], labels[rows]).coef_))
    flips = (np.sign(alone) != np.sign(np.ravel(model.coef_))).any(axis=0)
    bounds = []
    for j in range(X.shape[1]):
        conclusion = coef(j)
        conclusion.begin(inf)
        bounds.append(lower_bound(inf, conclusion, by, 20, True))
    np.testing.assert_array_equal(np.array(bounds) > 1, ~flips)
    assert not flips.all()


@pytest.mark.parametrize("by", ["remove", "relabel"])
def test_conclusions_that_many_rows_hold_up_need_many(by):
    """The bound is not one where it need not be, and the set that is found is above it."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 2))
    y = (X[:, 0] + 0.3 * X[:, 1] + rng.logistic(size=3000) > 0).astype(int)
    model = LogisticRegression(**NEWTON).fit(X, y)
    flip = smallest_flip(Influence(model, X, y), coef(1), by=by, max_rows=600)
    assert 20 < flip.lower_bound <= len(flip.rows)
    assert flip.verified


def test_a_bound_for_least_squares_is_close():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 2))
    y = X @ [1.0, 0.15] + rng.standard_normal(2000)
    flip = smallest_flip(Influence(LinearRegression().fit(X, y), X, y), coef(1))
    assert 0.5 * len(flip.rows) < flip.lower_bound <= len(flip.rows)


def test_metrics_and_orders_flip_too():
    model = LogisticRegression(C=0.1, **NEWTON).fit(Xc[:400], yc[:400])
    inf, at = Influence(model, Xc[:400], yc[:400]), (Xc[400:], yc[400:])
    f = metrics.auroc(temperature=0)
    now = f(model.decision_function(at[0]), at[1])
    # Single rows mostly change no rank: they are ranked by the smoothed one.
    smooth = metrics.auroc(temperature=1.0)
    flip = smallest_flip(inf, metric(f, *at, level=now - 0.002, ranked_by=smooth), max_rows=150)
    assert flip.verified
    after = refit(model, Xc[:400], yc[:400], flip)
    assert f(after.decision_function(at[0]), at[1]) <= now - 0.002
    eta = model.decision_function(at[0])
    first, second = np.argsort(eta)[[80, 82]]
    flip = smallest_flip(inf, order(at[0][first], at[0][second]))
    after = refit(model, Xc[:400], yc[:400], flip).decision_function(at[0])
    assert flip.verified and eta[first] < eta[second] and after[first] >= after[second]


Xi, yi = load_iris(return_X_y=True)
# A row whose class is a matter of few rows, by model.
OTHERS = {
    "svc": (SVC(C=1.0, gamma=0.5), Xi, yi),
    "linear-hinge": (LinearSVC(loss="hinge", C=0.1), Xc[:200], yc[:200]),
    "squared-hinge": (LinearSVC(C=0.1), Xc[:200], yc[:200]),
    "softmax": (LogisticRegression(C=0.1, **NEWTON), Xi, yi),
    "pipeline": (
        make_pipeline(StandardScaler(), LogisticRegression(**NEWTON)),
        Xi[50:, :2],
        yi[50:],
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_kind_of_classifier_is_searched(name):
    model, X, y = OTHERS[name]
    model = clone(model).fit(X, y)
    eta = model.decision_function(X)
    far = np.sort(eta, axis=1)[:, -2:] if eta.ndim > 1 else np.column_stack([0 * eta, np.abs(eta)])
    i = np.argsort(far[:, 1] - far[:, 0])[1]
    flip = smallest_flip(Influence(model, X, y), prediction(X[i]))
    assert flip.found and flip.verified
    assert refit(model, X, y, flip).predict(X[[i]]) != model.predict(X[[i]])


NAMED = np.array(["no", "yes"])[yc[:200]]
LATER = {
    "l1-logistic": (
        l1_logistic(solver="saga", C=0.3, tol=1e-8, max_iter=10**5),
        Xc[:200],
        NAMED,
    ),
    "gaussian-nb": (GaussianNB(), Xc[:200], NAMED),
    "naive-bayes-of-three": (GaussianNB(), Xi, yi),
    "lda": (LinearDiscriminantAnalysis(), Xc[:200], NAMED),
    "lda-of-three": (LinearDiscriminantAnalysis(), Xi, yi),
    "neighbours": (KNeighborsClassifier(4), Xi, yi),
}


@pytest.mark.parametrize("name", LATER)
def test_closed_forms_and_few_columns_are_searched(name):
    """A classifier without a decision function has a score, or a share of votes, for each class."""
    model, X, y = LATER[name]
    model = clone(model).fit(X, y)
    chance = np.sort(model.predict_proba(X), axis=1)
    i = np.argsort(chance[:, -1] - chance[:, -2])[3]
    inf = Influence(model, X, y)
    flip = smallest_flip(inf, prediction(X[i]), max_rows=60)
    if name == "neighbours" and not flip.found:
        # Votes change in steps, and no single row may change one.
        return
    assert flip.found and flip.verified
    assert refit(model, X, y, flip).predict(X[[i]]) != model.predict(X[[i]])
    if not hasattr(model, "decision_function"):
        with pytest.raises(ValueError, match="An order needs one decision value per row"):
            smallest_flip(inf, order(X[0], X[1]))


@pytest.mark.parametrize("model", [SVR(C=20.0, tol=1e-8), Lasso(alpha=0.5, tol=1e-10)], ids=str)
def test_regressions_with_kinks_are_searched(model):
    model = clone(model).fit(Xd[:100], yd[:100])
    now = model.predict(Xd[[200]])[0]
    flip = smallest_flip(Influence(model, Xd[:100], yd[:100]), prediction(Xd[200], level=now - 5.0))
    assert flip.verified
    assert refit(model, Xd[:100], yd[:100], flip).predict(Xd[[200]])[0] <= now - 5.0


def test_kernel_ridge_regression_is_searched():
    model = KernelRidge(kernel="rbf", alpha=1.0, gamma=0.5).fit(Xd[:150], yd[:150])
    now = model.predict(Xd[[200]])[0]
    flip = smallest_flip(
        Influence(model, Xd[:150], yd[:150]), prediction(Xd[200], level=now - 15.0)
    )
    assert flip.verified
    assert refit(model, Xd[:150], yd[:150], flip).predict(Xd[[200]])[0] <= now - 15.0


def test_refits_of_transformed_targets_heed_weights(rng):
    """What hands the weights on to the model inside takes them."""
    X = rng.standard_normal((60, 3))
    y, weight = X[:, 0] + rng.standard_normal(60), rng.uniform(0.5, 2.0, 60)
    model = TransformedTargetRegressor(Ridge(), transformer=StandardScaler())
    model.fit(X, y, sample_weight=weight)
    level = float(model.predict(X[:1])[0]) - 0.1
    flip = smallest_flip(Influence(model, X, y, weight), prediction(X[:1], level=level))
    left = np.delete(np.arange(60), flip.rows)
    refit = clone(model).fit(X[left], y[left], sample_weight=weight[left])
    assert flip.verified
    assert refit.predict(X[:1])[0] < level


def test_what_was_not_found_is_said():
    model = LogisticRegression(**NEWTON).fit(Xc, yc)
    flip = smallest_flip(Influence(model, Xc, yc), coef(7), max_rows=2)
    assert not flip.found and not flip.verified and not len(flip.rows) and np.isnan(flip.after)
    assert str(flip).startswith("No set of up to 2 rows was found that flips it.")


def test_what_is_no_conclusion_is_refused():
    model = LogisticRegression(**NEWTON).fit(Xc, yc)
    inf = Influence(model, Xc, yc)
    with pytest.raises(TypeError, match="what must be one of"):
        smallest_flip(inf, "coef")
    with pytest.raises(ValueError, match="by must be one of"):
        smallest_flip(inf, coef(0), by="forget")
    with pytest.raises(ValueError, match="max_rows must lie between"):
        smallest_flip(inf, coef(0), max_rows=0)
    with pytest.raises(ValueError, match="There must be such a coefficient"):
        smallest_flip(inf, coef(10))
    with pytest.raises(TypeError, match=r"named by whole numbers.*Got 'age'"):
        smallest_flip(inf, coef("age"))
    with pytest.raises(ValueError, match="level= is for regressions"):
        smallest_flip(inf, prediction(Xc[0], level=0.5))
    regression = Influence(Ridge().fit(Xd, yd), Xd, yd)
    with pytest.raises(ValueError, match="needs a level="):
        smallest_flip(regression, prediction(Xd[0]))
    with pytest.raises(ValueError, match="needs a classifier"):
        smallest_flip(regression, coef(0), by="relabel")
