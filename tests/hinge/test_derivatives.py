"""Derivatives of hinge models: equal to differences of exact refits, smoothed where asked."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skinfluence.svm as ours
from skinfluence import Influence
from skinfluence.objective import objective_of
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.solvers import Exact
from tests.hinge.test_effects import TASK, values
from tests.registries import make_data
from tests.svm.test_linear import digits
from tests.truth import relative_l2

# The default kernels, the constant of the polynomial, and every rule of the intercept.
MODELS = {
    "rbf": ours.SVC(),
    "rbf-C10": ours.SVC(C=10.0),
    "poly": ours.SVC(kernel="poly", coef0=1.0),
    "linear": ours.SVC(kernel="linear", C=0.5),
    "hinge": ours.LinearSVC(loss="hinge", C=0.5),
    "hinge-scaling": ours.LinearSVC(loss="hinge", C=0.5, intercept_scaling=3.0),
    "hinge-no-intercept": ours.LinearSVC(loss="hinge", C=0.5, fit_intercept=False),
}
EVERY = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
STEP = 1e-6
# A difference of fits at round-off over two steps, in units of the relative bar.
NOISE = 5e-3


def roles(inf, role, some=2):
    """Some rows with a role in some binary problem."""
    rows = np.flatnonzero((inf.report().role == role).any(axis=1))
    return np.random.default_rng(0).permutation(rows)[:some]


def slopes(model, tests, plus, minus):
    """Central difference of decision values between two exact fits."""
    after = [values(clone(model).fit(*data), tests) for data in (plus, minus)]
    return (after[0] - after[1]) / (2 * STEP)


@EVERY
@TASK
def test_the_derivative_in_the_weight_matches_refits(model, task):
    """Bound, margin and other rows, with weights; margin rows are exactly zero."""
    X, y = make_data(task, 60, 4, 0)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 60)
    model = clone(model).fit(X, y, weight)
    if hasattr(model, "decision_function_shape"):
        model.set_params(decision_function_shape="ovo")
    inf = Influence(model, X, y, weight)
    first = inf.removal_effect(X[:5], of="decision_function", method="influence")
    for i in np.concatenate([roles(inf, role) for role in ("bound", "margin", "none")]):
        more, less = weight.copy(), weight.copy()
        more[i] += STEP
        less[i] -= STEP
        truth = -weight[i] * slopes(clone(model), X[:5], (X, y, more), (X, y, less))
        assert np.linalg.norm(first[:, i] - truth) <= 1e-5 * max(np.linalg.norm(truth), NOISE)
    # With gamma as it is; that of the rows moves without any of them.
    inf.answers = inf.answers.held
    first = inf.removal_effect(X[:5], of="decision_function", method="influence")
    only_margin = (inf.report().role != "bound").all(axis=1)
    assert (first[:, only_margin] == 0.0).all()


@EVERY
@TASK
def test_the_derivative_in_the_features_matches_refits(model, task):
    """T7: in the paper's scale, times w_i / n, for one loss of each test point."""
    X, y = make_data(task, 60, 4, 0)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 60)
    model = clone(model).fit(X, y, weight)
    inf = Influence(model, X, y, weight)
    tests, labels = X[:6] + 0.05, y[:6]
    loss, codes = inf.objective.loss, np.searchsorted(model.classes_, labels)
    slope = loss.gradient(values(model, tests).reshape(6, -1), codes)
    found = inf.influence_pert(tests, labels)
    mean = inf.influence_pert(tests, labels, aggregate="mean")
    np.testing.assert_allclose(mean, found.mean(axis=0), rtol=0, atol=1e-9)
    direction = np.random.default_rng(1).standard_normal(4)
    for i in np.concatenate([roles(inf, role) for role in ("bound", "margin", "none")]):
        plus, minus = X.copy(), X.copy()
        plus[i] += STEP * direction
        minus[i] -= STEP * direction
        moved = slopes(clone(model), tests, (plus, y, weight), (minus, y, weight))
        truth = (slope * moved.reshape(6, -1)).sum(axis=1)
        change = weight[i] / 60 * found[:, i] @ direction
        assert np.linalg.norm(change - truth) <= 1e-5 * max(np.linalg.norm(truth), NOISE)


@pytest.mark.parametrize("name", ["linear", "hinge", "hinge-scaling", "hinge-no-intercept"])
@TASK
def test_parameters_move_as_decision_values_do(name, task):
    X, y = make_data(task, 60, 4, 0)
    model = clone(MODELS[name]).fit(X, y)
    inf = Influence(model, X, y)
    params = inf.influence_up_params()
    columns = np.column_stack([X[:5], np.ones(5)]) if params.shape[2] == 5 else X[:5]
    moved = np.einsum("td,npd->tnp", columns, params)
    if hasattr(model, "decision_function_shape"):
        inf = Influence(model.set_params(decision_function_shape="ovo"), X, y)
    first = inf.removal_effect(X[:5], of="decision_function", method="influence")
    np.testing.assert_allclose(-moved.reshape(first.shape) / 60, first, rtol=0, atol=1e-10)
    assert params.shape[:2] == (60, np.shape(model.coef_)[0])


@EVERY
@TASK
def test_smoothing_is_the_smooth_hinges_influence_at_the_same_parameters(model, task):
    """Formulation 2 against the derivative's definition: one Newton matrix per binary problem."""
    X, y = make_data(task, 40, 4, 0)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 40)
    model = clone(model).fit(X, y, weight)
    inf, t = Influence(model, X, y, weight), 0.2
    found = inf.influence_up_loss(X[:5], y[:5], smoothing=t)
    np.testing.assert_allclose(found, _dense_up_loss(inf, X[:5], y[:5], t), rtol=0, atol=1e-8)


def _dense_up_loss(inf, X, y, t):
    """``-n g_t J_t H^-1 J_i' g_i`` in coefficients of all kernel columns, by least squares."""
    problem, answers = inf.objective, inf.answers.held
    rows, n = problem.design.X, problem.n_samples
    K, at = problem.design.kernel(rows), problem.design.kernel(X, rows)
    codes = np.searchsorted(problem.labels.classes, y)
    eta = at @ answers.optimum.beta.T + answers.optimum.bias
    gradients = problem.loss.gradient(eta, codes)
    out = np.zeros((len(X), n))
    for j, one in enumerate(answers.optimum.solutions):
        mine = problem.rows_of(j)
        sign = problem.loss.signs[problem.y[mine], j]
        z = (1.0 - sign * one.f) / t
        unit = problem.units(problem.y[mine])[:, j] / (1.0 + np.exp(-z))
        curvature = np.abs(unit) * problem.weights[mine] / (1.0 + np.exp(z)) / t
        J = np.column_stack([K[mine], np.full(len(mine), float(problem.free_bias))])
        R = np.zeros((n + 1, n + 1))
        R[:n, :n] = K
        H = J.T @ (curvature[:, None] * J) + R
        tests = np.column_stack([at, np.full(len(X), float(problem.free_bias))])
        out[:, mine] += gradients[:, [j]] * (tests @ np.linalg.pinv(H, 1e-13) @ (J.T * unit)) * n
    return out


def test_smoothing_tends_to_the_derivative_off_the_margin():
    X, y = digits([3, 8], 120)
    model = ours.SVC(C=0.5).fit(X, y)
    inf = Influence(model, X, y)
    limit = inf.influence_up_loss(X[:15], y[:15], smoothing=None)
    bound = inf.report().role[:, 0] == "bound"
    errors = [
        relative_l2(inf.influence_up_loss(X[:15], y[:15], smoothing=t)[:, bound], limit[:, bound])
        for t in (1e-2, 1e-4, 1e-6)
    ]
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 1e-3
    assert (limit[:, ~bound] == 0.0).all()
    default = inf.influence_up_loss(X[:15], y[:15])
    np.testing.assert_array_equal(default, inf.influence_up_loss(X[:15], y[:15], smoothing=1e-3))


def test_smoothed_perturbations_are_those_of_a_smooth_objective():
    """At the hinge's parameters, with the smooth hinge's gradient and curvature there."""
    X, y = make_data("binary", 50, 4, 0)
    model = ours.LinearSVC(loss="hinge", C=0.5).fit(X, y)
    smooth = ours.LinearSVC(loss="smooth_hinge", temperature=0.3, C=0.5).fit(X, y)
    smooth.coef_, smooth.intercept_ = model.coef_, model.intercept_
    with pytest.warns(UserWarning, match="not at the optimum"):
        expected = smooth.influence_pert(X, y)
    found = model.influence_pert(X, y, smoothing=0.3)
    # Test losses are each model's own; their slopes differ, one number per test point.
    eta = model.decision_function(X)
    sign = np.where(y == "yes", 1.0, -1.0)
    hinge = np.where(sign * eta <= 1.0 + 1e-9, 1.0, 0.0)
    own = 1.0 / (1.0 + np.exp(-(1.0 - sign * eta) / 0.3))
    np.testing.assert_allclose(found, expected * (hinge / own)[:, None, None], rtol=0, atol=1e-8)


@TASK
def test_self_influence_is_minus_the_influence_on_itself(task):
    X, y = make_data(task, 60, 4, 0)
    for model in (ours.SVC(), ours.LinearSVC(loss="hinge", C=0.3)):
        inf = Influence(model.fit(X, y), X, y)
        own = inf.self_influence()
        assert (own >= -1e-12).all()
        np.testing.assert_allclose(own, -inf.influence_up_loss(X, y).diagonal(), atol=1e-8)


def test_aggregate_and_indices():
    X, y = make_data("softmax", 60, 4, 0)
    inf = Influence(ours.SVC().fit(X, y), X, y)
    every = inf.influence_up_loss(X[:8], y[:8])
    mean = inf.influence_up_loss(X[:8], y[:8], aggregate="mean", indices=[5, 2])
    np.testing.assert_allclose(mean, every.mean(axis=0)[[5, 2]], atol=1e-12)
    pert = inf.influence_pert(X[:8], y[:8], indices=[5, 2])
    np.testing.assert_allclose(pert, inf.influence_pert(X[:8], y[:8])[:, [5, 2]], atol=1e-10)


def test_gradients_go_back_through_a_pipeline():
    X, y = make_data("binary", 50, 4, 0)
    pipeline = make_pipeline(StandardScaler(), ours.SVC()).fit(X, y)
    held = {"frozen": "accept"}
    found = Influence(pipeline, X, y).influence_pert(X[:5], y[:5], **held)
    scaled = pipeline[:-1].transform(X)
    inside = Influence(pipeline[-1], scaled, y).influence_pert(scaled[:5], y[:5], **held)
    np.testing.assert_allclose(found, inside / pipeline[0].scale_, atol=1e-10)


def test_a_model_trained_with_the_smooth_hinge_has_its_own_temperature():
    X, y = make_data("binary", 50, 4, 0)
    model = ours.LinearSVC(loss="smooth_hinge", temperature=0.3).fit(X, y)
    objective = objective_of(model, X, y)
    best = minimise(objective, Exact()).objective
    np.testing.assert_allclose(best.theta, objective.theta, rtol=1e-8)
    assert objective.loss.temperature == 0.3


def test_without_a_row_on_the_margin_local_questions_are_refused():
    """The free intercept may lie in an interval; a penalised one may not."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 3)), np.arange(40) % 2
    model = ours.SVC(C=1e-3).fit(X, y)
    inf = Influence(model, X, y)
    assert inf.report().n_margin[0] == 0
    assert np.isfinite(inf.removal_effect(X, y)).all()
    for ask in (
        lambda: inf.influence_up_loss(X, y),
        lambda: inf.influence_up_loss(X, y, smoothing=None),
        lambda: inf.influence_pert(X, y),
        lambda: inf.self_influence(),
        lambda: inf.removal_effect(X, y, method="one-step"),
        lambda: inf.removal_effect(X, y, method="influence"),
    ):
        with pytest.raises(ValueError, match="need a row on the margin"):
            ask()
    plane = ours.LinearSVC(loss="hinge", C=1e-3).fit(X, y)
    inf = Influence(plane, X, y)
    assert inf.report().n_margin[0] == 0
    limit = inf.influence_up_loss(X, y, smoothing=None)
    np.testing.assert_allclose(inf.influence_up_loss(X, y), limit, rtol=1e-10)
    effect = inf.removal_effect(X, of="decision_function", method="influence")
    np.testing.assert_allclose(effect, inf.removal_effect(X, of="decision_function"), atol=1e-12)
