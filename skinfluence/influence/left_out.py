"""What the model would say of each training row if it had not seen it."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from skinfluence import leave_one_out
from skinfluence._utils.rows import are_all
from skinfluence._utils.typing import Floats, Frozen, Method, Names, Scoring
from skinfluence.influence.data import Asked


class LeftOut(Asked):
    """Leave-one-out outputs and their score."""

    def loo_decision_function(
        self,
        *,
        method: Method = "auto",
        tol: float = 1e-3,
        frozen: Frozen = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        budget: float | None = None,
    ) -> Floats:
        """Decision values of each training row from the model without it, (n_train, ...).

        NaN, with a warning, for the only row of a class.

        Parameters
        ----------
        method, tol
            As in :meth:`removal_effect`.
        frozen : {None, "accept", "refuse"}, default=None
            What becomes of the transformers of a pipeline, as of the object; that of the object
            when None.
        indices : array-like of int or of bool, default=None
            Training rows by position, or a mask of them; all when None.
        labels : array-like of labels, default=None
            Training rows by the index of their frame, instead of ``indices``.
        budget : float, default=None
            CPU seconds that may go into fitting transformers again; those of the object when None.

        Returns
        -------
        values : ndarray of shape (n_rows,) or (n_rows, n_classes)

        Raises
        ------
        OverBudgetError
            A ``RuntimeError``, with the estimate and the remedies.
        """
        rows = self.data.positions(indices, labels)
        found = self._loo(rows, method, tol, frozen, budget)
        return found.decision_function(rows[:, None])

    def loo_predict_proba(
        self,
        *,
        method: Method = "auto",
        tol: float = 1e-3,
        frozen: Frozen = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        budget: float | None = None,
    ) -> Floats:
        """Class probabilities of each training row without it, (n_train, n_classes).

        Parameters
        ----------
        method, tol, frozen, indices, labels, budget
            As in :meth:`loo_decision_function`.
        """
        rows = self.data.positions(indices, labels)
        return self._loo(rows, method, tol, frozen, budget).predict_proba(rows[:, None])

    def loo_predict(
        self,
        *,
        method: Method = "auto",
        tol: float = 1e-3,
        frozen: Frozen = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        budget: float | None = None,
    ) -> NDArray[Any]:
        """Predictions for each training row from the model without it, (n_train,).

        Parameters
        ----------
        method, tol, frozen, indices, labels, budget
            As in :meth:`loo_decision_function`.
        """
        rows = self.data.positions(indices, labels)
        return self._loo(rows, method, tol, frozen, budget).predict(rows[:, None])

    def loo_score(
        self,
        scoring: Scoring = None,
        *,
        method: Method = "auto",
        tol: float = 1e-3,
        frozen: Frozen = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        budget: float | None = None,
    ) -> float:
        """A scorer on the pooled leave-one-out outputs, of all rows or of some.

        Every row counts once, whatever it weighs in the fit, as in ``estimator.score(X, y)``.

        Parameters
        ----------
        scoring : str or scorer, default=None
            As in scikit-learn; when None what the estimator scores itself by: accuracy, R2, or D2 of Poisson,
            Gamma and Tweedie regressions.
        method, tol, frozen, indices, labels, budget
            As in :meth:`loo_decision_function`.
        """
        rows = None if indices is labels is None else self.data.positions(indices, labels)
        options = {"method": method, "tol": tol, "frozen": frozen, "budget": budget}
        return leave_one_out.pooled_score(self, self.data.y, scoring, rows, **options)

    def _loo(self, rows, method, tol, frozen, budget):
        some = None if are_all(rows, self.objective.n_samples) else rows
        return leave_one_out.outputs(self, method, tol, frozen, some, budget)
