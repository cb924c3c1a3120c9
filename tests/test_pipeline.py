"""Pipelines answer on raw inputs; where derivatives end, features have names."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import sklearn.pipeline
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import NMF, PCA, TruncatedSVD
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC

from skinfluence import Influence, edits
from skinfluence.pipeline import Pipeline, influence_by_name, make_pipeline
from tests.versions import SCIKIT_LEARN

N = 40


def logistic(**params):
    return linear_model.LogisticRegression(
        **{"C": 0.5, "solver": "newton-cholesky", "tol": 1e-12, **params}
    )


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = 3.0 * rng.standard_normal((N, 4)) + 5.0
    return X, np.where(X[:, 0] + 2.0 * rng.standard_normal(N) > 5.0, "yes", "no")


@pytest.fixture
def pipeline(data):
    return make_pipeline(StandardScaler(), PCA(3), logistic()).fit(*data)


# The ten methods --------------------------------------------------------------------------------

QUESTIONS = {
    "influence_up_params": lambda one, X, y: one.influence_up_params(),
    "influence_up_loss": lambda one, X, y: one.influence_up_loss(X, y),
    "influence_pert": lambda one, X, y: one.influence_pert(X, y, indices=[3]),
    "self_influence": lambda one, X, y: one.self_influence(),
    "removal_effect": lambda one, X, y: one.removal_effect(X, of="decision_function"),
    "relabel_effect": lambda one, X, y: one.relabel_effect(X, y, indices=[5]),
    "loo_decision_function": lambda one, X, y: one.loo_decision_function(frozen="accept"),
    "loo_predict_proba": lambda one, X, y: one.loo_predict_proba(frozen="accept"),
    "loo_predict": lambda one, X, y: one.loo_predict(frozen="accept"),
    "loo_score": lambda one, X, y: one.loo_score("neg_log_loss", frozen="accept"),
}
EACH = pytest.mark.parametrize("question", QUESTIONS)


@EACH
def test_each_method_is_that_of_influence(question, pipeline, data):
    X, y = data
    stock = sklearn.pipeline.make_pipeline(StandardScaler(), PCA(3), logistic()).fit(X, y)
    found = QUESTIONS[question](pipeline, X[:3], y[:3])
    expected = QUESTIONS[question](Influence(stock, X, y), X[:3], y[:3])
    # Labels are equal, and so is everything else: it is the same arithmetic.
    np.testing.assert_array_equal(found, expected)


@EACH
def test_only_pipelines_that_predict_have_methods(question, pipeline, data):
    assert hasattr(pipeline, question)
    assert not hasattr(pipeline[:-1], question)
    ridge = make_pipeline(StandardScaler(), linear_model.RidgeClassifier()).fit(*data)
    assert hasattr(ridge, question) is (question != "loo_predict_proba")


def test_the_constructor_and_the_outputs_are_those_of_scikit_learn(pipeline, data):
    X, y = data
    stock = sklearn.pipeline.make_pipeline(StandardScaler(), PCA(3), logistic()).fit(X, y)
    np.testing.assert_array_equal(pipeline.predict_proba(X), stock.predict_proba(X))
    assert [name for name, _ in pipeline.steps] == [name for name, _ in stock.steps]
    assert pipeline.get_params().keys() == stock.get_params().keys()


@pytest.mark.parametrize("kind", [list, np.float32, pd.DataFrame, sp.csr_array, sp.csc_matrix])
@pytest.mark.parametrize("front", ["union", "columns"])
def test_raw_rows_may_come_in_any_container(data, kind, front):
    X, y = data
    parts = [("pca", PCA(1)), ("scale", StandardScaler(with_mean=False))]
    if front == "columns":
        parts = [(*part, [i, 3]) for i, part in enumerate(parts)]
    make = {"union": FeatureUnion, "columns": ColumnTransformer}[front]
    tail = logistic(solver="lbfgs", tol=1e-9)
    expected = make_pipeline(make(parts), tail).fit(X, y).influence_pert(X[:2], y[:2])
    raw = X.tolist() if kind is list else X.astype(kind) if kind is np.float32 else kind(X)
    model = make_pipeline(make(parts), tail).fit(raw, y)
    found = model.influence_pert(raw[:2], y[:2])
    rtol = 1e-3 if kind is np.float32 else 1e-6
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


# Weights ----------------------------------------------------------------------------------------


@pytest.fixture
def weight():
    return np.random.default_rng(1).uniform(0.2, 3.0, N)


def test_the_weights_that_reach_the_model_count(data, weight):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), logistic())
    pipeline.fit(X, y, logisticregression__sample_weight=weight)
    expected = Influence(pipeline, X, y, weight).self_influence()
    np.testing.assert_allclose(pipeline.self_influence(), expected, rtol=1e-12)
    pipeline.fit(X, y, standardscaler__sample_weight=weight)
    expected = Influence(pipeline, X, y).self_influence()
    np.testing.assert_allclose(pipeline.self_influence(), expected, rtol=1e-12)


def test_weights_find_the_model_in_a_nested_pipeline(data, weight):
    X, y = data
    inner = sklearn.pipeline.Pipeline([("pca", PCA(2)), ("model", logistic())])
    pipeline = Pipeline([("scale", StandardScaler()), ("inner", inner)])
    pipeline.fit(X, y, inner__model__sample_weight=weight)
    expected = Influence(pipeline, X, y, weight).influence_up_params()
    np.testing.assert_allclose(pipeline.influence_up_params(), expected, rtol=1e-12)


@pytest.mark.parametrize("alias", [True, "importance"])
def test_weights_are_routed_as_in_scikit_learn(data, weight, alias):
    X, y = data
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        model = logistic().set_fit_request(sample_weight=alias)
        pipeline = make_pipeline(make_pipeline(scaler, PCA(2)), make_pipeline(model))
        pipeline.fit(X, y, **{"sample_weight" if alias is True else alias: weight})
        expected = Influence(pipeline, X, y, weight).self_influence()
        np.testing.assert_allclose(pipeline.self_influence(), expected, rtol=1e-12)
        pipeline.fit(X, y)
        expected = Influence(pipeline, X, y).self_influence()
        np.testing.assert_allclose(pipeline.self_influence(), expected, rtol=1e-12)


# An estimator like any other --------------------------------------------------------------------


def test_pickles_hold_the_training_data_and_clones_do_not(pipeline):
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.self_influence(), pipeline.self_influence())
    with pytest.raises(sklearn.exceptions.NotFittedError):
        clone(pipeline).self_influence()
    with pytest.raises(ValueError, match="training data"):
        pickle.loads(pickle.dumps(pipeline)).forget_training_data().self_influence()
    with pytest.raises(ValueError, match="training data"):
        pipeline[1:].self_influence()


def test_a_parameter_that_is_nan_stays_the_same_in_a_pickle(data):
    X, y = data
    model = make_pipeline(SimpleImputer(missing_values=np.nan), logistic()).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.self_influence(), model.self_influence())
    with pytest.raises(ValueError, match=r"missing_values=0, fitted with .*=nan; fit again"):
        again.set_params(simpleimputer__missing_values=0).self_influence()


def test_parameters_changed_since_the_fit_are_noticed(pipeline):
    pipeline.set_params(logisticregression__C=3.0)
    with pytest.raises(ValueError, match=r"logisticregression__C=3\.0.*fit again"):
        pipeline.self_influence()


def test_cached_transformers_answer_the_same(pipeline, data, tmp_path):
    X, y = data
    cached = make_pipeline(StandardScaler(), PCA(3), logistic(), memory=str(tmp_path))
    for _ in range(2):
        cached.fit(X, y)
        found = cached.influence_pert(X[:2], y[:2], indices=[1])
        expected = pipeline.influence_pert(X[:2], y[:2], indices=[1])
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    "transformer", [TargetEncoder(target_type="binary"), NMF(2, max_iter=2000)], ids=repr
)
@pytest.mark.parametrize("nested", [False, True])
def test_transformers_that_gave_the_model_other_rows_are_refused(data, transformer, nested):
    """Pipelines fit on ``fit_transform``; what these make of the rows by ``transform`` differs."""
    X, y = np.abs(data[0]).round(), data[1]
    step = ColumnTransformer([("own", transformer, [0, 1, 2])]) if nested else transformer
    model = sklearn.pipeline.make_pipeline(step, logistic()).fit(X, y)
    seen = clone(model[:-1]).fit_transform(X, y)
    assert abs(seen - model[:-1].transform(X)).max() > 1e-4
    with pytest.raises(ValueError, match=rf"{type(transformer).__name__}.*fit_transform\(X, y\)"):
        Influence(model, X, y)
    frozen = FrozenEstimator(clone(transformer).fit(X[:, :3], y))
    step = ColumnTransformer([("own", frozen, [0, 1, 2])])
    model = sklearn.pipeline.make_pipeline(step, logistic()).fit(X, y)
    assert Influence(model, X, y).report().newton_decrement < 1e-6


def test_a_frozen_step_stays_where_the_steps_beside_it_are_fitted_again(data):
    """It has no ``fit_transform``, which a pipeline does not ask it for."""
    X, y = data
    frozen = FrozenEstimator(StandardScaler().fit(X[:10]))
    model = sklearn.pipeline.make_pipeline(frozen, SelectKBest(k=2), logistic()).fit(X, y)
    inf, refit = Influence(model, X, y), clone(model).fit(X[1:], y[1:])
    found, expected = inf.loo_decision_function(indices=[0]), refit.decision_function(X[:1])
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    edited = inf.edited(edits.remove(0)).estimator
    np.testing.assert_allclose(edited.decision_function(X), refit.decision_function(X), rtol=1e-5)


def test_transformers_that_used_y_are_refused_where_they_would_be_held(data):
    X, y = data
    machine = make_pipeline(SelectKBest(k=2), SVC()).fit(X, y)
    with pytest.raises(ValueError, match=r"selectkbest.*moves only the model.*frozen='accept'"):
        Influence(machine, X, y).loo_predict(method="one-step")
    pipeline = make_pipeline(SelectKBest(k=2), logistic()).fit(X, y)
    assert pipeline.loo_predict().shape == (N,)
    assert pipeline.loo_predict(frozen="accept").shape == (N,)
    assert pipeline.influence_pert(X[:1], y[:1]).shape == (1, N, 4)


# Names ------------------------------------------------------------------------------------------

MAILS = [
    "cheap pills now",
    "cheap cheap watches",
    "lunch at noon",
    "minutes of the lunch meeting",
    "pills for the meeting",
    "watches and pills now now now",
    "noon meeting now",
    "the minutes",
] * 5
SPAM = np.array([1, 1, 0, 0, 1, 1, 0, 0] * 5)
SPAM[[8, 19]] = 0, 1


@pytest.mark.parametrize(
    "options",
    [{}, {"sublinear_tf": True}, {"norm": "l1", "use_idf": False}, {"norm": None, "binary": True}],
    ids=str,
)
def test_words_are_reached_through_their_tfidf_weights(options):
    """The same as influence_pert of a pipeline that starts from the counts."""
    pipeline = make_pipeline(TfidfVectorizer(**options), logistic()).fit(MAILS, SPAM)
    binary = options.pop("binary", False)
    counter = CountVectorizer(binary=binary)
    counts = counter.fit_transform(MAILS).astype(float)
    weighting = make_pipeline(TfidfTransformer(**options), logistic()).fit(counts, SPAM)
    expected = Influence(weighting, counts, SPAM).influence_pert(counts[:3], SPAM[:3])
    found = influence_by_name(pipeline, MAILS[:3], SPAM[:3])
    np.testing.assert_allclose(found.values, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found.features.toarray(), counts.toarray())
    assert found.names.tolist() == counter.get_feature_names_out().tolist()
    np.testing.assert_array_equal(found.weights, 1.0 / N)


def test_the_words_that_matter_most_are_those_whose_removal_does():
    """First order beside the edit that takes the word out of the mail: not equal, but alike."""
    inf = Influence(
        make_pipeline(CountVectorizer(), logistic(C=0.05)).fit(MAILS, SPAM), MAILS, SPAM
    )
    named = influence_by_name(inf, MAILS[:2], SPAM[:2], indices=[3, 5, 9])
    names, effects = named.top(k=4)
    assert names.shape == effects.shape == (2, 3, 4)
    found, expected = [], []
    for i, row in enumerate((3, 5, 9)):
        for word, effect in zip(names[0, i], effects[0, i], strict=True):
            if word:
                without = " ".join(one for one in MAILS[row].split() if one != word)
                edit = inf.effect(edits.replace(row, without), MAILS[:1], SPAM[:1])
                found.append(effect)
                expected.append(edit.values[0])
    assert len(found) == 10
    assert names[0, 2].tolist()[2:] == ["", ""]
    assert np.corrcoef(found, expected)[0, 1] > 0.9
    assert (np.diff(np.abs(effects[0, 0])) <= 0).all()


def test_one_mean_over_the_test_points():
    inf = Influence(make_pipeline(CountVectorizer(), logistic()).fit(MAILS, SPAM), MAILS, SPAM)
    each = influence_by_name(inf, MAILS[:4], SPAM[:4])
    mean = influence_by_name(inf, MAILS[:4], SPAM[:4], aggregate="mean")
    np.testing.assert_allclose(mean.values, each.values.mean(axis=0), rtol=1e-10, atol=1e-14)
    assert mean.top(k=2)[0].shape == (N, 2)


def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "mail": MAILS,
            "age": rng.normal(40.0, 10.0, N),
            "color": rng.choice(["red", "blue"], N),
            "size": rng.normal(size=N),
            "unused": "x",
            "shop": rng.choice(["a", "b", "c"], N),
        }
    )
    X.loc[7, "age"], X.loc[3, "color"] = np.nan, np.nan
    return X


def mixed():
    impute = sklearn.pipeline.make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder()
    )
    parts = [
        ("text", TfidfVectorizer(), "mail"),
        ("number", sklearn.pipeline.make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        ("category", impute, ["color"]),
        ("shop", OrdinalEncoder(), ["shop"]),
        ("size", "passthrough", ["size"]),
    ]
    return ColumnTransformer(parts)


def test_each_column_of_a_mixed_table_ends_where_it_must():
    X = table()
    model = make_pipeline(mixed(), logistic()).fit(X, SPAM)
    named = influence_by_name(model, X[:3], SPAM[:3])
    words = [f"text__{word}" for word in TfidfVectorizer().fit(MAILS).get_feature_names_out()]
    rest = ["category__color_blue", "category__color_red", "shop__shop"]
    assert named.names.tolist() == ["age", "size", *words, *rest]
    assert named.values.shape == (3, N, len(named.names))
    # Features the model sees as they are have its own derivatives.
    Z = model[:-1].transform(X)
    Z = Z.toarray() if sp.issparse(Z) else Z
    own = Influence(model[-1], Z, SPAM).influence_pert(Z[:3], SPAM[:3])
    np.testing.assert_allclose(named.values[:, :, -3:], own[:, :, -4:-1], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(named.values[:, :, 1], own[:, :, -1], rtol=1e-8, atol=1e-12)
    scaler = model[0].named_transformers_["number"][-1]
    age = own[:, :, len(words)] / scaler.scale_
    age[:, 7] = 0.0
    np.testing.assert_allclose(named.values[:, :, 0], age, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(named.features.toarray()[:, 0], X["age"])
    with pytest.raises(TypeError, match="influence_by_name"):
        model.influence_pert(X[:3], SPAM[:3])


def test_a_selection_before_and_a_projection_after_change_no_names():
    """Columns pass a first transformer by position; an SVD mixes them after."""
    X = table().fillna({"color": "red", "age": 40.0})
    first = ColumnTransformer(
        [("keep", FrozenEstimator(StandardScaler().fit(X[["age", "size"]])), ["age", "size"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    second = ColumnTransformer(
        [("numbers", StandardScaler(), ["age", "size"]), ("color", OneHotEncoder(), ["color"])],
        verbose_feature_names_out=False,
    )
    model = make_pipeline(first, second, TruncatedSVD(3, random_state=0), logistic())
    named = influence_by_name(model.fit(X, SPAM), X[:2], SPAM[:2])
    assert named.names.tolist() == ["age", "size", "color_blue", "color_red"]
    Z = second.transform(first.transform(X))
    tail = make_pipeline(FrozenEstimator(model[2]), FrozenEstimator(model[-1])).steps
    inner = Influence(
        sklearn.pipeline.Pipeline([tail[0], ("model", model[-1])]), Z, SPAM
    ).influence_pert(Z[:2], SPAM[:2])
    np.testing.assert_allclose(named.values[:, :, 2:], inner[:, :, 2:], rtol=1e-8, atol=1e-12)


def test_unions_add_up_what_reaches_the_same_columns(data):
    X, y = data
    union = FeatureUnion(
        [
            ("scaled", StandardScaler()),
            ("bins", KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")),
            ("pca", PCA(2)),
        ],
        transformer_weights={"pca": 2.0, "bins": 0.5},
    )
    model = make_pipeline(union, logistic()).fit(X, y)
    named = influence_by_name(model, X[:2], y[:2])
    assert named.names[:5].tolist() == ["x0", "x1", "x2", "x3", "bins__x0_0.0"]
    smooth = make_pipeline(FeatureUnion(union.transformer_list[::2]), logistic())
    Z = model[0].transform(X).toarray()
    own = Influence(model[-1], Z, y).influence_pert(Z[:2], y[:2])
    expected = own[:, :, :4] / union.transformer_list[0][1].scale_
    expected = expected + 2.0 * own[:, :, -2:] @ union.transformer_list[2][1].components_
    np.testing.assert_allclose(named.values[:, :, :4], expected, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(named.values[:, :, 4:], 0.5 * own[:, :, 4:-2], rtol=1e-8, atol=1e-12)
    smooth.fit(X, y)
    raw = influence_by_name(smooth, X[:2], y[:2])
    np.testing.assert_allclose(raw.values, smooth.influence_pert(X[:2], y[:2]), rtol=1e-12)


def test_outputs_without_names_are_numbered():
    model = make_pipeline(HashingVectorizer(n_features=32), logistic()).fit(MAILS, SPAM)
    named = influence_by_name(model, MAILS[:2], SPAM[:2])
    assert named.names[[0, 31]].tolist() == ["hashingvectorizer0", "hashingvectorizer31"]


def test_mappings_end_at_their_keys():
    rows = [{"color": "red", "size": 1.0 + i} if i % 3 else {"color": "blue"} for i in range(N)]
    model = make_pipeline(DictVectorizer(), logistic()).fit(rows, SPAM)
    named = influence_by_name(model, rows[:2], SPAM[:2], indices=[4])
    assert named.names.tolist() == ["color=blue", "color=red", "size"]
    assert named.features.toarray().tolist() == [[0.0, 1.0, 5.0]]


def test_a_model_without_transformers_has_its_own_columns(data):
    X, y = data
    X = pd.DataFrame(X, columns=list("abcd"))
    inf = Influence(logistic().fit(X, y), X, y)
    named = influence_by_name(inf, X[:2], y[:2])
    assert named.names.tolist() == list("abcd")
    np.testing.assert_allclose(named.values, inf.influence_pert(X[:2], y[:2]), rtol=1e-12)


def test_large_vocabularies_are_refused_beyond_memory_and_walked_in_blocks(monkeypatch):
    inf = Influence(make_pipeline(TfidfVectorizer(), logistic()).fit(MAILS, SPAM), MAILS, SPAM)
    whole = influence_by_name(inf, MAILS[:2], SPAM[:2])
    slices = [slice(i, i + 9) for i in range(0, N, 9)]
    monkeypatch.setattr("skinfluence.pipeline.row_blocks", lambda n, size: slices)
    blocked = influence_by_name(inf, MAILS[:2], SPAM[:2])
    np.testing.assert_allclose(blocked.values, whole.values, rtol=1e-12)
    monkeypatch.setattr("skinfluence._utils.memory.SURE_BYTES", 0)
    monkeypatch.setattr("skinfluence._utils.memory.available_memory", lambda: 4000 * 8)
    with pytest.raises(MemoryError, match="indices="):
        influence_by_name(inf, MAILS * 10, list(SPAM) * 10)


def test_names_are_asked_of_a_fitted_model_of_ours(data):
    with pytest.raises(TypeError, match=r"Influence\(estimator, X, y\)"):
        influence_by_name(logistic().fit(*data), *data)
    for options in ({"y": None}, {"aggregate": "sum"}, {"indices": []}):
        inf = Influence(logistic().fit(*data), *data)
        with pytest.raises(ValueError, match=next(iter(options))):
            influence_by_name(inf, **{"X": data[0], "y": data[1], **options})


@pytest.mark.skipif(
    SCIKIT_LEARN < (1, 9),
    reason="said in other words before, or not at all",
)
@pytest.mark.parametrize("step", [StandardScaler, sklearn.linear_model.LogisticRegression])
def test_a_class_in_the_place_of_an_instance_is_refused_as_by_scikit_learn(step):
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    instance = StandardScaler()
    for kind in (Pipeline, sklearn.pipeline.Pipeline):
        with pytest.raises(
            TypeError, match=r"Expected an estimator instance .*, got estimator class"
        ):
            kind([("first", step), ("last", instance)]).fit(X, y)
