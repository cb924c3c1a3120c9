"""Newton's method on one-row edits, with a Hessian that is renewed where its rows moved.

For the few edits that no chord certifies: the Hessian after the edit is the fitted one but for rows
whose curvature changed, which are few. Derivations are in ``doc/certificate.md``, "Newton's method".
"""

from dataclasses import dataclass

import numpy as np

from skinfluence import certificate
from skinfluence._utils.weights import weigh

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

    A subclass has iterates of another kind: vectors of ``width`` numbers, whose products with what
    ``_at`` gives first are slopes.

    Parameters
    ----------
    at : Whitened
        Of an objective with one output.
    """

    def __init__(self, at):
        self.rows = at.rows
        n, d = at.rows.shape
        self._keep(at, d, max(n, d * d), np.sqrt(np.einsum("ij,ij->i", at.rows, at.rows)))

    def _keep(self, at, width, held, lengths):
        """What all iterations need: numbers of an iterate and held for each, and of each row."""
        self.objective = objective = at.objective
        self.width, self._held, self._lengths = width, held, lengths
        self._first = objective.weighted_gradients[:, 0]
        self._second = objective.weighted_hessians[:, 0, 0]
        design, theta = objective.design, objective.theta
        absolute = type(design)(abs(design.X), abs(design.intercept))
        self._eta_terms = absolute.multiply(np.abs(theta).T)[:, 0]
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
            np.zeros((m, self.width)), nothing, np.zeros(m), np.zeros(m), nothing.copy()
        )
        width = max(1, ENTRIES // self._held)
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
        delta = w @ self.rows.T
        first, second = self._derivatives(some, delta)
        with np.errstate(over="ignore", invalid="ignore"):
            G = w + (first - self._first - self._second * delta) @ self.rows
            G += some.beyond_rows(w)
        return G, first, second

    def _derivatives(self, some, delta):
        """Weighted derivatives of all rows after the edits, where they moved by ``delta``."""
        objective, loss = self.objective, self.objective.loss
        own = np.arange(len(delta)), some.rows
        with np.errstate(over="ignore", invalid="ignore"):
            eta = objective.eta[None, :, 0] + delta
            first = weigh(objective.weights, loss.gradient(eta[..., None], objective.y)[..., 0])
            second = weigh(objective.weights, loss.hessian(eta[..., None], objective.y)[..., 0, 0])
            after = (some.eta[:, 0] + delta[own])[:, None]
            first[own] = weigh(some.weight, loss.gradient(after, some.y)[:, 0])
            second[own] = weigh(some.weight, loss.hessian(after, some.y)[:, 0, 0])
        return first, second

    def _newton_step(self, some, w, at):
        """Newton steps, and what is known of where they end."""
        G, first, second = at
        m, d = w.shape
        a = self.rows[some.rows]
        change, renewed, lowest, bent, _ = self._renewed(some, second)
        F = np.empty((m, d, d))
        with np.errstate(over="ignore", invalid="ignore"):
            for i in range(m):
                few = np.flatnonzero(renewed[i])
                rows = self.rows[few]
                F[i] = (rows * change[i, few, None]).T @ rows
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
        along = np.einsum("bi,bi->b", a, np.einsum("bij,bj->bi", inverse, a))
        growth = np.linalg.norm(inverse, axis=(1, 2))
        there, in_P, own_bound = self._bounds(
            some,
            (first, second, np.linalg.norm(w, axis=1), some.norm(w, a)),
            (square, along, growth),
            lowest,
            bent,
            fair,
        )
        step[~fair] = 0.0
        after = w + step
        change = np.einsum("bd,bd->b", a, after)
        return step, Solutions(after, there * in_P, some.norm(after, a), change, own_bound)

    def _renewed(self, some, second, spared=0.0):
        """Which rows have another curvature by how much, and what bounds the others.

        Parameters
        ----------
        some : OneRowEdits of m rows
        second : ndarray of shape (m, n_samples)
        spared : float, default=0.0
            Rows that add up to so much of the Hessian of the fit need not be renewed.

        Returns
        -------
        change : ndarray of shape (m, n_samples)
        renewed : ndarray of bool, shape (m, n_samples)
        lowest : ndarray of shape (m,)
            The Hessian in which those rows are renewed is at least so much of P.
        bent, left : ndarray of shape (m,)
            That at the iterate is between ``1 - bent`` and ``1 + bent`` times it but for rows that
            are spared, which add up to ``left`` of the Hessian of the fit.
        """
        own = np.arange(len(second)), some.rows
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            change = second - self._second
            renewed = np.abs(change) > RENEWED * self._second
            renewed[own] = True
            ratio = second / self._second
            ratio[second == self._second] = 1.0
            before = some.weight * self.objective.loss.hessian(some.eta, some.y)[:, 0, 0]
            ratio[own] = np.where(before > 0, second[own] / before, 1.0)
            bent = np.abs(ratio - 1.0).max(axis=1, where=~renewed, initial=0.0)
            left = np.zeros(len(second))
            if spared:
                size = np.where(renewed, np.abs(change) * self._lengths**2, np.inf)
                size[own] = np.inf
                order = np.argsort(size, axis=1)
                total = np.cumsum(np.take_along_axis(size, order, axis=1), axis=1)
                few = np.count_nonzero(total <= spared, axis=1)
                left = np.where(few > 0, total[np.arange(len(few)), np.maximum(few - 1, 0)], 0.0)
                for i, count in enumerate(few):
                    renewed[i, order[i, :count]] = False
                # Rows that are spared keep the curvature that they had.
                ratio[~renewed] = 1.0
            lowest = np.minimum(ratio.min(axis=1), 1.0)
        return change, renewed, lowest, bent, left

    def _bounds(self, some, at, norms, lowest, bent, fair, spared=0.0):
        """What is known of the ends of Newton steps.

        Parameters
        ----------
        some : OneRowEdits of m rows
        at : tuple of ndarray
            Derivatives at the beginning, (m, n_samples) twice, and its size without and with the
            edit, (m,) twice.
        norms : tuple of ndarray, each of shape (m,)
            The squares of the step and of ``x_i``, in the norm of F and of its inverse, and at least
            the norm of ``F^-1`` where H is the identity.
        lowest, bent : ndarray of shape (m,)
        fair : ndarray of bool, shape (m,)
        spared : ndarray of shape (m,), default=0.0
            What rows that are not renewed add up to, of the Hessian of the fit.

        Returns
        -------
        there : ndarray of shape (m,)
            On the errors, in the norm of F.
        in_P : ndarray of shape (m,)
            What that norm is multiplied by.
        own_bound : ndarray of shape (m,)
            On the errors of the rows' own decision values.
        """
        (first, second, reach, size), (square, along, own_growth) = at, norms
        length = np.sqrt(np.maximum(along, 0.0))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            # Largest eigenvalue of F^-1, from the rows' own changes or from itself.
            grown = np.minimum(some.growth / lowest, own_growth / some.shrink)
            wider = np.sqrt(grown / some.growth)
            bent = bent + grown * spared
            M, kappa = some.M, some.kappa * wider
            noise = some.noise * wider + self._rounding(first, second, reach, np.sqrt(grown))
            noise += some.slack * wider**2 * size
            left = np.sqrt(np.where(square >= 0, square, np.inf)) * (1.0 + some.slack * wider**2)
            left = (left + noise) / np.maximum(1.0 - bent, 0.0)
            E = certificate.gradient_bound(M, kappa, left, 0.0)
            near = np.exp(M * kappa * E)
            # The step's end, from its beginning.
            there = ((1.0 + bent) * near - 1.0) * E + noise
            there[~fair | np.isnan(there)] = np.inf
            inflated = (1.0 + np.maximum(some.D * some.h, 0.0)) * some.added
            in_P = np.sqrt(np.minimum(1.0 / lowest, inflated * own_growth))
            # A row without a length of its own knows nothing of a step without a bound.
            own_bound = np.where(np.isinf(there), np.inf, length * there)
        return there, in_P, own_bound

    def _rounding(self, first, second, reach, growth):
        """As :attr:`Accuracy.noise`, at iterates of some size."""
        moved = self._eta_terms + reach[:, None] * self._lengths
        rows = (np.abs(first) + second * moved) @ self._lengths
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
