"""Effects on hinge models: equal to refits, exactly zero where they are, and refused where unknown."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.svm
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skinfluence.svm as ours
from skinfluence import Influence, edits
from tests.fewer import turns
from tests.registries import make_data
from tests.svm.test_linear import digits
from tests.truth import relative_l2

RBF = sklearn.svm.SVC(tol=1e-10)
PLANE = sklearn.svm.SVC(kernel="linear", tol=1e-10)
LIBLINEAR = sklearn.svm.LinearSVC(loss="hinge", tol=1e-8, max_iter=10**6)
# Estimator and the largest error against its own refits, which is that of its solver: libsvm's
# float32 cache, liblinear's tolerance.
TIGHT = {
    "rbf": (RBF, 5e-6),
    "rbf-C10": (clone(RBF).set_params(C=10.0), 5e-6),
    "poly": (sklearn.svm.SVC(kernel="poly", coef0=1.0, tol=1e-10), 2e-5),
    "linear": (PLANE, 1e-8),
    "linear-C.1": (clone(PLANE).set_params(C=0.1), 1e-8),
    "liblinear": (LIBLINEAR, 5e-7),
    "liblinear-no-intercept": (clone(LIBLINEAR).set_params(fit_intercept=False, C=0.1), 5e-7),
    "liblinear-scaling": (clone(LIBLINEAR).set_params(intercept_scaling=3.0, C=0.3), 5e-7),
}
EVERY = pytest.mark.parametrize("name", TIGHT)
OURS = {
    "rbf": ours.SVC(),
    # How gamma moves with the rows is a question of its own, and dear: tests/statistics/test_gamma.py.
    "rbf-C10": ours.SVC(C=10.0, gamma=0.3),
    "linear": ours.SVC(kernel="linear"),
    "poly": ours.SVC(kernel="poly", coef0=1.0, gamma=0.3),
    "hinge": ours.LinearSVC(loss="hinge"),
    "hinge-scaling": ours.LinearSVC(loss="hinge", intercept_scaling=2.0, C=0.2),
}
EVERY_OF_OURS = pytest.mark.parametrize("model", OURS.values(), ids=OURS)
TASK = pytest.mark.parametrize("task", ["binary", "softmax"])


def frozen(model):
    """The same parameters with gamma as fitted: what answers hold."""
    new = clone(model)
    return new.set_params(gamma=model._gamma) if hasattr(model, "_gamma") else new


def values(model, X):
    """The binary decision functions, whatever shape the user chose."""
    if hasattr(model, "decision_function_shape"):
        model = model.set_params(decision_function_shape="ovo")
    return model.decision_function(X)


@EVERY
def test_removals_equal_refits(name):
    """T2, T3: rows near and far, those without coefficient exactly zero where gamma was given."""
    X, y = digits([3, 8], 130)
    tests = digits([3, 8], 160)[0][130:]
    model, bar = TIGHT[name]
    model = clone(model).fit(X, y)
    inf = Influence(model, X, y)
    effect = inf.removal_effect(tests, of="decision_function")
    role = inf.report().role[:, 0]
    # Rows without a coefficient are part of gamma, if that is the scale of the rows.
    scaled = name in ("rbf", "rbf-C10", "poly")
    assert (effect[:, role == "none"] == 0.0).all() != scaled
    assert (effect[:, role != "none"] != 0.0).any(axis=0).all()
    rng = np.random.default_rng(0)
    for i in rng.permutation(np.flatnonzero(role != "none"))[:8]:
        refit = clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i))
        truth = refit.decision_function(tests) - model.decision_function(tests)
        assert np.abs(effect[:, i] - truth).max() < bar


@pytest.mark.parametrize("C", [0.1, 1.0])
def test_removals_on_breast_cancer(C):
    """T4: libsvm is the inaccurate side here; the KKT residual is the other half of the test."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = clone(PLANE).set_params(C=C).fit(X[:400], y[:400])
    inf = Influence(model, X[:400], y[:400])
    rows = np.random.default_rng(0).permutation(model.support_)[:6]
    found = inf.effect([edits.remove(i) for i in rows], X[400:420], of="decision_function")
    assert found.kkt_residual.max() < 1e-8
    for j, i in enumerate(rows):
        refit = clone(model).fit(np.delete(X[:400], i, axis=0), np.delete(y[:400], i))
        truth = refit.decision_function(X[400:420]) - model.decision_function(X[400:420])
        assert np.abs(found.values[:, j] - truth).max() < 1e-4 * np.abs(truth).max()


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_answers_do_not_depend_on_how_well_libsvm_converged(kernel):
    """T5."""
    X, y = digits([3, 8], 130)
    answers = []
    for tol in (1e-3, 1e-10):
        model = sklearn.svm.SVC(kernel=kernel, tol=tol).fit(X, y)
        answers.append(Influence(model, X, y).removal_effect(X[:10], y[:10]))
    np.testing.assert_allclose(answers[0], answers[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_groups_equal_refits(kernel):
    """T9: up to fifty rows at once, with weights of both kinds."""
    X, y = digits([3, 8], 160)
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 2.0, 160)
    model = clone(RBF).set_params(kernel=kernel, class_weight={3: 2.0, 8: 0.7})
    model.fit(X, y, weight)
    groups = [rng.permutation(160)[:size] for size in (2, 10, 50)]
    found = Influence(model, X, y, weight).effect(
        [edits.remove(rows) for rows in groups], X[:20], of="decision_function"
    )
    assert found.kkt_residual.max() < 1e-8
    for j, rows in enumerate(groups):
        keep = np.setdiff1d(np.arange(160), rows)
        refit = clone(model).fit(X[keep], y[keep], weight[keep])
        truth = refit.decision_function(X[:20]) - model.decision_function(X[:20])
        assert np.abs(found.values[:, j] - truth).max() < 5e-6


def _edited(X, y, weight, classes, rng):
    """Edits of every kind, and the data after each."""
    n, new_x = len(y), X[rng.integers(len(y))] + 0.3 * rng.standard_normal(X.shape[1])
    other = classes[(np.searchsorted(classes, y) + 1) % len(classes)]
    cases = {}
    for size in (2, 10, 25):
        group = rng.permutation(n)[:size]
        keep = np.setdiff1d(np.arange(n), group)
        cases[edits.remove(group)] = (X[keep], y[keep], weight[keep])
    i, j, k = rng.permutation(n)[:3]
    relabelled = y.copy()
    relabelled[i] = other[i]
    cases[edits.relabel(i, other[i])] = (X, relabelled, weight)
    moved = X.copy()
    moved[j] = new_x
    cases[edits.replace(j, new_x)] = (moved, y, weight)
    reweighted = weight.copy()
    reweighted[[i, k]] = [0.05, 4.0]
    cases[edits.reweight([i, k], [0.05, 4.0])] = (X, y, reweighted)
    added = (np.vstack([X, new_x]), np.append(y, y[0]), np.append(weight, 1.5))
    cases[edits.add(new_x, y[0], 1.5)] = added
    together = (np.vstack([moved, new_x]), np.append(relabelled, y[1]), np.append(weight, 1.0))
    both = edits.relabel(i, other[i]) + edits.replace(j, new_x) + edits.add(new_x, y[1])
    cases[both] = together
    return cases


@EVERY_OF_OURS
@TASK
def test_every_edit_equals_a_refit(model, task):
    """T9: with sample weights and balanced class weights, gamma that of the rows."""
    X, y = make_data(task, 70, 4, 3)
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.5, 2.0, 70)
    model = clone(model).set_params(class_weight="balanced").fit(X, y, weight)
    cases = _edited(X, y, weight, model.classes_, rng)
    if hasattr(model, "decision_function_shape"):
        model.set_params(decision_function_shape="ovo")
    inf = Influence(model, X, y, weight)
    found = inf.effect(list(cases), X[:9], of="decision_function")
    assert (found.method_used == "path").all()
    assert (found.bound < 1e-4).all()
    assert found.kkt_residual.max() < 1e-8
    for j, data in enumerate(cases.values()):
        refit = clone(model).fit(*data)
        truth = values(refit, X[:9]) - values(model, X[:9])
        np.testing.assert_allclose(found.values[:, j], truth, rtol=0, atol=1e-8)


@EVERY_OF_OURS
@TASK
def test_relabel_effects_equal_refits(model, task):
    X, y = make_data(task, 60, 4, 0)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 60)
    model = clone(model).fit(X, y, weight)
    found = Influence(model, X, y, weight).relabel_effect(X[:7], y[:7], of="decision_function")
    before = model.decision_function(X[:7])
    for i in (0, 11, 25):
        for code, label in enumerate(model.classes_):
            relabelled = y.copy()
            relabelled[i] = label
            truth = clone(model).fit(X, relabelled, weight).decision_function(X[:7]) - before
            np.testing.assert_allclose(found[:, i, code], truth, rtol=0, atol=1e-8)


@EVERY_OF_OURS
@TASK
def test_leave_one_out_equals_refits(model, task):
    X, y = make_data(task, 36, 4, 0)
    model = clone(model).fit(X, y)
    found, labels = model.loo_decision_function(), model.loo_predict()
    for i in range(0, 36, 5):
        refit = clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i))
        np.testing.assert_allclose(found[i], refit.decision_function(X[[i]])[0], atol=1e-8)
        assert labels[i] == refit.predict(X[[i]])[0]
    assert model.loo_score() == np.mean(labels == y)


@pytest.mark.parametrize("break_ties", [False, True])
def test_many_classes_flip_the_predictions_that_refits_flip(break_ties):
    """T11, one-vs-one: the votes are scikit-learn's."""
    X, y = digits(range(6), 120)
    tests = digits(range(6), 270)[0][120:]
    model = clone(RBF).set_params(C=10.0, break_ties=break_ties).fit(X, y)
    inf = Influence(model, X, y)
    ovo = clone(model).set_params(break_ties=False, decision_function_shape="ovo").fit(X, y)
    rows = np.random.default_rng(0).permutation(model.support_)[:5]
    effect = Influence(ovo, X, y).removal_effect(tests, of="decision_function", indices=rows)
    for j, i in enumerate(rows):
        refit = clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i))
        predicted = inf.objective.loss.decide(values(ovo, tests) + effect[:, j])
        np.testing.assert_array_equal(model.classes_[predicted], refit.predict(tests))
        truth = values(refit.set_params(break_ties=False), tests) - values(ovo, tests)
        assert np.abs(effect[:, j] - truth).max() < 5e-6


def test_many_classes_one_vs_rest():
    """T11, one-vs-rest."""
    X, y = digits(range(10), 200)
    model = clone(LIBLINEAR).set_params(C=0.1).fit(X, y)
    inf = Influence(model, X, y)
    rows = np.flatnonzero((inf.report().role != "none").sum(axis=1) > 2)[:5]
    effect = inf.removal_effect(X[:40], of="decision_function", indices=rows)
    for j, i in enumerate(rows):
        refit = clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i))
        truth = refit.decision_function(X[:40]) - model.decision_function(X[:40])
        assert np.abs(effect[:, j] - truth).max() < 5e-6
        found = (model.decision_function(X[:40]) + effect[:, j]).argmax(axis=1)
        np.testing.assert_array_equal(model.classes_[found], refit.predict(X[:40]))


def test_losses_are_those_of_the_changed_decision_values():
    """One-vs-one: the pairs of the true class, at f + df and never linearised."""
    X, y = make_data("softmax", 60, 4, 0)
    model = ours.SVC(decision_function_shape="ovo", gamma=0.3).fit(X, y)
    inf = Influence(model, X, y)
    before, step = values(model, X), inf.removal_effect(X, of="decision_function")
    codes = np.searchsorted(model.classes_, y)

    def loss(F):
        total = np.zeros(F.shape[:-1])
        for pair, (a, b) in enumerate([(0, 1), (0, 2), (1, 2)]):
            sign = (codes == a).astype(float) - (codes == b)
            total += np.abs(sign) * np.maximum(0.0, 1.0 - sign * F[..., pair])
        return total

    expected = loss(before + step.transpose(1, 0, 2)).T - loss(before)[:, None]
    np.testing.assert_allclose(inf.removal_effect(X, y), expected, rtol=0, atol=1e-12)


@TASK
def test_groups_and_top_are_the_effects(task):
    X, y = make_data(task, 60, 4, 0)
    model = ours.SVC(C=2.0, gamma=0.3).fit(X, y)
    inf, groups = Influence(model, X, y), np.arange(60) // 12
    grouped = inf.removal_effect(X[:6], y[:6], groups=groups)
    one = inf.effect(edits.remove(np.flatnonzero(groups == 2)), X[:6], y[:6])
    np.testing.assert_allclose(grouped[:, 2], one.values, rtol=0, atol=1e-10)
    top, all_rows = inf.top(X[:6], y[:6], k=3), inf.removal_effect(X[:6], y[:6])
    np.testing.assert_allclose(top.helpful_effects[:, 0], all_rows.max(axis=1), atol=1e-12)
    np.testing.assert_allclose(top.harmful_effects[:, 0], all_rows.min(axis=1), atol=1e-12)


def test_one_step_is_close_and_influence_is_first_order():
    """The span rule ranks better than the derivative, which is zero on the margin."""
    X, y = digits([3, 8], 130)
    inf = Influence(frozen(clone(RBF).fit(X, y)).fit(X, y), X, y)
    exact, one_step, first = (
        inf.removal_effect(X[:20], of="decision_function", method=method)
        for method in ("auto", "one-step", "influence")
    )
    role = inf.report().role[:, 0]
    assert relative_l2(one_step, exact) < relative_l2(first, exact)
    assert (first[:, role == "margin"] == 0.0).all()
    assert (one_step[:, role == "margin"] != 0.0).any(axis=0).all()
    own = inf.loo_decision_function(method="one-step")
    every = inf.removal_effect(X, of="decision_function", method="one-step")
    np.testing.assert_allclose(own, values(inf.estimator, X) + every.diagonal(), atol=1e-6)


def test_sparse_answers_are_dense_answers():
    X, y = make_data("softmax", 40, 4, 0)
    for model in (ours.SVC(kernel="linear"), ours.LinearSVC(loss="hinge")):
        dense, sparse = clone(model).fit(X, y), clone(model).fit(sp.csr_array(X), y)
        for ask in ("removal_effect", "relabel_effect", "influence_up_loss", "influence_pert"):
            found = getattr(sparse, ask)(sp.csr_array(X[:4]), y[:4])
            np.testing.assert_allclose(found, getattr(dense, ask)(X[:4], y[:4]), atol=1e-8)


def test_rows_of_weight_zero_change_nothing():
    X, y = make_data("binary", 50, 4, 0)
    weight = np.ones(50)
    weight[[3, 20]] = 0.0
    model = ours.SVC().fit(X, y, weight)
    inf = Influence(model, X, y, weight)
    assert (inf.removal_effect(X, y)[:, [3, 20]] == 0.0).all()
    back = inf.effect(edits.reweight(3, 1.0), X, of="decision_function").values
    weight[3] = 1.0
    refit = clone(model).fit(X, y, weight)
    truth = refit.decision_function(X) - model.decision_function(X)
    np.testing.assert_allclose(back, truth, atol=1e-9)


def test_libsvm_counts_rows_without_those_of_weight_zero():
    X, y = make_data("softmax", 50, 4, 0)
    weight = np.ones(50)
    weight[[0, 3, 20]] = 0.0
    theirs = frozen(clone(RBF).fit(X, y, weight)).fit(X, y, weight)
    found = Influence(theirs, X, y, weight).removal_effect(X[:5], y[:5])
    exact = ours.SVC(gamma=theirs._gamma).fit(X, y, weight).removal_effect(X[:5], y[:5])
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9)


def test_a_loose_fit_is_reported():
    X, y = load_breast_cancer(return_X_y=True)
    model = sklearn.svm.LinearSVC(loss="hinge", max_iter=5).fit(X / 100, y)
    with pytest.warns(ConvergenceWarning, match="away from it"):
        inf = Influence(model, X / 100, y)
    assert inf.report().distance > 1e-2
    assert inf.report().kkt_residual < 1e-8


@pytest.mark.parametrize("model", [sklearn.svm.SVC(), ours.LinearSVC(loss="hinge")], ids=str)
def test_a_class_of_weight_zero_is_refused(model):
    """libsvm leaves it out of its coefficients: their rows would be those of other classes."""
    X, y = make_data("softmax", 40, 4, 0)
    classes = np.unique(y)
    for one in classes:
        weights = np.where(y == one, 0.0, 1.0)
        with pytest.raises(ValueError, match=r"row.* of positive"):
            Influence(model.fit(X, y, weights), X, y, weights)


def test_the_last_row_of_a_class_has_no_answer():
    X, y = make_data("softmax", 40, 4, 0)
    keep = np.concatenate([np.flatnonzero(y != 10), np.flatnonzero(y == 10)[:1]])
    X, y = X[keep], y[keep]
    for model in (ours.SVC(), ours.LinearSVC(loss="hinge")):
        model.fit(X, y)
        with pytest.warns(UserWarning, match="only one of its class"):
            effect = model.removal_effect(X[:3], y[:3])
        assert np.isnan(effect[:, -1]).all()
        assert not np.isnan(effect[:, :-1]).any()


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda inf, X, y: inf.influence_up_params(), ValueError, "of='decision_function'"),
        (lambda inf, X, y: inf.loo_predict_proba(), AttributeError, "Platt"),
        (lambda inf, X, y: inf.removal_effect(X, of="predict_proba"), AttributeError, "Platt"),
        (lambda inf, X, y: inf.relabel_effect(X, y, method="one-step"), ValueError, "span rule"),
        (
            lambda inf, X, y: inf.effect(edits.remove([1, 2]), X, y, method="one-step"),
            ValueError,
            "span rule",
        ),
        (
            lambda inf, X, y: inf.effect(edits.remove(1), X, y, hold="lambda"),
            ValueError,
            "holds C",
        ),
        (lambda inf, X, y: inf.influence_up_loss(X, y, smoothing=-1.0), ValueError, "smoothing"),
        (lambda inf, X, y: inf.influence_up_loss(X, y, smoothing=1e-17), ValueError, "at least"),
        (lambda inf, X, y: inf.removal_effect(X, y, method="newton"), ValueError, "method must"),
        (lambda inf, X, y: inf.removal_effect(X[:, :2], y), ValueError, "features"),
        (lambda inf, X, y: inf.removal_effect(X * np.nan, y), ValueError, "NaN"),
        (lambda inf, X, y: inf.removal_effect(X, np.full(len(y), "maybe")), ValueError, "labels"),
    ],
)
def test_what_has_no_answer_is_refused_with_the_reason(ask, error, message):
    X, y = make_data("binary", 40, 4, 0)
    inf = Influence(ours.SVC().fit(X, y), X, y)
    with pytest.raises(error, match=message):
        ask(inf, X[:3], y[:3])


def test_models_without_an_answer_are_refused_by_name():
    X, y = make_data("binary", 40, 4, 0)
    target = np.random.default_rng(0).standard_normal(40)
    gram = X @ X.T
    for model, fitted_on, label, message in (
        (sklearn.svm.NuSVC(), X, y, "NuSVC, whose C follows from nu"),
        (sklearn.svm.NuSVR(), X, target, "NuSVR, whose C follows from nu"),
        (sklearn.svm.SVC(kernel="sigmoid"), X, y, "positive semi-definite"),
        (sklearn.svm.SVC(kernel="precomputed"), gram, y, "'precomputed'"),
        (sklearn.svm.SVC(kernel=lambda a, b: a @ b.T), X, y, "a callable"),
    ):
        model.fit(fitted_on, label)
        with pytest.raises((TypeError, ValueError), match=message):
            Influence(model, fitted_on, label)


def test_other_rows_than_those_of_the_fit_are_noticed():
    X, y = make_data("binary", 40, 4, 0)
    model = sklearn.svm.SVC().fit(X, y)
    with pytest.raises(ValueError, match="rows given to fit"):
        Influence(model, X[::-1], y[::-1])


def test_smoothing_is_for_hinges():
    X, y = make_data("binary", 40, 4, 0)
    with pytest.raises(ValueError, match="models with a hinge"):
        ours.LinearSVC().fit(X, y).influence_up_loss(X, y, smoothing=0.1)


@pytest.mark.parametrize("break_ties", [False, True])
def test_votes_are_scikit_learns(break_ties):
    """Far from the data many rows have equal votes."""
    X, y = make_data("softmax", 60, 4, 0)
    model = sklearn.svm.SVC(kernel="linear", break_ties=break_ties).fit(X, y)
    loss = Influence(model, X, y).objective.loss
    tests = 3.0 * np.random.default_rng(0).standard_normal((2000, 4))
    votes, predicted = model.decision_function(tests), model.predict(tests)
    eta = values(model.set_params(break_ties=False), tests)
    np.testing.assert_allclose(loss.expand(eta), votes, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(model.classes_[loss.decide(eta)], predicted)


def test_influence_pickles_and_asking_changes_nothing():
    X, y = make_data("softmax", 50, 4, 0)
    model = ours.SVC(gamma=0.3).fit(X, y)
    before = pickle.dumps(model)
    inf = Influence(model, X, y)
    first = inf.removal_effect(X[:4], y[:4])
    again = pickle.loads(pickle.dumps(inf))
    np.testing.assert_allclose(again.removal_effect(X[:4], y[:4]), first, rtol=0, atol=1e-12)
    inf.relabel_effect(X[:4], y[:4])
    inf.influence_pert(X[:4], y[:4])
    np.testing.assert_array_equal(inf.removal_effect(X[:4], y[:4]), first)
    assert pickle.dumps(model) == before


def _tied(kind):
    rng = np.random.default_rng(0)
    X, y = load_breast_cancer(return_X_y=True)
    X, y = np.round(StandardScaler().fit_transform(X)[:120]), y[:120]
    if kind == "grid":
        X, y = rng.integers(0, 4, (120, 2)).astype(float), rng.integers(0, 2, 120)
    elif kind == "rank-1":
        X = np.outer(X[:, 0] + rng.standard_normal(120), np.ones(3))
    elif kind == "opposite labels":
        X, y = np.vstack([X, X[:20]]), np.append(y, 1 - y[:20])
    else:
        X, y = np.vstack([X, X[:24]]), np.append(y, y[:24])
    return X, y


@pytest.mark.parametrize(
    ("kind", "model"),
    turns(
        ["duplicates", "opposite labels", "grid", "rank-1", "tiny C"],
        [ours.SVC(), ours.SVC(kernel="linear"), ours.LinearSVC(loss="hinge")],
        2,
    ),
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_ties_raise_nothing_and_are_certified(kind, model):
    """T10: fits, removals and relabellings of tables full of equal rows."""
    X, y = _tied(kind)
    model = clone(model).set_params(C=1e-6 if kind == "tiny C" else 1.0).fit(X, y)
    inf = Influence(model, X, y)
    assert inf.report().kkt_residual < 1e-8
    rows = np.arange(0, len(y), 7)
    kinds = [edits.remove(i) for i in rows] + [edits.relabel(i, 1 - y[i]) for i in rows]
    found = inf.effect(kinds, X[:9], of="decision_function")
    assert found.kkt_residual.max() < 1e-8
    some = inf.removal_effect(X[:9], of="decision_function", indices=rows)
    np.testing.assert_allclose(some, found.values[:, : len(rows)], rtol=0, atol=1e-8)
    if kind != "tiny C":
        i = rows[np.abs(some).max(axis=0).argmax()]
        refit = clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i))
        truth = refit.decision_function(X[:9]) - model.decision_function(X[:9])
        effect = inf.removal_effect(X[:9], of="decision_function", indices=[i])[:, 0]
        np.testing.assert_allclose(effect, truth, rtol=0, atol=1e-8)


TWICE = {
    "tf-idf": (lambda: make_pipeline(TfidfVectorizer(), ours.SVC(gamma=1.0)), "words"),
    "svd": (lambda: make_pipeline(TfidfVectorizer(), TruncatedSVD(8), ours.SVC()), "words"),
    "arpack": (
        lambda: make_pipeline(TruncatedSVD(5, algorithm="arpack"), ours.SVC(gamma=1e-6)),
        "numbers",
    ),
    "pca": (lambda: make_pipeline(PCA(), sklearn.svm.SVC()), "numbers"),
}


@pytest.mark.parametrize("name", TWICE)
def test_rows_that_a_transformer_computes_again_are_the_rows_of_the_fit(name):
    """`fit_transform` and `transform` differ in the last place, or more in small components."""
    rng = np.random.RandomState(0)
    make, kind = TWICE[name]
    if kind == "words":
        X = [" ".join(f"w{k}" for k in rng.zipf(1.5, 15) if k < 500) + " end" for _ in range(60)]
    else:
        X = rng.standard_normal((60, 8)) * 10.0 ** np.arange(-4, 4)
    y = rng.randint(0, 2, 60)
    model = make().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isfinite(Influence(model, X, y).removal_effect(X[:2], y[:2])).all()


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_other_rows_are_never_those_of_the_fit(scale):
    """Two that are exchanged, also where they differ in one small column beside a large constant."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.full(40, 1e6), scale * rng.standard_normal(40)])
    y = np.arange(40) % 2
    model = sklearn.svm.SVC(gamma=1.0 / scale**2).fit(X, y)
    i, j = model.support_[:2]
    X[[i, j]] = X[[j, i]]
    with pytest.raises(ValueError, match="same order"):
        Influence(model, X, y)


@pytest.mark.parametrize("model", [ours.LinearSVC(loss="hinge", C=20.0), ours.SVC(kernel="linear")])
def test_conditions_that_round_off_leaves_violated_are_said(model):
    """Products of features of 1e8 leave nothing of a margin of 1: no answer without a word."""
    rng = np.random.default_rng(0)
    X = np.column_stack([1e8 + rng.standard_normal(30), 1e4 * rng.standard_normal(30)])
    y = np.arange(30) % 2
    with pytest.warns(ConvergenceWarning, match="round-off alone may leave .* scale the features"):
        model = clone(model).fit(X, y)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        effect = Influence(model, X, y).effect(edits.remove(0), X[:2], of="decision_function")
    assert effect.kkt_residual < 1e-6 or any("are violated" in str(one.message) for one in said)


def test_the_row_that_holds_the_free_intercept_has_no_one_step_answer_and_is_named():
    X = np.array([[-3.0], [-2.0], [-0.1], [0.2], [2.0], [3.0], [0.5]])
    y = np.array([0, 0, 0, 0, 1, 1, 1])
    # Coefficients at their bounds do not add up to zero: one row in between makes up for it.
    weight = np.array([1.0, 1.3, 0.9, 1.1, 0.8, 1.2, 0.7])
    inf = Influence(ours.SVC(kernel="linear", C=0.01).fit(X, y, weight), X, y, weight)
    (row,) = np.flatnonzero(inf.report().role[:, 0] == "margin")
    with pytest.warns(UserWarning, match=f"Row {row} has no one-step answer"):
        found = inf.removal_effect(X[:2], of="decision_function", method="one-step")
    assert np.isnan(found[:, row]).all()
    assert np.isfinite(np.delete(found, row, axis=1)).all()
    with pytest.warns(UserWarning, match=f"Row {row} has no one-step answer"):
        inf.effect(edits.remove(row), X[:2], of="decision_function", method="one-step")
    assert np.isfinite(inf.removal_effect(X[:2], of="decision_function")).all()


def test_a_bias_of_an_interval_is_no_other_fit():
    """Balanced classes weigh the same: a small C holds all rows at their bound, and no row the bias."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((16, 3)), (np.arange(16) < 6).astype(int)
    model = sklearn.svm.SVC(C=0.05, class_weight="balanced").fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = Influence(model, X, y).report()
    assert report.n_margin.tolist() == [0]
    assert report.distance < 1e-3
    model.intercept_ = model._intercept_ = model.intercept_ + 3.0
    with pytest.warns(UserWarning, match="not at the optimum"):
        Influence(model, X, y)
