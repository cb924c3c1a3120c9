"""Sums over pairs of rows: of some rows only, and by leverages alone."""

import numpy as np
import pytest

from skinfluence.smooth.one_step.steps import removals
from skinfluence.smooth.pairs.leverage_sums import LeverageSums
from skinfluence.smooth.pairs.own_values import own_values
from skinfluence.smooth.pairs.pair_sums import PairSums
from tests.smooth.test_own_values import LOSSES, optimum, pairs
from tests.smooth.test_single_chords import HOLDS, own_edits, setting, solved
from tests.smooth.test_tall_sums import solver_of


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weak", [False, True])
def test_leverages_bound_the_sums_of_the_matrix(name, weak, monkeypatch):
    """And where an inverse has no digits to spare, too."""
    if weak:
        monkeypatch.setattr("skinfluence.smooth.pairs.leverage_sums.CONDITIONED", 1.0)
    solver = solver_of(optimum(name, n=400))
    objective = solver.objective
    sums = LeverageSums(solver.start.whitened(removals(objective, np.arange(3))))
    K = pairs(objective, solver.factor)
    W = objective.weights * objective.hessians[:, 0, 0]
    T = objective.weights * objective.loss.third(objective.eta, objective.y)
    assert (sums.largest >= np.abs(K * (objective.weights > 0)).max(axis=1)).all()
    assert (sums.quarts >= K**4 @ W).all()
    assert (np.abs(K**3 @ T) <= sums.cubes_error).all() and not sums.cubes.any()
    # An average of leverages is less than the largest.
    h = solver.factor.leverages()[:, 0, 0]
    assert weak or np.median(sums.quarts / (h * sums.largest**2)) < 0.9


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("hold", HOLDS)
def test_no_own_value_is_farther_from_the_solved_one_than_leverages_say(name, hold):
    objective, solver = setting(name, 1, hold, n=300, d=3)
    X, certified = objective.design.dense_rows(), []
    for own in own_edits(objective, solver, 0):
        found = own_values(own, LeverageSums(own.at))
        certified.append(found.within(0.3).mean())
        for i in range(0, len(own), 40):
            true = X[own.rows[i]] @ solved(objective, own.rows[i], own.y[i], own.weight[i])
            assert abs(found.change[i] - true) <= found.bound[i] + 1e-9 * abs(true)
    assert max(certified) > 0.1


def test_sums_of_some_rows_are_those_of_all_and_of_others_nothing_is_said():
    """Copies of an asked row among them, which share its sums."""
    factor = solver_of(optimum("logistic", n=900)).factor
    asked = np.r_[5, 3:60:7, 800:890]
    every, some = PairSums(factor), PairSums(factor, asked=asked)
    for name in ("largest", "cubes", "quarts", "cubes_error"):
        np.testing.assert_allclose(
            getattr(some, name)[asked], getattr(every, name)[asked], rtol=1e-5, atol=1e-9
        )
    others = np.setdiff1d(np.arange(900), np.r_[asked, 4:9])
    assert np.isinf(some.cubes_error[others]).all() and np.isinf(some.quarts[others]).all()
    assert some.knows(asked) and some.knows([6]) and not some.knows([0]) and every.knows([0])
