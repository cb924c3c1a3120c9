"""How far parameters may be from an optimum, by the gradient and the penalty: no factor of a Hessian."""

import numpy as np

from skinfluence.certificate import gradient_bound


def distance_by_penalty(objective):
    """Bound on the distance from the optimum, in the norm of the Hessian at the parameters.

    Of one output. With ``g`` split into features and intercept, ``L`` the sum of the rows' curvatures and
    ``m`` their mean row, ``|g|^2`` in the norm of the inverse Hessian is at most
    ``|g_f - g_0 m|^2 + g_0^2 / L``, the first in the norm of the inverse penalty, because
    ``sum w l'' (x'v + v_0)^2 >= L (m'v + v_0)^2``. So it is with a row, its intercept 1 in the place of g_0.

    Parameters
    ----------
    objective : Objective
        Its features with a penalty.

    Returns
    -------
    bound : float
        Infinite where nothing is known: of several outputs, features without a penalty, losses without a
        constant of self-concordance.
    """
    M, design, penalty = objective.loss.self_concordance, objective.design, objective.penalty
    d = design.n_features
    if M is None or objective.loss.n_outputs != 1 or not (penalty[:d] > 0).all():
        return np.inf
    curvature = objective.weighted_hessians[:, 0, 0]
    pulls = np.abs(objective.weighted_gradients[:, 0])
    absolute = type(design)(abs(design.X), abs(design.intercept))
    reach = absolute.multiply(np.abs(objective.theta).T)[:, 0]
    terms = pulls + curvature * reach
    rounding = absolute.adjoint(terms[:, None])[:, 0] + np.abs(penalty * objective.theta[0])
    gradient = np.abs(objective.gradient()), 4.0 * np.finfo(float).eps * rounding
    own = np.zeros(design.n_columns)
    own[:d] = 1.0 / penalty[:d]
    if design.intercept and penalty[-1] > 0:
        own[-1] = 1.0 / penalty[-1]
    largest = float(np.sqrt(design.squared_norms(own).max(initial=0.0)))
    free, mass = bool(design.intercept and penalty[-1] == 0), float(curvature.sum())
    if not free:
        size = np.sqrt((sum(gradient) ** 2 * own).sum())
        return float(gradient_bound(M, largest, size, np.array(0.0)))
    return bound_of(sum(gradient)[None], own[None], largest, design.intercept, np.array([mass]), M)[
        0
    ]


def bound_of(gradients, inverse, largest, intercept, mass, M):
    """The bounds of some problems with a free intercept, from sizes alone, (m,).

    Parameters
    ----------
    gradients : ndarray of shape (m, n_columns)
        The intercept's last.
    inverse : ndarray of shape (m, n_columns)
        Of the penalties, 0 for the intercept.
    largest : float or ndarray of shape (m,)
        The norm of no row is larger, in that of the inverse penalty: so is that of their mean.
    intercept : float
        Value of its column.
    mass : ndarray of shape (m,)
        Sums of curvatures.
    M : float
        Of self-concordance.
    """
    mass = np.maximum(mass, np.finfo(float).tiny)
    a = np.sqrt((gradients**2 * inverse).sum(axis=1))
    s = np.abs(gradients[:, -1]) / intercept
    with np.errstate(over="ignore"):
        size = np.hypot(a + s * largest, s / np.sqrt(mass))
        kappa = np.hypot(2.0 * largest, 1.0 / np.sqrt(mass))
    return gradient_bound(M, kappa, size, np.zeros(len(size)))
