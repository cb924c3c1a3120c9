"""Whether a Huber regression has an optimum, and a place near it: its scale is followed from above.

The objective ``Phi(b, s)`` is convex in coefficients and scale together, so the least ``f(s)`` of it over
``b`` is convex, with ``f'(s) = sum(w) - sum(w u^2)`` at that ``b`` and ``u`` the residuals over ``s``, cut at
epsilon. Where ``f'`` is negative the optimum has a larger scale; where it is positive down to the rounding
of residuals there is none that float64 can tell from zero. For one scale the rest is piecewise quadratic
and is solved piece by piece [1]_.

References
----------
.. [1] K. Madsen, H. B. Nielsen, "A finite smoothing algorithm for linear l1 estimation", SIAM Journal on
   Optimization 3(2), 1993.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from skinfluence.row_losses.newton import QUIET, descend
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.cholesky import cho_solved, cholesky

EPS = np.finfo(float).eps
# A scale of fewer roundings of residuals than this has no digits, and neither has what it decides.
FEWEST_ROUNDINGS = 1e3
# Each scale over the one before, and how often the last two are halved.
SMALLER, MOST_HALVES = 0.25, 8
# Pieces that are tried for one scale, and what may be left of its u, on average.
MOST_PIECES, LEFT = 300, 1e-8
# Reciprocal condition below which the rows within epsilon do not decide.
UNDECIDED = 1e-12


def floor(problem):
    """The scale below which those of residuals are rounding."""
    return _Path.of(problem).floor(problem.theta[:-1])


@dataclass(frozen=True, eq=False)
class Place:
    """The best coefficients for a scale, and the slope of the objective in the scale there.

    Attributes
    ----------
    coef : ndarray of shape (n_params - 1,)
    scale, slope : float
    """

    coef: np.ndarray
    scale: float
    slope: float = np.inf


@np.errstate(**QUIET)
def bracketed(problem):
    """Two places, the optimum between their scales.

    Parameters
    ----------
    problem : HuberProblem

    Returns
    -------
    below, above : Place
        ``below`` is None where every scale above the rounding of residuals has a smaller one with
        less, down to that of ``above``: there is no optimum.
    """
    path = _Path.of(problem)
    place = path.start()
    if place.scale <= path.floor(place.coef):
        # All rows are passed through.
        return None, place
    place = path.at(place, place.scale)
    while place.slope <= 0:
        below, place = place, path.at(place, place.scale / SMALLER)
        if place.slope > 0:
            return below, place
    while place.scale > path.floor(place.coef):
        above, place = place, path.at(place, SMALLER * place.scale)
        if place.slope <= 0:
            return place, above
    return None, place


@np.errstate(**QUIET)
def by_scales(problem):
    """The optimum, from no particular parameters.

    Parameters
    ----------
    problem : HuberProblem

    Returns
    -------
    found : RowLossMinimum or None
        None where there is none.
    """
    below, above = bracketed(problem)
    if below is None:
        return None
    path, tried = _Path.of(problem), [above, below]
    for _ in range(MOST_HALVES):
        for one in tried:
            found = descend(problem.at(np.append(one.coef, one.scale)))
            if found.converged and found.problem.theta[-1] > floor(found.problem):
                return replace(found, converged=found.problem.is_determined)
        middle = path.at(below, np.sqrt(below.scale * above.scale))
        below, above = (middle, above) if middle.slope <= 0 else (below, middle)
        tried = [middle]
    return replace(found, converged=False)


@dataclass(frozen=True, eq=False)
class _Path:
    """Rows of positive weight, and the best coefficients for scales of one Huber regression of them."""

    Z: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    penalty: np.ndarray
    epsilon: float

    @classmethod
    def of(cls, problem):
        X, y, weights = problem.weighted
        Z = problem.row_loss.columns(X)
        return cls(Z, y, weights, problem.penalty[:-1], problem.row_loss.epsilon)

    def floor(self, coef):
        terms = np.abs(self.y) + np.abs(self.Z) @ np.abs(coef)
        return max(FEWEST_ROUNDINGS * EPS * float(terms.max(initial=0.0)), np.finfo(float).tiny)

    def start(self):
        """Least squares, at a scale with no row beyond epsilon."""
        root = np.sqrt(self.weights)
        rows = np.vstack([root[:, None] * self.Z, np.diag(np.sqrt(0.5 * self.penalty))])
        right = np.append(root * self.y, np.zeros(len(self.penalty)))
        coef = linalg.lstsq(rows, right)[0]
        rest = np.abs(self.y - self.Z @ coef)
        return Place(coef, max(float(rest.max()), np.finfo(float).tiny))

    def at(self, place, scale):
        """The best place for a scale, from one near."""
        coef, w, total, unsure = place.coef, self.weights, self.weights.sum(), 0.0
        left = max(LEFT, 10.0 * self.floor(coef) / FEWEST_ROUNDINGS / scale)
        for _ in range(MOST_PIECES):
            rest = self.y - self.Z @ coef
            u = np.clip(rest / scale, -self.epsilon, self.epsilon)
            gradient = self.penalty * coef - 2.0 * self.Z.T @ (w * u)
            step = self._step(rest, scale, gradient)
            # What u is off by on average: the objective curves by 2 w / scale within epsilon.
            off = float(np.sqrt(max(-gradient @ step, 0.0) / (2.0 * scale * total)))
            if off <= left:
                break
            coef = coef + self._share(rest, scale, step, coef) * step
        else:
            # No scale is said to have one below it with less unless that is sure.
            unsure = 2.0 * self.epsilon * total * off
        return Place(coef, scale, float(total - w @ u**2 - unsure))

    def _step(self, rest, scale, gradient):
        """Newton's, or where the rows within epsilon do not decide with the others' chords."""
        far = np.abs(rest) > self.epsilon * scale
        curved = np.where(far, 0.0, 2.0 * self.weights / scale)
        for chords in (0.0, 1.0):
            if chords:
                curved = curved + np.where(
                    far, 2.0 * self.epsilon * self.weights / np.abs(rest), 0.0
                )
            H = (curved[:, None] * self.Z).T @ self.Z + np.diag(self.penalty)
            try:
                L, size, rcond = cholesky(H, "The Hessian")
            except SingularHessianError:
                continue
            if rcond > UNDECIDED:
                return -size * cho_solved(L, (size * gradient)[:, None])[:, 0]
        # Columns that depend on each other.
        return -linalg.lstsq(H, gradient)[0]

    def _share(self, rest, scale, step, coef):
        """Where along a step the objective is least: its slope goes up by straight pieces."""
        q, w = self.Z @ step, self.weights
        moves = q != 0
        rest, q, w = rest[moves], q[moves], w[moves]
        ends = np.sort(
            (rest + np.outer([-1.0, 1.0], self.epsilon * scale * np.sign(q))) / q, axis=0
        )
        gains = 2.0 * w * q**2 / scale
        own = float(step @ (self.penalty * step))
        u = np.clip(rest / scale, -self.epsilon, self.epsilon)
        slope = float(step @ (self.penalty * coef) - 2.0 * (w * u) @ q)
        curve = own + gains[(ends[0] <= 0) & (ends[1] > 0)].sum()
        times = np.concatenate([ends[0], ends[1]])
        gains = np.concatenate([gains, -gains])
        order = np.argsort(times)
        order = order[times[order] > 0]
        times, curves = times[order], curve + np.append(0.0, np.cumsum(gains[order]))
        slopes = slope + np.append(0.0, np.cumsum(np.diff(times, prepend=0.0) * curves[:-1]))
        k = int(np.searchsorted(slopes[1:], 0.0))
        begin = 0.0 if k == 0 else times[k - 1]
        return begin - slopes[k] / curves[k] if curves[k] > 0 else begin
