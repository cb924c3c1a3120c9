"""scikit-learn's scorers on decision values that no fitted estimator gave."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.utils.metaestimators import available_if

# Scores of two classes, and what they are called of more.
OF_MORE = {
    "roc_auc": "roc_auc_ovr",
    "f1": "f1_macro",
    "precision": "precision_macro",
    "recall": "recall_macro",
    "jaccard": "jaccard_macro",
}


class _Says(BaseEstimator):
    """What an estimator with given decision values would say; ``X`` is ignored.

    Parameters
    ----------
    loss : Loss
    eta : ndarray of shape (n_test, n_outputs)
        In the loss's outputs.
    """

    def __init__(self, loss, eta):
        self.loss = loss
        self.eta = eta

    def __sklearn_is_fitted__(self):
        return True


class _SaysClass(ClassifierMixin, _Says):
    """Of a classifier.

    Parameters
    ----------
    loss, eta
        As above.
    classes : ndarray of shape (n_classes,)
    """

    def __init__(self, loss, eta, classes):
        super().__init__(loss, eta)
        self.classes = classes

    @property
    def classes_(self):
        return self.classes

    def predict(self, X):
        return self.classes[self.loss.decide(self.eta)]

    @available_if(lambda self: has_decision_function(self.loss, self.eta, self.classes))
    def decision_function(self, X):
        eta = self.loss.expand(self.eta)
        return eta[:, 0] if eta.shape[1] == 1 else eta

    @available_if(lambda self: _has_probabilities(self.loss, self.eta))
    def predict_proba(self, X):
        return self.loss.predict_proba(self.eta)


class _SaysNumber(RegressorMixin, _Says):
    """Of a regressor."""

    def predict(self, X):
        mean = self.loss.mean(self.eta)
        return mean[:, 0] if mean.shape[1] == 1 else mean


def has_decision_function(loss, eta, classes):
    """Whether scorers may ask for it: of two classes it is one number, and not a chance for each."""
    return len(classes) != 2 or loss.expand(eta[:1]).shape[1] == 1


def _has_probabilities(loss, eta):
    try:
        loss.predict_proba(eta[:1])
    except AttributeError:
        return False
    return True


def is_scorer(of):
    """Whether ``of`` is the name of a scorer, or a scorer that scikit-learn made."""
    if isinstance(of, str):
        return of in get_scorer_names()
    return hasattr(of, "_score_func") and callable(of)


def refuse_score_of_two(of, n_classes):
    """Refuse the name of a score of two classes for a model of more.

    Raises
    ------
    ValueError
    """
    if n_classes > 2 and isinstance(of, str) and of in OF_MORE:
        raise ValueError(
            f"The score {of!r} is of two classes. Got a model of {n_classes}. Ask for {OF_MORE[of]!r}, "
            "which goes over all of them."
        )


def score_of(of, loss, labels, codes):
    """A scorer as a function of decision values (n_test, n_outputs).

    Parameters
    ----------
    of : str or scorer
    loss : Loss
    labels : Labels or None
        Of a classifier.
    codes : ndarray of shape (n_test,)
        Class positions, or targets as the loss sees them.
    """
    if labels is not None:
        refuse_score_of_two(of, len(labels.classes))
    scorer = get_scorer(of) if isinstance(of, str) else of
    curve = getattr(loss, "curve", None)
    if labels is not None:
        y = labels.classes[codes]
    else:
        y = codes if curve is None else curve.back(codes)
    X = np.zeros((len(codes), 1))

    def score(eta):
        if labels is None:
            return float(scorer(_SaysNumber(loss, eta), X, y))
        return float(scorer(_SaysClass(loss, eta, labels.classes), X, y))

    return score
