"""Every edit of a logistic regression with an L1 penalty is a refit to the end, whose conditions are checked."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits
from skinfluence.utils.estimator_checks import check_influence
from tests.versions import l1_logistic

# saga stops where no coefficient moves, be the intercept on its way.
pytestmark = pytest.mark.filterwarnings("ignore:The fit is not at the optimum")


@dataclass(frozen=True)
class Case:
    share: float = 1.0
    C: float = 0.5
    solver: str = "saga"
    fit_intercept: bool = True
    n: int = 36
    d: int = 10
    sparse: bool = False
    weighted: bool = False
    scaling: float = 1.0
    class_weight: object = None

    def data(self, seed=0):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((self.n, self.d))
        if self.sparse:
            X[rng.uniform(size=X.shape) < 0.5] = 0.0
        y = X[:, 0] - X[:, 1] + 0.5 * X[:, 2] + rng.standard_normal(self.n) > 0.3
        weight = rng.uniform(0.3, 2.5, self.n) if self.weighted else None
        return (sp.csr_array(X) if self.sparse else X), np.where(y, "yes", "no"), weight

    def fit(self, X, y, weight):
        model = l1_logistic(
            share=self.share,
            C=self.C,
            solver=self.solver,
            fit_intercept=self.fit_intercept,
            intercept_scaling=self.scaling,
            class_weight=self.class_weight,
            tol=1e-6,
            max_iter=20_000,
            random_state=0,
        )
        return model.fit(X, y, sample_weight=weight)


CASES = {
    "lasso": Case(),
    "elastic net": Case(share=0.5),
    "weak": Case(C=5.0),
    "no coefficient": Case(C=0.02),
    "no intercept": Case(fit_intercept=False),
    "liblinear": Case(solver="liblinear", scaling=3.0),
    "weights": Case(weighted=True, class_weight={"no": 2.0, "yes": 1.0}),
    "sparse": Case(sparse=True),
    "wide": Case(n=24, d=40, C=1.0),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    return request.param


def refit(case, X, y, weight=None):
    """Parameters by coordinate-wise soft thresholding of Newton models, polished on their support."""
    X = X.toarray() if sp.issparse(X) else X
    t = (np.asarray(y) == "yes").astype(float)
    w = np.ones(len(t)) if weight is None else weight
    if case.class_weight is not None:
        w = w * np.array([case.class_weight[label] for label in y])
    Z = np.column_stack([X, np.full(len(X), case.scaling)]) if case.fit_intercept else X
    l1, l2 = (np.full(Z.shape[1], one / case.C) for one in (case.share, 1 - case.share))
    if case.fit_intercept and case.solver != "liblinear":
        l1[-1] = l2[-1] = 0.0
    b, eta = np.zeros(Z.shape[1]), np.zeros(len(Z))
    bound = 0.25 * (w @ Z**2) + l2
    for _ in range(400):
        before = b.copy()
        for j in range(len(b)):
            slope = Z[:, j] @ (w * (expit(eta) - t)) + l2[j] * b[j]
            goal = b[j] - slope / bound[j]
            goal = np.sign(goal) * max(abs(goal) - l1[j] / bound[j], 0.0)
            eta += Z[:, j] * (goal - b[j])
            b[j] = goal
        if np.abs(b - before).max() < 1e-5:
            break
    A, s = np.flatnonzero((b != 0) | (l1 == 0)), np.sign(b) * (l1 > 0)
    for _ in range(12):
        p = expit(Z @ b)
        slope = Z.T @ (w * (p - t)) + l2 * b + l1 * s
        H = (Z[:, A].T * (w * p * (1 - p))) @ Z[:, A] + np.diag(l2[A])
        b[A] -= np.linalg.solve(H, slope[A])
    slope = Z.T @ (w * (expit(Z @ b) - t)) + l2 * b
    assert np.abs(slope[A] + (l1 * s)[A]).max(initial=0.0) < 1e-11
    assert (np.abs(np.delete(slope, A)) <= np.delete(l1, A) * (1 + 1e-9)).all()
    assert ((np.sign(b) == s) | (l1 == 0)).all()
    return lambda T: (
        (T.toarray() if sp.issparse(T) else T) @ b[: X.shape[1]]
        + (case.scaling * b[-1] if case.fit_intercept else 0.0)
    )


def _take(data, rows):
    X, y, weight = data
    return X[rows], y[rows], None if weight is None else weight[rows]


def _influence(case, data):
    return Influence(case.fit(*data), *data)


def test_leave_one_out_and_removals_are_refits_without_the_row(case):
    data = case.data()
    inf = _influence(case, data)
    X = data[0][:5]
    own, gone = inf.loo_decision_function(), inf.removal_effect(X, of="decision_function")
    before = refit(case, *data)(X)
    for i in range(0, case.n, 6):
        after = refit(case, *_take(data, np.delete(np.arange(case.n), i)))
        assert_allclose(own[i], after(data[0][[i]])[0], rtol=1e-8, atol=1e-9)
        assert_allclose(gone[:, i], after(X) - before, rtol=1e-7, atol=1e-9)


def test_columns_come_and_go_with_rows():
    """Else the test above would hold for steps on a support that stays."""
    data = CASES["weak"].data()
    support = _influence(CASES["weak"], data).answers.support
    rows = np.arange(len(data[1]))
    _, stays = support._on_support(rows, support.problem.y, np.zeros(len(rows)), True)
    assert 0 < stays.sum() < len(rows)


def test_labels_and_any_edit_are_refits(case):
    X, y, weight = case.data()
    inf = _influence(case, (X, y, weight))
    found = inf.relabel_effect(X[:3], of="decision_function", indices=[0, 7])
    before = refit(case, X, y, weight)(X[:3])
    for k, row in enumerate((0, 7)):
        y2 = y.copy()
        y2[row] = "no" if y[row] == "yes" else "yes"
        new = int(y2[row] == "yes")
        after = refit(case, X, y2, weight)(X[:3])
        assert_allclose(found[:, k, new], after - before, rtol=1e-7, atol=1e-9)
        assert_allclose(found[:, k, 1 - new], 0.0, atol=1e-12)
    edit = edits.remove([1, 2]) + edits.relabel(7, y2[7]) + edits.reweight(9, 2.0)
    kept = np.delete(np.arange(len(y)), [1, 2])
    y2[0], w2 = y[0], np.ones(len(y)) if weight is None else weight.copy()
    w2[9] = 2.0
    after = refit(case, X[kept], y2[kept], w2[kept])(X[:3])
    effect = inf.effect(edit, X[:3], of="decision_function")
    assert_allclose(effect.values, after - before, rtol=1e-7, atol=1e-9)
    assert effect.method_used == "exact"


@pytest.mark.parametrize("name", ["lasso", "elastic net", "liblinear"])
def test_derivatives_are_those_of_refits(name):
    case = CASES[name]
    X, y, _ = case.data()
    T, t = X[:4], y[:4]
    inf, h = _influence(case, (X, y, None)), 1e-4
    losses = lambda eta: np.logaddexp(0, np.where(t == "yes", -eta, eta))
    up, moved = inf.influence_up_loss(T, t), inf.influence_pert(T, t)
    for i in (4, 9):
        both = []
        for s in (1, -1):
            w = np.ones(case.n)
            w[i] += s * h
            both.append(losses(refit(case, X, y, w)(T)))
        # Central differences at 1e-4 in float64.
        slope = (both[0] - both[1]) / (2 * h)
        assert_allclose(up[:, i] / case.n, slope, atol=1e-6 * np.abs(up[:, i] / case.n).max())
        both = []
        for s in (1, -1):
            X2 = X.copy()
            X2[i, 0] += s * h
            both.append(losses(refit(case, X2, y)(T)))
        slope = (both[0] - both[1]) / (2 * h)
        assert_allclose(moved[:, i, 0] / case.n, slope, atol=1e-6)
    own = -inf.influence_up_loss(X, y).diagonal()
    assert_allclose(inf.self_influence(), own, rtol=1e-9, atol=1e-12)


def test_checks_of_estimators_pass():
    X, y, _ = Case(n=24, d=4).data()
    model = l1_logistic(share=0.5, C=0.5, solver="saga", tol=1e-10, max_iter=50_000)
    check_influence(model, data=(X, y))


def test_behind_a_scaler_it_is_the_whole_pipeline():
    case = CASES["lasso"]
    X, y, _ = case.data()
    model = l1_logistic(C=0.5, solver="saga", tol=1e-6, max_iter=20_000)
    inf = Influence(make_pipeline(StandardScaler(), model).fit(X, y), X, y)
    found = inf.loo_decision_function(indices=[3, 8])
    for value, i in zip(found, (3, 8), strict=True):
        kept = np.delete(np.arange(case.n), i)
        scaler = StandardScaler().fit(X[kept])
        after = refit(case, scaler.transform(X[kept]), y[kept])
        assert_allclose(value, after(scaler.transform(X[[i]]))[0], rtol=1e-8)


def test_equal_columns_are_refused_without_a_ridge_and_answered_with_one():
    case = Case(share=0.5)
    X, y, _ = case.data()
    X = np.column_stack([X, X[:, :2]])
    found = Influence(case.fit(X, y, None), X, y).loo_decision_function()
    after = refit(case, np.delete(X, 3, 0), np.delete(y, 3))
    assert_allclose(found[3], after(X[[3]])[0], rtol=1e-8)


def test_a_row_alone_in_its_class_has_no_answer():
    X, _, _ = Case().data()
    y = np.where(np.arange(36) == 5, "yes", "no")
    inf = Influence(Case(C=5.0).fit(X, y, None), X, y)
    with pytest.warns(UserWarning, match="only one of its class"):
        found = inf.loo_decision_function()
    assert np.flatnonzero(np.isnan(found)).tolist() == [5]


def test_what_is_not_followed_is_refused_by_name():
    X, y, _ = Case().data()
    with pytest.raises(ValueError, match="class_weight='balanced'"):
        Influence(Case(class_weight="balanced").fit(X, y, None), X, y)
    three = np.where(X[:, 3] > 1, "maybe", y)
    with pytest.raises(ValueError, match=r"L1 share of 1.0.*OneVsRestClassifier of this model"):
        Influence(Case().fit(X, three, None), X, three)
    with pytest.raises(ValueError, match="followed exactly"):
        Influence(Case().fit(X, y, None), X, y, solver="cg")
    other = np.where(y == "yes", "no", "yes")
    with pytest.raises(ValueError, match="must be those of the fit"):
        Influence(Case(C=5.0).fit(X, y, None), X, other)
