"""Hinge models without each of some rows, each under a gamma of its own.

A row that leaves changes gamma a little, and with it every entry of the kernel. From the exact path at
gamma as fitted the conditions of the optimum under the row's own kernel are solved for and verified on
all rows, from the coefficients alone; kernel values are interpolated between a few gammas, with a bound
that counts in the verification.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.active_set import HingeProblem, near_optima
from skinfluence.kernel.gammas import KernelsNear, groups_of

# Violation of the optimality conditions up to which an optimum is accepted; not below round-off, up to
# the second.
ACCEPTED, ROUNDED = 1e-10, 1e-8
# Of the decision values, what interpolated kernel values may change, and the least that is worth asking.
INTERPOLATED, LEAST = 1e-12, 1e-16
BLOCK_BYTES = 2**27


class Start:
    """Coefficients without each of some rows at gamma as fitted, and which are not there.

    Parameters
    ----------
    beta : ndarray of shape (sides * n,)
        With all rows.
    moves : CoefficientMoves
    positions : ndarray of int, shape (n_moving,)
        Of the edits of ``moves`` that move anything, among the rows asked about.
    rows : ndarray of int, shape (m,)
        Asked about.
    among : ndarray of int, shape (n,)
        Which training rows the problem has.
    sides : int, default=1
    """

    def __init__(self, beta, moves, positions, rows, among, sides=1):
        self.beta, self.moves, self.rows, self.among, self.sides = beta, moves, rows, among, sides
        self._place = np.full(len(rows), -1)
        self._place[positions] = np.arange(len(positions))

    def __call__(self, asked):
        """Coefficients and absent rows, (len(asked), sides * n) each, of some positions."""
        beta = np.repeat(self.beta[None], len(asked), axis=0)
        place = self._place[asked]
        moving = np.flatnonzero(place >= 0)
        beta[np.ix_(moving, self.moves.columns)] += self.moves.delta_beta[place[moving]]
        return beta, np.tile(self.among == self.rows[asked, None], self.sides)


@dataclass(frozen=True, eq=False)
class Engine:
    """One binary problem, and how its rows are those of the kernel.

    Parameters
    ----------
    problem : HingeProblem
    X : ndarray or CSR array of shape (n, n_features)
        The rows of the kernel; the problem has each of them ``sides`` times over.
    removed : Start
    sides : int, default=1
    """

    problem: HingeProblem
    X: Any
    removed: Start
    sides: int = 1

    def folded(self, beta):
        """Coefficients of the rows of the kernel, (m, n)."""
        return beta.reshape(len(beta), self.sides, -1).sum(axis=1)


def without_rows(engine, gammas, kernel, Z, each=False):
    """Decision values without each of some rows, each under its own gamma.

    Parameters
    ----------
    engine : Engine
    gammas : ndarray of shape (m,)
    kernel : Kernel
        As fitted.
    Z : ndarray or CSR array of shape (n_out, n_features)
        Where.
    each : bool, default=False
        Whether there is one point for each row: its own.

    Returns
    -------
    values : ndarray of shape (m, n_out), or (m, 1) with ``each``
        In units of the engine. NaN where the optimum was not found and verified.
    """
    n, sides, problem = engine.X.shape[0], engine.sides, engine.problem
    out = np.full((len(gammas), 1 if each else Z.shape[0]), np.nan)
    for group in groups_of(gammas):
        kernels = None
        for block in row_blocks(len(group), 80 * sides * n, budget=BLOCK_BYTES):
            asked = np.arange(block.start, block.stop)
            beta, absent = engine.removed(group[asked])
            there = np.isfinite(beta).all(axis=1)
            beta, absent, asked = beta[there], absent[there], asked[there]
            if not len(asked):
                continue
            if kernels is None:
                size = max(np.abs(beta).sum(axis=1).max(), 1e-300)
                error = np.clip(INTERPOLATED / size, LEAST, ROUNDED)
                kernels = KernelsNear(kernel, engine.X, gammas[group], error)

            def values(edits, beta, asked=asked, kernels=kernels):
                return np.tile(kernels.times(asked[edits], engine.folded(beta)), sides)

            def among(edits, rows, asked=asked, kernels=kernels):
                return kernels.among(asked[edits], rows % n)

            accepted = np.clip(problem.rounding(beta[0]), ACCEPTED, ROUNDED)
            found = near_optima(problem, values, among, beta, absent, accepted)
            off = found.violation + kernels.error * np.abs(found.beta).sum(axis=1)
            sure = np.flatnonzero(off <= ROUNDED)
            if not len(sure):
                continue
            rows, B = group[asked[sure]], engine.folded(found.beta[sure])
            if each:
                out[rows, 0] = kernels.each(asked[sure], B, Z[rows])
            else:
                out[rows] = kernels.times(asked[sure], B, Z)
            out[rows] += found.bias[sure, None]
    return out
