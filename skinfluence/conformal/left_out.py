"""What the models without each row, or each group, say: of their own rows and of new points."""

import numpy as np

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence.edits import NoOptimumError, remove
from skinfluence.objective import Objective

# Temporaries of a block of new points: the decision values of all models, and what is made of them.
BLOCK_BYTES = 2**25


class LeftOut:
    """The models without each training row, or without each group of them.

    Parameters
    ----------
    influence : Influence
    position : ndarray of int, shape (n_train,), default=None
        The group of each row; rows one by one when None.
    method, tol
        As in :meth:`~skinfluence.Influence.removal_effect`.

    Attributes
    ----------
    own : ndarray of shape (n_train, n_outputs)
        Decision values of each training row from the model without it, or without its group.
    position : ndarray of int, shape (n_train,)
        Which of the models each row is left out of.
    n_models : int

    Raises
    ------
    ValueError
        Where a row or a group leaves no model.
    """

    def __init__(self, influence, position, method, tol):
        self.influence = influence
        self._method, self._tol = method, tol
        problem, answers = influence.objective, influence.answers
        n = problem.n_samples
        self._groups = position
        self.position = np.arange(n) if position is None else position
        self.n_models = int(self.position.max()) + 1
        points = None if position is None else self._removals()
        if points is None:
            own = influence.loo_decision_function(method=method, tol=tol).reshape(n, -1)
        else:
            own = problem.loss.expand(answers.own_group_removals(points, method, tol))
        self._refuse_unanswered(own)
        self.own = own
        self._theta = None
        if isinstance(problem, Objective):
            # Once for all points that are asked about: as many numbers as the models have.
            check_fits(
                (self.n_models, problem.n_parameters), "Pass groups= to fit, for fewer models."
            )
            self._theta = answers.basis(method).theta + self._steps(points)

    def _removals(self):
        points = []
        for g in range(self.n_models):
            rows = np.flatnonzero(self.position == g)
            try:
                points.append(self.influence._resolve(remove(rows)))
            except NoOptimumError as error:
                raise ValueError(
                    f"Every group must leave a model behind. Got one of {len(rows)} rows, from row "
                    f"{rows[0]} on, that does not. {error}"
                ) from error
        return points

    def _steps(self, points):
        answers = self.influence.answers
        if points is not None:
            return answers.solve_points(points, self._method, self._tol)[0]
        rows = np.arange(self.n_models)
        blocks = answers.row_steps(rows, None, self._method, self._tol)
        return np.concatenate([steps for _, steps in blocks])

    def _refuse_unanswered(self, own):
        lost = np.flatnonzero(np.isnan(own).any(axis=1))
        if len(lost):
            raise ValueError(
                f"Every row must leave a model behind. Got row {lost[0]}, which does not: it is the "
                "only one of its class, or decides a coefficient alone. Drop it, penalise the model, or "
                "add rows like it."
            )

    def at(self, X):
        """Decision values of new points from every model, a block of points at a time.

        Yields
        ------
        block : slice
            Of the points.
        eta : ndarray of shape (b, n_models, n_outputs)
        """
        problem, n = self.influence.objective, self.n_models
        tests = self.influence._tests(X, None)
        m = tests.design.n_samples
        outputs = self.own.shape[1]
        blocks = row_blocks(m, 32 * len(self.position) * outputs, BLOCK_BYTES)
        if self._theta is not None:
            flat = np.ascontiguousarray(self._theta.reshape(-1, self._theta.shape[2]).T)
            for block in blocks:
                eta = tests.design.take(block).multiply(flat)
                yield block, problem.loss.expand(eta.reshape(len(eta), n, -1))
            return
        options = {"method": self._method, "tol": self._tol}
        if self._groups is not None:
            options["groups"] = self._groups
        for block in blocks:
            part = _some(X, block)
            of = "decision_function"
            before = self.influence.answers.quantity(
                self.influence._tests(part, None), of, self._method
            ).before
            eta = before[:, None] + self.influence.removal_effect(part, of=of, **options)
            yield block, eta.reshape(len(eta), n, -1)


def _some(X, block):
    return X.iloc[block] if hasattr(X, "iloc") else X[block]
