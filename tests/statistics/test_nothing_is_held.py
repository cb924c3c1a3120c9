"""Of scalers, imputers, encoders and a linear model everything moves: no question says otherwise."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    RobustScaler,
    StandardScaler,
)

from skinfluence import Influence, edits
from tests.registries import Case

SCALERS = {
    "standard": StandardScaler(),
    "standard, not centred": StandardScaler(with_mean=False),
    "min-max": MinMaxScaler(),
    "max-abs": MaxAbsScaler(),
    "robust": RobustScaler(),
}
IMPUTERS = {"none": None, "mean": SimpleImputer()}
MODELS = [
    Case("LogisticRegression", (("class_weight", "balanced"),), "softmax"),
    Case("LogisticRegression", (("fit_intercept", False),)),
    Case("Ridge", task="regression"),
    Case("PoissonRegressor", (("alpha", 0.1),), "counts"),
]


def table(case, holes):
    """The rows of a case beside a column of words, with holes."""
    X, y, _ = case.data()
    X = pd.DataFrame(X, columns=list("abcd"))
    if holes:
        X.loc[[1, 8, 20], "b"] = np.nan
    X["word"] = np.random.default_rng(0).choice(["x", "y", "z"], len(y), p=[0.5, 0.4, 0.1])
    return X, y


def pipeline(scaler, imputer, model):
    numbers = [clone(one) for one in (imputer, scaler) if one is not None]
    parts = [("numbers", make_pipeline(*numbers), list("abcd"))]
    parts += [("words", OneHotEncoder(handle_unknown="ignore"), ["word"])]
    return make_pipeline(ColumnTransformer(parts), model)


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.id)
@pytest.mark.parametrize("imputer", IMPUTERS)
@pytest.mark.parametrize("scaler", SCALERS)
def test_no_question_warns(scaler, imputer, case):
    X, y = table(case, holes=imputer != "none")
    model = pipeline(SCALERS[scaler], IMPUTERS[imputer], case.estimator()).fit(X, y)
    new = X.iloc[3].copy()
    new["a"] += 1.0
    asked = [
        edits.remove(5),
        edits.remove([2, 9, 11]),
        edits.replace(4, new),
        edits.add(new, y[3]),
        edits.reweight(6, 0.0),
        edits.relabel(7, y[0]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        inf = Influence(model, X, y)
        inf.effect(asked, X.iloc[:4], y[:4])
        inf.removal_effect(X.iloc[:4], y[:4], indices=[0, 5])
        inf.loo_predict(indices=[0, 5])
