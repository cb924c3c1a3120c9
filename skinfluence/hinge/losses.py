"""The hinge of binary problems, one output each, however many classes there are."""

import numpy as np

from skinfluence.losses import Loss

# A margin support vector is at 1 up to round-off of its decision value.
AT_MARGIN = 1e-9


class Hinge(Loss):
    """``sum_j factors[y, j] max(0, 1 - signs[y, j] eta_j)`` over binary problems j.

    Parameters
    ----------
    signs : ndarray of shape (n_classes, n_outputs)
        The target of each class in each problem: -1, 1, or 0 where the class has no part in it.
    factors : ndarray of shape (n_classes, n_outputs), default=None
        Class weights that hold in some problems only; ones when None.

    Notes
    -----
    At the kink the derivative is taken as that of the side below the margin: a row exactly at
    margin 1 counts as pushed.
    """

    def __init__(self, signs, factors=None):
        self.signs = np.asarray(signs, dtype=np.float64)
        self._own_class = factors is not None
        self.factors = np.abs(self.signs) if factors is None else np.asarray(factors, dtype=float)
        self.n_outputs = self.signs.shape[1]

    def reweighted(self, ratio):
        if not self._own_class:
            return self
        # What weighs a row in the problem of its own class only is undone in the others.
        factors = np.where(self.signs > 0, self.factors, self.factors / ratio[:, None])
        return Hinge(self.signs, factors)

    def _of(self, y):
        codes = np.asarray(y, dtype=np.intp)
        return self.signs[codes], self.factors[codes]

    def value(self, eta, y):
        signs, factors = self._of(y)
        return (factors * np.abs(signs) * np.maximum(0.0, 1.0 - signs * eta)).sum(axis=-1)

    def gradient(self, eta, y):
        signs, factors = self._of(y)
        return np.where(signs * eta <= 1.0 + AT_MARGIN, -factors * signs, 0.0)

    def hessian(self, eta, y):
        return np.zeros((*np.shape(eta), self.n_outputs))

    def predict_proba(self, eta):
        raise AttributeError(
            "The model must be a classifier with probabilities. Got a hinge model: its "
            "probability=True fits a second model by an internal cross-validation (Platt scaling), "
            "whose answer without a row is not known. Ask for the decision function instead."
        )


class OneVsOneHinge(Hinge):
    """The hinge of all pairs of classes; the problem (a, b) with a < b is positive for a.

    Parameters
    ----------
    n_classes : int
    shape : {"ovo", "ovr"}
        What the user sees as the decision function: the pairs, or scikit-learn's votes.
    break_ties : bool
        Whether equal votes are decided by the size of the decision values, as scikit-learn's
        parameter of that name.
    """

    def __init__(self, n_classes, shape="ovr", break_ties=False):
        self.first, self.second = np.triu_indices(n_classes, 1)
        pairs = np.arange(len(self.first))
        signs = np.zeros((n_classes, len(pairs)))
        signs[self.first, pairs], signs[self.second, pairs] = 1.0, -1.0
        super().__init__(signs)
        self.shape = shape
        self.break_ties = break_ties

    def expand(self, eta):
        return eta if self.shape == "ovo" else self._votes(eta, with_confidence=True)

    def by_class(self, eta):
        """What each class has over all others together; votes would say of most rows the same."""
        return eta @ self.signs.T

    def decide(self, eta):
        return self._votes(eta, self.break_ties).argmax(axis=-1)

    def _votes(self, eta, with_confidence):
        won = (~(eta < 0)).astype(float)
        votes = won @ (self.signs > 0).T + (1.0 - won) @ (self.signs < 0).T
        votes[np.isnan(eta).any(axis=-1)] = np.nan
        if not with_confidence:
            return votes
        confidence = eta @ self.signs.T
        return votes + confidence / (3.0 * (np.abs(confidence) + 1.0))
