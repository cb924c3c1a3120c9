"""Nearest centroids predict by distance where no prior speaks, and score by spreads: both are those of refits."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence


def make():
    """Columns of other spreads, so that distances and scores disagree."""
    X, y = load_iris(return_X_y=True)
    rng = np.random.default_rng(0)
    X = X * [5.0, 1.0, 1.0, 0.2] + rng.standard_normal(X.shape) * [4.0, 0.5, 0.5, 0.1]
    return X[::3], y[::3]


@pytest.mark.parametrize("priors", ["uniform", "empirical", [0.5, 0.3, 0.2]], ids=str)
def test_predictions_and_probabilities_are_those_of_refits(priors):
    X, y = make()
    model = NearestCentroid(priors=priors).fit(X, y)
    inf = Influence(model, X, y)
    predicted, probability = inf.loo_predict(), inf.loo_predict_proba()
    flipped = inf.removal_effect(X, of="predict", indices=np.arange(10))
    for i in range(len(y)):
        refit = clone(model).fit(np.delete(X, i, 0), np.delete(y, i))
        assert predicted[i] == refit.predict(X[[i]])[0]
        assert_allclose(probability[i], refit.predict_proba(X[[i]])[0], rtol=1e-8, atol=1e-12)
        if i < 10:
            assert (flipped[:, i] == (refit.predict(X) != model.predict(X))).all()
    if priors == "uniform":
        assert (predicted != inf.loo_decision_function().argmax(axis=1)).any()


@pytest.mark.filterwarnings("ignore:.*zero standard deviation")
def test_a_column_that_one_row_moves_is_counted_anew():
    X, y = make()
    X[:, 1] = y
    X[7, 1] += 1.0
    model = NearestCentroid().fit(X, y)
    found = Influence(model, X, y).loo_decision_function()
    for i in (0, 7):
        refit = NearestCentroid().fit(np.delete(X, i, 0), np.delete(y, i))
        assert_allclose(found[i], refit.decision_function(X[[i]])[0], rtol=1e-9)


def test_behind_a_scaler_it_is_the_whole_pipeline():
    X, y = make()
    pipe = make_pipeline(StandardScaler(), NearestCentroid()).fit(X, y)
    found = Influence(pipe, X, y).loo_predict()
    for i in range(0, len(y), 5):
        refit = clone(pipe).fit(np.delete(X, i, 0), np.delete(y, i))
        assert found[i] == refit.predict(X[[i]])[0]


@pytest.mark.parametrize("options", [{"metric": "manhattan"}, {"shrink_threshold": 0.2}], ids=str)
def test_centroids_that_are_no_means_are_refused(options):
    X, y = make()
    with pytest.raises(ValueError, match="means of their classes"):
        Influence(NearestCentroid(**options).fit(X, y), X, y)
    with pytest.raises(ValueError, match="dense rows"):
        Influence(NearestCentroid().fit(sp.csr_array(X), y), sp.csr_array(X), y)
    with pytest.raises(ValueError, match="must be those of the fit"):
        Influence(NearestCentroid().fit(X, y), X, y[::-1])
