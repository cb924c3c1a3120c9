"""Exact and local edits of a solved hinge problem."""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence.active_set.base import Base, Found
from skinfluence.active_set.certificate import certify
from skinfluence.active_set.changes import Changes, rows_in
from skinfluence.active_set.moves import CoefficientMoves
from skinfluence.active_set.polish import polish
from skinfluence.active_set.problem import SAID

# Violation of the optimality conditions, in decision values, up to which a path is accepted, and
# beyond which the best that was found is warned about; both not below round-off, up to SAID.
ACCEPTED, WARNED = 1e-9, 1e-8
# Shares by which targets and bounds are moved to break ties, tried in this order.
_JITTERS = (0.0, 1e-8, 1e-8, 1e-7)
_CHUNK_BYTES = 2**28


class Paths:
    """Edits of a solution by following its path.

    Parameters
    ----------
    solution : HingeOptimum
        From :func:`skinfluence.active_set.polish`.

    Attributes
    ----------
    solution : HingeOptimum

    Notes
    -----
    One tableau over the support vectors and their neighbours is built at once; every edit follows
    its own path on it, and is then checked on all rows of the problem from its coefficients alone.
    Rows that turn out to matter join the tableau. Edits that fail the check (ties between rows)
    follow the path of a problem whose targets and bounds are moved by 1e-8 at random, and are
    solved for with the true ones at its end.
    """

    def __init__(self, solution):
        self.solution = solution
        self._rounding = solution.problem.rounding(solution.beta)
        self._accepted = np.clip(self._rounding, ACCEPTED, WARNED)
        self._bases = {0: Base.of(solution)}

    def remove(self, rows):
        """Each of some rows removed alone.

        Parameters
        ----------
        rows : ndarray of int, shape (n_edits,)

        Returns
        -------
        moves : CoefficientMoves
            Rows without a coefficient change nothing, exactly, unless no row is on the margin and the
            interval of biases ends at them. NaN where one class is left.

        Raises
        ------
        ValueError
            For rows outside the problem.
        """
        rows = rows_in(rows, self.solution.problem.n)
        return self._exact(self._of_single_rows(rows, None, 0.0))

    def change(self, rows, y=None, C=None):
        """Each of some rows with another label and/or another bound, alone.

        Parameters
        ----------
        rows : ndarray of int, shape (n_edits,)
        y : ndarray of shape (n_edits,), optional
            New labels, -1 or 1.
        C : float or ndarray of shape (n_edits,), optional
            New bounds; zero removes the row.

        Returns
        -------
        moves : CoefficientMoves
        """
        rows = rows_in(rows, self.solution.problem.n)
        return self._exact(self._of_single_rows(rows, y, C))

    def remove_groups(self, groups):
        """Each of some groups of rows removed together.

        Parameters
        ----------
        groups : list of ndarray of int

        Returns
        -------
        moves : CoefficientMoves
        """
        problem = self.solution.problem
        groups = [np.unique(rows_in(rows, problem.n)) for rows in groups]
        starts = np.concatenate([[0], np.cumsum([len(rows) for rows in groups])])
        rows = np.concatenate([np.zeros(0, dtype=np.intp), *groups])
        return self._exact(Changes.of_rows(problem, starts, rows, C=0.0))

    def edit(self, rows=(), y=None, C=None, new=None, target=None):
        """One edit: some rows with other labels and/or bounds and some new rows, all at once.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
            No row twice.
        y, C, target : ndarrays of shape (n_rows,), optional
            New labels, bounds and targets; what is left out stays.
        new : NewRows, optional

        Returns
        -------
        moves : CoefficientMoves
            With one edit.
        """
        rows = rows_in(rows, self.solution.problem.n)
        if len(np.unique(rows)) != len(rows):
            raise ValueError("An edit must name each row once. Got a row twice.")
        changes = Changes.of_rows(self.solution.problem, [0, len(rows)], rows, y, C, new, target)
        return self._exact(changes)

    def one_step(self, rows):
        """Removal of each row as if no row changed its role: the span rule.

        Parameters
        ----------
        rows : ndarray of int, shape (n_edits,)

        Returns
        -------
        moves : CoefficientMoves
            NaN where the only row on the margin leaves and the bias is free.
        """
        base, beta = self._bases[0], self.solution.beta
        rows = rows_in(rows, self.solution.problem.n)
        moving = np.flatnonzero(beta[rows])
        base = self._with_rows(0, rows[moving])
        place = base.places(rows[moving])
        responses = base.tableau.table[place]
        margin = place < base.tableau.m
        own = np.where(margin, base.tableau.table[place, place], 1.0)
        alone = base.problem.free_bias and base.tableau.m == 1
        own[margin & (alone | (own == 0.0))] = np.nan
        return self._local(rows, moving, place, -beta[rows[moving]] / own, responses)

    @property
    def margin(self):
        """Rows on the margin, in the order that `project` uses, ndarray of shape (m,)."""
        return self._bases[0].tableau.rows[: self._bases[0].tableau.m]

    def project(self, kernel):
        """Coefficients ``v = A^-1 (1, k)`` of points on the margin rows.

        Parameters
        ----------
        kernel : ndarray of shape (m, n_points)
            Kernel between the rows ``margin`` and the points.

        Returns
        -------
        v_bias : ndarray of shape (n_points,)
            Zeros without a free bias.
        v : ndarray of shape (m, n_points)

        Notes
        -----
        The conditional kernel of points x and z is
        ``k(x, z) - kernel_x' v_z - v_bias_z``: what is left of the kernel once decision values on
        the margin are held.
        """
        return self._bases[0].tableau.project(kernel)

    def _local(self, rows, moving, place, scale, responses):
        base = self._bases[0]
        m = base.tableau.m
        columns = np.concatenate([np.arange(m), np.setdiff1d(place, np.arange(m))])
        delta = np.zeros((len(moving), len(columns)))
        delta[:, :m] = scale[:, None] * responses[:, :m]
        off = np.flatnonzero(place >= m)
        delta[off, m + np.searchsorted(columns[m:], place[off])] = scale[off]
        return CoefficientMoves(
            moving=moving,
            n_edits=len(rows),
            columns=base.tableau.rows[columns],
            delta_beta=delta,
            delta_bias=scale * responses[:, -1],
            new_beta=np.zeros((len(moving), 0)),
            n_pivots=np.zeros(len(rows), dtype=np.int64),
            kkt_residual=np.full(len(rows), np.nan),
        )

    def _of_single_rows(self, rows, y, C):
        return Changes.of_rows(self.solution.problem, np.arange(len(rows) + 1), rows, y, C)

    def _with_rows(self, attempt, rows):
        """The base of an attempt, with these rows in its tableau."""
        if attempt not in self._bases:
            self._bases[attempt] = Base.of(self.solution, _JITTERS[attempt], attempt)
        self._bases[attempt] = self._bases[attempt].with_rows(rows)
        return self._bases[attempt]

    def _exact(self, changes):
        solution = self.solution
        kkt = np.full(changes.n_edits, solution.kkt_residual)
        n_pivots = np.zeros(changes.n_edits, dtype=np.int64)
        defined = changes.keeps_both_classes()
        kkt[~defined] = np.nan
        pending = np.flatnonzero(defined & ~changes.is_idle(solution))
        parts = []
        for attempt in range(len(_JITTERS)):
            if not len(pending):
                break
            if attempt == 0 and self._bases[0].has_ties:
                continue
            failed = []
            for edits in self._chunks(pending):
                parts += self._run(attempt, changes, edits, n_pivots, kkt, failed)
            pending = np.concatenate([np.zeros(0, dtype=np.intp), *failed])
        parts += [self._afresh(changes, e, n_pivots, kkt) for e in pending]
        beyond = defined & ~(kkt <= max(WARNED, min(self._rounding, SAID)))
        if beyond.any():
            warnings.warn(
                f"The optimality conditions of {np.sum(beyond)} of {len(kkt)} edited problems "
                f"are violated, by up to {np.nanmax(kkt):.1e}. {solution.problem.reason(solution.beta)}",
                ConvergenceWarning,
                stacklevel=level_outside(),
            )
        return _assembled(changes, parts, np.flatnonzero(~defined), n_pivots, kkt)

    def _chunks(self, pending):
        size = max(1, _CHUNK_BYTES // (8 * (len(self._bases[0].tableau.rows) + 1)))
        return [pending[k : k + size] for k in range(0, len(pending), size)]

    def _run(self, attempt, changes, edits, n_pivots, kkt, failed):
        """Follow and certify some edits; where rows were missed those join, and it goes again."""
        parts = []
        rows = changes.subset(edits).rows
        while len(edits):
            base = self._with_rows(attempt, rows)
            asked = changes.subset(edits)
            found = base.follow(asked, edits)
            worst, rows, missed = certify(base, asked, found, self._accepted)
            n_pivots[edits] += found.n_pivots
            good = worst <= self._accepted
            kkt[edits[good]] = worst[good]
            parts.append(_since(self.solution, base, found.take(good)))
            failed.append(edits[~good & ~missed])
            edits = edits[~good & missed]
        return parts

    def _afresh(self, changes, e, n_pivots, kkt):
        """One edit as a problem of its own, from the coefficients at hand."""
        solution, n = self.solution, self.solution.problem.n
        changes = changes.subset([e])
        problem = changes.as_problem()
        beta = np.append(solution.beta, np.zeros(changes.n_new))
        found = polish(problem, np.clip(beta, problem.lo, problem.hi), say=False)
        n_pivots[e] += found.n_pivots
        kkt[e] = found.kkt_residual
        return Found(
            edits=np.array([e]),
            columns=np.arange(n),
            delta_beta=(found.beta[:n] - solution.beta)[None],
            delta_bias=np.array([found.bias - solution.bias]),
            new_beta=found.beta[None, n:],
            n_pivots=np.array([found.n_pivots]),
            n_margin=np.zeros(1, dtype=np.int64),
            ended=np.ones(1, dtype=bool),
        )


def _since(solution, base, found):
    """Changes since the solution, where a base that breaks ties starts from other coefficients."""
    found = replace(found, delta_bias=found.delta_bias + (base.true_bias - solution.bias))
    gap = base.true_beta - solution.beta
    if not gap.any():
        return found
    away = np.setdiff1d(np.flatnonzero(gap), found.columns)
    columns = np.concatenate([found.columns, away])
    delta = np.pad(found.delta_beta, ((0, 0), (0, len(away)))) + gap[columns]
    return replace(found, columns=columns, delta_beta=delta)


def _assembled(changes, parts, undefined, n_pivots, kkt):
    """The moves of all edits, in the order of what was asked."""
    moving = np.concatenate([undefined, *(part.edits for part in parts)]).astype(np.intp)
    moves = np.zeros(changes.problem.n, dtype=bool)
    for part in parts:
        moves[part.columns] |= (part.delta_beta != 0).any(axis=0)
    columns = np.flatnonzero(moves)
    delta = np.zeros((len(moving), len(columns)))
    bias, new_beta = np.zeros(len(moving)), np.zeros((len(moving), changes.n_new))
    delta[: len(undefined)] = bias[: len(undefined)] = new_beta[: len(undefined)] = np.nan
    at = len(undefined)
    for part in parts:
        here = slice(at, at + len(part.edits))
        at = here.stop
        kept = np.flatnonzero(moves[part.columns])
        delta[here, np.searchsorted(columns, part.columns[kept])] = part.delta_beta[:, kept]
        bias[here], new_beta[here] = part.delta_bias, part.new_beta
    order = np.argsort(moving)
    return CoefficientMoves(
        moving=moving[order],
        n_edits=changes.n_edits,
        columns=columns,
        delta_beta=delta[order],
        delta_bias=bias[order],
        new_beta=new_beta[order],
        n_pivots=n_pivots,
        kkt_residual=kkt,
        changes=changes,
    )
