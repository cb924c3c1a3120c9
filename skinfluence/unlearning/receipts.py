"""How far a model is from the one that the retained rows give, measured from those rows alone."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import check_array

from skinfluence import certificate
from skinfluence._utils.untouched import untouched
from skinfluence.editing.solving import PenaltyReach, reach_of
from skinfluence.editing.writing import innermost
from skinfluence.inputs import Inputs
from skinfluence.objective import Objective, centred
from skinfluence.problem import refuse_chosen, refuse_curve
from skinfluence.smooth import piecewise
from skinfluence.smooth.accuracy import Accuracy, solve_error
from skinfluence.solvers import resolve_solver
from skinfluence.statistics import fitted_leaves
from skinfluence.statistics.registry import learns

# Steps fitted again on the retained rows give what they gave to this share of a column's size.
SAME = 1e-8
# Eigenvalues of a Hessian are found up to so many parameters.
MOST_PARAMETERS = 4000


@dataclass(frozen=True)
class Receipt:
    """How far a model is at most from the one that the retained rows give.

    Attributes
    ----------
    distance : float
        Bound on the Euclidean distance of the parameters (``coef_`` and ``intercept_``) from the optimum
        of the model's objective on the retained rows; of kernel models, on the distance of the function
        in the norm of the kernel. Infinite where none is known.
    decision_values : float
        Bound on the same difference in the decision values of the retained rows.
    n_rows : int
        Retained rows.
    fitted_again : tuple of str
        Steps before the model that learn from rows; they were compared with a fit on the retained ones.
    model, data : str
        Digests of the parameters and of the retained rows that this was measured with.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, unlearning
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> receipt = unlearning.forget(Influence(Ridge().fit(X, y), X, y), 3).receipt
    >>> receipt.n_rows, bool(receipt.distance < 1e-9)
    (3, True)
    """

    distance: float
    decision_values: float
    n_rows: int
    fitted_again: tuple
    model: str = field(repr=False)
    data: str = field(repr=False)


@dataclass(frozen=True)
class Check:
    """Whether a receipt holds.

    Attributes
    ----------
    holds : bool
    reasons : tuple of str
        Why not; empty where it holds.
    measured : Receipt
        What was measured now.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.unlearning import receipt, verify
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> model = Ridge().fit(X, y)
    >>> check = verify(receipt(model, X, y), model, X, y)
    >>> check.holds, check.reasons
    (True, ())
    """

    holds: bool
    reasons: tuple
    measured: Receipt


def receipt(estimator, X, y, sample_weight=None):
    """Measure how far a fitted model is from the one that some rows give.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted.
    X : array-like of shape (n_retained, n_features)
        The rows that are left, and no others.
    y : array-like of shape (n_retained,)
    sample_weight : array-like of shape (n_retained,), default=None

    Returns
    -------
    receipt : Receipt

    Raises
    ------
    ValueError
        For steps of a pipeline that are not those of a fit on these rows.
    TypeError
        For models whose distance from their optimum is not known.

    Notes
    -----
    Of a smooth model the gradient that its parameters leave on these rows, with the curvature there: self-
    concordance bounds the distance from the optimum. Nothing else is needed, so that whoever holds the
    retained rows can measure again, without the deleted ones and without the one who deleted them.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.unlearning import receipt
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> model = Ridge().fit(X, y)
    >>> bool(receipt(model, X, y).distance < 1e-9)
    True
    >>> round(receipt(model, X[:3], y[:3]).distance, 2)
    0.92
    """
    inputs = Inputs(estimator, X, y)
    again = _check_steps(inputs, X, y)
    problem = inputs.problem(y, sample_weight, same_fit=False)
    refuse_chosen(problem, "Receipts of forgetting")
    refuse_curve(problem, "Receipts of forgetting")
    if isinstance(problem, Objective):
        distance, values = _smooth(centred(problem))
    elif hasattr(problem, "dual_coef"):
        distance, values = _kernel_ridge(problem)
    elif hasattr(problem, "free_bias") and hasattr(innermost(estimator), "dual_coef_"):
        distance, values = _hinge(problem)
    else:
        raise TypeError(
            "A receipt needs a model whose distance from its optimum can be bounded from its parameters: "
            f"linear models, KernelRidge, SVC. Got {type(innermost(estimator)).__name__}."
        )
    return Receipt(
        distance=float(distance),
        decision_values=float(values),
        n_rows=int(problem.n_samples),
        fitted_again=again,
        model=_digest_of_model(innermost(estimator)),
        data=_digest((X, y, sample_weight)),
    )


def verify(receipt_, estimator, X, y, sample_weight=None):
    """Whether a receipt holds of a model and the retained rows.

    Parameters
    ----------
    receipt_ : Receipt
    estimator : estimator or Pipeline
    X, y, sample_weight
        The retained rows, as in :func:`receipt`.

    Returns
    -------
    check : Check

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.unlearning import receipt, verify
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> model = Ridge().fit(X, y)
    >>> verify(receipt(model, X, y), model, X, y).holds
    True
    >>> verify(receipt(model, X, y), model, X[:3], y[:3]).holds
    False
    """
    measured = receipt(estimator, X, y, sample_weight)
    reasons = []
    if measured.model != receipt_.model:
        reasons.append("The parameters are not those that the receipt was given for.")
    if measured.n_rows != receipt_.n_rows or measured.data != receipt_.data:
        reasons.append("The rows are not those that the receipt was given for.")
    for name in ("distance", "decision_values"):
        now, then = getattr(measured, name), getattr(receipt_, name)
        # Two machines add up in another order.
        if not now <= 2.0 * then:
            reasons.append(
                f"The {name} measured now, {now:.1e}, is above the {then:.1e} that it says."
            )
    return Check(not reasons, tuple(reasons), measured)


def gradient_left(objective):
    """The gradient of an objective and a bound on its rounding, (n_outputs, n_columns) each."""
    design = objective.design
    terms = np.abs(objective.weights[:, None] * objective.gradients)
    absolute = type(design)(abs(design.X), abs(design.intercept)).adjoint(terms).T
    rounding = 4.0 * np.finfo(float).eps * (absolute + np.abs(objective.penalty * objective.theta))
    return objective.gradient().reshape(objective.theta.shape), rounding


def _smooth(objective):
    """Distances of a smooth model, in parameters and in decision values."""
    gradient, rounding = gradient_left(objective)
    penalty, loss = objective.penalty, objective.loss
    left = np.abs(gradient) + rounding
    convex = piecewise.is_piecewise(loss) or loss.self_concordance is not None
    best = np.inf, np.inf
    if convex and (penalty > 0).all():
        # Strong convexity of the penalty alone.
        bound = float(np.sqrt(np.sum(left**2 / penalty)))
        size = PenaltyReach(penalty)(objective.design).max(initial=0.0)
        best = bound / np.sqrt(penalty.min()), bound * size
    if loss.self_concordance is None or objective.n_parameters > MOST_PARAMETERS:
        return best
    factor = resolve_solver("exact", objective, "float64").factor(objective)
    own = Accuracy(factor)
    error = solve_error(factor, own.row_sizes)
    # Rounding of each entry, with the signs that add up to most.
    rounded = rounding.ravel()
    noise = float(np.sqrt(rounded @ np.abs(factor.solve(np.eye(len(rounded)))) @ rounded))
    size = np.sqrt(
        max(0.0, float(gradient.ravel() @ factor.solve(gradient.ravel()[:, None])[:, 0]))
    )
    local = np.array(size * (1.0 + error) + noise)
    kappa = np.sqrt(own.row_sizes.max(initial=0.0))
    bound = float(certificate.gradient_bound(loss.self_concordance, kappa, local, np.array(0.0)))
    # In the units of coef_ and intercept_: a shift of columns moves the intercept by what the others move.
    H = factor.curvature.dense()
    T = _units(objective)
    inner = np.linalg.eigvalsh(T @ np.linalg.solve(H, T.T))[-1]
    reach = reach_of(loss, factor.leverages, objective.design).max(initial=0.0)
    return min(best[0], bound * np.sqrt(inner)), min(best[1], bound * reach)


def _units(objective):
    """The matrix from the parameters to ``coef_`` and ``intercept_`` of all outputs."""
    k, d = objective.theta.shape
    basis = np.eye(k * d).reshape(k * d, k, d)
    moved = np.stack([objective.design.in_units(objective.loss.expand(one.T).T) for one in basis])
    return moved.reshape(k * d, -1).T


def _kernel_ridge(problem):
    """The residual of the system bounds the function: ``A >= alpha / w``."""
    rows = np.flatnonzero(problem.weights > 0)
    design, dual = problem.design.take(rows), problem.dual_coef
    if dual[problem.weights <= 0].any():
        return np.inf, np.inf
    K, dual, y = design.kernel(design.X), dual[rows], problem.y[rows]
    ridge = problem.alpha / problem.weights[rows]
    residual = np.abs(K @ dual + ridge * dual - y)
    residual += 4.0 * np.finfo(float).eps * (np.abs(K) @ np.abs(dual) + np.abs(y)) * np.sqrt(len(y))
    distance = float(np.linalg.norm(residual) / np.sqrt(ridge.min()))
    return distance, distance * float(np.sqrt(np.diagonal(K).max(initial=0.0)))


def _hinge(problem):
    """The gap between primal and dual bounds the functions, and they bound the intercepts."""
    distance = values = 0.0
    for j in range(problem.n_outputs):
        rows = problem.rows_of(j)
        binary, beta, bias = problem.binary(j, rows), problem.beta[j, rows], problem.bias[j]
        f = binary.decision(beta)
        lost = binary.C @ np.maximum(0.0, 1.0 - binary.target * (f + bias))
        function = float(beta @ f)
        gap = max(lost + function - float(binary.target @ beta), 0.0)
        gap += len(rows) * np.finfo(float).eps * (lost + function + np.abs(beta).sum())
        # Of coefficients that do not add up to zero, what the gap does not see.
        gap += abs(float(beta.sum()) * bias) if problem.free_bias else 0.0
        moved = np.sqrt(2.0 * gap)
        reach = moved * np.sqrt(binary.diagonal.max(initial=0.0))
        if problem.free_bias:
            # The best intercept is a quantile: it moves by no more than the functions do.
            reach = 2.0 * reach + _off_its_best(binary, f, bias)
        distance, values = max(distance, moved), max(values, reach)
    return distance, values


def _off_its_best(binary, f, bias):
    """How far an intercept is from the nearest one that is best for the functions at hand."""
    at = binary.target - f
    order = np.argsort(at)
    # Slopes of the loss in the intercept, right of each place where a row begins or ends to count.
    slope = np.cumsum(binary.C[order]) - binary.C[binary.target > 0].sum()
    left = int(np.searchsorted(slope, -1e-12 * binary.C.sum()))
    right = int(np.searchsorted(slope, 1e-12 * binary.C.sum(), side="right"))
    places = at[order]
    low, high = places[min(left, len(at) - 1)], places[min(right, len(at) - 1)]
    return float(max(low - bias, bias - high, 0.0))


def _check_steps(inputs, X, y):
    """Refuse steps that are not those of a fit on the rows; the names of those that learn."""
    names = tuple(name for name, one in fitted_leaves(inputs.steps) if learns(one))
    if not names:
        return ()
    Z, target = untouched(X, *inputs.transformers), np.asarray(y)
    for step in inputs.transformers:
        Z = clone(step).fit_transform(Z, target)
    Z = check_array(Z, accept_sparse="csr", dtype=np.float64)
    before = inputs.training_X
    same = Z.shape == before.shape
    if same:
        away, size = abs(Z - before).max(axis=0), abs(before).max(axis=0)
        away, size = (
            np.ravel(one.toarray() if hasattr(one, "toarray") else one) for one in (away, size)
        )
        same = bool((away <= SAME * size).all())
    if not same:
        raise ValueError(
            "The steps of a pipeline must be those of a fit on the retained rows. Got "
            f"{', '.join(names)}: fitted again on them, they give other features, which deleted rows may "
            "be in. Forget with the whole pipeline (frozen=None)."
        )
    return names


def _digest_of_model(model):
    models = [innermost(one) for one in getattr(model, "estimators_", [model])]
    names = ("coef_", "intercept_", "dual_coef_")
    # A linear SVC makes its coefficients when it is asked for them.
    return _digest([vars(one).get(name) for one in models for name in names])


def _digest(values):
    """A digest of arrays, tables and lists that is the same in every process."""
    digest = hashlib.sha256()
    for one in values:
        if hasattr(one, "iloc"):
            # Imported by whoever made the table.
            import pandas as pd

            one = pd.util.hash_pandas_object(one, index=False).to_numpy()
        elif sp.issparse(one):
            one = one.tocsr()
            one = np.concatenate(
                [np.asarray(part, dtype=np.float64) for part in (one.data, one.indices, one.indptr)]
            )
        if isinstance(one, np.ndarray) and one.dtype != object:
            digest.update(repr(one.shape).encode() + np.ascontiguousarray(one).tobytes())
        else:
            digest.update(repr(one).encode())
    return digest.hexdigest()
