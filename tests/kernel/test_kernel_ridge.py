"""Kernel ridge regression: every answer equals a refit, down to penalties that only digits save."""

import pickle
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits, kernel_ridge
from skinfluence._utils.products import subtract_product
from skinfluence.kernel.functions import RBF
from skinfluence.kernel.system import KernelSystem
from skinfluence.linear_model import Ridge
from skinfluence.solvers import SingularHessianError
from tests.versions import parametrize_with_checks

KERNELS = {
    "rbf": {"gamma": 0.4},
    "poly": {"degree": 2},
    "linear": {},
    "laplacian": {"gamma": 0.3},
}
N, D, ALPHA = 30, 3, 0.3


@pytest.fixture(params=KERNELS)
def model(request):
    return KernelRidge(kernel=request.param, alpha=ALPHA, **KERNELS[request.param])


class Data:
    """Training rows, two of weight zero, and test points."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.X = rng.standard_normal((N, D))
        self.y = np.sin(self.X[:, 0]) + 0.3 * rng.standard_normal(N)
        self.w = rng.uniform(0.3, 2.0, N)
        self.w[[5, 11]] = 0.0
        self.T, self.t = rng.standard_normal((6, D)), rng.standard_normal(6)


@pytest.fixture
def data():
    return Data()


def loss(eta, y):
    return 0.5 * (eta - y) ** 2


def with_weight(w, row, value):
    w = w.copy()
    w[row] = value
    return w


def refit(model, X, y, w, T):
    return clone(model).fit(X, y, sample_weight=w).predict(T)


# Edits -----------------------------------------------------------------------------------------


def remove(data):
    return edits.remove(3), data.X, data.y, with_weight(data.w, 3, 0.0)


def remove_group(data):
    return edits.remove([3, 5, 9]), data.X, data.y, with_weight(data.w, [3, 5, 9], 0.0)


def weigh_more(data):
    return edits.reweight(3, 7.0), data.X, data.y, with_weight(data.w, 3, 7.0)


def weigh_less(data):
    return (
        edits.reweight([3, 4], [0.1, 0.2]),
        data.X,
        data.y,
        with_weight(data.w, [3, 4], [0.1, 0.2]),
    )


def wake(data):
    return edits.reweight(5, 1.5), data.X, data.y, with_weight(data.w, 5, 1.5)


def retarget(data):
    return edits.relabel(7, 2.5), data.X, with_weight(data.y, 7, 2.5), data.w


def replace(data):
    x = [0.1, 0.2, 0.3]
    return edits.replace(2, x), with_weight(data.X, 2, x), data.y, data.w


def replace_both(data):
    x = [0.1, 0.2, 0.3]
    return edits.replace(2, x, 1.0), with_weight(data.X, 2, x), with_weight(data.y, 2, 1.0), data.w


def add(data):
    x = [0.1, 0.2, 0.3]
    return (
        edits.add(x, 1.0, 2.0),
        np.vstack([data.X, x]),
        np.append(data.y, 1.0),
        np.append(data.w, 2.0),
    )


def add_a_copy(data):
    x = data.X[4]
    return edits.add(x, 1.0), np.vstack([data.X, x]), np.append(data.y, 1.0), np.append(data.w, 1.0)


def everything(data):
    edit = edits.remove([1, 2]) + edits.reweight([8, 11], [0.1, 1.0])
    edit += edits.relabel(7, 2.5) + edits.add([1.0, 0.0, -1.0], 0.5, 0.7)
    w = np.append(with_weight(data.w, [1, 2, 8, 11], [0.0, 0.0, 0.1, 1.0]), 0.7)
    return edit, np.vstack([data.X, [1.0, 0.0, -1.0]]), np.append(retarget(data)[2], 0.5), w


EDITS = (
    remove,
    remove_group,
    weigh_more,
    weigh_less,
    wake,
    retarget,
    replace,
    replace_both,
    add,
    add_a_copy,
    everything,
)


@pytest.mark.parametrize("method", ["auto", "exact", "one-step"])
@pytest.mark.parametrize("make", EDITS, ids=lambda make: make.__name__)
def test_every_edit_equals_the_refit(make, method, model, data):
    """Squared error: one step is exact."""
    model.fit(data.X, data.y, sample_weight=data.w)
    influence = Influence(model, data.X, data.y, data.w)
    edit, X, y, w = make(data)
    before, after = model.predict(data.T), refit(model, X, y, w, data.T)
    found = influence.effect(edit, data.T, of="decision_function", method=method)
    scale = np.abs(after - before).max()
    np.testing.assert_allclose(found.values, after - before, atol=1e-10 * scale)
    found = influence.effect([edit], data.T, data.t, method=method)
    change = loss(after, data.t) - loss(before, data.t)
    np.testing.assert_allclose(found.values[:, 0], change, atol=1e-10 * np.abs(change).max())


@pytest.mark.parametrize("make", EDITS, ids=lambda make: make.__name__)
def test_first_order_is_the_derivative_of_the_edit(make, data):
    """In the weights, which a first-order edit moves along a line: a quarter of the error at half."""
    model = KernelRidge(kernel="rbf", alpha=ALPHA).fit(data.X, data.y, sample_weight=data.w)
    influence = Influence(model, data.X, data.y, data.w)
    edit, X, y, w = make(data)
    first = influence.effect(edit, data.T, of="decision_function", method="influence").values
    before = model.predict(data.T)
    # The edit as rows that lose weight and rows that gain some, a share of it.
    gained = np.array([k >= N or w[k] != data.w[k] or y[k] != data.y[k] for k in range(len(w))])
    gained[:N] |= (X[:N] != data.X).any(axis=1)
    both_X, both_y = np.vstack([data.X, X[gained]]), np.append(data.y, y[gained])
    start = np.append(data.w, np.zeros(gained.sum()))
    end = np.append(np.where(gained[:N], 0.0, data.w), w[gained])

    def along(share):
        return refit(model, both_X, both_y, start + share * (end - start), data.T) - before

    share = 1e-3
    slope = (4.0 * along(share / 2) - along(share)) / share
    # Extrapolated differences: an error of order share^2.
    np.testing.assert_allclose(first, slope, atol=3e-5 * np.abs(slope).max())


def test_all_removals_and_leave_one_out_equal_refits(model, data):
    model.fit(data.X, data.y, sample_weight=data.w)
    influence = Influence(model, data.X, data.y, data.w)
    without = [refit(model, data.X, data.y, with_weight(data.w, i, 0.0), data.T) for i in range(N)]
    expected = (
        loss(np.array(without).T, data.t[:, None]) - loss(model.predict(data.T), data.t)[:, None]
    )
    found = influence.removal_effect(data.T, data.t)
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())
    assert not found[:, [5, 11]].any()
    own = [
        refit(model, data.X, data.y, with_weight(data.w, i, 0.0), data.X[[i]])[0] for i in range(N)
    ]
    np.testing.assert_allclose(influence.loo_predict(), own, rtol=1e-9)
    np.testing.assert_allclose(influence.loo_decision_function(method="one-step"), own, rtol=1e-9)
    top = influence.top(data.T, data.t, 3)
    np.testing.assert_array_equal(top.helpful, np.argsort(-expected, axis=1, kind="stable")[:, :3])


def test_groups_equal_refits(model, data):
    model.fit(data.X, data.y, sample_weight=data.w)
    influence = Influence(model, data.X, data.y, data.w)
    groups = np.arange(N) % 4
    found = influence.removal_effect(data.T, data.t, groups=groups)
    points = [influence.data.resolve(edits.remove(np.flatnonzero(groups == g))) for g in range(4)]
    own = influence.answers.own_group_removals(points, "auto", 1e-3)[:, 0]
    first = influence.answers.own_group_removals(points, "influence", 1e-3)[:, 0]
    for g in range(4):
        out = groups == g
        new = clone(model).fit(data.X[~out], data.y[~out], sample_weight=data.w[~out])
        expected = loss(new.predict(data.T), data.t) - loss(model.predict(data.T), data.t)
        np.testing.assert_allclose(found[:, g], expected, atol=1e-11 * np.abs(expected).max())
        np.testing.assert_allclose(own[out], new.predict(data.X[out]), rtol=1e-9)
        rows = np.flatnonzero(out)
        step = influence.effect(
            edits.remove(rows), data.X[rows], of="decision_function", method="influence"
        )
        np.testing.assert_allclose(
            first[rows] - model.predict(data.X[rows]), step.values, atol=1e-12
        )


def test_first_order_leave_one_out_is_the_first_order_effect(data):
    model = KernelRidge(kernel="rbf", alpha=ALPHA).fit(data.X, data.y, sample_weight=data.w)
    influence = Influence(model, data.X, data.y, data.w)
    options = {"of": "decision_function", "method": "influence"}
    effect = influence.removal_effect(data.X, **options).diagonal()
    found = influence.loo_predict(method="influence") - model.predict(data.X)
    np.testing.assert_allclose(found, effect, atol=1e-13)
    one = influence.effect([edits.remove(i) for i in range(N)], data.X, **options)
    np.testing.assert_allclose(one.values.diagonal(), effect, atol=1e-13)
    assert np.isinf(one.bound).all()


# Derivatives -----------------------------------------------------------------------------------


def test_influence_on_losses_is_the_weight_derivative_of_refits(model, data):
    model.fit(data.X, data.y, sample_weight=data.w)
    influence = Influence(model, data.X, data.y, data.w)
    step, expected = 1e-3, np.empty((6, N))
    # Fourth-order differences; forward ones at weight zero, where no weight is below.
    for i in range(N):

        def at(k, i=i):
            w = with_weight(data.w, i, data.w[i] + k * step)
            return loss(refit(model, data.X, data.y, w, data.T), data.t)

        if data.w[i]:
            expected[:, i] = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
        else:
            expected[:, i] = (-25 * at(0) + 48 * at(1) - 36 * at(2) + 16 * at(3) - 3 * at(4)) / (
                12 * step
            )
    found = influence.influence_up_loss(data.T, data.t)
    np.testing.assert_allclose(found / N, expected, atol=1e-6 * np.abs(expected).max())
    mean = influence.influence_up_loss(data.T, data.t, aggregate="mean", indices=[11, 3])
    np.testing.assert_allclose(mean, found.mean(axis=0)[[11, 3]], atol=1e-12 * np.abs(found).max())
    own = -influence.influence_up_loss(data.X, data.y).diagonal()
    np.testing.assert_allclose(influence.self_influence(), own, rtol=1e-10)


def test_sum_of_weighted_derivatives_is_the_derivative_in_alpha(data):
    """``sum_i w_i d f / d w_i = -alpha d f / d alpha``: only their ratio matters."""
    model = KernelRidge(kernel="rbf", alpha=ALPHA).fit(data.X, data.y, sample_weight=data.w)
    found = Influence(model, data.X, data.y, data.w).influence_up_loss(data.T, data.t) @ data.w / N
    up, down = (
        loss(refit(KernelRidge(kernel="rbf", alpha=a), data.X, data.y, data.w, data.T), data.t)
        for a in (ALPHA + 1e-5, ALPHA - 1e-5)
    )
    np.testing.assert_allclose(found, -ALPHA * (up - down) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize("weighted", [True, False])
def test_influence_pert_is_the_derivative_of_refits_in_the_features(weighted, model, data):
    w = data.w if weighted else np.ones(N)
    model.fit(data.X, data.y, sample_weight=w)
    influence = Influence(model, data.X, data.y, w)
    found = influence.influence_pert(data.T, data.t)
    step, rows = 1e-5, [0, 3, 5]
    expected = np.empty((6, len(rows), D))
    for i, row in enumerate(rows):
        for feature in range(D):
            e = np.zeros_like(data.X)
            e[row, feature] = step
            up, down = (
                loss(refit(model, data.X + s * e, data.y, w, data.T), data.t) for s in (1, -1)
            )
            expected[:, i, feature] = (up - down) / (2 * step)
    # Central differences at 1e-5 in float64.
    weighted_found = w[rows, None] / N * found[:, rows]
    np.testing.assert_allclose(weighted_found, expected, atol=1e-6 * np.abs(expected).max())
    mean = influence.influence_pert(data.T, data.t, aggregate="mean", indices=rows)
    np.testing.assert_allclose(mean, found.mean(axis=0)[rows], atol=1e-12 * np.abs(found).max())


def test_influence_pert_of_a_row_without_weight_is_the_limit(data):
    model = KernelRidge(kernel="rbf", alpha=ALPHA)
    found = {}
    for w in (0.0, 1e-9):
        weights = with_weight(data.w, 5, w)
        model.fit(data.X, data.y, sample_weight=weights)
        influence = Influence(model, data.X, data.y, weights)
        found[w] = influence.influence_pert(data.T, data.t, indices=[5])
    np.testing.assert_allclose(found[0.0], found[1e-9], rtol=1e-5)


# Digits ----------------------------------------------------------------------------------------


def _decimals(A):
    return np.vectorize(lambda a: Decimal(float(a)), otypes=[object])(A)


def solve_decimal(K, w, alpha, y):
    """``(K + alpha W^-1)^-1 y`` in 60 digits, zeros where a row has no weight."""
    rows = np.flatnonzero(w)
    with localcontext() as context:
        context.prec = 60
        A, b = _decimals(K[np.ix_(rows, rows)]), _decimals(y[rows])
        for k in range(len(rows)):
            A[k, k] += Decimal(alpha) / Decimal(float(w[rows[k]]))
        for k in range(len(rows)):
            factor = A[k + 1 :, k] / A[k, k]
            A[k + 1 :, k + 1 :] -= factor[:, None] * A[k, k + 1 :]
            b[k + 1 :] -= factor * b[k]
        for k in range(len(rows) - 1, -1, -1):
            b[k] = (b[k] - A[k, k + 1 :] @ b[k + 1 :]) / A[k, k]
    out = np.full(len(w), Decimal(0))
    out[rows] = b
    return out


def predict_decimal(columns, beta):
    with localcontext() as context:
        context.prec = 60
        return (_decimals(columns).T @ beta).astype(float)


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weights"])
@pytest.mark.parametrize("alpha", [1e-4, 1e-8, 1e-10])
@pytest.mark.parametrize(
    ("kernel", "params"),
    [
        ("rbf", {"gamma": 0.5}),
        ("linear", {}),
        ("poly", {"degree": 3}),
        ("laplacian", {"gamma": 0.5}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_leave_one_out_keeps_its_digits_at_tiny_penalties(kernel, params, alpha, weighted, rng):
    """1e-9 relative against refits in 60 digits; a float64 refit itself is 1e-6 off."""
    n = 26
    X = rng.uniform(size=(n, 2))
    y = np.sin(3.0 * X[:, 0]) + 0.1 * rng.standard_normal(n)
    w = rng.uniform(0.2, 4.0, n) if weighted else np.ones(n)
    model = KernelRidge(kernel=kernel, alpha=alpha, **params).fit(X, y, sample_weight=w)
    influence = Influence(model, X, y, w)
    K = influence.answers.K
    expected = np.empty(n)
    for i in range(0, n, 3):
        beta = solve_decimal(K, with_weight(w, i, 0.0), alpha, y)
        expected[i] = predict_decimal(K[:, [i]], beta)[0]
    found = influence.loo_predict()
    np.testing.assert_allclose(found[::3], expected[::3], rtol=1e-9)


@pytest.mark.parametrize("make", EDITS, ids=lambda make: make.__name__)
def test_edits_keep_their_digits_at_tiny_penalties(make, data):
    """And the bound of each covers what they lose."""
    alpha, kernel = 1e-8, RBF(0.05)
    model = KernelRidge(kernel="rbf", gamma=0.05, alpha=alpha)
    model.fit(data.X, data.y, sample_weight=data.w)
    influence = Influence(model, data.X, data.y, data.w)
    assert "refined" in influence.report().solver
    edit, X, y, w = make(data)
    found = influence.effect(edit, data.T, of="decision_function")
    # At this penalty the last bits of a kernel value count, so both sides take the same numbers.
    old, T = np.flatnonzero((X[:N] == data.X).all(axis=1)), data.T
    new = np.setdiff1d(np.arange(len(X)), old)
    K, columns = np.empty((len(X), len(X))), np.empty((len(X), len(T)))
    K[np.ix_(old, old)], columns[old] = kernel(data.X)[np.ix_(old, old)], kernel(T, data.X).T[old]
    if len(new):
        K[np.ix_(old, new)] = kernel(data.X, X[new])[old]
        K[np.ix_(new, old)] = K[np.ix_(old, new)].T
        K[np.ix_(new, new)], columns[new] = kernel(X[new]), kernel(X[new], T)
    before = solve_decimal(kernel(data.X), data.w, alpha, data.y)
    before = predict_decimal(kernel(T, data.X).T, before)
    change = predict_decimal(columns, solve_decimal(K, w, alpha, y)) - before
    error = np.abs(found.values - change)
    assert error.max() <= 1e-9 * np.abs(change).max()
    # |k_t|^2 in the inverse of the edited Hessian is at most k(t, t) / alpha.
    assert error.max() <= found.bound / np.sqrt(alpha)


def test_without_refinement_the_digits_would_be_lost(rng):
    X = rng.uniform(size=(60, 2))
    K, y, w = RBF(0.5)(X), np.sin(X[:, 0]) + 0.1 * rng.standard_normal(60), np.ones(60)
    system = KernelSystem(K, w, 1e-8)
    truth = solve_decimal(K, w, 1e-8, y).astype(float)
    plain, refined = system.plain(y[:, None])[:, 0], system.solve(y[:, None])[:, 0]
    assert np.abs(plain - truth).max() > 1e-8 * np.abs(truth).max()
    np.testing.assert_allclose(refined, truth, atol=1e-13 * np.abs(truth).max())


def test_a_matrix_that_float64_cannot_tell_from_a_singular_one_is_refused(rng):
    X = rng.uniform(size=(30, 1))
    with pytest.raises(SingularHessianError, match="Raise alpha"):
        KernelSystem(RBF(0.1)(X), np.ones(30), 1e-18)


@pytest.mark.parametrize("n", [1, 7, 300])
def test_products_know_more_digits_than_float64(n, rng):
    def wide(*shape):
        return rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 7, shape)

    A, B = wide(4, n), wide(n, 3)
    C = A @ B
    found = subtract_product(C, A, B)
    expected = np.empty((4, 3))
    for i in range(4):
        for j in range(3):
            pairs = zip(A[i].tolist(), B[:, j].tolist(), strict=True)
            expected[i, j] = float(
                Fraction(C[i, j]) - sum(Fraction(a) * Fraction(b) for a, b in pairs)
            )
    scale = np.abs(A).max(axis=1)[:, None] * np.abs(B).max(axis=0)
    assert (np.abs(found - expected) <= 2.0**-75 * scale + 2.0**-52 * np.abs(expected)).all()


def test_products_keep_a_small_diagonal_apart(rng):
    A, B, small = rng.standard_normal((5, 5)), rng.standard_normal((5, 2)), np.full(5, 1e-25)
    C = A @ B
    found = subtract_product(C, A, B, diagonal=small)
    np.testing.assert_allclose(found - subtract_product(C, A, B), -1e-25 * B, atol=1e-31)


# Conventions and refusals ----------------------------------------------------------------------


@parametrize_with_checks([kernel_ridge.KernelRidge(), kernel_ridge.KernelRidge(kernel="rbf")])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_rows_in_units_of_their_own_that_no_other_meets_are_no_singular_system():
    """A diagonal kernel matrix over twenty orders: each row without itself is predicted 0."""
    size = np.geomspace(1e-4, 1e6, 8)
    X, y = np.diag(size), np.arange(1.0, 9.0)
    inf = Influence(KernelRidge(alpha=1e-3).fit(X, y), X, y)
    np.testing.assert_allclose(inf.loo_predict(), np.zeros(8), atol=1e-14)
    before = size**2 / (size**2 + 1e-3) * y
    found = inf.removal_effect(X, of="decision_function")
    np.testing.assert_allclose(found, -np.diag(before), rtol=1e-9, atol=1e-12)


def test_a_linear_kernel_is_ridge_without_intercept(data):
    kernel = kernel_ridge.KernelRidge(alpha=ALPHA).fit(data.X, data.y, data.w)
    ridge = Ridge(alpha=ALPHA, fit_intercept=False).fit(data.X, data.y, data.w)
    for name in ("influence_up_loss", "influence_pert", "removal_effect"):
        found, expected = (getattr(m, name)(data.T, data.t) for m in (kernel, ridge))
        np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())
    for name in ("self_influence", "loo_predict", "loo_decision_function"):
        np.testing.assert_allclose(getattr(kernel, name)(), getattr(ridge, name)(), rtol=1e-9)
    assert kernel.loo_score() == pytest.approx(ridge.loo_score(), rel=1e-10)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
def test_sparse_rows_have_the_answers_of_dense_ones(kernel, data):
    X, T = data.X * (np.abs(data.X) > 0.5), data.T
    dense = kernel_ridge.KernelRidge(kernel=kernel).fit(X, data.y, data.w)
    sparse = kernel_ridge.KernelRidge(kernel=kernel).fit(sp.csr_array(X), data.y, data.w)
    for name in ("influence_up_loss", "influence_pert", "removal_effect"):
        found, expected = (
            getattr(m, name)(rows, data.t) for m, rows in ((sparse, sp.csr_array(T)), (dense, T))
        )
        np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())
    edit = edits.relabel(7, 2.5) + edits.add(T[0], 1.0)
    found, expected = (
        Influence(m, rows, data.y, data.w).effect(edit, T, data.t).values
        for m, rows in ((sparse, sp.csr_array(X)), (dense, X))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_precomputed_kernel_has_the_answers_of_its_kernel(data):
    kernel = KernelRidge(kernel="rbf", gamma=0.4).fit(data.X, data.y, sample_weight=data.w)
    K, K_test = RBF(0.4)(data.X), RBF(0.4)(data.T, data.X)
    given = KernelRidge(kernel="precomputed").fit(K, data.y, sample_weight=data.w)
    a, b = Influence(kernel, data.X, data.y, data.w), Influence(given, K, data.y, data.w)
    for edit in (edits.remove([1, 2]), edits.relabel(7, 2.5), edits.reweight(5, 1.0)):
        found = b.effect(edit, K_test, data.t).values
        np.testing.assert_allclose(found, a.effect(edit, data.T, data.t).values, rtol=1e-9)
    np.testing.assert_allclose(b.loo_predict(), a.loo_predict(), rtol=1e-10)
    up = b.influence_up_loss(K_test, data.t)
    np.testing.assert_allclose(up, a.influence_up_loss(data.T, data.t), rtol=1e-8)
    with pytest.raises(TypeError, match="precomputed kernel"):
        b.effect(edits.add(K[0] + 0.1, 1.0), K_test, data.t)
    with pytest.raises(TypeError, match="gradient of the kernel"):
        b.influence_pert(K_test, data.t)


def test_a_pipeline_answers_in_raw_features(data):
    pipeline = make_pipeline(StandardScaler(), KernelRidge(kernel="rbf")).fit(data.X, data.y)
    influence = Influence(pipeline, data.X, data.y)
    plain = Influence(pipeline[-1], pipeline[0].transform(data.X), data.y)
    expected = plain.influence_pert(pipeline[0].transform(data.T), data.t) / pipeline[0].scale_
    np.testing.assert_allclose(influence.influence_pert(data.T, data.t), expected, rtol=1e-12)
    assert influence.effect(edits.replace(3, data.T[0]), data.T, data.t).values.shape == (6,)


def test_indices_select_rows_in_their_order(data):
    model = kernel_ridge.KernelRidge(kernel="rbf").fit(data.X, data.y, data.w)
    rows = [11, 3, -1]
    for name in ("influence_up_loss", "influence_pert", "removal_effect"):
        everything = getattr(model, name)(data.T, data.t)
        some = getattr(model, name)(data.T, data.t, indices=rows)
        np.testing.assert_allclose(some, everything[:, rows], rtol=1e-9, atol=1e-14)


def test_pickles_give_the_same_answers(data):
    model = KernelRidge(kernel="rbf").fit(data.X, data.y)
    influence = Influence(model, data.X, data.y)
    again = pickle.loads(pickle.dumps(influence))
    np.testing.assert_array_equal(again.loo_predict(), influence.loo_predict())


def test_any_function_of_the_decision_values(data):
    model = kernel_ridge.KernelRidge(kernel="rbf").fit(data.X, data.y)
    moved = model.removal_effect(data.T, of="decision_function")
    np.testing.assert_allclose(
        model.removal_effect(data.T, of=lambda eta: eta.mean()), moved.mean(0)
    )
    influence = Influence(model, data.X, data.y)
    one = influence.effect(edits.remove(0), data.T, of=lambda eta: eta.mean())
    assert one.values == pytest.approx(moved[:, 0].mean())
    assert one.method_used == "exact"
    with pytest.raises(AttributeError, match="classifier with probabilities"):
        model.removal_effect(data.T, of="predict_proba")


def test_leverage_is_the_derivative_of_a_prediction_in_its_target(data):
    model = KernelRidge(kernel="rbf").fit(data.X, data.y, sample_weight=data.w)
    influence = Influence(model, data.X, data.y, data.w)
    found = influence.effect([edits.remove(i) for i in (0, 5, 7)], data.T, data.t).leverage
    step = [
        refit(model, data.X, with_weight(data.y, i, data.y[i] + 1.0), data.w, data.X[[i]])[0]
        - model.predict(data.X[[i]])[0]
        for i in (0, 5, 7)
    ]
    np.testing.assert_allclose(found, step, atol=1e-12)


def test_what_has_no_answer_is_refused(data):
    model = kernel_ridge.KernelRidge(kernel="rbf").fit(data.X, data.y)
    assert not hasattr(model, "loo_predict_proba")
    with pytest.raises(TypeError, match="of='decision_function'"):
        model.influence_up_params()
    influence = Influence(model, data.X, data.y)
    with pytest.raises(ValueError, match="hold alpha"):
        influence.effect(edits.remove(0), data.T, data.t, hold="lambda")
    with pytest.raises(ValueError, match="hold alpha"):
        Influence(model, data.X, data.y, hold="lambda")
    with pytest.raises(ValueError, match="'auto' or 'exact'"):
        Influence(model, data.X, data.y, solver="cg")
    with pytest.raises(ValueError, match="float64"):
        Influence(model, data.X, data.y, precision="mixed")
    with pytest.raises(ValueError, match="relabel_effect needs a classifier"):
        model.relabel_effect(data.T, data.t)
    with pytest.raises(ValueError, match="method must be one of"):
        model.removal_effect(data.T, data.t, method="newton")


@pytest.mark.parametrize(
    ("params", "y", "match"),
    [
        (
            {"alpha": 0.0, "kernel": "laplacian"},
            np.arange(N, dtype=float),
            "alpha must be positive",
        ),
        ({"kernel": "sigmoid", "gamma": 5.0}, np.arange(N, dtype=float), "positive semi-definite"),
    ],
    ids=["no-penalty", "indefinite"],
)
@pytest.mark.filterwarnings("ignore:Singular matrix")
def test_models_without_answers_say_why(params, y, match, data):
    model = KernelRidge(**params).fit(data.X, y)
    with pytest.raises(ValueError, match=match):
        Influence(model, data.X, y)


def test_data_that_are_not_those_of_the_fit_are_noticed(data):
    model = KernelRidge(kernel="rbf", gamma=0.4).fit(data.X, data.y)
    with pytest.raises(ValueError, match="rows given to fit"):
        Influence(model, data.X[1:], data.y[1:])
    with pytest.raises(ValueError, match="rows in the same order"):
        Influence(model, data.X, data.y[::-1])
    y = with_weight(data.y, 0, np.nan)
    with pytest.raises(ValueError, match="y must be finite"):
        Influence(model, data.X, y)
    influence = Influence(model, data.X, data.y)
    with pytest.raises(ValueError, match="features"):
        influence.removal_effect(data.T[:, 1:], data.t)
    with pytest.raises(ValueError, match="NaN"):
        influence.removal_effect(with_weight(data.T, 0, np.nan), data.t)


@pytest.mark.filterwarnings("ignore:The fit is not the solution of its problem")
def test_a_fit_in_single_precision_is_on_the_same_rows_to_that_precision(rng):
    """Its kernel matrix is rounded to 1e-7; the order of the rows still shows."""
    X, y = (1e2 * rng.standard_normal((7, 8))).astype(np.float32), rng.standard_normal(7)
    w = 10.0 ** rng.uniform(-1, 8, 7)
    model = KernelRidge(alpha=0.2, kernel="linear").fit(X, y, w)
    kept = np.arange(7) != 2
    truth = KernelRidge(alpha=0.2, kernel="linear").fit(X[kept].astype(float), y[kept], w[kept])
    found = Influence(model, X, y, w).loo_decision_function(method="exact")[2]
    assert found == pytest.approx(truth.predict(X[[2]].astype(float))[0], rel=1e-6)
    with pytest.raises(ValueError, match="must be those of the fit"):
        Influence(model, X[::-1], y, w)
