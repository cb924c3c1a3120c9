"""Kernels: values are scikit-learn's, gradients are finite differences'."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics.pairwise import pairwise_kernels

from skinfluence.kernel import functions as kernels
from skinfluence.kernel.design import KernelDesign

NAMES = {
    "linear": {},
    "rbf": {"gamma": 0.3},
    "poly": {"gamma": 0.2, "degree": 3, "coef0": 0.7},
    "laplacian": {"gamma": 0.4},
    "sigmoid": {"gamma": 0.1, "coef0": 0.2},
    "cosine": {},
    "chi2": {"gamma": 0.5},
    "additive_chi2": {},
}
SMOOTH = ("linear", "rbf", "poly", "laplacian", "sigmoid")
SPARSE = ("linear", "rbf", "poly", "laplacian", "sigmoid", "cosine")


@pytest.fixture
def rows(rng):
    return rng.uniform(0.1, 2.0, (700, 3)), rng.uniform(0.1, 2.0, (6, 3))


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_scikit_learn(name, rows):
    X, Z = rows
    kernel = kernels.kernel_of(name, 3, **NAMES[name])
    np.testing.assert_array_equal(kernel(X, Z), pairwise_kernels(X, Z, metric=name, **NAMES[name]))


@pytest.mark.parametrize("name", ["rbf", "poly", "laplacian", "sigmoid", "chi2"])
def test_gamma_left_out_is_that_of_scikit_learn(name, rows):
    X, Z = rows
    expected = pairwise_kernels(X, Z, metric=name)
    np.testing.assert_array_equal(kernels.kernel_of(name, 3)(X, Z), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_matrix_is_exactly_symmetric(name, rows):
    X, _ = rows
    kernel = kernels.kernel_of(name, 3, **NAMES[name])
    K = kernel(X)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(np.triu(K), np.triu(pairwise_kernels(X, **_named(name))))
    np.testing.assert_allclose(kernel.diagonal(X), K.diagonal(), rtol=1e-14)


def _named(name):
    return {"metric": name, **NAMES[name]}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_rows_have_the_values_of_dense_ones(name, rows, rng):
    X, Z = rows
    X = X * (rng.uniform(size=X.shape) < 0.5)
    kernel = kernels.kernel_of(name, 3, **NAMES[name])
    A, B = sp.csr_array(X), sp.csr_array(Z)
    np.testing.assert_allclose(kernel(A, B), kernel(X, Z), rtol=1e-12)
    np.testing.assert_allclose(kernel(A), kernel(X), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(kernel.diagonal(A), kernel.diagonal(X), rtol=1e-12)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_are_central_differences(name, sparse, rows, rng):
    Z, X = rows
    Z = Z[:20]
    coef = rng.standard_normal((20, 4))
    kernel = kernels.kernel_of(name, 3, **NAMES[name])
    found = kernel.grad_combination(
        *((sp.csr_array(X), sp.csr_array(Z)) if sparse else (X, Z)), coef
    )
    step = 1e-6
    expected = np.empty_like(found)
    for feature, e in enumerate(np.eye(3) * step):
        expected[:, :, feature] = ((kernel(X + e, Z) - kernel(X - e, Z)) @ coef).T / (2 * step)
    # Central differences at 1e-6 in float64.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


def test_rbf_gradients_do_not_lose_digits_far_from_the_origin(rng):
    X, Z, coef = rng.standard_normal((5, 3)), rng.standard_normal((9, 3)), np.ones((9, 1))
    kernel = kernels.RBF(0.5)
    near = kernel.grad_combination(X, Z, coef)
    far = kernel.grad_combination(X + 1024.0, Z + 1024.0, coef)
    np.testing.assert_allclose(far, near, rtol=1e-9)


@pytest.mark.parametrize("degree", [1, 1.5, 2])
def test_gradients_of_low_degrees(degree, rows):
    X, Z = rows
    found = kernels.Poly(0.5, degree, 2.0).grad_combination(Z, X, np.ones((len(X), 1)))[0]
    inner = 0.5 * Z @ X.T + 2.0
    slopes = degree * 0.5 * inner ** (degree - 1)
    np.testing.assert_allclose(found, slopes @ X, rtol=1e-12)


def test_at_a_kink_the_laplacian_gradient_is_the_mean_of_both_sides():
    x = np.array([[1.0, 2.0]])
    assert not kernels.Laplacian(0.5).grad_combination(x, x, np.ones((1, 1))).any()


def test_callables_and_matrices_have_values_but_no_gradient(rows):
    X, Z = rows
    mine = kernels.kernel_of(lambda a, b, power: float(a @ b) ** power, 3, params={"power": 2})
    np.testing.assert_allclose(mine(X[:5], Z), (X[:5] @ Z.T) ** 2)
    np.testing.assert_allclose(mine.diagonal(X[:5]), (X[:5] ** 2).sum(axis=1) ** 2)
    with pytest.raises(TypeError, match="must be known"):
        mine.grad_combination(X[:5], Z, np.ones((6, 1)))
    given = kernels.kernel_of("precomputed", 4)
    np.testing.assert_array_equal(given(X[:4, :3], X), X[:4, :3])
    with pytest.raises(TypeError, match="among themselves"):
        given.diagonal(X[:4])


def test_an_unknown_name_says_which_are_known():
    with pytest.raises(ValueError, match=r"laplacian.*Got 'matern'"):
        kernels.kernel_of("matern", 3)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (kernels.Linear(), True),
        (kernels.Poly(0.5, 3, 1.0), True),
        (kernels.Poly(0.5, 3, -1.0), False),
        (kernels.Poly(0.5, 2.5, 1.0), False),
        (kernels.Sigmoid(0.5), False),
    ],
    ids=repr,
)
def test_kernels_say_whether_they_are_positive_semidefinite(kernel, expected):
    assert kernel.is_psd is expected


def test_a_design_is_rows_and_a_kernel(rows):
    X, Z = rows
    design = KernelDesign(X, kernels.RBF(0.3))
    assert (design.n_samples, design.n_features) == (700, 3)
    part = design.take([3, 5])
    np.testing.assert_allclose(part.cross(design.like(Z)), design.kernel(X[[3, 5]], Z))
    np.testing.assert_array_equal(design.like(Z.tolist()).X, Z)
    assert sp.issparse(design.like(sp.csc_array(Z)).X)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("offset", [1e3, 1e7])
def test_an_offset_that_changes_no_distance_changes_no_rbf_value(rng, offset, sparse):
    """Eighths are exact beside 1e7; the squares of 1e7 are not beside those of eighths."""
    X, Z = np.round(8.0 * rng.standard_normal((50, 3))) / 8.0, np.round(rng.standard_normal((9, 3)))
    kernel = kernels.RBF(0.7)
    near = np.exp(-0.7 * ((X[:, None] - Z) ** 2).sum(axis=2))
    away = [sp.csr_array(A + offset) if sparse else A + offset for A in (X, Z)]
    np.testing.assert_allclose(kernel(*away), near, rtol=1e-12, atol=1e-15)
    K = kernel(away[0])
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_allclose(K, kernel(X), rtol=1e-12, atol=1e-15)


def test_groups_of_rows_far_apart_keep_the_distances_within_them(rng):
    """No middle is near both: differences are taken."""
    X = np.round(8.0 * rng.standard_normal((40, 2))) / 8.0
    X[20:] += 1e8
    K = kernels.RBF(0.5)(X)
    within = np.exp(-0.5 * ((X[:20, None] - X[:20]) ** 2).sum(axis=2))
    np.testing.assert_allclose(K[:20, :20], within, rtol=1e-14)
    assert not K[:20, 20:].any()
