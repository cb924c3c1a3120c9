"""A model whose decision values have a number of each row beside the features: ``eta = X theta + offset``."""

import numbers
from dataclasses import dataclass, replace

import numpy as np

from skinfluence.losses import Binomial, SquaredError, Tweedie
from skinfluence.losses.beside import WithOffset
from skinfluence.objective import Labels, Objective

__all__ = ["LabelsBeside", "checked_offset", "with_offset"]


@dataclass(frozen=True, eq=False)
class LabelsBeside(Labels):
    """Labels of a loss whose targets have an offset with them, which a row keeps under another label."""

    def codes_of(self, y):
        return super().codes_of(np.asarray(y)[:, 0])

    def relabelled(self, label, y):
        return np.column_stack([super().relabelled(label, y), y[:, 1]])


def checked_offset(offset, n, what):
    """Offsets of n rows as float64.

    Parameters
    ----------
    offset : float or array-like of shape (n,)
    n : int
    what : str
        Whose they are, for messages.

    Raises
    ------
    ValueError
        For another number of them, and for NaN and infinity.
    """
    values = np.asarray(offset)
    if values.dtype.kind not in "fiub" and not (
        values.dtype.kind == "O" and all(_is_real(one) for one in values.ravel())
    ):
        came = values.ravel()[0] if values.size else values
        raise ValueError(
            f"offset must be real numbers, the logarithms of exposures, say. Got {came!r}. Pass numbers."
        )
    values = values.astype(np.float64)
    values = np.full(n, values) if values.ndim == 0 else values
    if values.shape != (n,):
        raise ValueError(
            f"offset must be one number for each of the {n} {what}. Got an array of shape {values.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            "offset must be finite. It holds NaN or infinity; is it the log of an exposure of zero?"
        )
    return values


def _is_real(value):
    return value is None or isinstance(value, numbers.Real)


def with_offset(problem, offset):
    """The problem of ``eta = X theta + offset``, at the parameters of one without.

    Parameters
    ----------
    problem : Problem
    offset : array-like of shape (n_samples,)

    Returns
    -------
    problem : Objective
        Its targets are pairs, the offset the second.

    Raises
    ------
    TypeError
        For models without a link, or of several decision values, and for rows that are not in memory.
    """
    if problem.labels is None and isinstance(problem.loss, SquaredError):
        raise TypeError(
            "Of least squares an offset is a part of the targets. Got one beside them. Fit and ask about "
            "y - offset: Influence(model.fit(X, y - offset), X, y - offset)."
        )
    known = isinstance(problem, Objective) and isinstance(problem.loss, Binomial | Tweedie)
    if not known or not problem.design.in_memory:
        raise TypeError(
            "An offset is of logistic regressions of two classes and of Poisson, Gamma and Tweedie "
            f"regressions, on rows in memory. Got {problem.model_name} that is none of these. Write its loss "
            "for skinfluence.m_estimation.MEstimator, the offset as a column of X."
        )
    offset = checked_offset(offset, problem.n_samples, "rows")
    labels = problem.labels
    if labels is not None:
        labels = LabelsBeside(labels.classes, labels.targets, labels.class_weight, labels.balanced)
    y = np.column_stack([np.asarray(problem.y, dtype=np.float64), offset])
    return replace(problem, loss=WithOffset(problem.loss), y=y, labels=labels)
