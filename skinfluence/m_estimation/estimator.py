"""The estimator: fit a user's loss, and ask what every row did."""

import numbers
import warnings

import numpy as np
from scipy.optimize import minimize
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import ClassifierTags, RegressorTags, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skinfluence._utils.calls import level_outside
from skinfluence._utils.validation import (
    check_finite_targets,
    check_rows,
    check_sample_weight,
    refuse_masked,
)
from skinfluence.design.dense import DenseDesign
from skinfluence.losses.base import decided
from skinfluence.mixin import InfluenceMixin, remember
from skinfluence.objective import Labels, objective_of
from skinfluence.row_losses.newton import minimise
from skinfluence.row_losses.problem import MProblem, RowOutputs, predictions
from skinfluence.row_losses.rows import RowLoss, row_loss


class MEstimator(InfluenceMixin, BaseEstimator):
    """Minimise any loss written with ``autograd.numpy``; influence comes by itself.

    The parameters minimise ``sum_i w_i loss(params, x_i, y_i) + 1/2 sum_k l2_k params_k^2``, which
    need not be convex. Gradients, Hessians and their products are found by automatic
    differentiation.

    Parameters
    ----------
    loss : callable
        ``loss(params, x, y)``: the loss of one row, a number, with ``params`` of shape (n_params,)
        and ``x`` of shape (n_features,), float64. It is called with all rows at once, and must then
        return the loss of each, if it can: ``x @ params`` can, ``anp.sum(x * params)`` cannot (write
        ``axis=-1``). This is verified on a few rows; where it does not hold rows are looped over,
        slowly and with a warning. To be pickled it must be a function of a module.
    n_params : int
    l2 : float or array-like of shape (n_params,), default=0.0
        The ridge penalty, held by edits (``hold="C"``). A penalty written into ``loss`` counts once
        per row and leaves with the row.
    damping : float, default=0.0
        Added to the diagonal of the Hessian (that of the sum over rows) in the derivatives and the
        methods ``"influence"`` and ``"one-step"``. Fits, ``"auto"`` and ``"exact"`` never damp.
    init : array-like of shape (n_params,), default=None
        Where the fit starts, zeros when None. Networks need other numbers: zeros is a saddle.
    decision : callable, default=None
        ``decision(params, X)`` of all rows at once, shape (n_rows,) or (n_rows, n_outputs): what a
        regression predicts, the decision values of a classifier. ``predict`` needs it, and every
        question but those about the loss.
    classes : array-like, default=None
        The labels that y may take, for a classifier; ``loss`` gets y as it is given. None: y is a
        number.
    max_iter : int, default=1000
        Of L-BFGS; Newton's method takes over from where it ends.

    Attributes
    ----------
    params_ : ndarray of shape (n_params,)
    n_iter_ : int
        Steps of L-BFGS and Newton's method together.
    n_features_in_ : int
    classes_ : ndarray of shape (n_classes,)
        With ``classes``, sorted.

    Notes
    -----
    With n rows and p parameters, derivatives take p passes of autograd over all rows, effects
    ``"one-step"`` p (p + 1) / 2 passes and an O(p^3) solve per row, ``"auto"`` and ``"exact"`` a few
    passes per row and edit. Nothing is known of a user's loss that would certify an answer:
    ``"auto"`` solves like ``"exact"``, and ``effect(...)`` says ``method_used="newton"`` with an
    infinite bound.

    In a problem that is not convex ``"exact"`` is the minimum that Newton's method reaches from
    the fit, not the best of all.

    Examples
    --------
    >>> import autograd.numpy as anp
    >>> import numpy as np
    >>> from skinfluence.m_estimation import MEstimator
    >>> def pseudo_huber(params, x, y):
    ...     return anp.sqrt(1.0 + (y - x @ params) ** 2) - 1.0
    >>> X = np.column_stack([np.arange(8.0), np.ones(8)])
    >>> y = X[:, 0] + 1.0
    >>> y[3] = 50.0
    >>> model = MEstimator(pseudo_huber, n_params=2).fit(X, y)
    >>> int(model.self_influence().argmax())
    3
    """

    def __init__(
        self,
        loss,
        n_params,
        *,
        l2=0.0,
        damping=0.0,
        init=None,
        decision=None,
        classes=None,
        max_iter=1000,
    ):
        self.loss = loss
        self.n_params = n_params
        self.l2 = l2
        self.damping = damping
        self.init = init
        self.decision = decision
        self.classes = classes
        self.max_iter = max_iter

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if self.decision is None:
            return tags
        if self.classes is None:
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        else:
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags

    def fit(self, X, y, sample_weight=None):
        """Minimise the loss, and remember the training data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : MEstimator

        Warns
        -----
        ConvergenceWarning
            If the fit ends before a minimum, or at a saddle.
        """
        refuse_masked(X=X, y=y, sample_weight=sample_weight)
        rows = validate_data(self, X, dtype=np.float64, order="C")
        start = self._start()
        problem = self._problem(rows, y, sample_weight, start, None)
        found, n_iter = _fit(problem, self.max_iter)
        self.params_ = found.problem.theta
        self.n_iter_ = n_iter + found.n_iter
        self._broadcasts = problem.row_loss.broadcasts
        if self.classes is not None:
            self.classes_ = problem.labels.classes
        return remember(self, X, y, sample_weight)

    @available_if(lambda self: self.decision is not None and self.classes is not None)
    def decision_function(self, X):
        """Decision values of a classifier, (n_rows,) or (n_rows, n_classes).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        """
        return self._decide(X)

    @available_if(lambda self: self.decision is not None)
    def predict(self, X):
        """What ``decision`` says of a regression; of a classifier, the class that it is for.

        The sign decides for one decision value per row, the largest for several.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        """
        eta = self._decide(X)
        if self.classes is None:
            return eta
        return self.classes_[decided(eta.reshape(len(eta), -1))]

    @available_if(lambda self: self.decision is not None)
    def score(self, X, y, sample_weight=None):
        """R2 of a regression, accuracy of a classifier.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        y : array-like of shape (n_rows,)
        sample_weight : array-like of shape (n_rows,), default=None
        """
        metric = r2_score if self.classes is None else accuracy_score
        return metric(y, self.predict(X), sample_weight=sample_weight)

    def _decide(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64, order="C")
        return predictions(self.decision, self.params_, X)

    def _start(self):
        p = self.n_params
        if not isinstance(p, numbers.Integral) or p < 1:
            raise ValueError(f"n_params must be a positive integer. Got {p!r} instead.")
        if not callable(self.loss):
            raise TypeError(f"loss must be a function (params, x, y). Got {self.loss!r}.")
        if self.init is None:
            return np.zeros(p)
        start = np.array(self.init, dtype=np.float64)
        if start.shape != (p,) or not np.isfinite(start).all():
            raise ValueError(
                f"init must hold one finite number per parameter, ({p},). Got shape {start.shape}."
            )
        return start

    def _problem(self, X, y, sample_weight, theta, broadcasts):
        """The problem on validated rows; whether the loss broadcasts is found out if None."""
        y = column_or_1d(y, warn=True)
        check_rows(X, y)
        labels = None
        if self.classes is not None:
            classes = np.unique(self.classes)
            labels = Labels(classes, classes, np.ones(len(classes)))
            y = classes[labels.codes(y)]
        else:
            y = _numbers(y)
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)
        weights = check_sample_weight(sample_weight, len(X))
        if broadcasts is None:
            kept = weights > 0
            row = row_loss(self.loss, theta, X[kept], y[kept])
        else:
            row = RowLoss(self.loss, broadcasts)
        return MProblem(
            row_loss=row,
            loss=RowOutputs(self.decision),
            design=DenseDesign(X, 0.0),
            y=y,
            weights=weights,
            sample_weight=weights,
            penalty=_per_parameter(self.l2, "l2", len(theta)),
            theta=theta,
            damping=float(_per_parameter(self.damping, "damping", 1)[0]),
            labels=labels,
        )


def _numbers(y):
    try:
        y = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"y must hold numbers. Got {y[:3]!r}, ...; for labels pass classes=."
        ) from error
    check_finite_targets(y)
    return y


def _per_parameter(value, name, p):
    out = np.array(value, dtype=np.float64)
    if out.ndim and out.shape != (p,):
        raise ValueError(
            f"{name} must be one number{'' if p == 1 else f' or one per parameter, ({p},)'}. Got an "
            f"array of shape {out.shape}."
        )
    if not (np.isfinite(out).all() and (out >= 0).all()):
        raise ValueError(f"{name} must be finite and non-negative. Got {value!r}.")
    return np.broadcast_to(out, (p,))


def _fit(problem, max_iter):
    """L-BFGS to the neighbourhood of a minimum, Newton's method to round-off."""
    scale = problem.total_weight

    def of(theta):
        at = problem.at(theta)
        # Overflow on the way: a value that no line search accepts.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            value, gradient = at.value() / scale, at.gradient() / scale
        return (value, gradient) if np.isfinite(value) else (np.inf, np.nan_to_num(gradient))

    options = {"maxiter": max_iter, "gtol": 1e-8, "ftol": 1e-14}
    near = minimize(of, problem.theta, jac=True, method="L-BFGS-B", options=options)
    found = minimise(problem.at(near.x))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        H = found.problem.hessian()
    if not np.isfinite(H).all():
        shown = ", ".join(f"{value:.6g}" for value in found.problem.theta[:5])
        raise ValueError(
            "The loss must have finite derivatives where the fit ends. Its Hessian is not finite at "
            f"params [{shown}{', …' if len(found.problem.theta) > 5 else ''}]: the fit ran to the edge "
            "of where the loss is defined. Write it so that all params are allowed (exp, not a "
            "square root of a difference), or start from another init."
        )
    values = np.linalg.eigvalsh(H)
    if not found.converged:
        warnings.warn(
            f"The fit did not reach a minimum: Newton decrement {found.decrement:.1e} after "
            f"{near.nit + found.n_iter} steps. Scale the features, raise max_iter, start from "
            "another init, or add l2: the loss may have no minimum.",
            ConvergenceWarning,
            stacklevel=level_outside(),
        )
    elif values[0] < -1e-9 * abs(values[-1]):
        warnings.warn(
            f"The fit ended at a saddle, not at a minimum: the Hessian's smallest eigenvalue is "
            f"{values[0]:.1e}. Start from another init.",
            ConvergenceWarning,
            stacklevel=level_outside(),
        )
    return found, int(near.nit)


@objective_of.register
def _(model: MEstimator, X, y, sample_weight=None):
    theta = np.asarray(model.params_, dtype=np.float64)
    return model._problem(X, y, sample_weight, theta, model._broadcasts)
