"""Every registered pullback is the derivative of its transformer, alone and under influence_pert."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import (
    PCA,
    FactorAnalysis,
    FastICA,
    IncrementalPCA,
    KernelPCA,
    TruncatedSVD,
)
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
)
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer
from sklearn.kernel_approximation import (
    AdditiveChi2Sampler,
    Nystroem,
    RBFSampler,
    SkewedChi2Sampler,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
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
    TargetEncoder,
)
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from skinfluence import Influence
from skinfluence._utils._compat import IterativeImputer
from skinfluence.pipeline import NoDerivativeError, pullback
from skinfluence.pullbacks import composition
from tests.fewer import in_turn
from tests.truth import refit, relative_error
from tests.versions import random_csr

N, ROWS = 30, (4, 9)


# Data: two rows hold the extremes, so that no other lies where a range ends -----------------------


def plain():
    X = np.random.default_rng(0).standard_normal((N, 3)) * [0.5, 1.0, 2.0]
    X[0], X[1] = -4.0, 4.0
    return X


def positive():
    return np.exp(0.4 * plain())


def csr():
    X = plain()
    X[np.random.default_rng(1).uniform(size=X.shape) < 0.3] = 0.0
    return sp.csr_array(X)


def counts():
    X = np.random.default_rng(2).poisson(0.9, (N, 5)).astype(float)
    X[:, 0] += 1.0
    return sp.csr_array(X)


def missing():
    X = plain()
    X[np.random.default_rng(3).uniform(size=X.shape) < 0.2] = np.nan
    X[4, 1], X[9] = np.nan, [0.3, -0.2, 0.7]
    return X


def complete():
    """Missing cells in the first rows only, where nobody looks."""
    X = missing()
    X[4:] = np.nan_to_num(X[4:], nan=0.1)
    return X


def table():
    return pd.DataFrame(plain(), columns=["age", "dose", "size"]).assign(extra=positive()[:, 0])


def columns(*parts, **options):
    return ColumnTransformer([(f"part{i}", *part) for i, part in enumerate(parts)], **options)


@dataclass(frozen=True)
class Case:
    """A transformer and what it is fitted on; ``beyond``: also look outside the fitted range."""

    transformer: object
    data: object = plain
    beyond: bool = False
    present: bool = False

    @property
    def id(self):
        text = " ".join(repr(self.transformer).split())
        return f"{text[:90]}-{self.data.__name__}"

    def fitted(self):
        X = self.data()
        y = np.arange(N) % 3 == 0
        return self.transformer.fit(X, y), X


scale = StandardScaler
CASES = [
    Case(StandardScaler()),
    Case(StandardScaler(with_std=False)),
    Case(StandardScaler(with_mean=False), csr),
    Case(StandardScaler(), table),
    Case(MinMaxScaler((-1, 2)), beyond=True),
    Case(MinMaxScaler(clip=True), beyond=True),
    Case(MaxAbsScaler(), csr),
    Case(RobustScaler()),
    Case(RobustScaler(with_scaling=False)),
    Case(PowerTransformer()),
    Case(PowerTransformer(standardize=False)),
    Case(PowerTransformer("box-cox"), positive),
    Case(Normalizer()),
    Case(Normalizer(), csr),
    Case(Normalizer("l1")),
    Case(Normalizer("max")),
    Case(FunctionTransformer()),
    Case(FunctionTransformer(np.log1p), positive),
    Case(FunctionTransformer(np.log), positive),
    Case(FunctionTransformer(np.log2), positive),
    Case(FunctionTransformer(np.log10), positive),
    Case(FunctionTransformer(np.sqrt), positive),
    Case(FunctionTransformer(np.exp)),
    Case(FunctionTransformer(np.expm1)),
    Case(FunctionTransformer(np.square), table),
    Case(FunctionTransformer(np.arcsinh)),
    Case(FunctionTransformer(np.tanh)),
    Case(PCA(2)),
    Case(PCA(2, whiten=True)),
    Case(IncrementalPCA(2, whiten=True)),
    Case(TruncatedSVD(2, random_state=0)),
    Case(TruncatedSVD(2, random_state=0), csr),
    Case(FactorAnalysis(1)),
    Case(FastICA(2, random_state=0)),
    Case(GaussianRandomProjection(2, random_state=0), csr),
    Case(SparseRandomProjection(3, random_state=0)),
    Case(SelectKBest(k=2)),
    Case(VarianceThreshold(0.4), csr),
    Case(PolynomialFeatures(3)),
    Case(PolynomialFeatures((2, 3), include_bias=False, order="F")),
    Case(PolynomialFeatures(3, interaction_only=True)),
    Case(PolynomialFeatures(2), csr),
    *[
        Case(SplineTransformer(n_knots=4, extrapolation=how, **options), beyond=how != "error")
        for how in ("error", "constant", "linear", "continue", "periodic")
        for options in ({}, {"degree": 1}, {"degree": 2, "include_bias": False})
        if (how, options.get("degree")) != ("linear", 1)
    ],
    Case(SplineTransformer(knots="quantile", sparse_output=True), table),
    Case(Nystroem(n_components=8, random_state=0)),
    Case(Nystroem(gamma=0.3, n_components=8, random_state=0), csr),
    Case(Nystroem("linear", n_components=2, random_state=0)),
    Case(Nystroem("poly", n_components=5, degree=2, coef0=0.5, random_state=0)),
    Case(Nystroem("poly", n_components=8, random_state=0), table),
    Case(Nystroem("laplacian", n_components=8, gamma=0.2, random_state=20), beyond=True),
    Case(Nystroem("sigmoid", n_components=3, gamma=0.1, random_state=0)),
    Case(Nystroem(kernel_params={"gamma": 0.2}, n_components=8, random_state=0)),
    Case(KernelPCA(3, kernel="rbf")),
    Case(KernelPCA(3, kernel="poly", degree=2, gamma=0.1, coef0=2.0)),
    Case(KernelPCA(2)),
    Case(RBFSampler(gamma=0.3, n_components=10, random_state=0)),
    Case(RBFSampler(gamma="scale", n_components=10, random_state=0), csr),
    Case(SkewedChi2Sampler(skewedness=0.5, n_components=10, random_state=0), positive),
    Case(AdditiveChi2Sampler(sample_steps=1), positive),
    Case(AdditiveChi2Sampler(), positive),
    Case(AdditiveChi2Sampler(sample_steps=4, sample_interval=0.3), positive),
    Case(SimpleImputer(), missing),
    Case(SimpleImputer(strategy="median", add_indicator=True), missing),
    Case(KNNImputer(n_neighbors=3, add_indicator=True), missing),
    Case(KNNImputer(weights="distance"), complete),
    Case(IterativeImputer(random_state=0, tol=1.0), complete),
    Case(IterativeImputer(random_state=0, tol=1e-2, max_iter=50), missing),
    Case(
        IterativeImputer(
            linear_model.Ridge(), random_state=0, tol=1.0, min_value=-0.2, max_value=0.2
        ),
        missing,
    ),
    Case(
        IterativeImputer(n_nearest_features=1, random_state=0, tol=1.0, add_indicator=True), missing
    ),
    Case(make_union("passthrough", MissingIndicator(features="all")), plain),
    Case(TfidfTransformer(), counts),
    Case(TfidfTransformer(norm="l1", smooth_idf=False), counts, present=True),
    Case(TfidfTransformer(sublinear_tf=True), counts, present=True),
    Case(TfidfTransformer(use_idf=False, norm=None, sublinear_tf=True), counts, present=True),
    Case(TfidfTransformer(norm=None), counts),
    Case(FrozenEstimator(StandardScaler().fit(plain()))),
    Case(make_pipeline(StandardScaler(), "passthrough", PCA(2))),
    Case(FeatureUnion([("a", PCA(2)), ("b", "drop"), ("c", scale()), ("d", "passthrough")])),
    Case(FeatureUnion([("a", PCA(2)), ("b", scale())], transformer_weights={"a": 3.0})),
    Case(columns((scale(), [0, 2]), ("drop", [1]))),
    Case(columns((scale(), [2, 0]), ("passthrough", [0]), remainder="passthrough")),
    Case(columns((scale(), slice(0, 2)), remainder=PCA(1), transformer_weights={"part0": 2.0})),
    Case(columns((scale(), np.array([True, False, True])), (PCA(1), [-1, 0]))),
    Case(columns((MaxAbsScaler(), [0]), remainder="passthrough", sparse_threshold=1.0), csr),
    Case(columns((scale(), ["dose", "age"]), (PCA(1), slice("size", "extra"))), table),
    Case(columns((scale(), make_column_selector("e$")), (scale(), []), remainder=PCA(1)), table),
    Case(columns((scale(), ["size"])).set_output(transform="pandas"), table),
]
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)

REFUSED = {
    OneHotEncoder(): plain,
    OrdinalEncoder(): plain,
    TargetEncoder(): plain,
    KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"): plain,
    Binarizer(): plain,
    QuantileTransformer(n_quantiles=10): plain,
    SplineTransformer(degree=0): plain,
    SplineTransformer(degree=1, extrapolation="linear"): plain,
    Nystroem("cosine", n_components=3): plain,
    Nystroem(lambda x, z: float(x @ z), n_components=3): plain,
    KernelPCA(2, kernel="cosine"): plain,
    FunctionTransformer(np.abs): plain,
    KNNImputer(weights="distance"): missing,
    IterativeImputer(sample_posterior=True, random_state=0, max_iter=1): missing,
    IterativeImputer(KNeighborsRegressor(2), tol=1.0): missing,
    CountVectorizer(): lambda: ["one word", "two words"] * 9,
    HashingVectorizer(): lambda: ["one word", "two words"] * 9,
    DictVectorizer(): lambda: [{"a": 1.0}, {"b": "x"}] * 9,
    FeatureHasher(): lambda: [{"a": 1.0}, {"b": 2.0}] * 9,
}


def test_every_registered_class_is_tested():
    tested = [type(case.transformer) for case in CASES] + [type(one) for one in REFUSED]
    tested += [type(step) for case in CASES for _, step in getattr(case.transformer, "steps", [])]
    tested.append(MissingIndicator)
    registered = [cls for cls in pullback.registry if cls.__module__.startswith("sklearn")]
    assert len(registered) > 35
    for cls in registered:
        assert any(issubclass(one, cls) for one in tested), f"Give {cls.__name__} a case"


# Derivatives ------------------------------------------------------------------------------------


def moved(X, row, column, delta):
    """The same inputs with one cell moved."""
    if hasattr(X, "iloc"):
        X = X.copy()
        X.iloc[row, column] += delta
        return X
    dense = X.toarray() if sp.issparse(X) else X.copy()
    dense[row, column] += delta
    return sp.csr_array(dense) if sp.issparse(X) else dense


def outputs(transformer, X):
    Z = transformer.transform(X)
    return Z.toarray() if sp.issparse(Z) else np.asarray(Z, dtype=float)


def values(X):
    return X.toarray() if sp.issparse(X) else np.asarray(X, dtype=float)


def cells(case, X):
    """Cells that can move: those that are there; for words, those in the text."""
    there = ~np.isnan(values(X))
    return there & (values(X) != 0) if case.present else there


@EVERY
def test_pullback_is_the_derivative(case, rng):
    """V' d transform(x) / dx by central differences, 1e-6."""
    transformer, X = case.fitted()
    X = X[10:20]
    if case.beyond:
        X = np.concatenate([X, 3.0 * X])
    V = rng.standard_normal((2, X.shape[0], outputs(transformer, X).shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pullback(transformer, X, V)
    assert found.shape == (2, *X.shape)
    expected = np.zeros_like(found)
    there = cells(case, X)
    for column in range(X.shape[1]):
        # Rows do not know of each other: move all of them at once.
        h = 1e-5 * there[:, column]
        ends = [outputs(transformer, moved(X, slice(None), column, s * h)) for s in (1, -1)]
        expected[:, :, column] = np.einsum("mbf,bf->mb", V, ends[0] - ends[1]) / 2e-5
    assert relative_error(found[:, there], expected[:, there]) < 1e-6
    assert not found[:, np.isnan(values(X))].any()


@pytest.mark.parametrize("case", in_turn(CASES, lambda case: None, 2), ids=lambda case: case.id)
def test_influence_on_raw_inputs_matches_refits(case):
    """(1 / n) influence_pert is the central difference of refits; transformers frozen, 1e-5.

    What a transformer contributes, each of them, is the test above.
    """
    transformer, X = case.fitted()
    y = np.where((np.arange(N) * 7) % 5 < 2, "no", "yes")
    model = linear_model.LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-12)
    Z = outputs(transformer, X)
    objective = refit(model, Z, y, np.ones(N))
    pipeline = make_pipeline(FrozenEstimator(transformer), model).fit(X, y)
    theta = objective.theta
    model.coef_, model.intercept_ = theta[:, :-1], theta[:, -1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\d+ inputs lie on a kink")
        found = Influence(pipeline, X, y).influence_pert(X[12:15], y[12:15], indices=ROWS)
    assert found.shape == (3, 2, X.shape[1])
    expected = np.zeros_like(found)
    h, there = 1e-4, cells(case, X)[list(ROWS)]
    for i, row in enumerate(ROWS):
        for column in np.flatnonzero(there[i]):
            ends = [
                losses(refit(model, outputs(transformer, new), y, np.ones(N)), Z, y)
                for new in (moved(X, row, column, sign * h) for sign in (1, -1))
            ]
            expected[:, i, column] = N * (ends[0] - ends[1]) / (2 * h)
    assert relative_error(found[:, there], expected[:, there]) < 1e-5


def losses(objective, Z, y):
    eta = objective.design.like(Z[12:15]).multiply(objective.theta.T)
    return objective.loss.value(eta, (y[12:15] == "yes").astype(int))


# What has no derivative -------------------------------------------------------------------------


@pytest.mark.parametrize("transformer", REFUSED, ids=lambda t: type(t).__name__)
def test_steps_are_refused_with_the_way_out(transformer):
    X = REFUSED[transformer]()
    transformer.fit(X, np.arange(len(X)) % 2)
    Z = transformer.transform(X)
    with pytest.raises(NoDerivativeError, match=r"(?s)because .*influence_by_name.*register"):
        pullback(transformer, X, np.ones((1, len(X), Z.shape[1])))


def test_a_class_of_ones_own_can_be_registered():
    class Twice(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return 2.0 * X

    with pytest.raises(NoDerivativeError, match=r"Twice\. Register it with .*pullback\.register"):
        pullback(Twice(), np.ones((1, 1)), np.ones((1, 1, 1)))
    pullback.register(Twice, lambda transformer, X, V: 2.0 * V)
    np.testing.assert_array_equal(pullback(Twice(), np.ones((1, 1)), np.ones((1, 1, 1))), 2.0)


@pytest.mark.parametrize(
    "transformer",
    [
        MinMaxScaler(clip=True),
        SplineTransformer(knots=np.array([[-4.0], [0.0], [4.0]]) + np.zeros(3)),
    ],
    ids=["clip", "constant"],
)
def test_at_the_ends_of_the_range_the_slope_inside_is_given(transformer):
    X = plain()
    transformer.fit(X)
    Z = outputs(transformer, X)
    V = np.ones((1, N, Z.shape[1])) * np.arange(Z.shape[1])
    with pytest.warns(UserWarning, match="6 inputs lie on a kink"):
        found = pullback(transformer, X, V)
    h = 1e-6
    for row, inward in ((0, 1.0), (1, -1.0)):
        for column in range(3):
            new = outputs(transformer, moved(X, row, column, inward * h))
            slope = inward * ((new - Z)[row] @ V[0, row]) / h
            np.testing.assert_allclose(found[0, row, column], slope, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("transformer", "X"),
    [
        (Normalizer(), np.array([[0.0, 0.0], [1.0, 2.0]])),
        (TfidfTransformer(), sp.csr_array(np.array([[0.0, 0.0], [1.0, 2.0]]))),
        (AdditiveChi2Sampler(), np.array([[0.0, 1.0], [1.0, 2.0]])),
        (FunctionTransformer(np.sqrt), np.array([[0.0, 1.0], [1.0, 2.0]])),
    ],
    ids=lambda one: type(one).__name__,
)
def test_rows_without_a_derivative_are_nan(transformer, X):
    width = transformer.fit(X).transform(X).shape[1]
    with pytest.warns(UserWarning, match="1 rows have no derivative"):
        found = pullback(transformer, X, np.ones((1, 2, width)))
    assert np.isnan(found[:, 0]).all() and np.isfinite(found[:, 1]).all()


@pytest.mark.parametrize(
    ("transformer", "X", "count"),
    [
        (Normalizer("l1"), np.array([[0.0, 2.0]]), 1),
        (Normalizer("max"), np.array([[2.0, -2.0]]), 1),
        (SplineTransformer(degree=1, n_knots=3), np.array([[0.0], [0.5], [0.2], [1.0]]), 3),
    ],
    ids=lambda one: type(one).__name__,
)
def test_kinks_are_counted(transformer, X, count):
    width = transformer.fit(X).transform(X).shape[1]
    with pytest.warns(UserWarning, match=f"{count} inputs lie on a kink"):
        pullback(transformer, X, np.ones((1, len(X), width)))


# Shapes and sizes -------------------------------------------------------------------------------


def test_columns_of_a_table_are_found_by_name_in_any_order(rng):
    X = table()
    transformer = columns((scale(), ["dose"]), (PCA(1), ["age", "size"])).fit(X)
    V = rng.standard_normal((1, N, 2))
    other = X[["size", "extra", "dose", "age"]]
    found = pullback(transformer, other, V)
    expected = pullback(transformer, X, V)
    np.testing.assert_array_equal(found, expected[:, :, [2, 3, 1, 0]])


def test_columns_all_missing_are_dropped_or_kept():
    X = missing()
    X[:, 1] = np.nan
    for keep in (False, True):
        transformer = SimpleImputer(keep_empty_features=keep).fit(X)
        found = pullback(transformer, X[9:10], np.ones((1, 1, 3 if keep else 2)))
        np.testing.assert_array_equal(found[0, 0], [1.0, 0.0, 1.0])


def test_blocks_of_rows_give_the_same(monkeypatch, rng):
    pipeline = make_pipeline(StandardScaler(), PolynomialFeatures(2), Nystroem(n_components=5))
    X = plain()
    pipeline.fit(X)
    V = rng.standard_normal((2, N, 5))
    whole = pullback(pipeline, X, V)
    monkeypatch.setattr(
        "skinfluence.pullbacks.registry.row_blocks",
        lambda n, size: [slice(i, min(i + 7, n)) for i in range(0, n, 7)],
    )
    np.testing.assert_allclose(pullback(pipeline, X, V), whole, rtol=1e-12)


def test_wide_sparse_rows_are_not_made_dense_by_linear_maps(monkeypatch):
    """At 100,000 columns a projection needs no dense copy of the rows."""
    X = random_csr(np.random.default_rng(0), (40, 100_000), 1e-4)
    transformer = make_pipeline(MaxAbsScaler(), TruncatedSVD(3, random_state=0)).fit(X)
    monkeypatch.setattr(sp.csr_array, "toarray", None)
    monkeypatch.setattr(sp.csr_matrix, "toarray", None)
    found = pullback(transformer, X, np.ones((1, 40, 3)))
    assert found.shape == (1, 40, 100_000)


def test_rows_that_must_be_dense_are_refused_beyond_memory(monkeypatch):
    monkeypatch.setattr("skinfluence._utils.memory.SURE_BYTES", 0)
    monkeypatch.setattr("skinfluence._utils.memory.available_memory", lambda: 1000)
    X = counts()
    transformer = TfidfTransformer().fit(X)
    with pytest.raises(MemoryError, match=r"dense rows.*indices="):
        pullback(transformer, X, np.ones((1, N, 5)))


def test_a_chain_leaves_out_what_passes_through():
    pipeline = make_pipeline("passthrough", StandardScaler(), "passthrough")
    assert [type(one) for one in composition.chain(pipeline)] == [StandardScaler]
