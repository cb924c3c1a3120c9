"""Koh and Liang's Figure 3 on digits: what removing a row does to one test loss, by every formula.

On MNIST: benchmarks/paper/fig3.py.
"""

import numpy as np
import pytest
import sklearn.svm
from scipy.stats import pearsonr
from sklearn.base import clone

from skinfluence import Influence
from tests.svm.test_linear import digits
from tests.truth import relative_l2


@pytest.fixture(scope="module")
def experiment():
    """Support vectors of 1 against 7, the least certain test row, and the truth by refits."""
    X, y = digits([1, 7], 361)
    X, y, tests, labels = X[:250], y[:250], X[250:], y[250:]
    model = sklearn.svm.LinearSVC(
        loss="hinge", C=0.05, fit_intercept=False, tol=1e-9, max_iter=10**6
    ).fit(X, y)
    sign = np.where(labels == 7, 1.0, -1.0)
    t = (sign * model.decision_function(tests)).argmin()
    x, label = tests[[t]], labels[[t]]
    inf = Influence(model, X, y)
    rows = np.flatnonzero(inf.report().role[:, 0] != "none")

    def loss(fitted):
        return max(0.0, 1.0 - sign[t] * fitted.decision_function(x)[0])

    truth = [
        loss(clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i))) - loss(model) for i in rows
    ]
    return inf, x, label, rows, np.array(truth)


def test_the_path_is_exact(experiment):
    inf, x, label, rows, truth = experiment
    found = inf.removal_effect(x, label, indices=rows)[0]
    assert pearsonr(found, truth)[0] >= 0.99999
    assert relative_l2(found, truth) < 1e-5


@pytest.mark.parametrize("smoothing", [0.1, 0.01, 0.001, 0.0001, None])
def test_every_derivative_is_a_hundred_times_farther(experiment, smoothing):
    inf, x, label, rows, truth = experiment
    up = inf.influence_up_loss(x, label, indices=rows, smoothing=smoothing)[0]
    exact = relative_l2(inf.removal_effect(x, label, indices=rows)[0], truth)
    assert relative_l2(-up / 250, truth) > 100 * exact
