"""Changes of one decision function under many one-row edits, evaluated a block at a time."""

import copy

import numpy as np

from skinfluence._utils.memory import check_fits, row_blocks

FEWER = "Ask for fewer rows with indices=, or for fewer test points at a time."


class Shifts:
    """From exact or one-step moves of coefficients.

    Parameters
    ----------
    problem : HingeObjective
    moves : CoefficientMoves
    positions : ndarray of int, shape (n_edits,)
        Where each edit stands among those that were asked.
    rows : ndarray of int
        Training rows of the binary problem, which ``moves.columns`` count.
    turned : Turned, default=None
        Edits whose coefficients have too few digits, by their weights.
    """

    def __init__(self, problem, moves, positions, rows, turned=None):
        self.problem = problem
        self.moves = moves
        self.positions = positions[moves.moving]
        self.columns = rows[moves.columns]
        self.turned = turned
        self._kernel, self._planes = None, None

    def at(self, tests):
        """The same with the kernel between the rows that move and the test points."""
        shape = (len(self.columns), tests.shape[0])
        check_fits(shape, FEWER, what="The kernel of support vectors and test points")
        view = copy.copy(self)
        view._kernel = self.problem.cross(self.problem.design.X[self.columns], tests)
        view._planes = None if self.turned is None else self.turned.at(tests)
        return view

    def add(self, block, out):
        """Add the changes of a block of edits at the test points, (b, n_test)."""
        inside = (self.positions >= block.start) & (self.positions < block.stop)
        if inside.any():
            change = self.moves.delta_beta[inside] @ self._kernel
            change += self.moves.delta_bias[inside, None]
            if self.turned is not None:
                mine = inside[self.turned.places]
                change[np.cumsum(inside)[self.turned.places[mine]] - 1] = self._planes[mine]
            out[self.positions[inside] - block.start] += change

    def own(self, rows):
        """Change at the edited row itself, each of the ``rows`` that were asked, (n_edits,)."""
        out = np.zeros(len(rows))
        X = self.problem.design.X
        for block in row_blocks(len(self.positions), 16 * (len(self.columns) + 1)):
            values = self.problem.cross(X[rows[self.positions[block]]], X[self.columns])
            change = np.einsum("ij,ij->i", self.moves.delta_beta[block], values)
            out[self.positions[block]] = change + self.moves.delta_bias[block]
        if self.turned is not None:
            at = self.positions[self.turned.places]
            tests = X[rows[at]]
            out[at] = np.einsum("ij,ij->i", self.turned.weights, tests) + self.turned.bias
        return out


class Pushes:
    """From first-order pushes at the rows: ``amount_i kappa(., x_i)``.

    Parameters
    ----------
    problem : HingeObjective
    one : Conditional
    rows : ndarray of int, shape (n_edits,)
    amounts : ndarray of shape (n_edits,)
    """

    def __init__(self, problem, one, rows, amounts):
        self.problem = problem
        self.one = one
        self.rows = rows
        self.amounts = amounts
        self._tests, self._solved = None, None

    def at(self, tests):
        """The same, solved for the test points."""
        view = copy.copy(self)
        view._tests, view._solved = tests, self.one.coefficients(tests)
        return view

    def add(self, block, out):
        """Add the changes of a block of edits at the test points, (b, n_test)."""
        pushing = np.flatnonzero(self.amounts[block])
        if len(pushing):
            X = self.problem.design.X[self.rows[block][pushing]]
            moved = self.one.cross(X, self._tests, self._solved)
            out[pushing] += self.amounts[block][pushing, None] * moved

    def own(self, rows):
        """Change at the edited row itself, each of the ``rows`` that were asked, (n_edits,)."""
        out = np.zeros(len(rows))
        pushing = np.flatnonzero(self.amounts)
        for block in row_blocks(len(pushing), 16 * (len(self.one.centres) + 1)):
            part = pushing[block]
            out[part] = self.amounts[part] * self.one.diagonal(self.problem.design.X[rows[part]])
        return out
