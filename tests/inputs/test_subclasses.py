"""A class that rewrites what it derives from is another one: it is fitted again, or refused, never taken for it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    Normalizer,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC

import skinfluence.linear_model
from skinfluence import Influence, edits, objective_of
from skinfluence.pipeline import NoDerivativeError, pullback
from skinfluence.statistics import REFITTED, UNMOVED

rng = np.random.default_rng(0)
X = rng.standard_normal((30, 3))
Y = (X @ [1.0, -2.0, 0.5] + rng.standard_normal(30) > 0).astype(int)
TIGHT = {"solver": "newton-cholesky", "tol": 1e-12}


class Cubed(StandardScaler):
    def transform(self, X, copy=None):
        return super().transform(X) ** 3


class Bent(SimpleImputer):
    def transform(self, X):
        return np.tanh(super().transform(X))


class Centred(Normalizer):
    """Of a class that looks at no row; this one does."""

    def fit(self, X, y=None):
        self.mean_ = np.mean(X, axis=0)
        return super().fit(X)

    def transform(self, X, copy=None):
        return super().transform(X - self.mean_)


class Relative(PolynomialFeatures):
    def fit(self, X, y=None):
        self.size_ = np.abs(X).mean(axis=0)
        return super().fit(X)

    def transform(self, X):
        return super().transform(X / self.size_)


class Squares(FeatureUnion):
    def transform(self, X, **params):
        return super().transform(X, **params) ** 2

    def fit_transform(self, X, y=None, **params):
        return super().fit_transform(X, y, **params) ** 2


class Deviations(Normalizer):
    def transform(self, X, copy=None):
        return X - X.mean(axis=0)


STEPS = [
    Cubed(),
    Bent(),
    Centred(),
    Relative(),
    Squares([("scale", StandardScaler())]),
    Deviations(),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_a_step_that_rewrites_its_class_is_fitted_again(step):
    holed = X.copy()
    if isinstance(step, SimpleImputer):
        holed[::4, 0] = np.nan
    model = make_pipeline(step, LogisticRegression(**TIGHT)).fit(holed, Y)
    inf, rows = Influence(model, holed, Y), [0, 7, 29]

    def value(gone, points):
        again = clone(model).fit(np.delete(holed, gone, axis=0), np.delete(Y, gone))
        return again.decision_function(points)

    expected = [value(i, holed[[i]])[0] for i in rows]
    found = inf.loo_decision_function(indices=rows, method="exact")
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    change = value([0, 4], holed[:3]) - model.decision_function(holed[:3])
    found = inf.effect(edits.remove([0, 4]), holed[:3], of="decision_function", method="exact")
    np.testing.assert_allclose(found.values, change, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("step", [Cubed(), Bent()], ids=lambda step: type(step).__name__)
def test_a_step_that_rewrites_its_class_has_no_derivative_of_that_class(step):
    with pytest.raises(NoDerivativeError, match=type(step).__name__):
        pullback(step.fit(X), X, np.ones((1, 30, 3)))


def rewriting(cls, *names):
    """A class with methods of its own."""

    def method(name):
        return lambda self, *args, **kwargs: getattr(cls, name)(self, *args, **kwargs)

    return type("Mine", (cls,), {name: method(name) for name in names})


MODELS = [
    (LogisticRegression, "fit"),
    (LogisticRegression, "decision_function"),
    (LogisticRegression, "predict_proba"),
    (skinfluence.linear_model.LogisticRegression, "predict"),
    (Ridge, "predict"),
    (Ridge, "_decision_function"),
    (SVC, "decision_function"),
    (KernelRidge, "predict"),
    (GaussianNB, "predict_proba"),
    (KNeighborsClassifier, "fit"),
]


@pytest.mark.parametrize(("cls", "name"), MODELS, ids=lambda one: getattr(one, "__name__", one))
def test_a_model_that_rewrites_its_class_is_refused(cls, name):
    model = rewriting(cls, name)().fit(X, Y)
    with pytest.raises(TypeError, match=f"Got Mine, a {cls.__name__} with its own {name}"):
        Influence(model, X, Y)


INSIDE = [
    OneVsRestClassifier(rewriting(LogisticRegression, "decision_function")()),
    MultiOutputRegressor(rewriting(Ridge, "predict")()),
    make_pipeline(StandardScaler(), rewriting(Ridge, "predict")()),
]


@pytest.mark.parametrize("model", INSIDE, ids=lambda one: type(one).__name__)
def test_so_is_one_inside_another(model):
    y = np.column_stack([Y, X[:, 0]]) if isinstance(model, MultiOutputRegressor) else Y
    with pytest.raises(TypeError, match="Got Mine"):
        Influence(model.fit(X, y), X, y)


WRAPPERS = [
    rewriting(Pipeline, "predict")([("ridge", Ridge())]),
    rewriting(TransformedTargetRegressor, "predict")(Ridge()),
    rewriting(GridSearchCV, "predict")(Ridge(), {"alpha": [1.0]}),
]


@pytest.mark.parametrize("model", WRAPPERS, ids=lambda one: type(one).__mro__[1].__name__)
def test_and_what_is_wrapped_around_a_model(model):
    with pytest.raises(TypeError, match=r"Got Mine, a .* with its own predict"):
        Influence(model.fit(X, X[:, 0]), X, X[:, 0])


def test_a_class_that_is_registered_is_taken_at_its_word():
    mine = rewriting(LogisticRegression, "fit")
    objective_of.register(mine, objective_of.dispatch(LogisticRegression))
    found = Influence(mine(**TIGHT).fit(X, Y), X, Y).loo_predict_proba()
    plain = LogisticRegression(**TIGHT).fit(X, Y)
    np.testing.assert_allclose(found, Influence(plain, X, Y).loo_predict_proba())


def test_what_describes_an_estimator_may_be_rewritten():
    class Named(StandardScaler):
        def get_feature_names_out(self, input_features=None):
            return np.array(["a", "b", "c"])

    class Weak(LogisticRegression):
        def __init__(self, C=0.1):
            super().__init__(C=C)

        def summary(self):
            return "weak"

    model = make_pipeline(Named(), Weak()).fit(X, Y)
    assert set(Influence(model, X, Y).estimate("loo").routes) == {"penalty moved"}


def test_a_function_of_a_user_may_look_at_all_rows():
    """It is no fit, and moves with the rows all the same."""
    model = make_pipeline(
        FunctionTransformer(lambda X: X - X.mean(axis=0)), LogisticRegression(**TIGHT)
    )
    model.fit(X, Y)
    again = clone(model).fit(np.delete(X, [0, 4], axis=0), np.delete(Y, [0, 4]))
    expected = again.decision_function(X[:5]) - model.decision_function(X[:5])
    inf = Influence(model, X, Y)
    found = inf.effect(edits.remove([0, 4]), X[:5], of="decision_function", method="exact")
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)


def repeated(X):
    """Whether a row is there twice, beside the row."""
    _, place, count = np.unique(X, axis=0, return_inverse=True, return_counts=True)
    return np.column_stack([X, count[np.ravel(place)] > 1])


LOOKING = {
    "spread": lambda X: X / (1.0 + X.std(axis=0)),
    "largest": lambda X: X - X.max(axis=0),
    "ranks": lambda X: np.argsort(np.argsort(X, axis=0), axis=0) / 10.0,
    "number of rows": lambda X: X / len(X),
    "repeated rows": repeated,
}
ALONE = {
    "numbers": lambda X: np.log1p(np.abs(X)),
    "products": lambda X: X @ np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]]),
    "fewer columns": lambda X: X[:, [0, 2]],
    "norms": lambda X: X / np.linalg.norm(X, axis=1, keepdims=True),
}


@pytest.mark.parametrize("name", [*LOOKING, *ALONE])
def test_a_function_that_treats_each_row_alone_costs_no_fit_and_others_move(name):
    """Which it is, is tried on parts of the rows."""
    func = {**LOOKING, **ALONE}[name]
    rows = X.copy()
    rows[12] = rows[8]
    model = make_pipeline(FunctionTransformer(func), LogisticRegression(**TIGHT)).fit(rows, Y)
    inf = Influence(model, rows, Y)
    routes = set(inf.estimate("loo").routes)
    assert routes == ({UNMOVED} if name in ALONE else {REFITTED}), routes
    one, pair = edits.remove(8), edits.remove([3, 4])
    found = inf.effect([one, pair], rows[:20], of="decision_function", method="exact")
    for values, gone in zip(found.values.T, ([8], [3, 4]), strict=True):
        again = clone(model).fit(np.delete(rows, gone, axis=0), np.delete(Y, gone))
        expected = again.decision_function(rows[:20]) - model.decision_function(rows[:20])
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9)


GRADES = rng.integers(1, 6, (40, 3)).astype(float)
SHARED = {
    "the largest grade": (lambda X: X / X.max(axis=0), GRADES),
    "a median of zeros": (lambda X: X - np.median(X, axis=0), GRADES * (GRADES > 3)),
    "the most common grade where one is missing": (
        lambda X: np.where(np.isnan(X), 1.0 + (np.nansum(X == 1, axis=0) <= len(X) / 5), X),
        np.where(np.arange(40)[:, None] % 20 == 5, np.nan, np.where(GRADES < 5, 1.0, GRADES)),
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_what_halves_of_the_rows_share_is_seen_by_rows_alone(name):
    """A new row, or the end of a group, moves a statistic that no half of the rows does."""
    func, rows = SHARED[name]
    y = (np.nan_to_num(rows) @ [1.0, -1.0, 0.5] + rng.standard_normal(40) > 1.5).astype(int)
    model = make_pipeline(FunctionTransformer(func), LogisticRegression(**TIGHT)).fit(rows, y)
    group = np.flatnonzero(rows[:, 0] == np.nanmin(rows[:, 0]))[:-1]
    new = np.array([9.0, 2.0, 7.0])
    asked = [edits.add(new, 1), edits.remove(group)]
    after = [
        (np.vstack([rows, new]), np.append(y, 1)),
        (np.delete(rows, group, 0), np.delete(y, group)),
    ]
    inf = Influence(model, rows, y)
    assert set(inf.estimate("loo").routes) == {REFITTED}
    found = inf.effect(asked, rows[:20], of="decision_function", method="exact").values
    for values, (others, labels) in zip(found.T, after, strict=True):
        again = clone(model).fit(others, labels)
        expected = again.decision_function(rows[:20]) - model.decision_function(rows[:20])
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9)


def test_a_function_that_once_looked_at_other_rows_is_not_trusted_on_others():
    step = FunctionTransformer(lambda X: np.where(np.isnan(X), np.nanmean(X, axis=0), X))
    holes = X.copy()
    holes[3, 1] = np.nan
    model = make_pipeline(step, LogisticRegression(**TIGHT)).fit(holes, Y)
    assert set(Influence(model, holes, Y).estimate("loo").routes) == {REFITTED}
    with_holes = Influence(model, holes, Y)
    model.fit(X, Y)
    assert set(Influence(model, X, Y).estimate("loo").routes) == {REFITTED}
    assert set(with_holes.estimate("loo").routes) == {REFITTED}
