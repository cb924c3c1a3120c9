"""Rows that no edit moves far, taken to second order: a tensor in their place in every pass.

Derivations are in ``doc/certificate.md``, "Rows that are near".
"""

from functools import cached_property

import numpy as np

from skinfluence import certificate
from skinfluence._utils.weights import weigh
from skinfluence.smooth.chords.logistic_pass import BENT
from skinfluence.smooth.pairs.third_powers import ThirdPowers

# Share of a tolerance that what is left beyond second order may take.
SHARE = 0.7
# Flops that a row costs a pass beside its products, a sparse one, and of its two products a number; what
# the tensor may hold.
BESIDE, SPARSE_BESIDE, PRODUCTS, MOST_COLUMNS = 130, 300, 4, 256
# Columns from which on the tensor is hardly slower than a product, and the least that it must save.
FEW_COLUMNS, SAVED = 75, 0.2
# FarRows of the rows that may be read one by one, and edits that are looked at to choose among them.
FAR, LOOKED_AT = (0.0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4), 256


class NearRows:
    """The rows of small leverage of an objective with one output.

    Parameters
    ----------
    at : Whitened
    far : ndarray of int
        The rows that are not among them.

    Attributes
    ----------
    far : ndarray of int
    """

    def __init__(self, at, far):
        objective = at.objective
        self.far = far
        near = np.ones(len(at.rows), dtype=bool)
        near[far] = False
        self._third = weigh(
            near * objective.weights, objective.loss.third(objective.eta, objective.y)
        )
        rows = at.rows[near]
        self._tensor = ThirdPowers(rows, self._third[near])
        h, second = _sizes_and_curvatures(at)
        self._largest = float(h[near].max(initial=0.0))
        self._curved = (rows.T * (second * h)[near]) @ rows
        self._turned = (rows.T * (second * h**2)[near]) @ rows

    def serve(self, own, tol):
        """Which edits it does for, a mask: what it leaves of them is a share of the tolerance.

        Parameters
        ----------
        own : OneRowEdits
        tol : float
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return self._lost(own, own.begin(own.a)) <= SHARE * tol * own.size

    def add(self, own, a, w, S, sums, scale):
        """Add to what a pass over the far rows says of some iterates.

        Parameters
        ----------
        own : OneRowEdits of m rows
        a, w : ndarray of shape (m, n_parameters)
            Their rows and the iterates.
        S : ndarray of shape (m, n_parameters)
            Sums of remainders.
        sums : ndarray of shape (7, m)
            As of :meth:`~skinfluence.smooth.chords.logistic_pass.LogisticRows.remainders`.
        scale : float
            What those are of: ``w l''`` over so much.

        Returns
        -------
        lost : ndarray of shape (m,)
            A bound on what is left of the gradient beyond second order, in the norm of ``P^-1``.
        """
        turned, _ = self._tensor.turned(w)
        # Without the row as it was.
        moved = np.einsum("bd,bd->b", a, w)
        turned -= (self._third[own.rows] * moved**2)[:, None] * a
        S += 0.5 * turned
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            r = _reach(own, _squared(w), self._largest)
            most = np.expm1(r)
            sums[0] = np.where(most <= BENT, np.maximum(sums[0], r), np.inf)
            # |q - 1| is at most M |delta| times this, and delta^2 at most |w|^2 h.
            bent = (own.M * np.where(r > 0, most / r, 1.0)) ** 2 * _form(self._curved, w)
            sums[2] += np.minimum(most**2, own.growth * bent) / scale
            sums[3] += np.exp(2.0 * r) / scale
            sums[4] += bent / scale
            return self._lost(own, w)

    def _lost(self, own, w):
        square = _squared(w)
        beyond = _beyond(own, square, _form(self._turned, w), self._largest)
        return beyond + 0.5 * self._tensor.rounding * square * np.sqrt(own.growth)


class FarRows:
    """Which rows to read one by one, where others are near: shares of the rows of largest leverage.

    Parameters
    ----------
    at : Whitened
    """

    def __init__(self, at):
        self.at = at

    @cached_property
    def _order(self):
        """The rows from the largest leverage on, and what that is."""
        h, _ = _sizes_and_curvatures(self.at)
        order = np.argsort(-h)
        return order, h[order]

    @cached_property
    def _forms(self):
        """How many rows are far, and ``sum_j w_j l''_j h_j^2 a_j a_j'`` over the others."""
        h, second = _sizes_and_curvatures(self.at)
        (order, _), (n, d) = self._order, self.at.rows.shape
        ends, form, found = [int(share * n) for share in FAR], np.zeros((d, d)), []
        # Each form is that of the one before and a few rows.
        for k, end in zip(reversed(ends), reversed([*ends[1:], n]), strict=True):
            part = order[k:end]
            form = (
                form + (self.at.rows[part].T * (second[part] * h[part] ** 2)) @ self.at.rows[part]
            )
            found.append((k, form))
        return found

    def cheapest(self, own, tol):
        """The rows to read one by one with which some edits are cheapest; None where all are read.

        It looks at these edits alone, so that answers are the same whatever was asked before.

        Parameters
        ----------
        own : OneRowEdits of m rows
        tol : float
            Of the edits.

        Returns
        -------
        far : ndarray of int, or None
        """
        (n, d), m = self.at.rows.shape, len(own)
        row, tensor = PRODUCTS * d + BESIDE, (1.0 + FEW_COLUMNS / d) * 2.0 / 3.0 * d**3
        design = self.at.objective.design
        read = 2 * PRODUCTS * design.X.nnz / n + SPARSE_BESIDE if design.is_sparse else row
        best, n_far = (1.0 - SAVED) * read * n * m, None
        if d > MOST_COLUMNS or tensor * (n + m) > best:
            return None
        order, h = self._order
        some = own.take(np.flatnonzero(own.are_bounded)[:: max(1, m // LOOKED_AT)])
        steps = some.begin(some.a)
        square = _squared(steps)
        for k, form in self._forms:
            lost = _beyond(some, square, _form(form, steps), h[k])
            served = np.mean(lost <= SHARE * tol * some.size) if len(some) else 0.0
            cost = row * m * (k * served + n * (1.0 - served)) + tensor * (m * served + n - k)
            if cost < best:
                best, n_far = cost, k
        return None if n_far is None else np.sort(order[:n_far])


def _sizes_and_curvatures(at):
    """Bounds on ``|x_j|^2`` in the norms of the inverses of ``H`` and ``H_s``, and ``w_j l''_j``."""
    objective = at.objective
    second = objective.weighted_hessians[:, 0, 0]
    sizes = np.maximum(at.accuracy.row_sizes, _squared(at.rows))
    return np.where(objective.weights > 0, sizes, 0.0), second


def _beyond(own, square, turned, largest):
    """What is left of gradients beyond second order, in the norm of ``P^-1``.

    Parameters
    ----------
    own : OneRowEdits of m rows
    square, turned : ndarray of shape (m,)
        ``|v|^2`` and ``v'(sum_j w_j l''_j h_j^2 a_j a_j')v`` of their steps v.
    largest : float
        Of the h_j.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rest = certificate.beyond_second_order(_reach(own, square, largest))
        return own.M**2 * rest * square * np.sqrt(turned)


def _reach(own, square, largest):
    """``M`` times the largest change of a decision value under steps of a length."""
    return own.M * np.sqrt(largest * square) * (1.0 + 1e-9)


def _squared(v):
    return np.einsum("ij,ij->i", v, v)


def _form(A, v):
    """``v' A v`` of each line, rounded up."""
    return np.maximum(np.einsum("ij,ij->i", v @ A, v), 0.0) * (1.0 + 1e-9)
