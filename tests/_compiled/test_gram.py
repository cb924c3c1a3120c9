"""Sparse Gram matrices and quadratic forms agree with dense algebra."""

import numpy as np
import pytest
import scipy.sparse as sp

from skinfluence._compiled import gram
from skinfluence._compiled.lines import Lines
from tests.versions import random_csr


@pytest.fixture
def design():
    rng = np.random.default_rng(0)
    X = random_csr(rng, (80, 9), 0.25)
    X.data[:] = rng.normal(size=X.nnz)
    assert np.any(np.diff(X.indptr) == 0)
    return X, rng


@pytest.mark.parametrize("intercept", [None, 2.0], ids=["free", "intercept"])
def test_sandwich_is_the_weighted_gram_matrix(design, intercept):
    X, rng = design
    weight = rng.choice([0.0, 1.0, -0.5], X.shape[0])
    dense = X.toarray()
    if intercept is not None:
        dense = np.column_stack([dense, np.full(len(dense), intercept)])
    A = gram.sandwich(X, weight, intercept)
    np.testing.assert_allclose(A, dense.T @ (weight[:, None] * dense), atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("m", [1, 48, 50])
def test_many_gram_matrices_and_forms_at_once(design, m, dtype):
    X, rng = design
    lines = Lines(X)
    weights = rng.normal(size=(m, X.shape[0]))
    A = lines.grams(weights, dtype)
    dense = X.toarray()
    atol = 1e-13 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(A, np.einsum("if,mi,ig->mfg", dense, weights, dense), atol=atol)
    forms = lines.forms(A, dtype)
    expected = np.einsum("if,mfg,ig->im", dense, A, dense)
    np.testing.assert_allclose(forms, expected, atol=10 * atol)


@pytest.mark.parametrize("intercept", [None, 2.0], ids=["free", "intercept"])
def test_quadratic_forms_of_rows(design, intercept):
    X, rng = design
    dense = X.toarray()
    if intercept is not None:
        dense = np.column_stack([dense, np.full(len(dense), intercept)])
    A = rng.normal(size=(dense.shape[1], dense.shape[1]))
    A = A + A.T
    h = gram.quadratic_forms(X, A, intercept)
    np.testing.assert_allclose(h, np.einsum("if,fg,ig->i", dense, A, dense), atol=1e-12)


def test_row_products_are_the_upper_triangle_of_the_kernel(design):
    X, _ = design
    K = gram.row_products(X)
    np.testing.assert_allclose(K, np.triu((X @ X.T).toarray()), atol=1e-13)
    K = gram.row_products(X[:20], X)
    np.testing.assert_allclose(K, (X[:20] @ X.T).toarray(), atol=1e-13)


def test_an_empty_design_has_zero_forms():
    X = sp.csr_array((3, 2))
    np.testing.assert_array_equal(gram.sandwich(X, np.ones(3)), np.zeros((2, 2)))
    np.testing.assert_array_equal(gram.quadratic_forms(X, np.eye(2)), np.zeros(3))
