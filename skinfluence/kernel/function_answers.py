"""Answers about a model that is a function of a kernel: what moves under an edit are its values at points."""

from abc import abstractmethod

import numpy as np

from skinfluence.answers import LOCAL, Answers, check_method
from skinfluence.answers.checks import check_solved_exactly, rows_alone, warn_alone
from skinfluence.quantity import Quantity


class FunctionAnswers(Answers):
    """Effects of edits of one function, exact but for ``"influence"``.

    Attributes
    ----------
    problem : Problem
    system : KernelSystem
        Of the training rows.
    """

    @abstractmethod
    def values_at(self, design):
        """Decision values of points, (n_points,)."""

    @abstractmethod
    def removal_steps(self, design, rows, method):
        """Changes of the decision values of points without each row.

        Parameters
        ----------
        design : KernelDesign
            The points.
        rows : ndarray of int, shape (n_rows,)
        method : str

        Yields
        ------
        block : slice
            Of ``rows``.
        moved : ndarray of shape (b, n_points)
        """

    @abstractmethod
    def edit_steps(self, points, design, method):
        """Changes of the decision values of points under edits, and each :class:`SolvedEdit`.

        Parameters
        ----------
        points : list of Points
        design : KernelDesign
            Where it is asked.
        method : str

        Yields
        ------
        moved : ndarray of shape (n_points,)
        solved : SolvedEdit
        """

    def polished(self):
        return self

    def holding(self, hold):
        if hold is not None:
            self.problem.holding(hold)
        return self

    def up_params(self, rows):
        raise TypeError(
            "influence_up_params needs a finite vector of parameters, and a kernel model is a "
            "function. Ask removal_effect(X, of='decision_function', method='influence') for how a "
            "row moves it, or influence_up_loss for test losses."
        )

    def quantity(self, tests, of, method):
        check_method(method)
        return Quantity(of, self.problem.loss, tests, self.values_at(tests.design)[:, None])

    def row_stream(self, quantity, rows, label, method, tol):
        alone = np.isin(rows, rows_alone(self.problem))
        if alone.any():
            warn_alone(self.problem, rows[alone])
        for block, moved in self.removal_steps(quantity.design, rows, method):
            values = quantity.change(moved[:, :, None])
            values[alone[block]] = np.nan
            yield block, values

    def effects(self, points, quantity, method, tol):
        check_method(method)
        values = np.empty((len(points), *quantity.shape))
        bound, leverage = np.full(len(points), np.inf), np.empty(len(points))
        for i, (moved, solved) in enumerate(self.edit_steps(points, quantity.design, method)):
            values[i] = quantity.change(moved[None, :, None])[0]
            leverage[i] = solved.leverage
            if method != "influence":
                bound[i] = self.system.accuracy * solved.size
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        used = np.full(len(points), method if method in LOCAL else "exact", dtype="<U9")
        return values, bound, used, leverage


def check_options(problem, solver, hold, precision):
    """Refuse options of a solver that one factor of a kernel matrix does not have.

    Raises
    ------
    ValueError
    """
    problem.holding(hold)
    how = f"The factor of its kernel matrix solves {problem.model_name}"
    check_solved_exactly(how, solver, precision)
