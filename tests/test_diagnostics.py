"""Diagnostics are statsmodels' where it has them, and true deletions where they mean one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import base, linear_model
from sklearn.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor

import skinfluence.linear_model as ours
from skinfluence import Influence, diagnostics
from skinfluence.losses import Multinomial, SumToZero
from skinfluence.objective import objective_of
from skinfluence.smooth.answers import SmoothAnswers
from skinfluence.solvers import Exact
from tests.registries import make_data
from tests.truth import parameters_of, polish, relative_error

GOLD = json.loads((Path(__file__).parent / "gold" / "statsmodels.json").read_text())
NAMES = [name for name in diagnostics.__all__ if name != "dispersion"]
TIGHT = {"tol": 1e-12, "max_iter": 1000, "solver": "newton-cholesky"}
MODELS = {
    "gaussian": linear_model.LinearRegression(tol=1e-15),
    "binomial": linear_model.LogisticRegression(C=np.inf, **TIGHT),
    "poisson": PoissonRegressor(alpha=0.0, **TIGHT),
    "gamma": GammaRegressor(alpha=0.0, **TIGHT),
    "tweedie": TweedieRegressor(power=1.5, alpha=0.0, **TIGHT),
}
# Links for which the observed Hessian is the expected one.
CANONICAL = ("gaussian", "binomial", "poisson")


def gold_case(key):
    gold = {name: np.asarray(values) for name, values in GOLD[key].items()}
    X, y, weight = gold["X"], gold["y"], gold["weight"]
    model = MODELS[key.partition("-")[0]].fit(X, y, sample_weight=weight)
    return gold, Influence(model, X, y, weight)


@pytest.mark.parametrize("key", GOLD)
def test_unpenalised_models_give_the_values_of_statsmodels(key):
    gold, influence = gold_case(key)
    same = {"leverage", "dispersion", "resid_studentized_internal"}
    if key.partition("-")[0] in CANONICAL:
        same |= set(gold) & set(diagnostics.__all__)
    for name in same:
        found = np.squeeze(getattr(diagnostics, name)(influence))
        np.testing.assert_allclose(found, gold[name], rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("key", [k for k in GOLD if k.partition("-")[0] not in CANONICAL])
def test_other_links_take_the_newton_step(key):
    """statsmodels' step has the root of observed times expected information for the gradient."""
    gold, influence = gold_case(key)
    objective = influence.objective
    loss, eta = objective.loss, objective.eta[:, 0]
    ratio = np.exp((2 - loss.power) * eta) / objective.hessians[:, 0, 0]
    found = diagnostics.cooks_distance(influence)
    np.testing.assert_allclose(found, gold["cooks_distance"] * ratio, rtol=1e-8)


# Deletion --------------------------------------------------------------------------------------

DELETED = {
    "ridge": (linear_model.Ridge(alpha=2.0, solver="cholesky"), "regression"),
    "least-squares": (linear_model.LinearRegression(), "regression"),
    "ridge-classifier": (linear_model.RidgeClassifier(alpha=2.0, solver="cholesky"), "softmax"),
    "logistic": (linear_model.LogisticRegression(C=0.5, **TIGHT), "binary"),
    "softmax": (linear_model.LogisticRegression(C=0.5, **TIGHT), "softmax"),
    "liblinear": (
        linear_model.LogisticRegression(solver="liblinear", intercept_scaling=3.0, tol=1e-10),
        "binary",
    ),
    "poisson": (PoissonRegressor(alpha=0.1, **TIGHT), "counts"),
    "gamma": (GammaRegressor(alpha=0.1, **TIGHT), "positive"),
}
EVERY = pytest.mark.parametrize("name", DELETED)


def data_for(task, n=30, d=3):
    kind = task if task in ("binary", "softmax", "regression") else "regression"
    X, y = make_data(kind, n, d, 3)
    rng = np.random.default_rng(4)
    if task == "counts":
        y = rng.poisson(np.exp(0.3 * X[:, 0])).astype(float)
    elif task == "positive":
        y = rng.gamma(2.0, np.exp(0.3 * X[:, 0]))
    return X, y, rng.uniform(0.5, 2.0, n)


def case(name):
    model, task = DELETED[name]
    X, y, weight = data_for(task)
    return Influence(model.fit(X, y, sample_weight=weight), X, y, weight)


def refits(name, rows):
    """The optimum with all rows, and without each of some rows."""
    model, task = DELETED[name]
    X, y, weight = data_for(task)
    whole = polish(objective_of(model.fit(X, y, sample_weight=weight), X, y, weight))
    left = []
    for i in rows:
        keep = np.arange(len(y)) != i
        model.fit(X[keep], y[keep], sample_weight=weight[keep])
        left.append(polish(objective_of(model, X[keep], y[keep], weight[keep]), 3))
    return whole, left


@EVERY
def test_cooks_distance_is_that_of_refits(name):
    """The change of the parameters in the norm of the Hessian over edf and dispersion."""
    influence = case(name)
    rows = [0, 7, 19]
    whole, left = refits(name, rows)
    H = influence.answers.factor.curvature
    steps = [(one.theta - whole.theta).ravel() for one in left]
    scale = diagnostics.leverage(influence).sum() * diagnostics.dispersion(influence)
    expected = np.array([step @ (H @ step) for step in steps]) / scale
    exact = diagnostics.cooks_distance(influence, method="exact")
    np.testing.assert_allclose(exact[rows], expected, rtol=1e-6)
    one_step = diagnostics.cooks_distance(influence)
    auto = diagnostics.cooks_distance(influence, method="auto")
    np.testing.assert_allclose(auto, exact, rtol=5e-3)
    tight = 1e-9 if "ridge" in name or "squares" in name else 0.3
    np.testing.assert_allclose(one_step[rows], expected, rtol=tight)


@EVERY
def test_dfbetas_and_dffits_are_those_of_refits(name):
    influence = case(name)
    rows = [0, 7, 19]
    whole, left = refits(name, rows)
    objective, factor = influence.objective, influence.answers.factor
    E = objective.loss.expand(np.eye(objective.loss.n_outputs))
    k, d = objective.theta.shape
    inverse = np.linalg.inv(factor.curvature.dense()).reshape(k, d, k, d)
    variance = np.einsum("ak,acbc,bk->kc", E, inverse, E)
    units = np.append(np.ones(d - 1), objective.design.intercept)
    h = np.einsum("ak,iab,bk->ik", E, factor.leverages(), E)
    found = diagnostics.dfbetas(influence, method="exact")
    fits = diagnostics.dffits(influence, method="exact").reshape(len(h), -1)
    phi = [diagnostics.dispersion(influence)] * len(rows)
    if "ridge" in name or "squares" in name:
        phi = [dispersion_of(one) for one in left]
    for i, one, scale in zip(rows, left, phi, strict=True):
        step = parameters_of(whole) - parameters_of(one)
        expected = step / (np.sqrt(scale * variance) * units)
        assert relative_error(found[i], expected) < 1e-6
        moved = (objective.design.dense_rows()[i] / units) @ step.T
        np.testing.assert_allclose(fits[i], moved / np.sqrt(scale * h[i]), rtol=1e-6, atol=1e-9)
    assert found.shape == (objective.n_samples, E.shape[1], d)


def dispersion_of(objective):
    """Of squared error, from the definition: dense hat matrix, residuals, degrees of freedom."""
    J = objective.design.dense_rows()
    A = (J.T * objective.weights) @ J
    k = len(objective.theta)
    edf = k * np.trace(np.linalg.solve(A + np.diag(objective.penalty), A))
    rss = (objective.weights[:, None] * objective.gradients**2).sum()
    return rss / (k * len(J) - edf)


@pytest.mark.parametrize("name", ["ridge", "least-squares", "ridge-classifier"])
def test_external_residuals_have_the_dispersion_of_refits(name):
    influence = case(name)
    rows = [0, 7, 19]
    _, left = refits(name, rows)
    internal = diagnostics.resid_studentized_internal(influence)[rows]
    external = diagnostics.resid_studentized_external(influence)[rows]
    phi = np.array([dispersion_of(one) for one in left]).reshape(-1, *[1] * (internal.ndim - 1))
    expected = internal * np.sqrt(diagnostics.dispersion(influence) / phi)
    np.testing.assert_allclose(external, expected, rtol=1e-9)


@EVERY
def test_leverage_is_the_trace_of_the_hat_matrix(name):
    influence = case(name)
    objective = influence.objective
    J = np.einsum("id,ab->iabd", objective.design.dense_rows(), np.eye(len(objective.theta)))
    J = J.reshape(*J.shape[:2], -1)
    H = influence.answers.factor.curvature.dense()
    own = np.einsum("iap,pq,ibq->iab", J, np.linalg.inv(H), J)
    expected = objective.weights * np.einsum("iab,iba->i", objective.hessians, own)
    np.testing.assert_allclose(diagnostics.leverage(influence), expected, rtol=1e-9)


def test_two_classes_have_the_residuals_of_their_softmax():
    """The binary formula is the multinomial one: plus and minus the same number."""
    influence = case("logistic")
    objective = influence.objective
    loss = SumToZero(Multinomial(2))
    # eta = Q zeta: the difference of the two outputs is sqrt(2) zeta, up to its sign.
    sign = np.sign(loss.basis[1, 0])
    softmax = replace(
        objective,
        loss=loss,
        theta=sign * objective.theta / np.sqrt(2.0),
        penalty=2.0 * objective.penalty,
    )
    parts = SmoothAnswers(Exact().factor(softmax), Exact()).deletions()
    expected = diagnostics.resid_studentized_internal(influence)
    both = np.column_stack([-expected, expected])
    np.testing.assert_allclose(parts.scaled_residuals, both, rtol=1e-9)
    np.testing.assert_allclose(parts.leverage, diagnostics.leverage(influence), rtol=1e-9)


def test_more_columns_than_rows():
    """The dual factor gives the same numbers; a penalty leaves degrees of freedom."""
    X, y = make_data("regression", 15, 40, 0)
    model = ours.Ridge(alpha=20.0).fit(X, y)
    dual = Influence(model, X, y)
    primal = Influence(model, X, y, solver=Exact("primal"))
    assert "dual" in dual.report().solver.lower()
    for name in NAMES:
        question = getattr(diagnostics, name)
        assert np.isfinite(question(dual)).all()
        np.testing.assert_allclose(question(dual), question(primal), rtol=1e-7)


def test_a_fitted_estimator_is_enough():
    X, y = make_data("softmax", 40, 3, 0)
    model = ours.LogisticRegression().fit(X, y)
    influence = Influence(model, X, y)
    for name in [n for n in NAMES if n != "resid_studentized_external"]:
        question = getattr(diagnostics, name)
        np.testing.assert_array_equal(question(model), question(influence))


def test_rows_of_weight_zero_do_not_count():
    X, y = make_data("regression", 30, 3, 0)
    weight = np.ones(30)
    weight[:5] = 0.0
    part = Influence(linear_model.Ridge().fit(X[5:], y[5:]), X[5:], y[5:])
    whole = Influence(linear_model.Ridge().fit(X, y, sample_weight=weight), X, y, weight)
    for name in NAMES:
        question = getattr(diagnostics, name)
        np.testing.assert_allclose(question(whole)[5:], question(part), rtol=1e-7)
    assert not diagnostics.leverage(whole)[:5].any()
    assert not diagnostics.cooks_distance(whole)[:5].any()


def test_the_only_row_of_a_class_has_no_deletion():
    X, y = make_data("softmax", 30, 3, 0)
    y[0] = 99
    influence = Influence(linear_model.LogisticRegression(max_iter=2000).fit(X, y), X, y)
    for method in ("one-step", "exact"):
        for name in ("cooks_distance", "dfbetas", "dffits"):
            with pytest.warns(UserWarning, match="only one of its class"):
                found = getattr(diagnostics, name)(influence, method=method)
            assert np.isnan(found[0]).all() and np.isfinite(found[1:]).all()


@pytest.mark.parametrize(
    ("question", "model", "task", "error", "message"),
    [
        ("resid_studentized_external", ours.LogisticRegression(), "binary", ValueError, "internal"),
        ("leverage", linear_model.Ridge(), "regression", TypeError, r"Influence\(estimator"),
        ("leverage", "a string", "regression", TypeError, "Influence"),
    ],
)
def test_what_is_refused(question, model, task, error, message):
    X, y = make_data(task, 30, 3, 0)
    model = model.fit(X, y) if hasattr(model, "fit") else model
    with pytest.raises(error, match=message):
        getattr(diagnostics, question)(model)


def test_no_degrees_of_freedom():
    X, y = make_data("regression", 4, 3, 0)
    model = ours.LinearRegression().fit(X, y)
    with pytest.raises(ValueError, match="degrees of freedom"):
        diagnostics.dispersion(model)


@pytest.mark.parametrize("method", ["newton", None])
def test_methods_are_those_of_effects(method):
    influence = case("logistic")
    for name in ("cooks_distance", "dfbetas", "dffits"):
        with pytest.raises(ValueError, match="method must be"):
            getattr(diagnostics, name)(influence, method=method)
    with pytest.raises(ValueError, match="tol must lie"):
        diagnostics.cooks_distance(influence, method="auto", tol=2.0)


# Leverages of 1 and near it -------------------------------------------------------------------


def solved(A, B):
    """Gaussian elimination in long double."""
    A, B = np.array(A, np.longdouble), np.array(B, np.longdouble)
    for j in range(len(A)):
        pivot = j + np.argmax(np.abs(A[j:, j]))
        A[[j, pivot]], B[[j, pivot]] = A[[pivot, j]], B[[pivot, j]]
        for i in range(len(A)):
            if i != j:
                share = A[i, j] / A[j, j]
                A[i] -= share * A[j]
                B[i] -= share * B[j]
    return B / np.diag(A)[:, None]


def long_fit(X, y, alpha):
    """Parameters, residuals, leverages, dispersion and H of ridge regression, in long double."""
    J = np.column_stack([X, np.ones(len(X))]).astype(np.longdouble)
    J[:, :-1] -= (centre := J[:, :-1].mean(axis=0))
    H = J.T @ J + np.diag(np.append(np.full(X.shape[1], alpha), 0.0))
    theta = solved(H, (J.T @ y)[:, None])[:, 0]
    e, h = y - J @ theta, np.einsum("ij,ji->i", J, solved(H, J.T))
    theta[-1] -= theta[:-1] @ centre
    return theta, e, h, (e**2).sum() / (len(y) - h.sum())


def long_diagnostics(X, y, alpha, rows):
    """What the functions return for some rows, by refits in long double."""
    theta, e, h, phi = long_fit(X, y, alpha)
    out = {name: [] for name in ("dfbetas", "dffits", "cooks_distance")}
    out["resid_studentized_external"] = []
    J = np.column_stack([X, np.ones(len(X))]).astype(np.longdouble)
    H = J.T @ J + np.diag(np.append(np.full(X.shape[1], alpha), 0.0))
    errors = np.sqrt(np.diag(solved(H, np.eye(len(H)))))
    for i in rows:
        other, _, _, phi_i = long_fit(np.delete(X, i, axis=0), np.delete(y, i), alpha)
        d = theta - other
        out["dfbetas"].append(d / errors / np.sqrt(phi_i))
        out["dffits"].append(J[i] @ d / np.sqrt(phi_i * h[i]))
        out["cooks_distance"].append(d @ H @ d / h.sum() / phi)
        out["resid_studentized_external"].append(e[i] / np.sqrt(phi_i * (1 - h[i])))
    out["resid_studentized_internal"] = e[rows] / np.sqrt(phi * (1 - h[rows]))
    return {name: np.array(values, float) for name, values in out.items()}


def a_category_seen_once(n=30):
    rng = np.random.default_rng(0)
    return np.column_stack([rng.standard_normal(n), np.arange(n) == 5]), rng.standard_normal(n)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "leverage"])
def test_a_row_of_leverage_one_takes_nothing_from_the_others(name):
    X, y = a_category_seen_once()
    model = ours.LinearRegression().fit(X, y)
    others = np.delete(np.arange(30), 5)
    with pytest.warns(UserWarning, match="Row 5 has leverage 1") as caught:
        found = np.squeeze(getattr(diagnostics, name)(model))
    assert len(caught) == 1
    assert np.isnan(found[5]).all()
    expected = long_diagnostics(X, y, 0.0, others)[name]
    np.testing.assert_allclose(found[others], expected, rtol=1e-9)


def test_a_row_of_leverage_one_has_no_deletion_in_other_models_either():
    """A count that one parameter takes up, and one of several outputs."""
    X, _ = a_category_seen_once()
    y = np.random.default_rng(3).poisson(2.0, 30) + 1.0
    poisson = PoissonRegressor(alpha=0.0, **TIGHT).fit(X, y)
    labels = np.arange(30) % 3
    classifier = linear_model.RidgeClassifier(alpha=1e-14, solver="svd").fit(X, labels)
    for model, target, names in (
        (poisson, y, ("cooks_distance", "dfbetas", "resid_studentized_internal")),
        (classifier, labels, ("dfbetas", "resid_studentized_internal")),
    ):
        influence = Influence(model, X, target)
        for name in names:
            with pytest.warns(UserWarning, match="Row 5 has leverage 1"):
                found = getattr(diagnostics, name)(influence)
            assert np.isnan(found[5]).all()
            assert np.isfinite(np.delete(found, 5, axis=0)).all()
    # However weak the penalty, the fit without the row is there, and so is its distance.
    refit = base.clone(classifier).fit(np.delete(X, 5, axis=0), np.delete(labels, 5))
    moved = np.column_stack(
        [classifier.coef_ - refit.coef_, classifier.intercept_ - refit.intercept_]
    )
    J = np.column_stack([X, np.ones(30)])
    size = np.einsum("kd,de,ke->", moved, J.T @ J, moved)
    residuals = np.where(np.arange(3) == labels[:, None], 1, -1) - classifier.decision_function(X)
    expected = size / 9 / ((residuals**2).sum() / (90 - 9))
    np.testing.assert_allclose(diagnostics.cooks_distance(influence)[5], expected, rtol=1e-9)


@pytest.mark.parametrize("form", ["dual", "primal"])
@pytest.mark.parametrize("alpha", [1e-2, 1e-4, 1e-6, 1e-8])
def test_leverages_near_one_keep_their_digits_or_are_refused(alpha, form):
    """What is left of 1 is known, not the difference of two numbers that are rounded."""
    rng = np.random.default_rng(52)
    X, y = rng.standard_normal((6, 11)), rng.standard_normal(6)
    model = linear_model.Ridge(alpha=alpha, solver="svd").fit(X, y)
    influence = Influence(model, X, y, solver=Exact(form))
    expected = long_diagnostics(X, y, alpha, np.arange(6))
    answered = []
    for name, values in expected.items():
        try:
            found = np.squeeze(getattr(diagnostics, name)(influence))
        except ValueError as error:
            assert "degrees of freedom" in str(error)
            continue
        answered.append(name)
        np.testing.assert_allclose(found, values, rtol=1e-3, err_msg=name)
        if form == "dual":
            np.testing.assert_allclose(found, values, rtol=1e-10 / alpha, err_msg=name)
    if alpha >= (1e-4 if form == "dual" else 1e-2):
        assert len(answered) == len(expected)


@pytest.mark.parametrize("size", [10.0, 1e5, 1e9])
def test_the_one_row_off_a_line_is_as_far_off_as_it_is(size):
    """The others leave little residual of their own: it is not a difference of large numbers."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((20, 2))
    y = X @ [1.0, -2.0] + 1e-3 * rng.standard_normal(20)
    y[7] += size
    model = ours.LinearRegression().fit(X, y)
    expected = long_diagnostics(X, y, 0.0, [7])["resid_studentized_external"]
    found = diagnostics.resid_studentized_external(model)[7]
    np.testing.assert_allclose(found, expected[0], rtol=1e-9 * max(1.0, size / 1e3))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "leverage"])
def test_a_fit_without_residuals_is_refused_in_words(name):
    X, _ = make_data("regression", 30, 2, 0)
    for y in (np.full(30, 3.0), X[:, 1], np.zeros(30)):
        with pytest.raises(ValueError, match="through every target"):
            getattr(diagnostics, name)(ours.LinearRegression().fit(X, y))


@pytest.mark.filterwarnings("error")
def test_saturated_probabilities_have_residuals_of_zero():
    X = np.array([[-1.0], [1.0], [-1.0], [2.0], [1e5]])
    model = ours.LogisticRegression(solver="newton-cholesky").fit(X, [0, 1, 1, 0, 1])
    model.coef_[:], model.intercept_[:], model.max_iter = 0.01, 0.0, 1
    residuals = Influence(model, X, np.array([0, 1, 1, 0, 1]))
    assert diagnostics.resid_studentized_internal(residuals)[4] == 0.0


ANSWERS = {
    "cooks_distance": lambda inf, method: diagnostics.cooks_distance(inf, method=method),
    "dfbetas": lambda inf, method: diagnostics.dfbetas(inf, method=method),
    "dffits": lambda inf, method: diagnostics.dffits(inf, method=method),
    "loo": lambda inf, method: inf.loo_predict(method=method),
    "removal_effect": lambda inf, method: (
        inf.removal_effect(inf.objective.design.X[:2], of="decision_function", method=method).T
    ),
    "top": lambda inf, method: (
        inf.top(
            inf.objective.design.X[:2], inf.objective.y[:2], k=30, method=method
        ).helpful_effects.T
    ),
}


@pytest.mark.parametrize("method", ["one-step", "auto", "exact"])
@pytest.mark.parametrize("question", ANSWERS)
def test_every_row_without_an_answer_is_named_once(question, method):
    X, y = a_category_seen_once()
    influence = Influence(linear_model.LinearRegression().fit(X, y), X, y)
    with pytest.warns(UserWarning, match="Row 5 has") as caught:
        found = ANSWERS[question](influence, method).reshape(30, -1)
    assert len(caught) == 1
    assert np.isnan(found).any(axis=1).sum() == 1
    where = 29 if question == "top" else 5
    assert np.isnan(found[where]).all()


@pytest.mark.parametrize("method", ["auto", "exact"])
@pytest.mark.parametrize("name", ["cooks_distance", "dfbetas", "dffits"])
def test_rows_whose_refits_have_no_optimum_are_named(name, method):
    """Without one overlapping row the classes are separated, and nothing is penalised."""
    x = np.append(np.r_[np.linspace(-2, -0.2, 10), np.linspace(0.1, 2, 10)], 0.3)[:, None]
    y = np.append(np.repeat([0, 1], 10), 0)
    influence = Influence(linear_model.LogisticRegression(C=np.inf, **TIGHT).fit(x, y), x, y)
    with pytest.warns(UserWarning, match="Row.* 20 ha.* no answer"):
        found = getattr(diagnostics, name)(influence, method=method).reshape(21, -1)
    assert np.isnan(found[20]).all()


def test_an_infinite_effect_is_not_taken_for_none():
    """A count far out, whose loss overflows without the row that holds the slope."""
    answers = SmoothAnswers.__new__(SmoothAnswers)
    answers.problem = case("ridge").objective
    values = np.arange(30.0)[:, None]
    values[3], values[4], values[5] = np.nan, np.inf, -np.inf
    answers.row_stream = lambda *ignored: iter(
        [(slice(0, 10), values[:10]), (slice(10, 30), values[10:])]
    )
    top = answers.top(None, 30, "auto", 1e-3)
    assert top.helpful[0, 0] == 4 and top.helpful_effects[0, 0] == np.inf
    assert top.harmful[0, 0] == 5 and top.harmful_effects[0, 0] == -np.inf
    assert top.helpful[0, -1] == 3 and np.isnan(top.helpful_effects[0, -1])


# The same problem in other words ---------------------------------------------------------------


def asked(influence, names=NAMES):
    out = {}
    for name in names:
        try:
            out[name] = np.array(getattr(diagnostics, name)(influence))
        except ValueError:
            continue
    return out


@EVERY
def test_rows_in_another_order_have_the_same_diagnostics(name):
    model, task = DELETED[name]
    X, y, weight = data_for(task)
    order = np.random.default_rng(0).permutation(len(y))
    here = asked(Influence(model.fit(X, y, sample_weight=weight), X, y, weight))
    there = asked(Influence(model, X[order], y[order], weight[order]))
    for question, values in here.items():
        np.testing.assert_allclose(
            there[question], values[order], rtol=1e-8, atol=1e-10, err_msg=question
        )


@pytest.mark.parametrize("name", ["least-squares", "logistic", "poisson"])
def test_units_of_the_columns_do_not_matter_where_the_penalty_goes_with_them(name):
    """Columns times s with coefficients over s; a penalty is undone by none at all."""
    model, task = DELETED[name]
    X, y, weight = data_for(task)
    model = {
        "logistic": linear_model.LogisticRegression(C=np.inf, **TIGHT),
        "poisson": PoissonRegressor(alpha=0.0, **TIGHT),
    }.get(name, model)
    scale = np.array([1e-6, 1.0, 1e6])
    here = asked(Influence(model.fit(X, y, sample_weight=weight), X, y, weight))
    model.coef_ = model.coef_ / scale
    there = asked(Influence(model, X * scale, y, weight))
    for question, values in here.items():
        np.testing.assert_allclose(there[question], values, rtol=1e-7, atol=1e-9, err_msg=question)


@pytest.mark.parametrize("name", ["ridge", "logistic", "softmax", "gamma"])
def test_a_column_twice_is_one_with_half_the_penalty(name):
    """Leverages and distances are those of the decision values, not of how they are written."""
    model, task = DELETED[name]
    X, y, weight = data_for(task)
    here = Influence(model.fit(X, y, sample_weight=weight), X, y, weight)
    theta = here.objective.theta
    last = theta[:, :-1] / np.sqrt(2.0)
    twice = replace(
        here.objective,
        design=here.objective.design.like(np.column_stack([X, X]) / np.sqrt(2.0)),
        theta=np.column_stack([last, last, theta[:, -1]]),
        penalty=np.append(np.tile(here.objective.penalty[:-1], 2), 0.0),
    )
    parts = SmoothAnswers(Exact().factor(twice), Exact()).deletions()
    expected = here.answers.deletions()
    np.testing.assert_allclose(parts.leverage, expected.leverage, rtol=1e-8)
    np.testing.assert_allclose(parts.scaled_residuals, expected.scaled_residuals, rtol=1e-8)
    for method in ("one-step", "exact"):
        found, other = parts.sizes(method, 1e-3), expected.sizes(method, 1e-3)
        np.testing.assert_allclose(found, other, rtol=1e-6)


@pytest.mark.parametrize("name", DELETED)
def test_halves_of_a_row_share_its_leverage(name):
    model, task = DELETED[name]
    X, y, weight = data_for(task)
    here = Influence(model.fit(X, y, sample_weight=weight), X, y, weight)
    halves = weight.copy()
    halves[4] *= 0.5
    there = Influence(
        model, np.vstack([X, X[[4]]]), np.append(y, y[[4]]), np.append(halves, halves[4])
    )
    whole, split = diagnostics.leverage(here), diagnostics.leverage(there)
    np.testing.assert_allclose(split[[4, -1]], whole[4] / 2, rtol=1e-8)
    np.testing.assert_allclose(np.delete(split, [4, -1]), np.delete(whole, 4), rtol=1e-8)
