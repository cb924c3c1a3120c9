"""What one pass over the rows says of parameters, or of many steps: gradients, and how far they moved."""

from typing import NamedTuple

import numpy as np

from skinfluence.losses import Binomial, SmoothHinge, Tweedie

# Ranges of rows that a pass of so many products and more is cut into: fixed, so that sums do not
# depend on the number of threads.
RANGES, WORTH_RANGES = 8, 2e7


class Seen(NamedTuple):
    """Parameters, as a pass over the rows of positive weight found them.

    Attributes
    ----------
    gradient : ndarray of shape (n_parameters,)
        Of the objective.
    moved : float
        Largest spread of a change of a row's decision values since ``at``.
    largest : float
        Largest absolute decision value.
    """

    gradient: np.ndarray
    moved: float
    largest: float


def look(objective, theta, at):
    """One pass over the rows of an objective at other parameters.

    Parameters
    ----------
    objective : Objective
    theta : ndarray of shape (n_outputs, n_columns)
    at : ndarray of shape (n_samples, n_outputs)
        Decision values to measure from.

    Returns
    -------
    seen : Seen
    """
    kind = _kind_of(objective.loss)
    X = objective.design.X
    if kind is not None and _is_plain(X):
        return _compiled(objective, theta, at, kind)
    there = objective.at(theta)
    held = objective.weights > 0
    eta = there.eta
    moved = np.where(held, objective.loss.spread(eta - at), 0.0).max(initial=0.0)
    largest = np.where(held, np.abs(eta).max(axis=1), 0.0).max(initial=0.0)
    return Seen(there.gradient(), float(moved), float(largest))


def slopes_after(objective):
    """What makes weighted slopes of changes of decision values; None where it is not compiled.

    Parameters
    ----------
    objective : Objective

    Returns
    -------
    slopes : callable or None
        Of a slice of b rows, changes of shape (b, m), which it overwrites, and the largest one so far
        of each step, (m,), which it raises.
    """
    kind = _kind_of(objective.loss)
    if kind is None:
        return None
    from skinfluence._compiled.gradient import slopes_of_steps

    kind, eta = _compiled_kind(kind), objective.eta[:, 0]
    y, weights = np.asarray(objective.y, dtype=float), objective.weights

    def slopes(rows, moved, largest):
        slopes_of_steps(*kind, eta[rows], y[rows], weights[rows], moved, largest)

    return slopes


def _compiled_kind(kind):
    from skinfluence._compiled.gradient import EXPONENTIAL, LOGISTIC

    return (LOGISTIC if kind[0] == "logistic" else EXPONENTIAL), *kind[1:]


def _is_plain(X):
    return type(X) is np.ndarray and X.dtype == np.float64 and X.flags.c_contiguous


def _kind_of(loss):
    """Arguments of the compiled derivative of a loss; None where it has none."""
    kind = type(loss)
    if kind is Binomial:
        return "logistic", 1.0, 0.0
    if kind is SmoothHinge:
        return "logistic", loss.temperature, 1.0
    if isinstance(loss, Tweedie) and kind._first is Tweedie._first:
        return "exponential", 2.0 - loss.power, 1.0 - loss.power
    return None


def _compiled(objective, theta, at, kind):
    from skinfluence._compiled.gradient import add_rows

    kind, first, second = _compiled_kind(kind)
    design, n = objective.design, objective.n_samples
    d = design.n_features
    coef, gradient = np.ascontiguousarray(theta[0, :d]), objective.penalty * theta[0]
    offset = float(design.intercept * theta[0, -1]) if design.intercept else 0.0
    y, weights = np.asarray(objective.y, dtype=float), objective.weights

    def part(low, high):
        out = np.zeros(d)
        parts = design.X, coef, offset, y, weights, at[:, 0], kind, first, second
        return out, *add_rows(*parts, low, high, out)

    data, total, moved, largest = part(0, n) if n * d < WORTH_RANGES else _in_ranges(part, n)
    gradient[:d] += data
    if design.intercept:
        gradient[-1] += design.intercept * total
    return Seen(gradient, moved, largest)


def _in_ranges(part, n):
    """A part of all rows from those of ranges of them, one for each thread at a time."""
    from skinfluence._compiled.gram import run_tasks

    edges = np.linspace(0, n, RANGES + 1).astype(int).tolist()
    found = list(run_tasks(lambda k: part(edges[k], edges[k + 1]), RANGES))
    data, total, moved, largest = zip(*found, strict=True)
    return sum(data), sum(total), max(moved), max(largest)
