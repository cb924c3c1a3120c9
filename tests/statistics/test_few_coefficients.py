"""Models with an L1 penalty behind steps that see the edit: solved on the new columns from the old coefficients."""

from itertools import product

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence import Influence, edits
from tests.fewer import LONG
from tests.versions import l1_logistic

GONE = np.arange(10, 60)
TIGHT = {"tol": 1e-14, "max_iter": 1_000_000}


def table(model):
    load = load_breast_cancer if isinstance(model, LogisticRegression) else load_diabetes
    X, y = load(return_X_y=True)
    return X[::4][:140], y[::4][:140]


STEPS = {
    "scaler": [StandardScaler()],
    "polynomials": [PolynomialFeatures(2, include_bias=False), StandardScaler()],
    "components": [StandardScaler(), PCA(4)],
}
MODELS = {
    "lasso": Lasso(0.5, **TIGHT),
    "elastic net": ElasticNet(0.1, **TIGHT),
    "positive": Lasso(0.3, positive=True, **TIGHT),
    "logistic": l1_logistic(
        C=0.5, solver="liblinear", intercept_scaling=10, tol=1e-12, max_iter=100_000
    ),
}


def change(pipe, refit, X):
    ask = "decision_function" if hasattr(pipe, "decision_function") else "predict"
    return ask, getattr(refit, ask)(X) - getattr(pipe, ask)(X)


# But for hundreds of columns in liblinear, which take minutes.
CASES = [case for case in product(MODELS, STEPS) if case != ("logistic", "polynomials")]


@pytest.mark.parametrize("model, steps", CASES)
@pytest.mark.parametrize("rows", [GONE[:1], GONE])
def test_an_edit_is_a_refit_of_the_whole_pipeline(model, steps, rows):
    X, y = table(MODELS[model])
    pipe = make_pipeline(*STEPS[steps], MODELS[model]).fit(X, y)
    refit = clone(pipe).fit(np.delete(X, rows, axis=0), np.delete(y, rows))
    ask, true = change(pipe, refit, X[:8])
    got = Influence(pipe, X, y).effect(edits.remove(rows), X[:8], of=ask).values
    assert np.linalg.norm(got - true) <= 1e-7 * np.linalg.norm(true)


@pytest.mark.parametrize(
    "model, penalty", [("lasso", "alpha"), ("elastic net", "alpha"), ("logistic", "C")]
)
@pytest.mark.parametrize("hold", ["C", "lambda"])
def test_what_edits_hold_is_held_behind_a_scaler_too(model, penalty, hold):
    """The penalty, or the penalty over the total weight: the refit's parameter says which."""
    if model == "logistic" and hold == "lambda" and not LONG:
        pytest.skip("liblinear takes its time to the optimum: SKINFLUENCE_LONG=1 waits for it.")
    X, y = table(MODELS[model])
    pipe = make_pipeline(StandardScaler(), MODELS[model]).fit(X, y)
    left = np.delete(np.arange(len(y)), GONE)
    # alpha is a penalty over the weight, 1 / C is a whole one.
    held = {"alpha": "lambda", "C": "C"}[penalty]
    other = 1.0 if hold == held else len(y) / len(left)
    given = getattr(MODELS[model], penalty) * other
    refit = (
        clone(pipe).set_params(**{f"{pipe.steps[-1][0]}__{penalty}": given}).fit(X[left], y[left])
    )
    ask, true = change(pipe, refit, X[:8])
    got = Influence(pipe, X, y, hold=hold).effect(edits.remove(GONE), X[:8], of=ask).values
    assert np.linalg.norm(got - true) <= 1e-7 * np.linalg.norm(true)


def test_the_estimators_own_solver_is_not_run_again(monkeypatch):
    """Its optimum is; a fit by coordinate descent may take a thousand times as long."""
    X, y = table(MODELS["lasso"])
    pipe = make_pipeline(StandardScaler(), MODELS["lasso"]).fit(X, y)
    influence = Influence(pipe, X, y)
    monkeypatch.setattr(Lasso, "fit", None)
    assert np.isfinite(influence.loo_decision_function(indices=[0, 1])).all()
