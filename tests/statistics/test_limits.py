"""Rows that take a category over a limit share an encoder: one fit answers about all of them, as refits would."""

import numpy as np
import pandas as pd
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from skinfluence import Influence
from skinfluence.statistics.again import Again
from skinfluence.statistics.refits import Refits

N = 70
NUMBERS = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
RARE = {"handle_unknown": "infrequent_if_exist"}


def table(seed=0):
    """Cities of which one has 8 rows, and names of which one has as many as the next."""
    rng = np.random.default_rng(seed)
    city = np.repeat(["Rome", "Oslo", "Bern", "Kyiv", "Baku"], [30, 22, 8, 6, 4])
    name = np.repeat(["a", "b", "c", "d"], [40, 12, 12, 6])
    X = pd.DataFrame({"size": rng.standard_normal(N) + 2, "age": np.exp(rng.standard_normal(N))})
    X["city"], X["name"] = rng.permutation(city), rng.permutation(name)
    X.loc[rng.choice(N, 5, replace=False), "age"] = np.nan
    score = X["size"] + (X["city"] == "Bern") - (X["name"] == "b") + rng.standard_normal(N)
    return X, score.to_numpy()


def columns(*words):
    return ColumnTransformer([("numbers", NUMBERS, ["size", "age"]), *words])


STEPS = {
    "min_frequency": columns(("w", OneHotEncoder(min_frequency=8, **RARE), ["city"])),
    "max_categories": columns(
        ("w", OneHotEncoder(max_categories=3, sparse_output=False, **RARE), ["city", "name"])
    ),
    "both, each by itself": columns(
        ("w", OneHotEncoder(min_frequency=8, drop="first", **RARE), ["city"]),
        ("v", OneHotEncoder(max_categories=3), ["name"]),
    ),
    "numbers of a scale": make_pipeline(
        columns(
            (
                "w",
                OrdinalEncoder(
                    min_frequency=8, handle_unknown="use_encoded_value", unknown_value=-1
                ),
                ["city"],
            )
        ),
    ),
    "a frame": columns(
        ("w", OneHotEncoder(min_frequency=8, sparse_output=False, **RARE), ["city"])
    ).set_output(transform="pandas"),
}
NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 500}
MODELS = {
    "logistic": (linear_model.LogisticRegression(**NEWTON), lambda z: (z > 2.2).astype(int)),
    "balanced": (
        linear_model.LogisticRegression(class_weight="balanced", C=0.3, **NEWTON),
        lambda z: (z > 2.6).astype(int),
    ),
    "softmax": (
        linear_model.LogisticRegression(**NEWTON),
        lambda z: np.digitize(z, [1.5, 2.8]),
    ),
    "ridge": (linear_model.Ridge(2.0, tol=1e-14), lambda z: z),
    "Poisson": (
        linear_model.PoissonRegressor(alpha=0.1, **NEWTON),
        lambda z: np.round(np.exp(z / 2)),
    ),
}


def outputs(model, X):
    if hasattr(model, "decision_function"):
        return model.decision_function(X)
    found = model.predict(X)
    return np.log(found) if "Poisson" in type(model[-1]).__name__ else found


def counted(monkeypatch, name="after"):
    """How many edits steps are fitted again for, or how many shared encoders."""
    fits, original = [], getattr(Refits, name)
    monkeypatch.setattr(Refits, name, lambda *args: fits.append(0) or original(*args))
    return fits


def case(steps, model):
    X, z = table()
    last, of = MODELS[model]
    return X, of(z), make_pipeline(clone(STEPS[steps]), clone(last)).fit(X, of(z))


CASES = [(steps, "logistic") for steps in STEPS] + [("max_categories", one) for one in MODELS]


@pytest.mark.parametrize(("steps", "model"), dict.fromkeys(CASES))
def test_rows_at_a_limit_are_answered_together_as_refits_would(steps, model, monkeypatch):
    X, y, fitted = case(steps, model)
    inf = Influence(fitted, X, y)
    with monkeypatch.context() as untimed:
        untimed.setattr(Again, "seconds", lambda *_: 0.0)
        priced = inf.estimate("loo")
    at_limit = priced.routes["fitted together"]
    assert at_limit >= 8
    fits, encoders = counted(monkeypatch), counted(monkeypatch, "with_steps")
    rows = np.flatnonzero((X["city"] == "Bern") | (X["name"] == "c"))[:6]
    if hasattr(fitted, "decision_function"):
        found = inf.loo_decision_function(method="exact")[rows]
    else:
        found = inf.loo_predict(method="exact")[rows]
        found = np.log(found) if model == "Poisson" else found
    # The estimate is what the answer takes.
    assert len(fits) + len(encoders) == priced.fits
    asked = X.iloc[:4]
    effects = inf.removal_effect(
        asked, of="decision_function", method="exact", indices=np.arange(N)
    )[:, rows]
    # Once for each question, but for those of several limits.
    assert len(fits) <= 0.6 * at_limit
    before, own = outputs(fitted, asked), outputs(fitted, X.iloc[rows])
    for k, i in enumerate(rows):
        kept = np.delete(np.arange(N), i)
        again = clone(fitted).fit(X.iloc[kept], y[kept])
        expected = outputs(again, asked) - before
        size = np.abs(expected).max()
        np.testing.assert_allclose(effects[:, k], expected, rtol=1e-6, atol=1e-6 * size)
        truth = outputs(again, X.iloc[[i]])[0]
        np.testing.assert_allclose(found[k], truth, atol=1e-6 * np.abs(truth - own[k]).max())


def test_rows_that_are_alone_elsewhere_are_fitted_for():
    """Their encoder has forgotten a category of another column, too, which the others' has not."""
    X, z = table()
    row = np.flatnonzero(X["city"] == "Bern")[2]
    X.loc[row, "name"] = "nobody else's"
    y = (z > 2.2).astype(int)
    encoder = OneHotEncoder(min_frequency=8, handle_unknown="infrequent_if_exist")
    model = make_pipeline(columns(("w", encoder, ["city", "name"])), MODELS["logistic"][0])
    model.fit(X, y)
    rows = np.flatnonzero(X["city"] == "Bern")
    found = Influence(model, X, y).loo_decision_function(method="exact", indices=rows)
    for k, i in enumerate(rows):
        kept = np.delete(np.arange(N), i)
        again = clone(model).fit(X.iloc[kept], y[kept])
        truth = again.decision_function(X.iloc[[i]])[0]
        np.testing.assert_allclose(found[k], truth, rtol=1e-7)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("model", ["logistic", "ridge", "balanced"])
def test_a_row_alone_in_a_rare_category_is_asked_about_without_it_and_costs_no_fit(
    sparse, model, monkeypatch
):
    """The encoder does not know it then, and gives it zeros, the others what they had."""
    X, z = table()
    rows = np.array([3, 17, 40])
    X["city"] = X["city"].where(~np.isin(np.arange(N), rows[:2]), [f"only {i}" for i in range(N)])
    X.loc[rows[2], "name"] = "nobody else's"
    last, of = MODELS[model]
    encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=7, sparse_output=sparse)
    steps = columns(("w", encoder, ["city", "name"]))
    steps.set_params(sparse_threshold=float(sparse))
    fitted = make_pipeline(steps, last).fit(X, of(z))
    inf = Influence(fitted, X, of(z))
    ask = inf.loo_predict if model == "ridge" else inf.loo_decision_function
    ask(indices=[0])
    with monkeypatch.context() as untimed:
        untimed.setattr(Again, "seconds", lambda *_: 0.0)
        assert inf.estimate("loo", indices=rows).fits == 0
    fits = counted(monkeypatch)
    found = ask(method="exact", indices=rows)
    assert not fits
    for k, i in enumerate(rows):
        kept = np.delete(np.arange(N), i)
        again = clone(fitted).fit(X.iloc[kept], of(z)[kept])
        truth = outputs(again, X.iloc[[i]])[0]
        assert found[k] == pytest.approx(truth, rel=1e-7)
        assert found[k] != pytest.approx(outputs(fitted, X.iloc[[i]])[0], rel=1e-3)
