"""Who answers about a new point; where it moves more than the model, a fit for each question.

Transformers, and class weights, are those of the rows with the new one, as the guarantee wants them; each
model is that of :meth:`~skinfluence.Influence.edited`.
"""

import numpy as np
from sklearn.utils import _safe_indexing

from skinfluence import edits
from skinfluence._utils.influences import refuse_offset
from skinfluence.conformal.additions import Additions
from skinfluence.conformal.responses import (
    KernelResponses,
    LinearResponses,
    ResidualLines,
    Responses,
)
from skinfluence.editing.whole import learned_from_rows
from skinfluence.inputs.frozen import uses_y
from skinfluence.kernel.problem import KernelProblem
from skinfluence.losses import SquaredError
from skinfluence.objective import Objective
from skinfluence.problem import refuse_chosen, refuse_curve, refuse_several_targets
from skinfluence.statistics import fitted_leaves

# What of a residual's slope is round-off: the new row then decides its own prediction.
NOTHING = 1e-10


def responses_of(influence):
    """The :class:`Responses` of a fitted model.

    Raises
    ------
    TypeError
        For other losses than the squared error.
    """
    problem = influence.objective
    refuse_chosen(problem, "Full conformal intervals")
    refuse_several_targets(problem, "Full conformal intervals")
    refuse_curve(problem, "Full conformal intervals")
    refuse_offset(problem, "Full conformal intervals are of")
    linear = isinstance(problem, Objective) and isinstance(problem.loss, SquaredError)
    if linear or isinstance(problem, KernelProblem):
        if learned_from_rows(influence):
            return PipelineResponses(influence)
        return LinearResponses(influence) if linear else KernelResponses(influence)
    raise TypeError(
        "Full conformal intervals are of squared error: Ridge, LinearRegression, KernelRidge. Got "
        f"{type(influence.data.inputs.model).__name__}; use JackknifePlusRegressor."
    )


def additions_of(influence):
    """What knows the models with one more row.

    Raises
    ------
    TypeError
        For models that are no smooth linear ones.
    """
    problem = influence.objective
    smooth = isinstance(problem, Objective) and problem.loss.self_concordance is not None
    if not smooth:
        raise TypeError(
            "Full conformal sets are of smooth linear classifiers: logistic regression, softmax, "
            f"ridge classifiers. Got {type(influence.data.inputs.model).__name__}; use "
            "JackknifePlusClassifier."
        )
    refuse_chosen(problem, "Full conformal sets")
    refuse_offset(problem, "Full conformal sets are of")
    if learned_from_rows(influence):
        return PipelineAdditions(influence)
    return Additions(influence)


class RawPoints:
    """New points as they were given.

    Parameters
    ----------
    X : array-like of shape (n_points, n_features)
    n_samples : int
    """

    def __init__(self, X, n_samples):
        self.X, self.n_samples = X, n_samples

    @classmethod
    def of(cls, influence, X):
        """Points that the pipeline takes."""
        return cls(X, influence.data.tests(X, None).design.n_samples)

    def take(self, block):
        """Some of them, by a slice."""
        rows = np.arange(self.n_samples)[block]
        return RawPoints(_safe_indexing(self.X, rows), len(rows))

    def __iter__(self):
        """One after the other, each as edits take it and as an estimator does."""
        for t in range(self.n_samples):
            rows = _safe_indexing(self.X, [t])
            yield (rows if np.ndim(rows) == 2 or hasattr(rows, "tocsr") else rows[0]), rows


class PipelineResponses(Responses):
    """What a new point does to the residuals of a pipeline: lines in its target, from two of them.

    Parameters
    ----------
    influence : Influence
        Of squared error behind transformers that do not look at the targets.

    Raises
    ------
    TypeError
    """

    def __init__(self, influence):
        super().__init__(influence)
        supervised = [n for n, one in fitted_leaves(influence.data.inputs.steps) if uses_y(one)]
        if supervised or influence.data.inputs.moves_targets:
            raise TypeError(
                "With a new point residuals must be lines in its target: no step may look at the targets. "
                f"Got {', '.join(supervised) or 'transformed targets'}. Wrap such steps in "
                "sklearn.frozen.FrozenEstimator, fitted on rows of their own, or use JackknifePlusRegressor."
            )
        self._y = np.asarray(influence.data.y, dtype=float)
        self._spread = float(np.std(self._y)) or 1.0

    def blocks(self, X):
        """As of :class:`Responses`, a point at a time, with residuals of its own."""
        influence, raw = self.influence, self.influence.data.inputs.raw
        for t, (x, rows) in enumerate(RawPoints.of(influence, X)):
            at = float(influence.estimator.predict(rows)[0])
            found = []
            for target in (at, at + self._spread):
                after = influence.edited(edits.add(x, target)).estimator
                found.append(
                    np.append(self._y - after.predict(raw), target - after.predict(rows)[0])
                )
            slope = (found[1] - found[0]) / self._spread
            own = slope[-1]
            if not own > NOTHING:
                # It is met whatever its target: none is excluded.
                residuals = np.maximum(np.abs(found[0][:-1]), 1e-300)
                lines = ResidualLines(
                    np.zeros(1), np.full(1, np.inf), residuals, np.zeros((self.n, 1))
                )
                yield slice(t, t + 1), lines
                continue
            mean = at - found[0][-1] / own
            residuals = found[0][:-1] + slope[:-1] * (mean - at)
            slopes, h = -slope[:-1, None] / own, np.array([1.0 / own - 1.0])
            yield slice(t, t + 1), ResidualLines(np.array([mean]), h, residuals, slopes)


class PipelineAdditions:
    """One more row in a fitted pipeline of a classifier: as ``Additions``, a fit for each.

    Parameters
    ----------
    influence : Influence
    labels : Labels
    objective : Objective
    """

    def __init__(self, influence):
        self.influence, self.objective = influence, influence.objective
        self.labels = self.objective.labels
        self.codes = self.labels.codes_of(self.objective.y)

    def design_of(self, X):
        """New points that the pipeline takes."""
        return RawPoints.of(self.influence, X)

    def counts(self, points, label, scores, codes):
        """How many training rows conform no better than each new one, under the pipeline with it.

        Scores that are closer than the certificate tells are counted as ties.
        """
        raw, label_of = self.influence.data.inputs.raw, self.labels.classes[label]
        count, rows = np.empty(points.n_samples, dtype=np.intp), np.arange(len(codes))
        for t, (x, new) in enumerate(points):
            after = self.influence.edited(edits.add(x, label_of))
            every = scores(_columns(after.estimator.decision_function(raw)))[rows, codes]
            own = scores(_columns(after.estimator.decision_function(new)))[0, label]
            # A score changes by at most two of the decision values.
            error = _columns(after.error_at(raw)).max(axis=1) + after.error_at(new).max()
            slack = 2.0 * error + 8.0 * np.finfo(float).eps * (1.0 + np.abs(every) + np.abs(own))
            count[t] = np.count_nonzero(every <= own + slack)
        return count


def _columns(values):
    return values[:, None] if values.ndim == 1 else values
