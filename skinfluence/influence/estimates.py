"""What finite questions cost, before they are asked."""

import numpy as np

from skinfluence.edits import Edit, remove
from skinfluence.influence.groups import members_of
from skinfluence.inputs.routes import whole_pipeline
from skinfluence.statistics import HELD, UNMOVED, estimating, learns_from_rows

QUESTIONS = ("removal_effect", "relabel_effect", "effect", "top", "loo")


def estimate_of(influence, question, X, edits, groups, indices, labels, method, frozen):
    """The Estimate of one question; the arguments are those of ``Influence.estimate``."""
    if question not in QUESTIONS:
        raise ValueError(f"question must be one of {QUESTIONS}. Got {question!r} instead.")
    given = None
    if groups is not None:
        given = [remove(rows) for rows in members_of(influence, groups)[1] if len(rows)]
    elif question == "effect":
        given = [edits] if isinstance(edits, Edit) else list(edits or ())
    influence.data.look_at(given or ())
    whole = whole_pipeline(influence, method, frozen, np.inf)
    rows = influence.data.positions(indices, labels)
    X = influence.data.inputs.raw_rows([0]) if X is None else X
    at = influence.data.tests(X, None).design
    n_test = at.n_samples
    n_outputs = influence.objective.loss.n_outputs
    if given is not None:
        numbers, n_edits = n_test * len(given), len(given)
    else:
        n_labels = 1
        if question == "relabel_effect":
            n_labels = len(influence.objective.labels.classes)
        n_edits = len(rows) * max(n_labels - 1, 1)
        numbers = n_test * len(rows) * n_labels
        if question == "loo":
            numbers = len(rows) * n_outputs
    if whole is None and hasattr(influence.answers, "price"):
        alone = None if given is not None or question == "relabel_effect" else rows
        priced = influence.answers.price(alone, n_edits, at.X, method)
        return estimating.in_folds(n_edits, *priced, numbers)
    if whole is None:
        way = HELD if learns_from_rows(influence) else UNMOVED
        return estimating.held(n_edits, way, numbers)
    if given is not None:
        after = [influence.data.rows_after(edit) for edit in given]
        whole, _, after = whole.numbered(edits=after)
        return estimating.of_edits(whole, after, X, method, numbers)
    relabels = question == "relabel_effect"
    whole, rows, _ = whole.numbered(rows)
    own = question == "loo"
    return estimating.of_rows(whole, rows, relabels, X, method, numbers, own)
