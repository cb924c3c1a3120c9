"""The training-set attack: inside the box, judged by true refits, and bounded to first order."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skinfluence.attack import TrainingSetAttack, vulnerability
from skinfluence.attack.heads import head_of

TIGHT = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}


def _digits(classes, n=120):
    X, y = load_digits(return_X_y=True)
    chosen = np.isin(y, classes)
    X, y = X[chosen] / 16.0, y[chosen]
    return X[:n], y[:n], X[n : n + 60], y[n : n + 60]


def _features(name):
    steps = {"pca": [PCA(20, random_state=0)], "scaler": [StandardScaler()], "none": []}[name]
    return steps


CASES = {
    "binary": (LogisticRegression(C=1.0, **TIGHT), "scaler", [3, 8]),
    "softmax": (LogisticRegression(C=1.0, **TIGHT), "pca", [3, 5, 8]),
    "balanced": (LogisticRegression(C=1.0, class_weight="balanced", **TIGHT), "none", [1, 7]),
    "squared": (RidgeClassifier(alpha=1.0, solver="cholesky"), "pca", [3, 8]),
    "squared-3": (RidgeClassifier(alpha=1.0, solver="cholesky"), "scaler", [3, 5, 8]),
    "svc": (SVC(C=1.0, gamma=0.05, tol=1e-10), "none", [3, 8]),
    "linear-svc": (LinearSVC(loss="hinge", C=0.1, tol=1e-10, max_iter=10**6), "pca", [3, 8]),
}


def _fitted(case):
    model, features, classes = CASES[case]
    X, y, X_test, y_test = _digits(classes)
    pipeline = make_pipeline(*_features(features), clone(model)).fit(X, y)
    right = pipeline.predict(X_test) == y_test
    return pipeline, X, y, X_test[right], y_test[right]


def _margin(pipeline, X, y):
    eta = pipeline.decision_function(X)
    codes = np.searchsorted(pipeline[-1].classes_, y)
    if eta.ndim == 1:
        return np.where(codes == 1, eta, -eta)
    own = eta[np.arange(len(eta)), codes]
    eta[np.arange(len(eta)), codes] = -np.inf
    return own - eta.max(axis=1)


def _nearest(pipeline, X, y, k=1):
    """The test points nearest to the boundary."""
    return np.argsort(_margin(pipeline, X, y))[:k]


@pytest.mark.parametrize("case", CASES)
def test_margins_on_the_way_are_those_of_true_refits(case):
    """The running solution equals a fit of the moved rows, transformers frozen: 1e-5."""
    pipeline, X, y, X_test, y_test = _fitted(case)
    t = _nearest(pipeline, X_test, y_test, 2)
    attack = TrainingSetAttack(0.1, low=0.0, high=1.0, n_rows=3, max_iter=8)
    result = attack.run(pipeline, X, y, X_test[t], y_test[t])
    np.testing.assert_allclose(
        result.margins[0], _margin(pipeline, X_test[t], y_test[t]), rtol=1e-5
    )
    moved = X.copy()
    moved[result.rows] = result.X
    refit = clone(pipeline[-1])
    refit.fit(pipeline[:-1].transform(moved) if len(pipeline) > 1 else moved, y)
    pipeline.steps[-1] = ("refit", refit)
    expected = _margin(pipeline, X_test[t], y_test[t])
    np.testing.assert_allclose(result.margins[-1], expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(result.predictions, pipeline.predict(X_test[t]))
    np.testing.assert_array_equal(result.flipped, result.predictions != y_test[t])
    assert result.margins[-1].sum() < result.margins[0].sum()
    # Beyond the margin a hinge stays 0.
    assert result.losses[-1].sum() >= result.losses[0].sum()


def test_a_hinge_machine_is_climbed_beyond_its_margin_too():
    """The hinge loss of a test point beyond the margin is 0 and shows no way; its margin does."""
    pipeline, X, y, X_test, y_test = _fitted("svc")
    t = np.flatnonzero(_margin(pipeline, X_test, y_test) > 1.0)[:1]
    result = TrainingSetAttack(0.1, n_rows=5, max_iter=3).run(pipeline, X, y, X_test[t], y_test[t])
    assert result.losses[0] == 0 and result.margins[-1, 0] < result.margins[0, 0]


def test_rows_stay_in_their_box_and_the_data_as_they_were():
    pipeline, X, y, X_test, y_test = _fitted("binary")
    before = X.copy()
    radius = np.linspace(0.01, 0.1, 64)
    attack = TrainingSetAttack(radius, step=0.03, low=0.0, high=1.0, n_rows=4, max_iter=15)
    result = attack.run(pipeline, X, y, X_test[:1], y_test[:1])
    np.testing.assert_array_equal(X, before)
    assert len(np.unique(result.rows)) == 4
    assert (np.abs(result.X - X[result.rows]) <= radius + 1e-15).all()
    assert result.X.min() >= 0.0 and result.X.max() <= 1.0


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("C", [1e1, 1e3, 1e5])
@pytest.mark.parametrize("d", [20, 100])
def test_rows_that_move_far_are_fitted_where_old_hessians_lead_astray(d, C, scale, rng):
    """Separable classes: a step with the Hessian of before may end where nothing is curved."""
    X = rng.standard_normal((60, d))
    y = (X[:, 0] + 0.1 * rng.standard_normal(60) > 0).astype(int)
    tight = {"C": C, "solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}
    head = head_of(LogisticRegression(**tight).fit(X, y), X, y, None)
    moved = X.copy()
    moved[:2] += scale * rng.standard_normal((2, d))
    head.move(np.array([0, 1]), moved[:2])
    model = LogisticRegression(**tight).fit(moved, y)
    eta = moved @ head.objective.theta[0, :-1] + head.objective.theta[0, -1]
    expected = model.decision_function(moved)
    np.testing.assert_allclose(eta, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_a_flip_ends_the_attack_and_is_the_refits_verdict():
    """One target, then three; with enough room the nearest ones flip before the last step."""
    pipeline, X, y, X_test, y_test = _fitted("binary")
    for k in (1, 3):
        t = _nearest(pipeline, X_test, y_test, k)
        attack = TrainingSetAttack(0.5, n_rows=10, max_iter=200)
        result = attack.run(pipeline, X, y, X_test[t], y_test[t])
        assert result.flipped.all() and (result.predictions != y_test[t]).all()
        assert result.n_steps < 200
        assert (result.margins[-1] < 0).all()
        assert (result.margins[:-1] >= 0).any(axis=1).all()


def test_the_chosen_row_moves_the_target_further_than_others():
    pipeline, X, y, X_test, y_test = _fitted("binary")
    t = _nearest(pipeline, X_test, y_test)
    attack = TrainingSetAttack(0.05, max_iter=25)
    chosen = attack.run(pipeline, X, y, X_test[t], y_test[t])
    shortlisted = TrainingSetAttack(0.05, max_iter=25, shortlist=10)
    assert shortlisted.run(pipeline, X, y, X_test[t], y_test[t]).rows == chosen.rows
    ends = []
    for row in range(0, 120, 10):
        result = attack.run(pipeline, X, y, X_test[t], y_test[t], rows=[row])
        assert result.rows.tolist() == [row]
        ends.append(result.margins[-1, 0])
    assert chosen.margins[-1, 0] <= np.median(ends)


def test_targets_one_by_one_are_as_alone():
    """What is shared between targets changes nothing, nor does an attack its successor."""
    pipeline, X, y, X_test, y_test = _fitted("softmax")
    t = _nearest(pipeline, X_test, y_test, 3)
    attack = TrainingSetAttack(0.1, n_rows=2, max_iter=6, shortlist=10)
    each = list(attack.run_each(pipeline, X, y, X_test[t], y_test[t]))
    assert len(each) == 3
    for result, i in zip(each, t, strict=True):
        alone = attack.run(pipeline, X, y, X_test[[i]], y_test[[i]])
        np.testing.assert_array_equal(result.rows, alone.rows)
        np.testing.assert_allclose(result.X, alone.X)
        np.testing.assert_allclose(result.margins, alone.margins, rtol=1e-6)
        assert result.flipped.tolist() == alone.flipped.tolist()


def test_another_try_takes_the_next_rows_and_the_better_is_returned():
    pipeline, X, y, X_test, y_test = _fitted("binary")
    t = _nearest(pipeline, X_test, y_test)
    ends, rows = {}, []
    for tries in (1, 2, 3):
        attack = TrainingSetAttack(0.02, max_iter=5, n_rows=2, tries=tries)
        ends[tries] = attack.run(pipeline, X, y, X_test[t], y_test[t])
        rows.append(ends[tries].rows.tolist())
    assert not ends[3].flipped[0]
    losses = [ends[tries].losses[-1, 0] for tries in (1, 2, 3)]
    assert losses[0] <= losses[1] <= losses[2]
    every = TrainingSetAttack(0.02, max_iter=5, n_rows=6)
    assert set(rows[2]) <= set(every.run(pipeline, X, y, X_test[t], y_test[t]).rows.tolist())


def test_vulnerability_of_some_rows_is_theirs_among_all():
    pipeline, X, y, X_test, y_test = _fitted("softmax")
    every = vulnerability(pipeline, X, y, X_test[:2], y_test[:2], radius=0.1)
    rows = np.array([40, 3, 77])
    some = vulnerability(pipeline, X, y, X_test[:2], y_test[:2], radius=0.1, rows=rows, realise=3)
    np.testing.assert_array_equal(some.rows, rows)
    np.testing.assert_allclose(some.change, every.change[:, rows], rtol=1e-10)
    assert not np.isnan(some.realised).any()


@pytest.mark.parametrize("case", CASES)
def test_the_first_order_bound_is_met_as_the_box_shrinks(case):
    """Realised changes of margins over predicted ones tend to 1: within 1e-3 at radius 1e-5."""
    pipeline, X, y, X_test, y_test = _fitted(case)
    found = vulnerability(pipeline, X, y, X_test[:3], y_test[:3], radius=1e-5, realise=4)
    assert found.change.shape == found.realised.shape == (3, 120)
    np.testing.assert_allclose(found.margin, _margin(pipeline, X_test[:3], y_test[:3]), rtol=1e-5)
    tried = ~np.isnan(found.realised)
    assert (tried.sum(axis=1) == 4).all() and (found.change <= 0).all()
    np.testing.assert_allclose(found.realised[tried], found.change[tried], rtol=1e-3)


def test_limits_lower_the_vulnerability():
    """Values at a limit can only move away from it."""
    pipeline, X, y, X_test, y_test = _fitted("binary")
    options = {"radius": 0.1}
    free = vulnerability(pipeline, X, y, X_test[:2], y_test[:2], **options)
    held = vulnerability(pipeline, X, y, X_test[:2], y_test[:2], low=0.0, high=1.0, **options)
    assert (held.change >= free.change).all() and (held.change > free.change).any()


def test_weights_of_zero_move_nothing():
    pipeline, X, y, X_test, y_test = _fitted("binary")
    weight = np.ones(120)
    weight[:60] = 0.0
    model = clone(pipeline[-1]).fit(X, y, weight)
    found = vulnerability(model, X, y, X_test[:2], y_test[:2], radius=0.1, sample_weight=weight)
    assert (found.change[:, :60] == 0).all() and (found.change[:, 60:] < 0).all()
    attack = TrainingSetAttack(0.1, max_iter=2, n_rows=5)
    result = attack.run(model, X, y, X_test[:1], y_test[:1], sample_weight=weight)
    assert (result.rows >= 60).all()


@pytest.mark.parametrize("pictures", [True, False], ids=["4d", "flat"])
def test_pictures_are_attacked_through_a_network(pictures):
    networks = pytest.importorskip("tests.neural.networks")
    from skinfluence.neural import TorchFeaturizer

    X, y = networks.digit_pictures(80)
    X = X if pictures else X.reshape(80, -1)
    net = TorchFeaturizer(networks.small_net(), input_shape=(1, 8, 8), dtype="float64")
    pipeline = make_pipeline(net, LogisticRegression(C=1.0, **TIGHT)).fit(X[:60], y[:60])
    right = 60 + np.flatnonzero(pipeline.predict(X[60:]) == y[60:])
    t = right[_nearest(pipeline, X[right], y[right])]
    attack = TrainingSetAttack(0.05, low=0.0, high=1.0, n_rows=3, max_iter=10, shortlist=10)
    result = attack.run(pipeline, X[:60], y[:60], X[t], y[t])
    assert result.X.shape == (3, *X.shape[1:])
    assert np.abs(result.X - X[result.rows]).max() <= 0.05 + 1e-12
    assert result.margins[-1, 0] < result.margins[0, 0]
    moved = X[:60].copy()
    moved[result.rows] = result.X
    refit = clone(pipeline).fit(moved, y[:60])
    np.testing.assert_allclose(result.margins[-1], _margin(refit, X[t], y[t]), rtol=1e-5)
    found = vulnerability(pipeline, X[:60], y[:60], X[t], y[t], radius=1e-4, realise=2)
    tried = ~np.isnan(found.realised)
    np.testing.assert_allclose(found.realised[tried], found.change[tried], rtol=1e-2)


def test_a_hinge_machine_of_three_classes_is_refused():
    X, y, *_ = _digits([3, 5, 8])
    with pytest.raises(ValueError, match="two classes"):
        TrainingSetAttack(0.1).run(SVC(gamma=0.1).fit(X, y), X, y, X[:1], y[:1])


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"radius": 0.0}, ValueError, "positive"),
        ({"max_iter": 0}, ValueError, "positive integer"),
        ({"n_rows": 121}, ValueError, "between 1 and 120"),
        ({"tries": 0}, ValueError, "tries must lie"),
        ({"rows": [0, 0]}, ValueError, "distinct"),
        ({"rows": [120]}, IndexError, "below 120"),
        ({"y_test": [5]}, ValueError, "fitted on"),
        ({"y_test": [3, 3]}, ValueError, "one row each"),
        ({"X_test": np.ones((1, 3))}, ValueError, "features"),
        ({"X": sp.csr_array(np.ones((120, 64)))}, TypeError, "dense array"),
        ({"estimator": Ridge()}, TypeError, "classifier"),
        ({"estimator": SVC()}, ValueError, "gamma=0."),
        ({"estimator": KNeighborsClassifier()}, TypeError, "KNeighbors"),
        ({"estimator": make_pipeline(PCA(5), KNeighborsClassifier())}, TypeError, "KNeighbors"),
    ],
)
def test_what_cannot_be_attacked_is_refused(change, error, message):
    pipeline, X, y, X_test, y_test = _fitted("binary")
    given = {"estimator": pipeline, "X": X, "y": y, "X_test": X_test[:1], "y_test": y_test[:1]}
    options = {"radius": 0.1, **{k: v for k, v in change.items() if k not in (*given, "rows")}}
    given |= {k: v for k, v in change.items() if k in (*given, "rows")}
    if given["estimator"] is not pipeline:
        given["estimator"].fit(X, y)
    with pytest.raises(error, match=message):
        TrainingSetAttack(**options).run(**given)
