"""Own values of edits whose steps are along no row, from one product of all steps with all rows.

Behind a scaler a row that leaves moves the penalty too, so its step is no multiple of ``H^-1 x_i`` and
the sums over pairs of rows do not serve. Derivations are in ``doc/certificate.md``, "The row's own
value".
"""

import numpy as np

from skinfluence import certificate
from skinfluence._utils.weights import weigh
from skinfluence.smooth.pairs.own_values import answered
from skinfluence.smooth.pairs.pair_sums import COLUMNS, EPS, ROWS, SUMMED, TINY

# Of what is left of z beside a step: the difference of two squares.
CANCELLED = 1e-7


class StepSums:
    """Sums over the rows of powers of what steps move them by, in single precision.

    Parameters
    ----------
    at : Whitened
        Of an objective with one output.
    """

    def __init__(self, at):
        objective, rows = at.objective, at.rows
        self.M = objective.loss.self_concordance
        norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        second = objective.weighted_hessians[:, 0, 0]
        third = weigh(objective.weights, objective.loss.third(objective.eta, objective.y))
        self._cosines = (rows / np.where(norm > 0, norm, 1.0)[:, None]).astype(np.float32)
        sizes = norm * (objective.weights > 0), third * norm**3, second * norm**4
        self._scales = [float(np.abs(one).max(initial=0.0)) or 1.0 for one in sizes]
        self._sizes = [
            (one / s).astype(np.float32) for one, s in zip(sizes, self._scales, strict=True)
        ]
        self._edf, self._heavy = float(second @ norm**2), float(second @ norm**4)
        self._farthest = float(sizes[0].max(initial=0.0))

    def __call__(self, steps, skip):
        """The sums of each step.

        Parameters
        ----------
        steps : ndarray of shape (m, n_parameters)
            In the coordinates of the rows.
        skip : ndarray of int, shape (m,)
            The row that does not count for each.

        Returns
        -------
        largest : ndarray of shape (m,)
            At least ``max_j |delta_j|``.
        cubes, cubes_error : ndarray of shape (m,)
            ``sum_j w_j l'''_j delta_j^3`` and a bound on its rounding.
        quarts : ndarray of shape (m,)
            At least ``sum_j w_j l''_j delta_j^4``.

        Notes
        -----
        One product of 2 m n p flops, and rounding counted as in
        :class:`~skinfluence.smooth.pairs.pair_sums.PairSums`.
        """
        n, d = self._cosines.shape
        length = np.sqrt(np.einsum("ij,ij->i", steps, steps))
        with np.errstate(invalid="ignore"):
            cosines = (steps / np.where(length > 0, length, 1.0)[:, None]).astype(np.float32)
        largest, cubes, quarts = self._folded(cosines, skip)
        largest, cubes, quarts = (
            one * s for one, s in zip((largest, cubes, quarts), self._scales, strict=True)
        )
        gamma = (d + 4) * EPS
        with np.errstate(over="ignore", invalid="ignore"):
            quarts = length**4 * (quarts * (1.0 + SUMMED) + n * TINY * self._scales[2])
            rounded = (quarts**0.25 + gamma * length * self._heavy**0.25) ** 4
            error = 3.0 * gamma * length * np.sqrt(self._edf * rounded)
            error += SUMMED * length * np.sqrt(rounded)
            error = self.M * error + length**3 * n * TINY * self._scales[1]
            largest = length * (largest * (1.0 + 4.0 * EPS) + gamma * self._farthest)
            return largest, length**3 * cubes, error, rounded

    def _folded(self, cosines, skip):
        from skinfluence._compiled.pairs import rows_of_block

        m, n = len(cosines), len(self._cosines)
        largest, cubes, quarts = np.zeros(m, dtype=np.float32), np.zeros(m), np.zeros(m)
        buffer = np.empty(ROWS * COLUMNS, dtype=np.float32)
        for low in range(0, m, ROWS):
            left = cosines[low : low + ROWS]
            mine = slice(low, low + len(left))
            for start in range(0, n, COLUMNS):
                right = self._cosines[start : start + COLUMNS]
                K = buffer[: len(left) * len(right)].reshape(len(left), len(right))
                np.matmul(left, right.T, out=K)
                inside = np.flatnonzero((skip[mine] >= start) & (skip[mine] < start + len(right)))
                K[inside, skip[mine][inside] - start] = 0.0
                rows_of_block(K, start, *self._sizes, largest[mine], cubes[mine], quarts[mine])
        return largest.astype(float), cubes, quarts


def own_values_along(own, tall=None):
    """Newton steps of own decision values, corrected to second order, with bounds.

    Parameters
    ----------
    own : OneRowEdits
    tall : TallSums, default=None
        What stands in for a product of all steps with all rows.

    Returns
    -------
    found : OwnValues

    Notes
    -----
    Without ``tall``, ``z = P^-1 x`` is split into what lies along the step, ``beta u``, and the rest, whose
    part of every sum is bounded by its size.
    """
    loss, M, a = own.objective.loss, own.M, own.a
    steps = own.begin(a)
    moved = np.einsum("bd,bd->b", a, steps)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # The row itself, as it is after the edit.
        W = weigh(own.weight, loss.hessian(own.eta, own.y)[:, 0, 0])
        T = weigh(own.weight, loss.third(own.eta, own.y))
        if tall is None:
            sums = _by_rows(own, steps, moved, W, T)
        else:
            sums = _by_tensor(own, tall, steps, moved, W, T)
        largest, fourth, across, second, second_error = sums
        r = M * np.maximum(largest, np.where(W > 0, np.abs(moved), 0.0))
        change = moved - 0.5 * second
        left = certificate.remainder_average(M, r) * fourth + own.slack * own.size + own.noise
        E = certificate.gradient_bound(M, own.kappa, left, r)
        own.settle(r, E)
        bound = certificate.own_value_bound(M, own.kappa, E, r, fourth, across, own.length)
        bound += 0.5 * second_error + own.floor
        bound += own.slack * (np.abs(moved) + 0.5 * np.abs(second) + own.length * own.size)
    return answered(own, np.where(np.isfinite(bound), change, 0.0), bound)


def _by_rows(own, steps, moved, W, T):
    """What the bound needs, by sums over the rows.

    Returns
    -------
    largest : ndarray of shape (m,)
        The largest move of another row.
    fourth, across : ndarray of shape (m,)
        ``F`` and ``Q^1/2``.
    second, error : ndarray of shape (m,)
        ``z'T[u, u]``, and a bound on its error.
    """
    largest, cubes, cubes_error, quarts = own.at.step_sums(steps, own.rows)
    cubes = cubes + T * moved**3
    fourth = np.sqrt(quarts + np.abs(W) * moved**4)
    along, rest = _parts(own, moved)
    across = (np.abs(along) * np.sqrt(fourth) + np.sqrt(own.kappa) * rest) ** 2
    error = own.M * fourth * rest + np.abs(along) * cubes_error
    return largest, fourth, across, along * cubes, error


def _by_tensor(own, tall, steps, moved, W, T):
    """The same by a tensor, which z needs no split for, and by leverages."""
    a = own.a
    z = own.length[:, None] * own.directions(a)
    h = np.einsum("bd,bd->b", a, z)
    turned, rounding = tall.turned(steps)
    largest = tall.moved_by(steps, own.rows)
    # Without the row as it was, with the row as it is.
    second = np.einsum("bd,bd->b", z, turned) + (T - tall.third[own.rows]) * moved**2 * h
    error = rounding * np.sqrt(np.einsum("bd,bd->b", z, z))
    fourth = np.sqrt((largest * own.size * (1.0 + own.slack)) ** 2 + np.abs(W) * moved**4)
    along, rest = _parts(own, moved)
    farthest = np.minimum(own.kappa * own.length, np.abs(along) * largest + own.kappa * rest)
    across = farthest * own.length + np.sqrt(np.abs(W)) * h**2
    return largest, fourth, across, second, error


def _parts(own, moved):
    """``beta``, and the size of the rest of z."""
    rest = np.sqrt(np.maximum(own.length**2 - (moved / own.size) ** 2, 0.0))
    return moved / own.size**2, rest + (CANCELLED + np.sqrt(own.slack)) * own.length
