"""How far a model is from the one that the retained rows give, measured from those rows alone."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import check_array

from skinfluence._utils.untouched import fitted_to, untouched
from skinfluence.editing.writing import innermost
from skinfluence.inputs import Inputs
from skinfluence.problem import refuse_chosen, refuse_curve
from skinfluence.statistics import fitted_leaves
from skinfluence.statistics.registry import learns
from skinfluence.unlearning.distances import distances_of, numbers_of

# Steps fitted again on the retained rows give what they gave to this share of a column's size.
SAME = 1e-8


@dataclass(frozen=True)
class Receipt:
    """How far a model is at most from the one that the retained rows give.

    Attributes
    ----------
    distance : float
        Bound on the Euclidean distance of the parameters (``coef_`` and ``intercept_``) from the optimum
        of the model's objective on the retained rows (of Huber regression, of ``scale_`` too); of kernel
        models, on the distance of the function in the norm of the kernel; of models in closed form, of
        all fitted numbers from those of a fit.
        Infinite where none is known.
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
    """Whether a receipt holds; false as a condition where it does not.

    Attributes
    ----------
    holds : bool
    reasons : tuple of str
        Why not; empty where it holds.
    measured : Receipt or None
        What was measured now; None where nothing can be, as of rows that the model was not fitted on and
        that say so at once.

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
    measured: Receipt | None

    def __bool__(self):
        return self.holds


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
    concordance bounds the distance from the optimum. Of support vector machines the gap between primal
    and dual, of models with an L1 penalty the optimum on their support, of models in closed form another
    fit. Nothing else is needed, so that whoever holds the retained rows can measure again, without the
    deleted ones and without the one who deleted them.

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
    distance, values = distances_of(problem, innermost(estimator))
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

    Raises
    ------
    TypeError
        For models that have no receipt.

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
    try:
        measured = receipt(estimator, X, y, sample_weight)
    except ValueError as error:
        return Check(False, (f"No distance can be measured on these rows: {error}",), None)
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


def _check_steps(inputs, X, y):
    """Refuse steps that are not those of a fit on the rows; the names of those that learn."""
    names = tuple(name for name, one in fitted_leaves(inputs.steps) if learns(one))
    if not names:
        return ()
    Z, target = untouched(X, *inputs.transformers), np.asarray(y)
    for step in inputs.transformers:
        Z = fitted_to(clone(step), Z, target)
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
    names = ("coef_", "intercept_", "dual_coef_", "scale_")
    # A linear SVC makes its coefficients when it is asked for them.
    values = [vars(one).get(name) for one in models for name in names]
    if all(one is None for one in values):
        values = list(numbers_of(model).values())
    return _digest(values)


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
        # A number of Python and one of numpy are the same parameter.
        one = one.item() if isinstance(one, np.generic) else one
        if isinstance(one, np.ndarray) and one.dtype != object:
            digest.update(repr(one.shape).encode() + np.ascontiguousarray(one).tobytes())
        else:
            digest.update(repr(one).encode())
    return digest.hexdigest()
