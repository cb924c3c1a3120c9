"""What the models without each row, or each group, say: of their own rows and of new points."""

import numpy as np
from sklearn.utils import _safe_indexing

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence._utils.rows import rows_of_groups
from skinfluence.edits import NoOptimumError
from skinfluence.edits.points import removal
from skinfluence.inputs.routes import answers_for, whole_pipeline
from skinfluence.smooth.answers import SmoothAnswers
from skinfluence.statistics import learns_from_rows, names_of_parts

# Temporaries of a block of new points: the decision values of all models, and what is made of them.
BLOCK_BYTES = 2**25


class ModelsWithout:
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
        if position is not None:
            influence.data.look_at_groups(rows_of_groups(position))
        whole = _followed(influence, method)
        points = None if position is None or whole is not None else self._removals()
        if position is None:
            own = influence.loo_decision_function(method=method, tol=tol).reshape(n, -1)
        elif points is not None:
            own = problem.loss.expand(answers.own_group_removals(points, method, tol))
        else:
            own = self._own_of_groups()
        self._refuse_unanswered(own)
        self.own = own
        self._theta = None
        # Of models whose rows and weights stay as they are when a row leaves.
        if whole is None and type(answers) is SmoothAnswers:
            # Once for all points that are asked about: as many numbers as the models have.
            check_fits(
                (self.n_models, problem.n_parameters), "Pass groups= to fit, for fewer models."
            )
            self._theta = answers.basis(method).theta + self._steps(points)

    def _own_of_groups(self):
        """Of whole pipelines, from what every model says of all rows, a block at a time."""
        raw, parts = self.influence.data.inputs.raw, []
        for block, eta in self._asked(raw, self.influence.objective.n_samples):
            parts.append(eta[np.arange(len(eta)), self.position[block]])
        return np.concatenate(parts)

    def _removals(self):
        points = []
        for rows in rows_of_groups(self.position):
            try:
                points.append(removal(self.influence.objective, rows))
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
        tests = self.influence.data.tests(X, None)
        if self._theta is None:
            yield from self._asked(X, tests.design.n_samples)
            return
        flat = np.ascontiguousarray(self._theta.reshape(-1, self._theta.shape[2]).T)
        for block in self._blocks(tests.design.n_samples):
            eta = tests.design.take(block).multiply(flat)
            yield block, problem.loss.expand(eta.reshape(len(eta), n, -1))

    def _blocks(self, n_points):
        outputs = self.influence.objective.loss.n_outputs
        return row_blocks(n_points, 32 * len(self.position) * (outputs + 1), BLOCK_BYTES)

    def _asked(self, X, n_points):
        """As :meth:`at`, by the effects of removals."""
        influence, of = self.influence, "decision_function"
        options = {"of": of, "method": self._method, "tol": self._tol}
        if self._groups is not None:
            options["groups"] = self._groups
        for block in self._blocks(n_points):
            part = _safe_indexing(X, np.arange(block.start, block.stop))
            asked = answers_for(influence, None)
            before = asked.quantity(influence.data.tests(part, None), of, self._method).before
            eta = before[:, None] + influence.removal_effect(part, **options)
            yield block, eta.reshape(len(eta), self.n_models, -1)


def _followed(influence, method):
    """What answers about the pipeline without rows; None where nothing learns from them.

    Raises
    ------
    TypeError
        Where transformers would stay as fitted on all rows, the one left out included.
    """
    whole = whole_pipeline(influence, method)
    if whole is None and learns_from_rows(influence):
        raise TypeError(
            "All rows must be treated alike for the guarantee to hold, and what transformers would have "
            f"learned with a row less is not known here. Got {', '.join(names_of_parts(influence))}. Fit "
            "them on rows of their own and pass them in sklearn.frozen.FrozenEstimator."
        )
    return whole
