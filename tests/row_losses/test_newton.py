"""Newton's method from where a loss hardly curves."""

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from skinfluence import Influence, edits
from skinfluence.m_estimation import MEstimator


def logistic(params, x, y):
    return anp.logaddexp(0.0, (1.0 - 2.0 * y) * (x @ params))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_row_relabelled_where_the_loss_is_saturated_is_refitted(scale):
    """A step there is 1e14 times too long, as one row pulls and none curves: it had no answer."""
    x = np.array([-1.0, -1.2, -0.8, 1.0, 0.9, 1.1])
    y, l2 = (x > 0).astype(float), 1e-14
    new = np.where(np.arange(6) == 1, 1.0, y)

    def best(y):
        signs = 1 - 2 * y
        return brentq(
            lambda t: (x * signs) @ expit(signs * x * t) + l2 * t, -60.0, 60.0, xtol=1e-14
        )

    X = scale * x[:, None]
    model = MEstimator(logistic, 1, l2=l2 * scale**2, decision=lambda params, X: X @ params)
    inf = Influence(model.fit(X, y), X, y, polish=True)
    found = inf.effect(edits.relabel(1, 1.0), [[scale]], of="decision_function", method="exact")
    assert best(y) > 30
    np.testing.assert_allclose(found.values, best(new) - best(y), rtol=1e-8)
