"""What an edit leaves: an estimator, how far it may be from a refit, and how it was found."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class EditReport:
    """How an edited model was found.

    Attributes
    ----------
    route : str
        ``"edit"``: the fitted model was moved. ``"whole pipeline"``: what learned from the rows was
        fitted again on the edited ones, and the model solved from where it was.
    method_used : str
        ``"one-step"``, ``"chord"`` or ``"newton"`` of smooth models, ``"closed form"`` of kernel
        ridge regression, ``"path"`` of support vector machines, ``"support"`` of L1 penalties, ``"fit"``
        where the estimator's own fit is a closed form, ``"quadratic"`` and ``"update"`` in a stream.
    bound : float
        On the distance from the refit, in the norm of the edited Hessian (of support vector machines in
        that of the kernel); infinite where nothing is known of the loss, or of which columns are in.
    size : float
        Of the change of the model in the same norm; NaN where it was not measured.
    fitted_again : tuple of str
        What learned from the rows and was fitted on the edited ones: steps of a pipeline,
        ``"class_weight"``, ``"gamma"``.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> report = Influence(Ridge().fit(X, y), X, y).edited(edits.remove(3)).report
    >>> report.route, bool(report.bound < 1e-9)
    ('edit', True)
    """

    route: str
    method_used: str
    bound: float
    size: float = np.nan
    fitted_again: tuple = ()


@dataclass(eq=False)
class Edited:
    """A fitted model as a refit on the edited rows would be.

    Attributes
    ----------
    estimator : estimator
        Of the user's own class, fitted; of a pipeline, the pipeline. It holds nothing of rows that
        were removed. What only described the fit on all rows (``n_iter_``, ``rank_``,
        ``best_score_``, ...) is gone; what a search chose is kept.
    report : EditReport

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> edited = Influence(Ridge().fit(X, y), X, y).edited(edits.remove(3))
    >>> edited.estimator.predict([[5.0]]).round(3)
    array([2.])
    >>> Ridge().fit(X[:3], y[:3]).predict([[5.0]]).round(3)
    array([2.])
    """

    estimator: Any
    report: EditReport
    _error: Any = field(default=None, init=False, repr=False)

    def error_at(self, X):
        """Bound on the difference from a refit's decision values at some rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        error : ndarray of shape (n_rows,) or (n_rows, n_outputs)
            In units of the decision values: log odds, predictions of a regression, logarithms of
            the mean of a count model. Infinite where the report's bound is.
        """
        error = self._error(X)
        return error[:, 0] if error.shape[1] == 1 else error
