"""What goes wrong in practice: changed parameters, text rows, column vectors, odd callables."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import LogisticRegression as Plain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skinfluence import Influence, edits
from skinfluence.linear_model import LogisticRegression, Ridge, RidgeClassifier


@pytest.fixture(scope="module")
def data():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X)[:120], y[:120]


def test_parameters_changed_after_the_fit_are_refused(data):
    """Answers for other parameters than those of the fit would look right and be wrong."""
    model = LogisticRegression(C=0.1).fit(*data)
    model.set_params(C=0.2)
    with pytest.raises(ValueError, match=r"C=0\.2, fitted with C=0\.1"):
        model.loo_predict()
    X, y = load_diabetes(return_X_y=True)
    plain = Ridge().fit(X, y).set_params(fit_intercept=False)
    with pytest.raises(ValueError, match="fit again"):
        Influence(plain, X, y)


def test_removals_that_separate_the_classes_have_no_answer():
    """With C=inf the optimum without such a row is at infinity."""
    X, y = np.array([[0.0], [1], [2], [3], [2.5], [0.5]]), np.array([0, 0, 1, 1, 0, 0])
    inf = Influence(Plain(C=np.inf, tol=1e-10, solver="newton-cholesky").fit(X, y), X, y)
    with pytest.raises(ValueError, match="must not separate"):
        inf.effect(edits.remove(4), X, y)
    with pytest.warns(UserWarning):
        found = inf.loo_predict_proba()
    assert np.isnan(found[4]).all() and np.isfinite(found[[0, 1, 3]]).all()


def test_rows_of_text_can_be_added_and_replaced():
    texts = ["good movie", "bad film", "good film", "awful movie", "fine good", "bad bad"] * 4
    y = np.array([1, 0, 1, 0, 1, 0] * 4)
    pipeline = make_pipeline(CountVectorizer(), Plain(C=1.0, tol=1e-10)).fit(texts, y)
    for raw in (texts, pd.Series(texts, index=np.arange(24) + 7)):
        inf = Influence(pipeline, raw, y)
        found = inf.effect(
            edits.add("good awful", 0) + edits.replace(1, "fine film"), raw[:3], y[:3]
        )
        assert np.isfinite(found.values).all()
        with pytest.raises(TypeError, match="transformed features"):
            inf.influence_pert(raw[:2], y[:2])


def test_edits_travel_to_other_processes(data):
    X, y = data
    inf = Influence(Plain(tol=1e-10).fit(X, y), X, y)
    edit = edits.remove([1, 2]) + edits.relabel(3, 1 - y[3]) + edits.replace(4, X[5])
    again = inf.effect(pickle.loads(pickle.dumps(edit)), X[:3], y[:3]).values
    np.testing.assert_array_equal(again, inf.effect(edit, X[:3], y[:3]).values)


def test_rows_of_a_table_come_as_lists_or_mappings():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    inf = Influence(make_pipeline(StandardScaler(), Ridge()).fit(X, y), X, y)
    row = X.iloc[3]
    values = [
        inf.effect(edits.add(x, 100.0), X[:4], y[:4]).values
        for x in (list(row), dict(row), row, X.iloc[[3]])
    ]
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], rtol=1e-12)


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_a_column_of_labels_is_a_vector_of_labels(data):
    X, y = data
    expected = LogisticRegression(C=0.1).fit(X, y).loo_predict_proba()
    found = LogisticRegression(C=0.1).fit(X, y[:, None]).loo_predict_proba()
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.fixture
def lever():
    """A column that row 7 decides alone, and a regression without a penalty."""
    X, y = load_diabetes(return_X_y=True)
    X = np.column_stack([X[:50, :3], np.arange(50) == 7])
    return Influence(LinearRegression().fit(X, y[:50]), X, y[:50]), X


@pytest.mark.parametrize("method", ["one-step", "auto", "exact"])
def test_a_group_that_decides_a_parameter_alone_has_no_answer(lever, method):
    """As a single row; the other groups keep theirs."""
    inf, X = lever
    groups = np.arange(50) // 8
    with pytest.warns(UserWarning, match=r"Without group 0 .* decides a parameter alone"):
        found = inf.removal_effect(X[:3], of="decision_function", groups=groups, method=method)
    assert np.isnan(found[:, 0]).all()
    rest = groups != 3
    refit = LinearRegression().fit(X[rest], inf.data.y[rest]).predict(X[:3])
    np.testing.assert_allclose(
        found[:, 3], refit - inf.estimator.predict(X[:3]), rtol=1e-9, atol=1e-9
    )
    with pytest.raises(ValueError, match=r"after an edit .* only the edited rows decide"):
        inf.effect(edits.remove([7, 8]), X[:3], of="decision_function", method=method)


@pytest.mark.parametrize("method", ["auto", "exact"])
@pytest.mark.parametrize(
    "model",
    [
        LinearSVC(class_weight="balanced"),
        LinearSVC(loss="hinge", class_weight="balanced", max_iter=100_000),
        Plain(C=np.inf, tol=1e-8),
    ],
    ids=["balanced", "balanced hinge", "separable"],
)
def test_a_group_without_which_no_optimum_is_left_takes_no_answer_from_the_others(model, method):
    """The others have what they have alone, whatever it is that takes the optimum."""
    rng = np.random.default_rng(0)
    X, groups = rng.standard_normal((40, 2)), np.arange(40) // 8
    y = X[:, 0] > 0
    if model.get_params().get("class_weight"):
        y = groups != 2
    else:
        y[16:19] ^= True
    inf = Influence(model.fit(X, y), X, y)
    options = {"of": "decision_function", "method": method}
    with pytest.warns(UserWarning, match=r"^Without group 2 .* Its answers are NaN"):
        found = inf.removal_effect(X[:3], groups=groups, **options)
    for group in (0, 1, 3, 4):
        alone = inf.effect(edits.remove(np.flatnonzero(groups == group)), X[:3], **options).values
        np.testing.assert_allclose(found[:, group], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "count", [lambda eta: (eta > 140).sum(), lambda eta: eta > 140], ids=["scalar", "per point"]
)
def test_counting_functions_do_not_count_what_has_no_answer(lever, count):
    inf, X = lever
    with pytest.warns(UserWarning, match="NaN"):
        found = inf.removal_effect(X, of=count, indices=[7, 8])
    assert np.isnan(found[..., 0]).all()
    rest = np.arange(50) != 8
    after = LinearRegression().fit(X[rest], inf.data.y[rest]).predict(X)
    before = inf.estimator.predict(X)
    np.testing.assert_array_equal(found[..., 1], 1.0 * count(after) - count(before))


def test_a_callable_that_returns_no_numbers_is_refused(data):
    X, y = data
    with pytest.raises(TypeError, match=r"must return numbers\. Got 'a'"):
        Influence(Plain(tol=1e-10).fit(X, y), X, y).removal_effect(X[:3], of=lambda eta: "a")


def test_a_callable_returns_a_value_per_point_or_a_scalar(data):
    X, y = data
    inf = Influence(Plain(C=0.1).fit(X, y), X, y)
    assert inf.removal_effect(X[:5], of=lambda eta: eta.mean()).shape == (120,)
    with pytest.raises(ValueError, match="one value per test point"):
        inf.removal_effect(X[:5], of=lambda eta: eta[:3])


def test_models_without_probabilities_do_not_offer_them(data):
    assert not hasattr(RidgeClassifier(), "loo_predict_proba")
    assert hasattr(LogisticRegression(), "loo_predict_proba")
    with pytest.raises(AttributeError, match="classifier with probabilities"):
        RidgeClassifier().fit(*data).removal_effect(data[0][:2], of="predict_proba")


def test_a_row_that_decides_a_coefficient_alone(data):
    """Leverage 1: NaN and a warning in questions about all rows, an error about that row."""
    X = np.c_[data[0][:, :4], np.arange(120) == 5]
    y = data[0][:, 6]
    inf = Influence(LinearRegression().fit(X, y), X, y)
    with pytest.warns(UserWarning):
        found = inf.loo_predict()
    assert np.isnan(found[5]) and np.isfinite(np.delete(found, 5)).all()
    with pytest.raises(ValueError, match="positive definite"):
        inf.effect(edits.remove(5), X[:2], y[:2])


def test_edits_add_up_and_say_what_is_wrong_with_them(data):
    X, y = data
    inf = Influence(Plain(C=0.1).fit(X, y), X, y)
    together = inf.effect(sum([edits.remove(1), edits.remove(2)]), X[:3], y[:3])
    np.testing.assert_allclose(
        together.values, inf.effect(edits.remove([1, 2]), X[:3], y[:3]).values, rtol=1e-12
    )
    with pytest.raises(ValueError, match="at least one row"):
        edits.remove([])
    with pytest.raises(ValueError, match="non-negative"):
        edits.reweight(1, -1.0)


def test_effect_takes_its_own_hold(data):
    X, y = data
    model = Plain(C=0.1, solver="newton-cholesky", tol=1e-10).fit(X, y)
    rows = [3, 50]
    mean_form = Influence(model, X, y, hold="lambda").removal_effect(X[:4], y[:4], indices=rows)
    found = Influence(model, X, y).effect(
        [edits.remove(i) for i in rows], X[:4], y[:4], hold="lambda"
    )
    np.testing.assert_allclose(found.values, mean_form, rtol=1e-3, atol=1e-9)


def test_one_row_has_no_leave_one_out_model():
    with pytest.warns(UserWarning):
        assert np.isnan(Ridge().fit([[1.0]], [2.0]).loo_predict()).all()
