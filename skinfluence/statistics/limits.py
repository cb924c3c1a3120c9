"""Rows that take a category over a limit: without any one of them an encoder is the same one.

So they are answered together, about a pipeline in which that encoder does not look at the rows. And rows
that are alone in a rare category, which to all others are as if they had none.
"""

import copy

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.utils import _safe_indexing

from skinfluence.answers import Tests, answers_of
from skinfluence.design import design_of
from skinfluence.objective import Objective
from skinfluence.smooth.optimum.old_factor import serves
from skinfluence.statistics import edited_rows
from skinfluence.statistics.categories import OTHER, OWN, is_limited, without_each
from skinfluence.statistics.gamma import moving
from skinfluence.statistics.refitting import problem_after
from skinfluence.statistics.registry import chain_moves
from skinfluence.statistics.removals import removals_of

# From so many rows on another pipeline costs less than a fit for each of them.
FEWEST = 4
# What an encoder refuses of the rows, and where the model has no optimum.
NOT_KNOWN = (TypeError, ValueError)


def limits_of(refits, rows):
    """Rows of one category without any of which an encoder of a table's columns is the same one.

    Parameters
    ----------
    refits : Refits
        Of steps that begin with a ColumnTransformer.
    rows : ndarray of int

    Yields
    ------
    places : ndarray of int
        Positions in ``rows``.
    name : str
        Of the encoder.
    without : ndarray of int
        The rows that it is to be fitted on: all but one of them.
    """
    _, columns = _first(refits.transformers[0])
    if type(columns) is not ColumnTransformer:
        return
    for name, step, where in columns.transformers_:
        if type(step) not in (OneHotEncoder, OrdinalEncoder) or not is_limited(step):
            continue
        found = without_each(step, _safe_indexing(refits.X, where, axis=1), rows)
        if found is None:
            continue
        what, codes = found
        for j in range(what.shape[1]):
            # One whose other categories stay says what the encoder is without each of them.
            here = (what[:, j] == OTHER) & (np.count_nonzero(what, axis=1) == 1)
            for code in np.unique(codes[here, j]):
                places = np.flatnonzero(here & (codes[:, j] == code))
                if len(places) >= FEWEST:
                    yield places, name, np.delete(np.arange(len(refits.y)), rows[places[0]])


def shares_encoders(answers):
    """Whether rows that share an encoder are answered together."""
    problem = answers.problem
    if not isinstance(problem, Objective) or problem.loss.self_concordance is None:
        return False
    factor = answers.edit_solver().factor
    return serves(factor) and not factor.objective.design.turned


def sharing(answers, refits, rows):
    """Rows that share an encoder and need no fit of their own beside it, as far as that is known without it.

    Parameters
    ----------
    answers : Answers
    refits : Refits
    rows : ndarray of int

    Yields
    ------
    places : ndarray of int
        Positions in ``rows``, for each encoder.
    """
    for some, name, _ in limits_of(refits, rows) if shares_encoders(answers) else ():
        first, *rest = refits.transformers
        moves = chain_moves([_holding(first, name), *rest], refits.X, rows[some])
        if moves is not None and np.count_nonzero(~moves.other) >= FEWEST:
            yield some[~moves.other]


def with_encoder(answers, refits, rows, name, without):
    """The pipeline in which an encoder is what it is without one of some rows, of all rows.

    Parameters
    ----------
    answers : Answers
    refits : Refits
    rows : ndarray of int
        Those that share the encoder.
    name, without
        As :func:`limits_of` yields them.

    Returns
    -------
    some : ndarray of int
        Positions of those that need no fit there either.
    answers : Answers
        Of the model there.
    refits : Refits
    X : ndarray or CSR array
        What the model sees of all rows. None in place of all where too few rows are left, or it is not known.
    """
    problem, factor = answers.problem, answers.edit_solver().factor
    steps = [clone(one) for one in refits.transformers]
    try:
        path, encoder, where = _part(refits, name)
        encoder.fit(_safe_indexing(_safe_indexing(refits.X, where, axis=1), without))
        steps[0].set_params(**{path + name: FrozenEstimator(encoder)})
        after, X = refits.with_steps(steps)
        moves = chain_moves(after.transformers, refits.X, rows)
        if moves is None or np.count_nonzero(~moves.other) < FEWEST:
            return None
        every = edited_rows.without(problem, refits.y, np.empty(0, dtype=np.intp))
        design = design_of(X, factor.objective.design.intercept)
        columns, solver = refits.columns_of(after.transformers), answers.solver
        found = problem_after(factor.objective, solver, every, design, columns)
        options = {"hold": problem.hold, "precision": "float64", "verbose": False}
        there = moving(answers_of(found, solver=solver, **options))
        return np.flatnonzero(~moves.other), there, after, X
    except NOT_KNOWN:
        return None


def values_of_forgotten(answers, refits, training_X, rows, method, tol):
    """Own values of rows that are alone in a rare category: without it a row has no column of the feature.

    To the others nothing happens, so that the encoder is held and the row asked about with zeros there.

    Parameters
    ----------
    answers : Answers
    refits : Refits
    training_X : ndarray or CSR array
    rows : ndarray of int
    method : {"auto", "exact"}
    tol : float

    Yields
    ------
    places : ndarray of int
        Positions in ``rows``.
    eta : ndarray of shape (n_places, 1)
    """
    problem, columns = answers.problem, _columns_alone(answers, refits)
    if columns is None:
        return
    for places, frozen, blocks in _forgotten(columns, refits.X, rows):
        some = rows[places]
        raw, X = refits.rows(some), training_X[some]
        X = sp.lil_array(X) if sp.issparse(X) else np.array(X)
        for mine, block in blocks:
            X[mine, block] = 0.0
        design = problem.design.like(sp.csr_array(X) if sp.issparse(X) else X)
        quantity = answers.quantity(Tests(design, None, None), "decision_function", method)
        removals = removals_of(problem, [frozen], refits.X, some, raw)
        for _, part, ratio, fills in removals.at_once():
            asked = quantity, some[part]
            if ratio is None:
                stream = answers.row_stream(*asked, None, method, tol)
            else:
                stream = answers.rescaled_stream(*asked, ratio, method, tol, fills, removals.there)
            for where, values in stream:
                own = part[where]
                yield places[own], quantity.eta[own] + values[np.arange(len(own)), own][:, None]


def ways_of_forgotten(answers, refits, rows):
    """Which way :func:`values_of_forgotten` takes, without the values.

    Yields
    ------
    places : ndarray of int
        Positions in ``rows``.
    routes : ndarray of str
    """
    columns = _columns_alone(answers, refits)
    for places, frozen, _ in () if columns is None else _forgotten(columns, refits.X, rows):
        some = rows[places]
        removals = removals_of(answers.problem, [frozen], refits.X, some, refits.rows(some))
        yield places, removals.routes


def _columns_alone(answers, refits):
    """The ColumnTransformer that is all there is before a model of one output; None for others."""
    problem, (path, columns) = answers.problem, _first(refits.transformers[0])
    alone = len(refits.transformers) == 1 and not path and type(columns) is ColumnTransformer
    known = alone and isinstance(problem, Objective) and problem.loss.n_outputs == 1
    return columns if known else None


def _forgotten(columns, X, rows):
    """Such rows, by their encoder.

    Yields
    ------
    places : ndarray of int
    frozen : ColumnTransformer
        With that encoder held.
    blocks : list of (ndarray of int, slice)
        Which of them have the category in which feature, and where its columns stand.
    """
    for name, step, where in columns.transformers_:
        if type(step) is not OneHotEncoder or not is_limited(step):
            continue
        found = without_each(step, _safe_indexing(X, where, axis=1), rows)
        if found is None:
            continue
        own = (found[0] == OWN) & (np.count_nonzero(found[0], axis=1) == 1)[:, None]
        places = np.flatnonzero(own.any(axis=1))
        if not len(places):
            continue
        width = [
            len(every) if rare is None else len(every) - len(rare) + 1
            for every, rare in zip(step.categories_, step.infrequent_categories_, strict=True)
        ]
        start = columns.output_indices_[name].start + np.cumsum([0, *width])
        feature = own[places].argmax(axis=1)
        blocks = [
            (np.flatnonzero(feature == j), slice(start[j], start[j + 1]))
            for j in np.unique(feature)
        ]
        yield places, _holding(columns, name), blocks


def _holding(step, name):
    """What the rows go through first, with one encoder of its ColumnTransformer held as it is."""
    held = copy.copy(step)
    if type(step) is Pipeline:
        (first, inside), *rest = step.steps
        held.steps = [(first, _holding(inside, name)), *rest]
    else:
        held.transformers_ = [
            (part, FrozenEstimator(one) if part == name else one, where)
            for part, one, where in step.transformers_
        ]
    return held


def _part(refits, name):
    """Where an encoder is; itself, to be fitted, as one that looks categories up once; its columns."""
    path, fitted = _first(refits.transformers[0])
    again = {part: step for part, step, _ in _first(refits.steps[0])[1].transformers}
    where = {part: columns for part, _, columns in fitted.transformers_}
    return path, clone(again[name]), where[name]


def _first(step):
    """What the rows go through first, and the names that lead there."""
    path = ""
    while type(step) is Pipeline:
        name, step = step.steps[0]
        path += f"{name}__"
    return path, step
