"""A tensor of the columns in the place of sums over rows: third powers, linear in the rows."""

import numpy as np

from skinfluence.smooth.pairs.pair_sums import EPS, TINY

# Rows of one sum in single precision, and vectors that are contracted side by side.
ROWS, VECTORS = 2048, 1024


class ThirdPowers:
    """``sum_j t_j a_j (x) a_j (x) a_j`` of n rows of d numbers, in single precision.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
    third : ndarray of shape (n,)
        ``t_j``.

    Attributes
    ----------
    rounding : float
        A bound on the rounding of a contraction with vectors of length one, and on its length where
        one place is left.

    Notes
    -----
    Every triple of columns once, at its first one: ``2/3 n d^3`` flops, and as many for n contractions.
    """

    def __init__(self, rows, third):
        held = third != 0.0
        if not held.all():
            rows, third = rows[held], third[held]
        n, d = rows.shape
        h = np.einsum("ij,ij->i", rows, rows)
        # Of one size: third powers of tiny rows would underflow.
        scale = float(np.sqrt(h.max(initial=0.0))) or 1.0
        heavy = float(np.abs(third).max(initial=0.0)) or 1.0
        self._unit = scale**3 * heavy
        self.rounding = (ROWS + 3 * d + 16) * EPS * float(np.abs(third) @ h**1.5)
        # What underflows beside the largest row.
        self.rounding += 8.0 * n * d**2 * TINY * self._unit
        t = (third / heavy).astype(np.float32)
        tensor = [np.zeros((d - a, d - a)) for a in range(d)]
        for low in range(0, n, ROWS):
            part = np.ascontiguousarray((rows[low : low + ROWS] / scale).T, dtype=np.float32)
            for a, T in enumerate(tensor):
                T += (part[a:] * (t[low : low + ROWS] * part[a])) @ part[a:].T
        self._tensor = [_often(T).astype(np.float32) for T in tensor]

    def turned(self, vectors):
        """Contracted with vectors twice, ``sum_j t_j (a_j'v)^2 a_j``.

        Parameters
        ----------
        vectors : ndarray of shape (m, d)

        Returns
        -------
        turned : ndarray of shape (m, d)
        rounding : ndarray of shape (m,)
            A bound on the length of its rounding.
        """
        length, blocks = _as_columns(vectors)
        out = np.empty_like(vectors)
        for low, part in blocks:
            # A third of the derivative of the cubic form.
            total = np.zeros_like(part)
            for a, T in enumerate(self._tensor):
                product = T @ part[a:]
                total[a] += np.einsum("db,db->b", product, part[a:])
                product *= 2.0 * part[a]
                total[a:] += product
            out[low : low + VECTORS] = total.T
        out *= (self._unit / 3.0 * length**2)[:, None]
        return out, self.rounding * length**2

    def cubes(self, vectors):
        """Contracted with vectors three times, ``sum_j t_j (a_j'v)^3``, (m,)."""
        length, blocks = _as_columns(vectors)
        cubes = np.zeros(len(length))
        for low, part in blocks:
            for a, T in enumerate(self._tensor):
                form = np.einsum("db,db->b", T @ part[a:], part[a:])
                cubes[low : low + VECTORS] += part[a] * form
        return cubes * self._unit * length**3


def _as_columns(vectors):
    """Lengths of vectors, and blocks ``(start, columns)`` of them at length one in single precision."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    with np.errstate(invalid="ignore"):
        single = (vectors / np.where(length > 0, length, 1.0)[:, None]).astype(np.float32)
    starts = range(0, len(vectors), VECTORS)
    return length, ((low, np.ascontiguousarray(single[low : low + VECTORS].T)) for low in starts)


def _often(T):
    """The entries of a first column times how often they are in the sum over all triples.

    Three places for the first column where the others are two later ones in both orders.
    """
    out = 3.0 * T
    out[0] *= 0.5
    out[:, 0] *= 0.5
    out[0, 0] = T[0, 0]
    return out
