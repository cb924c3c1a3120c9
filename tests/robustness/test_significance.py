"""How few rows make a coefficient significant, or not; how few close a gap: by hand on the rows left."""

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skinfluence import Influence, metrics, robustness
from skinfluence.inference import coefficient_table

Xd, yd = load_diabetes(return_X_y=True)
Xd, yd = Xd[:200], yd[:200]
Xc, yc = load_breast_cancer(return_X_y=True)
Xc, yc = scale(Xc)[:300, [1, 4, 8]], yc[:300]


def p_value(X, y, j):
    """Of least squares with HC3 errors, written out."""
    A = np.column_stack([X, np.ones(len(y))])
    inverse = np.linalg.inv(A.T @ A)
    beta = inverse @ A.T @ y
    h = np.einsum("ij,jk,ik->i", A, inverse, A)
    scores = A * ((y - A @ beta) / (1 - h))[:, None]
    error = np.sqrt((inverse @ scores.T @ scores @ inverse)[j, j])
    return 2 * stats.t.sf(abs(beta[j]) / error, len(y) - A.shape[1])


@pytest.mark.parametrize("j", [0, 2, 4, 8])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_coefficient_crosses_its_level_without_the_rows_that_are_named(j, scaled):
    model = make_pipeline(StandardScaler(), LinearRegression()) if scaled else LinearRegression()
    inf = Influence(model.fit(Xd, yd), Xd, yd)
    flip = robustness.smallest_flip(inf, robustness.significance(j))
    before = p_value(Xd, yd, j)
    left = np.setdiff1d(np.arange(len(yd)), flip.rows)
    assert flip.found and flip.verified and flip.lower_bound == 1
    assert (before < 0.05) == (flip.before > 0)
    assert (p_value(Xd[left], yd[left], j) < 0.05) == (flip.before < 0)
    assert len(flip.rows) < 0.2 * len(yd)


@pytest.mark.parametrize("kind", ["nonrobust", "hc0", "hc2"])
def test_significance_is_what_the_table_says(kind):
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(Xc, yc)
    inf = Influence(model, Xc, yc)
    what = robustness.significance(1, 0.01, kind=kind)
    flip = robustness.smallest_flip(inf, what)
    assert (coefficient_table(inf, kind).p_value[1] < 0.01) == (flip.before > 0)
    left = np.setdiff1d(np.arange(len(yc)), flip.rows)
    refit = Influence(clone(model).fit(Xc[left], yc[left]), Xc[left], yc[left])
    assert (coefficient_table(refit, kind).p_value[1] < 0.01) == (flip.before < 0)


def test_a_single_row_that_is_enough_is_found():
    """An outlier at the end of a line makes its slope significant, and only it."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 1)), rng.standard_normal(60)
    X[7], y[7] = 6.0, 9.0
    inf = Influence(LinearRegression().fit(X, y), X, y)
    flip = robustness.smallest_flip(inf, robustness.significance(0, kind="nonrobust"))
    assert flip.before > 0
    np.testing.assert_array_equal(flip.rows, [7])


def test_what_cannot_be_tested_is_refused():
    inf = Influence(Ridge().fit(Xd, yd), Xd, yd)
    with pytest.raises(ValueError, match="needs a model without a penalty"):
        robustness.smallest_flip(inf, robustness.significance(0))
    inf = Influence(LinearRegression().fit(Xd, yd), Xd, yd)
    for wrong, match in (({"kind": "cr1"}, "kind must be"), ({"level": 5}, "level must lie")):
        with pytest.raises(ValueError, match=match):
            robustness.smallest_flip(inf, robustness.significance(0, **wrong))


@pytest.mark.parametrize("budget", [4, 80])
def test_a_gap_is_closed_within_a_budget_or_that_is_said(budget):
    """The difference of the shares that two groups get, counted by hand on a refit."""
    rng = np.random.default_rng(1)
    group = rng.integers(0, 2, 300)
    X = np.column_stack([rng.standard_normal((300, 2)), group + 0.3 * rng.standard_normal(300)])
    y = (X @ [1.0, 1.0, 1.0] - 0.5 + rng.logistic(size=300) > 0).astype(int)
    model = LogisticRegression(solver="newton-cholesky").fit(X, y)
    inf = Influence(model, X, y)

    def gap(one):
        shares = [one.predict(X)[group == g].mean() for g in (0, 1)]
        return abs(shares[0] - shares[1])

    level = 0.6 * gap(model)
    what = robustness.metric(
        metrics.demographic_parity(group, temperature=0),
        X,
        y,
        level,
        ranked_by=metrics.demographic_parity(group, temperature=0.5),
    )
    flip = robustness.smallest_flip(inf, what, max_rows=budget)
    if budget == 4:
        assert not flip.found
        assert "No set of up to 4 rows" in str(flip)
        return
    left = np.setdiff1d(np.arange(300), flip.rows)
    assert flip.verified
    assert gap(clone(model).fit(X[left], y[left])) <= level
