"""``influence_pert`` is the total derivative: central differences of refits of the whole pipeline."""

import numpy as np
import pandas as pd
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC

import skinfluence.svm as ours
from skinfluence import Influence
from skinfluence.objective import objective_of
from skinfluence.pullbacks import NoDerivativeError
from tests.truth import polish

STEP = 1e-5


def logistic(**params):
    return linear_model.LogisticRegression(
        **{"solver": "newton-cholesky", "tol": 1e-12, "C": 0.7, **params}
    )


def data(n=40, holes=False, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3)) * [1.0, 3.0, 0.4] + [0.0, 2.0, 5.0]
    y = (X[:, 0] + 0.4 * X[:, 1] + rng.standard_normal(n) > 1.0).astype(int)
    if holes:
        X[[2, 9, 17], 1] = np.nan
        X[[5, 9], 2] = np.nan
    return X, y


def losses(model, X, y, at, labels, weight=None):
    """Test losses of the pipeline fitted on other rows, at the optimum of its model."""
    left = {} if weight is None else {f"{model.steps[-1][0]}__sample_weight": weight}
    again = clone(model).fit(X, y, **left)
    Z, T = again[:-1].transform(X), again[:-1].transform(at)
    objective = objective_of(again[-1], np.asarray(Z), y, weight)
    if hasattr(objective, "theta"):
        objective = polish(objective)
        eta = objective.design.like(np.asarray(T)).multiply(objective.theta.T)
    else:
        inner = Influence(again[-1], Z, y, weight)
        eta = inner.answers.held.start(objective.design.like(np.asarray(T)), "exact")
    labels = labels if objective.labels is None else objective.labels.targets[labels]
    return objective.loss.value(eta, labels)


def check(model, X, y, rows, weight=None, columns=None, rtol=1e-5):
    left = {} if weight is None else {f"{model.steps[-1][0]}__sample_weight": weight}
    model.fit(X, y, **left)
    inf = Influence(model, X, y, weight)
    at, labels = np.nan_to_num(np.asarray(X)[:4], nan=1.0) + 0.1, y[:4]
    if isinstance(X, pd.DataFrame):
        at = X.iloc[10:14]
    found = inf.influence_pert(at, labels, indices=rows)
    mean = inf.influence_pert(at, labels, indices=rows, aggregate="mean")
    np.testing.assert_allclose(mean, found.mean(axis=0), rtol=1e-8, atol=1e-10)
    share = (inf.objective.weights / len(y))[rows, None]
    columns = range(X.shape[1]) if columns is None else columns
    for place, row in enumerate(rows):
        for column in columns:
            ends = []
            for h in (STEP, -STEP):
                moved = X.copy()
                if isinstance(X, pd.DataFrame):
                    moved.iloc[row, column] += h
                else:
                    moved[row, column] += h
                ends.append(losses(model, moved, y, at, labels, weight))
            truth = (ends[0] - ends[1]) / (2.0 * STEP)
            one = (found * share)[:, place, column]
            if np.isnan(np.asarray(X, dtype=object)[row, column]):
                assert (one == 0.0).all()
                continue
            scale = max(np.abs(found * share).max(), 1e-3)
            np.testing.assert_allclose(one, truth, rtol=0, atol=rtol * scale)
    return found, inf


STEPS = {
    "standard": StandardScaler(),
    "mean only": StandardScaler(with_std=False),
    "scale only": StandardScaler(with_mean=False),
    "min max": MinMaxScaler((-1.0, 2.0)),
    "clipped": MinMaxScaler(clip=True),
    "max abs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust, other quantiles": RobustScaler(quantile_range=(10.0, 70.0), unit_variance=True),
    "chain": make_pipeline(MinMaxScaler(), FunctionTransformer(np.square), StandardScaler()),
    "nothing learned": make_pipeline(Normalizer(), StandardScaler(), PolynomialFeatures(2)),
    "union": FeatureUnion([("a", StandardScaler()), ("b", MaxAbsScaler()), ("c", "passthrough")]),
    "columns": ColumnTransformer(
        [("a", StandardScaler(), [0, 2]), ("b", MinMaxScaler(), [1, 0]), ("c", "passthrough", [1])]
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_a_step_learned_moves_with_the_row(name):
    X, y = data()
    ranked = np.argsort(X, axis=0)
    # Extremes, and those by which medians and quartiles are interpolated.
    rows = [0, ranked[0, 0], ranked[-1, 1], ranked[19, 1], ranked[29, 0]]
    found, inf = check(make_pipeline(clone(STEPS[name]), logistic()), X, y, rows)
    held = inf.influence_pert(X[:4] + 0.1, y[:4], indices=rows, frozen="accept")
    moved = np.abs(held - found).max() > 1e-3 * np.abs(found).max()
    # A shift of all columns is the intercept's.
    assert moved == (name != "mean only")


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
def test_fills_move_with_the_cells_they_are_made_of(strategy):
    X, y = data(41, holes=True)
    steps = SimpleImputer(strategy=strategy, add_indicator=True), StandardScaler()
    middle = int(np.nanargmin(np.abs(X[:, 1] - np.nanmedian(X[:, 1]))))
    check(make_pipeline(*steps, logistic()), X, y, [0, 9, 17, middle])


MODELS = {
    "weights": (logistic(), True),
    "ridge without intercept": (linear_model.Ridge(alpha=2.0, fit_intercept=False), False),
    "poisson": (
        linear_model.PoissonRegressor(alpha=0.1, solver="newton-cholesky", tol=1e-12),
        True,
    ),
    "balanced": (logistic(class_weight="balanced"), False),
    "squared hinge": (ours.LinearSVC(C=0.3), False),
}


@pytest.mark.parametrize("name", MODELS)
def test_behind_every_kind_of_model(name):
    model, weighted = MODELS[name]
    X, y = data()
    weight = np.random.default_rng(4).uniform(0.5, 2.0, len(y)) if weighted else None
    check(make_pipeline(StandardScaler(), clone(model)), X, y, [0, 13, 22], weight)


def test_several_classes():
    X, y = data(60)
    y = y + (X[:, 2] > 5.2)
    check(make_pipeline(StandardScaler(), logistic()), X, y, [3, 20])


def test_scaled_columns_and_gamma_of_a_machine():
    """Both the scaler and gamma move; rows that push and rows without a coefficient."""
    X, y = data(30, seed=2)
    for model in (ours.SVC(C=2.0), ours.SVC(C=0.5, gamma=0.4), ours.LinearSVC(loss="hinge", C=0.5)):
        check(make_pipeline(StandardScaler(), model), X, y, [0, 4, 9, 17], rtol=1e-4)


def test_gamma_moves_without_a_pipeline():
    X, y = data(30, seed=2)
    X /= [1.0, 3.0, 0.4]
    model = ours.SVC(C=2.0).fit(X, y)
    found = model.influence_pert(X[:3], y[:3], indices=[4, 9])
    held = model.influence_pert(X[:3], y[:3], indices=[4, 9], frozen="accept")
    n, loss = len(y), Influence(model, X, y).objective.loss
    for place, row in enumerate([4, 9]):
        for column in range(3):
            ends = []
            for h in (STEP, -STEP):
                moved = X.copy()
                moved[row, column] += h
                eta = ours.SVC(C=2.0).fit(moved, y).decision_function(X[:3])[:, None]
                ends.append(loss.value(eta, y[:3]))
            truth = (ends[0] - ends[1]) / (2.0 * STEP) * n
            atol = 1e-4 * np.abs(found).max()
            np.testing.assert_allclose(found[:, place, column], truth, rtol=0, atol=atol)
    assert np.abs(found - held).max() > 1e-3 * np.abs(found).max()


def test_steps_whose_statistics_have_no_derivative_are_named():
    X, y = data()
    kernel = make_pipeline(StandardScaler(), KernelRidge(kernel="rbf")).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), PCA(2), logistic()).fit(X, y)
    for model, name in ((pipeline, "PCA"), (kernel, "kernel ridge")):
        inf = Influence(model, X, y)
        with pytest.warns(UserWarning, match=f"everything but the model as fitted.*{name}"):
            found = inf.influence_pert(X[:2], y[:2])
        held = inf.influence_pert(X[:2], y[:2], frozen="accept")
        np.testing.assert_array_equal(found, held)
        with pytest.raises(TypeError, match=name):
            inf.influence_pert(X[:2], y[:2], frozen="refuse")


def test_frozen_steps_and_the_choice_of_the_object_hold_them():
    X, y = data()
    scaler = FrozenEstimator(StandardScaler().fit(X))
    inf = Influence(make_pipeline(scaler, logistic()).fit(X, y), X, y)
    held = inf.influence_pert(X[:2], y[:2])
    np.testing.assert_array_equal(held, inf.influence_pert(X[:2], y[:2], frozen="accept"))
    plain = make_pipeline(StandardScaler(), logistic()).fit(X, y)
    chosen = Influence(plain, X, y, frozen="accept")
    np.testing.assert_allclose(chosen.influence_pert(X[:2], y[:2]), held, rtol=1e-10)


def test_shared_extremes_have_no_derivative():
    X, y = data()
    X[[3, 8], 1] = X[:, 1].max() + 1.0
    inf = Influence(make_pipeline(MinMaxScaler(), logistic()).fit(X, y), X, y)
    with pytest.warns(UserWarning, match="2 cells share a value that MinMaxScaler learned"):
        found = inf.influence_pert(X[:2], y[:2])
    assert np.isnan(found[:, [3, 8], 1]).all()
    assert np.isnan(found).sum() == 4


def test_scalers_that_were_fitted_on_other_rows_are_held():
    X, y = data()
    model = make_pipeline(StandardScaler(), logistic()).fit(X, y)
    model[0].fit(X[:30])
    model[-1].fit(model[0].transform(X), y)
    with pytest.warns(UserWarning, match="fitted on other rows or with weights"):
        Influence(model, X, y).influence_pert(X[:2], y[:2])


def test_rows_of_weight_zero_have_no_derivative_per_weight():
    X, y = data()
    weight = np.ones(len(y))
    weight[5] = 0.0
    model = make_pipeline(StandardScaler(), logistic())
    model.fit(X, y, logisticregression__sample_weight=weight)
    with pytest.warns(UserWarning, match="Row 5 has no derivative per unit of weight"):
        found = Influence(model, X, y, weight).influence_pert(X[:2], y[:2])
    assert np.isnan(found).all(axis=(0, 2)).nonzero()[0].tolist() == [5]


def test_categories_beside_numbers_are_refused_as_they_were():
    frame = pd.DataFrame({"size": data()[0][:, 0], "kind": list("ab") * 20})
    y = data()[1]
    steps = ColumnTransformer([("a", StandardScaler(), ["size"]), ("b", OneHotEncoder(), ["kind"])])
    inf = Influence(make_pipeline(steps, logistic()).fit(frame, y), frame, y)
    with pytest.raises(NoDerivativeError, match="OneHotEncoder"):
        inf.influence_pert(frame[:2], y[:2])


def test_a_machine_of_scikit_learns_counts_rows():
    X, y = data(30, seed=2)
    weight = np.random.default_rng(1).choice([0.5, 1.0, 2.0], 30)
    inf = Influence(SVC(C=2.0, tol=1e-12).fit(X, y, weight), X, y, weight)
    found = inf.influence_pert(X[:3], y[:3], indices=[4])
    before = np.zeros(3)
    for sign in (1.0, -1.0):
        moved = X.copy()
        moved[4, 1] += sign * STEP
        gamma = 1.0 / (3 * moved.var())
        eta = ours.SVC(C=2.0, gamma=gamma).fit(moved, y, weight).decision_function(X[:3])
        before += sign * inf.objective.loss.value(eta[:, None], y[:3])
    truth = before / (2.0 * STEP) * 30 / weight[4]
    np.testing.assert_allclose(found[:, 0, 1], truth, rtol=0, atol=1e-4 * np.abs(found).max())
