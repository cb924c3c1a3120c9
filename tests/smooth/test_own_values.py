"""A row's own decision value without it: sums over pairs of rows, and the bound made of them."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence, certificate, losses
from skinfluence.design import design_of
from skinfluence.objective import Objective
from skinfluence.smooth.one_step.steps import removals, row_edits
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.smooth.pairs.own_values import OneRowEdits, own_values
from skinfluence.smooth.pairs.pair_sums import PairSums
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.solvers import Exact
from tests.registries import NEWTON

LOSSES = {
    "logistic": (losses.Binomial(), lambda rng, eta: (eta + rng.logistic(size=len(eta)) > 0) * 1.0),
    "poisson": (losses.Poisson(), lambda rng, eta: rng.poisson(np.exp(eta)).astype(float)),
    "gamma": (losses.Gamma(), lambda rng, eta: rng.gamma(2.0, np.exp(eta) / 2.0) + 1e-3),
    "tweedie-1.5": (losses.Tweedie(1.5), lambda rng, eta: rng.gamma(1.0, np.exp(eta)) + 1e-3),
    "smooth-hinge": (
        losses.SmoothHinge(0.5),
        lambda rng, eta: np.sign(eta + rng.logistic(size=len(eta))),
    ),
}


def optimum(name, seed=0, n=120, d=6, penalty=1.0, heavy=False):
    """An objective at its optimum, with copies of rows, weights and some rows without weight."""
    rng = np.random.default_rng(seed)
    loss, draw = LOSSES[name]
    X = rng.standard_t(2.5, (n, d)) if heavy else rng.standard_normal((n, d))
    X *= 0.5
    X[5:9] = X[4]
    weights = rng.uniform(0.2, 3.0, n) * (rng.random(n) > 0.05)
    y = draw(rng, X @ rng.standard_normal(d) * 0.7)
    design = design_of(X, 1.0)
    R = np.append(np.full(d, penalty), 0.0)
    objective = Objective(loss, design, y, weights, R, np.zeros((1, d + 1)))
    return minimise(objective, Exact("primal")).objective


def pairs(objective, factor):
    rows = objective.design.dense_rows()
    K = rows @ factor.inverse @ rows.T
    np.fill_diagonal(K, 0.0)
    return K


@pytest.mark.parametrize("name", LOSSES)
def test_third_derivatives_are_slopes_of_the_second(name, rng):
    loss, draw = LOSSES[name]
    eta = rng.uniform(-3, 3, (50, 1))
    y = draw(rng, eta[:, 0])
    slope = (loss.hessian(eta + 1e-5, y) - loss.hessian(eta - 1e-5, y))[:, 0, 0] / 2e-5
    np.testing.assert_allclose(loss.third(eta, y), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_the_fourth_derivative_is_bounded_by_the_second(name, rng):
    loss, draw = LOSSES[name]
    eta = rng.uniform(-6, 6, (500, 1))
    y = draw(rng, eta[:, 0])
    slope = (loss.third(eta + 1e-5, y) - loss.third(eta - 1e-5, y)) / 2e-5
    second = loss.hessian(eta, y)[:, 0, 0]
    assert (np.abs(slope) <= loss.self_concordance**2 * second * (1 + 1e-4) + 1e-9).all()


@pytest.mark.parametrize("name", LOSSES)
def test_sums_over_pairs_are_those_of_the_matrix_and_know_their_rounding(name):
    objective = optimum(name, n=700)
    factor = Exact("primal").factor(objective)
    sums, K = PairSums(factor), pairs(objective, factor)
    W = objective.weights * objective.hessians[:, 0, 0]
    T = objective.weights * objective.loss.third(objective.eta, objective.y)
    largest = np.abs(K * (objective.weights > 0)).max(axis=1)
    assert (sums.largest >= largest).all()
    np.testing.assert_allclose(sums.largest, largest, rtol=1e-3)
    assert (sums.quarts >= K**4 @ W).all()
    np.testing.assert_allclose(sums.quarts, K**4 @ W, rtol=1e-3)
    assert (np.abs(sums.cubes - K**3 @ T) <= sums.cubes_error).all()
    assert np.median(sums.cubes_error / (np.abs(K) ** 3 @ np.abs(T))) < 1e-2


def test_copies_of_a_row_and_sparse_rows_give_the_same_sums():
    objective = optimum("logistic", n=300)
    once = PairSums(Exact("primal").factor(objective))
    X = objective.design.X
    thin = Objective(
        objective.loss,
        design_of(sp.csr_array(X), 1.0),
        objective.y,
        objective.weights,
        objective.penalty,
        objective.theta,
    )
    other = PairSums(Exact("primal").factor(thin))
    for name in ("largest", "cubes", "quarts"):
        np.testing.assert_allclose(getattr(once, name), getattr(other, name), rtol=1e-4, atol=1e-9)


def edits_of(objective, rng):
    """Removals, other weights and, where there are labels to give, other labels."""
    rows = np.flatnonzero(objective.weights > 0)
    yield removals(objective, rows)
    yield row_edits(
        objective, rows, objective.y[rows], objective.weights[rows] * rng.uniform(0, 3, len(rows))
    )
    other = {losses.Binomial: lambda y: 1 - y, losses.SmoothHinge: lambda y: -y}
    flip = other.get(type(objective.loss), lambda y: y + 1.0)
    yield row_edits(objective, rows, flip(objective.y[rows]), objective.weights[rows])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("penalty", [0.03, 1.0, 30.0])
@pytest.mark.parametrize("heavy", [False, True])
def test_no_own_value_is_farther_from_the_solved_one_than_its_bound(name, penalty, heavy):
    for seed in range(3):
        objective = optimum(name, seed, n=80, penalty=penalty, heavy=heavy)
        solver = EditSolver(Exact("primal").factor(objective), Exact("primal"))
        for edits in edits_of(objective, np.random.default_rng(seed)):
            found = own_values(OneRowEdits(solver.start.whitened(edits), edits))
            for block, solved in solver.rows.solve(edits, 1e-9):
                eta = np.einsum("ikd,id->i", solved.steps, edits.design.take(block).dense_rows())
                error = np.abs(found.change[block] - eta)
                assert (error <= found.bound[block] + 1e-9 * np.abs(eta)).all()


@pytest.mark.parametrize("name", ["logistic", "smooth-hinge"])
@pytest.mark.parametrize("penalty", [0.01, 0.1, 3.0])
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("tol", [1e-2, 1e-3])
def test_no_chord_is_farther_from_the_solved_value_than_its_bound(name, penalty, heavy, tol):
    certified = asked = 0
    for seed in range(3):
        objective = optimum(name, seed, n=150, penalty=penalty, heavy=heavy)
        solver = EditSolver(Exact("primal").factor(objective), Exact("primal"))
        for edits in edits_of(objective, np.random.default_rng(seed)):
            at = solver.start.whitened(edits)
            own = OneRowEdits(at, edits)
            far = np.abs(own.alpha) * solver.M * at.pairs_of(own.rows).largest[own.rows]
            found, _ = at.chords.own_values(own, tol, far)
            certified, asked = certified + found.within(tol).sum(), asked + len(edits.rows)
            for block, solved in solver.rows.solve(edits, 1e-9):
                eta = np.einsum("ikd,id->i", solved.steps, edits.design.take(block).dense_rows())
                error, fair = np.abs(found.change[block] - eta), np.isfinite(found.bound[block])
                assert (error <= found.bound[block] + 1e-9 * np.abs(eta))[fair].all()
    # Not by never answering.
    assert certified > (0.5 if heavy else 0.9) * asked


def test_each_part_of_the_bound_is_needed():
    """Without the correction to second order, or with half the constant, it would be no bound."""
    short = halved = 0
    for name in ("poisson", "gamma"):
        for seed in range(12):
            objective = optimum(name, seed, n=40, d=3, penalty=0.3, heavy=True)
            solver = EditSolver(Exact("primal").factor(objective), Exact("primal"))
            edits = removals(objective, np.flatnonzero(objective.weights > 0))
            found = own_values(OneRowEdits(solver.start.whitened(edits), edits))
            K = pairs(objective, solver.factor)[edits.rows] * (objective.weights > 0)
            W = objective.weights * objective.hessians[:, 0, 0]
            h = solver.factor.leverages()[edits.rows, 0, 0]
            alpha = -edits.gradient[:, 0] / (1.0 + edits.hessian[:, 0, 0] * h)
            delta = alpha[:, None] * K
            rest = objective.loss.remainder(
                objective.eta[None], objective.y[None], delta[..., None]
            )[..., 0]
            # The row gradient after a step, in the norm that averages over rows.
            left = np.sqrt((rest**2 / objective.hessians[:, 0, 0]) @ objective.weights)
            r = np.abs(delta).max(axis=1)
            F = np.sqrt(delta**4 @ W)
            assert (left <= certificate.remainder_average(1.0, r) * F * (1 + 1e-9)).all()
            halved += (left > 0.5 * certificate.remainder_average(1.0, r) * F).sum()
            for block, solved in solver.rows.solve(edits, 1e-9):
                eta = np.einsum("ikd,id->i", solved.steps, edits.design.take(block).dense_rows())
                short += (np.abs(alpha[block] * h[block] - eta) > found.bound[block] + 1e-9).sum()
    assert short > 10 and halved > 10


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_leave_one_out_is_that_of_refits(C):
    rng = np.random.default_rng(3)
    X = rng.standard_t(3, (400, 8))
    y = (X @ rng.standard_normal(8) + 2 * rng.logistic(size=400) > 0).astype(int)
    model = LogisticRegression(C=C, **NEWTON).fit(X, y)
    inf = Influence(model, X, y)
    found = inf.loo_decision_function()
    assert inf.answers.edit_solver().start.knows_sums_of(np.arange(len(y)))
    for i in range(0, 400, 23):
        refit = LogisticRegression(C=C, **NEWTON).fit(np.delete(X, i, 0), np.delete(y, i))
        true, before = refit.decision_function(X[[i]])[0], model.decision_function(X[[i]])[0]
        assert abs(found[i] - true) <= 1e-3 * abs(true - before) + 1e-10


def test_no_rows_have_no_values_after_all_rows_had_theirs():
    X = np.random.default_rng(0).standard_normal((60, 3))
    y = X[:, 0] > 0.2 * X[:, 1] ** 2
    inf = Influence(LogisticRegression().fit(X, y), X, y)
    inf.loo_decision_function()
    assert inf.loo_decision_function(indices=[]).shape == (0,)
