"""An offset stands beside the decision values: answers are those of refits with it, written out here."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    TweedieRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits
from skinfluence.cleaning import audit
from skinfluence.diagnostics import cooks_distance, leverage, resid_studentized_internal
from skinfluence.inference import covariance, standard_error
from skinfluence.robustness import coef, smallest_flip
from skinfluence.unlearning import forget

N = 40
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
OFFSET, WEIGHT = rng.uniform(-1.0, 1.0, N), rng.uniform(0.5, 2.0, N)
ETA = X @ [0.5, -0.3, 0.2] + 0.2 + OFFSET
ALL = np.arange(N)


class Case:
    """A model, its targets, and its loss with two derivatives, none of them ours."""

    def __init__(self, model, y, other, loss, first, second):
        self.model, self.y, self.other = model, y, other
        self.loss, self.first, self.second = loss, first, second

    def penalty(self, w):
        """``C`` is held, ``alpha`` is a share of the weight."""
        return 1.0 / self.model.C if hasattr(self.model, "C") else self.model.alpha * w.sum()

    def refit(self, X, y, w, o):
        """Coefficients and then the intercept, by Newton's method from zero."""
        Z = np.column_stack([X, np.ones(len(X))])
        R = np.append(np.full(X.shape[1], self.penalty(w)), 0.0)
        theta = np.zeros(Z.shape[1])
        for _ in range(60):
            eta = Z @ theta + o
            gradient = Z.T @ (w * self.first(eta, y)) + R * theta
            hessian = (Z * (w * self.second(eta, y))[:, None]).T @ Z + np.diag(R)
            step = np.linalg.solve(hessian, gradient)
            theta = theta - step
            if np.abs(step).max() < 1e-14:
                break
        return theta

    def without(self, rows, X=X):
        left = np.delete(ALL, rows)
        return self.refit(X[left], self.y[left], WEIGHT[left], OFFSET[left])

    def fitted(self, theta, X=X):
        """An estimator of scikit-learn at parameters that it could not have fitted."""
        model = type(self.model)(**self.model.get_params()).fit(X, self.y, WEIGHT)
        model.coef_ = np.reshape(theta[:-1], np.shape(model.coef_))
        model.intercept_ = np.reshape(theta[-1], np.shape(model.intercept_))
        return model


def tweedie(p):
    a, b = 2.0 - p, 1.0 - p
    return (
        lambda e, y: np.exp(a * e) / a - y * np.exp(b * e) / b,
        lambda e, y: np.exp(a * e) - y * np.exp(b * e),
        lambda e, y: a * np.exp(a * e) - b * y * np.exp(b * e),
    )


COUNTS = rng.poisson(np.exp(ETA)).astype(float)
AMOUNTS = rng.gamma(2.0, np.exp(ETA) / 2.0)
CASES = {
    "logistic": Case(
        LogisticRegression(C=2.0),
        (rng.uniform(size=N) < expit(ETA)).astype(int),
        lambda y: 1 - y,
        lambda e, y: np.logaddexp(0.0, e) - y * e,
        lambda e, y: expit(e) - y,
        lambda e, y: expit(e) * expit(-e),
    ),
    "poisson": Case(
        PoissonRegressor(alpha=0.1),
        COUNTS,
        lambda y: y + 2.0,
        lambda e, y: np.exp(e) - y * e,
        lambda e, y: np.exp(e) - y,
        lambda e, y: np.exp(e),
    ),
    "gamma": Case(
        GammaRegressor(alpha=0.1),
        AMOUNTS,
        lambda y: 2.0 * y,
        lambda e, y: e + y * np.exp(-e),
        lambda e, y: 1.0 - y * np.exp(-e),
        lambda e, y: y * np.exp(-e),
    ),
    "tweedie": Case(
        TweedieRegressor(power=1.5, alpha=0.1), AMOUNTS, lambda y: 2.0 * y, *tweedie(1.5)
    ),
}


def with_one(X):
    return np.column_stack([X, np.ones(len(X))])


@pytest.fixture(params=CASES)
def asked(request):
    case = CASES[request.param]
    theta = case.refit(X, case.y, WEIGHT, OFFSET)
    return case, theta, Influence(case.fitted(theta), X, case.y, WEIGHT, OFFSET)


def test_leave_one_out_is_a_refit_with_the_offsets_of_the_others(asked):
    """rtol=1e-9: Newton's method on both sides, from different starts."""
    case, theta, inf = asked
    rows = [0, 7, 31]
    eta = np.array([with_one(X)[i] @ case.without(i) + OFFSET[i] for i in rows])
    change = np.abs(eta - with_one(X)[rows] @ theta - OFFSET[rows]).max()
    found = inf.loo_decision_function(method="exact", indices=rows)
    assert_allclose(found, eta, atol=1e-9 * change)
    assert_allclose(inf.loo_decision_function(indices=rows), eta, atol=2e-3 * change)
    if inf.objective.labels is None:
        assert_allclose(inf.loo_predict(method="exact", indices=rows), np.exp(eta), rtol=1e-9)
    else:
        proba = inf.loo_predict_proba(method="exact", indices=rows)
        assert_allclose(proba, np.column_stack([expit(-eta), expit(eta)]), rtol=1e-9)


def test_every_kind_of_edit_is_a_refit_and_rows_keep_or_bring_their_offsets(asked):
    """And so are the models after it, twice."""
    case, theta, inf = asked
    y, other = case.y, case.other
    edit = edits.remove([1, 5]) + edits.relabel(3, other(y[3])) + edits.reweight(6, 0.3)
    edit += edits.replace(9, X[9] * 1.1) + edits.replace(10, X[10] * 1.1, y[7])
    edit += edits.add(X[0] + 0.1, y[7], 1.5, offset=0.7)
    X2, y2, w2 = X.copy(), y.copy(), WEIGHT.copy()
    X2[[9, 10]] *= 1.1
    y2[3], y2[10], w2[6] = other(y[3]), y[7], 0.3
    left = np.delete(ALL, [1, 5])
    rows = np.vstack([X2[left], X[0] + 0.1]), np.append(y2[left], y[7])
    beside = np.append(w2[left], 1.5), np.append(OFFSET[left], 0.7)
    after = case.refit(*rows, *beside)
    at, o = with_one(X[:6]), OFFSET[:6]
    moved = inf.effect(edit, X[:6], of="decision_function", method="exact").values
    assert_allclose(moved, at @ (after - theta), atol=1e-9 * np.abs(moved).max())
    losses = [case.loss(at @ t + o, y[:6]) for t in (theta, after)]
    found = inf.effect(edit, X[:6], y[:6], offset=o, method="exact").values
    assert_allclose(found, losses[1] - losses[0], atol=1e-9 * np.abs(found).max())

    model, next_one = inf.edited(edit).estimator, inf.after(edit)
    for one in (model, next_one.estimator):
        assert_allclose(np.append(one.coef_, one.intercept_), after, atol=1e-8)
    last = next_one.after(edits.add(X[3], y[4], offset=-0.2) + edits.relabel(N, y[5])).estimator
    y3 = np.append(np.append(y2[left], y[5]), y[4])
    again = case.refit(
        np.vstack([rows[0], X[3]]), y3, np.append(beside[0], 1.0), np.append(beside[1], -0.2)
    )
    assert_allclose(np.append(last.coef_, last.intercept_), again, atol=1e-8)


def test_questions_of_all_rows_agree_with_edits_one_by_one(asked):
    """Removals, groups, relabellings, and the derivative, whose effect is that of a small weight."""
    case, _, inf = asked
    tests = {"X": X[:4], "y": case.y[:4], "offset": OFFSET[:4]}
    found = inf.removal_effect(**tests, method="exact", indices=[2, 8])
    one = inf.effect([edits.remove(2), edits.remove(8)], **tests, method="exact").values
    assert_allclose(found, one, rtol=1e-7, atol=1e-12)
    groups = ALL % 8
    found = inf.removal_effect(**tests, method="exact", groups=groups)[:, 3]
    one = inf.effect(edits.remove(np.flatnonzero(groups == 3)), **tests, method="exact").values
    assert_allclose(found, one, rtol=1e-7, atol=1e-12)
    if inf.objective.labels is not None:
        found = inf.relabel_effect(**tests, method="exact", indices=[2])[:, 0]
        one = inf.effect(edits.relabel(2, 1 - case.y[2]), **tests, method="exact").values
        assert_allclose(found[:, 1 - case.y[2]], one, rtol=1e-7, atol=1e-12)
    # Up-weighting by eps moves the loss by eps / n times the derivative, the penalty held.
    eps, row = 1e-4, 11
    up, down = (
        inf.effect(edits.reweight(row, WEIGHT[row] + s * eps), **tests, method="exact", hold="C")
        for s in (1, -1)
    )
    slope = N * (up.values - down.values) / (2.0 * eps)
    held = Influence(inf.estimator, X, case.y, WEIGHT, OFFSET, hold="C")
    assert_allclose(held.influence_up_loss(**tests)[:, row], slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("how", [{"precision": "mixed"}, {"solver": "cg"}])
def test_other_ways_to_solve_say_the_same(how):
    case = CASES["logistic"]
    theta = case.refit(X, case.y, WEIGHT, OFFSET)
    data = case.fitted(theta), X, case.y, WEIGHT, OFFSET
    tests = {"X": X[:4], "y": case.y[:4], "offset": OFFSET[:4], "method": "one-step"}
    found = Influence(*data, **how).removal_effect(**tests)
    assert_allclose(found, Influence(*data).removal_effect(**tests), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("step", [StandardScaler(), SelectKBest(k=2)], ids=["scaled", "chosen"])
@pytest.mark.parametrize("name", ["logistic", "poisson"])
def test_pipelines_are_fitted_again_with_the_offsets_of_the_rows_that_are_left(name, step):
    case, row = CASES[name], 4
    Z = step.fit_transform(X, case.y)
    model = case.fitted(case.refit(Z, case.y, WEIGHT, OFFSET), Z)
    inf = Influence(make_pipeline(step, model), X, case.y, WEIGHT, OFFSET)
    left = np.delete(ALL, row)
    again = type(step)(**step.get_params()).fit(X[left], case.y[left])
    theta = case.refit(again.transform(X[left]), case.y[left], WEIGHT[left], OFFSET[left])
    expected = with_one(again.transform(X[[row]])) @ theta + OFFSET[[row]]
    found = inf.loo_decision_function(method="exact", indices=[row])
    assert_allclose(found, expected, rtol=1e-8)
    edited = inf.edited(edits.remove(row)).estimator[-1]
    assert_allclose(np.append(edited.coef_, edited.intercept_), theta, atol=1e-8)
    relabelled = case.y.copy()
    relabelled[row] = case.other(case.y[row])
    again = type(step)(**step.get_params()).fit(X, relabelled)
    theta = case.refit(again.transform(X), relabelled, WEIGHT, OFFSET)
    before = with_one(Z[:3]) @ np.append(model.coef_, model.intercept_)
    found = inf.effect(
        edits.relabel(row, relabelled[row]), X[:3], of="decision_function", method="exact"
    )
    change = with_one(again.transform(X[:3])) @ theta - before
    assert_allclose(found.values, change, atol=1e-8)


def test_balanced_classes_are_weighed_again():
    """Of ``class_weight="balanced"`` by the rows that are left, as in the fit."""
    case, row = CASES["logistic"], 6
    y = case.y

    def weights(y):
        return len(y) / (2.0 * np.bincount(y))[y]

    theta = case.refit(X, y, weights(y), OFFSET)
    model = case.fitted(theta)
    model.class_weight = "balanced"
    inf = Influence(model, X, y, offset=OFFSET)
    left = np.delete(ALL, row)
    after = case.refit(X[left], y[left], weights(y[left]), OFFSET[left])
    found = inf.loo_decision_function(method="exact", indices=[row])
    assert_allclose(found, with_one(X[[row]]) @ after + OFFSET[row], rtol=1e-8)
    edited = inf.edited(edits.remove(row)).estimator
    assert_allclose(np.append(edited.coef_, edited.intercept_), after, atol=1e-8)


@pytest.mark.parametrize(("name", "power"), [("poisson", 1.0), ("gamma", 2.0), ("tweedie", 1.5)])
def test_of_an_unpenalised_log_link_diagnostics_and_covariances_are_those_of_rates(name, power):
    """Targets ``y / exp(o)`` with weights ``exp((2 - power) o)`` are the same model."""
    case = CASES[name]
    free = Case(type(case.model)(alpha=0.0), case.y, None, case.loss, case.first, case.second)
    if name == "tweedie":
        free.model.power = 1.5
    model = free.fitted(free.refit(X, case.y, WEIGHT, OFFSET))
    beside = Influence(model, X, case.y, WEIGHT, OFFSET)
    rates = Influence(model, X, case.y * np.exp(-OFFSET), WEIGHT * np.exp((2.0 - power) * OFFSET))
    for of in (leverage, cooks_distance, resid_studentized_internal):
        assert_allclose(of(beside), of(rates), rtol=1e-7, atol=1e-12)
    for kind in ("nonrobust", "hc0", "hc3"):
        assert_allclose(covariance(beside, kind=kind), covariance(rates, kind=kind), rtol=1e-7)


def test_a_fit_without_the_offset_is_not_one_with_it():
    case = CASES["poisson"]
    model = PoissonRegressor(alpha=0.1).fit(X, case.y)
    with pytest.raises(ValueError, match=r"and offset must be those of the fit.*fit no offset"):
        Influence(model, X, case.y, offset=OFFSET)


def test_an_offset_of_least_squares_is_a_part_of_the_targets():
    y = ETA + rng.standard_normal(N)
    with pytest.raises(TypeError, match="y - offset"):
        Influence(LinearRegression().fit(X, y), X, y, offset=OFFSET)
    model = LinearRegression()
    found = Influence(model.fit(X, y - OFFSET), X, y - OFFSET).loo_predict(indices=[3])
    left = np.delete(ALL, 3)
    theta = np.linalg.lstsq(with_one(X[left]), (y - OFFSET)[left], rcond=None)[0]
    assert_allclose(found, with_one(X[[3]]) @ theta, rtol=1e-10)


THREE = np.digitize(ETA, [-0.5, 0.7])
REFUSED = {
    "several classes": (lambda: LogisticRegression().fit(X, THREE), THREE, OFFSET, "two classes"),
    "too few": (lambda: PoissonRegressor().fit(X, COUNTS), COUNTS, OFFSET[1:], "each of the 40"),
    "complex numbers": (lambda: PoissonRegressor().fit(X, COUNTS), COUNTS, OFFSET * 1j, "real num"),
    "strings": (lambda: PoissonRegressor().fit(X, COUNTS), COUNTS, OFFSET.astype(str), "real num"),
    "an exposure of zero": (
        lambda: PoissonRegressor().fit(X, COUNTS),
        COUNTS,
        np.append(OFFSET[1:], -np.inf),
        "exposure of zero",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_offsets_that_are_none_are_refused(name):
    fit, y, offset, words = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=words):
        Influence(fit(), X, y, offset=offset)


NEEDED = {
    "the loss": lambda inf, y: inf.removal_effect(X[:2], y[:2]),
    "predictions": lambda inf, y: inf.removal_effect(X[:2], of="predict"),
    "a callable": lambda inf, y: inf.effect(edits.remove(1), X[:2], of=np.sum),
    "a scorer": lambda inf, y: inf.removal_effect(X, y, of="r2"),
    "a derivative": lambda inf, y: inf.influence_up_loss(X[:2], y[:2]),
    "features": lambda inf, y: inf.influence_pert(X[:2], y[:2]),
    "a new row": lambda inf, y: inf.effect(edits.add(X[0], y[0]), X[:2], of="decision_function"),
    "a new row, after": lambda inf, y: inf.after(edits.add(X[0], y[0])),
}


@pytest.mark.parametrize("name", NEEDED)
def test_test_points_and_new_rows_must_bring_theirs(name):
    case = CASES["poisson"]
    theta = case.refit(X, case.y, WEIGHT, OFFSET)
    inf = Influence(case.fitted(theta), X, case.y, WEIGHT, OFFSET)
    with pytest.raises(ValueError, match="must come with"):
        NEEDED[name](inf, case.y)
    without = Influence(PoissonRegressor().fit(X, case.y), X, case.y)
    with pytest.raises(ValueError, match="for models with one"):
        without.removal_effect(X[:2], case.y[:2], offset=0.0)
    with pytest.raises(ValueError, match="for models with one"):
        without.after(edits.add(X[0], case.y[0], offset=0.0))


FITTED_AGAIN = {
    "audits": lambda inf, y: audit(inf.estimator, X, y, influence=inf),
    "flips": lambda inf, y: smallest_flip(inf, coef(0)),
    "receipts": lambda inf, y: forget(inf, [1]),
    "errors of metrics": lambda inf, y: standard_error(inf, "accuracy", X, y),
}


@pytest.mark.parametrize("name", FITTED_AGAIN)
def test_what_fits_estimators_again_is_refused(name):
    case = CASES["logistic"]
    theta = case.refit(X, case.y, np.ones(N), OFFSET)
    inf = Influence(case.fitted(theta), X, case.y, offset=OFFSET)
    with pytest.raises(TypeError, match="without an offset"):
        FITTED_AGAIN[name](inf, case.y)
