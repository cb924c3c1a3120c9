"""The chord pass agrees with exact arithmetic and with its numpy twin."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from skinfluence._compiled import chord
from skinfluence._compiled.blocks import BLOCK
from skinfluence._compiled.chord_softmax import chord_softmax
from skinfluence._compiled.chord_sparse import chord_sparse
from skinfluence._compiled.packed_rows import pack_rows
from tests._compiled import twins
from tests.versions import random_csr

DELTAS = [1e-12, 1e-8, 1e-4, 0.03, 0.0501, 0.3, 0.999, 1.001, 4.0, 50.0]


def exact_gradient(loss, eta, y):
    """Gradient and curvature in decimal arithmetic."""
    if loss == "logistic":
        p = 1 / (1 + (-eta).exp())
        return p, p * (1 - p)
    if loss == "smooth_hinge":
        t = Decimal(HINGE_T)
        p = 1 / (1 + (-(1 - y * eta) / t).exp())
        return -y * p, p * (1 - p) / t
    power = Decimal(POWERS[loss])
    a, b = 2 - power, 1 - power
    grow, fall = (a * eta).exp(), y * (b * eta).exp()
    return grow - fall, a * grow - b * fall


HINGE_T = 0.25
POWERS = {"poisson": 1.0, "tweedie": 1.5, "gamma": 2.0}
LOSSES = ["logistic", "smooth_hinge", *POWERS]


def exact_remainder(loss, eta, y, delta):
    with localcontext() as context:
        context.prec = 90
        eta, y, delta = Decimal(float(eta)), Decimal(float(y)), Decimal(float(delta))
        g, h = exact_gradient(loss, eta, y)
        return float(exact_gradient(loss, eta + delta, y)[0] - g - h * delta)


def terms_of(loss, eta, y):
    if loss == "logistic":
        return chord.logistic_terms(eta)
    if loss == "smooth_hinge":
        return chord.smooth_hinge_terms(eta, y, HINGE_T)
    return chord.tweedie_terms(eta, y, POWERS[loss])


def targets(loss, n, rng):
    if loss == "smooth_hinge":
        return rng.choice([-1.0, 1.0], n)
    return rng.integers(1, 4, n).astype(float)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def displacements(rng, n_blocks, n_aug, n_samples, size, dtype=np.float64):
    U = (rng.normal(size=(n_blocks, n_aug, BLOCK)) * size).astype(dtype)
    skip = rng.integers(-1, n_samples, size=(n_blocks, BLOCK))
    skip[0, :3] = [-1, 4, 4]
    return U, skip


def one_hot(rng, n_samples, n_features=12):
    X = random_csr(rng, (n_samples, n_features), 0.3)
    X.data[:] = rng.choice([1.0, 1.0, -0.5], X.nnz)
    return X


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("compiled", [True, False], ids=["numba", "numpy"])
def test_remainder_has_no_cancellation(loss, compiled):
    """Relative to |rho| for a displacement of any size, away from a zero of rho."""
    eta = np.array([-30.0, -3.0, -0.4, 1e-3, 0.7, 2.5, 20.0])
    y = np.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0])
    if loss != "smooth_hinge":
        y = np.array([1.0, 2.0, 1.0, 3.0, 1.0, 1.5, 2.0])
    terms = terms_of(loss, eta, y)
    delta = np.outer(DELTAS, [1.0, -1.0]).ravel()
    eye = sp.csr_array(sp.eye(len(eta)))
    if compiled:
        U = np.zeros((1, len(eta), BLOCK))
        U[0, :, : len(delta)] = delta
        # Each column alone too: the short series is used when a whole block is small.
        blocks = [U, *(np.where(np.arange(BLOCK) == b, U, 0.0) for b in range(6))]
        rows = pack_rows(eye, eta, y)
        skip = np.full((1, BLOCK), -1)
        got = [chord_sparse(rows, terms, np.ones(len(eta)), block, skip)[0][0] for block in blocks]
        rho = got[0][:, : len(delta)]
        for b, alone in enumerate(got[1:]):
            np.testing.assert_allclose(alone[:, b], rho[:, b], rtol=1e-7)
            rho[:, b] = alone[:, b]
    else:
        rho = twins.remainder(terms, np.tile(delta, (len(eta), 1)))
    for j in range(len(eta)):
        want = np.array([exact_remainder(loss, eta[j], y[j], d) for d in delta])
        # Round-off is below 1e-13, except near a zero of rho (the third derivative
        # changes sign near eta = 1e-3 here), where rounding eta alone costs more.
        rtol = 1e-9 if loss == "tweedie" or not compiled else 1e-11
        np.testing.assert_allclose(rho[j], want, rtol=rtol, err_msg=f"eta={eta[j]}")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("intercept", [None, 2.0], ids=["free", "intercept"])
@pytest.mark.parametrize("size", [1e-3, 0.2, 3.0])
def test_packed_rows_give_the_plain_sums(loss, intercept, size, rng):
    """Duplicates, empty rows, zero weights and skipped rows included."""
    n = 300
    X = one_hot(rng, n)
    theta = rng.normal(size=X.shape[1])
    eta, y = X @ theta + 0.3, targets(loss, n, rng)
    weight = rng.choice([0.0, 1.0, 0.3], n)
    U, skip = displacements(rng, 2, X.shape[1] + (intercept is not None), n, size)
    terms = terms_of(loss, eta, y)
    rows = pack_rows(X, eta, y)
    assert len(rows.first) < n
    assert np.any(np.diff(X.indptr) == 0)
    want, want_r = twins.chord(X, terms, weight, U, skip, intercept)
    for S, r in (
        chord_sparse(rows, terms, weight, U, skip, intercept),
        chord.chord_dense(X.toarray(), terms, weight, U, skip, intercept),
        chord.chord_dense(X.toarray(), terms, weight, U, skip, intercept, block_bytes=2**14),
    ):
        # Sums in another order: relative to the largest entry of each displacement.
        scale = np.abs(want).max(axis=1, keepdims=True)
        assert np.all(np.abs(S - want) <= 1e-11 * scale)
        np.testing.assert_allclose(r, want_r, rtol=1e-13)


def test_float32_pass_is_accurate_to_its_precision(rng):
    n = 3000
    X = one_hot(rng, n)
    eta = X @ rng.normal(size=X.shape[1])
    U, skip = displacements(rng, 1, X.shape[1] + 1, n, 0.1)
    terms, weight = chord.logistic_terms(eta), np.ones(n)
    want, want_r = twins.chord(X, terms, weight, U, skip, 1.0)
    rows = pack_rows(X, eta)
    single = U.astype(np.float32)
    for S, r in (
        chord_sparse(rows, terms, weight, single, skip, 1.0),
        chord.chord_dense(X.toarray().astype(np.float32), terms, weight, single, skip, 1.0),
    ):
        np.testing.assert_allclose(S, want, atol=1e-5 * np.abs(want).max())
        np.testing.assert_allclose(r, want_r, rtol=1e-5)


def test_the_short_series_has_the_digits_of_each_precision():
    eta = np.linspace(-12, 12, 401)
    terms = chord.logistic_terms(eta)
    series = chord.series_of(terms.tilt)[0]
    for bound, digits in ((chord.SERIES_BOUND, 1e-15), (chord.SINGLE_SERIES_BOUND, 2e-7)):
        for d in (bound, -bound):
            want = twins.remainder(terms, np.full((len(eta), 1), d))[:, 0]
            got = terms.curv[0] * d**2 * (series @ d ** np.arange(8))
            assert (np.abs(got - want) <= digits * terms.curv[0] * d**2).all()


def test_more_blocks_than_stand_side_by_side_are_those_of_each(rng, monkeypatch):
    n = 200
    X = one_hot(rng, n)
    eta = X @ rng.normal(size=X.shape[1])
    U, skip = displacements(rng, 5, X.shape[1], n, 0.1)
    asked = X.toarray(), chord.logistic_terms(eta), np.ones(n), U, skip
    whole = chord.chord_dense(*asked)
    monkeypatch.setattr(chord, "WIDE", 2)
    for got, want in zip(chord.chord_dense(*asked), whole, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def test_result_does_not_depend_on_the_number_of_threads(rng):
    X = one_hot(rng, 2500)
    eta = X @ rng.normal(size=X.shape[1])
    U, skip = displacements(rng, 1, X.shape[1], 2500, 0.1)
    rows = pack_rows(X, eta, np.arange(2500.0))
    assert len(rows.chunk) > 2
    args = rows, chord.logistic_terms(eta), np.ones(2500), U, skip
    with threadpool_limits(1, user_api="blas"):
        one = chord_sparse(*args)
    with threadpool_limits(3, user_api="blas"):
        many = chord_sparse(*args)
    np.testing.assert_array_equal(one[0], many[0])
    np.testing.assert_array_equal(one[1], many[1])


def test_skipping_one_of_two_equal_rows_keeps_the_other():
    X = sp.csr_array(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    weight = np.array([2.0, 3.0, 1.0])
    terms = chord.logistic_terms(np.array([0.5, 0.5, 0.1]))
    rows = pack_rows(X, np.array([0.5, 0.5, 0.1]))
    U = np.zeros((1, 2, BLOCK))
    U[0, 0, :4] = 0.4
    skip = np.full((1, BLOCK), -1)
    skip[0, :3] = [0, 1, 2]
    S, r = chord_sparse(rows, terms, weight, U, skip)
    np.testing.assert_allclose(S[0, 0, :4] / S[0, 0, 3], [0.6, 0.4, 1.0, 1.0])
    np.testing.assert_array_equal(r[0, :4], 0.4)
    weight[1] = 0.0
    S, r = chord_sparse(rows, terms, weight, U, skip)
    assert S[0, 0, 0] == 0.0
    assert r[0, 0] == 0.0


@pytest.mark.parametrize("eta", [-800.0, 800.0])
def test_saturated_rows_may_come_back(eta):
    """The curvature underflows and yet a large displacement has a remainder."""
    terms = chord.logistic_terms(np.array([eta]))
    rows = pack_rows(sp.csr_array(np.ones((1, 1))), np.array([eta]))
    U = np.full((1, 1, BLOCK), -eta)
    skip = np.full((1, BLOCK), -1)
    S, _ = chord_sparse(rows, terms, np.ones(1), U, skip)
    np.testing.assert_allclose(S[0, 0], 0.5 * -np.sign(eta))


def softmax(eta):
    e = np.exp(eta - eta.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", DELTAS)
def test_softmax_remainder_matches_exact_arithmetic(size, rng):
    eta = rng.normal(size=(5, 3)) * 2
    p = softmax(eta)
    delta = size * rng.normal(size=(5, 3, 1))
    rho = twins.softmax_remainder(eta, p, delta)[..., 0]
    with localcontext() as context:
        context.prec = 90
        for j in range(5):
            before = [Decimal(float(v)) for v in p[j]]
            total = sum(before)
            before = [v / total for v in before]
            d = [Decimal(float(v)) for v in delta[j, :, 0]]
            mean = sum(a * b for a, b in zip(before, d, strict=True))
            grown = [a * (b - mean).exp() for a, b in zip(before, d, strict=True)]
            Z = sum(grown) - 1
            q = [(b - mean).exp() - 1 - (b - mean) for b in d]
            for k in range(3):
                want = grown[k] / (1 + Z) - before[k] - before[k] * (d[k] - mean)
                terms = before[k] * (q[k] + Z * abs(1 + d[k] - mean)) / (1 + Z)
                # p is rounded, and so is sum p: an error of second order in delta.
                assert abs(Decimal(float(rho[j, k])) - want) <= Decimal("2e-13") * terms


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1e-6, 0.1, 3.0, 400.0])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_softmax_pass_gives_the_plain_sums(dtype, size, sparse, rng):
    n, d, K = 150, 5, 3
    X = rng.normal(size=(n, d)).astype(dtype)
    X[3] = 0.0
    eta = rng.normal(size=(n, K))
    p, weight = softmax(eta), rng.choice([0.0, 1.0, 0.5], n)
    U = (rng.normal(size=(2, d + 1, K, BLOCK)) * size).astype(dtype)
    skip = rng.integers(-1, n, size=(2, BLOCK))
    design = sp.csr_array(X) if sparse else X
    S, r = chord_softmax(design, eta, p, weight, U, skip, 1.0, block_bytes=2**16)
    X1 = np.column_stack([X, np.ones(n)]).astype(np.float64)
    delta = np.einsum("jf,qfkb->qjkb", X1, U.astype(np.float64))
    for q in range(2):
        for b in range(BLOCK):
            if skip[q, b] >= 0:
                delta[q, skip[q, b], :, b] = 0.0
        rho = weight[:, None, None] * twins.softmax_remainder(eta, p, delta[q])
        want = np.einsum("jf,jkb->fkb", X1, rho)
        scale = np.abs(want).max(axis=(0, 1))
        tol = 1e-9 if dtype == np.float64 else 2e-4
        # At 1e-6 a float32 remainder keeps what third-order cancellation leaves.
        assert np.all(np.abs(S[q] - want) <= tol * scale)
        spread = delta[q][weight > 0]
        spread = (spread.max(axis=1) - spread.min(axis=1)).max(axis=0)
        np.testing.assert_allclose(r[q], spread, rtol=1e-12 if dtype == np.float64 else 1e-5)
