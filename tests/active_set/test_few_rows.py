"""Optima from the optimum before, where few rows differ: they meet the conditions, written out here."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from skinfluence.active_set import HingeProblem, polish
from skinfluence.active_set.few_rows import margin_of, move_rows
from skinfluence.active_set.problem import KernelBlocks
from tests.active_set.test_paths import BIAS, COSTS, DATA


class Stream:
    """A solved problem whose labels and bounds are edited, some rows at a time."""

    def __init__(self, data, free_bias, C=1.0, twins=()):
        X, y, gamma, n = DATA[data]()
        X, self.y, self.C = X[:n].copy(), y[:n].astype(float), np.full(n, C)
        for row in twins:
            X[row], self.y[row] = X[row + 1], self.y[row + 1]
        self.K, self.free_bias = rbf_kernel(X, gamma=gamma) + (not free_bias), free_bias
        self.solution = polish(self.problem())
        self.margin = margin_of(self.solution)

    def problem(self):
        return HingeProblem(self.K, self.y, self.C, free_bias=self.free_bias)

    def edit(self, rng, kind, m):
        rows = rng.choice(np.flatnonzero(self.C), m, replace=False)
        if kind == "remove":
            self.C[rows] = 0.0
        elif kind == "relabel":
            self.y[rows] *= -1
        else:
            self.C[rows] *= rng.uniform(0.2, 3.0, m)
        return self.move(rows)

    def move(self, rows):
        """Whether the optimum was found from the one before, instead of by a path of its own."""
        found = None
        if self.margin is not None:
            found, self.margin = move_rows(self.solution, self.margin, self.problem(), rows)
        if found is None:
            self.solution = polish(self.problem(), self.solution.beta)
            self.margin = margin_of(self.solution)
            return False
        self.solution = found
        return True

    def check(self):
        beta, y, C = self.solution.beta, self.y, self.C
        f = self.K @ beta + self.solution.bias
        np.testing.assert_allclose(self.solution.f, f, rtol=0, atol=1e-12)
        if self.free_bias:
            assert abs(beta.sum()) < 1e-12 * np.abs(beta).sum()
        share = y * beta
        assert (share >= 0.0).all() and (share <= C).all()
        assert ((y * f)[share < C] >= 1 - 1e-11).all()
        assert ((y * f)[share > 0] <= 1 + 1e-11).all()


@BIAS
@COSTS
@pytest.mark.parametrize("data", DATA)
def test_every_row_meets_its_condition_after_each_of_many_edits(data, C, free_bias):
    stream, rng = Stream(data, free_bias, C), np.random.default_rng(1)
    found = 0
    for step in range(45):
        found += stream.edit(rng, ["remove", "relabel", "reweigh"][step % 3], 1 + step % 4)
        stream.check()
    assert found >= 40


def test_a_row_without_a_coefficient_costs_no_change_of_role():
    stream = Stream("overlapping", True)
    row = np.flatnonzero(stream.solution.beta == 0.0)[0]
    f = stream.solution.f
    stream.C[row] = 0.0
    assert stream.move(np.array([row])) and stream.solution.n_pivots == 0
    np.testing.assert_allclose(stream.solution.f, f, rtol=0, atol=1e-12)


@BIAS
def test_rows_that_are_there_twice_are_right_all_the_same(free_bias):
    """Both on the margin, the system among them would be singular."""
    stream, rng = Stream("overlapping", free_bias, 10.0, range(0, 120, 2)), np.random.default_rng(2)
    for _ in range(30):
        stream.edit(rng, "relabel", 1)
        stream.check()


def test_an_empty_margin_is_left_to_others():
    """All rows at their bounds: any bias of an interval is optimal, and nothing says how it moves."""
    solution = polish(HingeProblem(np.eye(4), np.array([1, -1, 1, -1]), 0.1, free_bias=True))
    assert margin_of(solution) is None
    # The last coefficients sum to zero, and end at it together: two rows, each with both sides of a tube.
    y, C, tube = np.repeat([1, -1], 2), np.ones(4), np.repeat([-0.2, 0.2], 2)
    before = HingeProblem(
        KernelBlocks(np.eye(2), 2), y, C, free_bias=True, target=np.tile([1, -1], 2) + tube
    )
    before = polish(before)
    assert np.count_nonzero(before.beta) == 2
    after = before.problem.with_bounds(y, C, np.tile([-0.9, -1.0], 2) + tube)
    assert after.spread == pytest.approx(np.ptp(after.target)) != before.problem.spread
    assert move_rows(before, margin_of(before), after, np.array([0, 2])) == (None, None)
    assert polish(after).bias == pytest.approx(-0.95)
    # One row on the margin, and it goes.
    y, C = np.array([1, -1, 1, -1, 1]), np.array([0.1, 0.1, 0.1, 0.1, 5.0])
    before = polish(HingeProblem(np.eye(5), y, C, free_bias=True))
    C = np.array([0.1, 0.1, 0.1, 0.1, 0.0])
    after = HingeProblem(np.eye(5), y, C, free_bias=True)
    assert move_rows(before, margin_of(before), after, np.array([4])) == (None, None)
