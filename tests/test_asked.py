"""Functions about a fitted model take an Influence, or an estimator of skinfluence that makes its own."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import linear_model as sklearn_linear_model

from skinfluence import Influence, diagnostics, inference, robustness, unlearning, values
from skinfluence.cleaning import artifacts
from skinfluence.inspection import explain
from skinfluence.linear_model import LogisticRegression

QUESTIONS = {
    "artifacts": lambda who, X, y: artifacts(who, X[:3], y[:3], k=2).table["effect"],
    "cooks_distance": lambda who, X, y: diagnostics.cooks_distance(who),
    "covariance": lambda who, X, y: inference.covariance(who),
    "explain": lambda who, X, y: explain(who, X[:1], k=2, checks=0).rows["effect"],
    "forget": lambda who, X, y: unlearning.forget(who, [3]).estimator.coef_,
    "smallest_flip": lambda who, X, y: robustness.smallest_flip(who, robustness.coef(0)).rows,
    "values": lambda who, X, y: values.leave_one_out(who, X[:5], y[:5]).values,
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    return X, (X[:, 0] + rng.logistic(size=40) > 0).astype(int)


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_estimator_of_ours_is_asked_as_its_influence_is(question, data):
    model = LogisticRegression(tol=1e-10).fit(*data)
    ask = QUESTIONS[question]
    assert_allclose(ask(model, *data), ask(Influence(model, *data), *data), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_estimator_that_does_not_know_its_rows_is_refused_with_what_to_pass(question, data):
    model = sklearn_linear_model.LogisticRegression().fit(*data)
    with pytest.raises(
        TypeError, match=r"Got LogisticRegression; pass Influence\(estimator, X, y\)"
    ):
        QUESTIONS[question](model, *data)
