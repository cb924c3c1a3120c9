"""Penalties that move, where the Hessian is the identity: a solve is that of a dense matrix, and knows what it leaves."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.smooth.chords.rescaled_rows import RescaledRows

N, D = 60, 6
# Ratios of penalties: of scales that hardly move, for which a series does, and of rows that decide a scale.
SPREADS = {"little": 0.02, "much": 3.0}


@pytest.fixture
def edited():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)) * 2.0 ** np.arange(D)
    y = (X[:, 0] + rng.standard_normal(N) > 0).astype(int)
    answers = Influence(LogisticRegression(C=0.05, tol=1e-10).fit(X, y), X, y).answers
    solver, rows = answers.edit_solver(), np.arange(N)
    edits, _ = answers.row_edits(rows, None, "auto", say=False)
    return solver.own.start.whitened(edits), edits, rng


@pytest.mark.parametrize("spread", SPREADS)
def test_a_solve_is_that_of_the_dense_matrix_of_each_edit(edited, spread, monkeypatch):
    at, edits, rng = edited
    slow, original = [], RescaledRows._by_conjugate_gradients
    monkeypatch.setattr(
        RescaledRows,
        "_by_conjugate_gradients",
        lambda own, *given: slow.append(len(own)) or original(own, *given),
    )
    ratio = np.ones((N, D + 1))
    # Of the last columns nothing moves.
    ratio[:, :4] = np.exp(SPREADS[spread] * rng.standard_normal((N, 4)))
    own = at.edits(replace(edits, ratio=ratio))
    assert bool(slow) == (spread == "much")
    b, before = rng.standard_normal((N, D + 1)), own.slack.copy()
    found, units = own._inverse(own.a, b), own._units
    for i in range(N):
        a = own.a[i]
        P = np.eye(D + 1) + own.D[i] * np.outer(a, a) + (units * own.change[i]) @ units.T
        true = np.linalg.solve(P, b[i])
        error = np.sqrt((found[i] - true) @ P @ (found[i] - true))
        assert error <= 1e-9 * np.sqrt(true @ P @ true)
        assert error <= (own.slack[i] - before[i] + 1e-13) * np.sqrt(true @ P @ true)
