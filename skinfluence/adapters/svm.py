"""Support vector machines: with a smooth loss ordinary objectives, with the hinge binary problems.

``C sum_i w_i l(eta_i) + 1/2 |theta|^2`` is divided by C for the smooth losses, so that they have
weight 1 as those of a logistic regression do. liblinear's intercept is a feature of value
``intercept_scaling``, penalised like the others. With three classes or more its class weights
weigh a row in the problem of its own class only, so that the loss undoes them in the others.
"""

import numpy as np
import scipy.sparse as sp
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVC, NuSVR, OneClassSVM
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight

from skinfluence._utils._compat import fitted_gamma
from skinfluence._utils.validation import (
    check_rows,
    check_sample_weight,
    check_squares,
    check_targets,
)
from skinfluence.adapters.linear import LEFT_OUT, class_labels, linear_objective, refuse_empty
from skinfluence.adapters.support_vectors import expansions, support_rows
from skinfluence.losses import (
    OneVsRest,
    SmoothHinge,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)
from skinfluence.losses.combined import own_class_factors
from skinfluence.objective import Labels, objective_of

# liblinear gives no dual coefficients: rows this near to the margin start halfway to their bound.
NEAR_MARGIN = 1e-3
OTHER_DATA = (
    "X, y and sample_weight must be those of the fit, the rows in the same order. Got others:"
)
AS_FITTED = "Pass what was given to fit, weights included."
LIBSVM = "libsvm leaves such a class out of its fit"
ONE_SIDE = "a binary problem of rows of one class has none on its margin"


@objective_of.register
def _(model: LinearSVC, X, y, sample_weight=None):
    refuse_unknown_linear(model)
    codes, sample_weight = _rows_of(model, X, y, sample_weight)
    classes = model.classes_
    # Ours ends at the optimum of the rows that weigh something, with every class.
    if not getattr(model, "_counts_weights", False):
        refuse_empty(codes, sample_weight, classes, LEFT_OUT)
    class_weight = compute_class_weight(
        model.class_weight, classes=classes, y=classes[codes], sample_weight=sample_weight
    )
    if model.loss == "hinge":
        return _linear_hinge(model, X, codes, class_weight, sample_weight)
    targets = np.array([-1.0, 1.0]) if len(classes) == 2 else np.arange(len(classes))
    loss = SquaredHinge() if model.loss == "squared_hinge" else SmoothHinge(model.temperature)
    if len(classes) > 2:
        loss = OwnClassWeighted(loss, class_weight)
    return linear_objective(
        model,
        X,
        targets[codes],
        loss=loss,
        penalty=1.0 / model.C,
        weights=sample_weight * class_weight[codes],
        sample_weight=sample_weight,
        labels=class_labels(model, classes, targets, class_weight, "weights"),
        intercept=float(model.intercept_scaling),
        penalise_intercept=True,
    )


def _rows_of(model, X, y, sample_weight):
    y = column_or_1d(y)
    check_rows(X, y)
    check_squares(X)
    k = len(model.classes_)
    codes = Labels(model.classes_, np.arange(k), np.ones(k)).codes(y)
    return codes, check_sample_weight(sample_weight, X.shape[0])


class OwnClassWeighted(OneVsRest):
    """One binary loss per class; those of the other classes divided by the row's class weight.

    liblinear's one-vs-rest: in the problem "class k or not" the rows of class k have its weight,
    all others weight 1. The constant of :class:`~skinfluence.losses.OneVsRest` holds for positive
    factors too.

    Parameters
    ----------
    loss : SingleOutputLoss
    class_weight : ndarray of shape (n_classes,)
    """

    def __init__(self, loss, class_weight):
        super().__init__(loss, len(class_weight), own_class_factors(class_weight))
        self.class_weight = class_weight

    def reweighted(self, ratio):
        return OwnClassWeighted(self.loss, self.class_weight * ratio)


def _linear_hinge(model, X, codes, class_weight, sample_weight):
    from skinfluence.hinge.losses import Hinge
    from skinfluence.hinge.problem import HingeObjective
    from skinfluence.kernel import KernelDesign, Linear, Poly

    k = len(model.classes_)
    if k == 2:
        loss = Hinge([[-1.0], [1.0]])
    else:
        loss = Hinge(2.0 * np.eye(k) - 1.0, own_class_factors(class_weight))
    if model.fit_intercept:
        kernel = Poly(gamma=1.0, degree=1, coef0=float(model.intercept_scaling) ** 2)
    else:
        kernel = Linear()
    refuse_empty(codes, sample_weight, model.classes_, ONE_SIDE)
    eta = np.asarray(X @ np.atleast_2d(model.coef_).T + model.intercept_)
    weights = sample_weight * class_weight[codes]
    bound = model.C * weights[:, None] * loss.factors[codes]
    margin = loss.signs[codes] * eta
    _refuse_above_nothing(model, margin, bound)
    share = np.where(
        margin < 1.0 - NEAR_MARGIN, 1.0, np.where(margin > 1.0 + NEAR_MARGIN, 0.0, 0.5)
    )
    return HingeObjective(
        design=KernelDesign(X, kernel),
        loss=loss,
        C=float(model.C),
        free_bias=False,
        y=codes,
        weights=weights,
        sample_weight=sample_weight,
        labels=class_labels(model, model.classes_, np.arange(k), class_weight, "weights"),
        beta=(share * bound * loss.signs[codes]).T,
        bias=np.zeros(loss.n_outputs),
        fitted_eta=eta,
    )


def _refuse_above_nothing(model, margin, bound):
    """No descent that ended at an optimum ends above an objective of no coefficients at all.

    Ours, which follows a path, can where round-off leaves it no optimum; it has warned then.
    """
    if type(model).__module__.startswith("skinfluence"):
        return
    penalty = (
        np.sum(model.coef_**2) + np.sum(np.square(model.intercept_)) / model.intercept_scaling**2
    )
    value = 0.5 * penalty + np.sum(bound * np.maximum(0.0, 1.0 - margin))
    if value > (1.0 + 1e-6) * np.sum(bound) and np.max(model.n_iter_) < model.max_iter:
        raise ValueError(
            f"{OTHER_DATA} at these parameters the objective is {value:.3g}, more than the "
            f"{np.sum(bound):.3g} of no coefficients at all. {AS_FITTED}"
        )


@objective_of.register
def _(model: SVC, X, y, sample_weight=None):
    from skinfluence.hinge.problem import HingeObjective
    from skinfluence.kernel import KernelDesign

    kernel = svc_kernel(model, X.shape[1])
    # Ours weighs rows of weight 2 as if they were given twice.
    counted = "weights" if getattr(model, "_counts_weights", False) else "rows"
    codes, sample_weight = _rows_of(model, X, y, sample_weight)
    k = len(model.classes_)
    refuse_empty(codes, sample_weight, model.classes_, LIBSVM)
    support = support_rows(model, X, sample_weight)
    loss, weights = _one_vs_one(model, k), sample_weight * model.class_weight_[codes]
    beta = expansions(model, support, codes)
    share = beta * loss.signs[codes].T
    bound = float(model.C) * weights
    if (share < -1e-6 * bound).any() or (share > (1.0 + 1e-6) * bound).any():
        raise ValueError(
            f"{OTHER_DATA} coefficients of the fitted model have the signs of other classes, or are "
            f"above C times the weight of their row. {AS_FITTED}"
        )
    return HingeObjective(
        design=KernelDesign(X, kernel),
        loss=loss,
        C=float(model.C),
        free_bias=True,
        y=codes,
        weights=weights,
        sample_weight=sample_weight,
        labels=class_labels(model, model.classes_, np.arange(k), model.class_weight_, counted),
        beta=beta,
        bias=np.array(model.intercept_, dtype=np.float64),
        gamma_counts=counted if hasattr(kernel, "gamma") and _is_scale(model.gamma) else None,
    )


def _is_scale(gamma):
    return isinstance(gamma, str) and gamma == "scale"


def _one_vs_one(model, n_classes):
    from skinfluence.hinge.losses import Hinge, OneVsOneHinge

    if n_classes == 2:
        return Hinge([[-1.0], [1.0]])
    return OneVsOneHinge(n_classes, model.decision_function_shape, model.break_ties)


def svc_kernel(model, n_features):
    """The kernel of a fitted SVC, its gamma as fitted.

    Raises
    ------
    ValueError
        For kernels that are not positive semi-definite, or not known between new rows.
    """
    from skinfluence.kernel import kernel_of

    name = model.kernel
    if callable(name) or name == "precomputed":
        shown = "a callable" if callable(name) else "'precomputed'"
        raise ValueError(
            f"The kernel must be known between any two rows. Got {shown}; fit with kernel='rbf', "
            "'linear' or 'poly', or map the rows to features whose products are the kernel and fit "
            "kernel='linear'."
        )
    if name != "linear" and not isinstance(model.gamma, str) and model.gamma != fitted_gamma(model):
        raise ValueError(
            f"The parameters must be those of the fit. Got gamma={model.gamma!r} and a fit with "
            f"{fitted_gamma(model)!r}; fit again."
        )
    kernel = kernel_of(
        name, n_features, gamma=fitted_gamma(model), degree=model.degree, coef0=model.coef0
    )
    if not kernel.is_psd:
        raise ValueError(
            "The kernel must be positive semi-definite: with others the fit is one of several "
            f"local optima. Got {kernel!r}; fit with kernel='rbf', 'linear', or 'poly' with an "
            "integer degree and coef0 >= 0."
        )
    return kernel


@objective_of.register(NuSVC)
@objective_of.register(NuSVR)
def _(model, X, y, sample_weight=None):
    raise TypeError(
        f"The C of the model must be given. Got {type(model).__name__}, whose C follows from nu and "
        "changes with every row that is removed; fit SVC or, for a regression, SVR."
    )


@objective_of.register
def _(model: OneClassSVM, X, y, sample_weight=None):
    raise TypeError(
        "The loss must be a hinge between two classes, or a tube around targets. Got OneClassSVM; fit "
        "SVC for two classes."
    )


@objective_of.register
def _(model: SVR, X, y, sample_weight=None):
    from skinfluence.kernel import KernelDesign

    kernel = svc_kernel(model, X.shape[1])
    y, sample_weight = _targets_of(model, X, y, sample_weight)
    support = support_rows(model, X, sample_weight)
    dual = model.dual_coef_.toarray() if sp.issparse(model.dual_coef_) else model.dual_coef_
    beta = np.zeros(len(y))
    beta[support] = dual[0]
    if (np.abs(beta) > (1.0 + 1e-6) * model.C * sample_weight).any():
        raise ValueError(
            f"{OTHER_DATA} coefficients of the fitted model are above C times the weight of their row. "
            f"{AS_FITTED}"
        )
    return _tube(
        model,
        KernelDesign(X, kernel),
        y,
        sample_weight,
        free_bias=True,
        beta=beta,
        bias=float(model.intercept_[0]),
        gamma_counts="rows" if hasattr(kernel, "gamma") and _is_scale(model.gamma) else None,
    )


@objective_of.register
def _(model: LinearSVR, X, y, sample_weight=None):
    from skinfluence.kernel import KernelDesign, Linear, Poly

    if model.loss == "squared_epsilon_insensitive":
        return _squared_tube(model, X, y, sample_weight)
    y, sample_weight = _targets_of(model, X, y, sample_weight)
    kernel = Linear()
    if model.fit_intercept:
        kernel = Poly(gamma=1.0, degree=1, coef0=float(model.intercept_scaling) ** 2)
    eta = np.ravel(X @ model.coef_ + model.intercept_)
    off = y - eta
    # liblinear gives no dual coefficients: rows near the edge of the tube start halfway.
    near = NEAR_MARGIN * (np.std(y) or 1.0)
    beyond = np.abs(off) - model.epsilon
    share = np.where(beyond > near, 1.0, np.where(beyond < -near, 0.0, 0.5))
    beta = share * model.C * sample_weight * np.sign(off)
    design = KernelDesign(X, kernel)
    return _tube(model, design, y, sample_weight, False, beta, 0.0, fitted_eta=eta)


def _squared_tube(model, X, y, sample_weight):
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    return linear_objective(
        model,
        X,
        check_targets(X, y),
        loss=SquaredEpsilonInsensitive(float(model.epsilon)),
        penalty=1.0 / model.C,
        weights=sample_weight,
        sample_weight=sample_weight,
        intercept=float(model.intercept_scaling),
        penalise_intercept=True,
    )


def _targets_of(model, X, y, sample_weight):
    check_squares(X)
    if not model.epsilon > 0:
        raise ValueError(
            f"epsilon must be positive, so that a row is on one side of the tube. Got {model.epsilon}. Fit "
            "with a small one, such as 1e-3 of the spread of the targets."
        )
    return check_targets(X, y), check_sample_weight(sample_weight, X.shape[0])


def _tube(model, design, y, weights, free_bias, beta, bias, **more):
    from skinfluence.hinge.regression import TubeProblem

    C, epsilon = float(model.C), float(model.epsilon)
    return TubeProblem(design, y, weights, C, epsilon, free_bias, beta, bias, **more)


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
