"""Calibration in folds: what is asked of its fit before there is an answer."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skinfluence import Influence, edits
from skinfluence.model_selection import leave_one_group_out
from tests.closed_form.test_calibration import METHODS
from tests.members.test_calibrated_folds import SURE, THREE, TWO, WEIGHT, N, X, fitted

LEFT = np.delete(np.arange(N), 17)


def centred(X):
    return X - X.mean(axis=0)


def clipped(X):
    return np.clip(X, -1.0, 1.0)


class Centred(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_ = X.shape[1]
        return self

    def transform(self, X):
        return centred(X)


class Clipped(Centred):
    def transform(self, X):
        return clipped(X)


def test_steps_inside_that_look_at_other_rows_are_refused_and_others_are_not():
    """The rows of a fold, which they are given together, are fewer when one leaves."""
    for step in (FunctionTransformer(centred), Centred()):
        inside = make_pipeline(step, SURE)
        model = CalibratedClassifierCV(inside, cv=3).fit(X, TWO)
        words = rf"Got {inside.steps[0][0]}, which .* Put its steps before"
        with pytest.raises(TypeError, match=words):
            Influence(model, X, TWO)
    before = make_pipeline(inside[0], CalibratedClassifierCV(SURE, cv=3))
    steps = FunctionTransformer(clipped), Clipped()
    alone = [CalibratedClassifierCV(make_pipeline(one, SURE), cv=3) for one in steps]
    for model in (before, *alone):
        model.fit(X, TWO)
        found = Influence(model, X, TWO).loo_predict_proba(indices=[17], method="exact")
        refit = clone(model).fit(X[LEFT], TWO[LEFT])
        assert_allclose(found, refit.predict_proba(X[[17]]), atol=1e-6)


@pytest.mark.parametrize("ensemble", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_weights_that_only_the_calibrators_took_are_those_of_the_fit(method, ensemble):
    model = fitted(method, ensemble, 3, KNeighborsClassifier(5), X, THREE)
    with pytest.raises(ValueError, match="the calibrators of the fitted model are not those"):
        Influence(model, X, THREE, WEIGHT)
    Influence(model, X, THREE)


@pytest.mark.parametrize("held", [False, True])
def test_calibrators_that_stop_far_from_their_optimum_are_said_to(held):
    """Small scores have no slope that the solver sees; that rows are others would be false."""
    small = LogisticRegression(C=1e-9, fit_intercept=False, tol=1e-15, solver="newton-cholesky")
    model = CalibratedClassifierCV(FrozenEstimator(small.fit(X, TWO)) if held else small, cv=3)
    model.fit(X, TWO)
    with pytest.warns(ConvergenceWarning, match="not at the optimum of what they minimise"):
        found = Influence(model, X, TWO).loo_predict_proba(indices=[17])
    assert np.isfinite(found).all()


def test_a_classifier_that_ends_elsewhere_when_fitted_again_is_not_taken_for_other_rows():
    drawn = LogisticRegression(solver="saga", max_iter=2, C=100.0)
    model = fitted("sigmoid", False, 3, drawn, X, TWO)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = Influence(model, X, TWO).loo_predict_proba(indices=[17], method="exact")
    assert any("optimum" in str(one.message) for one in said)
    best = fitted("sigmoid", False, 3, clone(SURE).set_params(C=100.0), X[LEFT], TWO[LEFT])
    assert_allclose(found, best.predict_proba(X[[17]]), atol=1e-5)


@pytest.mark.skipif("temperature" not in METHODS, reason="scikit-learn 1.8")
def test_words_in_a_column_of_objects_are_words_to_a_temperature():
    words = np.array(["low", "middle", "high"], dtype=object)[THREE]
    model = fitted("temperature", True, 3, SURE, X, words)
    found = Influence(model, X, words).loo_predict_proba(indices=[17], method="exact")
    refit = fitted("temperature", True, 3, SURE, X[LEFT], words[LEFT])
    assert_allclose(found, refit.predict_proba(X[[17]]), atol=1e-6)


def test_groups_that_leave_a_class_fewer_rows_than_folds_are_named_with_what_helps():
    y = (np.arange(N) % 4 == 0).astype(int)
    # The first group leaves two of class 1.
    group = np.where((y == 1) & (np.arange(N) > 4), 0, 1 + np.arange(N) % 3)
    model = CalibratedClassifierCV(GaussianNB(), cv=3).fit(X, y)
    inf = Influence(model, X, y)
    words = r"Without group 0 there is no model: .* fewer rows than there are folds.* Split such"
    with pytest.warns(UserWarning, match=words):
        found = inf.removal_effect(X[:2], y[:2], groups=group)
    assert np.isnan(found[:, 0]).all() and np.isfinite(found[:, 1:]).all()
    with pytest.warns(UserWarning, match=words):
        found = leave_one_group_out(model, X, y, groups=group, response_method="predict_proba")
    rows = np.flatnonzero(group == 0)
    assert np.isnan(found[rows]).all() and np.isfinite(np.delete(found, rows, axis=0)).all()
    with pytest.raises(ValueError, match=r"Got an edit that leaves 2 to class 1\. Leave it more"):
        inf.effect(edits.remove(rows), X[:2], y[:2])
    # As it says: split, it is answered.
    halves = np.where(group == 0, 4 + np.arange(N) % 8 // 4, group)
    assert np.isfinite(inf.removal_effect(X[:2], y[:2], groups=halves)).all()
