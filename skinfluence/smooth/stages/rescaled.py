"""Removals of rows under which the penalty of each column moves, and what stands in missing cells."""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.answers import LOCAL, Answers
from skinfluence.answers.checks import warn_alone
from skinfluence.smooth.batches.filled_batch import FilledStep
from skinfluence.smooth.batches.filled_cells import FilledCells
from skinfluence.smooth.batches.rescaled_batch import RescaledBatch
from skinfluence.smooth.batches.row_batch import largest_eigenvalue
from skinfluence.smooth.one_step import effects, steps
from skinfluence.smooth.optimum.accuracy import Accuracy


@dataclass(frozen=True, eq=False)
class RescaledRemovals:
    """What :class:`SmoothAnswers` answers about rows that leave a scaler too, asked of them.

    Parameters
    ----------
    answers : SmoothAnswers
    """

    answers: Answers

    def own(self, method, tol, rows, ratio, fills=None):
        """As :meth:`SmoothAnswers.own_removals`, where the penalty of each column moves with the row.

        Parameters
        ----------
        method : {"auto", "exact"}
        tol : float
        rows : ndarray of int, shape (m,)
        ratio : ndarray of shape (m, n_features)
            What the penalty of each coefficient is multiplied by; what is free stays free.
        fills : Fills, default=None
            By how much what stands in missing cells moves. No row moves those of its own.
        """
        edits, lonely = self._removals(rows, ratio, method, fills)
        eta = np.array(self.answers.start(edits.design, method))
        if method in LOCAL:
            for block, moved in self._steps(edits, method, tol):
                eta[block] += steps.at_rows(edits.design.take(block), moved)
        else:
            self.answers.own_values(edits, eta, method, tol)
        eta[lonely] = np.nan
        return eta

    def stream(self, quantity, rows, ratio, method, tol, fills=None, there=None):
        """As :meth:`SmoothAnswers.row_stream` of removals, where the penalty moves with the row.

        Parameters
        ----------
        quantity : Quantity
        rows, ratio, method, tol, fills
            As in :meth:`own`.
        there : ndarray of bool, shape (n_test, q), default=None
            Which test rows are filled.
        """
        edits, lonely = self._removals(rows, ratio, method, fills)
        if lonely.any():
            warn_alone(self.answers.basis(method), rows[lonely])
        for block, moved in self._steps(edits, method, tol):
            for part, change in effects.decision_steps(quantity.design, moved):
                inside = effects.inside(block, part)
                if fills is not None:
                    theta = self._theta(method) + moved[part]
                    change = change + fills.take(inside).on_steps(there, theta)
                values = quantity.change(change)
                values[lonely[inside]] = np.nan
                yield inside, values

    def effects(self, quantity, rows, ratio, method, tol, fills=None, there=None):
        """As :meth:`SmoothAnswers.effects` of removing single rows, where the penalty moves with the row."""
        edits, _ = self._removals(rows, ratio, method, fills)
        found = np.empty((len(rows), *self.answers.problem.theta.shape))
        bound, used = np.full(len(rows), np.inf), np.full(len(rows), method, dtype="<U9")
        if method in LOCAL:
            for block, moved in self._steps(edits, method, tol):
                found[block] = moved
        else:
            for block, solved in self.answers.solved(edits, method, tol):
                found[block], bound[block], used[block] = (
                    solved.steps,
                    solved.bound,
                    solved.method_used,
                )
        leverage = steps.row_leverages(self.answers.factor, edits)
        leverage = largest_eigenvalue(leverage, -edits.hessian)
        values = effects.theta_effects(quantity, found, self._theta(method), fills, there)
        return values, bound, used, leverage

    def _theta(self, method):
        """The parameters that the steps of a method are from."""
        theta, offset = self.answers.basis(method).theta, self.answers.offset
        return theta if offset is None or method not in LOCAL else theta + offset

    def _removals(self, rows, ratio, method, fills):
        """Removals that rescale the penalty, from where a method starts; which leave no model."""
        edits, lonely = self.answers.row_edits(rows, None, method, say=False)
        if edits.design.intercept:
            ratio = np.column_stack([ratio, np.ones(len(rows))])
        ratio = np.where(lonely[:, None], 1.0, ratio)
        return replace(edits, ratio=ratio, fills=fills and fills.undone(lonely)), lonely

    def _steps(self, edits, method, tol):
        if method not in LOCAL:
            for block, solved in self.answers.solved(edits, method, tol):
                yield block, solved.steps
            return
        if self.answers.factor.is_random:
            raise ValueError(
                "One step behind a scaler needs exact leverages. Got random estimates, of the solver "
                f"{self.answers.factor.name}; pass frozen='accept' for the answers with the scaler as fitted."
            )
        accuracy = Accuracy(self.answers.factor)
        k, d = self.answers.problem.theta.shape
        held = 3 + k if k < RescaledBatch.many_outputs else 10
        batch = FilledStep if edits.move_fills else RescaledBatch
        for block in row_blocks(len(edits.rows), 8 * k * d * held + 48 * k * k):
            some = edits.take(block)
            if method == "influence":
                yield block, self._first_order(some)
            else:
                yield block, batch(accuracy, some, offset=self.answers.offset).theta_steps

    def _first_order(self, edits):
        """Steps with the Hessian before the edits, (m, n_outputs, n_columns)."""
        factor, objective = self.answers.factor, self.answers.factor.objective
        theta, shift = objective.theta, edits.shift[:, None]
        if objective.hold == "C":
            shift = np.zeros_like(shift)
        penalty = objective.penalty + shift * objective.unit_penalty
        right = edits.design.dense_rows()[:, None, :] * edits.gradient[:, :, None]
        right += (penalty * edits.ratio - objective.penalty)[:, None, :] * theta
        if edits.move_fills:
            cells = FilledCells(objective, edits)
            right += cells.moved_rows(np.arange(len(right)), np.zeros_like(right))[0]
        flat = right.reshape(len(right), -1)
        return -factor.solve(np.ascontiguousarray(flat.T)).T.reshape(right.shape)
