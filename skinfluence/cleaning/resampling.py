"""Cleaning as a step of a pipeline of imbalanced-learn's, so that it sits inside cross-validation."""

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import type_of_target

from skinfluence.cleaning.ranking import audit
from skinfluence.linear_model import LogisticRegression, Ridge


class LabelCleaner(BaseEstimator):
    """Drops or relabels the rows that look wrong before the model behind it is fitted.

    A sampler in the protocol of imbalanced-learn: in its ``Pipeline`` the rows of a fit are cleaned and
    those of a prediction are not, so that a cross-validation judges cleaning and model together, on
    labels as they were given.

    Parameters
    ----------
    estimator : classifier or regressor, default=None
        The model that is audited; cloned and fitted. By default a scaled `LogisticRegression`, or
        `Ridge` for numbers.
    plan : {"suggested", "relabel", "drop"}, default="suggested"
        What to do with the rows that look wrong; see `Audit.apply`.
    budget : int, default=None
        With "suggested": change at most this many rows, the most suspicious ones.
    suspect, score, method, frozen
        As in `audit`.

    Attributes
    ----------
    audit_ : Audit
        Of the rows of the last fit.
    changes_ : DataFrame
        What was changed, and why.
    sample_indices_ : ndarray of int
        The rows that stayed.
    n_features_in_ : int

    Examples
    --------
    >>> from imblearn.pipeline import make_pipeline
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.cleaning import LabelCleaner
    >>> from skinfluence.datasets import load_demo
    >>> from skinfluence.linear_model import LogisticRegression
    >>> demo = load_demo("wine", flip_share=0.15, random_state=0)
    >>> model = make_pipeline(StandardScaler(), LabelCleaner(LogisticRegression(C=0.1)), LogisticRegression())
    >>> scores = cross_val_score(model, demo.X, demo.y)
    """

    def __init__(
        self,
        estimator=None,
        *,
        plan="suggested",
        budget=None,
        suspect=None,
        score=None,
        method="auto",
        frozen=None,
    ):
        self.estimator = estimator
        self.plan = plan
        self.budget = budget
        self.suspect = suspect
        self.score = score
        self.method = method
        self.frozen = frozen

    def fit(self, X, y):
        """Audit rows and change nothing.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)

        Returns
        -------
        self : LabelCleaner
        """
        if self.plan not in ("suggested", "relabel", "drop"):
            raise ValueError(
                f"plan must be 'suggested', 'relabel' or 'drop'. Got {self.plan!r} instead."
            )
        if self.budget is not None and self.plan != "suggested":
            raise ValueError(f"budget= limits plan='suggested'. Got plan={self.plan!r} with it.")
        check_consistent_length(X, y)
        estimator = self._model(X, y)
        self.audit_ = audit(
            estimator.fit(X, y),
            X,
            y,
            suspect=self.suspect,
            score=self.score,
            effects=False,
            method=self.method,
            frozen=self.frozen,
        )
        self.n_features_in_ = X.shape[1] if hasattr(X, "shape") else len(X[0])
        return self

    def fit_resample(self, X, y):
        """Audit rows and give those that stay, with their labels corrected.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)

        Returns
        -------
        X_clean, y_clean
            Of the types that came.
        """
        self.fit(X, y)
        found = self.audit_
        plan = found.plan(budget=self.budget) if self.plan == "suggested" else self.plan
        X_clean, y_clean, kept = found.apply(X, plan=plan)
        self.changes_, self.sample_indices_ = found.changes(plan), kept
        if hasattr(y, "iloc"):
            y_clean = type(y)(y_clean, index=y.index[kept], name=y.name, dtype=y.dtype)
        elif isinstance(y, list):
            y_clean = y_clean.tolist()
        return X_clean, y_clean

    def _model(self, X, y):
        if self.estimator is not None:
            return clone(self.estimator)
        numbers = type_of_target(np.asarray(y)).startswith("continuous")
        scaler = StandardScaler(with_mean=not sparse.issparse(X))
        return make_pipeline(scaler, Ridge() if numbers else LogisticRegression(max_iter=1000))
