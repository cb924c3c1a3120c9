"""The fitted objective: loss x design x penalty x weights at the parameters ``theta``.

    Phi(theta) = sum_i w_i l(eta_i, y_i) + 1/2 theta' R theta,      eta = [X s] theta'

Everything the package answers follows from it. ``R`` is diagonal and the same for each output.
"""

from dataclasses import dataclass, replace
from functools import cached_property, singledispatch

import numpy as np

from skinfluence._utils.dispatch import dispatched, registered, rewritten
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.unsupported import advice_on
from skinfluence._utils.weights import weigh
from skinfluence.design import Design
from skinfluence.labels import Labels
from skinfluence.losses import Loss, SquaredError
from skinfluence.problem import Chosen, Problem, weight_of_kinds

__all__ = ["Labels", "Objective"]

# Up to this size arrays of a matrix for each row are made for all rows, and kept.
KEPT_BYTES = 2**27


class Differentiable(Problem):
    """A problem whose rows have gradients and Hessians in their outputs; what solvers ask of one."""

    @property
    def weighted_gradients(self):
        """``w_i g_i``, what each row adds to the gradient in its outputs, (n_samples, n_outputs)."""
        return weigh(self.weights[:, None], self.gradients)

    @property
    def weighted_hessians(self):
        """``w_i Lambda_i``, shape (n_samples, n_outputs, n_outputs)."""
        return weigh(self.weights[:, None, None], self.hessians)

    @property
    def penalty_stays(self):
        """Whether weight adds nothing to the penalty: C is held, or there is none."""
        return self.hold == "C" or not self.unit_penalty.any()


@dataclass(frozen=True, eq=False)
class Objective(Differentiable):
    """Loss, design, penalty and weights at fitted parameters.

    Parameters
    ----------
    loss : Loss
    design : Design
        ``n_samples`` rows of ``n_columns`` columns, the intercept last.
    y : ndarray of shape (n_samples, ...)
        As the loss wants it.
    weights : ndarray of shape (n_samples,)
        ``sample_weight * class_weight[y]``.
    penalty : ndarray of shape (n_columns,)
        The diagonal of ``R``, 0 where nothing is penalised.
    theta : ndarray of shape (n_outputs, n_columns)
        The fitted parameters, in the loss's outputs.
    hold : {"C", "lambda"}
        What an edit of the weights keeps: ``R`` (sum-form objectives) or ``R / sum(w)``
        (mean-form objectives).
    labels : Labels, default=None
        For classifiers.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights before the class weights; what a relabelled row keeps.
    natural_hold : {"C", "lambda"}, default="C"
        What refitting the estimator on the reduced data would do.
    chosen : Chosen, default=None
        As in :class:`~skinfluence.problem.Problem`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import objective_of
    >>> X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.0, 1.0, 1.0, 4.0])
    >>> objective = objective_of(Ridge(alpha=0.5).fit(X, y), X, y)
    >>> objective.n_samples, objective.theta.shape
    (4, (1, 2))
    """

    loss: Loss
    design: Design
    y: np.ndarray
    weights: np.ndarray
    penalty: np.ndarray
    theta: np.ndarray
    hold: str = "C"
    labels: Labels | None = None
    sample_weight: np.ndarray | None = None
    natural_hold: str = "C"
    chosen: Chosen | None = None

    model_name = "a smooth linear model"

    @property
    def n_parameters(self):
        """Free parameters, outputs x columns."""
        return self.loss.n_outputs * self.design.n_columns

    @cached_property
    def eta(self):
        """Decision values of the training rows, shape (n_samples, n_outputs)."""
        return self.design.multiply(self.theta.T)

    @cached_property
    def gradients(self):
        """``g_i = dl/d eta``, without weights, shape (n_samples, n_outputs)."""
        return self.loss.gradient(self.eta, self.y)

    @cached_property
    def hessians(self):
        """``Lambda_i``, without weights, shape (n_samples, n_outputs, n_outputs)."""
        return self.loss.hessian(self.eta, self.y)

    def blocks(self):
        """Slices of the rows: one, unless a matrix for each of them would be large."""
        size = 8 * self.loss.n_outputs**2
        if size * self.n_samples <= KEPT_BYTES:
            return [slice(0, self.n_samples)]
        return list(row_blocks(self.n_samples, size, KEPT_BYTES // 4))

    def hessians_at(self, rows):
        """``Lambda_i`` of some rows, (m, n_outputs, n_outputs), not to be changed; all are kept where small.

        Parameters
        ----------
        rows : ndarray of int or slice
        """
        if "hessians" in vars(self) or len(self.blocks()) == 1:
            if isinstance(rows, np.ndarray) and np.array_equal(rows, np.arange(self.n_samples)):
                # All of them: a copy takes as long as what most ask it for.
                return self.hessians
            return self.hessians[rows]
        return self.loss.hessian(self.eta[rows], self.y[rows])

    @cached_property
    def hessian_state(self):
        """What ``loss.hessian_product`` needs, a line for each training row."""
        return self.loss.hessian_state(self.eta)

    @property
    def unit_penalty(self):
        """``R0``: what one unit of weight adds to R; zero when C is held, (n_columns,)."""
        if self.hold == "C":
            return np.zeros_like(self.penalty)
        return self.penalty / self.total_weight

    @property
    def needs_all_classes(self):
        """Whether a class, or the positive targets, without weight send the optimum to infinity."""
        free_intercept = bool(self.design.intercept and self.penalty[-1] == 0)
        if self.labels is None:
            return free_intercept and self.loss.needs_positive
        if self.loss.self_concordance == 0.0:
            return False
        return free_intercept or not self.penalty.any()

    def kinds(self, y):
        """Which of the kinds that must keep weight each target is: its class, or 0 if positive.

        -1 for none of them.
        """
        if self.labels is None:
            return np.where(self.loss.bare(y) > 0, 0, -1)
        return self.labels.codes_of(y)

    def kind_name(self, kind):
        """A kind of targets in words."""
        return "positive targets" if self.labels is None else super().kind_name(kind)

    def value(self):
        """``Phi(theta)``."""
        return self._value

    @cached_property
    def _value(self):
        data = weigh(self.weights, self.loss.value(self.eta, self.y)).sum()
        return float(data + 0.5 * (self.penalty * self.theta**2).sum())

    def gradient(self):
        """Gradient of ``Phi`` at ``theta``, shape (n_parameters,)."""
        return self._gradient

    @cached_property
    def _gradient(self):
        data = self.design.adjoint(self.weighted_gradients).T
        return (data + self.penalty * self.theta).ravel()

    def at(self, theta):
        """The same objective at other parameters."""
        return replace(self, theta=np.reshape(theta, self.theta.shape))

    def absorbs(self, offset):
        """Whether the problem with targets ``slope * y + offset`` is that line of the one with ``y``."""
        squared = isinstance(self.loss, SquaredError) and self.labels is None
        free_intercept = bool(self.design.intercept and self.penalty[-1] == 0)
        return squared and (free_intercept or offset == 0)

    def with_targets_back(self, slope, offset):
        """The same problem for the targets ``y`` of which this one has ``slope * y + offset``.

        With ``eta = slope * eta' + offset`` the squared error and the penalty of everything but the
        intercept are those of ``eta'`` times ``slope ** 2``: same weights, same penalty, same edits.
        It is for problems that :meth:`absorbs` the line.
        """
        theta = self.theta / slope
        if offset:
            theta[:, -1] -= offset / slope / self.design.intercept
        return replace(self, y=(self.y - offset) / slope, theta=theta)

    def reweighted(self, ratio):
        """The same objective where each class weighs ``ratio`` times as much, (n_classes,)."""
        weights = self.weights * ratio[self.labels.codes_of(self.y)]
        return replace(
            self,
            loss=self.loss.reweighted(ratio),
            weights=weights,
            labels=replace(self.labels, class_weight=self.labels.class_weight * ratio),
            penalty=self.penalty + (weights.sum() - self.total_weight) * self.unit_penalty,
        )

    def holding(self, hold):
        """The same objective with another meaning of edits; ``"auto"`` is the estimator's own."""
        hold = resolve_hold(hold, self.natural_hold)
        return self if hold == self.hold else replace(self, hold=hold)


def centred(objective):
    """The same problem with columns far from zero measured from their middle.

    Where a free intercept takes up the shift: the same decision values, penalty and edits. Itself
    where no column is far, where rows are not in memory, and without a free intercept.
    """
    design = objective.design
    if not design.intercept or objective.penalty[-1] != 0:
        return objective
    design = design.centred()
    if design.shift is None or design is objective.design:
        return objective
    theta = objective.theta.copy()
    theta[:, -1] += theta[:, :-1] @ design.shift / design.intercept
    return replace(objective, design=design, theta=theta)


def resolve_hold(hold, natural):
    """What edits keep, ``"C"`` or ``"lambda"``; ``"auto"`` is the natural one."""
    if hold not in ("auto", "C", "lambda"):
        raise ValueError(f"hold must be 'auto', 'C' or 'lambda'. Got {hold!r} instead.")
    return natural if hold == "auto" else hold


def refuse_empty_classes(problem):
    """Refuse a class, or positive targets, whose rows all have weight zero.

    Raises
    ------
    ValueError
        The optimum is at infinity: decision values of the fit say where its solver stopped.
    """
    for one in problem.needing:
        kinds = one.kinds(problem.y)
        if len(problem.weights) != len(kinds):
            raise ValueError(
                "A problem must have one weight for each target. Got "
                f"{len(problem.weights)} weights and {len(kinds)} targets; check them in objective_of "
                "with skinfluence.utils.validation.check_sample_weight."
            )
        refuse_weightless(kinds, problem.weights, one.n_kinds, one.kind_name)


def refuse_weightless(kinds, weights, n_kinds, name, why="the optimum is at infinity"):
    """Refuse a kind of targets without a row of positive weight; of kind -1 none is needed.

    ``why`` says what is wrong with a fit without them.
    """
    empty = np.flatnonzero(weight_of_kinds(kinds, weights, n_kinds) == 0)
    if len(empty):
        raise ValueError(
            "Every class must have rows of positive weight, and so must the positive targets of a count "
            f"model. Got none of {name(empty[0])}: {why}. Drop those rows and fit again."
        )


def refuse_unknown(model):
    """Refuse an estimator without a registered objective, before its data are looked at.

    Raises
    ------
    TypeError
    """
    if objective_of.dispatch(type(model)) is objective_of.dispatch(object):
        objective_of(model, None, None)
    refuse_form(model)


def refuse_rewritten(estimator, known):
    """Refuse an estimator that does something else than the class it derives from.

    Parameters
    ----------
    estimator : estimator
    known : type
        A class it derives from, of which it is known what the outputs are; ``object`` for none.

    Raises
    ------
    TypeError
    """
    cls = type(estimator)
    own = () if known is object else rewritten(cls, known)
    if not own:
        return
    names = ", ".join(own)
    if known in objective_of.registry:
        remedy = (
            "Where that changes neither the optimum nor what is predicted, say so by skinfluence."
            f"objective_of.register({cls.__name__}, skinfluence.objective_of.dispatch({known.__name__})); "
            "else register its own objective."
        )
    else:
        remedy = f"Fit a {known.__name__}, or ask about the model inside."
    raise TypeError(
        f"An estimator must give what the class of its objective gives. Got {cls.__name__}, a "
        f"{known.__name__} with its own {names}. {remedy}"
    )


@singledispatch
def refuse_form(model):
    """Refuse a form of a known estimator, before its data are looked at; register beside its objective.

    It is asked of estimators that are not fitted, too.

    Raises
    ------
    TypeError
    """


@dispatched(registered_by="skinfluence.adapters")
def objective_of(estimator, X, y, sample_weight=None):
    """The :class:`~skinfluence.objective.Objective` of a fitted estimator on its training data.

    A single-dispatch function: register an implementation for a new estimator class with
    ``objective_of.register``. The page on extending has a worked example.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    X : ndarray or CSR array of shape (n_samples, n_features)
        The rows given to ``fit``, validated, in float64.
    y : array-like of shape (n_samples,)
        As given to ``fit``.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    objective : Objective
        :func:`skinfluence.adapters.linear_objective` makes that of estimators with ``coef_`` and
        ``intercept_``. Or another :class:`~skinfluence.problem.Problem` with registered
        :func:`~skinfluence.answers.answers_of`.

    Raises
    ------
    TypeError
        For a class without a registered implementation, and for one that derives from a registered class and
        rewrites its ``fit`` or its outputs. Registered itself, it is taken at its word.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import objective_of
    >>> X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.0, 1.0, 1.0, 4.0])
    >>> objective_of(Ridge(alpha=0.5).fit(X, y), X, y).penalty
    array([0.5, 0. ])
    """
    refuse_rewritten(estimator, registered(objective_of, type(estimator)))
    advice = advice_on(estimator)
    if advice is not None:
        raise TypeError(
            "The estimator must be one whose fit is known without a row (doc/models.md). Got "
            f"{type(estimator).__name__}. {advice}"
        )
    known = sorted(cls.__name__ for cls in objective_of.registry if cls is not object)
    raise TypeError(
        f"The estimator must have a known objective: one of {', '.join(known)}, or a Pipeline "
        f"ending in one. Got {type(estimator).__name__} instead. Register its objective with "
        "skinfluence.objective_of.register."
    )
