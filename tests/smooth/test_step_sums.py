"""Own values from one product of all steps with all rows, against Newton's method on each edit."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.smooth.one_step.steps import removals
from skinfluence.smooth.pairs.own_values import own_values
from skinfluence.smooth.pairs.step_sums import own_values_along
from skinfluence.smooth.stages import own_solver
from tests.smooth.test_own_values import LOSSES, edits_of
from tests.smooth.test_single_chords import HOLDS, hessian, own_edits, setting, solved


def rescaled_edits(objective, solver, seed, near=0.8):
    """Edits of one shift, each with a penalty of its own."""
    rng = np.random.default_rng(seed)
    for edits in edits_of(objective, rng):
        if objective.hold == "lambda" and np.ndim(edits.one_shift):
            continue
        ratio = rng.uniform(near, 2.0 - near, (len(edits.rows), objective.design.n_columns))
        ratio[:, objective.penalty == 0] = 1.0
        yield solver.start.whitened(edits).edits(replace(edits, ratio=ratio)), ratio


@pytest.mark.parametrize("name", LOSSES)
def test_sums_over_rows_are_those_of_all_changes_and_know_their_rounding(name):
    objective, solver = setting(name, 0, n=300, heavy=True)
    at = solver.start.whitened(removals(objective, np.arange(5)))
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((290, at.rows.shape[1])) * 10.0 ** rng.uniform(-6, 2, (290, 1))
    steps[7] = 0.0
    skip = rng.permutation(300)[:290]
    delta = steps @ at.rows.T
    delta[np.arange(290), skip] = 0.0
    T = objective.weights * objective.loss.third(objective.eta, objective.y)
    W = objective.weights * objective.hessians[:, 0, 0]
    largest, cubes, error, quarts = at.step_sums(steps, skip)
    true = np.abs(delta[:, objective.weights > 0]).max(axis=1)
    assert (largest >= true).all()
    np.testing.assert_allclose(largest, true, rtol=1e-2)
    assert (quarts >= delta**4 @ W).all()
    np.testing.assert_allclose(quarts, delta**4 @ W, rtol=1e-2)
    assert (np.abs(cubes - delta**3 @ T) <= error).all()
    # And no more than single precision asks for.
    assert (error <= 1e-3 * np.abs(delta) ** 3 @ np.abs(T) + 1e-2 * error.max()).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("penalty", [0.05, 3.0])
@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("tall", [False, True])
def test_no_own_value_is_farther_from_the_solved_one_than_its_bound(name, penalty, hold, tall):
    objective, solver = setting(name, 3, hold, n=80, penalty=penalty, heavy=not tall)
    X, certified, asked = objective.design.dense_rows(), 0, 0
    for own, ratio in rescaled_edits(objective, solver, 5, near=0.95):
        found = own_values_along(own, own.at.tall if tall else None)
        certified, asked = certified + found.within(0.1).sum(), asked + len(own)
        for i in np.flatnonzero(np.isfinite(found.bound))[::6]:
            d = solved(objective, own.rows[i], own.y[i], own.weight[i], ratio[i])
            true = X[own.rows[i]] @ d
            assert abs(found.change[i] - true) <= found.bound[i] + 1e-9 * abs(true)
    assert certified > (0.05 if tall else 0.1) * asked


@pytest.mark.parametrize("hold", HOLDS)
def test_steps_along_their_rows_are_judged_as_by_sums_over_pairs(hold):
    objective, solver = setting("logistic", 1, hold, n=90)
    for own in own_edits(objective, solver, 0):
        along, pairs = own_values_along(own), own_values(own)
        fair = np.isfinite(along.bound) & np.isfinite(pairs.bound)
        assert fair.mean() > 0.9
        apart = np.abs(along.change - pairs.change)[fair]
        assert (apart <= (along.bound + pairs.bound)[fair]).all()
        if hold == "C":
            # Nothing is left of z beside the step.
            assert (along.bound[fair] <= 1.1 * pairs.bound[fair] + 1e-6 * own.length[fair]).all()


def test_each_part_of_the_correction_is_needed():
    """The third derivatives along the step alone, or none, would be no bound; the parts are."""
    none = split = checked = 0
    for seed in range(3):
        objective, solver = setting("poisson", seed, n=80, penalty=3.0, heavy=True)
        X = objective.design.dense_rows()
        T = objective.weights * objective.loss.third(objective.eta, objective.y)
        for own, ratio in rescaled_edits(objective, solver, seed, near=0.2):
            gone = np.flatnonzero(own.weight == 0)
            found = own_values_along(own)
            plain = np.einsum("bd,bd->b", own.a, own.begin(own.a))
            for i in gone[::7]:
                P = hessian(objective, own, i, objective.theta[0], ratio[i])
                u = own.at.whole(own.begin(own.a)[[i]])[0]
                z = np.linalg.solve(P, X[own.rows[i]])
                others = np.delete(np.arange(len(X)), own.rows[i])
                delta, weight = X[others] @ u, T[others]
                beta = (z @ P @ u) / (u @ P @ u)
                whole = weight @ (delta**2 * (X[others] @ z))
                part = beta * (weight @ delta**3)
                F = np.sqrt(np.abs(weight) @ delta**4)
                rest = z - beta * u
                size = np.sqrt(rest @ P @ rest)
                # The bound on what is not along the step, alone.
                assert abs(whole - part) <= F * size * (1 + 1e-9) + 1e-15
                true = X[own.rows[i]] @ solved(
                    objective, own.rows[i], own.y[i], own.weight[i], ratio[i]
                )
                checked += 1
                none += abs(plain[i] - true) > found.bound[i]
                split += abs(whole - part) > 0.1 * abs(whole)
    assert checked > 20
    assert none > 2
    assert split > 2


def test_most_rows_behind_a_scaler_need_no_chord(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1200, 6)) * 10.0 ** np.arange(6)
    y = (StandardScaler().fit_transform(X).sum(axis=1) + rng.logistic(size=1200) > 0) * 1
    model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=1000)).fit(X, y)
    counted = []

    def counting(own, tall):
        found = own_values_along(own, tall)
        counted.append(found.within(1e-3).mean())
        return found

    monkeypatch.setattr(own_solver, "own_values_along", counting)
    influence = Influence(model, X, y)
    found = influence.loo_decision_function()
    assert np.mean(counted) > 0.9
    for i in (0, 17, 400):
        kept = np.arange(len(y)) != i
        again = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-12, max_iter=5000))
        true = again.fit(X[kept], y[kept]).decision_function(X[[i]])[0]
        change = true - model.decision_function(X[[i]])[0]
        assert abs(found[i] - true) <= 1e-3 * abs(change) + 1e-7
