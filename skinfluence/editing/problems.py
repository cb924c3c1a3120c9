"""The fitted problem after an edit, every row with the number it had, at the old parameters."""

from dataclasses import fields, is_dataclass, replace
from functools import cache

import numpy as np
import scipy.sparse as sp


def edited_problem(influence, rows, points):
    """The problem on the edited rows: removed ones have weight zero, new ones come last.

    Parameters
    ----------
    influence : Influence
    rows : RowChanges
    points : Points
        The edit in the core's terms.

    Returns
    -------
    problem : Problem
        Of the same kind, at the same parameters.
    """
    problem = influence.objective
    weights, sample_weight, y = problem.weights, problem.own_weights, problem.y
    # Without class weights both are one array, and stay it.
    one = sample_weight is weights and not _weighs_classes(problem)
    relabelled = {row for row, new in rows.changed.items() if new.y is not None}
    if relabelled:
        y = y.copy()
        for row, new_y in zip(points.places.tolist(), points.new_y, strict=True):
            if row in relabelled:
                y[row] = new_y
    weighed = {}
    for row, change in rows.changed.items():
        before = sample_weight[row]
        own = row in relabelled or not before
        factor = problem.class_weights_of(y[[row]])[0] if own else weights[row] / before
        weighed[row] = change.sample_weight, factor * change.sample_weight
    if any(new != (sample_weight[row], weights[row]) for row, new in weighed.items()):
        weights = weights.copy()
        sample_weight = weights if one else sample_weight.copy()
        for row, new in weighed.items():
            sample_weight[row], weights[row] = new
    if rows.added:
        given = [new.y for new in rows.added], [new.offset for new in rows.added]
        encoded = influence.data.encoded(*given)[0]
        own = np.array([new.sample_weight for new in rows.added])
        weights = np.append(weights, own * problem.class_weights_of(encoded))
        sample_weight = weights if one else np.append(sample_weight, own)
        y = np.concatenate([y, encoded])
    more, shift = {}, points.shift
    if hasattr(problem, "unit_penalty"):
        if problem.hold != "C":
            more["penalty"] = problem.penalty + shift * problem.unit_penalty
    elif hasattr(problem, "weighing"):
        more.update(problem.weighing(problem.total_weight + shift))
    if "sample_weight" in names_of(type(problem)):
        more["sample_weight"] = sample_weight
    return replace(
        problem,
        design=edited_design(influence, rows),
        y=y,
        weights=weights,
        **more,
    )


def _weighs_classes(problem):
    return problem.labels is not None and (problem.labels.class_weight != 1.0).any()


@cache
def names_of(kind):
    """What a kind of problem is made of."""
    return frozenset(one.name for one in fields(kind))


def edited_design(influence, rows):
    """The design with replaced rows in their places and new ones at the end."""
    design, encode = influence.objective.design, influence.data.inputs.transform_row
    X = design.X
    moved = {row: encode(one.x) for row, one in rows.changed.items() if one.x is not None}
    new = [encode(one.x) for one in rows.added]
    if not (moved or new):
        return design
    if not isinstance(X, np.ndarray) and not sp.issparse(X):
        raise TypeError(
            "Rows can be replaced and added where all are in memory. Got rows that are read in blocks, "
            "or lie on a device; ask Influence.effect for the change that such an edit makes."
        )
    # As the design holds them, perhaps as distances from the middle of a column.
    moved = {row: design.like(x).X for row, x in moved.items()}
    new = [design.like(x).X for x in new]
    X = _stacked(X, moved, new)
    if is_dataclass(design):
        # Rows known through a kernel.
        return replace(design, X=X)
    return design.held(X)


def _stacked(X, moved, new):
    if not sp.issparse(X):
        X = X.copy() if moved else X
        for row, x in moved.items():
            X[row] = x[0]
        return np.vstack([X, *new]) if new else X
    pieces, start = [], 0
    for row in sorted(moved):
        pieces += [X[start:row], moved[row]]
        start = row + 1
    return sp.csr_array(sp.vstack([*pieces, X[start:], *new], format="csr"))
