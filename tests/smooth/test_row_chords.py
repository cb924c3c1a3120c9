"""Chords of edits of many outputs, against Newton's method on each edited softmax in all its classes."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence, losses, objective
from skinfluence.design import design_of
from skinfluence.objective import Objective
from skinfluence.smooth.batches.row_batch import RowBatch
from skinfluence.smooth.chords import row_chords
from skinfluence.smooth.chords.single_solves import SingleSolves
from skinfluence.smooth.one_step.steps import removals, row_edits
from skinfluence.smooth.optimum.accuracy import Accuracy
from skinfluence.smooth.optimum.newton import minimise, polish
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.solvers import Exact

N, D, K = 48, 3, 8
HOLDS = ["C", "lambda"]


@cache
def setting(hold="C", seed=0):
    """Few rows of many classes: leaving one out moves the others far."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(K), N // K)
    X = 1.5 * rng.standard_normal((K, D))[y] + rng.standard_normal((N, D))
    s = rng.uniform(0.4, 2.0, N)
    penalty = np.array([0.3] * D + [0.0])
    loss = losses.SumToZero(losses.Multinomial(K))
    fit = Objective(loss, design_of(X, 1.0), y, s, penalty, np.zeros((K - 1, D + 1)), hold=hold)
    factor = Exact("primal").factor(minimise(fit, Exact("primal")).objective)
    return polish(factor, Exact("primal"))


def edits_of(kind, objective, rows):
    if kind == "remove":
        return removals(objective, rows)
    if kind == "relabel":
        return row_edits(objective, rows, (objective.y[rows] + 3) % K, objective.weights[rows])
    return row_edits(objective, rows, objective.y[rows], 2.5 * objective.weights[rows])


def problem(objective, row, y, weight, ratio=1.0):
    """Rows, weights, targets and penalty of an edited problem."""
    weights, targets = objective.weights.copy(), objective.y.copy()
    weights[row], targets[row] = weight, y
    share = 1.0 if objective.hold == "C" else weights.sum() / objective.weights.sum()
    return objective.design.dense_rows(), weights, targets, objective.penalty * share * ratio


def softmax(Z, weights, targets, penalty, theta):
    """Gradient and Hessian of a penalised softmax in all classes, theta (K, d)."""
    eta = Z @ theta.T
    p = np.exp(eta - eta.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    G = (weights[:, None] * (p - np.eye(K)[targets])).T @ Z + penalty * theta
    curved = p[:, :, None] * (np.eye(K) - p[:, None, :]) * weights[:, None, None]
    H = np.einsum("nab,nc,nd->acbd", curved, Z, Z).reshape(theta.size, theta.size)
    return G, H + np.diag(np.tile(penalty, K))


def solved(objective, row, y, weight, ratio=1.0):
    """The change of the parameters of all classes, and the edited Hessian at the fit."""
    before = objective.loss.expand(objective.theta.T).T
    case, theta = problem(objective, row, y, weight, ratio), before.copy()
    P = softmax(*case, theta)[1]
    for _ in range(60):
        G, H = softmax(*case, theta)
        # The softmax does not know a shift of all classes.
        step = np.linalg.lstsq(H, G.ravel(), rcond=1e-12)[0].reshape(theta.shape)
        size = np.sqrt(G.ravel() @ step.ravel())
        theta = theta - step / (1.0 + size)
        if size < 1e-12:
            break
    return theta - before, P


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("kind", ["remove", "relabel", "reweight"])
def test_no_error_is_larger_than_its_bound(kind, hold):
    factor = setting(hold)
    edits = edits_of(kind, factor.objective, np.arange(0, N, 9))
    for tol in (1e-2, 1e-6):
        for block, found in EditSolver(factor, Exact("primal")).rows.solve(edits, tol):
            assert found.within(tol).all()
            steps = factor.objective.loss.expand(found.steps.transpose(0, 2, 1))
            for i, step in zip(
                range(len(edits.rows))[block], steps.transpose(0, 2, 1), strict=True
            ):
                true, P = solved(factor.objective, edits.rows[i], edits.y[i], edits.weight[i])
                lost = (step - true).ravel()
                assert np.sqrt(lost @ P @ lost) <= found.bound[i] + 1e-12


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("hold", HOLDS)
def test_solves_in_single_precision_are_in_the_bound(hold, rescaled, monkeypatch):
    """Where they may be used, and what they are off by is a share of the tolerance."""
    monkeypatch.setattr("skinfluence.smooth.stages.row_solver.LOOSE_PARAMETERS", 0)
    # Rows of one weight: one shift.
    even = replace(setting(hold).objective, weights=np.ones(N), sample_weight=None)
    factor = Exact("primal").factor(minimise(even, Exact("primal")).objective)
    factor = polish(factor, Exact("primal"))
    objective, rng = factor.objective, np.random.default_rng(0)
    edits = removals(objective, np.arange(0, N, 5))
    ratio = np.ones((len(edits.rows), D + 1))
    if rescaled:
        ratio[:, :D] = rng.uniform(0.9, 1.1, (len(ratio), D))
        edits = replace(edits, ratio=ratio)
    solver, tol = EditSolver(factor, Exact("primal")), 1e-3
    for block, found in solver.rows.solve(edits, tol):
        assert found.within(tol).all()
        steps = objective.loss.expand(found.steps.transpose(0, 2, 1)).transpose(0, 2, 1)
        for i, step in zip(range(len(edits.rows))[block], steps, strict=True):
            asked = edits.rows[i], edits.y[i], edits.weight[i], ratio[i]
            true, P = solved(objective, *asked)
            lost = (step - true).ravel()
            assert np.sqrt(lost @ P @ lost) <= found.bound[i] + 1e-12
    (single,) = solver.rows._singles.values()
    assert 1e-9 < single.error < 0.1 * tol


def test_a_single_precision_solve_is_off_by_what_it_says():
    factor = setting()
    single = SingleSolves(factor, np.ones(N))
    B = np.random.default_rng(0).standard_normal((factor.objective.n_parameters, 20))
    X, true = single.solve(B), factor.solve(B)
    lost, size = (np.einsum("ij,ij->j", one, factor.hessian @ one) for one in (X - true, true))
    assert np.sqrt(lost / size).max() <= single.error


def test_most_edits_of_many_classes_need_no_newton_step():
    factor = setting()
    edits = removals(factor.objective, np.arange(N))
    ((_, found),) = EditSolver(factor, Exact("primal")).rows.solve(edits, 1e-3)
    assert np.isin(found.method_used, ["one-step", "chord"]).mean() > 0.8
    assert (found.method_used == "chord").any()


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("kind", ["remove", "relabel", "reweight"])
def test_each_chord_bounds_its_own_iterate(kind, hold):
    """From the step, and from places that are no iterate at all."""
    factor = setting(hold)
    edits, rng = edits_of(kind, factor.objective, np.arange(1, N, 12)), np.random.default_rng(0)
    state = RowBatch(Accuracy(factor), edits)
    state.newton_bound()
    every = np.arange(len(edits.rows))
    state.use(every)
    v, solves = state.theta_steps.copy(), state.solved.copy()
    drift = 0.05 * rng.standard_normal(v.shape)
    for i in every:
        P = hessian(state, i)
        assert np.abs(P @ v[i].ravel() + solves[i].ravel()).max() < 1e-9
        v[i] += drift[i]
        solves[i] = -(P @ v[i].ravel()).reshape(v[i].shape)
    one = state.chord(every, v, solves, np.ones(len(every)))
    for i in every:
        true, _ = solved(factor.objective, edits.rows[i], edits.y[i], edits.weight[i])
        P, reduced = hessian(state, i), factor.objective.loss.reduce(true.T).T.ravel()
        lost = one.steps[i].ravel() - reduced
        assert np.sqrt(lost @ P @ lost) <= one.bound[i]
        size = np.sqrt(one.steps[i].ravel() @ P @ one.steps[i].ravel())
        assert one.size[i] == pytest.approx(size, rel=1e-8)


def hessian(state, i):
    """Of one edited problem at the fit, in the loss's own outputs."""
    objective, edits = state.objective, state.edits
    before = objective.loss.expand(objective.theta.T).T
    case = problem(objective, edits.rows[i], edits.y[i], edits.weight[i])
    basis = np.kron(objective.loss.basis, np.eye(D + 1))
    return basis.T @ softmax(*case, before)[1] @ basis


@pytest.mark.parametrize("hold", HOLDS)
def test_two_solves_are_woodburys_formula(hold):
    factor = setting(hold)
    edits = edits_of("relabel", factor.objective, np.arange(5))
    state = RowBatch(Accuracy(factor), edits)
    state.use(np.arange(5))
    B = np.random.default_rng(1).standard_normal(state.theta_steps.shape)
    for i, found in enumerate(state.edited_solve(B, np.arange(5))):
        expected = np.linalg.solve(hessian(state, i), B[i].ravel())
        np.testing.assert_allclose(found.ravel(), expected, rtol=1e-8, atol=1e-9)


def test_mixed_iterates_of_a_linear_map_end_where_it_does():
    """Of two dimensions, after two passes before: Anderson's method is exact there."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((2, 2))
    P, C = A @ A.T + np.eye(2), np.array([[0.4, 0.2], [-0.1, 0.5]])
    goal = rng.standard_normal(2)

    def shaped(v):
        return v[None, None, :]

    v, before = np.zeros(2), []
    for _ in range(3):
        after = goal + C @ (v - goal)
        before.append(
            (shaped(v), shaped(-P @ v), shaped(after), shaped(-P @ after), np.array([True]))
        )
        w, b, mixed = row_chords._mixed(before)
        v = w[0, 0]
        np.testing.assert_allclose(b[0, 0], -P @ v, atol=1e-10)
        assert mixed[0] >= 1.0
    np.testing.assert_allclose(v, goal, atol=1e-8)


def test_a_step_that_overshoots_is_tried_again_shorter(monkeypatch):
    factor = setting()
    edits = removals(factor.objective, np.arange(0, N, 4))
    state = RowBatch(Accuracy(factor), edits)
    state.theta_steps *= 12.0
    state.solved *= 12.0
    bound, used = np.full(len(edits.rows), np.inf), np.full(len(edits.rows), "", dtype="<U8")
    state.newton_bound()

    def is_certified(bound, size):
        return bound <= 1e-4 * size

    left = row_chords.by_chords(state, np.arange(len(edits.rows)), is_certified, bound, used)
    assert len(left) < len(edits.rows) / 2


def test_answers_by_blocks_of_rows_are_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    y = np.repeat(np.arange(K), 6)
    X = rng.standard_normal((N, 4)) + rng.standard_normal((K, 4))[y]
    model = LogisticRegression(tol=1e-10, max_iter=5000).fit(X, y)

    def asked():
        influence = Influence(model, X, y)
        return [
            influence.loo_decision_function(method="one-step"),
            influence.loo_decision_function(method="auto"),
            influence.removal_effect(X[:3], y[:3], method="one-step"),
            influence.relabel_effect(X[:3], y[:3], method="auto", indices=[9]),
        ]

    whole = asked()
    monkeypatch.setattr(objective, "KEPT_BYTES", 5 * 8 * (K - 1) ** 2)
    monkeypatch.setattr("skinfluence.solvers.base.KEPT_BYTES", 0)
    monkeypatch.setattr("skinfluence.smooth.answers.ROWS_BYTES", 64 * 7 * (K - 1) ** 2)
    for found, expected in zip(asked(), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_matrices_for_each_row_are_refused_before_they_are_made(monkeypatch):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((N, 60)), np.repeat(np.arange(K), 6)
    model = LogisticRegression(C=0.1).fit(X, y)
    influence = Influence(model, X, y, solver=Exact("dual"))
    monkeypatch.setattr("skinfluence._utils.memory.SURE_BYTES", 0)
    monkeypatch.setattr("skinfluence._utils.memory.available_memory", lambda: 1e5)
    with pytest.raises(MemoryError, match=r"Matrices for each row .* \(8, 48, 7, 7\)"):
        influence.loo_decision_function(method="one-step")


def test_iterates_that_overflow_are_mixed_without_a_word():
    """numpy says nothing of them, and the others are mixed as they would be alone."""
    rng = np.random.default_rng(0)

    def passes(rows):
        return [tuple(one[rows] for one in (*kept, np.ones(4, dtype=bool))) for kept in iterates]

    iterates = [tuple(rng.standard_normal((4, 2, 3)) for _ in range(4)) for _ in range(3)]
    for parts in iterates:
        for one in parts:
            one[1] *= 1e300
            one[2] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = row_chords._mixed(passes(slice(None)))
    fair = [0, 3]
    for one, alone in zip(found, row_chords._mixed(passes(fair)), strict=True):
        np.testing.assert_array_equal(one[fair], alone)
