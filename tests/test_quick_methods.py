"""What first looks at all rows takes the way that fits the fewest steps again."""

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits
from skinfluence.cleaning import audit
from skinfluence.leave_one_out import loo_loss, quick_method
from skinfluence.model_selection import LeaveOneOutSearch


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = (X[:, 0] + rng.standard_normal(60) > 0).astype(int)
    X[::20, 0] = X[5, 2] = np.nan
    return X, y


def steps(imputer, nested):
    if not nested:
        return [imputer, StandardScaler()]
    return [make_column_transformer((make_pipeline(imputer, StandardScaler()), [0, 1, 2]))]


def logistic():
    return LogisticRegression(C=0.3, tol=1e-10, solver="newton-cholesky")


@pytest.mark.parametrize("nested", [False, True])
def test_one_step_is_the_quick_way_but_behind_fills_that_move(table, nested):
    X, y = table
    whole = np.where(np.isnan(X), 0.0, X)
    for rows, quick in ((X, "auto"), (whole, "one-step")):
        influence = Influence(
            make_pipeline(*steps(SimpleImputer(), nested), logistic()).fit(rows, y), rows, y
        )
        assert quick_method(influence) == quick
        assert quick_method(influence, "accept") == "one-step"
    assert quick_method(Influence(logistic().fit(whole, y), whole, y)) == "one-step"


def test_the_quick_way_after_earlier_edits_is_that_of_the_rows_that_are_left(table):
    X, y = table
    influence = Influence(make_pipeline(*steps(SimpleImputer(), False), logistic()).fit(X, y), X, y)
    assert quick_method(influence.after(edits.remove([3, 7]))) == "auto"
    # Without the rows that have gaps no fill moves.
    without = influence.after(edits.remove(np.flatnonzero(np.isnan(X).any(axis=1))))
    assert quick_method(without) == "one-step"


@pytest.mark.parametrize("nested", [False, True])
def test_audits_behind_an_imputer_fit_it_for_no_row(table, nested, monkeypatch):
    """They fitted all steps once without each row, 40 times the price."""
    X, y = table
    model = make_pipeline(*steps(SimpleImputer(), nested), logistic()).fit(X, y)

    fits, fit = [], SimpleImputer.fit
    with monkeypatch.context() as patched:
        patched.setattr(SimpleImputer, "fit", lambda *args: fits.append(1) or fit(*args))
        found = audit(model, X, y).table.sort_values("row")
    assert len(fits) < 3
    truth = loo_loss(Influence(model, X, y), "exact")
    np.testing.assert_allclose(found["loo_loss"], truth, rtol=1e-3)


@pytest.mark.parametrize("nested", [False, True])
def test_searches_behind_an_imputer_score_what_refits_score(table, nested):
    X, y = table
    model, grid = make_pipeline(*steps(SimpleImputer(), nested), logistic()), [0.1, 1.0]
    search = LeaveOneOutSearch(model, {"logisticregression__C": grid}).fit(X, y)
    assert set(search.cv_results_["score_method"]) == {"exact"}
    for C, score in zip(grid, search.cv_results_["mean_test_score"], strict=True):
        model.set_params(logisticregression__C=C)
        losses = []
        for row in range(len(y)):
            rest = np.delete(np.arange(len(y)), row)
            chance = model.fit(X[rest], y[rest]).predict_proba(X[[row]])[0, y[row]]
            losses.append(-np.log(chance))
        np.testing.assert_allclose(score, -np.mean(losses), rtol=1e-7)
