"""Weights of rows reach the model that they are for, whatever is around it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence._utils.weights import fit_weights

PIPELINE = make_pipeline(StandardScaler(), Ridge())
LOGARITHM = {"func": np.log, "inverse_func": np.exp}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Ridge(), "sample_weight"),
        (PIPELINE, "ridge__sample_weight"),
        (make_pipeline(StandardScaler(), PIPELINE), "pipeline__ridge__sample_weight"),
        (TransformedTargetRegressor(**LOGARITHM), "sample_weight"),
        (TransformedTargetRegressor(PIPELINE, **LOGARITHM), "ridge__sample_weight"),
        (GridSearchCV(PIPELINE, {"ridge__alpha": [1.0]}), "ridge__sample_weight"),
    ],
)
def test_weights_reach_the_last_step_of_a_pipeline_that_something_is_around(model, name):
    """Behind a transformer of the targets, or in a search, `Pipeline.fit` refused them."""
    rng = np.random.RandomState(0)
    X, y, weights = rng.standard_normal((20, 2)), rng.uniform(1, 2, 20), rng.randint(1, 3, 20)
    given = fit_weights(model, weights)
    assert list(given) == [name]
    weighted = clone(model).fit(X, y, **given)
    assert not np.allclose(weighted.predict(X), clone(model).fit(X, y).predict(X))
    assert fit_weights(model, None) == {}
