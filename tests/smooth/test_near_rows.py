"""Rows that no edit moves far, taken to second order, against their exact remainders and refits."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from skinfluence import Influence
from skinfluence.smooth.chords.near_rows import FarRows, NearRows
from skinfluence.smooth.chords.single_chords import _Chords
from skinfluence.smooth.pairs.third_powers import ThirdPowers
from tests.smooth.test_single_chords import HOLDS, SINGLE, adjoint, hessian, own_edits, setting
from tests.smooth.test_single_chords import solved as solved_from
from tests.smooth.test_step_sums import rescaled_edits


def some_far(at, share=0.2):
    """Rows of largest leverage, and a few at random."""
    h = np.einsum("ij,ij->i", at.rows, at.rows)
    order = np.argsort(-h)
    return np.sort(np.append(order[: int(share * len(h))], order[-3:]))


def settings(name, hold, seed=0):
    """Edits with their penalty's ratios, held and moved, each with near rows."""
    objective, solver = setting(name, seed, hold, n=120, penalty=1.0)
    for own in own_edits(objective, solver, seed):
        yield objective, solver, own, np.ones((len(own), 1))
    for own, ratio in rescaled_edits(objective, solver, seed, near=0.9):
        yield objective, solver, own, ratio


def shortened(own, by):
    """Steps that move rows by less: an edit that does a part of what it does."""
    return by * own.begin(own.a)


@pytest.mark.parametrize("n", [37, 2500])
def test_third_powers_are_those_of_the_rows_and_know_their_rounding(n, rng):
    rows, third = rng.standard_normal((n, 6)) * 1e-3, rng.standard_normal(n)
    vectors = rng.standard_normal((1100, 6)) * 10.0 ** rng.uniform(-6, 2, (1100, 1))
    vectors[3] = 0.0
    tensor, delta = ThirdPowers(rows, third), vectors @ rows.T
    turned, rounding = tensor.turned(vectors)
    true = delta**2 * third @ rows
    assert (np.linalg.norm(turned - true, axis=1) <= rounding).all()
    assert np.abs(turned - true).max() <= 1e-4 * np.abs(true).max()
    size = np.linalg.norm(vectors, axis=1)
    assert (np.abs(tensor.cubes(vectors) - delta**3 @ third) <= tensor.rounding * size**3).all()


@pytest.mark.parametrize("heavy", [0.0, 1e-40])
def test_third_powers_know_what_underflows_beside_a_row_that_is_far_larger(heavy, rng):
    rows, third = rng.standard_normal((40, 3)), rng.standard_normal(40)
    rows[7], third[7] = 1e14, heavy
    vectors = rng.standard_normal((20, 3))
    turned, rounding = ThirdPowers(rows, third).turned(vectors)
    true = (vectors @ rows.T) ** 2 * third @ rows
    assert (np.linalg.norm(turned - true, axis=1) <= rounding).all()
    assert np.isfinite(rounding).all()
    # A row without a third derivative is no part of it.
    assert heavy or (rounding <= 1e-2 * np.linalg.norm(true, axis=1).max()).all()


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("hold", HOLDS)
def test_what_a_pass_leaves_out_is_bounded_part_by_part(name, hold):
    """The gradient, and each sum, over all rows but the edited one."""
    tight = 0
    for objective, solver, own, ratio in settings(name, hold):
        own = own.take(np.flatnonzero(own.are_bounded))
        at, a = own.at, own.a
        near, w = NearRows(at, some_far(at)), shortened(own, 0.3)
        S, sums = np.zeros_like(w), np.zeros((7, len(own)))
        lost = near.add(own, a, w, S, sums, 1.0)
        weights, loss, eta = objective.weights, objective.loss, objective.eta[:, 0]
        second = weights * objective.hessians[:, 0, 0]
        there = np.ones(len(at.rows), dtype=bool)
        there[near.far] = False
        delta = w @ at.rows.T
        sizes = solver.accuracy.row_sizes
        for i in range(0, len(own), 7):
            others = there & (weights > 0)
            others[own.rows[i]] = False
            moved = delta[i, others, None]
            rho = (
                weights[others]
                * loss.remainder(objective.eta[others], objective.y[others], moved)[:, 0]
            )
            apart = S[i] - rho @ at.rows[others]
            # In the norm of P^-1.
            P = hessian(objective, own, i, objective.theta[0], ratio[i if len(ratio) > 1 else 0])
            size = np.linalg.norm(np.linalg.solve(np.linalg.cholesky(P), adjoint(at, apart)))
            assert size <= lost[i] * (1 + 1e-6) + 1e-13
            tight += size > 0.02 * lost[i] > 1e-12
            q = loss.hessian(eta[others, None] + moved, objective.y[others])[:, 0, 0]
            q = weights[others] * q / second[others]
            z = own.take([i]).directions(a[[i]])[0] @ at.rows[others].T
            W = second[others]
            if np.isfinite(sums[0, i]):
                assert sums[0, i] >= own.M * np.abs(moved).max()
                assert sums[2, i] >= (1 - 1e-9) * W @ ((q - 1) ** 2 * z**2)
                assert sums[3, i] >= (1 - 1e-9) * W @ (q**2 * z**2)
                assert sums[4, i] >= (1 - 1e-9) * W @ ((q - 1) ** 2 * sizes[others])
    assert tight > 0


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("hold", HOLDS)
def test_no_step_and_no_own_value_is_farther_from_the_solved_one_than_its_bound(name, hold):
    certified = asked = 0
    for objective, solver, own, ratio in settings(name, hold, seed=1):
        at, X = own.at, objective.design.dense_rows()
        near = NearRows(at, some_far(at))
        at.chords.near, at.chords.far = near, at.chords._among(near.far)
        far = at.chords.moved(own, np.arange(objective.n_samples))
        chords = _Chords(at.chords, own, far, near)
        limits, _, after, _ = chords.parameters()
        values, own_limits, _, _ = _Chords(at.chords, own, far, near).own_values()
        certified += (own_limits <= 0.1 * np.abs(values)).sum()
        asked += len(own)
        for k in range(0, len(chords.open), 5):
            i = chords.open[k]
            share = ratio[i] if len(ratio) > 1 else 1.0
            d = solved_from(objective, own.rows[i], own.y[i], own.weight[i], share)
            P = hessian(objective, own, i, objective.theta[0], share)
            error = at.whole(after[[k]])[0] - d
            floor = 2.0 * solver.accuracy.floor + 1e-9 * np.sqrt(d @ P @ d)
            assert np.sqrt(error @ P @ error) <= limits[k] + floor
            true = X[own.rows[i]] @ d
            assert abs(values[k] - true) <= own_limits[k] + 1e-9 * abs(true)
    assert certified > 0.02 * asked


def table(rng, n=1500, d=4):
    X = rng.standard_normal((n, d))
    return X, (X.sum(axis=1) + rng.logistic(size=n) > 0).astype(int)


def fit(X, y):
    return LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12).fit(X, y)


@pytest.mark.parametrize("kept", [np.asarray, sp.csr_array])
def test_effects_in_a_tall_table_are_those_of_refits_with_hardly_a_row_read(kept, rng, monkeypatch):
    X, y = table(rng)
    X = kept(X * (rng.random(X.shape) < 0.6))
    read, original = [], _Chords._block

    def block(self, own, *rest):
        read.append(len(own) * len(self._rows.rows))
        return original(self, own, *rest)

    monkeypatch.setattr(_Chords, "_block", block)
    model = fit(X, y)
    found = Influence(model, X, y).removal_effect(X[:20], of="decision_function")
    assert read and sum(read) < 0.3 * len(y) ** 2
    for i in (0, 700, 1_499):
        others = np.delete(np.arange(len(y)), i)
        change = fit(X[others], y[others]).decision_function(X[:20]) - model.decision_function(
            X[:20]
        )
        assert np.linalg.norm(found[:, i] - change) <= 2e-3 * np.linalg.norm(change) + 1e-10


def test_few_edits_and_wide_tables_have_passes_over_all_rows(rng):
    objective, solver = setting("logistic", 0, n=300, d=6)
    own = next(own_edits(objective, solver, 0))
    assert FarRows(own.at).cheapest(own.take(np.arange(3)), 1e-3) is None
    objective, solver = setting("logistic", 0, n=60, d=30)
    own = next(own_edits(objective, solver, 0))
    assert FarRows(own.at).cheapest(own, 1e-3) is None


def test_answers_are_the_same_whatever_was_asked_before():
    """A tensor that effects made is not for own values that would not have made one."""
    X = np.random.default_rng(0).standard_normal((40, 3))
    y = np.random.default_rng(1).poisson(np.exp(0.3 * X[:, 0]))
    model = PoissonRegressor(tol=1e-10).fit(X, y)

    def answers(*questions):
        inf = Influence(model, X, y, hold="lambda")
        ask = {
            "own": inf.loo_decision_function,
            "effects": lambda: inf.removal_effect(X[:5], of="decision_function"),
        }
        return {name: ask[name]() for name in questions}

    one, other = answers("own", "effects"), answers("effects", "own")
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])
