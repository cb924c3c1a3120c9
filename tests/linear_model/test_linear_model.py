"""The estimators a user imports: scikit-learn's own contract, and nothing lost on the way."""

import pickle
from unittest import SkipTest

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skinfluence.linear_model as ours
from skinfluence import Influence
from tests.registries import make_data
from tests.versions import logistic_cv, parametrize_with_checks

NAMES = ours.__all__
EVERY = pytest.mark.parametrize("name", NAMES)
LIMITS = {"LogisticRegressionCV": {"Cs": 3, "cv": 3, "max_iter": 50}}


def make(module, name, **params):
    if name == "LogisticRegressionCV":
        return logistic_cv(getattr(module, name), **{**LIMITS[name], **params})
    return getattr(module, name)(**params)


def scikit_learns_fails(estimator, check):
    """Whether scikit-learn's own estimator fails a check of its own, too."""
    theirs = getattr(sklearn.linear_model, type(estimator).__name__)(**estimator.get_params())
    try:
        check(theirs)
    except SkipTest:
        return False
    except Exception:
        return True
    return False


TASKS = {"PoissonRegressor": "counts", "GammaRegressor": "amounts"}


def data_for(name):
    classifies = "Logistic" in name or "Classifier" in name
    return make_data(TASKS.get(name, "binary" if classifies else "regression"), 40, 4, 0)


@parametrize_with_checks([make(ours, name) for name in NAMES])
def test_scikit_learn_conventions(estimator, check):
    """Ours may fail only what scikit-learn's own estimator fails."""
    fresh = clone(estimator)
    try:
        check(estimator)
    except SkipTest:
        raise
    except Exception:
        if not scikit_learns_fails(fresh, check):
            raise
        pytest.xfail(f"scikit-learn's {type(fresh).__name__} fails it too")


@EVERY
def test_constructor_is_scikit_learns(name):
    mine, theirs = getattr(ours, name), getattr(sklearn.linear_model, name)
    assert mine().get_params() == theirs().get_params()
    assert issubclass(mine, theirs)
    assert "__init__" not in vars(mine)


@EVERY
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_scikit_learns(name, weighted):
    X, y = data_for(name)
    weight = np.random.default_rng(0).uniform(0.5, 2, 40) if weighted else None
    mine = make(ours, name).fit(X, y, sample_weight=weight)
    theirs = make(sklearn.linear_model, name).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(mine.coef_, theirs.coef_)
    np.testing.assert_array_equal(mine.intercept_, theirs.intercept_)
    np.testing.assert_array_equal(mine.predict(X), theirs.predict(X))


@EVERY
def test_methods_answer_as_influence_does(name):
    """The weights given to fit are remembered."""
    X, y = data_for(name)
    weight = np.random.default_rng(0).uniform(0.5, 2, 40)
    model = make(ours, name).fit(X, y, sample_weight=weight)
    inf = Influence(make(sklearn.linear_model, name).fit(X, y, sample_weight=weight), X, y, weight)
    same = np.testing.assert_array_equal
    same(model.influence_up_params(), inf.influence_up_params())
    same(model.influence_up_loss(X[:3], y[:3]), inf.influence_up_loss(X[:3], y[:3]))
    same(model.influence_pert(X[:3], y[:3]), inf.influence_pert(X[:3], y[:3]))
    same(model.self_influence(), inf.self_influence())
    one = {"method": "one-step"}
    same(model.removal_effect(X[:3], y[:3], **one), inf.removal_effect(X[:3], y[:3], **one))
    same(model.loo_predict(**one), inf.loo_predict(**one))
    same(model.loo_decision_function(**one), inf.loo_decision_function(**one))
    assert model.loo_score(**one) == inf.loo_score(**one)
    if hasattr(model, "classes_"):
        same(model.relabel_effect(X[:3], y[:3], **one), inf.relabel_effect(X[:3], y[:3], **one))
    if hasattr(model, "predict_proba"):
        same(model.loo_predict_proba(**one), inf.loo_predict_proba(**one))


@EVERY
def test_clone_pickle_and_set_params(name):
    X, y = data_for(name)
    model = make(ours, name).fit(X, y)
    with pytest.raises(ValueError, match="fitted"):
        clone(model).self_influence()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.self_influence(), model.self_influence())
    lighter = pickle.loads(pickle.dumps(model.forget_training_data()))
    np.testing.assert_array_equal(lighter.predict(X), model.predict(X))
    assert model.set_params(fit_intercept=False) is model
    assert model.fit(X, y).influence_up_params().shape[2] == 4


@EVERY
def test_refitting_replaces_the_training_data(name):
    X, y = data_for(name)
    model = make(ours, name).fit(X, y)
    model.fit(X[:30], y[:30])
    assert model.self_influence().shape == (30,)


def test_inside_a_pipeline():
    X, y = data_for("LogisticRegression")
    pipeline = make_pipeline(StandardScaler(), ours.LogisticRegression()).fit(X, y)
    scaled = pipeline[:-1].transform(X)
    expected = pipeline[-1].removal_effect(scaled[:5], y[:5], method="one-step")
    held = Influence(pipeline, X, y, frozen="accept")
    found = held.removal_effect(X[:5], y[:5], method="one-step")
    np.testing.assert_array_equal(found, expected)
    assert cross_val_score(pipeline, X, y, cv=3).shape == (3,)


def test_inside_a_grid_search():
    X, y = data_for("LogisticRegression")
    search = GridSearchCV(ours.LogisticRegression(), {"C": [0.1, 1.0]}, cv=3).fit(X, y)
    assert search.best_estimator_.self_influence().shape == (40,)
    np.testing.assert_array_equal(
        search.best_estimator_.self_influence(),
        ours.LogisticRegression(**search.best_params_).fit(X, y).self_influence(),
    )


@pytest.mark.parametrize("make_labels", [np.asarray, list], ids=["array", "list"])
@pytest.mark.parametrize("kind", ["str", "object", "bool", "negative", "float"])
def test_labels_of_any_kind(kind, make_labels):
    X, y = data_for("LogisticRegression")
    yes = y == "yes"
    labels = {
        "str": np.where(yes, "a much longer label", "b"),
        "object": np.where(yes, "yes", "no").astype(object),
        "bool": yes,
        "negative": np.where(yes, 1, -1),
        "float": np.where(yes, 2.0, 1.0),
    }[kind]
    given = make_labels(labels)
    expected = ours.LogisticRegression(tol=1e-10).fit(X, yes.astype(int))
    model = ours.LogisticRegression(tol=1e-10).fit(X, given)
    flipped = kind == "str"  # "a…" sorts before "b"
    found = model.removal_effect(X[:4], given[:4], method="one-step")
    truth = expected.removal_effect(X[:4], yes[:4].astype(int), method="one-step")
    np.testing.assert_allclose(found, truth, rtol=1e-5)
    predicted = model.loo_predict(method="one-step")
    assert predicted.dtype == model.classes_.dtype
    first = expected.loo_predict(method="one-step") == (0 if not flipped else 1)
    np.testing.assert_array_equal(predicted == model.classes_[0], first)


def test_tables_keep_their_feature_names():
    pd = pytest.importorskip("pandas")
    X, y = data_for("LogisticRegression")
    table = pd.DataFrame(X, columns=list("abcd"))
    target = pd.Series(y, index=np.arange(40)[::-1])
    model = ours.LogisticRegression().fit(table, target)
    assert list(model.feature_names_in_) == list("abcd")
    plain = ours.LogisticRegression().fit(X, y)
    np.testing.assert_array_equal(
        model.influence_up_loss(table[:3], target[:3]), plain.influence_up_loss(X[:3], y[:3])
    )
    with pytest.raises(ValueError, match="feature names"):
        model.influence_up_loss(table[list("dcba")][:3], target[:3])
    with pytest.warns(UserWarning, match="feature names"):
        model.influence_up_loss(X[:3], y[:3])


@EVERY
def test_csr_gives_the_dense_answer(name):
    X, y = data_for(name)
    X[np.abs(X) < 0.4] = 0.0
    params = {}
    if name in ("LogisticRegression", "LogisticRegressionCV"):
        params = {"tol": 1e-12, "solver": "newton-cholesky"}
    elif name in ("Ridge", "RidgeClassifier"):
        params = {"tol": 1e-14}
    elif name == "LinearRegression":
        params = {"tol": 1e-15}
    dense = make(ours, name, **params).fit(X, y)
    sparse = make(ours, name, **params).fit(sp.csr_array(X), y)
    found = sparse.removal_effect(sp.csr_array(X), y, method="one-step")
    expected = dense.removal_effect(X, y, method="one-step")
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


def test_threads_do_not_change_answers():
    from threadpoolctl import threadpool_limits

    X, y = load_iris(return_X_y=True)
    model = ours.LogisticRegression(max_iter=500).fit(X, y)
    with threadpool_limits(1):
        one = model.removal_effect(X, y, method="one-step")
    with threadpool_limits(2):
        two = model.removal_effect(X, y, method="one-step")
    np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12)


def test_metadata_routing_knows_sample_weight():
    import inspect

    for name in NAMES:
        assert "sample_weight" in inspect.signature(getattr(ours, name).fit).parameters
        assert hasattr(getattr(ours, name), "set_fit_request")
