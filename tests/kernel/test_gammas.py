"""Kernel values at many gammas from those at a few are those at each gamma."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics.pairwise import laplacian_kernel, polynomial_kernel, rbf_kernel

from skinfluence.kernel import gammas as module
from skinfluence.kernel.functions import RBF, Laplacian, Poly
from skinfluence.kernel.gammas import KernelsNear, Nodes, groups_of

KERNELS = {
    "rbf": (RBF(0.2), rbf_kernel),
    "laplacian": (Laplacian(0.2), laplacian_kernel),
    "poly": (Poly(0.2, 3, 1.0), lambda X, Z, gamma: polynomial_kernel(X, Z, 3, gamma, 1.0)),
}


def rows(n=30):
    """Pairs near each other and very far."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 3)) * np.exp(rng.standard_normal((n, 1)))


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "made anew"])
@pytest.mark.parametrize("name", KERNELS)
def test_products_and_blocks_are_those_of_each_gamma(name, kept, monkeypatch):
    if not kept:
        monkeypatch.setattr(module, "KEPT_BYTES", 0)
    kernel, truth = KERNELS[name]
    rng, X = np.random.default_rng(1), rows()
    gammas = 0.2 * rng.uniform(0.98, 1.02, 25)
    near = KernelsNear(kernel, X, gammas, 1e-13)
    assert len(near.nodes.gammas) < 10
    edits, B = np.array([3, 24, 0, 9] * 3), rng.standard_normal((12, 30))
    B[:, :7] = 0.0
    some, Z = rng.integers(0, 30, (12, 4)), rng.standard_normal((12, 3))
    expected = [truth(X, X, gammas[e]) for e in edits]
    size = max(np.abs(K).max() for K in expected)
    close = {"rtol": 0, "atol": 1e-12 * size}
    for some_edits in (slice(None), slice(0, 2)):
        found = near.times(edits[some_edits], B[some_edits])
        wanted = [b @ K for b, K in zip(B[some_edits], expected, strict=False)]
        np.testing.assert_allclose(found, wanted, **close)
    at = [b @ truth(X, Z, gammas[e]) for b, e in zip(B, edits, strict=True)]
    np.testing.assert_allclose(near.times(edits, B, Z), at, **close)
    np.testing.assert_allclose(near.each(edits, B, Z), np.diag(at), **close)
    blocks = [K[np.ix_(r, r)] for K, r in zip(expected, some, strict=True)]
    np.testing.assert_allclose(near.among(edits, some), blocks, **close)
    thin = KernelsNear(kernel, sp.csr_array(X), gammas, 1e-13)
    np.testing.assert_allclose(thin.times(edits, B), near.times(edits, B), **close)


@pytest.mark.parametrize("error", [1e-3, 1e-6, 1e-10])
@pytest.mark.parametrize("kernel", [RBF, Laplacian])
def test_no_value_is_further_off_than_the_bound(kernel, error):
    """At any distance: the bound is a maximum over all of them, and a tenth of it is reached."""
    gammas = np.linspace(0.9, 1.1, 400)
    nodes = Nodes.of(kernel(1.0), gammas, error)
    assert 1e-3 * error < nodes.error <= error
    D = np.geomspace(1e-6, 100.0, 3000)
    found = nodes.weights @ np.exp(-nodes.gammas[:, None] * D)
    off = np.abs(found - np.exp(-gammas[:, None] * D)).max()
    assert 0.1 * nodes.error < off <= nodes.error


def test_few_gammas_are_their_own_nodes():
    nodes = Nodes.of(RBF(1.0), np.array([1.0, 1.02, 1.0]), 1e-13)
    np.testing.assert_array_equal(nodes.gammas, [1.0, 1.02])
    np.testing.assert_array_equal(nodes.weights, [[1, 0], [0, 1], [1, 0]])
    assert nodes.error == 0.0


def test_groups_hold_every_gamma_once_and_are_narrow():
    gammas = np.random.default_rng(0).lognormal(0.0, 0.2, 200)
    groups = groups_of(gammas)
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(200))
    assert all(np.ptp(np.log(gammas[one])) <= np.log(module.RATIO) for one in groups)
