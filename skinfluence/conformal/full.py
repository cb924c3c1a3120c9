"""Full conformal prediction: the model with the new point in it, under every label it could have."""

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.validation import check_is_fitted

from skinfluence._utils.memory import row_blocks
from skinfluence.conformal.jackknife import _Conformal, in_set
from skinfluence.conformal.left_out import BLOCK_BYTES
from skinfluence.conformal.pipelines import additions_of, responses_of
from skinfluence.conformal.ranks import check_coverage, upper_rank
from skinfluence.conformal.scores import check_conformity, scores_of


class FullConformalRegressor(RegressorMixin, _Conformal):
    """Prediction intervals from the models with the new point in them, for every target it could have.

    Exact for least squares, ridge and kernel ridge: with the new point all residuals are straight
    lines in its target. Nothing is searched on a grid.

    Parameters
    ----------
    estimator : regressor, default=None
        Of squared error. ``Ridge()`` when None.

    Attributes
    ----------
    estimator_ : regressor
        Fitted on the training rows.

    Notes
    -----
    If the rows and the new point are exchangeable, the set of targets whose p-value is above
    ``1 - coverage`` holds the target with a probability of at least ``coverage``; the interval is
    from its lowest to its highest. With the penalty held, as scikit-learn's ridge does. Transformers that
    learn from the rows learn from the new one too: two fits for each point.

    References
    ----------
    .. [1] I. Nouretdinov, T. Melluish and V. Vovk, "Ridge Regression Confidence Machine", ICML
       2001.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.conformal import FullConformalRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = FullConformalRegressor().fit(X[:300], y[:300])
    >>> model.predict_interval(X[300:]).shape
    (142, 2)
    >>> bool(model.p_values(X[300:301], [150.0])[0] > 0.1)
    True
    """

    _default = Ridge

    def __init__(self, estimator=None):
        self.estimator = estimator

    def fit(self, X, y):
        """Fit the estimator.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
        y : array-like of shape (n_train,)

        Returns
        -------
        self : FullConformalRegressor
        """
        self._responses = responses_of(self._fit(X, y))
        return self

    def p_values(self, X, y):
        """How well each target conforms to its point.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        y : array-like of shape (n_test,) or (n_test, n_targets)
            One target for each point, or several.

        Returns
        -------
        p_values : ndarray of the shape of y
            Share of the rows, the new one included, whose absolute residual under the model with
            the new one is at least its.
        """
        check_is_fitted(self)
        y = np.asarray(y, dtype=float)
        count = np.empty(y.shape)
        for block, lines in self._responses.blocks(X):
            if len(y) <= block.stop - 1 or y.ndim not in (1, 2):
                raise ValueError(
                    "y must hold one target, or one line of them, for each point. Got an array of "
                    f"shape {y.shape}."
                )
            z = (y[block].T - lines.mean) / (1.0 + lines.h)
            found = [_as_large(lines.moved(one), one) for one in np.atleast_2d(z)]
            count[block] = found[0] if y.ndim == 1 else np.transpose(found)
        return (1 + count) / (self._responses.n + 1)

    def predict_interval(self, X, coverage=0.9):
        """Ends of the set of targets that conform, of each point.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        coverage : float, default=0.9

        Returns
        -------
        ends : ndarray of shape (n_test, 2)
            Infinite where no target is excluded: too few rows, or a point of great leverage.
        """
        check_is_fitted(self)
        n = self._responses.n
        # At least so many of the rows have a residual that is no smaller.
        needed = n + 1 - upper_rank(check_coverage(coverage), n)
        parts = []
        for _, lines in self._responses.blocks(X):
            down, up = ends_of(lines.residuals, np.ascontiguousarray(lines.slopes.T), needed)
            spread = (1.0 + lines.h)[:, None] * np.stack([down, up], axis=1)
            parts.append(lines.mean[:, None] + spread)
        return np.concatenate(parts)


def _as_large(moved, z):
    """How many of the residuals ``moved``, which is overwritten, are at least as large as ``z``, (m,)."""
    np.abs(moved, out=moved)
    # Sums of bytes take half the time of sums of truth values.
    return np.add.reduce((moved >= np.abs(z)).view(np.int8), axis=0, dtype=np.int32)


def ends_of(residuals, slopes, needed):
    """The lowest and the highest ``z`` with ``|r_i - c_i z| >= |z|`` for at least ``needed`` of the rows.

    Parameters
    ----------
    residuals : ndarray of shape (n,)
    slopes : ndarray of shape (m, n)
        One line for each point.
    needed : int

    Returns
    -------
    lowest, highest : ndarray of shape (m,)
        On either side of 0, where it holds for all; infinite where there is none.
    """
    m, n = slopes.shape
    if needed < 1 or needed > n:
        end = np.full(m, np.inf if needed < 1 else 0.0)
        return -end, end
    plain = np.abs(slopes).max(axis=1) < 1.0
    lines = slopes if plain.all() else slopes[plain]
    # Of |c| < 1 the roots of |r - c z| = |z| are on either side of 0: nothing but the sign of r tells
    # which is which.
    size, turned = np.abs(residuals), lines * np.sign(residuals)
    ends = np.empty((2, m))
    for end, root in zip(ends, (1.0 - turned, 1.0 + turned), strict=True):
        np.divide(size, root, out=root)
        end[plain] = np.partition(root, n - needed, axis=1)[:, n - needed]
    for t in np.flatnonzero(~plain):
        ends[:, t] = _swept(-residuals, slopes[t], needed), _swept(residuals, slopes[t], needed)
    return -ends[0], ends[1]


def _swept(r, c, needed):
    """The highest end for a point under which some residuals move faster than its own."""
    closed, opened = [], []
    never = 0
    for ri, ci in zip(r, c, strict=True):
        roots = [ri / (ci + s) for s in (1.0, -1.0) if ci + s != 0.0]
        positive = sorted(root for root in roots if root > 0)
        if abs(ci) < 1.0:
            closed.append(max(roots))
        elif abs(ci) == 1.0:
            # Beyond the one root it never holds again, unless that lies on the other side.
            if ri == 0.0 or not positive:
                never += 1
            else:
                closed.append(positive[0])
        elif len(positive) == 2:
            closed.append(positive[0])
            opened.append(positive[1])
        else:
            never += 1
    closed, opened = np.sort(closed), np.sort(opened)
    if never + len(opened) >= needed:
        return np.inf
    at = np.append(0.0, closed)
    count = never + len(closed) - np.searchsorted(closed, at, side="left")
    count += np.searchsorted(opened, at, side="right")
    return at[count >= needed].max()


class FullConformalClassifier(ClassifierMixin, _Conformal):
    """Prediction sets from the models with the new point in them, under every label it could have.

    The models are found from one fit, all points and labels of a block at once, to a certified
    distance: where it leaves a comparison of scores open, Newton's method decides.

    Parameters
    ----------
    estimator : classifier, default=None
        A smooth linear model: logistic regression, softmax, ridge classifier.
        ``LogisticRegression()`` when None.
    conformity : {"log_odds", "margin"}, default="log_odds"
        As in :class:`JackknifePlusClassifier`.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on the training rows.
    classes_ : ndarray of shape (n_classes,)

    Notes
    -----
    If the rows and the new point are exchangeable, the set holds the label with a probability of at
    least ``coverage``. Cost is that of a few gradients of all rows for each point and label; with
    transformers that learn from the rows, or balanced class weights, that of a fit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.conformal import FullConformalClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = FullConformalClassifier().fit(X[::2, :2], y[::2])
    >>> model.predict_set(X[1:2, :2]).tolist()
    [[True, False, False]]
    """

    _default = LogisticRegression

    def __init__(self, estimator=None, *, conformity="log_odds"):
        self.estimator = estimator
        self.conformity = conformity

    def fit(self, X, y):
        """Fit the estimator.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
        y : array-like of shape (n_train,)

        Returns
        -------
        self : FullConformalClassifier
        """
        check_conformity(self.conformity)
        self._additions = additions_of(self._fit(X, y))
        self.classes_ = self._additions.labels.classes
        return self

    def p_values(self, X):
        """How well each label conforms: it is in the set where this is above 1 - coverage.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)

        Returns
        -------
        p_values : ndarray of shape (n_test, n_classes)
            Share of the rows, the new one included, that conform no better than it does, under the
            model with it.
        """
        check_is_fitted(self)
        added = self._additions
        design = added.design_of(X)
        n, K = added.objective.n_samples, len(self.classes_)
        count = np.empty((design.n_samples, K))
        size = 48 * K * n * added.objective.loss.n_outputs
        codes = added.codes
        for block in row_blocks(design.n_samples, size, BLOCK_BYTES):
            for k in range(K):
                count[block, k] = added.counts(
                    design.take(block), k, lambda eta: scores_of(eta, self.conformity), codes
                )
        return (1.0 + count) / (n + 1)

    def predict_set(self, X, coverage=0.9):
        """Which labels are in the set of each point.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        coverage : float, default=0.9

        Returns
        -------
        sets : ndarray of bool, shape (n_test, n_classes)
            Columns in the order of ``classes_``.
        """
        return in_set(self.p_values(X), coverage, self._additions.objective.n_samples)
