"""Floors: the arithmetic a question cannot do without, counted, and as bare products of numpy."""

import numpy as np
from scipy.linalg import blas, lapack


def _sizes(problem):
    """n, m, and the parameters per output and in all, in the K - 1 coordinates that matter."""
    K, d = problem.theta.shape
    return len(problem.y), len(problem.y_test), d, max(K - 1, 1)


def _factor_flops(problem):
    n, _, d, k = _sizes(problem)
    return n * (k * d) ** 2 + (k * d) ** 3 / 3


def pair_flops(problem):
    """All rows with all tests."""
    n, m, d, k = _sizes(problem)
    return _factor_flops(problem) + 2 * m * (k * d) ** 2 + 2 * m * n * k * d


def row_flops(problem):
    """One quadratic form for each row."""
    n, _, d, k = _sizes(problem)
    return _factor_flops(problem) + n * (k * d) ** 2


def block_flops(problem):
    """All K leverages of a row, not only one direction."""
    n, _, d, k = _sizes(problem)
    return _factor_flops(problem) + n * k * (k * d) ** 2


def pert_bytes(problem):
    """An answer for each value of the rows and each test."""
    return 8.0 * len(problem.y_test) * problem.X.size


def _factored(problem):
    """The Gram matrices, symmetric, and the factorisation; and a matrix of that size."""
    n, _, d, k = _sizes(problem)
    X = np.random.default_rng(0).standard_normal((n, d))
    A = np.eye(k * d) + 1.0 / (k * d)

    def call():
        for _ in range(k * (k + 1) // 2):
            X.T @ X
        lapack.dpotrf(A, lower=1)

    return call, A


def _scaled(problem):
    n, _, d, k = _sizes(problem)
    return np.random.default_rng(1).standard_normal((n, k * d))


def pair_products(problem):
    factor, A = _factored(problem)
    Z = _scaled(problem)
    T = np.random.default_rng(2).standard_normal((len(problem.y_test), len(A)))

    def call():
        factor()
        (T @ A) @ Z.T

    return call


def row_products(problem):
    factor, A = _factored(problem)
    Z = _scaled(problem)

    def call():
        factor()
        # By blocks that stay in the cache, a triangle with each row.
        for block in np.array_split(Z, -(-Z.nbytes // 2**21)):
            blas.dtrmm(1.0, A, block.T, lower=1)

    return call


def pert_products(problem):
    shape = (len(problem.y_test), *problem.X.shape)
    return lambda: np.full(shape, 1.0)
