"""Optima under kernels near the one that was solved for meet the conditions, written out here."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from skinfluence.active_set import HingeProblem, Paths, near_optima, nearby, polish, polish_near
from tests.active_set.test_paths import BIAS, DATA


def start(data, free_bias, C=1.0, n_edits=25):
    """A solved problem, rows that leave it, coefficients without each, and kernels of their own."""
    X, y, gamma, n = DATA[data]()
    X, y = X[:n], y[:n]
    K = rbf_kernel(X, gamma=gamma) + (not free_bias)
    solution = polish(HingeProblem(K, y, C, free_bias=free_bias))
    rng = np.random.default_rng(3)
    rows = rng.choice(n, n_edits, replace=False)
    beta = solution.beta + Paths(solution).remove(rows).dense(n)
    kernels = [
        rbf_kernel(X, gamma=gamma * ratio) + (not free_bias)
        for ratio in rng.uniform(0.97, 1.03, n_edits)
    ]
    return solution.problem, rows, beta, np.array(kernels)


def solved(problem, rows, beta, kernels):
    return near_optima(
        problem,
        lambda edits, beta: np.einsum("ej,ejk->ek", beta, kernels[edits]),
        lambda edits, some: kernels[edits[:, None, None], some[:, :, None], some[:, None, :]],
        beta,
        np.arange(problem.n) == rows[:, None],
        1e-10,
    )


@BIAS
@pytest.mark.parametrize("C", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("data", DATA)
def test_every_row_meets_its_condition(data, C, free_bias):
    problem, rows, beta, kernels = start(data, free_bias, C)
    found = solved(problem, rows, beta, kernels)
    assert found.violation.max() <= 1e-10
    assert np.abs(found.beta - beta).max() > 1e-4
    for i, row in enumerate(rows):
        f = kernels[i] @ found.beta[i] + found.bias[i]
        np.testing.assert_allclose(found.decision[i], f, rtol=0, atol=1e-11)
        assert found.beta[i, row] == 0.0
        if free_bias:
            assert abs(found.beta[i].sum()) < 1e-11 * np.abs(found.beta[i]).sum()
        others = np.arange(problem.n) != row
        share, margin = (problem.y * found.beta[i])[others], (problem.y * f)[others]
        assert share.min() >= 0.0 and (share <= problem.C[others]).all()
        assert (margin[share < problem.C[others]] >= 1 - 1e-9).all()
        assert (margin[share > 0] <= 1 + 1e-9).all()


def test_what_does_not_end_is_given_up(monkeypatch):
    problem, rows, beta, kernels = start("overlapping", True)
    monkeypatch.setattr(nearby, "ROUNDS", 1)
    found = solved(problem, rows, beta, kernels**3)
    assert np.isinf(found.violation).any()


def test_two_rows_that_are_the_same_are_given_up_or_right():
    """Both on the margin, the system is singular."""
    problem, rows, beta, kernels = start("overlapping", True)
    inside = np.flatnonzero((np.abs(beta[0]) > 1e-6) & (np.abs(beta[0]) < 0.999))
    one, other = inside[:2]
    kernels = kernels.copy()
    kernels[:, other], kernels[:, :, other] = kernels[:, one], kernels[:, :, one]
    kernels[:, other, other] = 1.0
    found = solved(problem, rows, beta, kernels)
    f = np.einsum("ej,ejk->ek", found.beta, kernels) + found.bias[:, None]
    for i in np.flatnonzero(np.isfinite(found.violation)):
        np.testing.assert_allclose(found.decision[i], f[i], rtol=0, atol=1e-9)
        inside = (found.beta[i] > problem.lo) & (found.beta[i] < problem.hi)
        assert np.abs(f[i] - problem.target)[inside].max() <= 1e-9


@BIAS
@pytest.mark.parametrize("data", DATA)
def test_a_start_that_is_near_or_far_ends_at_the_optimum(data, free_bias):
    """Whether conditions are solved for, or a path is followed because that does not end."""
    problem, rows, beta, kernels = start(data, free_bias, n_edits=3)
    bounds = np.where(np.arange(problem.n) == rows[0], 0.0, problem.C)
    other = HingeProblem(kernels[0], problem.y, bounds, free_bias=free_bias)
    truth = polish(other)
    for near in (polish(problem).beta, beta[0], np.zeros(problem.n), 0.5 * problem.y * problem.C):
        found = polish_near(other, near)
        assert found.kkt_residual <= 1e-9
        np.testing.assert_allclose(found.f, truth.f, rtol=0, atol=1e-8)
        np.testing.assert_array_equal(found.beta[rows[0]], 0.0)


def test_where_conditions_are_solved_for_no_role_is_followed():
    problem, _, _, kernels = start("overlapping", True, n_edits=3)
    other = HingeProblem(kernels[0], problem.y, problem.C, free_bias=True)
    near = polish_near(other, polish(problem).beta)
    assert near.n_pivots == 0 < polish(other, polish(problem).beta).n_pivots
