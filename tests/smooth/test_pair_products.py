"""Cosines of all pairs of rows in single precision: how far rounding takes them."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence, losses
from skinfluence.design import design_of
from skinfluence.objective import Objective
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.smooth.pairs.pair_products import DenseCosines, SparseCosines, cosines_of
from skinfluence.smooth.pairs.pair_sums import PairSums, half_solved
from skinfluence.solvers import Exact
from tests.registries import NEWTON

KINDS = "random", "categories", "scales"


def sparse_optimum(kind, n=600, d=80, intercept=1.0):
    """Logistic regression on sparse rows: numbers, categories that add up to one, columns of any size."""
    rng = np.random.default_rng(0)
    if kind == "categories":
        levels = rng.integers(0, d // 4, (n, 4)) + d // 4 * np.arange(4)
        X = np.zeros((n, d))
        X[np.arange(n)[:, None], levels] = 1.0
    else:
        X = rng.standard_t(3, (n, d)) * (rng.random((n, d)) < 0.05)
    if kind == "scales":
        X *= 10.0 ** rng.uniform(-3, 3, d)
    X[7:9], X[11] = X[6], 0.0
    weights = rng.uniform(0.2, 3.0, n) * (rng.random(n) > 0.05)
    y = (X[:, 0] + rng.logistic(size=n) > 0) * 1.0
    design = design_of(sp.csr_array(X), intercept)
    R = np.append(np.full(d, 1e-2), np.full(design.n_columns - d, 0.0))
    start = Objective(losses.Binomial(), design, y, weights, R, np.zeros((1, design.n_columns)))
    return minimise(start, Exact("primal")).objective


def cosines(kind, sparse):
    factor = Exact("primal").factor(sparse_optimum(kind))
    rows = half_solved(factor)
    norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    every = np.arange(len(rows))
    made = SparseCosines(factor, rows, norm, every) if sparse else DenseCosines(rows, norm)
    return made, rows, norm


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_rounding_moves_no_product_by_more_than_what_is_said_of_its_rows(kind, sparse):
    made, rows, norm = cosines(kind, sparse)
    n = len(rows)
    found = np.empty((n, n), dtype=np.float32)
    for low in range(0, n, 256):
        for start in range(0, n, 256):
            K = np.empty((min(256, n - low), min(256, n - start)), dtype=np.float32)
            made.block(low, start, K)
            found[low : low + 256, start : start + 256] = K
    error = np.abs(found * norm[:, None] * norm - rows @ rows.T)
    said = np.outer(made.blur, made.blur)
    assert (error <= said + 1e-12 * np.outer(norm, norm)).all()
    # And what is said is of the size of what rounding does.
    assert (error / said).max() > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_sums_over_pairs_of_sparse_rows_know_their_rounding(kind):
    objective = sparse_optimum(kind)
    factor = Exact("primal").factor(objective)
    sums, rows = PairSums(factor), half_solved(factor)
    K = rows @ rows.T
    np.fill_diagonal(K, 0.0)
    W = objective.weights * objective.hessians[:, 0, 0]
    T = objective.weights * objective.loss.third(objective.eta, objective.y)
    # Copies meet at their leverage, which the product has to round-off.
    largest = np.abs(K * (objective.weights > 0)).max(axis=1)
    assert (sums.largest >= largest * (1 - 1e-12)).all()
    assert (sums.quarts >= K**4 @ W).all()
    assert (np.abs(sums.cubes - K**3 @ T) <= sums.cubes_error).all()
    np.testing.assert_allclose(sums.quarts, K**4 @ W, rtol=1e-2, atol=1e-8)


def test_sparse_products_are_taken_where_entries_are_few_and_rounding_is_no_worse():
    objective = sparse_optimum("random")
    factor = Exact("primal").factor(objective)
    rows = half_solved(factor)
    norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    every = np.arange(len(rows))
    assert isinstance(cosines_of(factor, rows, norm, every), SparseCosines)
    full = factor.objective.design.dense_rows()[:, :-1]
    dense = objective.design.held(sp.csr_array(full + 1e-6))
    many = Objective(
        objective.loss,
        dense,
        objective.y,
        objective.weights,
        objective.penalty,
        objective.theta,
    )
    assert isinstance(cosines_of(Exact("primal").factor(many), rows, norm, every), DenseCosines)


def test_leave_one_out_of_sparse_rows_is_that_of_refits(monkeypatch):
    made = []
    init = SparseCosines.__init__
    monkeypatch.setattr(
        SparseCosines, "__init__", lambda self, *a: made.append(1) or init(self, *a)
    )
    objective = sparse_optimum("random", 300)
    X, y = objective.design.X, objective.y
    model = LogisticRegression(**NEWTON).fit(X, y)
    before, found = model.decision_function(X), Influence(model, X, y).loo_decision_function()
    assert made
    for i in range(0, 300, 60):
        kept = np.delete(np.arange(300), i)
        after = LogisticRegression(**NEWTON).fit(X[kept], y[kept]).decision_function(X[[i]])[0]
        assert abs(found[i] - after) <= 1e-3 * abs(after - before[i]) + 1e-9
