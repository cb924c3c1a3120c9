"""Kernel support vector machines, fitted to their exact optimum."""

import numbers
import warnings

import numpy as np
import scipy.sparse as sp
from sklearn import svm
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import column_or_1d

from skinfluence._utils._compat import check_parameters, take_fit, write_svc
from skinfluence._utils.validation import check_sample_weight
from skinfluence.adapters.svm import svc_kernel
from skinfluence.hinge.answers import HingeAnswers
from skinfluence.hinge.dual import dual_coefficients
from skinfluence.kernel.functions import scaled_gamma
from skinfluence.mixin import InfluenceMixin, remember
from skinfluence.objective import objective_of
from skinfluence.svm._validation import check_classification

# Iterations of libsvm where the user sets no limit: the path goes on from wherever it stops.
MOST_ITERATIONS = 1_000_000


class SVC(InfluenceMixin, svm.SVC):
    """scikit-learn's :class:`~sklearn.svm.SVC`, fitted exactly, with influence methods.

    Parameters are scikit-learn's. libsvm's fit is followed to the optimum of its objective, to
    round-off, by the active-set path. A row of weight 2 is exactly the row given twice, a row of
    weight 0 exactly absent, ``gamma="scale"`` and ``class_weight="balanced"`` included: they count
    weights, not rows.

    Notes
    -----
    Kernels: ``"rbf"``, ``"linear"`` and ``"poly"`` with an integer degree and ``coef0 >= 0``.
    ``probability=True`` is refused: it fits a second model by cross-validation. ``tol``,
    ``max_iter``, ``shrinking`` and ``cache_size`` are those of libsvm's fit, where the path starts;
    ``max_iter=-1`` stops libsvm after a million iterations, as on columns of very different sizes
    it may never end, and the path goes on from there.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.svm import SVC
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SVC(C=10.0).fit(X, y)
    >>> clf.removal_effect(X[:2], y[:2]).shape
    (2, 150)
    >>> round(float(clf.loo_score()), 2)
    0.97
    """

    _counts_weights = True

    def fit(self, X, y, sample_weight=None):
        """Fit to the optimum, and remember the training data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : SVC

        Raises
        ------
        ValueError
            For kernels without an exact answer, ``probability=True``, fewer than two classes.
        """
        if self.probability not in (False, "deprecated"):
            raise ValueError(
                "probability must be False. Got probability=True, which fits a second model by an "
                "internal cross-validation; use CalibratedClassifierCV(SVC(), ensemble=False)."
            )
        check_parameters(self, but=("gamma", "probability"))
        if np.isinf(self.C):
            raise ValueError(
                "C must be finite. Got inf: without a penalty an SVM has no optimum where its classes "
                "overlap. Fit with a large C, say 1e6."
            )
        rows, labels = check_classification(self, X, y, sample_weight)
        classes, codes = np.unique(column_or_1d(labels), return_inverse=True)
        given = None if sample_weight is None else np.asarray(sample_weight)
        weight = check_sample_weight(given, rows.shape[0])
        start = self._start(rows, labels, codes, classes, weight)
        self.classes_, self.class_weight_ = classes, start.class_weight_
        self._gamma = start._gamma
        self._write(start, rows, codes, HingeAnswers(objective_of(start, rows, labels, weight)))
        return remember(self, X, y, sample_weight)

    def _start(self, X, y, codes, classes, weight):
        """Libsvm's fit on the rows that have weight, told of all rows."""
        present = np.flatnonzero(weight > 0)
        if len(np.unique(codes[present])) < len(classes):
            raise ValueError(
                "Every class needs a row of positive sample_weight. Got a class without."
            )
        class_weight = compute_class_weight(
            self.class_weight, classes=classes, y=y, sample_weight=weight
        )
        params = {**self.get_params(deep=False), "class_weight": None}
        params["gamma"] = _resolved_gamma(self.gamma, X, weight)
        if self.max_iter == -1:
            params["max_iter"] = MOST_ITERATIONS
        start = svm.SVC(**params)
        start._gamma = start.gamma
        # Refuses kernels before any work is done.
        svc_kernel(start, X.shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            start.fit(X[present], y[present], (weight * class_weight[codes])[present])
        start.support_ = present[start.support_]
        start.class_weight_ = class_weight
        return start

    def _write(self, start, X, codes, answers):
        """scikit-learn's fitted attributes, from the solutions of all pairs."""
        kind = type(start.dual_coef_) if sp.issparse(start.dual_coef_) else None
        support, counts, dual = dual_coefficients(
            answers.optimum.beta, codes, len(self.classes_), kind
        )
        take_fit(self, start)
        write_svc(self, support, X[support], counts, dual, answers.optimum.bias.copy())


def _resolved_gamma(gamma, X, weight):
    """The number that gamma stands for; the variance of "scale" counts weights, not rows."""
    if gamma == "auto":
        return 1.0 / X.shape[1]
    if isinstance(gamma, numbers.Real):
        return gamma
    if gamma != "scale":
        raise ValueError(
            f"gamma must be 'scale', 'auto' or a non-negative number. Got {gamma!r} instead."
        )
    return scaled_gamma(X, weight)
