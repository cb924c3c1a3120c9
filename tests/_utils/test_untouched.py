"""Asking changes nothing: transformers that compute in place get copies to do it in."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn import preprocessing
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from skinfluence import Influence, edits
from skinfluence._utils.untouched import may_write
from skinfluence.attack import TrainingSetAttack
from skinfluence.model_selection import LeaveOneOutSearch, loo_predict
from skinfluence.pipeline import influence_by_name
from tests.fewer import turns

TIGHT = {"solver": "newton-cholesky", "tol": 1e-12}


class Halves(TransformerMixin, BaseEstimator):
    """One's own transformer, which writes into what it is given."""

    def fit(self, X, y=None):
        self.seen_ = True
        return self

    def transform(self, X):
        if isinstance(X, np.ndarray):
            X *= 0.5
            return X
        for name in X.columns:
            X[name] = 0.5 * X[name]
        return X


def _shift(X):
    X -= 3.0
    return X


PLAIN = {
    "StandardScaler": preprocessing.StandardScaler,
    "MinMaxScaler": preprocessing.MinMaxScaler,
    "MaxAbsScaler": preprocessing.MaxAbsScaler,
    "RobustScaler": preprocessing.RobustScaler,
    "Normalizer": preprocessing.Normalizer,
    "Binarizer": lambda **copy: preprocessing.Binarizer(threshold=5.0, **copy),
    "PowerTransformer": preprocessing.PowerTransformer,
    "QuantileTransformer": lambda **copy: preprocessing.QuantileTransformer(n_quantiles=20, **copy),
    "SimpleImputer": SimpleImputer,
    "PCA": PCA,
    # The branches share X: the last may write into it.
    "union": lambda **copy: FeatureUnion([("a", PCA(2)), ("b", StandardScaler(**copy))]),
    "columns": lambda **copy: ColumnTransformer(
        [("a", StandardScaler(**copy), [0, 2])], remainder="passthrough"
    ),
    "second step": lambda **copy: make_pipeline("passthrough", StandardScaler(**copy)),
}
# Beside each, the same from a transformer that writes nowhere.
CASES = {
    **{name: (make(copy=False), make(copy=True)) for name, make in PLAIN.items()},
    "own": (Halves(), preprocessing.FunctionTransformer(lambda X: X * 0.5)),
    "function": (
        preprocessing.FunctionTransformer(_shift),
        preprocessing.FunctionTransformer(lambda X: X - 3.0),
    ),
}
EVERY = pytest.mark.parametrize(("writes", "plain"), CASES.values(), ids=CASES)


def _data(n=40):
    rng = np.random.default_rng(0)
    X = rng.gamma(3.0, 2.0, (n, 4))
    return X, np.where(X[:, 0] - X[:, 1] + 2.0 * rng.standard_normal(n) > 0, 1, 0)


def _held(X):
    return np.array(X)


@pytest.mark.parametrize(("name", "container"), turns(CASES, [np.array, pd.DataFrame]))
def test_asking_leaves_rows_as_they_are_and_answers_about_them(name, container):
    (writes, plain), (X, y) = CASES[name], _data()
    expected = Influence(make_pipeline(plain, LogisticRegression(**TIGHT)).fit(X, y), X, y)
    model = make_pipeline(writes, LogisticRegression(**TIGHT)).fit(container(X.copy()), y)
    rows, test = container(X.copy()), container(X[:5] + 0.1)
    added = (X[7] + 0.3).copy()
    kept = [_held(rows), _held(test), added.copy()]
    inf = Influence(model, rows, y)
    edit = edits.add(added, 1) + edits.replace(2, added)
    few = {"method": "exact", "indices": range(0, 40, 9)}
    moved = expected.effect(edit, X[:5] + 0.1, y[:5], method="exact").values
    removed = expected.removal_effect(X[:5] + 0.1, y[:5], **few)
    for _ in range(2):
        asked = inf.effect(edit, test, y[:5], method="exact").values
        np.testing.assert_allclose(asked, moved, rtol=1e-9, atol=1e-12)
        # Round-off of one way to the answer is not that of another.
        asked = inf.removal_effect(test, y[:5], **few)
        np.testing.assert_allclose(asked, removed, rtol=1e-7, atol=1e-12)
    for before, now in zip(kept, [rows, test, added], strict=True):
        np.testing.assert_array_equal(np.array(now), before)


@pytest.mark.parametrize(
    "name", ["StandardScaler", "MinMaxScaler", "Normalizer", "union", "columns"]
)
def test_derivatives_are_taken_at_the_rows_as_they_are(name):
    X, y = _data()
    plain, writes = (
        make_pipeline(PLAIN[name](copy=copy), StandardScaler(copy=copy), LogisticRegression())
        for copy in (True, False)
    )
    expected = Influence(plain.fit(X, y), X, y)
    inf = Influence(writes.fit(X.copy(), y), rows := X.copy(), y)
    np.testing.assert_allclose(
        inf.influence_pert(X[:3], y[:3]),
        expected.influence_pert(X[:3], y[:3]),
        rtol=1e-9,
        atol=1e-12,
    )
    ours, theirs = (influence_by_name(one, X[:3], y[:3], indices=[2]) for one in (inf, expected))
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(rows, X)


@EVERY
def test_leaving_out_and_searching_leave_rows_as_they_are(writes, plain):
    X, y = _data()
    rows, options = X.copy(), {"response_method": "decision_function", "frozen": "accept"}
    found, expected = (
        loo_predict(make_pipeline(one, LogisticRegression(**TIGHT)), here, y, **options)
        for one, here in ((writes, rows), (plain, X))
    )
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    grid = {"logisticregression__C": [0.1, 1.0]}
    ours, theirs = (
        LeaveOneOutSearch(
            make_pipeline(one, LogisticRegression(**TIGHT)), grid, frozen="accept"
        ).fit(rows, y)
        for one in (writes, plain)
    )
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-9
    )


def test_models_that_centre_in_place_leave_rows_as_they_are():
    X, y = _data()
    rows, kept = X.copy(), X.copy()
    found = loo_predict(Ridge(copy_X=False), rows, y)
    np.testing.assert_array_equal(rows, kept)
    refits = [
        Ridge().fit(np.delete(X, i, 0), np.delete(y, i)).predict(X[i : i + 1])[0] for i in (0, 5)
    ]
    np.testing.assert_allclose(found[[0, 5]], refits, rtol=1e-9)


def test_sparse_rows_and_rows_on_disk_stay_as_they_are(tmp_path):
    X, y = _data()
    csr = sp.csr_array(np.where(X < 5, 0.0, X))
    kept = csr.toarray()
    model = make_pipeline(StandardScaler(with_mean=False, copy=False), LogisticRegression())
    Influence(model.fit(csr.copy(), y), csr, y).removal_effect(csr[:2], y[:2])
    np.testing.assert_array_equal(csr.toarray(), kept)
    on_disk = np.memmap(tmp_path / "rows", mode="w+", shape=X.shape)
    on_disk = np.memmap(tmp_path / "rows.f8", dtype=np.float64, mode="w+", shape=X.shape)
    on_disk[:] = X
    model = make_pipeline(StandardScaler(copy=False), LogisticRegression()).fit(X.copy(), y)
    Influence(model, on_disk, y).removal_effect(on_disk[:2], y[:2])
    np.testing.assert_array_equal(np.asarray(on_disk), X)


def test_attacks_leave_rows_as_they_are():
    X, y = _data()
    rows = X.copy()
    model = make_pipeline(StandardScaler(copy=False), LogisticRegression()).fit(X.copy(), y)
    attack = TrainingSetAttack(radius=0.1, n_rows=2, max_iter=2)
    attack.run(model, rows, y, rows[:1].copy(), y[:1])
    np.testing.assert_array_equal(rows, X)


def test_what_writes_nowhere_is_not_copied():
    """A copy of large rows costs as much memory as they do."""
    for name, cls in all_estimators(type_filter="transformer"):
        try:
            one = cls()
        except TypeError:
            continue
        assert not may_write(one) or one.get_params().get("copy") is False, name
    assert not may_write(preprocessing.FunctionTransformer(np.log1p))
