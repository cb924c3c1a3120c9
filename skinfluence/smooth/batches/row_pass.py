"""What one pass over the rows says of parameters, or of many steps: gradients, and how far they moved."""

from typing import NamedTuple

import numpy as np

from skinfluence.losses import Binomial, SmoothHinge, Tweedie

# Ranges of rows that a pass of so many products and more is cut into: fixed, so that sums do not
# depend on the number of threads.
RANGES, WORTH_RANGES = 8, 2e7


class Seen(NamedTuple):
    """What a pass over the rows of positive weight finds at some parameters.

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


def looks(objective):
    """What makes one pass over the rows of an objective at other parameters.

    Parameters
    ----------
    objective : Objective

    Returns
    -------
    look : callable
        From parameters of shape (n_outputs, n_columns), and decision values to measure from, of shape
        (n_samples, n_outputs), to what is :class:`Seen` there.
    """
    kind, X = _kind_of(objective.loss), objective.design.X
    if kind is not None and _is_plain(X):
        return _compiled(objective, kind)

    def look(theta, at):
        there, held = objective.at(theta), objective.weights > 0
        eta = there.eta
        moved = np.where(held, objective.loss.spread(eta - at), 0.0).max(initial=0.0)
        largest = np.where(held, np.abs(eta).max(axis=1), 0.0).max(initial=0.0)
        return Seen(there.gradient(), float(moved), float(largest))

    return look


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


def _compiled(objective, kind):
    from skinfluence._compiled.gradient import add_rows

    kind = _compiled_kind(kind)
    design, n, d = objective.design, objective.n_samples, objective.design.n_features
    y, weights = np.asarray(objective.y, dtype=float), objective.weights

    def look(theta, at):
        coef, gradient = np.ascontiguousarray(theta[0, :d]), objective.penalty * theta[0]
        offset = float(design.intercept * theta[0, -1]) if design.intercept else 0.0
        given = design.X, coef, offset, y, weights, at[:, 0], *kind

        def part(low, high):
            out = np.zeros(d)
            return out, *add_rows(*given, low, high, out)

        found = part(0, n) if n * d < WORTH_RANGES else _in_ranges(part, n)
        data, total, moved, largest = found
        gradient[:d] += data
        if design.intercept:
            gradient[-1] += design.intercept * total
        return Seen(gradient, moved, largest)

    return look


def _in_ranges(part, n):
    """A part of all rows from those of ranges of them, one for each thread at a time."""
    from skinfluence._compiled.gram import run_tasks

    edges = np.linspace(0, n, RANGES + 1).astype(int).tolist()
    found = list(run_tasks(lambda k: part(edges[k], edges[k + 1]), RANGES))
    data, total, moved, largest = zip(*found, strict=True)
    return sum(data), sum(total), max(moved), max(largest)
