"""Designs: every product equals the one with the explicit matrix [X s]."""

import numpy as np
import pytest
import scipy.sparse as sp

from skinfluence._utils import memory
from skinfluence.design import design_of
from skinfluence.design.dense import DenseDesign
from skinfluence.design.sparse import SparseDesign

KINDS = pytest.mark.parametrize("kind", ["dense", "csr"])
INTERCEPTS = pytest.mark.parametrize("intercept", [1.0, 0.0, 3.0])


def make(kind, intercept, n=17, d=5):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * (rng.uniform(size=(n, d)) < 0.7)
    full = np.column_stack([X, np.full(n, intercept)]) if intercept else X
    return design_of(sp.csr_array(X) if kind == "csr" else X, intercept), full


@KINDS
@INTERCEPTS
def test_products_equal_those_with_the_explicit_matrix(kind, intercept, rng):
    design, full = make(kind, intercept)
    n, d = full.shape
    assert (design.n_samples, design.n_columns) == (n, d)
    V, U = rng.standard_normal((d, 3)), rng.standard_normal((n, 2))
    A, weights = rng.standard_normal((d, d)), rng.uniform(size=n)
    A = A + A.T
    np.testing.assert_allclose(design.multiply(V), full @ V, atol=1e-13)
    np.testing.assert_allclose(design.adjoint(U), full.T @ U, atol=1e-13)
    np.testing.assert_allclose(design.dense_rows(), full)
    np.testing.assert_allclose(
        design.grams(weights[None])[0], (full.T * weights) @ full, atol=1e-13
    )
    np.testing.assert_allclose(
        design.quadratics(A[None])[:, 0], np.einsum("ia,ab,ib->i", full, A, full), atol=1e-12
    )
    np.testing.assert_allclose(design.squared_columns(U**2), (full**2).T @ U**2, atol=1e-13)
    scale = rng.uniform(size=d)
    np.testing.assert_allclose(design.squared_norms(scale), full**2 @ scale, atol=1e-13)


@KINDS
def test_gram_takes_weights_of_either_sign(kind, rng):
    """A relabelled row takes and gives weight; outside 1 <= power <= 2 Tweedie curves down."""
    design, full = make(kind, 1.0)
    weights = rng.standard_normal(17)
    np.testing.assert_allclose(
        design.grams(weights[None])[0], (full.T * weights) @ full, atol=1e-12
    )


@KINDS
@pytest.mark.parametrize("other", ["dense", "csr"])
def test_kernel_leaves_the_intercept_out(kind, other, rng):
    design, full = make(kind, 2.0)
    Z = rng.standard_normal((4, 5))
    scale = rng.uniform(size=5)
    found = design.kernel(design_of(sp.csr_array(Z) if other == "csr" else Z, 2.0), scale)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, (full[:, :-1] * scale) @ Z.T, atol=1e-13)


@KINDS
@INTERCEPTS
def test_combine_is_its_formula(kind, intercept, rng):
    design, full = make(kind, intercept)
    coefficients = rng.standard_normal((17, 3))
    S = rng.standard_normal((3, full.shape[1], 4))
    out = np.empty((4, 17))
    design.combine(coefficients, S, out)
    np.testing.assert_allclose(out, np.einsum("ik,id,kdm->mi", coefficients, full, S), atol=1e-12)


@KINDS
def test_blocks_do_not_change_answers(kind, monkeypatch, rng):
    design, full = make(kind, 1.0)
    original = memory.row_blocks
    for module in ("base", "dense", "sparse"):
        monkeypatch.setattr(
            f"skinfluence.design.{module}.row_blocks",
            lambda n, size, budget=0: original(n, size, budget=3 * size),
        )
    weights, A = rng.uniform(size=17), rng.standard_normal((6, 6))
    A = A + A.T
    S, out = rng.standard_normal((1, 6, 2)), np.empty((2, 17))
    np.testing.assert_allclose(
        design.grams(weights[None])[0], (full.T * weights) @ full, atol=1e-13
    )
    np.testing.assert_allclose(
        design.quadratics(A[None])[:, 0], ((full @ A) * full).sum(axis=1), atol=1e-12
    )
    design.combine(np.ones((17, 1)), S, out)
    np.testing.assert_allclose(out, (full @ S[0]).T, atol=1e-13)


@KINDS
def test_take_and_like_keep_the_kind_and_the_intercept(kind):
    design, full = make(kind, 3.0)
    for rows in (slice(2, 9), np.array([5, 5, 0])):
        part = design.take(rows)
        assert type(part) is type(design)
        np.testing.assert_array_equal(part.dense_rows(), full[rows])
    np.testing.assert_array_equal(design.like(full[:2, :-1]).dense_rows(), full[:2])


@pytest.mark.parametrize("make_sparse", [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.coo_array])
def test_any_sparse_input_becomes_csr_in_float64(make_sparse):
    X = make_sparse(np.eye(3, dtype=np.float32))
    design = design_of(X)
    assert isinstance(design, SparseDesign)
    assert design.X.format == "csr"
    assert design.X.dtype == np.float64


def test_float64_rows_are_not_copied():
    X = np.eye(3)
    assert isinstance(design_of(X), DenseDesign)
    assert np.shares_memory(design_of(X).X, X)
    S = sp.csr_array(X)
    assert np.shares_memory(design_of(S).X.data, S.data)


@pytest.mark.parametrize(("n", "size"), [(0, 8), (1, 8), (10, 2**40), (10, 0), (7, 2**25)])
def test_row_blocks_cover_every_row_once(n, size):
    rows = [i for block in memory.row_blocks(n, size) for i in range(n)[block]]
    assert rows == list(range(n))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("intercept", [0.0, 1.5])
def test_many_gram_matrices_of_mostly_zero_rows(monkeypatch, sparse, intercept):
    """Sparse and mostly zero dense rows take the compiled way, with the same answers."""
    monkeypatch.setattr("skinfluence.design.sparse.COMPILED_ENTRIES", 0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20)) * (rng.random((200, 20)) < 0.2)
    X[:, 3] = 0.0
    design = design_of(sp.csr_array(X) if sparse else X, intercept)
    assert design._pays_in_lines(9)
    weights = rng.normal(size=(9, 200))
    rows = design.dense_rows()
    A = design.grams(weights)
    np.testing.assert_allclose(A, np.einsum("if,mi,ig->mfg", rows, weights, rows), atol=1e-12)
    forms = design.quadratics(A)
    np.testing.assert_allclose(forms, np.einsum("if,mfg,ig->im", rows, A, rows), atol=1e-10)


@pytest.mark.parametrize("intercept", [0.0, 1.5])
@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-12), (np.float32, 1e-3)])
def test_forms_of_many_matrices_are_those_of_each(monkeypatch, intercept, dtype, atol):
    """By products with pairs of columns, whatever the blocks, and without columns of zeros; so are Gram matrices."""
    monkeypatch.setattr("skinfluence.design.dense.PAIRS_BYTES", 2000)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 5))
    X[:, 2] = 0.0
    design = design_of(X, intercept)
    rows = design.dense_rows()
    A = rng.normal(size=(40, *2 * rows.shape[1:]))
    A += A.transpose(0, 2, 1)
    forms = design.quadratics(A, dtype)
    assert forms.dtype == dtype
    np.testing.assert_allclose(forms, np.einsum("if,mfg,ig->im", rows, A, rows), atol=atol)
    weights = rng.normal(size=(40, 30))
    grams = design.grams(weights, dtype)
    assert grams.dtype == dtype
    np.testing.assert_allclose(grams, np.einsum("if,mi,ig->mfg", rows, weights, rows), atol=atol)
