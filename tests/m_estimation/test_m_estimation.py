"""MEstimator: any loss written with autograd gets what the shipped losses get."""

import pickle
import warnings

import autograd.numpy as anp
import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, diagnostics, edits
from skinfluence.leave_one_out import loo_loss
from skinfluence.m_estimation import MEstimator
from skinfluence.solvers import SingularHessianError
from tests.oracle.optimum import minimise
from tests.oracle.problems import problem_of
from tests.registries import make_data
from tests.truth import relative_error
from tests.versions import parametrize_with_checks

# Losses, as users write them -------------------------------------------------------------------


def logistic(params, x, y):
    return anp.logaddexp(0.0, (1 - 2 * y) * (x @ params[:-1] + params[-1]))


def linear(params, X):
    return X @ params[:-1] + params[-1]


def biweight(params, x, y):
    """Tukey's: flat beyond 4.685, so not convex."""
    u = anp.clip((y - x @ params) / 4.685, -1.0, 1.0)
    return 4.685**2 / 6 * (1.0 - (1.0 - u**2) ** 3)


def pseudo_huber(params, x, y):
    return anp.sqrt(1.0 + (y - x @ params) ** 2) - 1.0


def huber(params, x, y):
    """Of two pieces: the Hessian of a row jumps where they meet."""
    r = anp.abs(y - x @ params)
    return anp.where(r < 1.345, 0.5 * r**2, 1.345 * r - 0.5 * 1.345**2)


def bradley_terry(params, x, y):
    """x: the positions of the two that met, y: 1 if the first won."""
    first, second = x[..., 0].astype(int), x[..., 1].astype(int)
    return anp.logaddexp(0.0, (1 - 2 * y) * (params[first] - params[second]))


HIDDEN = 3


def network(params, X):
    d = (len(params) - 2 * HIDDEN - 1) // HIDDEN
    inner = X @ params[: d * HIDDEN].reshape(d, HIDDEN) + params[d * HIDDEN : (d + 1) * HIDDEN]
    return anp.tanh(inner) @ params[(d + 1) * HIDDEN : -1] + params[-1]


def network_loss(params, x, y):
    return 0.5 * (y - network(params, x)) ** 2


def one_at_a_time(params, x, y):
    return 0.5 * (y - anp.sum(x * params)) ** 2


def rows_for(name, n=40):
    rng = np.random.default_rng(5)
    if name == "bradley-terry":
        pairs = np.array([rng.choice(5, 2, replace=False) for _ in range(3 * n)])
        strength = np.linspace(-1, 1, 5)
        odds = strength[pairs[:, 0]] - strength[pairs[:, 1]]
        return pairs.astype(float), (rng.uniform(size=3 * n) < 1 / (1 + np.exp(-odds))) * 1.0
    # A loss that is called for each row by itself takes as long as it has rows.
    X = rng.standard_normal((24 if name == "loop" else n, 2))
    if name == "logistic":
        return X, (X[:, 0] + rng.standard_normal(n) > 0) * 1.0
    y = np.tanh(X[:, 0]) + 0.5 * X[:, 1] + 0.3 * rng.standard_normal(len(X))
    y[:3] += 4.0
    return X, y


def make(name, **more):
    rng = np.random.default_rng(2)
    p = {"logistic": 3, "bradley-terry": 5, "network": 4 * HIDDEN + 1}.get(name, 2)
    options = {
        "logistic": {"loss": logistic, "l2": [0.5, 0.5, 0.0], "classes": [0, 1]},
        "pseudo-huber": {"loss": pseudo_huber},
        "huber": {"loss": huber},
        "biweight": {"loss": biweight, "l2": 0.01},
        "bradley-terry": {"loss": bradley_terry, "l2": 0.1},
        "network": {"loss": network_loss, "l2": 0.05, "init": rng.standard_normal(p)},
        "loop": {"loss": one_at_a_time},
    }[name]
    return MEstimator(n_params=p, **{**options, **more})


SMOOTH = ["logistic", "pseudo-huber", "huber", "biweight", "bradley-terry", "network"]
EVERY = pytest.mark.parametrize("name", [*SMOOTH, "loop"])
pytestmark = pytest.mark.filterwarnings("ignore:The loss does not broadcast")


def weights_for(n):
    return np.random.default_rng(6).uniform(0.5, 2.0, n)


def refit(model, X, y, weight, **more):
    """From where the model is, so that a loss with several minima stays at its own."""
    return clone(model).set_params(init=model.params_, **more).fit(X, y, weight)


# Equal to what is known ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twins():
    X, y = make_data("binary", 50, 3, 0)
    y = (y == "yes").astype(int)
    weight = weights_for(50)
    theirs = LogisticRegression(C=0.7, solver="newton-cholesky", tol=1e-14, max_iter=500)
    mine = MEstimator(logistic, 4, l2=[1 / 0.7] * 3 + [0.0], decision=linear, classes=[0, 1])
    fits = [model.fit(X, y, sample_weight=weight) for model in (mine, theirs)]
    return [(Influence(one, X, y, weight, hold=h)) for h in ("C", "lambda") for one in fits]


QUESTIONS = {
    "influence_up_params": lambda inf, X, y: inf.influence_up_params(indices=[3, 1]),
    "influence_up_loss": lambda inf, X, y: inf.influence_up_loss(X, y),
    "influence_up_loss, mean": lambda inf, X, y: inf.influence_up_loss(X, y, aggregate="mean"),
    "influence_pert": lambda inf, X, y: inf.influence_pert(X, y),
    "influence_pert, mean": lambda inf, X, y: inf.influence_pert(X, y, aggregate="mean"),
    "self_influence": lambda inf, X, y: inf.self_influence(),
    "leverage": lambda inf, X, y: diagnostics.leverage(inf),
}
BY_METHOD = {
    "removal_effect": lambda inf, X, y, m: inf.removal_effect(X, y, method=m),
    "removal_effect, of=": lambda inf, X, y, m: inf.removal_effect(
        X, y, of=lambda eta, y: np.tanh(eta) * y, method=m, indices=[7, 2]
    ),
    "removal_effect, scalar": lambda inf, X, y, m: inf.removal_effect(X, of=np.max, method=m),
    "removal_effect, groups=": lambda inf, X, y, m: inf.removal_effect(
        X, y, groups=np.arange(50) // 9, method=m
    ),
    "relabel_effect": lambda inf, X, y, m: inf.relabel_effect(X, y, method=m),
    "effect": lambda inf, X, y, m: inf.effect(EDITS(X), X, y, method=m).values,
    "leverage of effect": lambda inf, X, y, m: inf.effect(EDITS(X), X, y, method=m).leverage,
    "hold=": lambda inf, X, y, m: inf.effect(EDITS(X), X, y, method=m, hold="lambda").values,
    "loo_decision_function": lambda inf, X, y, m: inf.loo_decision_function(method=m),
    "loo_predict": lambda inf, X, y, m: inf.loo_predict(method=m),
    "loo_score": lambda inf, X, y, m: inf.loo_score(method=m),
    "loo_score, auc": lambda inf, X, y, m: inf.loo_score("roc_auc", method=m),
    "loo_loss": lambda inf, X, y, m: loo_loss(inf, m),
    "top": lambda inf, X, y, m: inf.top(X, y, 3, method=m).helpful_effects,
}


def EDITS(X):
    return [
        edits.remove([0, 4, 9]),
        edits.relabel(2, 1) + edits.relabel(3, 0),
        edits.replace(5, X[0]) + edits.add(X[1], 1, sample_weight=0.3),
        edits.reweight([7, 8], [0.1, 3.0]),
    ]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("hold", [0, 1], ids=["C", "lambda"])
def test_the_logistic_loss_is_logistic_regression(twins, question, hold):
    mine, theirs = twins[2 * hold : 2 * hold + 2]
    X, y = make_data("binary", 6, 3, 1)
    y = (y == "yes").astype(int)
    found, expected = (QUESTIONS[question](inf, X, y) for inf in (mine, theirs))
    assert np.shape(found) == np.shape(expected)
    assert relative_error(found, expected) < 1e-6


@pytest.mark.parametrize("question", BY_METHOD)
@pytest.mark.parametrize("hold", [0, 1], ids=["C", "lambda"])
@pytest.mark.parametrize("method", ["influence", "one-step", "exact"])
def test_its_effects_are_those_of_logistic_regression(twins, question, hold, method):
    mine, theirs = twins[2 * hold : 2 * hold + 2]
    X, y = make_data("binary", 6, 3, 1)
    y = (y == "yes").astype(int)
    found, expected = (BY_METHOD[question](inf, X, y, method) for inf in (mine, theirs))
    assert np.shape(found) == np.shape(expected)
    assert relative_error(found, expected) < 1e-6


def test_its_parameters_are_those_of_logistic_regression(twins):
    mine, theirs = (inf.estimator for inf in twins[:2])
    expected = np.append(theirs.coef_, theirs.intercept_)
    np.testing.assert_allclose(mine.params_, expected, rtol=1e-9)
    X, _ = make_data("binary", 20, 3, 1)
    np.testing.assert_array_equal(mine.predict(X), theirs.predict(X))
    np.testing.assert_allclose(mine.decision_function(X), theirs.decision_function(X), rtol=1e-9)
    assert mine.score(X, mine.predict(X)) == 1.0


# Refits ----------------------------------------------------------------------------------------


@EVERY
def test_weight_derivatives_are_those_of_refits(name):
    """d theta / d w_i = influence_up_params / n, by central differences of two refits."""
    X, y = rows_for(name)
    weight = weights_for(len(y))
    model = make(name).fit(X, y, weight)
    found = Influence(model, X, y, weight).influence_up_params()[:, 0] / len(y)
    for i in (1, 5, 20):
        moved = []
        for eps in (1e-4, -1e-4):
            other = weight.copy()
            other[i] += eps
            moved.append(refit(model, X, y, other).params_)
        assert relative_error(found[i], (moved[0] - moved[1]) / 2e-4) < 1e-6


@pytest.mark.parametrize("name", [n for n in [*SMOOTH, "loop"] if n != "bradley-terry"])
def test_pert_is_the_derivative_of_refits(name):
    X, y = rows_for(name)
    weight = weights_for(len(y))
    model = make(name).fit(X, y, weight)
    found = Influence(model, X, y, weight).influence_pert(X[6:9], y[6:9])
    for i in (5, 20):
        expected = np.empty((3, X.shape[1]))
        for j in range(X.shape[1]):
            losses = []
            for eps in (1e-4, -1e-4):
                other = X.copy()
                other[i, j] += eps
                at = refit(model, other, y, weight)
                losses.append([at.loss(at.params_, X[t], y[t]) for t in (6, 7, 8)])
            expected[:, j] = (np.array(losses[0]) - losses[1]) / 2e-4
        scaled = weight[i] / len(y) * found[:, i]
        assert np.abs(scaled - expected).max() < 1e-6 * np.abs(expected).max()


@EVERY
def test_exact_effects_are_those_of_refits(name):
    X, y = rows_for(name)
    weight = weights_for(len(y))
    model = make(name).fit(X, y, weight)
    influence = Influence(model, X, y, weight)

    def losses(at):
        return np.array([at.loss(at.params_, X[t], y[t]) for t in range(6)])

    rows = [0, 7, 21]
    removed = influence.removal_effect(X[:6], y[:6], indices=rows, method="auto")
    for i, found in zip(rows, removed.T, strict=True):
        keep = np.arange(len(y)) != i
        expected = losses(refit(model, X[keep], y[keep], weight[keep])) - losses(model)
        assert relative_error(found, expected) < 1e-6
    several = edits.remove([2, 3]) + edits.add(X[9], y[10], sample_weight=0.4)
    found = influence.effect(several, X[:6], y[:6])
    keep = np.delete(np.arange(len(y)), [2, 3])
    other = refit(
        model,
        np.vstack([X[keep], X[[9]]]),
        np.append(y[keep], y[10]),
        np.append(weight[keep], 0.4),
    )
    assert relative_error(found.values, losses(other) - losses(model)) < 1e-6
    assert found.method_used == "newton" and found.bound == np.inf


@EVERY
def test_hold_lambda_takes_the_share_of_the_penalty(name):
    X, y = rows_for(name)
    weight = weights_for(len(y))
    model = make(name).fit(X, y, weight)
    influence = Influence(model, X, y, weight, hold="lambda")
    found = influence.removal_effect(X[:4], y[:4], indices=[7])[:, 0]
    keep = np.arange(len(y)) != 7
    share = weight[keep].sum() / weight.sum()
    other = refit(model, X[keep], y[keep], weight[keep], l2=np.multiply(share, model.l2))
    expected = [
        float(other.loss(other.params_, X[t], y[t]) - model.loss(model.params_, X[t], y[t]))
        for t in range(4)
    ]
    assert relative_error(found, np.array(expected)) < 1e-6


@EVERY
def test_one_step_is_newtons_on_the_edited_problem(name):
    """Each row brings its whole Hessian: next to first order, the error is of the next order."""
    X, y = rows_for(name)
    model = make(name).fit(X, y)
    influence = Influence(model, X, y)
    p = influence.answers.problem
    steps = np.concatenate(
        [s for _, s in influence.answers.row_steps(np.arange(6, 12), None, "one-step", 0.1)]
    )
    for i, step in zip(range(6, 12), steps, strict=True):
        keep = np.arange(len(y)) != i
        H = p.row_loss.hessian(p.theta, X[keep], y[keep], np.ones(len(y) - 1)) + np.diag(p.penalty)
        np.testing.assert_allclose(H @ step, p.gradients[i], atol=1e-8)


def test_rows_of_weight_zero_do_not_count():
    X, y = rows_for("pseudo-huber")
    weight = np.ones(len(y))
    weight[:5] = 0.0
    part = make("pseudo-huber").fit(X[5:], y[5:])
    whole = make("pseudo-huber").fit(X, y, weight)
    np.testing.assert_allclose(whole.params_, part.params_, rtol=1e-9)
    np.testing.assert_allclose(
        whole.removal_effect(X[:3], y[:3])[:, 5:], part.removal_effect(X[:3], y[:3]), rtol=1e-6
    )
    assert not whole.removal_effect(X[:3], y[:3], indices=[0]).any()


# Derivatives by rows ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMOOTH)
def test_batched_derivatives_are_those_of_single_rows(name):
    X, y = rows_for(name)
    model = make(name).fit(X, y)
    assert model._broadcasts
    batched = Influence(model, X, y).answers.problem.row_loss
    looped = type(batched)(batched.loss, broadcasts=False)
    theta = model.params_ + 0.01
    few = X[:20], y[:20]
    for question in ("values", "gradients", "row_hessians"):
        found, expected = (getattr(one, question)(theta, *few) for one in (batched, looped))
        np.testing.assert_allclose(found, expected, atol=1e-11)
    np.testing.assert_allclose(
        batched.hessian(theta, *few, y[:20] ** 2),
        np.einsum("i,ipq->pq", y[:20] ** 2, looped.row_hessians(theta, *few)),
        atol=1e-10,
    )


def reduces_rows(params, x, y):
    return anp.sum((y - x @ params) ** 2)


def mixes_rows(params, x, y):
    return (y - (x - anp.mean(x)) @ params) ** 2


def branches(params, x, y):
    return (y - x @ params) ** 2 if y > 0 else 3.0 * (y - x @ params) ** 2


@pytest.mark.parametrize("loss", [reduces_rows, mixes_rows, branches, one_at_a_time])
@pytest.mark.filterwarnings("default:The loss does not broadcast")
def test_losses_that_do_not_broadcast_are_looped_over_with_a_warning(loss):
    X, y = rows_for("loop")
    with pytest.warns(UserWarning, match="does not broadcast"):
        model = MEstimator(loss, 2, l2=1.0).fit(X, y)
    assert not model._broadcasts
    expected = sum(loss(model.params_, a, b) for a, b in zip(X, y))
    problem = Influence(model, X, y).answers.problem
    np.testing.assert_allclose(problem.value(), expected + 0.5 * (model.params_**2).sum())


# scikit-learn's conventions --------------------------------------------------------------------


class FirstColumn:
    """A straight line; the name of a test may not hold the address of a function."""

    def __call__(self, params, x):
        return params[0] + params[1] * x[..., 0]

    def __repr__(self):
        return type(self).__name__


class FirstColumnLoss(FirstColumn):
    def __call__(self, params, x, y):
        return (y - super().__call__(params, x)) ** 2


@parametrize_with_checks(
    [
        MEstimator(FirstColumnLoss(), 2, decision=FirstColumn(), l2=1e-3),
        MEstimator(FirstColumnLoss(), 2, l2=1e-3),
    ],
    expected_failed_checks=lambda e: {"check_regressors_train": "one column predicts little"},
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def test_clone_pickle_and_parameters():
    X, y = rows_for("logistic")
    model = make("logistic", decision=linear).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.self_influence(), model.self_influence())
    fresh = clone(model)
    assert fresh.get_params()["loss"] is logistic and not hasattr(fresh, "params_")
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    influence = pickle.loads(pickle.dumps(Influence(model, X, y)))
    np.testing.assert_allclose(influence.self_influence(), model.self_influence(), rtol=1e-9)
    with pytest.raises(ValueError, match="fit again"):
        model.set_params(l2=3.0).self_influence()


def test_inside_a_pipeline():
    X, y = rows_for("pseudo-huber")
    scaler = StandardScaler()
    pipeline = make_pipeline(scaler, make("pseudo-huber")).fit(X, y)
    found = Influence(pipeline, X, y).influence_pert(X[:2], y[:2])
    Z = scaler.transform(X)
    np.testing.assert_allclose(
        found, pipeline[-1].influence_pert(Z[:2], y[:2]) / scaler.scale_, rtol=1e-9
    )


def test_decision_values_of_a_regression():
    X, y = rows_for("pseudo-huber")
    model = make("pseudo-huber", decision=lambda params, X: X @ params).fit(X, y)
    np.testing.assert_allclose(model.predict(X), X @ model.params_)
    left = refit(model, X[1:], y[1:], None)
    np.testing.assert_allclose(model.loo_predict()[0], left.predict(X[:1])[0], rtol=1e-8)
    assert model.loo_score() < model.score(X, y) < 1


def test_several_decision_values():
    def scores(params, X):
        return anp.dot(X, params.reshape(2, 3))

    def softmax(params, x, y):
        eta = scores(params, x)
        own = anp.sum(eta * (anp.arange(3) == anp.expand_dims(y, -1)), axis=-1)
        return anp.log(anp.sum(anp.exp(eta), axis=-1)) - own

    X, y = rows_for("logistic")
    y = np.digitize(X[:, 0] + np.random.default_rng(0).standard_normal(len(y)), [-0.5, 0.5])
    model = MEstimator(softmax, 6, l2=1.0, decision=scores, classes=[0, 1, 2]).fit(X, y)
    theirs = LogisticRegression(C=1.0, fit_intercept=False, solver="newton-cholesky", tol=1e-14)
    truth = Influence(theirs.fit(X, y), X, y)
    np.testing.assert_allclose(model.params_.reshape(2, 3).T, theirs.coef_, atol=1e-8)
    some = {"method": "exact", "indices": [0, 3, 8]}
    for question in ("removal_effect", "relabel_effect"):
        found = getattr(model, question)(X[:3], y[:3], **some)
        assert relative_error(found, getattr(truth, question)(X[:3], y[:3], **some)) < 1e-6
    assert model.loo_decision_function().shape == (len(y), 3)
    np.testing.assert_array_equal(model.loo_predict(), truth.loo_predict())


# Diagnostics -----------------------------------------------------------------------------------


def test_diagnostics_are_those_of_refits_in_the_norm_of_the_hessian():
    X, y = rows_for("pseudo-huber")
    model = make("pseudo-huber").fit(X, y)
    H = Influence(model, X, y).answers.problem.hessian()
    step = model.params_ - refit(model, X[1:], y[1:], None).params_
    dfbetas = diagnostics.dfbetas(model, method="exact")
    expected = step / np.sqrt(np.diag(np.linalg.inv(H)))
    np.testing.assert_allclose(dfbetas[0, 0], expected, rtol=1e-6)
    cook = diagnostics.cooks_distance(model, method="exact")
    np.testing.assert_allclose(cook[0], step @ H @ step / 2, rtol=1e-6)
    assert np.isclose(diagnostics.leverage(model).sum(), 2.0)
    for name in ("dffits", "resid_studentized_internal", "resid_studentized_external"):
        with pytest.raises(ValueError, match="no residuals"):
            getattr(diagnostics, name)(model)


def squared(params, x, y):
    return 0.5 * (y - linear(params, x)) ** 2


def poisson(params, x, y):
    return anp.exp(linear(params, x)) - y * linear(params, x)


SAME_MODELS = {
    "ridge": (squared, linear_model.Ridge(alpha=0.7), 0.7),
    "least-squares": (squared, linear_model.LinearRegression(), 0.0),
    "logistic": (
        logistic,
        linear_model.LogisticRegression(C=2.0, solver="newton-cholesky", tol=1e-14),
        0.5,
    ),
    "poisson": (
        poisson,
        linear_model.PoissonRegressor(alpha=0.0, solver="newton-cholesky", tol=1e-14),
        0.0,
    ),
}


@pytest.mark.parametrize("method", ["influence", "one-step", "exact"])
@pytest.mark.parametrize("name", SAME_MODELS)
def test_a_model_has_the_same_diagnostics_written_as_a_loss(name, method):
    """A loss has the dispersion 1: scikit-learn's model in units of its own has the same numbers."""
    loss, theirs, penalty = SAME_MODELS[name]
    rng = np.random.default_rng(8)
    X = rng.standard_normal((30, 2)) * [1.0, 3.0]
    eta = X @ [0.5, -0.2] + 0.3
    targets = {
        "logistic": lambda: (eta + rng.logistic(size=30) > 0) * 1.0,
        "poisson": lambda: rng.poisson(np.exp(eta)) * 1.0,
    }
    y = targets.get(name, lambda: eta + 2.0 * rng.standard_normal(30))()
    weight = weights_for(30)
    theirs = Influence(theirs.fit(X, y, sample_weight=weight), X, y, weight)
    mine = MEstimator(loss, 3, l2=[penalty, penalty, 0.0]).fit(X, y, sample_weight=weight)
    leverage = diagnostics.leverage(theirs)
    np.testing.assert_allclose(diagnostics.leverage(mine), leverage, rtol=1e-7)
    cook = diagnostics.cooks_distance(theirs, method=method) * diagnostics.dispersion(theirs)
    found = diagnostics.cooks_distance(mine, method=method)
    np.testing.assert_allclose(found, cook, rtol=1e-5, atol=1e-12)
    parts = theirs.answers.deletions()
    dfbetas = diagnostics.dfbetas(theirs, method=method)
    dfbetas *= np.sqrt(parts.deleted_dispersion)[:, None, None]
    found = diagnostics.dfbetas(mine, method=method)
    np.testing.assert_allclose(found, dfbetas, rtol=1e-5, atol=1e-8)


# Refused ---------------------------------------------------------------------------------------


def test_a_saddle_is_said_and_refused_with_its_eigenvalue():
    X, y = rows_for("network")
    model = make("network", l2=0.0, init=np.zeros(4 * HIDDEN + 1))
    with pytest.warns(ConvergenceWarning, match="saddle|minimum"):
        model.fit(X, y - y.mean())
    with pytest.raises(SingularHessianError, match=r"eigenvalues go from .* damping above"):
        model.self_influence()


def test_damping_is_added_to_the_hessian_and_not_to_refits():
    X, y = rows_for("pseudo-huber")
    model = make("pseudo-huber", damping=2.0).fit(X, y)
    plain = make("pseudo-huber").fit(X, y)
    problem = Influence(plain, X, y).answers.problem
    A = problem.hessian() + 2.0 * np.eye(2)
    found = model.influence_up_params()[:, 0]
    np.testing.assert_allclose(found, -len(y) * np.linalg.solve(A, problem.gradients.T).T)
    report = Influence(model, X, y).report()
    assert "damping 2" in report.solver and report.damping == 2.0
    first = problem.row_loss.row_hessians(problem.theta, X[:1], y[:1])[0]
    step = np.linalg.solve(A - first, problem.gradients[0])
    steps = next(Influence(model, X, y).answers.row_steps(np.array([0]), None, "one-step", 0.1))
    np.testing.assert_allclose(steps[1][0], step)
    np.testing.assert_allclose(
        model.removal_effect(X[:2], y[:2]), plain.removal_effect(X[:2], y[:2]), rtol=1e-9
    )


def test_damping_does_not_make_a_minimum_of_a_valley():
    """Strengths of which only differences count: damped answers, but no refits to compare."""
    X, y = rows_for("bradley-terry")
    model = make("bradley-terry", l2=0.0, damping=0.1).fit(X, y)
    assert np.isfinite(model.removal_effect(X[:2], y[:2], method="one-step")).all()
    with pytest.raises(SingularHessianError, match="one-step"):
        model.removal_effect(X[:2], y[:2])
    with pytest.raises(SingularHessianError, match="damping above"):
        make("bradley-terry", l2=0.0).fit(X, y).self_influence()


def test_an_optimum_at_infinity_is_said():
    X = np.linspace(-1, 1, 10)[:, None]
    model = MEstimator(logistic, 2, classes=[0, 1])
    with pytest.warns(ConvergenceWarning, match="did not reach"):
        model.fit(X, (X[:, 0] > 0).astype(int))


def test_a_removal_without_a_minimum_is_nan():
    """The row that keeps the classes apart from being separable."""
    X = np.append(np.linspace(-1, 1, 10), 0.9)[:, None]
    y = np.append((X[:-1, 0] > 0) * 1, 0)
    model = MEstimator(logistic, 2, classes=[0, 1]).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="no minimum"):
        found = model.removal_effect(X[:2], y[:2])
    assert np.isnan(found[:, 10]).all() and np.isfinite(found[:, :10]).all()


@pytest.mark.parametrize("method", ["one-step", "exact"])
def test_a_removal_that_leaves_a_parameter_open_is_nan(method):
    """As many rows as parameters: each row decides one."""
    model = make("pseudo-huber").fit(X[:2], Y[:2])
    with pytest.warns(ConvergenceWarning, match="2 of 2 edits have no answer"):
        found = model.removal_effect(X[:3], Y[:3], method=method)
    assert np.isnan(found).all()


def test_influence_pert_needs_a_derivative_in_x():
    X, y = rows_for("bradley-terry")
    with pytest.raises(TypeError, match="differentiable in x"):
        make("bradley-terry").fit(X, y).influence_pert(X[:1], y[:1])


X, Y = rows_for("logistic")


def returns_a_line(params, x, y):
    return x * params[:2]


@pytest.mark.parametrize(
    ("options", "y", "error", "message"),
    [
        ({"n_params": 0}, Y, ValueError, "positive integer"),
        ({"loss": "squared"}, Y, TypeError, "function"),
        ({"loss": returns_a_line}, Y, ValueError, "one real number per row"),
        ({"init": [1.0]}, Y, ValueError, r"init must hold .* \(3,\)"),
        ({"init": [1.0, np.nan, 0.0]}, Y, ValueError, "finite"),
        ({"l2": -1.0}, Y, ValueError, "l2 must be finite and non-negative"),
        ({"l2": [1.0, 2.0]}, Y, ValueError, r"one per parameter, \(3,\)"),
        ({"damping": np.nan}, Y, ValueError, "damping must be finite"),
        ({"classes": None}, np.where(Y > 0, "x", "y"), ValueError, "pass classes="),
        ({"classes": None}, np.full(len(Y), np.nan), ValueError, "NaN"),
        ({"classes": [0, 2]}, Y, ValueError, "1.0"),
        ({}, Y[:-1], ValueError, "same number of rows"),
        ({"loss": lambda params, x, y: anp.log(params[0]) + x[..., 0]}, Y, ValueError, "init="),
    ],
)
def test_what_fit_refuses(options, y, error, message):
    with pytest.raises(error, match=message):
        make("logistic").set_params(**options).fit(X, y)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda m: m.predict(X), AttributeError, "predict"),
        (lambda m: m.removal_effect(X, of="decision_function"), ValueError, "decision="),
        (lambda m: m.loo_predict(), ValueError, "decision="),
        (lambda m: m.removal_effect(X, of="predict_proba"), AttributeError, "no probabilities"),
        (lambda m: m.removal_effect(X), ValueError, "needs y"),
        (lambda m: m.removal_effect(X, Y, method="newton"), ValueError, "method must be"),
        (lambda m: m.removal_effect(X, Y, tol=0.0), ValueError, "tol must lie"),
        (lambda m: m.removal_effect(X[:, :1], Y), ValueError, "features"),
        (lambda m: m.removal_effect(X, Y + 5), ValueError, "labels the model was fitted on"),
        (lambda m: Influence(m, X, Y, solver="cg"), ValueError, "dense Cholesky"),
        (lambda m: Influence(m, X, Y, precision="mixed"), ValueError, "dense Cholesky"),
        (lambda m: Influence(m, X, Y, hold="D"), ValueError, "hold must be"),
        (lambda m: m.forget_training_data().self_influence(), ValueError, "fit again"),
    ],
)
def test_what_questions_refuse(ask, error, message):
    model = make("logistic").fit(X, Y)
    with pytest.raises(error, match=message):
        ask(model)


def test_other_data_than_those_of_the_fit_are_noticed():
    model = make("logistic").fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="not at an optimum"):
        Influence(model, 3 * X, 1 - Y)


@pytest.mark.filterwarnings("ignore:The parameters are not at an optimum")
def test_polish_goes_to_the_optimum_and_says_how_far():
    model = make("logistic", decision=linear).fit(X, Y)
    best = model.params_
    expected = Influence(model, X, Y).influence_up_params()
    model.params_ = best + 0.3
    polished = Influence(model, X, Y, polish=True)
    np.testing.assert_allclose(polished.influence_up_params(), expected, rtol=1e-7)
    np.testing.assert_allclose(polished.answers.problem.theta, best, rtol=1e-9)
    moved = polished.report().moved
    assert np.isclose(moved.parameters, np.linalg.norm([0.3] * 3) / np.linalg.norm(best))
    assert np.isclose(moved.decision_values, np.abs(0.3 * X.sum(axis=1) + 0.3).max())
    np.testing.assert_array_equal(model.params_, best + 0.3)


def test_a_perfect_fit_is_an_optimum(recwarn):
    exact = X @ [1.0, -2.0]
    model = make("pseudo-huber").fit(X, exact)
    assert np.abs(model.removal_effect(X[:3], exact[:3])).max() < 1e-12
    assert not recwarn.list


# The user's own arrays ---------------------------------------------------------------------------


def _halves_rows(params, x, y):
    x *= 0.5
    return (y - x @ params) ** 2


def _writes_targets(params, x, y):
    if np.ndim(y):
        y[:] = 0.0
    return (y - x @ params) ** 2


def _moves_params(params, x, y):
    if isinstance(params, np.ndarray):
        params += 1.0
    return (y - x @ params) ** 2


@pytest.mark.parametrize("loss", [_halves_rows, _writes_targets, _moves_params])
def test_a_loss_never_writes_into_the_data(loss, rng):
    """The rows that it gets are the caller's: what it does to them is refused, and not done."""
    X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    kept = X.copy(), y.copy()
    with pytest.raises(ValueError, match="must not write into its arguments"):
        with warnings.catch_warnings():
            # Where it broadcasts no longer, the first thing said is that.
            warnings.simplefilter("ignore", UserWarning)
            MEstimator(loss, 3, l2=0.1).fit(X, y)
    np.testing.assert_array_equal(X, kept[0])
    np.testing.assert_array_equal(y, kept[1])


def _centres(params, X):
    X -= 1.0
    return X @ params


def test_a_decision_never_writes_into_the_rows(rng):
    X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    model = MEstimator(_squared_residual, 3, l2=0.1, decision=_centres).fit(X, y)
    kept = X.copy()
    with pytest.raises(ValueError, match="decision must not write"):
        model.predict(X)
    np.testing.assert_array_equal(X, kept)


def _squared_residual(params, x, y):
    return (y - x @ params) ** 2


def test_a_fit_that_ends_at_the_edge_of_its_loss_says_so(rng):
    """The root of 1 - params^2 falls down to the edge, where no derivative is finite."""

    def edge(params, x, y):
        return anp.sqrt(1.0 - params[0] ** 2) + 0.1 * (y - x @ params) ** 2

    X = rng.standard_normal((30, 2))
    with pytest.raises(ValueError, match=r"finite derivatives where the fit ends.*\["):
        MEstimator(edge, 2, l2=0.01).fit(X, 3.0 * X[:, 0])


# Accuracy ----------------------------------------------------------------------------------------


def plain_logistic(params, x, y):
    return anp.logaddexp(0.0, (1 - 2 * y) * (x @ params))


def product(params, X):
    return X @ params


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_columns_of_wild_scales_do_not_end_a_refit_early(wide, method):
    """A first step that overshoots a million times is no measure of what may be left."""
    rng = np.random.default_rng(3)
    n, p = (12, 30) if wide else (30, 6)
    scales = 10.0 ** rng.uniform(-8, 8, p)
    X, y = np.round(rng.standard_normal((n, p)), 1) * scales, np.arange(n) % 3 % 2
    l2 = 0.3
    model = MEstimator(plain_logistic, p, l2=l2, decision=product, classes=[0, 1]).fit(X, y)
    rows = range(0, 12, 4)
    ask = dict(of="decision_function", method=method, indices=list(rows))
    found = model.relabel_effect(X[:4], **ask)
    before = optimum(X, y, l2)
    for at, i in enumerate(rows):
        other = y.copy()
        other[i] = 1 - y[i]
        expected = (X[:4] @ (optimum(X, other, l2) - before).T).astype(float)[:, 0]
        np.testing.assert_allclose(
            found[:, at, other[i]], expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max()
        )


def optimum(X, y, l2):
    """That of logistic regression in long double."""
    params = {"C": 1 / l2, "fit_intercept": False}
    return minimise(problem_of("LogisticRegression", params, X, y, classes=[0, 1])).theta
