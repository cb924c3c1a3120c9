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
    Normalizer,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC

import skinfluence.linear_model
from skinfluence import Influence, edits, objective_of
from skinfluence.pipeline import NoDerivativeError, pullback

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
