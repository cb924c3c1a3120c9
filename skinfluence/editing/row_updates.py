"""What the rows of an edit do to a Hessian and a gradient that are kept along a stream."""

import numpy as np

from skinfluence._utils.weights import weigh


def updates(follower, before, after, touched, at, H, gradient):
    """An edit in a kept Hessian and its gradient.

    Parameters
    ----------
    follower : Follower
    before, after : Objective
        At the same parameters.
    touched : ndarray of int, shape (m,)
        Rows that the edit changes, new ones included.
    at : ndarray of shape (n_samples, n_outputs)
        Where the curvature of each row was looked at; overwritten for these rows.
    H : ndarray of shape (n_parameters, n_parameters)
        Overwritten.
    gradient : ndarray of shape (n_parameters,)
        Overwritten.

    Returns
    -------
    lost : float
        Share of the factored Hessian that is taken, at most: not positive.
    size : float
        Largest ``|x_j|^2`` in its inverse of a row that comes, or had no weight.
    gains : bool
        Whether curvature is added somewhere.
    """
    alone = after.loss.n_outputs == 1 and after.design.X is before.design.X
    update = _reweighed if alone else _exchanged
    return update(follower, before, after, touched, at, H, gradient)


def _reweighed(follower, before, after, touched, at, H, gradient):
    """Of one decision value, and the same features: what is taken and what is added are numbers."""
    loss, rows = after.loss, before.design.take(touched).dense_rows()
    eta = rows @ before.theta.T
    y, w = before.y[touched], before.weights[touched]
    new_y, new_w = after.y[touched], after.weights[touched]
    curved = -w * loss.hessian(follower.eta[touched], y)[:, 0, 0]
    pulls = -w * loss.gradient(eta, y)[:, 0]
    if new_w.any():
        curved += new_w * loss.hessian(eta, new_y)[:, 0, 0]
        pulls += new_w * loss.gradient(eta, new_y)[:, 0]
    if at is not follower.eta:
        at[touched] = eta
    gradient += pulls @ rows
    if not curved.any():
        return 0.0, 0.0, False
    H += rows.T @ (curved[:, None] * rows)
    h = np.einsum("di,id->i", follower.solved_rows(rows), rows)
    come = (w == 0.0) & (new_w > 0)
    size = float(h[come].max()) if come.any() else 0.0
    return float(np.minimum(curved, 0.0) @ h), size, bool(curved.max() > 0)


def _exchanged(follower, before, after, touched, at, H, gradient):
    """The rows as they were are taken, then those that come in their place are added."""
    old = touched[touched < before.n_samples]
    lost, size, gains = 0.0, 0.0, False
    for problem, sign, some in ((before, -1.0, old), (after, 1.0, touched)):
        rows = problem.design.take(some).dense_rows()
        eta, y = rows @ before.theta.T, problem.y[some]
        weights = sign * problem.weights[some]
        base = follower.eta[some] if problem is before else eta
        curved = weigh(weights[:, None, None], problem.loss.hessian(base, y))
        _add(H, gradient, rows, curved, weigh(weights[:, None], problem.loss.gradient(eta, y)))
        if problem is before:
            lost = float(np.einsum("ikl,ilk->", curved, follower.leverages_of(rows)))
            continue
        gains = bool((curved > 0).any())
        if at is not follower.eta:
            at[some] = eta
        come = weights > 0
        if after.design.X is before.design.X:
            come &= before.weights[some] == 0.0
        if come.any():
            h = follower.leverages_of(rows[come])
            size = float(problem.loss.reach(h).max(initial=0.0))
    return lost, size, gains


def _add(H, gradient, rows, curved, pulls):
    """Add the curvature and the gradients of some rows."""
    k, d = pulls.shape[1], rows.shape[1]
    blocks = H.reshape(k, d, k, d)
    for a in range(k):
        for b in range(k):
            blocks[a, :, b] += rows.T @ (curved[:, a, b, None] * rows)
    gradient += (pulls.T @ rows).ravel()
