"""Derivatives of test losses in the cells of a row when all that was learned from the rows moves."""

import warnings

import numpy as np

from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence._utils.naming import rows_have
from skinfluence.answers import Tests
from skinfluence.statistics.leaves import fitted_leaves
from skinfluence.statistics.registry import learns

FEWER = "Pass aggregate='mean', or frozen='accept' for the transformers as fitted."


def moves_with_features(influence):
    """Whether anything but the model learned from the cells of the rows."""
    leaves = fitted_leaves(influence.data.inputs.steps)
    return bool(influence.objective.gamma_counts) or any(learns(one) for _, one in leaves)


def fill_total(influence, answers, tests, X, rows, aggregate, out):
    """Eq. 5 with all that was learned from the rows moving with them.

    Parameters
    ----------
    influence : Influence
    answers : Answers
        Of the model as fitted, smoothed if that was asked.
    tests : Tests
    X : array-like
        The test rows as they were passed.
    rows : ndarray of int
    aggregate : {None, "mean"}
    out : ndarray of shape (n_test or 1, n_rows, n_inputs)
        Filled.
    """
    problem, inputs = influence.objective, influence.data.inputs
    n, f, m = problem.n_samples, problem.design.n_features, tests.design.n_samples
    # What was learned was learned from the rows that no edit took out.
    every = np.setdiff1d(np.arange(n), list(influence.data.gone))
    check_fits((1, len(every), f), FEWER, what="The derivative in all training rows at once")
    weights = problem.weights
    share = (weights[every] / n)[:, None]
    there = np.isin(rows, every)
    place = np.searchsorted(every, rows[there])
    blocks = [slice(0, m)] if aggregate else row_blocks(m, 24 * n * max(f, out.shape[2]))
    raw = inputs.as_rows(X)
    for block in blocks:
        at = np.arange(m)[block]
        some = Tests(tests.design.take(at), tests.y[at], tests.codes[at])
        width = 1 if aggregate else len(at)
        V = np.empty((width, len(every), f))
        V = answers.pert_loss(some, every, aggregate, _as_they_are, V) * share
        gamma = _gamma_pulls(influence.answers, some, aggregate)
        if gamma is not None:
            V = V + gamma[:, every]
        if inputs.steps:
            pulls = influence.answers.test_pulls(some)
            if aggregate:
                V_new = pulls[None] / m
            else:
                V_new = np.zeros((width, width, f))
                V_new[np.arange(width), np.arange(width)] = pulls
            V = inputs.pull_back_in_full(V, raw, at, V_new, every)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = V[:, place] * (n / weights[rows[there]])[:, None]
        out[slice(0, 1) if aggregate else block][:, there] = found
    nothing = there & (weights[rows] == 0)
    out[:, nothing | ~there] = np.nan
    if nothing.any():
        why = "they weigh nothing, and move the others all the same, by what was learned from them"
        _warn(rows[nothing], why)
    if not there.all():
        _warn(rows[~there], "of what earlier edits took out nothing is learned")
    return out


def _warn(rows, why):
    warnings.warn(
        f"{rows_have(rows)} no derivative per unit of weight (NaN): {why}. Pass frozen='accept'.",
        UserWarning,
        stacklevel=level_outside(),
    )


def _as_they_are(rows, V):
    return V


def _gamma_pulls(answers, tests, aggregate):
    pulls = getattr(answers, "gamma_pulls", None)
    return None if pulls is None else pulls(tests, aggregate)


def warn_held(why):
    """Say that a derivative is for all but the model as fitted, and why."""
    warnings.warn(
        "The derivative is that with everything but the model as fitted on all rows: how that moves is "
        f"not known. {why}",
        UserWarning,
        stacklevel=level_outside(),
    )
