"""Newton's method along a stream of edits, with a Hessian that is kept up to date.

    H_kept = sum_i w_i J_i' Lambda(eta_i') J_i + R

over the rows and the weights of now, with the curvature of each row where it was last looked at, at
``eta_i'``. An edit changes it by the rows that it touches. The loss is self-concordant, so the
Hessian at the parameters of now is at least ``exp(-r)`` times it, ``r`` by how far decision values
have moved since. That certifies each solution by its own gradient, however many came before; where
``r`` grows, the Hessian is formed anew.
"""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence import certificate
from skinfluence._utils.threads import small_blas
from skinfluence.smooth.accuracy import Accuracy
from skinfluence.smooth.newton import refuse_separable
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.cholesky import cho_solved, cholesky
from skinfluence.solvers.primal import PrimalFactor

# Change of the log-curvature, and share of the Hessian that is not in its factor, to live with.
DRIFT, STALE = 0.2, 0.05
# A step that changes curvature by more is left to damped steps.
LONGEST = 1.0
# Up to so many parameters a new factor costs less than another pass over the rows.
FEW = 256
# What is left of a decision value, as a share of the largest one.
ENOUGH = 1e-10
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
        Of the objective, at its parameters.
    largest : float
        Bound on ``|x_j|^2`` in the inverse of the factored Hessian, over rows of positive weight.
    noise : float
        Rounding of the gradient as a distance.
    kept : float
        The kept Hessian is at least this times the factored one.
    unseen : int
        Edits since all rows were looked at.
    """

    H: np.ndarray
    factor: tuple
    eta: np.ndarray
    gradient: np.ndarray
    largest: float
    noise: float
    kept: float
    unseen: int

    def solve(self, b):
        """``H^-1 b`` by the factor at hand."""
        L, scale = self.factor
        return scale * cho_solved(L, (scale * b)[:, None])[:, 0]

    def leverages(self, design):
        """``J_i H^-1 J_i'`` of some rows by the factor at hand, (n_rows, K, K)."""
        k = len(self.H) // design.n_columns
        L, scale = self.factor
        rows = design.dense_rows()
        out = np.empty((len(rows), k, k))
        for a in range(k):
            B = np.zeros((len(rows), k, rows.shape[1]))
            B[:, a] = rows
            S = scale[:, None] * cho_solved(L, scale[:, None] * B.reshape(len(rows), -1).T)
            out[:, :, a] = np.einsum("kdi,id->ik", S.reshape(k, -1, len(rows)), rows)
        return out


@dataclass(frozen=True, eq=False)
class Followed:
    """Where a stream is after one more edit.

    Attributes
    ----------
    objective : Objective
        At its optimum.
    follower : Follower
    bound : float
        On the distance from the optimum, in the norm of the Hessian there.
    share : float
        The Hessian at the parameters is at least this times the factored one.
    method_used : str
    """

    objective: object
    follower: Follower
    bound: float
    share: float
    method_used: str


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
        if "eta" in vars(before):
            # Only rows that the edit touches are elsewhere: no pass over the others.
            eta = _longer(before.eta, after.n_samples)
            eta[touched] = after.design.take(touched).multiply(after.theta.T)
            vars(after)["eta"] = eta
        return _newton(state, after, M)


def _updated(follower, before, after, touched):
    """The follower with an edit in its Hessian and its gradient; factored anew if that is due."""
    n, k = before.n_samples, before.loss.n_outputs
    old = touched[touched < n]
    H, gradient = follower.H.copy(), follower.gradient.copy()
    lost = follower.leverages(before.design.take(old)) if len(old) else None
    kept = follower.kept
    if len(old):
        design, y, w = before.design.take(old), before.y[old], before.weights[old]
        curved = w[:, None, None] * before.loss.hessian(follower.eta[old], y)
        eta = design.multiply(before.theta.T)
        _add(H, gradient, design, -curved, -w[:, None] * before.loss.gradient(eta, y), k)
        kept -= float(np.einsum("ikl,ilk->", curved, lost))
    design, y, w = after.design.take(touched), after.y[touched], after.weights[touched]
    eta = design.multiply(after.theta.T)
    curved = w[:, None, None] * after.loss.hessian(eta, y)
    _add(H, gradient, design, curved, w[:, None] * after.loss.gradient(eta, y), k)
    more = after.penalty - before.penalty
    if more.any():
        H.flat[:: len(H) + 1] += np.tile(more, k)
        gradient += (more * after.theta).ravel()
        kept += min(0.0, after.total_weight / before.total_weight - 1.0)
    at = _longer(follower.eta, after.n_samples)
    at[touched] = eta
    size = 0.0
    held = np.flatnonzero(w > 0)
    if len(held):
        directions = after.loss.spread_directions()
        h = follower.leverages(design.take(held))
        size = max(float(np.einsum("ikl,k,l->i", h, v, v).max()) for v in directions)
    if not kept > 0.5:
        # Nothing bounds the Hessian that is left by the one that is factored.
        return _anew(after)
    state = replace(
        follower,
        H=H,
        gradient=gradient,
        eta=at,
        kept=kept,
        largest=max(follower.largest, size),
        unseen=follower.unseen + 1,
    )
    few = len(H) <= FEW
    if (few and kept < 1.0) or 1.0 - kept > STALE or len(held):
        try:
            L, scale, _ = cholesky(H.copy(), "The Hessian")
        except SingularHessianError:
            return _anew(after)
        return replace(state, factor=(L, scale), kept=1.0, largest=state.largest / kept)
    return state


def _longer(eta, n):
    """A copy with rows of zeros at the end, (n, K)."""
    out = np.zeros((n, eta.shape[1])) if n > len(eta) else np.empty_like(eta)
    out[: len(eta)] = eta
    return out


def _add(H, gradient, design, curved, pulls, k):
    """Add the curvature and the gradients of some rows."""
    rows = design.dense_rows()
    d = rows.shape[1]
    blocks = H.reshape(k, d, k, d)
    for a in range(k):
        for b in range(k):
            blocks[a, :, b] += rows.T @ (curved[:, a, b, None] * rows)
    gradient += (pulls.T @ rows).ravel()


def _anew(objective):
    try:
        return fresh(PrimalFactor(objective))
    except SingularHessianError:
        # Damped steps say why.
        return None


def _quadratic(state, objective):
    """One step, exact but for round-off: the Hessian is the same everywhere."""
    step, gradient = np.zeros(len(state.H)), state.gradient
    for _ in range(2):
        change = -state.solve(gradient)
        step, gradient = step + change, gradient + state.H @ change
    left = _size(state, gradient)
    after = objective.at(objective.theta + step.reshape(objective.theta.shape))
    bound = (left + (1.0 + state.unseen) * state.noise) / np.sqrt(state.kept)
    return Followed(after, replace(state, gradient=gradient), bound, state.kept, "quadratic")


def _newton(state, objective, M):
    """Steps with the factor at hand, then with a new one, until next to nothing is left."""
    fitted, renewed = objective, False
    gradient, size = state.gradient, _size(state, state.gradient)
    held = objective.weights > 0
    held = slice(None) if held.all() else np.flatnonzero(held)

    def curved(moved):
        return M * float(objective.loss.spread(moved[held]).max(initial=0.0))

    for _ in range(MOST_STEPS):
        step = -state.solve(gradient).reshape(fitted.theta.shape)
        trial = fitted.at(fitted.theta + step)
        if curved(trial.eta - fitted.eta) > LONGEST:
            return None
        after = trial.gradient()
        left = _size(state, after)
        if not np.isfinite(left):
            return None
        fitted, gradient = trial, after
        r = curved(trial.eta - state.eta)
        scale = np.abs(trial.eta[held]).max(initial=0.0) / np.sqrt(max(state.largest, 1e-300))
        done = left <= max(ENOUGH * scale, state.noise)
        slow = left > 0.2 * size
        size = left
        if done or (slow and left <= 10.0 * state.noise):
            break
        if (r > DRIFT or slow) and not renewed:
            state, renewed = _anew(fitted), True
            if state is None:
                return None
            size = _size(state, gradient)
        elif slow:
            return None
    else:
        return None
    if r > DRIFT:
        state = _anew(fitted) or state
        r = curved(fitted.eta - state.eta)
        size = _size(state, gradient)
    share = state.kept * np.exp(-r)
    kappa = np.sqrt(state.largest / share)
    local = (size + state.noise) / np.sqrt(share)
    bound = float(certificate.gradient_bound(M, kappa, np.array(local), np.array(0.0)))
    refuse_separable(fitted)
    follower = replace(state, gradient=gradient, unseen=0)
    return Followed(fitted, follower, bound, share, "update")


def _size(state, gradient):
    return float(np.sqrt(np.maximum(0.0, gradient @ state.solve(gradient))))
