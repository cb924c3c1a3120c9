"""Fills that move: where iterates start is first order, and what is left falls with the square."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

from skinfluence import Influence
from skinfluence.smooth.batches.filled_batch import FilledBatch
from skinfluence.smooth.one_step.fills import Fills

MODELS = {
    "two classes": (LogisticRegression(tol=1e-10), 2),
    "three classes": (LogisticRegression(tol=1e-10, max_iter=1000), 3),
    "ridge": (Ridge(), None),
    "counts": (PoissonRegressor(alpha=0.1, tol=1e-10, max_iter=1000), 4),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_the_first_push_leaves_falls_with_the_square_of_the_fills(name):
    model, k = MODELS[name]
    rng = np.random.default_rng(0)
    n, rows = 80, np.arange(0, 80, 5)
    X = rng.standard_normal((n, 5))
    y = X[:, 0] + rng.standard_normal(n) if k is None else rng.integers(0, k, n)
    answers = Influence(model.fit(X, y), X, y).answers
    solver = answers.edit_solver()
    columns, holes = np.array([1, 3]), rng.random((n, 2)) < 0.3
    # No row moves the missing cells of its own column.
    by = rng.standard_normal((len(rows), 2)) * ~holes[rows]
    left = []
    for size in (1e-2, 1e-3):
        fills = Fills(columns, size * by, holes, None)
        edits, _ = answers.row_edits(rows, None, "auto", say=False)
        edits = replace(edits, ratio=np.ones((len(rows), 6)), fills=fills)
        batch = FilledBatch(solver.accuracy, edits, solver.rows.remainders)
        nowhere = np.zeros((len(rows), *solver.objective.theta.shape))
        push, _ = batch.cells.moved_rows(np.arange(len(rows)), nowhere)
        left.append(np.abs(batch.cells.first_order() - push).max() / np.abs(push).max())
    assert left[0] < 0.1
    assert left[1] < 0.15 * left[0]
