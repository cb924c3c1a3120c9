"""Bounds on the error of an edited model that was not refitted.

The loss is generalised self-concordant with constant ``M``: along a change ``delta`` of the
decision values its second derivative changes by at most ``exp(+-M spread(delta))``. ``P`` is the
Hessian after the edit at the fitted parameters, ``d`` the true change of the parameters, and
``kappa`` the largest ``|x_j|_{P^-1}`` over all rows of positive weight after the edit. Errors
are in the norm of ``P``. Derivations are in ``doc/certificate.md``.
"""

import numpy as np


def newton_step_bound(M, kappa, size):
    """Error of the Newton step ``u`` of size ``|u|_P``, without looking at the data.

    ``|u - d|_P <= size [1/(1-s) + log(1-s)/s]`` with ``s = M kappa size < 1``; infinite beyond.

    Parameters
    ----------
    M : float
    kappa, size : ndarray

    Returns
    -------
    bound : ndarray
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        s = M * kappa * size
        closed = 1.0 / (1.0 - s) + np.log1p(-s) / s
        # The closed form cancels for small s: s/2 + 2 s^2/3 + ..., every term positive.
        series = s * (1 / 2 + s * (2 / 3 + s * (3 / 4 + s)))
        bound = size * np.where(s < 1e-3, series, np.where(s < 1.0, closed, np.inf))
    # No step is no error, however far the rows reach.
    return np.where(size == 0.0, 0.0, bound)


def gradient_bound(M, kappa, gradient, r):
    """Distance of any iterate ``v`` from ``d``, from the gradient that is left there.

    ``-log(1 - M kappa gradient e^r) / (M kappa)``; infinite where the logarithm is not defined.

    Parameters
    ----------
    M : float
    kappa : ndarray
    gradient : ndarray
        ``|grad Phi_edit(theta + v)|_{P^-1}``.
    r : ndarray
        ``M`` times the largest spread of ``J_j v`` over the rows of positive weight.

    Returns
    -------
    bound : ndarray
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scaled = gradient * np.exp(r)
        t = M * kappa * scaled
        closed = -np.log1p(-t) / (M * kappa)
        small = scaled * (1.0 + t)
    bound = np.where(t < 1e-8, small, np.where(t < 1.0, closed, np.inf))
    return np.where(np.isnan(bound), np.inf, bound)


def remainder_factor(r):
    """``(e^r - 1 - r) / r``: the gradient left by a Newton step is at most this times its size."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        closed = (np.expm1(r) - r) / r
        # Cut where what is left is below the last term as written, so never too small.
        series = r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r / 60)))
    return np.where(r < 1e-3, series, np.where(r < np.inf, closed, np.inf))


def remainder_average(M, r):
    """``M (e^r - 1 - r) / r^2``: a step's remaining gradient over ``(sum_j w_j l'' delta_j^4)^1/2``.

    An average over the rows in the place of the largest change.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        closed = (np.expm1(r) - r) / r**2
        series = 1 / 2 + r * (1 / 6 + r * (1 / 24 + r / 60))
    return M * np.where(r < 1e-3, series, np.where(r < np.inf, closed, np.inf))


def beyond_second_order(r):
    """``chi(r) = (e^r - 1 - r - r^2 / 2) / r^3``: of ``M^2 l'' |delta|^3`` a gradient has at most so much.

    Beyond second order in ``delta``, with ``r = M |delta|``.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        closed = (np.expm1(r) - r - 0.5 * r**2) / r**3
        # Cut where what is left is below the last term as written, so never too small.
        series = 1 / 6 + r * (1 / 24 + r * (1 / 120 + r / 360))
    return np.where(r < 1e-2, series, np.where(r < np.inf, closed, np.inf))


def own_value_bound(M, kappa, error, r, fourth, across, length):
    """Error of a row's own decision value after a Newton step corrected to second order.

    ``E M psi(r + M kappa E) ((F Q)^1/2 + kappa E |z|_P) + M^2 chi(r) F^3/2 Q^1/2`` with
    ``psi(t) = (e^t - 1) / t`` and ``chi(r) = (e^r - 1 - r - r^2 / 2) / r^3``.

    Parameters
    ----------
    M : float
        That bounds the fourth derivative too: by ``M^2`` times the second.
    kappa : ndarray
    error : ndarray
        ``E``, a bound on ``|u - d|_P``.
    r : ndarray
        ``M`` times the largest change of a decision value under the step.
    fourth, across : ndarray
        ``F = (sum_j w_j l'' delta_j^4)^1/2`` over the rows after the edit, and
        ``Q = (sum_j w_j l'' (x_j' z)^4)^1/2`` with ``z = P^-1 x``.
    length : ndarray
        ``|z|_P``, which is ``|x|`` in the norm of ``P^-1``.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        reach = r + M * kappa * error
        psi = np.where(reach < 1e-8, 1.0 + reach, np.expm1(reach) / reach)
        chi = beyond_second_order(r)
        out = error * M * psi * (np.sqrt(fourth * across) + kappa * error * length)
        out += M**2 * chi * fourth**1.5 * np.sqrt(across)
    return np.where(np.isnan(out), np.inf, out)


def chord_bound(M, kappa, bound, r):
    """Distance of the next chord iterate from ``d``: contraction of ``bound``, that of the last.

    ``(exp(r + M kappa bound) - 1) bound``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        contracted = np.expm1(r + M * kappa * bound) * bound
    return np.where(np.isfinite(bound), contracted, np.inf)


def within(bound, size, tol, floor):
    """Whether a bound certifies a relative error of ``tol``, or round-off.

    The true size is at least ``size - bound``; ``floor`` is already part of ``bound``.
    """
    with np.errstate(invalid="ignore"):
        # NaN, of an edit without an answer, is within nothing.
        return bound <= np.maximum(tol * (size - bound), 0.0) + 2.0 * floor
