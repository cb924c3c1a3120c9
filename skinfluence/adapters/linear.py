"""Linear models: logistic regression, least squares, ridge."""

import copy
from dataclasses import replace

import numpy as np
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from skinfluence._utils._compat import (
    effective_l2,
    has_several_labels,
    l1_share,
    refuse_old_multiclass,
)
from skinfluence._utils.validation import check_rows, check_sample_weight, check_targets
from skinfluence.adapters.cross_validated import chosen_among, with_given
from skinfluence.design import design_of
from skinfluence.inputs.same_fit import check_same_fit
from skinfluence.losses import Binomial, Multinomial, SquaredError, SumToZero
from skinfluence.objective import Labels, Objective, objective_of, refuse_weightless

# Of two classes decision values have then the sign of the one that nobody is of, of several there are fewer
# rows of coefficients than ``classes_`` names.
LEFT_OUT = "liblinear leaves such a class out of its fit, so that its coefficients are those of other classes"
POSITIVE = (
    "Coefficients must be unconstrained. Got positive=True, whose active constraints have no "
    "derivative. Fit with positive=False."
)


def linear_objective(
    model,
    X,
    y,
    *,
    loss,
    penalty,
    weights,
    sample_weight,
    labels=None,
    natural_hold="C",
    intercept=1.0,
    penalise_intercept=False,
):
    """The objective of a linear model with ``coef_`` and ``intercept_``.

    Parameters
    ----------
    model : estimator
        With ``coef_``, ``intercept_`` and ``fit_intercept``.
    X : ndarray or CSR array of shape (n_samples, n_features)
    y : ndarray
        As the loss wants it.
    loss : Loss
        In as many outputs as ``coef_`` has rows, or :class:`~skinfluence.losses.SumToZero`.
    penalty : float
        The factor on ``1/2 |coef|^2``.
    weights, sample_weight : ndarray of shape (n_samples,)
        With and without class weights.
    labels : Labels, default=None
    natural_hold : {"C", "lambda"}, default="C"
    intercept : float, default=1.0
        Value of the constant column, if ``model.fit_intercept``.
    penalise_intercept : bool, default=False

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.adapters import linear_objective
    >>> from skinfluence.losses import SquaredError
    >>> X, y, w = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 3.0]), np.ones(3)
    >>> model = Ridge(alpha=2.0).fit(X, y)
    >>> objective = linear_objective(
    ...     model, X, y, loss=SquaredError(), penalty=2.0, weights=w, sample_weight=w
    ... )
    >>> objective.theta.shape, objective.penalty
    ((1, 2), array([2., 0.]))
    """
    coef = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    if model.fit_intercept:
        offset = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), len(coef))
        theta = np.column_stack([coef, offset / intercept])
    else:
        _refuse_intercept(model)
        theta, intercept = coef, 0.0
    if isinstance(loss, SumToZero):
        theta = loss.reduce(theta.T).T
    diagonal = np.full(theta.shape[1], float(penalty))
    if intercept and not penalise_intercept:
        diagonal[-1] = 0.0
    return Objective(
        loss=loss,
        design=design_of(X, intercept),
        y=y,
        weights=weights,
        penalty=diagonal,
        theta=np.ascontiguousarray(theta),
        labels=labels,
        sample_weight=sample_weight,
        hold=natural_hold,
        natural_hold=natural_hold,
    )


def _refuse_intercept(model):
    """Refuse an intercept of a model that fits none."""
    if np.any(model.intercept_):
        raise ValueError(
            "The parameters must be those of the fit. Got fit_intercept=False and an intercept that is not "
            "zero; fit again."
        )


def class_labels(model, classes, targets, class_weight, counted):
    """The labels of a fitted classifier; what its ``"balanced"`` weights count, ``counted``."""
    balanced = counted if isinstance(model.class_weight, str) else None
    weights = np.asarray(class_weight, dtype=float)
    return Labels(np.asarray(classes), np.asarray(targets), weights, balanced)


def refuse_empty(codes, sample_weight, classes, why):
    """Refuse a fit with a class without weight.

    Parameters
    ----------
    codes : ndarray of int, shape (n_samples,)
    sample_weight : ndarray of shape (n_samples,)
    classes : ndarray of shape (n_classes,)
    why : str
        What is wrong with such a fit.

    Raises
    ------
    ValueError
    """
    refuse_weightless(
        codes, sample_weight, len(classes), lambda code: f"class {classes[code]}", why
    )


def _logistic(model, X, y, sample_weight, C, l1_ratio):
    classes = model.classes_
    refuse_old_multiclass(model, len(classes))
    form = getattr(model, "penalty", "deprecated")
    share = l1_share(form, C, l1_ratio)
    few = share > 0 and len(classes) == 2
    penalty = 0.0 if few else effective_l2(form, C, l1_ratio)
    y = column_or_1d(y)
    check_rows(X, y)
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    codes = Labels.by_position(classes).codes(y)
    weighted = np.ones(len(classes))
    if model.class_weight is not None:
        with np.errstate(divide="ignore"):
            weighted = compute_class_weight(
                model.class_weight, classes=classes, y=classes[codes], sample_weight=sample_weight
            )
    beyond = np.flatnonzero(np.isinf(weighted))
    if len(beyond):
        raise ValueError(
            "Balanced, every class must have rows of positive sample_weight. Got none of class "
            f"{classes[beyond[0]]}, whose weight would be infinite. Drop those rows and fit again."
        )
    labels = class_labels(model, classes, np.arange(len(classes)), weighted, "weights")
    liblinear = model.solver == "liblinear"
    if liblinear:
        refuse_empty(codes, sample_weight, classes, LEFT_OUT)
    if few:
        return _with_few_columns(model, X, codes, labels, sample_weight, share, C)
    return linear_objective(
        model,
        X,
        codes,
        loss=Binomial() if len(classes) == 2 else SumToZero(Multinomial(len(classes))),
        penalty=penalty,
        weights=sample_weight * labels.class_weight[codes],
        sample_weight=sample_weight,
        labels=labels,
        intercept=float(model.intercept_scaling) if liblinear else 1.0,
        penalise_intercept=liblinear,
    )


def _with_few_columns(model, X, codes, labels, sample_weight, share, C):
    """The problem of two classes with a share of L1 in the penalty."""
    from skinfluence.l1 import smooth_answers as _answers  # noqa: F401  registers the answers
    from skinfluence.l1.smooth_problem import SmoothL1Problem

    if hasattr(X, "as_design"):
        raise ValueError(
            "With an L1 penalty all rows must be in memory. Got rows that are read in blocks, or lie on a "
            "device; fit with an L2 penalty (l1_ratio=0)."
        )
    if labels.balanced:
        raise ValueError(
            "With an L1 penalty the weights of classes must be given. Got class_weight='balanced', which "
            "moves with every row. Fit with the numbers: class_weight=dict(zip(model.classes_, "
            "compute_class_weight('balanced', classes=model.classes_, y=y)))."
        )
    liblinear = model.solver == "liblinear"
    scaling = float(model.intercept_scaling) if liblinear else 1.0
    theta = np.asarray(model.coef_, dtype=np.float64)[0]
    l1, l2 = np.full(len(theta), share / C), np.full(len(theta), (1.0 - share) / C)
    if model.fit_intercept:
        theta = np.append(theta, float(np.ravel(model.intercept_)[0]) / scaling)
        # liblinear's intercept is a column like the others.
        l1, l2 = (np.append(one, one[0] if liblinear else 0.0) for one in (l1, l2))
    else:
        _refuse_intercept(model)
    return SmoothL1Problem(
        Binomial(),
        design_of(X, scaling if model.fit_intercept else 0.0),
        codes,
        sample_weight * labels.class_weight[codes],
        sample_weight,
        l1,
        l2,
        theta,
        labels,
    )


@objective_of.register
def _(model: LogisticRegression, X, y, sample_weight=None):
    return _logistic(model, X, y, sample_weight, model.C, model.l1_ratio)


@objective_of.register
def _(model: LogisticRegressionCV, X, y, sample_weight=None):
    if not model.refit:
        raise ValueError(
            "LogisticRegressionCV must be fitted with refit=True: with refit=False its "
            "coefficients are averages over folds, the optimum of no objective."
        )
    # One number, or one per class in the older layout of the fitted attributes.
    C = np.unique(np.ravel(model.C_))
    shares = [share for share in np.ravel(model.l1_ratio_) if share is not None]
    if len(C) > 1:
        raise ValueError(f"One C must hold for all classes. Got {C}: a one-vs-rest fit.")
    share = float(max(shares, default=0.0))
    given = {"l1_ratio": share} if share else {}
    given = with_given(LogisticRegression, model, C=float(C[0]), **given)
    names = ["C_", "l1_ratio_"] if share else ["C_"]
    ratios = 0.0 if model.l1_ratios is None else model.l1_ratios
    chosen = chosen_among(model, [model.Cs_, ratios], names, given)
    found = _logistic(model, X, y, sample_weight, float(C[0]), share)
    return replace(found, chosen=chosen)


def _squared(model, X, y, sample_weight, alpha):
    # A fit on one column as an array of two dimensions is one on its numbers.
    coef = np.asarray(model.coef_)
    several = len(coef) if coef.ndim == 2 and len(coef) > 1 else None
    y = check_targets(X, y, several)
    if getattr(model, "positive", False):
        raise ValueError(POSITIVE)
    alpha = np.ravel(alpha)
    if len(alpha) != 1:
        raise ValueError(
            f"alpha must be one number. Got one per target, {len(alpha)}; fit one model per target."
        )
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    return linear_objective(
        model,
        X,
        y,
        loss=SquaredError(several or 1),
        penalty=float(alpha[0]),
        weights=sample_weight,
        sample_weight=sample_weight,
    )


@objective_of.register
def _(model: LinearRegression, X, y, sample_weight=None):
    return _squared(model, X, y, sample_weight, 0.0)


@objective_of.register
def _(model: Ridge, X, y, sample_weight=None):
    return _squared(model, X, y, sample_weight, model.alpha)


@objective_of.register
def _(model: RidgeCV, X, y, sample_weight=None):
    found = _squared(model, X, y, sample_weight, model.alpha_)
    return replace(found, chosen=chosen_among(model, [model.alphas], ["alpha_"]))


def _ridge_classifier(model, X, y, sample_weight, alpha, chosen=None):
    if getattr(model, "positive", False):
        raise ValueError(POSITIVE)
    if has_several_labels(model):
        return _ridge_by_label(model, X, y, sample_weight, alpha, chosen)
    y = np.asarray(y)
    if y.ndim != 1:
        raise ValueError(
            f"y must be one label per row, as in the fit. Got an array of shape {y.shape}. Pass what was "
            "given to fit."
        )
    check_rows(X, y)
    classes = model.classes_
    n_classes = len(classes)
    targets = np.array([-1.0, 1.0]) if n_classes == 2 else 2.0 * np.eye(n_classes) - 1.0
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    codes = Labels(classes, targets, np.ones(n_classes)).codes(y)
    weighted = np.ones(n_classes)
    if model.class_weight is not None:
        present, first = np.unique(codes, return_index=True)
        weighted[present] = compute_sample_weight(model.class_weight, classes[codes])[first]
    found = linear_objective(
        model,
        X,
        targets[codes],
        loss=SquaredError(1 if n_classes == 2 else n_classes),
        penalty=float(alpha),
        weights=sample_weight * weighted[codes],
        sample_weight=sample_weight,
        labels=class_labels(model, classes, targets, weighted, "rows"),
    )
    return found if chosen is None else replace(found, chosen=chosen)


def _ridge_by_label(model, X, y, sample_weight, alpha, chosen):
    """A least squares problem for each of several labels, which share the rows and the penalty."""
    from skinfluence.adapters.members import label_by_label, label_columns

    instead = "Fit one RidgeClassifier for each label."
    if model.class_weight is not None:
        raise ValueError(
            "Of several labels a row has one weight. Got class_weight, which multiplies those of all labels "
            f"of a row. {instead}"
        )
    y = label_columns(X, y, len(model.coef_), instead)
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    labels = Labels(np.array([0, 1]), np.array([-1.0, 1.0]), np.ones(2))
    parts = [
        linear_objective(
            _of_label(model, k),
            X,
            labels.targets[labels.codes(own)],
            loss=SquaredError(),
            penalty=float(alpha),
            weights=sample_weight,
            sample_weight=sample_weight,
            labels=labels,
        )
        for k, own in enumerate(y.T)
    ]
    for part in parts:
        check_same_fit(model, part)
    parts = [replace(part, chosen=chosen) for part in parts]
    return label_by_label(parts, False, X, y, sample_weight, instead)


def _of_label(model, k):
    """The part of a multilabel RidgeClassifier that tells one of the labels."""
    made = copy.copy(model)
    made.coef_ = model.coef_[[k]]
    made.intercept_ = model.intercept_[[k]] if model.fit_intercept else 0.0
    return made


@objective_of.register
def _(model: RidgeClassifier, X, y, sample_weight=None):
    return _ridge_classifier(model, X, y, sample_weight, model.alpha)


@objective_of.register
def _(model: RidgeClassifierCV, X, y, sample_weight=None):
    chosen = chosen_among(model, [model.alphas], ["alpha_"])
    return _ridge_classifier(model, X, y, sample_weight, model.alpha_, chosen)
