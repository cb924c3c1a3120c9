"""Bounds of how far single rows of a Hessian can reach, for steps along them."""

import numpy as np

from skinfluence._utils.memory import row_blocks


def check_convex(objective):
    """Refuse losses that curve down at some row.

    Raises
    ------
    ValueError
        If some ``Lambda_i`` is not positive semi-definite.
    """
    hessians = objective.hessians
    sizes = np.einsum("ikk->i", hessians)
    convex = (sizes >= 0).all()
    if convex and hessians.shape[1] > 1:
        shift = 1e-10 * sizes + np.finfo(float).tiny
        try:
            np.linalg.cholesky(hessians + shift[:, None, None] * np.eye(hessians.shape[1]))
        except np.linalg.LinAlgError:
            convex = False
    if not convex:
        raise ValueError(
            "LiSSA needs a convex loss: along single rows that curve down its steps grow. Got one "
            "with negative second derivatives; use solver='exact' or solver='cg'."
        )


def batch_scale(curvature, sizes, metric, bound, batch_size):
    """``(1 - 1/m) |H| + sigma_1 / m`` for batches of m rows, in the norm of ``metric``.

    Parameters
    ----------
    curvature : Curvature
    sizes : ndarray of shape (n_samples,)
        ``w_i |Lambda_i|``, or more.
    metric : ndarray of shape (n_columns,)
        The D of the columns.
    bound : float
        ``sigma_1``.
    batch_size : int
    """
    if batch_size == 1:
        return bound
    largest = min(bound, norm_bound(curvature, sizes, metric))
    return (1.0 - 1.0 / batch_size) * largest + bound / batch_size


def norm_bound(curvature, sizes, metric, rounds=4):
    """An upper bound of ``|D^-1/2 H D^-1/2|``, for the price of ``rounds`` products of one output.

    The Hessian of all outputs is below that of one with ``|Lambda_i|`` for each, which is below the
    same with the absolute values of the rows; and for a matrix A of non-negative entries
    ``max_j (A u)_j / u_j`` is a bound whatever the positive vector u.
    """
    design, root = curvature.objective.design, np.sqrt(metric)
    u = np.ones(len(metric))
    for _ in range(rounds):
        v = curvature.penalty / metric * u
        for block in row_blocks(design.n_samples, 16 * design.n_columns):
            rows = design.take(block)
            rows = type(design)(abs(rows.X), abs(design.intercept))
            moved = sizes[block, None] * rows.multiply((u / root)[:, None])
            v += rows.adjoint(moved)[:, 0] / root
        bound = float((v / u).max())
        # Entries of columns that no row uses must stay positive.
        u = np.maximum(v / v.max(), 1e-12)
    return bound
