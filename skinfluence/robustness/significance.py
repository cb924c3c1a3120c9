"""Whether a coefficient is significant: of the model and its rows, which its standard error is made of."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from skinfluence.inference.covariances import covariance
from skinfluence.inference.table import degrees_of_freedom
from skinfluence.robustness.conclusions import Coef

KINDS = ("nonrobust", "hc0", "hc1", "hc2", "hc3")


@dataclass(eq=False)
class Significance(Coef):
    """See :func:`significance`."""

    level: float = 0.05
    kind: str = "hc3"

    of_rows = True

    def check(self, influence):
        super().check(influence)
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}. Got {self.kind!r}.")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1. Got {self.level!r}.")
        problem = influence.objective
        if not hasattr(problem, "penalty") or problem.penalty.any():
            raise ValueError(
                "The test of a coefficient needs a model without a penalty, whose estimate is not biased. "
                f"Got {type(influence.data.inputs.model).__name__} with one; fit it without (C=inf, "
                "alpha=0), or ask about the sign, coef(j)."
            )

    def number_in(self, influence):
        """The statistic's size over that at the level, less one: positive while significant."""
        value, error, _, critical = self._parts(influence)
        return abs(value) / (error * critical) - 1.0

    def number(self, estimator):
        raise TypeError("A standard error is of a model with its rows; an estimator has none.")

    def weights(self):
        # What a set of rows does to a ratio has no bound here.
        return None

    def _parts(self, influence):
        """The coefficient, its standard error, its place, and the critical value of its statistic."""
        place = self.output * influence.objective.design.n_columns + self.j
        error = np.sqrt(covariance(influence, self.kind)[place, place])
        critical = stats.t.isf(self.level / 2, degrees_of_freedom(influence, self.kind, None))
        return self.number_of(influence.estimator), error, place, critical

    def effects(self, influence, answers, rows, label, method):
        """To first order in the coefficient, and in its variance by the rows' own terms."""
        moved = super().effects(influence, answers, rows, label, method)
        value, error, place, critical = self._parts(influence)
        gone = np.zeros(len(rows))
        if label is None and self.kind != "nonrobust":
            blocks = influence.answers.deletions().score_steps(0)
            terms = np.concatenate([one.reshape(len(one), -1)[:, place] for _, one in blocks])
            gone = np.minimum(terms[rows] ** 2 / error**2, 0.9)
        size = np.abs(value + moved) / (error * np.sqrt(1.0 - gone))
        return (size - abs(value) / error) / critical


def significance(j, level=0.05, *, kind="hc3", output=0):
    """Whether a coefficient differs from zero at a level, as its table says.

    Parameters
    ----------
    j : int
        The column, of what the model at the end of a pipeline sees.
    level : float, default=0.05
        The two-sided p-value that is called significant.
    kind : {"nonrobust", "hc0", "hc1", "hc2", "hc3"}, default="hc3"
        Of the standard error, as in :func:`~skinfluence.inference.covariance`.
    output : int, default=0
        The row of ``coef_``, of several classes.

    Returns
    -------
    what : Conclusion
        For :func:`smallest_flip`; its number is the statistic over its critical value, less one. Of models
        without a penalty.

    Notes
    -----
    As in :func:`~skinfluence.inference.coefficient_table`, of the rows that are left: the standard error
    moves with them, as the coefficient does; in the end both are those of a refit. No lower bound is known.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import LinearRegression
    >>> from skinfluence import Influence, robustness
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> inf = Influence(LinearRegression().fit(X, y), X, y)
    >>> flip = robustness.smallest_flip(inf, robustness.significance(1))
    >>> print(flip)
    Removing 19 of 442 rows flips it: a refit says so.
    """
    return Significance(j, output, level, kind)
