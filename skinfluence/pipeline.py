"""Pipelines with influence methods on raw inputs, and influence by the names of features."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import sklearn.pipeline
from sklearn import get_config
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.metaestimators import available_if

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence.influence import Influence
from skinfluence.mixin import InfluenceMixin, TrainingData, spared
from skinfluence.pullbacks import NoDerivativeError, pullback
from skinfluence.pullbacks.registry import numeric
from skinfluence.statistics import Moves, OverBudgetError, statistics

__all__ = [
    "Moves",
    "NamedInfluence",
    "NoDerivativeError",
    "OverBudgetError",
    "Pipeline",
    "influence_by_name",
    "make_pipeline",
    "pullback",
    "statistics",
]

FEWER = "Ask for fewer rows with indices=, or for aggregate='mean' over the test points."

_predicts = available_if(lambda self: hasattr(self, "predict"))


class Pipeline(InfluenceMixin, sklearn.pipeline.Pipeline):
    """scikit-learn's :class:`~sklearn.pipeline.Pipeline` with influence methods on raw inputs.

    Parameters are scikit-learn's. Effects and ``loo_*`` are about the whole pipeline, unless
    ``frozen="accept"`` is passed; derivatives are with the transformers as fitted. The pipeline
    holds the training data like any estimator with influence methods. It needs no steps of this
    package: any model whose objective is known will do.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.pipeline import make_pipeline
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> model.removal_effect(X[:2], y[:2]).shape
    (2, 150)
    >>> model.influence_pert(X[:2], y[:2], indices=[7]).shape
    (2, 1, 4)
    """

    def fit(self, X, y=None, **params):
        """Fit as scikit-learn does, and remember the training data.

        Parameters
        ----------
        X : array-like
            Raw inputs, as the first step wants them.
        y : array-like of shape (n_samples,), default=None
        **params
            As in scikit-learn: ``step__parameter``, or metadata where routing is enabled. The
            ``sample_weight`` that reaches the model is remembered.

        Returns
        -------
        self : Pipeline
        """
        # Before the fit, which may overwrite them.
        data = TrainingData(X, y)
        sklearn.pipeline.Pipeline.fit(self, spared(self, X), y, **params)
        return self._hold(data.with_weight(_weight_of_model(self, params)))

    influence_up_params = _predicts(InfluenceMixin.influence_up_params)
    influence_up_loss = _predicts(InfluenceMixin.influence_up_loss)
    influence_pert = _predicts(InfluenceMixin.influence_pert)
    self_influence = _predicts(InfluenceMixin.self_influence)
    removal_effect = _predicts(InfluenceMixin.removal_effect)
    relabel_effect = _predicts(InfluenceMixin.relabel_effect)
    loo_decision_function = _predicts(InfluenceMixin.loo_decision_function)
    loo_predict = _predicts(InfluenceMixin.loo_predict)
    loo_score = _predicts(InfluenceMixin.loo_score)


def make_pipeline(*steps, memory=None, transform_input=None, verbose=False):
    """A :class:`~skinfluence.pipeline.Pipeline` of unnamed steps; parameters as in scikit-learn.

    Parameters
    ----------
    *steps : estimators
        Named by their types in lower case.
    memory : str or object with the joblib.Memory interface, default=None
    transform_input : list of str, default=None
    verbose : bool, default=False

    Returns
    -------
    pipeline : Pipeline

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.pipeline import make_pipeline
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> model.loo_predict_proba(indices=[70]).round(2)
    array([[0.01, 0.39, 0.6 ]])
    """
    named = sklearn.pipeline.make_pipeline(*steps).steps
    return Pipeline(named, memory=memory, transform_input=transform_input, verbose=verbose)


def _weight_of_model(step, params):
    """The ``sample_weight`` among the fit parameters that reaches the last of the last steps."""
    routed = get_config()["enable_metadata_routing"]
    while isinstance(step, sklearn.pipeline.Pipeline):
        name, last = step.steps[-1]
        if routed:
            params = process_routing(step, "fit", **params)[name]["fit"]
        else:
            own = [key for key in params if key.startswith(f"{name}__")]
            params = {key.removeprefix(f"{name}__"): params[key] for key in own}
        step = last
    return params.get("sample_weight")


@dataclass(frozen=True, eq=False)
class NamedInfluence:
    """Derivatives of test losses in the named features of training rows.

    Attributes
    ----------
    names : ndarray of str, shape (n_names,)
        Raw columns as far as derivatives reach, then categories (``color_red``) and words.
    values : ndarray of shape (n_test, n_rows, n_names), or (n_rows, n_names) of the mean
        In the scale of :meth:`~skinfluence.Influence.influence_pert`: moving feature j of row i by a small
        ``delta`` changes the test loss by ``(w_i / n_train) * values[t, i, j] * delta``.
    features : CSR array of shape (n_rows, n_names)
        The features themselves: numbers, 0 or 1 for categories, counts for words.
    weights : ndarray of shape (n_rows,)
        ``w_i / n_train``.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence.pipeline import influence_by_name, make_pipeline
    >>> mails = ["cheap pills today", "cheap watches now", "lunch at noon", "minutes of lunch"]
    >>> model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(mails, [1, 1, 0, 0])
    >>> named = influence_by_name(model, ["cheap lunch"], [1])
    >>> named.names[:3].tolist(), named.values.shape
    (['at', 'cheap', 'lunch'], (1, 4, 10))
    """

    names: np.ndarray
    values: np.ndarray
    features: sp.csr_array
    weights: np.ndarray

    def top(self, k=10):
        """The features whose absence would change each test loss most, to first order.

        Setting feature j of row i to zero (taking a word out of a mail) changes the test loss by
        about ``-(w_i / n_train) * values[t, i, j] * features[i, j]``.

        Parameters
        ----------
        k : int, default=10

        Returns
        -------
        names : ndarray of str, shape (n_test, n_rows, k), or (n_rows, k) of the mean
            The largest change, of either sign, first; an empty name where a row has fewer features
            that are not zero.
        effects : ndarray of the same shape
            After minus before: positive is helpful, as in :meth:`~skinfluence.Influence.removal_effect`.
        """
        k = min(k, len(self.names))
        names = np.full((*self.values.shape[:-1], k), "", dtype=object)
        effects = np.zeros(names.shape)
        for i, row in enumerate(self.features):
            present = row.indices
            changes = -self.weights[i] * row.data * self.values[..., i, present]
            order = np.argsort(-np.abs(changes), axis=-1, kind="stable")[..., :k]
            found = order.shape[-1]
            names[..., i, :found] = self.names[present][order]
            effects[..., i, :found] = np.take_along_axis(changes, order, axis=-1)
        return names, effects


def influence_by_name(influence, X, y, *, indices=None, labels=None, aggregate=None):
    """Derivative of test losses in the named features of training rows: which word is why.

    As :meth:`~skinfluence.Influence.influence_pert` where derivatives reach the raw columns. Where they end,
    because categories and texts cannot move a little, the features have names: the categories of
    a one-hot encoder, the words of a vectoriser. Tf-idf weights are differentiated down to the
    counts of the words; transformers without a registered pullback end at their own outputs.

    Parameters
    ----------
    influence : Influence or Pipeline
        Or any other fitted estimator of this package.
    X : array-like
        Raw test points.
    y : array-like of shape (n_test,)
    indices, labels
        Training rows, as in :meth:`~skinfluence.Influence.influence_pert`; all when None.
    aggregate : {None, "mean"}, default=None
        ``"mean"``: of the mean test loss, at the cost of one test point.

    Returns
    -------
    named : NamedInfluence

    Raises
    ------
    MemoryError
        If n_test x n_rows x n_names numbers do not fit.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence.pipeline import influence_by_name, make_pipeline
    >>> mails = ["cheap pills today", "cheap watches now", "lunch at noon", "minutes of lunch"]
    >>> model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(mails, [1, 1, 0, 0])
    >>> named = influence_by_name(model, ["cheap lunch"], [1])
    >>> names, effects = named.top(k=1)
    >>> names[0, :, 0].tolist()
    ['cheap', 'cheap', 'lunch', 'lunch']
    """
    if isinstance(influence, InfluenceMixin):
        influence = influence.__influence__()
    if not isinstance(influence, Influence):
        raise TypeError(
            "influence must be an Influence or a fitted estimator of this package. Got "
            f"{type(influence).__name__}; make Influence(estimator, X, y) of it."
        )
    rows = influence.data.positions(indices, labels)
    if not len(rows):
        raise ValueError("indices must name at least one training row. Got none.")
    tests = influence.data.labelled_tests(X, y, aggregate)
    walk = influence.data.inputs.pull_back_to_names

    def ends_at(rows):
        # With no gradients at all: what the features are called and what they are.
        return walk(rows, np.empty((0, len(rows), influence.objective.design.n_features)))

    def features_at(rows):
        return sp.hstack([sp.csr_array(numeric(end.X)) for end in ends_at(rows)])

    names = np.array([name for end in ends_at(rows[:1]) for name in end.names], dtype=object)
    n_test = 1 if aggregate else tests.design.n_samples
    check_fits((n_test, len(rows), len(names)), FEWER)

    def pull_back(rows, V):
        out = np.empty((*V.shape[:2], len(names)))
        for block in row_blocks(len(rows), 64 * (1 + len(V)) * len(names)):
            ends = walk(rows[block], V[:, block])
            np.concatenate([end.V for end in ends], axis=2, out=out[:, block])
        return out

    values = np.empty((n_test, len(rows), len(names)))
    values = influence.answers.pert_loss(tests, rows, aggregate, pull_back, values)
    blocks = row_blocks(len(rows), 64 * len(names))
    return NamedInfluence(
        names=names,
        values=values[0] if aggregate else values,
        features=sp.csr_array(sp.vstack([features_at(rows[block]) for block in blocks])),
        weights=influence.objective.weights[rows] / influence.objective.n_samples,
    )
