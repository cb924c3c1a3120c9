"""Newton's method along a stream of edits, with a Hessian that is kept up to date.

    H_kept = sum_i w_i J_i' Lambda(eta_i') J_i + R

over the rows and the weights of now, with the curvature of each row where it was last looked at, at
``eta_i'``. An edit changes it by the rows that it touches. The loss is self-concordant, so the
Hessian at the parameters of now is at least ``exp(-r)`` times it, ``r`` by how far decision values
have moved since. That certifies each solution by its own gradient, however many came before; where
``r`` grows, the Hessian is formed anew. Each step costs one pass over the rows, which reads them once.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from skinfluence import certificate
from skinfluence._utils.threads import small_blas
from skinfluence.editing.row_updates import updates
from skinfluence.editing.writing import write_linear
from skinfluence.smooth.batches.row_pass import looks
from skinfluence.smooth.optimum.accuracy import Accuracy
from skinfluence.smooth.optimum.existence import refuse_separable
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.primal import PrimalFactor

# Change of the log-curvature, and share of the Hessian that is not in its factor, to live with.
DRIFT, STALE = 0.5, 0.05
# A model whose curvature changed by more since it was formed is left to damped steps.
LONGEST = 1.5
# By how much the bound on the rows' sizes may have grown before they are measured again.
GROWN = 4.0
# Passes over the rows that an edit takes with a Hessian that was formed just now. More than these add up,
# until they are as much as a new Hessian: a fifth to a third as many passes as it has columns.
FEWEST, IN_PASSES = 2, 1 / 3
# Up to so many parameters a new factor costs less than another pass over the rows.
FEW = 256
# What may be left of a decision value, as a share of the largest one.
ENOUGH = 1e-9
MOST_STEPS = 12
# Edits of a quadratic loss between two passes over all rows.
UNSEEN = 64


def follower_of(edit_solver):
    """A :class:`Follower` from where an edit solver is, or None where none is known."""
    factor, M = edit_solver.factor, edit_solver.M
    plain = type(factor) is PrimalFactor and not factor.curvature.damping
    if M is None or not plain:
        return None
    return fresh(factor, edit_solver.accuracy)


def fresh(factor, accuracy=None):
    """A :class:`Follower` whose Hessian is that of a factor, at the parameters of its objective."""
    objective = factor.objective
    accuracy = accuracy or Accuracy(factor)
    return Follower(
        H=factor.hessian,
        factor=factor.cholesky,
        eta=objective.eta,
        gradient=objective.gradient(),
        largest=float(accuracy.row_sizes.max(initial=0.0)),
        noise=float(accuracy.noise),
        kept=1.0,
        grown=1.0,
        unseen=0,
    )


@dataclass(frozen=True, eq=False)
class Follower:
    """What is kept from one edit to the next.

    Attributes
    ----------
    H : ndarray of shape (n_parameters, n_parameters)
        The kept Hessian.
    factor : tuple of ndarray
        Cholesky factor and scaling of the kept Hessian of a while ago.
    eta : ndarray of shape (n_samples, n_outputs)
        Where the curvature of each row was looked at.
    gradient : ndarray of shape (n_parameters,)
        Of the objective, at its parameters: as the kept Hessian has it since the last pass over the rows.
    largest : float
        Bound on ``|x_j|^2`` in the inverse of the factored Hessian, over rows of positive weight.
    noise : float
        Rounding of the gradient as a distance.
    kept : float
        The kept Hessian is at least this times the factored one.
    grown : float
        By how much ``largest`` was raised, for what left the Hessian, since all rows were measured.
    unseen : int
        Edits since all rows were looked at.
    spent : int
        Passes over the rows since the Hessian was formed, beyond the fewest for each edit.
    """

    H: np.ndarray
    factor: tuple
    eta: np.ndarray
    gradient: np.ndarray
    largest: float
    noise: float
    kept: float
    grown: float
    unseen: int
    spent: int = 0

    def solve(self, b):
        """``H^-1 b`` by the factor at hand, and ``(b' H^-1 b)^1/2``."""
        L, scale = self.factor
        solution = scale * dpotrs(L, scale * b, lower=1)[0]
        return solution, math.sqrt(max(0.0, float(b @ solution)))

    def solved_rows(self, rows):
        """``H^-1 X'`` of some rows by the factor at hand, of one output, (n_columns, n_rows)."""
        L, scale = self.factor
        return scale[:, None] * dpotrs(L, scale[:, None] * rows.T, lower=1)[0]

    def leverages_of(self, rows):
        """``J_i H^-1 J_i'`` by the factor at hand, (n_rows, K, K), of rows with their intercept."""
        n, d = rows.shape
        k = len(self.H) // d
        L, scale = self.factor
        out = np.empty((n, k, k))
        for a in range(k):
            B = np.zeros((k, d, n))
            B[a] = rows.T
            S = scale[:, None] * dpotrs(L, scale[:, None] * B.reshape(k * d, n), lower=1)[0]
            out[:, :, a] = np.einsum("kdi,id->ik", S.reshape(k, d, n), rows)
        return out


@dataclass(frozen=True, eq=False)
class Followed:
    """Where a stream is after one more edit.

    Attributes
    ----------
    problem : Objective
        At its optimum.
    follower : Follower
    left : float
        What is left of the gradient at most, rounding included, in the norm of the inverse of the factored
        Hessian.
    share : float
        The Hessian at the parameters is at least this times the factored one.
    """

    problem: object
    follower: Follower
    left: float
    share: float

    write = staticmethod(write_linear)

    @cached_property
    def bound(self):
        """On the distance from the optimum, in the norm of the Hessian there."""
        M, root = self.problem.loss.self_concordance, math.sqrt(self.share)
        kappa, left = math.sqrt(self.follower.largest) / root, self.left / root
        return float(certificate.gradient_bound(M, kappa, np.array(left), np.array(0.0)))


def follow(follower, before, after, touched):
    """One more edit; None where damped steps are needed.

    Parameters
    ----------
    follower : Follower
    before : Objective
        At its optimum.
    after : Objective
        After the edit, at the same parameters, rows with their numbers.
    touched : ndarray of int
        Rows that the edit changes, new ones included.
    """
    M = after.loss.self_concordance
    with small_blas(after.n_parameters):
        state = _updated(follower, before, after, touched)
        if state is None:
            return None
        if M == 0.0 and state.unseen < UNSEEN:
            return _quadratic(state, after)
        return _newton(state, after, M)


def _updated(follower, before, after, touched):
    """The follower with an edit in its Hessian and its gradient; factored anew if that is due."""
    H, gradient = follower.H.copy(), follower.gradient.copy()
    at = _noted(follower, after, touched)
    lost, size, gains = updates(follower, before, after, touched, at, H, gradient)
    kept = follower.kept + lost
    if after.penalty is not before.penalty:
        more = after.penalty - before.penalty
        H.flat[:: len(H) + 1] += np.tile(more, after.loss.n_outputs)
        gradient += (more * after.theta).ravel()
        kept += min(0.0, after.total_weight / before.total_weight - 1.0)
        gains |= bool((more > 0).any())
    if not kept > 0.5 or follower.grown > GROWN * kept:
        # Too little bounds the Hessian that is left by one that is known well.
        return _anew(after)
    largest, unseen = max(follower.largest, size), follower.unseen + 1
    made = {"H": H, "gradient": gradient, "eta": at, "largest": largest, "unseen": unseen}
    if not (gains or (kept < 1.0 and len(H) <= FEW) or 1.0 - kept > STALE):
        return _with(follower, **made, kept=kept)
    factor = _factored(H)
    if factor is None:
        return _anew(after)
    return _with(_raised(_with(follower, **made), 1.0 / kept), factor=factor, kept=1.0)


def _factored(H):
    """Cholesky factor and scaling of a Hessian that is near one which had them; None without."""
    scale = 1.0 / np.sqrt(np.diagonal(H))
    scaled = scale[:, None] * H
    scaled *= scale
    # The transpose of a symmetric array in C order is what LAPACK wants, without a copy.
    L, info = dpotrf(scaled.T, lower=1, clean=0, overwrite_a=1)
    return (L, scale) if info == 0 else None


def _raised(state, ratio):
    """The follower before a factor of a Hessian that is at least ``1 / ratio`` times the factored one."""
    grown, largest, noise = state.grown * ratio, state.largest * ratio, state.noise * np.sqrt(ratio)
    return _with(state, grown=grown, largest=largest, noise=float(noise))


def _with(state, **changes):
    """As ``dataclasses.replace``, which takes as long as a small solve."""
    return Follower(**{**vars(state), **changes})


def _noted(follower, after, touched):
    """Room to note where the rows are after an edit, (n, K); not of a quadratic, or where rows go."""
    eta, n = follower.eta, after.n_samples
    stay = after.loss.self_concordance > 0.0 and after.weights[touched].any()
    if n == len(eta) and not stay:
        return eta
    out = np.zeros((n, eta.shape[1])) if n > len(eta) else np.empty_like(eta)
    out[: len(eta)] = eta
    return out


def _anew(objective):
    try:
        return fresh(PrimalFactor(objective))
    except SingularHessianError:
        # Damped steps say why.
        return None


def _quadratic(state, objective):
    """One step, exact but for round-off: the Hessian is the same everywhere.

    It is solved with the factor at hand, to which rows are missing, until no more than rounding is left.
    """
    step, gradient = np.zeros(len(state.H)), state.gradient
    change, left = state.solve(gradient)
    for _ in range(MOST_STEPS):
        step, gradient, before = step - change, gradient - state.H @ change, left
        change, left = state.solve(gradient)
        if left <= state.noise or left > 0.5 * before:
            break
    after = objective.at(objective.theta + step.reshape(objective.theta.shape))
    left += (1.0 + state.unseen) * state.noise
    return Followed(after, _with(state, gradient=gradient), left, state.kept)


def _newton(state, objective, M):
    """Steps with the factor at hand, then with a new one, until next to nothing is left.

    Each step is followed by a pass over the rows, but for the last one: the kept Hessian is that of
    the rows up to ``exp(r)``, and so a step leaves at most a known share of the gradient.
    """
    theta, renewed, spent = objective.theta, False, state.spent - FEWEST
    look = looks(objective)
    change, size = state.solve(state.gradient)
    for _ in range(MOST_STEPS):
        spent += 1
        theta = theta - change.reshape(theta.shape)
        seen = look(theta, state.eta)
        gradient, r, before = seen.gradient, M * seen.moved, size
        change, size = state.solve(gradient)
        if not (math.isfinite(size) and r <= LONGEST):
            return None
        slow = size > 0.2 * before
        share, r_then = _left_by_a_step(state, M, r, size)
        enough = ENOUGH * seen.largest / math.sqrt(max(state.largest, 1e-300))
        if size * min(1.0, share) <= max(enough, state.noise):
            break
        if slow and size <= 10.0 * state.noise:
            break
        if (r > DRIFT or slow) and not renewed:
            state, renewed = _renewed(state, objective.at(theta), r), True
            if state is None:
                return None
            change, size = state.solve(gradient)
        elif slow:
            return None
    else:
        return None
    spent = max(spent, state.spent)
    if r > DRIFT or spent > IN_PASSES * len(state.H):
        later = _renewed(state, objective.at(theta), r)
        if later is not None:
            state, spent = later, 0
            change, size = state.solve(gradient)
            share, r_then = _left_by_a_step(state, M, 0.0, size)
    if share < 1.0:
        theta, gradient = theta - change.reshape(theta.shape), gradient - state.H @ change
        size, r = share * size, r_then
    found = objective.at(theta)
    refuse_separable(found)
    state = _with(state, gradient=gradient, unseen=0, spent=spent)
    return Followed(found, state, size + state.noise, state.kept * math.exp(-r))


def _left_by_a_step(state, M, r, size):
    """What a step leaves of a gradient, as a share of it, and where its ``r`` is then.

    Along the step the Hessian is between ``exp(-r)`` and ``exp(r)`` times the kept one, and that is
    between ``kept`` times the factored one and itself.
    """
    r = r + M * math.sqrt(state.largest) * size
    return max(math.expm1(min(r, 1.0)), 1.0 - state.kept * math.exp(-r)), r


def _renewed(state, objective, r):
    """The follower with the Hessian at the parameters; None where that has no factor.

    Its rows are measured again where what is known of them, by ``r``, has become too large.
    """
    ratio = np.exp(r) / state.kept
    if state.grown * ratio > GROWN:
        return _anew(objective)
    try:
        factor = PrimalFactor(objective)
    except SingularHessianError:
        return None
    H, eta = factor.hessian, objective.eta
    return _with(_raised(state, ratio), H=H, factor=factor.cholesky, eta=eta, kept=1.0)
