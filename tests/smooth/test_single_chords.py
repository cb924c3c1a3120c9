"""Chords in single precision and Newton steps of few moved rows, against Newton's method on each edit."""

from dataclasses import replace

import numpy as np
import pytest

from skinfluence.smooth.chords.logistic_pass import BENT
from skinfluence.smooth.chords.single_chords import _Chords
from skinfluence.smooth.one_step.steps import removals
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.smooth.pairs.own_values import own_values
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.solvers import Exact
from tests.smooth.test_own_values import LOSSES, edits_of, optimum

SINGLE = ["logistic", "smooth-hinge", "poisson", "gamma"]
HOLDS = ["C", "lambda"]


def edited(objective, row, y, weight, ratio=1.0):
    """Weights, targets and penalty after an edit."""
    weights, targets = objective.weights.copy(), objective.y.copy()
    weights[row], targets[row] = weight, y
    share = 1.0 if objective.hold == "C" else weights.sum() / objective.weights.sum()
    return weights, targets, np.diag(objective.penalty * ratio) * share


def solved(objective, row, y, weight, ratio=1.0):
    """The change of the parameters when one row gets another target and weight."""
    X, loss = objective.design.dense_rows(), objective.loss
    weights, targets, R = edited(objective, row, y, weight, ratio)

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


def hessian(objective, own, i, theta, ratio=1.0):
    """Of one edited problem, dense."""
    X = objective.design.dense_rows()
    weights, targets, R = edited(objective, own.rows[i], own.y[i], own.weight[i], ratio)
    second = weights * objective.loss.hessian((X @ theta)[:, None], targets)[:, 0, 0]
    return (X.T * second) @ X + R


def setting(name, seed, hold="C", **options):
    objective = optimum(name, seed, **options)
    if hold == "lambda":
        # The same weights, so that all edits of one kind change the total by the same.
        even = replace(objective, weights=np.ones(objective.n_samples), sample_weight=None)
        objective = minimise(even.holding(hold), Exact("primal")).objective
    solver = EditSolver(Exact("primal").factor(objective), Exact("primal"))
    return solver.objective, solver


def own_edits(objective, solver, seed):
    """The edits that have one shift."""
    for edits in edits_of(objective, np.random.default_rng(seed)):
        if objective.hold == "C" or np.ndim(edits.one_shift) == 0:
            yield solver.start.whitened(edits).edits(edits)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("penalty", [0.03, 1.0])
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("hold", HOLDS)
def test_no_step_is_farther_from_the_solved_one_than_its_bound(name, penalty, heavy, hold):
    certified = asked = 0
    objective, solver = setting(name, 1, hold, n=90, penalty=penalty, heavy=heavy)
    for own in own_edits(objective, solver, 0):
        chords = own.at.chords
        far = chords.moved(own, np.arange(objective.n_samples))
        steps, bound, size = chords.solve(own, 1e-3, far, 0.0)
        steps = own.at.whole(steps)
        certified, asked = certified + (bound <= 1e-3 * size).sum(), asked + len(bound)
        for i in np.flatnonzero(np.isfinite(bound))[::3]:
            d = solved(objective, own.rows[i], own.y[i], own.weight[i])
            P = hessian(objective, own, i, objective.theta[0])
            error = steps[i] - d
            floor = 2.0 * solver.accuracy.floor + 1e-9 * np.sqrt(d @ P @ d)
            assert np.sqrt(error @ P @ error) <= bound[i] + floor
            np.testing.assert_allclose(size[i], np.sqrt(steps[i] @ P @ steps[i]), rtol=1e-6)
    assert certified > 0.8 * asked


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("hold", HOLDS)
def test_the_hessian_at_an_iterate_is_between_its_bounds(name, hold):
    """Each part alone: the curvature that is kept, and the largest change of it."""
    narrow = together = 0
    for seed in range(3):
        objective, solver = setting(name, seed, hold, n=70, penalty=0.1, heavy=True)
        for own in own_edits(objective, solver, seed):
            chords = _Chords(own.at.chords, own, np.zeros(len(own)))
            asked = own.take(chords.open)
            S, passed, _ = chords._pass(asked)
            r, G, kept, changed = passed.r, passed.G, passed.kept, passed.changed
            steps = own.at.whole(chords.steps[chords.open])
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
                # And where the row that moves most says more than all of them together.
                together += changed[i] < 0.6 * min(np.expm1(r[i]), BENT)
                exact = np.linalg.solve(root, adjoint(own.at, S[i]))
                assert np.linalg.norm(exact) <= G[i] * (1 + 1e-4) + 1e-9
    # Far rows of exponentials have the curvature.
    assert min(narrow, together) > 20 or name in ("poisson", "gamma")


def adjoint(at, S):
    """A gradient, from the coordinates of whitened rows."""
    L, scale = at.factor.cholesky
    return (L @ S) / scale


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("penalty", [0.01, 1.0])
@pytest.mark.parametrize("hold", HOLDS)
def test_newton_steps_of_moved_rows_solve_every_edit_within_their_bound(name, penalty, hold):
    objective, solver = setting(name, 2, hold, n=70, penalty=penalty, heavy=True)
    moved = 0
    for own in own_edits(objective, solver, 0):
        starts = np.zeros((len(own), own.at.rows.shape[1]))
        found = own.at.newton.solve(own, starts, lambda now, which: now.error <= 1e-7 * now.size)
        fair = own.are_bounded
        assert (found.error <= 1e-6 * found.size + 1e-12)[fair].all()
        steps = own.at.whole(found.steps)
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


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("penalty", [0.05, 3.0])
@pytest.mark.parametrize("hold", HOLDS)
def test_every_stage_holds_where_each_edit_has_a_penalty_of_its_own(name, penalty, hold):
    """As behind a scaler: chords for own values and parameters, and Newton steps."""
    certified = asked = 0
    objective, solver = setting(name, 3, hold, n=90, penalty=penalty, heavy=True)
    X, rng = objective.design.dense_rows(), np.random.default_rng(5)
    for edits in edits_of(objective, rng):
        if hold == "lambda" and np.ndim(edits.one_shift):
            continue
        ratio = rng.uniform(0.6, 1.7, (len(edits.rows), X.shape[1]))
        ratio[:, objective.penalty == 0] = 1.0
        own = solver.start.whitened(edits).edits(replace(edits, ratio=ratio))
        chords = own.at.chords
        far = chords.moved(own, np.arange(objective.n_samples))
        values, _ = chords.own_values(own, 1e-3, far)
        steps, bound, size = chords.solve(own, 1e-3, far, 0.0)
        starts = np.zeros((len(own), X.shape[1]))
        found = own.at.newton.solve(own, starts, lambda now, which: now.error <= 1e-7 * now.size)
        assert (found.error <= 1e-6 * found.size + 1e-12)[own.are_bounded].all()
        certified, asked = certified + values.within(1e-3).sum(), asked + len(own)
        for i in range(0, len(own), 5):
            d = solved(objective, own.rows[i], own.y[i], own.weight[i], ratio[i])
            P = hessian(objective, own, i, objective.theta[0], ratio[i])
            floor = 2.0 * solver.accuracy.floor + 1e-9 * np.sqrt(d @ P @ d)
            x = X[own.rows[i]]
            assert abs(values.change[i] - x @ d) <= values.bound[i] + 1e-9 * abs(x @ d) or np.isnan(
                values.change[i]
            )
            for one, limit in ((steps, bound), (found.steps, found.error)):
                error = own.at.whole(one[[i]])[0] - d
                assert np.sqrt(error @ P @ error) <= limit[i] + floor
            assert abs(found.change[i] - x @ d) <= found.change_error[i] + own.length[i] * floor
            if np.isfinite(bound[i]):
                step = own.at.whole(steps[[i]])[0]
                np.testing.assert_allclose(size[i], np.sqrt(step @ P @ step), rtol=1e-6)
            np.testing.assert_allclose(own.length[i], np.sqrt(x @ np.linalg.solve(P, x)), rtol=1e-7)
    assert certified > 0.5 * asked


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("penalty", [0.1, 3.0])
def test_own_values_hold_where_the_penalty_moves_too(name, penalty):
    """With hold="lambda", by sums over pairs alone."""
    corrected = 0
    for seed in range(3):
        objective, solver = setting(name, seed, "lambda", n=80, penalty=penalty)
        X = objective.design.dense_rows()
        for own in own_edits(objective, solver, seed):
            found = own_values(own)
            assert own.at.drift is None or np.abs(own.at.drift).max() > 0
            for i in range(0, len(own), 7):
                true = X[own.rows[i]] @ solved(objective, own.rows[i], own.y[i], own.weight[i])
                error = abs(found.change[i] - true)
                assert error <= found.bound[i] + 1e-9 * abs(true)
                corrected += error < 0.1 * abs(own.moved[i] - true)
    assert corrected > 10


@pytest.mark.parametrize("name", LOSSES)
def test_bounds_of_newton_steps_hold_on_the_way(name):
    """Not only where the iteration ends: every bound that it gives."""
    objective, solver = setting(name, 4, n=60, penalty=0.05, heavy=True)
    edits = removals(objective, np.flatnonzero(objective.weights > 0))
    own = solver.start.whitened(edits).edits(edits)
    own = own.take(np.flatnonzero(own.are_bounded))
    truth = [solved(objective, *one) for one in zip(own.rows, own.y, own.weight, strict=True)]
    P = [hessian(objective, own, i, objective.theta[0]) for i in range(len(own))]
    seen = 0

    def look(now, which):
        nonlocal seen
        steps = own.at.whole(now.steps)
        for j, i in enumerate(which):
            error = steps[j] - truth[i]
            away = np.sqrt(error @ P[i] @ error)
            assert away <= now.error[j] + 1e-9 * now.size[j] + 1e-13
            seen += np.isfinite(now.error[j]) and away > 1e-2 * now.error[j] > 1e-9
        return now.error <= 1e-9 * now.size

    own.at.newton.solve(own, np.zeros((len(own), own.at.rows.shape[1])), look)
    assert seen > 5


def test_leverages_of_the_training_rows_are_made_once_and_not_for_writing():
    _, solver = setting("logistic", 0)
    h = solver.factor.leverages()
    assert h is solver.factor.leverages() and not h.flags.writeable
