"""Groups of rows are one thing wherever they are asked about: one label per row, in the rows' order."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from skinfluence import Influence
from skinfluence.cleaning import audit
from skinfluence.conformal import JackknifePlusRegressor
from skinfluence.inference import covariance

RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.standard_normal((40, 3)), index=[f"row {i}" for i in range(40)])
y = pd.Series(X[0] + RNG.standard_normal(40) > 0, index=X.index)
model = LogisticRegression(solver="newton-cholesky").fit(X, y)
inf = Influence(model, X, y)
DOORS = {
    "effects": lambda groups: inf.removal_effect(X[:2], y[:2], groups=groups),
    "estimate": lambda groups: inf.estimate("removal_effect", X[:2], groups=groups),
    "covariance": lambda groups: covariance(inf, "cr1", groups=groups),
    "conformal": lambda groups: JackknifePlusRegressor(Ridge()).fit(X, y.astype(float), groups),
    "audit": lambda groups: audit(model, X, y, groups=groups),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (np.arange(39), "one label per training row, 40"),
        ([None, *["a"] * 39], "labels that can be sorted"),
        (pd.Series(np.arange(40) % 4, index=X.index[::-1]), "in the order of the training rows"),
    ],
    ids=["length", "mixture", "order"],
)
def test_groups_that_are_none_are_refused_at_every_door(door, groups, words):
    with pytest.raises(ValueError, match=words):
        DOORS[door](groups)
