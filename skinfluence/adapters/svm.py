"""Linear support vector machines with a squared or smooth hinge: ordinary objectives.

``C sum_i w_i l(eta_i) + 1/2 |theta|^2`` is divided by C here, so that losses have weight 1 as
those of a logistic regression do. liblinear's intercept is a feature of value
``intercept_scaling``, penalised like the others. With three classes or more its class weights
weigh a row's own class in that class's problem only, so they are part of the loss.
"""

import numpy as np
from sklearn.svm import LinearSVC
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight

from skinfluence.adapters.linear import linear_objective
from skinfluence.losses import OneVsRest, SmoothHinge, SquaredHinge
from skinfluence.objective import Labels, objective_of
from skinfluence.utils.validation import check_rows, check_sample_weight


@objective_of.register
def _(model: LinearSVC, X, y, sample_weight=None):
    classes = model.classes_
    refuse_unknown_linear(model)
    y = column_or_1d(y)
    check_rows(X, y)
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    targets = np.array([-1.0, 1.0]) if len(classes) == 2 else np.arange(len(classes))
    codes = Labels(classes, targets, np.ones(len(classes))).codes(y)
    class_weight = compute_class_weight(
        model.class_weight, classes=classes, y=y, sample_weight=sample_weight
    )
    loss = SquaredHinge() if model.loss == "squared_hinge" else SmoothHinge(model.temperature)
    if len(classes) > 2:
        loss = OwnClassWeighted(loss, class_weight)
        class_weight = np.ones(len(classes))
    return linear_objective(
        model,
        X,
        targets[codes],
        loss=loss,
        penalty=1.0 / model.C,
        weights=sample_weight * class_weight[codes],
        sample_weight=sample_weight,
        labels=Labels(classes, targets, class_weight),
        intercept=float(model.intercept_scaling),
        penalise_intercept=True,
    )


class OwnClassWeighted(OneVsRest):
    """One binary loss per class, that of a row's own class times the weight of the class.

    liblinear's one-vs-rest: in the problem "class k or not" the rows of class k have its weight,
    all others weight 1. The constant of :class:`~skinfluence.losses.OneVsRest` holds for positive
    weights too.

    Parameters
    ----------
    loss : SingleOutputLoss
    class_weight : ndarray of shape (n_classes,)
    """

    def __init__(self, loss, class_weight):
        super().__init__(loss, len(class_weight))
        self.factors = np.ones((len(class_weight), len(class_weight)))
        np.fill_diagonal(self.factors, class_weight)

    def value(self, eta, y):
        return (self._factors(y) * self.loss.value(*self._binary(eta, y))).sum(axis=-1)

    def gradient(self, eta, y):
        return self._factors(y) * super().gradient(eta, y)

    def remainder(self, eta, y, delta):
        return self._factors(y) * super().remainder(eta, y, delta)

    def _curvature(self, eta, y):
        return self._factors(y) * super()._curvature(eta, y)

    def _factors(self, y):
        return self.factors[np.asarray(y, dtype=np.intp)]


def refuse_unknown_linear(model):
    """Refuse the variants of LinearSVC without an objective of independent binary problems.

    Raises
    ------
    ValueError
    """
    if model.penalty != "l2":
        raise ValueError(
            f"The penalty of LinearSVC must be 'l2'. Got {model.penalty!r}, which has no second "
            "derivative; fit with penalty='l2', perhaps on the columns that the other fit kept."
        )
    if model.multi_class != "ovr":
        raise ValueError(
            f"multi_class must be 'ovr', one binary problem per class. Got {model.multi_class!r}, "
            "one joint problem, for which no path is known; fit with multi_class='ovr'."
        )
