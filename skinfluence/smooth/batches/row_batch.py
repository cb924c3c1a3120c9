"""Many one-row edits side by side: their steps, their bounds, their chord passes."""

from dataclasses import dataclass

import numpy as np

from skinfluence import certificate
from skinfluence._utils.memory import row_blocks
from skinfluence.smooth.batches.remainders import RemainderPass
from skinfluence.smooth.one_step import steps
from skinfluence.smooth.optimum.accuracy import inflation, shrink

# Outputs from which on an edited solve is two solves: what each row's outputs solve to costs more,
# and holds more memory, than the passes that use it.
MANY_OUTPUTS = 4
# Share of a tolerance that solves in single precision may take.
LOOSE = 0.1
# Relative error of a size from which on nothing is known of it.
LARGEST_SLACK = 1e100
# ``P^-1`` relative to ``H^-1`` beyond which a gradient of nothing may hide a step: what rounding takes of
# it is divided by one minus a leverage.
MILD = 4.0


@dataclass(frozen=True, eq=False)
class Chord:
    """One chord iteration of some edits.

    Attributes
    ----------
    r : ndarray of shape (m,)
        Change of the log-curvature where it started.
    gradient : ndarray of shape (m,)
        A bound on the gradient there, in the norm of the inverse of the edited Hessian.
    after, after_solved : ndarray of shape (m, n_outputs, n_columns)
        Where it ends, and ``-P`` times that.
    steps, solved : ndarray of shape (m, n_outputs, n_columns)
        The better one of where it started and where it ends, and ``-P`` times that.
    bound, size : ndarray of shape (m,)
        On the error of that, and its own size, in the norm of P.
    """

    r: np.ndarray
    gradient: np.ndarray
    after: np.ndarray
    after_solved: np.ndarray
    steps: np.ndarray
    solved: np.ndarray
    bound: np.ndarray
    size: np.ndarray


class RowBatch:
    """Iterates of many one-row edits: ``P = H + shift R0 + J_i' D_i J_i`` for each.

    Parameters
    ----------
    accuracy : Accuracy
        Of the unedited objective.
    edits : RowEdits
    remainders : RemainderPass, default=None
        That of the objective, to share what it keeps.
    """

    many_outputs = MANY_OUTPUTS

    def __init__(self, accuracy, edits, remainders=None):
        self.accuracy, self.edits = accuracy, edits
        self.factor, self.objective = factor, objective = accuracy.factor, accuracy.objective
        self.remainders = RemainderPass(objective) if remainders is None else remainders
        self.M = objective.loss.self_concordance
        self.shift = edits.one_shift
        self.rows = edits.design.dense_rows()
        # Which edits are solved in single precision, and by what.
        self.loose, self._single = np.zeros(len(edits.rows), dtype=bool), None
        h = steps.row_leverages(factor, edits)
        self.h = h
        Z = steps.penalty_steps(factor, edits, "one-step")
        right = self.rows[:, None, :] * edits.gradient[:, :, None]
        if Z is not None:
            right = right + edits.shift[:, None, None] * (objective.unit_penalty * objective.theta)
        self.right = right
        a = steps.step_coefficients(factor, edits, "one-step", h, say=False)
        self.theta_steps = steps.steps_from(factor, edits, "one-step", a)
        # -P v of the current iterates: what they solve.
        self.solved = right.copy()
        self.idle = ~right.any(axis=(1, 2))
        self.size = self._size(self.theta_steps, right)
        A = steps.complements(factor, edits, h)
        try:
            self.inner = np.linalg.solve(A, edits.hessian)
        except np.linalg.LinAlgError:
            # A leverage of exactly 1: that edit goes to Newton's method, the others are fine.
            self.inner = np.linalg.pinv(A) @ edits.hessian
        self.leverage = largest_eigenvalue(h, -edits.hessian)
        solve_error = accuracy.solve_error_at(self.shift)
        kept = 1.0 - self.leverage * (1.0 + solve_error)
        kept = kept * shrink(edits.shift, objective)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.growth = np.where(kept > 0, 1.0 / kept, np.inf)
            # Relative error of P^-1 where leverages are rounded.
            odds = self.leverage / (1.0 - self.leverage)
            odds = np.where(self.leverage == 0, 0.0, np.where(kept > 0, odds, np.inf))
            gained = self._gained(h)
            self.slack = factor.leverage_error * np.maximum(odds, gained / (1.0 + gained))
        # Woodbury's formula enlarges the solver's own error.
        self.slack += 2.0 * solve_error * self.growth
        # Of a step of nothing it is nothing, also where growth has no bound, which says so itself.
        self.slack = np.minimum(self.slack, LARGEST_SLACK)
        # The floor is in the norm of H: the error after the edit is as much larger in that of P as
        # weight is taken away, the error before it as weight is added.
        self._own_sizes = accuracy.sizes(h)
        own = accuracy.rounding(edits.design, edits.gradient, edits.hessian, self._own_sizes)
        with np.errstate(invalid="ignore"):
            noise = accuracy.floor * (np.sqrt(self.growth) - 1.0) + own * np.sqrt(self.growth)
        self.noise = np.where(np.isnan(noise), np.inf, noise)
        self.inflation = np.sqrt(inflation(gained, edits.shift, objective))

    def _gained(self, h):
        """Largest eigenvalue of the curvature that is added."""
        if self.M is not None and not self.edits.weight.any():
            # Of a convex loss rows that are left out add none.
            return np.zeros(len(h))
        return largest_eigenvalue(h, self.edits.hessian)

    @property
    def settled(self):
        """Edits of no gradient, whose step is nothing to round-off: their bound is all rounding."""
        return self.idle & (self.growth <= MILD)

    def use(self, active):
        """Prepare :meth:`edited_solve` for some edits: ``V_i = (H + shift R0)^-1 J_i'``."""
        k = self.h.shape[1]
        self._V = None
        if k >= self.many_outputs:
            return
        shift = self.shift if np.ndim(self.shift) == 0 else self.shift[active]
        design = self.edits.design.take(active)
        columns = [
            self.factor.solve_rows(design, np.broadcast_to(e, (len(active), k)), shift)
            for e in np.eye(k)
        ]
        self._V, self._V_rows = np.stack(columns, axis=1), active

    def loosen(self, single, tol):
        """Solve in single precision from here on where that is off by less than a share of ``tol``.

        Parameters
        ----------
        single : SingleSolves
            At the shift of the edits, which is one.
        tol : float
        """
        with np.errstate(over="ignore", invalid="ignore"):
            lost = self._lost_by(single)
            self.loose = lost <= LOOSE * tol
        self._single = single
        self.slack = self.slack + np.where(self.loose, lost, 0.0)

    def _lost_by(self, single):
        """Relative error of ``P^-1`` by solves in single precision."""
        return 2.0 * single.error * self.growth

    def edited_solve(self, B, active):
        """``P^-1 B`` of each active edit, among those in use, by Woodbury on their ``V_i``."""
        loose = self.loose[active]
        if loose.all() or not loose.any():
            return self._edited_solve(B, active, loose.any())
        out = np.empty_like(B)
        for single in (False, True):
            some = np.flatnonzero(loose == single)
            out[some] = self._edited_solve(B[some], active[some], single)
        return out

    def _edited_solve(self, B, active, single):
        shift = self.shift if np.ndim(self.shift) == 0 else self.shift[active]

        def solve(B):
            flat = B.reshape(len(active), -1).T
            flat = self._single.solve(flat) if single else self.factor.solve(flat, shift)
            return flat.T.reshape(B.shape)

        Y, rows = solve(B), self.rows[active]
        at_row = np.einsum("ikd,id->ik", Y, rows)
        correction = (self.inner[active] @ at_row[..., None])[..., 0]
        if self._V is None:
            return Y - solve(correction[:, :, None] * rows[:, None, :])
        V = self._V[np.searchsorted(self._V_rows, active)]
        return Y - np.einsum("ikld,ik->ild", V, correction)

    def precondition(self, B, active):
        """``P^-1 B``, or what is near it and cheap, of each active edit."""
        return self.edited_solve(B, active)

    def _size(self, a, solved):
        """``|a|_P`` from ``-P a``; infinite where round-off makes P indefinite along a."""
        square = -np.einsum("ikd,ikd->i", a, solved)
        indefinite = (square <= 0) & a.any(axis=(1, 2))
        return np.sqrt(np.where(indefinite, np.inf, np.maximum(square, 0.0)))

    def kappa(self):
        """``max_j |x_j|_{P^-1}`` of each edit, over rows of positive weight after it."""
        sizes = self.accuracy.row_sizes
        order, rest = self.accuracy.largest
        first, second = order[0], (order[1] if len(order) > 1 else order[0])
        runner_up = sizes[second] if len(order) > 1 else rest
        largest = np.where(
            (self.edits.rows == first) & (self.edits.weight <= 0), runner_up, sizes[first]
        )
        # A row that had no weight and gets some is not among the sizes.
        own = np.where(self.edits.weight > 0, self._own_sizes, 0.0)
        largest = np.maximum(largest, own)
        with np.errstate(invalid="ignore"):
            return np.sqrt(np.where(np.isfinite(self.growth), largest * self.growth, np.inf))

    def sizes(self, i):
        """A bound on ``|x_j|^2_{P^-1}`` of all rows after one edit."""
        if not np.isfinite(self.growth[i]):
            return np.inf
        sizes = self.accuracy.row_sizes.copy()
        if self.edits.weight[i] > 0:
            sizes[self.edits.rows[i]] = self._own_sizes[i]
        return self.growth[i] * sizes

    def newton_bound(self):
        M = self.M
        if M is None:
            return np.where(self.idle, self.noise, np.inf)
        self._kappa = self.kappa()
        if M == 0:
            bound = np.where(np.isfinite(self.growth), 0.0, np.inf)
        else:
            bound = certificate.newton_step_bound(M, self._kappa, self.size)
        return bound + self.slack * self.size + self.noise

    def split_bound(self, active):
        """Follow the rows of largest leverage exactly, bound the others by their leverage."""
        M, objective = self.M, self.objective
        order, rest = self.accuracy.largest
        design = objective.design.take(order)
        with np.errstate(invalid="ignore"):
            bound_rest = np.sqrt(rest * self.growth[active]) * self.size[active]
        followed = np.empty(len(active))
        k, d = objective.theta.shape
        for part in row_blocks(len(active), 8 * k * (d + 2 * len(order))):
            chosen = active[part]
            flat = self.theta_steps[chosen].reshape(-1, d)
            moved = design.multiply(np.ascontiguousarray(flat.T)).reshape(len(order), -1, k)
            spread = objective.loss.spread(moved)
            spread[objective.weights[order] <= 0] = 0.0
            gone = (order[:, None] == self.edits.rows[chosen]) & (self.edits.weight[chosen] <= 0)
            spread[gone] = 0.0
            followed[part] = spread.max(axis=0)
        own = self._own_spread(active)
        r = M * np.maximum(np.maximum(followed, bound_rest), own)
        # Where nothing bounds the edited Hessian from below, neither does this anything.
        with np.errstate(invalid="ignore"):
            gradient = (certificate.remainder_factor(r) + self.slack[active]) * self.size[active]
            gradient += self.noise[active]
            bound = certificate.gradient_bound(M, self._kappa[active], gradient, r)
        return np.where(np.isfinite(self.growth[active]), bound, np.inf)

    def _own_spread(self, active):
        """Spread at the edited row itself where it keeps weight."""
        own = np.einsum("ikd,id->ik", self.theta_steps[active], self.rows[active])
        kept = self.edits.weight[active] > 0
        return np.where(kept, self.objective.loss.spread(own), 0.0)

    def chord(self, active, v, solved, mixed):
        """One chord iteration.

        Parameters
        ----------
        active : ndarray of int, shape (m,)
            Edits in :meth:`use`.
        v, solved : ndarray of shape (m, n_outputs, n_columns)
            Iterates, and ``-P`` times them.
        mixed : ndarray of shape (m,)
            How many times a solve's error may be in the second.

        Returns
        -------
        chord : Chord
        """
        M, edits, objective = self.M, self.edits, self.objective
        own = np.einsum("ikd,id->ik", v, self.rows[active])
        eta = objective.eta[edits.rows[active]]
        kept = edits.weight[active]
        # A step that overshoots overflows, and is left to Newton's method.
        with np.errstate(over="ignore", invalid="ignore"):
            S, r = self.remainders(v, edits.rows[active])
            if kept.any():
                rho = kept[:, None] * objective.loss.remainder(eta, edits.y[active], own)
                S += rho[:, :, None] * self.rows[active][:, None, :]
        r = M * np.maximum(r, np.where(kept > 0, objective.loss.spread(own), 0.0))
        finite = np.isfinite(S).all(axis=(1, 2))
        S[~finite] = 0.0
        B = self.right[active] + S
        after = -self.edited_solve(B, active)
        # The gradient at v is P (v - after); both P v and P after are known without a product.
        change = np.einsum("ikd,ikd->i", after - v, solved - B)
        slack = self.slack[active]
        noise = self.noise[active]
        before = self._size(v, solved)
        gradient = np.sqrt(np.abs(change)) * (1.0 + slack) + mixed * slack * before + noise
        kappa = self._kappa[active]
        size = self._size(after, B)
        with np.errstate(over="ignore", invalid="ignore"):
            here = certificate.gradient_bound(M, kappa, gradient, r)
            there = certificate.chord_bound(M, kappa, here, r) + slack * size + noise
        stays = finite & (here < there)
        end, line = finite & ~stays, stays[:, None, None]
        return Chord(
            np.where(finite, r, np.inf),
            np.where(finite, gradient, np.inf),
            after,
            B,
            np.where(line, v, after),
            np.where(line, solved, B),
            np.where(stays, here, np.where(end, there, np.inf)),
            np.where(stays, before, size),
        )


def largest_eigenvalue(h, A):
    """Largest eigenvalue of ``h A`` for symmetric A and positive semi-definite h, at least 0."""
    if h.shape[1] == 1:
        return np.maximum(h[:, 0, 0] * A[:, 0, 0], 0.0)
    try:
        root = np.linalg.cholesky(h)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(h)
        root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    inner = root.transpose(0, 2, 1) @ A @ root
    return np.maximum(np.linalg.eigvalsh(inner)[:, -1], 0.0)
