"""Every edit of a lasso is a refit to the end: coordinate descent, then the normal equations of its support."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import ElasticNet, ElasticNetCV, Lasso, LassoCV

from skinfluence import Influence, edits


@dataclass(frozen=True)
class Case:
    estimator: object
    n: int = 40
    d: int = 12
    sparse: bool = False
    weighted: bool = False
    correlated: bool = False

    def data(self, seed=0):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((self.n, self.d)) * np.linspace(0.5, 2, self.d)
        if self.correlated:
            X += 3 * rng.standard_normal((self.n, 1))
        if self.sparse:
            X[rng.uniform(size=X.shape) < 0.6] = 0.0
        beta = np.zeros(self.d)
        beta[:4] = [1.0, -2.0, 0.5, 1.5]
        y = X @ beta + rng.standard_normal(self.n) + 3.0
        weight = rng.uniform(0.3, 2.5, self.n) if self.weighted else None
        return (sp.csr_array(X) if self.sparse else X), y, weight


CASES = {
    "lasso": Case(Lasso(alpha=0.2)),
    "lasso, small alpha": Case(Lasso(alpha=0.01)),
    "lasso, no intercept": Case(Lasso(alpha=0.2, fit_intercept=False)),
    "lasso, positive": Case(Lasso(alpha=0.05, positive=True)),
    "lasso, weights": Case(Lasso(alpha=0.2), weighted=True),
    "lasso, more columns than rows": Case(Lasso(alpha=0.1), n=20, d=45),
    "lasso, correlated": Case(Lasso(alpha=0.05), correlated=True),
    "lasso, sparse": Case(Lasso(alpha=0.1), sparse=True),
    "lasso, no coefficient": Case(Lasso(alpha=3.0)),
    "elastic net": Case(ElasticNet(alpha=0.2, l1_ratio=0.5)),
    "elastic net, wide": Case(ElasticNet(alpha=0.1, l1_ratio=0.7), n=20, d=45, weighted=True),
    "elastic net, positive": Case(ElasticNet(alpha=0.1, positive=True)),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    return request.param


def refit(estimator, X, y, weight=None):
    """Parameters at the optimum, intercept last; its conditions are checked."""
    model = clone(estimator).set_params(tol=1e-13, max_iter=10**6)
    model.fit(X, y) if weight is None else model.fit(X, y, sample_weight=weight)
    X = X.toarray() if sp.issparse(X) else X
    w = np.ones(len(y)) if weight is None else weight
    w = w / w.sum()
    mean, target = (w @ X, w @ y) if model.fit_intercept else (0 * X[0], 0.0)
    Z, e = X - mean, y - target
    ratio = 1.0 if isinstance(model, Lasso) else model.l1_ratio
    l1, l2 = model.alpha * ratio, model.alpha * (1 - ratio)
    A, b = np.flatnonzero(model.coef_), np.zeros(X.shape[1])
    s = np.sign(model.coef_[A])
    H = (w[:, None] * Z[:, A]).T @ Z[:, A] + l2 * np.eye(len(A))
    b[A] = np.linalg.solve(H, Z[:, A].T @ (w * e) - l1 * s)
    slope = Z.T @ (w * (e - Z @ b)) - l2 * b
    assert (np.sign(b[A]) == s).all()
    rest = np.setdiff1d(np.arange(len(b)), A)
    assert ((slope if model.positive else np.abs(slope))[rest] <= l1 * (1 + 1e-9)).all()
    return np.append(b, target - mean @ b)


def _values(theta, X):
    return X @ theta[:-1] + theta[-1]


def _refit_without(case, data, rows):
    X, y, weight = data
    kept = np.setdiff1d(np.arange(len(y)), rows)
    return refit(case.estimator, X[kept], y[kept], None if weight is None else weight[kept])


def _influence(case, data):
    model = clone(case.estimator).set_params(tol=1e-8, max_iter=10**5)
    X, y, weight = data
    model.fit(X, y) if weight is None else model.fit(X, y, sample_weight=weight)
    return Influence(model, X, y, weight)


def test_leave_one_out_is_a_refit_for_each_row(case):
    data = case.data()
    found = _influence(case, data).loo_predict()
    own = [_values(_refit_without(case, data, [i]), data[0][[i]])[0] for i in range(len(data[1]))]
    assert_allclose(found, own, rtol=1e-9, atol=1e-9)


def test_removing_any_row_is_a_refit_without_it(case):
    data = case.data()
    X, y, _ = data
    found = _influence(case, data).removal_effect(X[:6], of="decision_function")
    before = _values(refit(case.estimator, *data), X[:6])
    for i in range(len(y)):
        after = _values(_refit_without(case, data, [i]), X[:6])
        assert_allclose(found[:, i], after - before, rtol=1e-8, atol=1e-9)


def test_columns_come_and_go_with_rows(case):
    """Else the tests above would hold for the closed form on a support that stays."""
    data = case.data()
    support = _influence(case, data).answers.support
    rows = np.arange(len(data[1]))
    moved = np.isnan(support.without_each(rows, checked=False)).any(axis=1)
    thetas = support.without_each(rows, checked=True)[:, : case.d]
    moved |= ((thetas != 0) != (support.b != 0)).any(axis=1)
    if case.estimator.alpha < 3.0:
        assert moved.any()


def test_groups_leave_together(case):
    data = case.data()
    X, y, _ = data
    groups = np.arange(len(y)) % 5
    found = _influence(case, data).removal_effect(X[:6], of="decision_function", groups=groups)
    before = _values(refit(case.estimator, *data), X[:6])
    for g in range(5):
        after = _values(_refit_without(case, data, np.flatnonzero(groups == g)), X[:6])
        assert_allclose(found[:, g], after - before, rtol=1e-8, atol=1e-9)


def test_rows_come_move_and_change_their_target(case):
    X, y, weight = data = case.data()
    dense, other = (one.toarray() if sp.issparse(one) else one for one in (X, case.data(3)[0]))
    edit = edits.remove(4) + edits.relabel(6, 9.0) + edits.replace(8, other[2])
    edit += edits.add(other[3], -2.0, sample_weight=1.5) + edits.reweight(9, 0.4)
    X2, y2 = dense.copy(), y.copy()
    y2[6], X2[8] = 9.0, other[2]
    w2 = np.ones(len(y)) if weight is None else weight.copy()
    w2[9] = 0.4
    X2, y2, w2 = np.vstack([X2, other[3]]), np.append(y2, -2.0), np.append(w2, 1.5)
    kept = np.delete(np.arange(len(y2)), 4)
    after = _values(refit(case.estimator, X2[kept], y2[kept], w2[kept]), dense[:6])
    before = _values(refit(case.estimator, *data), dense[:6])
    found = _influence(case, data).effect(edit, X[:6], of="decision_function")
    assert_allclose(found.values, after - before, rtol=1e-8, atol=1e-9)
    assert found.method_used == "exact"


def test_another_penalty_can_be_held(case):
    X, y, weight = data = case.data()
    w = np.ones(len(y)) if weight is None else weight
    found = _influence(case, data).effect(edits.remove(3), X[:6], of="decision_function", hold="C")
    kept = np.delete(np.arange(len(y)), 3)
    share = w.sum() / w[kept].sum()
    held = clone(case.estimator).set_params(alpha=case.estimator.alpha * share)
    after = refit(held, X[kept], y[kept], None if weight is None else weight[kept])
    before = refit(case.estimator, *data)
    assert_allclose(
        found.values, _values(after, X[:6]) - _values(before, X[:6]), rtol=1e-8, atol=1e-9
    )


def test_derivatives_are_those_of_refits(case):
    X, y, weight = data = case.data()
    inf = _influence(case, data)
    n, eps = len(y), 1e-4
    w = np.ones(n) if weight is None else weight
    tests = np.arange(3)
    loss = inf.influence_up_loss(X[tests], y[tests])
    params = inf.influence_up_params()[:, 0]
    pert = inf.influence_pert(X[tests], y[tests], indices=[5])
    dense = X.toarray() if sp.issparse(X) else X
    for row in (5, 11):
        ends = []
        for sign in (-1, 1):
            moved = w.copy()
            moved[row] += sign * eps
            # The paper's: the penalty stays.
            held = clone(case.estimator)
            held.set_params(alpha=held.alpha * w.sum() / moved.sum())
            ends.append(refit(held, X, y, moved))
        slope = n * (ends[1] - ends[0]) / (2 * eps)
        assert_allclose(params[row], slope[: params.shape[1]], rtol=1e-5, atol=1e-5)
        change = [0.5 * (_values(one, X[tests]) - y[tests]) ** 2 for one in ends]
        assert_allclose(loss[:, row], n * (change[1] - change[0]) / (2 * eps), rtol=1e-5, atol=1e-5)
    for j in range(0, case.d, 5):
        ends = []
        for sign in (-1, 1):
            moved = dense.copy()
            moved[5, j] += sign * eps
            theta = refit(case.estimator, moved, y, weight)
            ends.append(0.5 * (_values(theta, dense[tests]) - y[tests]) ** 2)
        slope = n / w[5] * (ends[1] - ends[0]) / (2 * eps)
        assert_allclose(pert[:, 0, j], slope, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Held as chosen")
@pytest.mark.parametrize("search", [LassoCV(cv=3), ElasticNetCV(cv=3, l1_ratio=[0.5, 0.9])])
def test_a_search_is_answered_at_what_it_chose(search):
    X, y, _ = CASES["lasso"].data()
    search.fit(X, y)
    if isinstance(search, LassoCV):
        alone = Lasso(alpha=search.alpha_)
    else:
        alone = ElasticNet(alpha=search.alpha_, l1_ratio=search.l1_ratio_)
    found = Influence(search, X, y).loo_predict()
    assert_allclose(found, Influence(alone.fit(X, y), X, y).loo_predict(), rtol=1e-10)
