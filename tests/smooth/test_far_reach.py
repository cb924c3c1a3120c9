"""One step of a softmax on rows that reach far in directions where nothing curves."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence, edits, losses
from skinfluence.design import design_of
from skinfluence.objective import Objective
from skinfluence.smooth.one_step import steps
from skinfluence.solvers import Exact
from tests.oracle.algebra import LD, Factor

N, D, K = 8, 6, 4


def saturated(seed):
    """A softmax at parameters where most rows are sure, its columns in units of fourteen orders."""
    rng = np.random.default_rng(seed)
    X = np.round(3 * rng.standard_normal((N, D))) * np.geomspace(1e-6, 1e8, D)
    X[:, 1] = 0.5 * X[:, 2]
    theta = 6.0 * rng.standard_normal((K - 1, D + 1)) / np.append(np.abs(X).max(axis=0), 1.0)
    loss = losses.SumToZero(losses.Multinomial(K))
    penalty = np.append(np.full(D, 0.03), 0.0)
    return Objective(loss, design_of(X, 1.0), np.arange(N) % K, np.ones(N), penalty, theta)


def defined(method, objective, i):
    """In long double: ``P^-1 J_i' g_i``, with P the Hessian without the row in one step, else with it."""
    Q, theta = objective.loss.basis.astype(LD), objective.theta.astype(LD)
    Z = objective.design.dense_rows().astype(LD)
    eta = Z @ (Q @ theta).T
    p = np.exp(eta - eta.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    pull = (p[i] - np.eye(K)[objective.y[i]]) @ Q
    # sum over pairs of classes of p_a p_b (e_a - e_b)(e_a - e_b)': nothing cancels.
    L = sum(
        (p[:, a] * p[:, b])[:, None, None] * np.outer(Q[a] - Q[b], Q[a] - Q[b])
        for a in range(K)
        for b in range(a)
    )
    kept = (np.arange(N) != i) | (method == "influence")
    P = np.einsum("nkl,nc,nd->kcld", L[kept], Z[kept], Z[kept]).reshape(theta.size, theta.size)
    factor = Factor(P + np.diag(np.tile(objective.penalty.astype(LD), K - 1)))
    step = factor.solve(np.outer(pull, Z[i]).ravel())
    return step.reshape(theta.shape), factor


@pytest.mark.parametrize("method", ["influence", "one-step"])
@pytest.mark.parametrize("seed", range(6))
def test_steps_have_the_digits_of_their_definition(seed, method):
    objective = saturated(seed)
    factor = Exact("primal").factor(objective)
    edits = steps.removals(objective, np.arange(N))
    found = steps.parameter_steps(factor, edits, method)
    own = steps.own_eta_steps(factor, edits, method)
    for i in range(N):
        step, P = defined(method, objective, i)
        size = P.norm(step.ravel())
        assert P.norm((found[i] - step).ravel()) <= 1e-6 * size
        x = objective.design.dense_rows()[i]
        reach = P.inverse_norms(np.kron(np.eye(K - 1), x[:, None])).max()
        assert np.abs(own[i] - step @ x).max() <= 1e-6 * size * reach


def test_rows_that_push_nowhere_make_no_step():
    """None of those that reach far is left to refine."""
    objective = saturated(0)
    factor = Exact("primal").factor(objective)
    still = steps.removals(objective, np.arange(N))
    still = replace(still, gradient=np.zeros_like(still.gradient))
    assert not steps.parameter_steps(factor, still, "one-step").any()


def test_a_rows_own_value_is_the_same_by_its_leverage_and_by_a_solve():
    """Of a softmax at rows that reach far: the change is 1e-8 of what cancels in leverages."""
    X = np.array([[0, 3], [2, 3], [-3, 1], [-2, -3], [-1, 2], [0, -2], [-2, -2], [-3, 2]])
    X, y = X * [3.65e-5, 5.64e3], np.array([0, 2, 3, 3, 0, 1, 3, 1])
    model = LogisticRegression(C=1.1e-3, max_iter=1000).fit(X, y, np.full(8, 428.0))
    inf = Influence(model, X, y, np.full(8, 428.0))
    own = inf.loo_decision_function(method="influence") - model.decision_function(X)
    of = dict(of="decision_function", method="influence")
    for i in (2, 3):
        change = inf.effect(edits.remove(i), X[[i]], **of).values[0]
        np.testing.assert_allclose(own[i], change, atol=1e-5 * np.abs(change).max())
