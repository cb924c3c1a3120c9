"""Newton's method on one-row edits, with a Hessian that is renewed where its rows moved.

For the few edits that no chord certifies: the Hessian after the edit is the fitted one but for rows
whose curvature changed, which are few. Derivations are in ``doc/certificate.md``, "Newton's method".
"""

from dataclasses import dataclass

import numpy as np

from skinfluence import certificate

# Changes of a row's curvature, relative to it, from which on it is renewed.
RENEWED = 0.1
MAX_STEPS, MAX_HALVINGS = 20, 40
# Numbers per edit and row alive at a time.
ENTRIES = 2**20


@dataclass(frozen=True, eq=False)
class Solutions:
    """Where the iterations ended.

    Attributes
    ----------
    steps : ndarray of shape (m, n_parameters)
        In the coordinates of the rows.
    error : ndarray of shape (m,)
        Bound on the error of each step in the norm of the edited Hessian P at the unedited fit.
    size : ndarray of shape (m,)
        Of the steps, in that norm.
    change, change_error : ndarray of shape (m,)
        The row's own decision value, and a bound on its error without the floor of the fit.
    """

    steps: np.ndarray
    error: np.ndarray
    size: np.ndarray
    change: np.ndarray
    change_error: np.ndarray


class MovedRows:
    """Solves edits in coordinates in which the Hessian of the fit is the identity.

    Parameters
    ----------
    at : Whitened
        Of an objective with one output.
    """

    def __init__(self, at):
        self.objective, self.rows = at.objective, at.rows
        objective, rows = self.objective, self.rows
        self._first = objective.weights * objective.gradients[:, 0]
        self._second = objective.weights * objective.hessians[:, 0, 0]
        design, theta = objective.design, objective.theta
        absolute = type(design)(abs(design.X), abs(design.intercept))
        self._eta_terms = absolute.multiply(np.abs(theta).T)[:, 0]
        self._lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        diagonal = at.factor.curvature.diagonal()
        self._still = 2.0 * np.finfo(float).eps * float(np.sqrt(diagonal @ theta.ravel() ** 2))

    def solve(self, own, starts, is_enough):
        """Iterate until ``is_enough`` of the solutions of some edits, or nothing is gained.

        Parameters
        ----------
        own : OneRowEdits of m rows
        starts : ndarray of shape (m, n_parameters)
        is_enough : callable
            ``is_enough(solutions, which)``: a mask, of the solutions of the edits ``which``.

        Returns
        -------
        solutions : Solutions
        """
        m = len(own)
        nothing = np.full(m, np.inf)
        found = Solutions(
            np.zeros((m, self.rows.shape[1])), nothing, np.zeros(m), np.zeros(m), nothing.copy()
        )
        n, d = self.rows.shape
        width = max(1, ENTRIES // max(n, d * d))
        possible = np.flatnonzero(own.are_bounded)
        for low in range(0, len(possible), width):
            which = possible[low : low + width]
            self._run(own, which, starts[which], is_enough, found)
        return found

    def _run(self, own, which, w, is_enough, found):
        some = own.take(which)
        w = np.where(np.isfinite(w).all(axis=1)[:, None], w, 0.0)
        at = self._at(some, w)
        for _ in range(MAX_STEPS):
            step, now = self._newton_step(some, w, at)
            better = now.error <= found.error[which]
            for name, value in vars(found).items():
                value[which[better]] = getattr(now, name)[better]
            # A step of round-off gains nothing any more.
            go = np.abs(step).max(axis=1) > 1e-14 * np.abs(w).max(axis=1)
            go = np.flatnonzero(go & ~is_enough(now, which))
            if not len(go):
                return
            which, some = which[go], some.take(go)
            w, at = self._shortened(some, w[go], step[go], at[0][go])

    def _at(self, some, w):
        """The gradients, and the rows' weighted derivatives and moves, at some iterates."""
        objective, loss, m = self.objective, self.objective.loss, len(w)
        delta = w @ self.rows.T
        own = np.arange(m), some.rows
        moved = delta[own]
        with np.errstate(over="ignore", invalid="ignore"):
            eta = objective.eta[None, :, 0] + delta
            first = objective.weights * loss.gradient(eta[..., None], objective.y)[..., 0]
            second = objective.weights * loss.hessian(eta[..., None], objective.y)[..., 0, 0]
            after = (some.eta[:, 0] + moved)[:, None]
            first[own] = some.weight * loss.gradient(after, some.y)[:, 0]
            second[own] = some.weight * loss.hessian(after, some.y)[:, 0, 0]
            G = w + (first - self._first - self._second * delta) @ self.rows
            G += some.beyond_rows(w)
        return G, first, second

    def _newton_step(self, some, w, at):
        """Newton steps, and what is known of where they end."""
        G, first, second = at
        m, d = w.shape
        a = self.rows[some.rows]
        own = np.arange(m), some.rows
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            change = second - self._second
            renewed = np.abs(change) > RENEWED * self._second
            renewed[own] = True
            ratio = second / self._second
            ratio[second == self._second] = 1.0
            before = some.weight * self.objective.loss.hessian(some.eta, some.y)[:, 0, 0]
            ratio[own] = np.where(before > 0, second[own] / before, 1.0)
            # H at the iterate is at least lowest P, and between (1 +- bent) times F.
            lowest = np.minimum(ratio.min(axis=1), 1.0)
            bent = np.abs(ratio - 1.0).max(axis=1, where=~renewed, initial=0.0)
        F = np.empty((m, d, d))
        for i in range(m):
            rows = np.flatnonzero(renewed[i])
            F[i] = (self.rows[rows] * change[i, rows, None]).T @ self.rows[rows]
        F[:, np.arange(d), np.arange(d)] += 1.0
        F += some.hessian_beyond_rows()
        fair = np.isfinite(F).all(axis=(1, 2)) & np.isfinite(G).all(axis=1) & (lowest > 0)
        F[~fair] = np.eye(d)
        G = np.where(fair[:, None], G, 0.0)
        try:
            inverse = np.linalg.inv(F)
        except np.linalg.LinAlgError:
            fair[:], inverse = False, np.empty_like(F)
        inverse[~fair] = np.eye(d)
        step = -np.einsum("bij,bj->bi", inverse, G)
        square = -np.einsum("bd,bd->b", G, step)
        length = np.sqrt(np.maximum(np.einsum("bi,bij,bj->b", a, inverse, a, optimize=True), 0.0))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            # Largest eigenvalue of F^-1, from the rows' own changes or from itself.
            own_growth = np.linalg.norm(inverse, axis=(1, 2))
            grown = np.minimum(some.growth / lowest, own_growth / some.shrink)
            wider = np.sqrt(grown / some.growth)
            M, kappa = some.M, some.kappa * wider
            noise = some.noise * wider + self._rounding(first, second, w, np.sqrt(grown))
            noise += some.slack * wider**2 * some.norm(w, a)
            left = np.sqrt(np.where(square >= 0, square, np.inf)) * (1.0 + some.slack * wider**2)
            E = certificate.gradient_bound(M, kappa, (left + noise) / (1.0 - bent), 0.0)
            near = np.exp(M * kappa * E)
            # The step's end, from its beginning.
            there = ((1.0 + bent) * near - 1.0) * E + noise
            there[~fair | np.isnan(there)] = np.inf
            inflated = (1.0 + np.maximum(some.D * some.h, 0.0)) * some.added
            in_P = np.sqrt(np.minimum(1.0 / lowest, inflated * own_growth))
            # A row without a length of its own knows nothing of a step without a bound.
            own_bound = np.where(np.isinf(there), np.inf, length * there)
        step[~fair] = 0.0
        after = w + step
        return step, Solutions(
            after,
            there * in_P,
            some.norm(after, a),
            np.einsum("bd,bd->b", a, after),
            own_bound,
        )

    def _rounding(self, first, second, w, growth):
        """As :attr:`Accuracy.noise`, at some iterates."""
        reach = self._eta_terms + np.linalg.norm(w, axis=1)[:, None] * self._lengths
        rows = (np.abs(first) + second * reach) @ self._lengths
        return growth * (2.0 * np.finfo(float).eps * rows + self._still)

    def _shortened(self, some, w, step, G):
        """Steps halved until the slope at their end shows no overshooting; what is known there.

        The objective is convex: a slope that is not positive yet means that it fell all the way.
        """
        allowed = 0.9 * np.abs(np.einsum("bd,bd->b", G, step))
        scale = np.ones(len(w))
        new = w + step
        at = self._at(some, new)
        for _ in range(MAX_HALVINGS):
            with np.errstate(invalid="ignore", over="ignore"):
                slope = np.einsum("bd,bd->b", at[0], step)
            long = np.flatnonzero(~(slope <= allowed))
            if not len(long):
                break
            scale[long] *= 0.5
            new[long] = w[long] + scale[long, None] * step[long]
            again = self._at(some.take(long), new[long])
            for one, value in zip(at, again, strict=True):
                one[long] = value
        return new, at
