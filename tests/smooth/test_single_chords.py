"""Chords in single precision and Newton steps of few moved rows, against Newton's method on each edit."""

import numpy as np
import pytest

from skinfluence.smooth.edit_solver import EditSolver
from skinfluence.smooth.moved_rows import MovedRows
from skinfluence.smooth.own_values import OneRowEdits
from skinfluence.smooth.pair_sums import half_solved
from skinfluence.smooth.single_chords import SingleChords, _Chords
from skinfluence.smooth.steps import removals
from skinfluence.solvers import Exact
from tests.smooth.test_own_values import LOSSES, edits_of, optimum

LOGISTIC = ["logistic", "smooth-hinge"]


def solved(objective, row, y, weight):
    """The change of the parameters when one row gets another target and weight, and the Hessian there."""
    X, loss = objective.design.dense_rows(), objective.loss
    weights, targets = objective.weights.copy(), objective.y.copy()
    weights[row], targets[row] = weight, y
    R = np.diag(objective.penalty)

    def value(theta):
        return weights @ loss.value((X @ theta)[:, None], targets) + 0.5 * theta @ R @ theta

    theta, H = objective.theta[0].copy(), None
    for _ in range(200):
        eta = (X @ theta)[:, None]
        G = X.T @ (weights * loss.gradient(eta, targets)[:, 0]) + R @ theta
        H = (X.T * (weights * loss.hessian(eta, targets)[:, 0, 0])) @ X + R
        step, share = np.linalg.solve(H, G), 1.0
        while not value(theta - share * step) <= value(theta) + 1e-13 * abs(value(theta)):
            share /= 2
            if share < 1e-12:
                break
        theta = theta - share * step
        if G @ step < 1e-22 * max(1.0, abs(value(theta))):
            break
    return theta - objective.theta[0]


def hessian(objective, own, i, theta):
    """Of one edited problem, dense."""
    X, weights, targets = (
        objective.design.dense_rows(),
        objective.weights.copy(),
        objective.y.copy(),
    )
    weights[own.rows[i]], targets[own.rows[i]] = own.weight[i], own.y[i]
    second = weights * objective.loss.hessian((X @ theta)[:, None], targets)[:, 0, 0]
    return (X.T * second) @ X + np.diag(objective.penalty)


def parameters(solver, steps):
    """From the coordinates of half-solved rows."""
    L, scale = solver.factor.cholesky
    return scale * np.linalg.solve(L.T, steps.T).T


def setting(name, seed, **options):
    objective = optimum(name, seed, **options)
    solver = EditSolver(Exact("primal").factor(objective), Exact("primal"))
    return solver.objective, solver, half_solved(solver.factor)


@pytest.mark.parametrize("name", LOGISTIC)
@pytest.mark.parametrize("penalty", [0.03, 1.0])
@pytest.mark.parametrize("heavy", [False, True])
def test_no_step_is_farther_from_the_solved_one_than_its_bound(name, penalty, heavy):
    certified = asked = 0
    objective, solver, rows = setting(name, 1, n=90, penalty=penalty, heavy=heavy)
    chords = SingleChords(solver.accuracy, rows)
    for edits in edits_of(objective, np.random.default_rng(0)):
        own = OneRowEdits(solver.accuracy, edits)
        far = chords.moved(own, np.arange(objective.n_samples))
        steps, bound, size = chords.solve(own, 1e-3, far, 0.0)
        steps = parameters(solver, steps)
        certified, asked = certified + (bound <= 1e-3 * size).sum(), asked + len(bound)
        for i in np.flatnonzero(np.isfinite(bound))[::3]:
            d = solved(objective, own.rows[i], own.y[i], own.weight[i])
            P = hessian(objective, own, i, objective.theta[0])
            error = steps[i] - d
            floor = 2.0 * solver.accuracy.floor + 1e-9 * np.sqrt(d @ P @ d)
            assert np.sqrt(error @ P @ error) <= bound[i] + floor
            np.testing.assert_allclose(size[i], np.sqrt(steps[i] @ P @ steps[i]), rtol=1e-6)
    assert certified > 0.8 * asked


@pytest.mark.parametrize("name", LOGISTIC)
def test_the_hessian_at_an_iterate_is_between_its_bounds(name):
    """Each part alone: the curvature that is kept, and the largest change of it."""
    narrow = 0
    for seed in range(3):
        objective, solver, rows = setting(name, seed, n=70, penalty=0.1, heavy=True)
        for edits in edits_of(objective, np.random.default_rng(seed)):
            own = OneRowEdits(solver.accuracy, edits)
            chords = _Chords(SingleChords(solver.accuracy, rows), own, np.zeros(len(own)))
            asked = own.take(chords.open)
            S, r, G, _, _, _, kept, changed = chords._pass(asked)
            steps = parameters(solver, chords.steps[chords.open])
            for i in np.flatnonzero(r < 4.0)[::2]:
                P = hessian(objective, asked, i, objective.theta[0])
                H = hessian(objective, asked, i, objective.theta[0] + steps[i])
                root = np.linalg.cholesky(P)
                inner = np.linalg.solve(root, np.linalg.solve(root, H).T)
                values = np.linalg.eigvalsh(inner)
                assert kept[i] <= values.min() + 1e-6
                assert changed[i] >= np.abs(values - 1.0).max() - 1e-6
                # Where e^-r would say much less.
                narrow += kept[i] > 1.5 * np.exp(-r[i])
                exact = np.linalg.solve(root, parameters_adjoint(solver, S[i]))
                assert np.linalg.norm(exact) <= G[i] * (1 + 1e-4) + 1e-9
    assert narrow > 20


def parameters_adjoint(solver, S):
    """A gradient, from the coordinates of half-solved rows."""
    L, scale = solver.factor.cholesky
    return (L @ S) / scale


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_newton_steps_of_moved_rows_solve_every_edit_within_their_bound(name, penalty):
    objective, solver, rows = setting(name, 2, n=70, penalty=penalty, heavy=True)
    newton = MovedRows(solver.accuracy, rows)
    moved = 0
    for edits in edits_of(objective, np.random.default_rng(0)):
        own = OneRowEdits(solver.accuracy, edits)
        starts = np.zeros((len(own), rows.shape[1]))
        found = newton.solve(own, starts, lambda now, which: now.error <= 1e-7 * now.size)
        fair = own.are_bounded
        assert (found.error <= 1e-6 * found.size + 1e-12)[fair].all()
        steps = parameters(solver, found.steps)
        X = objective.design.dense_rows()
        for i in np.flatnonzero(fair)[::3]:
            d = solved(objective, own.rows[i], own.y[i], own.weight[i])
            P = hessian(objective, own, i, objective.theta[0])
            error = steps[i] - d
            floor = 1e-9 * np.sqrt(d @ P @ d) + 1e-13
            assert np.sqrt(error @ P @ error) <= found.error[i] + floor
            away = abs(found.change[i] - X[own.rows[i]] @ d)
            assert away <= found.change_error[i] + own.length[i] * floor
            moved += np.abs(X @ d).max() > 0.1
    assert moved > 3


@pytest.mark.parametrize("name", LOSSES)
def test_bounds_of_newton_steps_hold_on_the_way(name):
    """Not only where the iteration ends: every bound that it gives."""
    objective, solver, rows = setting(name, 4, n=60, penalty=0.05, heavy=True)
    edits = removals(objective, np.flatnonzero(objective.weights > 0))
    own = OneRowEdits(solver.accuracy, edits)
    own = own.take(np.flatnonzero(own.are_bounded))
    truth = [solved(objective, *one) for one in zip(own.rows, own.y, own.weight, strict=True)]
    P = [hessian(objective, own, i, objective.theta[0]) for i in range(len(own))]
    seen = 0

    def look(now, which):
        nonlocal seen
        steps = parameters(solver, now.steps)
        for j, i in enumerate(which):
            error = steps[j] - truth[i]
            away = np.sqrt(error @ P[i] @ error)
            assert away <= now.error[j] + 1e-9 * now.size[j] + 1e-13
            seen += np.isfinite(now.error[j]) and away > 1e-2 * now.error[j] > 1e-9
        return now.error <= 1e-9 * now.size

    MovedRows(solver.accuracy, rows).solve(own, np.zeros((len(own), rows.shape[1])), look)
    assert seen > 5


def test_leverages_of_the_training_rows_are_made_once_and_not_for_writing():
    _, solver, _ = setting("logistic", 0)
    h = solver.factor.leverages()
    assert h is solver.factor.leverages() and not h.flags.writeable
