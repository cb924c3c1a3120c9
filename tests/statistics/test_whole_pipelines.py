"""Leave-one-out of whole pipelines equals refits of whole pipelines."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import spearmanr
from sklearn import linear_model
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import _safe_indexing

from skinfluence import Influence, edits
from skinfluence.curvature import Curvature
from skinfluence.model_selection import (
    leave_one_group_out,
    leave_one_group_out_score,
    loo_predict,
    loo_score,
)
from skinfluence.objective import objective_of
from skinfluence.pipeline import make_pipeline as our_pipeline
from skinfluence.pipeline import statistics
from skinfluence.smooth.one_step import steps
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.statistics import Moves, OverBudgetError, chain_moves, discrete, refitting  # noqa: F401
from tests.fewer import LONG
from tests.truth import polish
from tests.versions import SCIKIT_LEARN

EXACT = 1e-6  # what "exact" promises, relative to the largest change


def logistic(**params):
    return linear_model.LogisticRegression(
        **{"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 500, **params}
    )


def single_precision():
    """Where digits end newton-cholesky goes on with lbfgs; before 1.9 not with scipy 1.11, but in doubles."""
    return logistic() if SCIKIT_LEARN >= (1, 9) else logistic(solver="lbfgs", tol=1e-6)


def glm(kind, **params):
    return getattr(linear_model, kind)(**{"solver": "newton-cholesky", "tol": 1e-12, **params})


def refits(model, X, y, rows, weight=None):
    """Decision values of each row from the whole pipeline fitted without it."""
    out = []
    y = np.asarray(y)
    for i in rows:
        kept = np.delete(np.arange(len(y)), i)
        left = {} if weight is None else {f"{model.steps[-1][0]}__sample_weight": weight[kept]}
        again = clone(model).fit(_safe_indexing(X, kept), y[kept], **left)
        Z = again[:-1].transform(_safe_indexing(X, kept))
        Z = Z.toarray() if sp.issparse(Z) else np.asarray(Z, dtype=float)
        objective = objective_of(again[-1], Z, y[kept], None if weight is None else weight[kept])
        own = again[:-1].transform(_safe_indexing(X, [i]))
        own = own.toarray() if sp.issparse(own) else np.asarray(own, dtype=float)
        objective = polish(objective)
        out.append(objective.design.like(own).multiply(objective.theta.T)[0])
    return objective.loss.expand(np.array(out))


def fitted_values(inf, rows):
    return inf.objective.loss.expand(inf.objective.eta[rows])


def asked(inf, rows, **options):
    found = inf.loo_decision_function(indices=rows, **options)
    return found.reshape(len(rows), -1)


def error(found, truth, before):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth - before)


def check(model, X, y, rows, weight=None, held=None, ties=False):
    """Both methods against refits; ``held``: the frozen answer must be off by that at least.

    ``ties``: rows that are alike have the same answer, so their ranks say nothing.
    """
    left = {} if weight is None else {f"{model.steps[-1][0]}__sample_weight": weight}
    model.fit(X, y, **left)
    truth = refits(model, X, y, rows, weight)
    inf = Influence(model, X, y, weight)
    before = fitted_values(inf, rows)
    largest = np.abs(truth - before).max()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        exact = asked(inf, rows, method="exact")
        auto = asked(inf, rows)
    np.testing.assert_allclose(exact, truth, rtol=EXACT, atol=EXACT * largest)
    assert error(auto, truth, before) <= 1e-3
    if not ties:
        assert spearmanr((auto - before).ravel(), (truth - before).ravel())[0] >= 0.9999
    if held is not None:
        frozen = asked(inf, rows, method="exact", frozen="accept")
        assert error(frozen, truth, before) > held


@pytest.fixture(scope="module")
def cancer():
    return load_breast_cancer(return_X_y=True)


@pytest.fixture(scope="module")
def counts():
    """Heavy-tailed columns and counts."""
    rng = np.random.default_rng(0)
    X = np.exp(1.5 * rng.standard_normal((120, 5)))
    return X, rng.poisson(np.exp(0.3 * np.log(X[:, 0]))).astype(float)


def table(n=70):
    """Numbers with holes beside categories of which some are rare."""
    rng = np.random.default_rng(3)
    X = pd.DataFrame(
        {
            "size": rng.standard_normal(n) + 3.0,
            "age": np.exp(rng.standard_normal(n)),
            "colour": rng.choice(["red", "green", "blue"], n, p=[0.6, 0.35, 0.05]),
            "shape": rng.choice(["round", "flat"], n),
        }
    )
    y = (X["size"] + X["age"] + (X["colour"] == "red") + rng.standard_normal(n) > 5.0).astype(int)
    X.loc[[4, 9, 30], "size"] = np.nan
    X.loc[[9, 12], "age"] = np.nan
    X.loc[7, "colour"] = "violet"
    return X, y.to_numpy()


def columns(handle_unknown="ignore"):
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["size", "age"]),
            ("words", OneHotEncoder(handle_unknown=handle_unknown), ["colour", "shape"]),
        ]
    )


# All rows at once -----------------------------------------------------------------------------


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_a_scaler_before_logistic_regression(cancer, C):
    check(make_pipeline(StandardScaler(), logistic(C=C)), *cancer, np.arange(0, 569, 9), held=0.05)


def test_a_scaler_before_ten_classes():
    X, y = load_digits(return_X_y=True)
    X, y = X[:150], y[:150]
    check(make_pipeline(StandardScaler(), logistic(C=0.1)), X, y, np.arange(0, 150, 19), held=0.03)


@pytest.mark.parametrize("C", [0.3, 30.0])
def test_a_scaler_before_many_classes(C):
    """Few rows of each, under a weak penalty far beyond what a bound from the fit reaches."""
    rng, y = np.random.default_rng(0), np.repeat(np.arange(18), 4)
    X = (2.0 * rng.standard_normal((18, 4)))[y] + rng.standard_normal((72, 4)) * [1, 5, 0.2, 1]
    check(make_pipeline(StandardScaler(), logistic(C=C)), X, y, np.arange(0, 72, 11))


@pytest.mark.parametrize(
    "model",
    [
        linear_model.Ridge(30.0),
        linear_model.RidgeCV([3.0, 30.0]),
        linear_model.RidgeClassifier(30.0),
        linear_model.LinearRegression(),
    ],
    ids=lambda m: type(m).__name__,
)
def test_a_scaler_before_squared_error(model):
    X, y = load_diabetes(return_X_y=True)
    y = (y > 140).astype(int) if isinstance(model, linear_model.RidgeClassifier) else y
    if isinstance(model, linear_model.RidgeCV):
        # The chosen penalty is held, as everywhere.
        fitted = make_pipeline(StandardScaler(), model).fit(X, y)
        inf = Influence(fitted, X, y)
        chosen = make_pipeline(StandardScaler(), linear_model.Ridge(fitted[-1].alpha_)).fit(X, y)
        rows = np.arange(0, 442, 11)
        truth = refits(chosen, X, y, rows)
        np.testing.assert_allclose(asked(inf, rows, method="exact"), truth, rtol=EXACT)
        return
    check(make_pipeline(StandardScaler(), model), X, y, np.arange(0, 442, 11))


@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler, MaxAbsScaler])
@pytest.mark.parametrize("kind", ["PoissonRegressor", "GammaRegressor", "TweedieRegressor"])
def test_scalers_before_mean_forms(counts, scaler, kind):
    """The row takes its share of the penalty along: one product with the scaler's, not a sum."""
    X, y = counts
    y = y + 0.5 if kind == "GammaRegressor" else y
    rows = np.unique(np.concatenate([X.argmax(axis=0), X.argmin(axis=0), np.arange(0, 120, 17)]))
    power = {"power": 1.5, "link": "log"} if kind == "TweedieRegressor" else {}
    check(make_pipeline(scaler(), glm(kind, alpha=0.05, **power)), X, y, rows, held=0.01)


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        MinMaxScaler((-1, 3)),
        MinMaxScaler(clip=True),
        RobustScaler(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("intercept", [True, False])
def test_scalers_with_and_without_an_intercept(counts, scaler, intercept):
    X, y = counts
    rows = np.unique(np.concatenate([X.argmax(axis=0), [0, 3, 60]]))
    check(make_pipeline(scaler, logistic(fit_intercept=intercept)), X, (y > 1) * 1, rows)


def test_a_penalised_intercept_sees_the_shift(counts):
    X, y = counts
    model = linear_model.LogisticRegression(solver="liblinear", tol=1e-12, max_iter=10**6)
    check(make_pipeline(StandardScaler(), model), X, (y > 1) * 1, np.arange(0, 120, 23))


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_matrix])
@pytest.mark.parametrize("scaler", [StandardScaler(with_mean=False), MaxAbsScaler()], ids=repr)
def test_sparse_rows_stay_sparse(counts, kind, scaler):
    X, y = counts
    X = kind(np.where(X > 1.5, X, 0.0))
    rows = np.unique(np.concatenate([np.ravel(X.toarray().argmax(axis=0)), [1, 50]]))
    check(make_pipeline(scaler, logistic()), X, (y > 1) * 1, rows, held=0.01)


def test_columns_that_one_row_decides(counts):
    """Without it they are constant, and divided by 1."""
    X, y = counts
    X = np.column_stack([X, np.zeros(120), np.full(120, 3.0), np.full(120, 0.1)])
    X[5, 5], X[8, 6] = 40.0, 3.5
    for scaler in (StandardScaler(), MinMaxScaler(), StandardScaler(with_mean=False)):
        check(make_pipeline(scaler, logistic()), X, (y > 1) * 1, np.array([5, 8, 20]))


@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler])
@pytest.mark.parametrize(("unit", "dtype"), [(1e-150, np.float64), (1e-10, np.float32)])
def test_columns_in_tiny_units_are_divided_by_what_scikit_learn_divides_by(
    counts, scaler, unit, dtype
):
    """By 1 where a spread is round-off in the units of the fit; a standard deviation never is."""
    X, y = (counts[0] * [unit, 1.0, 1.0, 1.0, 1.0]).astype(dtype), (counts[1] > 1) * 1
    model = make_pipeline(scaler(), single_precision() if dtype == np.float32 else logistic())
    model.fit(X, y)
    rows = np.unique(np.append(X.argmax(axis=0), [20, 40]))
    found = Influence(model, X, y).loo_decision_function(indices=rows, method="exact")
    expected = [
        clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i)).decision_function(X[[i]])[0]
        for i in rows
    ]
    # scikit-learn's refits are in single precision, too.
    np.testing.assert_allclose(found, expected, rtol=2e-5 if dtype == np.float64 else 5e-4)


def test_extremes_that_two_rows_share_move_nothing(counts):
    X = counts[0].copy()
    top = X[:, 0].argmax()
    X[3, 0] = X[top, 0]
    moves = statistics(MinMaxScaler().fit(X), X, np.array([3, top, 50]))
    assert moves.scale is None or (moves.scale[:, 0] == 1.0).all()


@pytest.mark.parametrize("hold", ["C", "lambda"])
def test_both_meanings_of_an_edit(counts, hold):
    X, y = counts
    kept = np.delete(np.arange(120), 4)
    for model in (logistic(C=0.3), glm("PoissonRegressor", alpha=0.05)):
        binary = isinstance(model, linear_model.LogisticRegression)
        target = (y > 1) * 1 if binary else y
        pipeline = make_pipeline(StandardScaler(), model).fit(X, target)
        found = Influence(pipeline, X, target, hold=hold).loo_decision_function(
            method="exact", indices=[4]
        )
        again = clone(pipeline)
        if binary and hold == "lambda":
            again[-1].set_params(C=0.3 * 120 / 119)
        if not binary and hold == "C":
            again[-1].set_params(alpha=0.05 * 120 / 119)
        again.fit(X[kept], target[kept])
        Z = again[:-1].transform(X)
        objective = polish(objective_of(again[-1], Z[kept], target[kept]))
        truth = objective.design.like(Z[[4]]).multiply(objective.theta.T)[0]
        np.testing.assert_allclose(found, truth, rtol=1e-7)


def test_weights_of_the_model_are_not_those_of_the_scaler(counts):
    """A scaler counts rows: one of weight zero moves it when it goes."""
    X, y = counts
    weight = np.random.default_rng(1).uniform(0.2, 3.0, 120)
    weight[[7, X[:, 0].argmax()]] = 0.0
    rows = np.unique([7, X[:, 0].argmax(), 11, 90])
    check(make_pipeline(StandardScaler(), logistic()), X, (y > 1) * 1, rows, weight, held=0.05)
    check(make_pipeline(StandardScaler(), glm("PoissonRegressor")), X, y, rows, weight)


def test_columns_far_from_zero(counts):
    X, y = counts
    check(make_pipeline(StandardScaler(), logistic()), X + 1e6, (y > 1) * 1, np.arange(0, 120, 31))


# Fitted again -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        (StandardScaler(), PCA(4)),
        (SelectKBest(k=5), StandardScaler()),
        (StandardScaler(), MinMaxScaler()),
        (PowerTransformer(),),
        (QuantileTransformer(n_quantiles=50),),
        (StandardScaler(), SplineTransformer(n_knots=4)),
        (KBinsDiscretizer(4, encode="onehot", quantile_method="averaged_inverted_cdf"),),
        (PolynomialFeatures(2), StandardScaler()),
        (FunctionTransformer(np.log1p), Normalizer(), StandardScaler()),
        (FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())]),),
        (FeatureUnion([("a", "passthrough"), ("b", PCA(2))]), StandardScaler()),
    ],
    ids=lambda steps: "+".join(type(one).__name__ for one in steps),
)
def test_other_steps(cancer, steps):
    X, y = cancer
    X, y = X[::4, :8], y[::4]
    check(make_pipeline(*steps, logistic()), X, y, np.arange(0, len(y), 29))


def test_a_table_with_holes_and_rare_categories():
    X, y = table()
    check(make_pipeline(columns(), logistic()), X, y, np.arange(len(y)), held=0.05)


def test_a_table_without_holes_is_answered_at_once():
    """The column of a category that only one row has is one of zeros without it."""
    X, y = table()
    X[["size", "age"]] = X[["size", "age"]].fillna(1.0)
    model = make_pipeline(columns(), logistic())
    check(model, X, y, np.arange(1, len(y), 2))
    moves = chain_moves([model[0]], X, np.arange(len(y)))
    assert np.flatnonzero(moves.gone).tolist() == [7]
    assert not moves.other.any()
    assert (moves.scale[:, 2:] == 1.0).all()


TEXTS = [
    " ".join(np.random.default_rng(i).choice("ham egg tea oil rye fig nut pea".split(), 3 + i % 4))
    + (f" word{i}" if i % 7 == 0 else "")
    for i in range(60)
]
TEXT_Y = np.array([int("egg" in text) ^ (i % 5 == 0) for i, text in enumerate(TEXTS)])


@pytest.mark.parametrize(
    "vectoriser",
    [TfidfVectorizer(), CountVectorizer(), CountVectorizer(min_df=2), TfidfVectorizer(max_df=0.4)],
    ids=repr,
)
def test_texts(vectoriser):
    rows = np.arange(0, 60, 1 if LONG else 3)
    check(make_pipeline(vectoriser, logistic()), TEXTS, TEXT_Y, rows, ties=True)


def test_texts_through_singular_vectors():
    steps = TfidfVectorizer(), TruncatedSVD(4, algorithm="arpack", random_state=0)
    check(make_pipeline(*steps, logistic()), TEXTS, TEXT_Y, np.arange(0, 60, 7))


def test_an_ordinal_encoder_renumbers_when_a_category_goes():
    X, y = table()
    X = X[["colour", "shape"]]
    step = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    check(make_pipeline(step, logistic()), X, y, np.arange(0, 70, 7), held=0.05, ties=True)


@pytest.mark.filterwarnings("ignore:Held as chosen")
def test_a_search_keeps_what_it_chose(counts):
    X, y = counts
    y = (y > 1) * 1
    model = make_pipeline(StandardScaler(), logistic())
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1.0]}).fit(X, y)
    rows = np.arange(0, 120, 40)
    found = asked(Influence(search, X, y), rows, method="exact")
    truth = refits(search.best_estimator_, X, y, rows)
    np.testing.assert_allclose(found, truth, rtol=EXACT)


def test_transformed_targets(counts):
    X, y = counts
    inner = make_pipeline(StandardScaler(), linear_model.Ridge(5.0))
    model = TransformedTargetRegressor(inner, transformer=StandardScaler()).fit(X, y)
    found = Influence(model, X, y).loo_predict(method="exact", indices=[3, 40])
    truth = [
        clone(model).fit(np.delete(X, i, 0), np.delete(y, i)).predict(X[[i]])[0] for i in (3, 40)
    ]
    np.testing.assert_allclose(found, truth, rtol=1e-9)


def test_frozen_estimators_stay_as_they_are(counts):
    X, y = counts
    y = (y > 1) * 1
    scaler = FrozenEstimator(StandardScaler().fit(X[:30]))
    inf = Influence(make_pipeline(scaler, logistic()).fit(X, y), X, y)
    np.testing.assert_array_equal(
        inf.loo_decision_function(frozen="refuse"), inf.loo_decision_function(frozen="accept")
    )


# Groups and doors -------------------------------------------------------------------------------


def test_groups_leave_the_whole_pipeline(counts):
    X, y = counts
    y = (y > 1) * 1
    groups = np.arange(120) % 7
    model = make_pipeline(StandardScaler(), PCA(3), logistic())
    found = leave_one_group_out(
        model, X, y, groups, method="exact", response_method="decision_function"
    )
    truth = np.empty(120)
    for group in range(7):
        inside = groups == group
        again = clone(model).fit(X[~inside], y[~inside])
        truth[inside] = again.decision_function(X[inside])
    np.testing.assert_allclose(found, truth, rtol=1e-6)
    score = leave_one_group_out_score(model, X, y, groups, scoring="accuracy")
    np.testing.assert_allclose(
        score, [np.mean((found > 0)[groups == g] == y[groups == g]) for g in range(7)]
    )


def test_every_door_gives_the_same_answer(counts):
    X, y = counts
    y = (y > 1) * 1
    model = our_pipeline(StandardScaler(), logistic()).fit(X, y)
    expected = Influence(model, X, y).loo_decision_function(method="exact")
    np.testing.assert_allclose(model.loo_decision_function(method="exact"), expected, rtol=1e-9)
    found = loo_predict(model, X, y, response_method="decision_function", method="exact")
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert loo_score(model, X, y) == pytest.approx(np.mean((expected > 0) == y))
    some = model.loo_predict(indices=[5, 2, 5])
    np.testing.assert_array_equal(some, (expected > 0)[[5, 2, 5]].astype(int))
    assert model.loo_predict_proba(indices=np.arange(120) < 3).shape == (3, 2)
    assert model.loo_score("accuracy", indices=[5, 2]) == np.mean(
        (expected > 0)[[5, 2]] == y[[5, 2]]
    )


def test_rows_are_named_by_their_labels():
    X, y = table()
    X.index = [f"r{i}" for i in range(len(y))]
    inf = Influence(make_pipeline(columns(), logistic()).fit(X, y), X, y)
    found = inf.loo_decision_function(labels=["r9", "r4"])
    np.testing.assert_allclose(found, inf.loo_decision_function(indices=[9, 4]), rtol=1e-12)


# What is not known ------------------------------------------------------------------------------


class Doubling(TransformerMixin, BaseEstimator):
    """Knows nothing, learns nothing, draws when it is fitted."""

    def fit(self, X, y=None):
        self.factor_ = np.random.default_rng().uniform(1.0, 2.0)
        return self

    def transform(self, X):
        return self.factor_ * X


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (Nystroem(n_components=4, random_state=0), r"nystroem \(Nystroem\) draws"),
        (PCA(2, svd_solver="randomized", random_state=0), r"pca \(PCA\) has a randomised"),
        (QuantileTransformer(n_quantiles=10, subsample=50, random_state=0), "sample of the rows"),
        (
            KBinsDiscretizer(
                3, subsample=50, random_state=0, quantile_method="averaged_inverted_cdf"
            ),
            "sample of the rows",
        ),
        (Doubling(), "do not give what they gave"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_draws_over_the_rows_are_named_and_held(counts, step, why):
    X, y = counts
    X, y = np.log(X), (y > 1) * 1
    inf = Influence(make_pipeline(StandardScaler(), step, logistic()).fit(X, y), X, y)
    with pytest.warns(UserWarning, match=f"as fitted on all rows.*{why}.*frozen='accept'"):
        found = inf.loo_decision_function()
    np.testing.assert_array_equal(found, inf.loo_decision_function(frozen="accept"))
    with pytest.raises(ValueError, match=f"frozen='refuse'.*{why}"):
        inf.loo_decision_function(frozen="refuse")


def test_weights_of_a_scaler_are_noticed(counts):
    X, y = counts
    y = (y > 1) * 1
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 120)
    model = make_pipeline(StandardScaler(), logistic())
    model.fit(X, y, standardscaler__sample_weight=weight)
    with pytest.warns(UserWarning, match="with weights of their own"):
        Influence(model, X, y).loo_decision_function()


@pytest.mark.parametrize("method", ["auto", "one-step", "influence"])
def test_few_rows_of_any_kind_of_model_are_those_of_all(counts, method):
    X, y = counts
    X, y = np.log(X), (y > 1) * 1
    tight = {"tol": 1e-10, "max_iter": 10**6}
    models = SVC(tol=1e-8), KernelRidge(), LinearSVC(C=0.1, loss="hinge", **tight), logistic()
    for model in models:
        kernel = isinstance(model, KernelRidge)
        inf = Influence(model.fit(X, y), X, y)
        ask = inf.loo_predict if kernel else inf.loo_decision_function
        every = ask(method=method)
        np.testing.assert_allclose(ask(method=method, indices=[9, 3]), every[[9, 3]], rtol=1e-9)


@pytest.mark.parametrize("step", [StandardScaler(), PCA(3)], ids=["at once", "fitted again"])
def test_balanced_weights_move_behind_transformers_too(counts, step):
    X, y = counts
    y = (y > 1) * 1
    model = make_pipeline(StandardScaler(), step, logistic(class_weight="balanced"))
    check(model, X, y, range(0, 120, 9), held=1e-2)
    refused = Influence(model, X, y).loo_decision_function(indices=[3], frozen="refuse")
    np.testing.assert_array_equal(
        refused, Influence(model, X, y).loo_decision_function(indices=[3])
    )


def test_what_takes_too_long_says_how_long_and_what_to_do(cancer):
    X, y = cancer
    inf = Influence(make_pipeline(StandardScaler(), PCA(4), logistic()).fit(X, y), X, y)
    with pytest.raises(OverBudgetError, match=r"569 times.*indices=.*budget=.*frozen='accept'"):
        inf.loo_decision_function(budget=1e-3)
    assert inf.loo_decision_function(indices=[3]).shape == (1,)


def test_rows_that_the_transformers_refuse_have_no_answer():
    X, y = table()
    inf = Influence(make_pipeline(columns("error"), logistic()).fit(X, y), X, y)
    with pytest.warns(UserWarning, match=r"Row 7 has no answer.*[Ff]ound unknown categories"):
        found = inf.loo_decision_function(indices=[6, 7])
    assert np.isnan(found).tolist() == [False, True]


class Picky(TransformerMixin, BaseEstimator):
    """Fails on fewer rows in its own words, as bins of a column of one value do."""

    def fit(self, X, y=None):
        if len(X) < 60:
            raise IndexError("index -1 is out of bounds")
        self.n_ = len(X)
        return self

    def transform(self, X):
        return X


def test_whatever_a_transformer_raises_is_its_refusal(counts):
    X, y = counts
    X, y = X[:60], (y[:60] > 1) * 1
    inf = Influence(make_pipeline(Picky(), logistic()).fit(X, y), X, y)
    with pytest.warns(UserWarning, match=r"Row 7 has no answer.*index -1 is out of bounds"):
        assert np.isnan(inf.loo_decision_function(indices=[7])).all()


def test_round_off_of_a_column_of_one_value_is_no_other_fit(counts):
    """A power transformer leaves 0 of it by one way and 4e-16 by another."""
    X, y = counts
    X = np.column_stack([X, np.full(len(X), 2.0)])
    check(make_pipeline(PowerTransformer(), logistic()), X, (y > 1) * 1, [3, 40, 77])


# Teeth ------------------------------------------------------------------------------------------


def test_a_forgotten_variance_is_seen(cancer, monkeypatch):
    X, y = cancer
    monkeypatch.setattr(
        "skinfluence.statistics.removals.chain_moves",
        lambda steps, X, rows: Moves(other=np.zeros(len(rows), dtype=bool)),
    )
    with pytest.raises(AssertionError):
        check(make_pipeline(StandardScaler(), logistic()), X, y, np.arange(0, 569, 60))


def test_a_forgotten_category_is_seen(monkeypatch):
    X, y = table()
    X = X[["colour", "shape"]]
    model = make_pipeline(
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), logistic()
    )
    monkeypatch.setattr(
        "skinfluence.statistics.removals.chain_moves",
        lambda steps, X, rows: Moves(other=np.zeros(len(rows), dtype=bool)),
    )
    with pytest.raises(AssertionError):
        check(model, X, y, np.array([7, 8]))


def test_a_forgotten_shift_is_seen(counts, monkeypatch):
    X, y = counts
    moves = chain_moves
    monkeypatch.setattr(
        "skinfluence.statistics.removals.chain_moves",
        lambda *given: Moves(moves(*given).scale, False, moves(*given).other),
    )
    model = make_pipeline(StandardScaler(), logistic(fit_intercept=False))
    with pytest.raises(AssertionError):
        check(model, X, (y > 1) * 1, np.arange(0, 120, 10))


# The certificate --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_no_bound_is_violated(seed):
    """Of the step in the norm of the moved Hessian, at every tolerance."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(12, 60)), int(rng.integers(1, 6))
    X = rng.standard_normal((n, d)) * np.exp(rng.uniform(0, 2) * rng.standard_normal((n, d)))
    kind = ["binary", "softmax", "poisson"][seed % 3]
    if kind == "poisson":
        y = rng.poisson(1.0, n).astype(float)
        y[:3] = 1.0
        model = glm("PoissonRegressor", alpha=float(10 ** rng.uniform(-3, 0)))
    else:
        y = rng.integers(0, 2 if kind == "binary" else 3, n)
        y[:6] = [0, 1, 2, 0, 1, 2] if kind == "softmax" else [0, 1, 0, 1, 0, 1]
        model = logistic(C=float(10 ** rng.uniform(-2, 2)))
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    inf = Influence(pipeline, X, y)
    rows = np.arange(0, n, 2)
    moves = statistics(pipeline[0], X, rows)
    solver = inf.answers.edit_solver()
    problem = solver.objective
    ratio = np.column_stack([moves.scale**2, np.ones(len(rows))])
    edits = steps.removals(problem, rows)
    edits = type(edits)(**{**vars(edits), "ratio": ratio})
    edits = edits.undone(edits.weight < 0, problem)
    for tol in (0.3, 1e-3, 1e-9):
        for block, solved in solver.rows.solve(edits, tol):
            for i in range(block.start, block.stop):
                weights = problem.weights.copy()
                weights[rows[i]] = 0.0
                penalty = (problem.penalty + edits.shift[i] * problem.unit_penalty) * ratio[i]
                moved = type(problem)(
                    **{**base_fields(problem), "weights": weights, "penalty": penalty}
                )
                H = Curvature(moved).dense()
                truth = polish(minimise(moved, inf.answers.solver).objective, 3)
                away = (solved.steps[i] - (truth.theta - problem.theta)).ravel()
                distance = np.sqrt(max(0.0, away @ H @ away))
                assert distance <= solved.bound[i - block.start] * (1 + 1e-9)
                if tol < 1e-6:
                    size = solved.size[i - block.start]
                    assert solved.bound[i - block.start] < 1e-6 * max(size, 1e-6)


def base_fields(problem):
    return {name: getattr(problem, name) for name in problem.__dataclass_fields__}


@pytest.mark.parametrize(
    "options", [{}, {"quantile_range": (10.0, 60.0), "unit_variance": True}], ids=str
)
@pytest.mark.parametrize("n", [60, 61, 63])
def test_quantiles_move_with_the_rows_beside_them(options, n, counts):
    X, y = counts
    X, y = X[:n], (y[:n] > 1) * 1
    model = make_pipeline(RobustScaler(**options), logistic())
    check(model, X, y, range(0, n, 4))
    moves = statistics(RobustScaler(**options).fit(X), X, np.arange(n))
    for i in range(0, n, 7):
        again = RobustScaler(**options).fit(np.delete(X, i, axis=0))
        ratio = again.scale_ / RobustScaler(**options).fit(X).scale_
        np.testing.assert_allclose(moves.scale[i], ratio, rtol=1e-12)
    assert moves.other is None


def test_fills_of_test_rows_move_although_no_training_row_has_a_hole(counts):
    X, y = counts
    X, y = X[:60], (y[:60] > 1) * 1
    model = make_pipeline(SimpleImputer(), StandardScaler(), logistic()).fit(X, y)
    tests = X[:3].copy()
    tests[0, 0] = np.nan
    row = int(X[:, 0].argmax())
    again = clone(model).fit(np.delete(X, row, axis=0), np.delete(y, row))
    truth = again.decision_function(tests) - model.decision_function(tests)
    inf = Influence(model, X, y)
    asked = {"of": "decision_function", "method": "exact"}
    found = inf.removal_effect(tests, indices=[row], **asked)[:, 0]
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-6 * np.abs(truth).max())
    effect = inf.effect(edits.remove(row), tests, **asked)
    np.testing.assert_allclose(effect.values, truth, rtol=0, atol=1e-6 * np.abs(truth).max())
