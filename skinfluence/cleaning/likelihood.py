"""How likely given labels are by chances of the true ones and a matrix P(given | true), with derivatives."""

from itertools import pairwise

import numpy as np

# Probabilities below this differ by rounding only.
SMALLEST = 1e-30
# Errors blunt the probabilities of a model that was fitted to them: log a is about this.
TYPICAL_LOG_A = 0.2
# Spread of the prior of how far the model is moved by what the rows around say.
USUAL_HEED = 4.0


class LabelLikelihood:
    """The labels of some rows, and what is thought of the true ones.

    Parameters
    ----------
    logs : ndarray of shape (n_samples, n_classes)
        Log probabilities of models that have not seen the row.
    codes : ndarray of int, shape (n_samples,)
        Positions of the given labels.
    side, votes : ndarray of shape (n_samples, n_classes), default=None
        What the rows around say beyond the model, and chances of the classes by them alone.

    Notes
    -----
    The true label follows ``p = (1 - v) softmax(a log p + b + c side) + v votes``; without rows around
    ``c`` and ``v`` are none of the parameters. The given one is ``g`` with chance ``sum_k p_k T_kg``, of
    which ``T`` is linear in the shares of kinds of errors. Penalised by ``(log a - .2)^2 / 2 + |b|^2 / 2 +
    (c / 4)^2 / 2``.
    """

    def __init__(self, logs, codes, side=None, votes=None):
        order = np.argsort(codes, kind="stable")
        # By given label, so that the rows of each lie together.
        self.logs, self.codes = logs[order], codes[order]
        self.n, self.k = logs.shape
        self.counts = np.bincount(codes, minlength=self.k).astype(float)
        ends = np.searchsorted(self.codes, np.arange(self.k + 1))
        self._mine = [slice(*both) for both in pairwise(ends)]
        self._there = np.flatnonzero(np.diff(ends))
        self._starts = ends[self._there]
        # One row for each class, so that sums over classes run along the samples; the largest is 0.
        self._down = np.ascontiguousarray((self.logs - self.logs.max(axis=1, keepdims=True)).T)
        self._side = None if side is None else np.ascontiguousarray(side[order].T)
        self._votes = None if votes is None else np.ascontiguousarray(votes[order].T)

    @property
    def n_before_shares(self):
        """How many parameters there are before the shares of errors."""
        return 1 + self.k + (0 if self._votes is None else 2)

    def parts(self, parameters, kinds):
        """Penalised mean log likelihood, its gradient, and minus its Hessian.

        Parameters
        ----------
        parameters : ndarray of shape (n_parameters,)
            ``log a``, ``b``, with rows around ``c`` and ``v``, and the shares.
        kinds : Kinds

        Returns
        -------
        value : float
        gradient : ndarray of shape (n_parameters,)
        curvature : ndarray of shape (n_parameters, n_parameters)
        """
        k, around = self.k, self._votes is not None
        b, shares = parameters[1 : 1 + k], parameters[self.n_before_shares :]
        c, v = parameters[1 + k : 3 + k] if around else (0.0, 0.0)
        steep = np.exp(parameters[0]) * self._down
        lines = [(0, steep), (1 + k, self._side)] if around else [(0, steep)]
        own = steep + (b - b.max())[:, None]
        if around:
            own += c * self._side
            own -= own.max(axis=0)
        np.exp(own, out=own)
        own /= own.sum(axis=0)
        mixed = (1.0 - v) * own + v * self._votes if around else own
        chance = kinds.matrix(shares, k).take(self.codes, axis=1)
        given = np.maximum((mixed * chance).sum(axis=0), SMALLEST)
        chance /= given
        # Slopes of the log likelihood of each row in its decision values.
        slopes = own * (chance - (own * chance).sum(axis=0)) * (1.0 - v)

        # Of log a, b, c: what the model expects along each, and the slopes.
        n_along = k + len(lines)
        expected, slope = np.empty((2, n_along, self.n))
        expected[1 : 1 + k], slope[1 : 1 + k] = own, slopes
        diagonal = np.zeros((n_along, n_along))
        diagonal.flat[n_along + 1 : (k + 1) * n_along : n_along + 1] = slopes.sum(axis=1)
        for at, line in lines:
            expected[at], weighted = (own * line).sum(axis=0), slopes * line
            slope[at] = weighted.sum(axis=0)
            diagonal[at, 1 : 1 + k] = diagonal[1 : 1 + k, at] = weighted.sum(axis=1)
            for other, second in lines:
                diagonal[at, other] = np.vdot(weighted, second)
        diagonal[0, 0] += slope[0].sum()
        half = expected @ slope.T

        # Of v and the shares, in which the chance of the given label is linear.
        own /= given
        linear = np.empty((around + len(kinds.names), self.n))
        by_own = self._by_kind(own, kinds)
        linear[around:] = self._by_kind(mixed / given, kinds) if around else by_own
        if around:
            linear[0] = (chance * (self._votes - own * given)).sum(axis=0)
        crossed, among = linear @ slope.T, linear @ linear.T
        of_shares = crossed[around:]
        of_shares += (1.0 - v) * (by_own @ expected.T)
        for at, line in lines:
            of_shares[:, at] -= (1.0 - v) * kinds.along(self._by_label(own * line))
        of_shares[:, 1 : 1 + k] -= (1.0 - v) * kinds.by_class(self._by_label(own))
        if around:
            crossed[0] += slope.sum(axis=1) / (1.0 - v)
            both = kinds.along(self._by_label(self._votes / given - own))
            among[0, 1:] -= both
            among[1:, 0] -= both

        gradient = np.concatenate([slope.sum(axis=1), linear.sum(axis=1)])
        curvature = np.empty((len(gradient), len(gradient)))
        curvature[:n_along, :n_along] = half + half.T + slope @ slope.T - diagonal
        curvature[n_along:, :n_along], curvature[:n_along, n_along:] = crossed, crossed.T
        curvature[n_along:, n_along:] = among
        weight, away = np.ones(n_along), parameters[:n_along].copy()
        weight[1 + k :], away[0] = USUAL_HEED**-2, away[0] - TYPICAL_LOG_A
        gradient[:n_along] -= weight * away
        curvature.flat[: n_along * (len(gradient) + 1) : len(gradient) + 1] += weight
        value = np.log(given).sum() - 0.5 * weight @ away**2
        return value / self.n, gradient / self.n, curvature / self.n

    def _by_label(self, values):
        """Sums of each line of ``values`` over the rows of each given label, (n_lines, n_classes)."""
        out = np.zeros((len(values), self.k))
        out[:, self._there] = np.add.reduceat(values, self._starts, axis=1)
        return out

    def _by_kind(self, values, kinds):
        """``sum_k values_k E_mkg`` of each row, of what a unit of each kind m moves, (n_kinds, n)."""
        out = np.empty((len(kinds.names), self.n))
        for j, mine in enumerate(self._mine):
            out[:, mine] = kinds.given_as(j, values[:, mine])
        return out


def even_errors(q, codes, shares):
    """Log likelihood of given labels where the errors of each class go evenly to the others.

    Parameters
    ----------
    q : ndarray of shape (n_classes, n_samples)
        Chances of the true labels.
    codes : ndarray of int, shape (n_samples,)
        Positions of the given ones.
    shares : ndarray of shape (n_classes,)
        Of the rows of each class that are given as others.

    Returns
    -------
    value : float
    slopes : ndarray of shape (n_classes, n_samples)
        Of the value in the chances.
    uphill : ndarray of shape (n_classes,)
        Its slopes in the shares.
    """
    k, own = len(q), (codes, np.arange(q.shape[1]))
    # P(given) = sum_k q_k T[k, given].
    stay = 1.0 - shares * k / (k - 1)
    given = np.maximum(q[own] * stay[codes] + (shares / (k - 1)) @ q, SMALLEST)
    slopes = (shares / (k - 1))[:, None] / given
    slopes[own] += stay[codes] / given
    uphill = (q / given).sum(axis=1) / (k - 1)
    uphill -= np.bincount(codes, q[own] / given, k) * k / (k - 1)
    return np.log(given).sum(), slopes, uphill
