"""Products of sparse rows with vectors side by side, against numpy in double precision."""

import numpy as np
import pytest
import scipy.sparse as sp

from skinfluence._compiled.sparse_pairs import products_of_block


@pytest.mark.parametrize("width", [1, 7, 64])
def test_a_block_holds_the_products_of_its_rows_whatever_their_numbers_of_entries(width, rng):
    lengths, p, low, first = np.arange(25), 40, 2, 3
    X = np.zeros((len(lengths), p))
    for row, k in zip(X, lengths, strict=True):
        row[rng.choice(p, k, replace=False)] = rng.standard_normal(k)
    Z = rng.standard_normal((p, width)).astype(np.float32)
    thin = sp.csr_array(X.astype(np.float32))
    K = np.full((20, first + width + 5), np.nan, dtype=np.float32)
    found = K.copy()
    indices, indptr = (one.astype(np.int32) for one in (thin.indices, thin.indptr))
    products_of_block(thin.data, indices, indptr, low, Z, found, first)
    filled = slice(first, first + width)
    rows = X[low : low + 20].astype(np.float32).astype(float)
    # Half a unit of single precision for each term and each sum.
    lost = 2 * p * 2.0**-24 * (np.abs(rows) @ np.abs(Z))
    assert (np.abs(found[:, filled] - rows @ Z) <= lost).all()
    np.testing.assert_array_equal(np.delete(found, np.r_[filled], axis=1), K[:, width:])


def test_a_block_that_ends_before_the_vectors_do_takes_those_that_fit(rng):
    Z = rng.standard_normal((5, 8)).astype(np.float32)
    thin, K = sp.csr_array(np.eye(5, dtype=np.float32)), np.zeros((5, 6), dtype=np.float32)
    indices, indptr = (one.astype(np.int32) for one in (thin.indices, thin.indptr))
    products_of_block(thin.data, indices, indptr, 0, Z, K, 2)
    np.testing.assert_array_equal(K, np.hstack([np.zeros((5, 2)), Z[:, :4]]))
