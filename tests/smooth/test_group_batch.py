"""Groups solved together are groups solved one by one: the same steps, within their bounds of refits."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone

from skinfluence import Influence, edits
from skinfluence.curvature import Curvature
from skinfluence.edits.points import edited as after_edit
from skinfluence.smooth.answers import SmoothAnswers
from skinfluence.smooth.batches import group_batch
from skinfluence.smooth.batches.group_batch import GroupBatch
from tests.registries import make_data
from tests.truth import polish

TIGHT = {"tol": 1e-12, "max_iter": 1000, "solver": "newton-cholesky"}
MODELS = {
    "ridge": (linear_model.Ridge(2.0, solver="cholesky"), "regression"),
    "logistic": (linear_model.LogisticRegression(C=0.5, **TIGHT), "binary"),
    "no-intercept": (linear_model.LogisticRegression(fit_intercept=False, **TIGHT), "binary"),
    "free": (linear_model.LogisticRegression(C=np.inf, **TIGHT), "binary"),
    "softmax": (linear_model.LogisticRegression(C=0.5, **TIGHT), "softmax"),
    "poisson": (linear_model.PoissonRegressor(alpha=0.1, **TIGHT), "counts"),
    "gamma": (linear_model.GammaRegressor(alpha=0.1, **TIGHT), "amounts"),
    "ridge-classifier": (linear_model.RidgeClassifier(2.0, solver="cholesky"), "softmax"),
}


def case(name, n=160, groups=10, seed=5):
    model, task = MODELS[name]
    X, y = make_data(task, n, 3, seed)
    weight = np.random.default_rng(3).uniform(0.5, 2.0, n)
    influence = Influence(clone(model).fit(X, y, sample_weight=weight), X, y, weight)
    points = [influence.data.resolve(edits.remove(np.arange(g, n, groups))) for g in range(groups)]
    return influence, points


def whole(influence, points):
    """The optimum after an edit, by Newton's method with dense Hessians."""
    return polish(after_edit(influence.answers.edit_solver().objective, points), 12)


@pytest.mark.parametrize("hold", ["auto", "C", "lambda"])
@pytest.mark.parametrize("name", MODELS)
def test_every_bound_holds_and_most_are_met(name, hold):
    influence, points = case(name)
    answers = influence.answers.holding(hold)
    solver = answers.edit_solver()
    batch = GroupBatch(solver)
    assert batch.takes(points).all()
    for tol in (1e-2, 1e-4, 1e-9):
        found, bound, size, used, round_off = batch.solve(points, tol)
        met = bound <= np.maximum(tol * (size - bound), 0.0) + 2.0 * round_off
        assert met.all(), used
        for one, step, most, own in zip(points, found, bound, size, strict=True):
            edited = after_edit(solver.objective, one)
            true = polish(edited, 12).theta - solver.objective.theta
            P = Curvature(edited).dense()
            error = (step - true).ravel()
            assert np.sqrt(error @ P @ error) <= most + 1e-11
            assert own == pytest.approx(np.sqrt(step.ravel() @ P @ step.ravel()), rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_together_is_one_by_one(name, monkeypatch):
    influence, points = case(name)
    together = influence.answers.solve_points(points, "exact", 1e-3)[0]
    monkeypatch.setattr(SmoothAnswers, "batches_groups", False)
    alone = influence.answers.solve_points(points, "exact", 1e-3)[0]
    np.testing.assert_allclose(together, alone, atol=1e-8 * np.abs(alone).max())


@pytest.mark.parametrize("hold", ["C", "lambda"])
@pytest.mark.parametrize("name", ["logistic", "no-intercept", "poisson", "gamma"])
def test_compiled_slopes_give_the_steps_and_bounds_of_others(name, hold, monkeypatch):
    influence, points = case(name)
    batch = GroupBatch(influence.answers.holding(hold).edit_solver())
    # One takes half of the weight of its rows.
    half = points[-1]
    points[-1] = replace(half, row_changes=0.5 * half.row_changes)
    wanted = batch.solve(points, 1e-9)
    monkeypatch.setattr(group_batch, "WORTH_COMPILING", 0.0)
    found = batch.solve(points, 1e-9)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(found[1], wanted[1], rtol=0.1)


@pytest.mark.parametrize("name", ["logistic", "no-intercept", "poisson", "gamma"])
def test_third_derivatives_save_a_pass_over_the_rows(name, monkeypatch):
    influence, points = case(name, n=600, groups=30)
    solver, looks = influence.answers.edit_solver(), []
    look = GroupBatch._gradients

    def counted(batch, points, *others):
        looks.append(len(points))
        return look(batch, points, *others)

    monkeypatch.setattr(GroupBatch, "_gradients", counted)
    found, bound, *_ = GroupBatch(solver).solve(points, 1e-9)
    bent = sum(looks)
    looks.clear()
    monkeypatch.setattr(group_batch, "COPIED", 0)
    wanted = GroupBatch(solver).solve(points, 1e-9)[0]
    np.testing.assert_allclose(found, wanted, atol=1e-8 * np.abs(wanted).max())
    assert bent <= sum(looks) - 15, (bent, looks)
    for one, step, most in list(zip(points, found, bound, strict=True))[::10]:
        true = whole(influence, one).theta - solver.objective.theta
        np.testing.assert_allclose(step, true, atol=10 * most + 1e-10)


def test_weights_that_fall_and_rows_of_weight_zero_are_edits_like_others():
    influence, _ = case("logistic")
    weight = np.array(influence.objective.weights)
    points = [
        influence.data.resolve(edits.reweight(np.arange(g, 160, 10), 0.3 * weight[g::10]))
        for g in range(10)
    ]
    solver = influence.answers.edit_solver()
    found, bound, *_ = GroupBatch(solver).solve(points, 1e-9)
    for one, step, most in zip(points, found, bound, strict=True):
        true = whole(influence, one).theta - solver.objective.theta
        np.testing.assert_allclose(step, true, atol=10 * most + 1e-10)


def test_blocks_of_groups_are_groups(monkeypatch):
    influence, points = case("softmax")
    solver = influence.answers.edit_solver()
    expected = GroupBatch(solver).solve(points, 1e-9)[0]
    monkeypatch.setattr(
        "skinfluence.smooth.batches.group_batch.row_blocks",
        lambda n, *_: (slice(i, min(i + 3, n)) for i in range(0, n, 3)),
    )
    np.testing.assert_allclose(GroupBatch(solver).solve(points, 1e-9)[0], expected, atol=1e-10)


def test_what_is_not_a_removal_or_too_few_goes_one_by_one():
    influence, points = case("logistic")
    batch = GroupBatch(influence.answers.edit_solver())
    added = influence.data.resolve(edits.add(np.zeros(3), "yes"))
    raised = influence.data.resolve(edits.reweight(3, 9.0))
    assert batch.takes([*points, added, raised]).tolist() == [True] * 10 + [False] * 2
    assert not batch.takes(points[:5]).any()


def test_a_group_that_decides_a_coefficient_is_left_to_single_edits():
    X, y = make_data("binary", 120, 3, 5)
    X = np.column_stack([X, np.zeros(120)])
    X[:10, -1] = np.linspace(-1, 1, 10)
    model = linear_model.LogisticRegression(C=1e8, **TIGHT).fit(X, y)
    influence = Influence(model, X, y)
    points = [influence.data.resolve(edits.remove(np.arange(g, g + 10))) for g in range(0, 120, 10)]
    batch = GroupBatch(influence.answers.edit_solver())
    if batch.takes(points).all():
        _, bound, size, _, round_off = batch.solve(points, 1e-6)
        assert not bound[0] <= 1e-6 * (size[0] - bound[0]) + 2 * round_off[0]


def test_least_eigenvalues_are_never_taken_to_be_larger_than_they_are():
    """Near the identity less by a little; far from it what they are, to round-off."""
    rng = np.random.default_rng(0)
    half = rng.standard_normal((40, 6, 3)) * np.geomspace(1e-3, 0.6, 40)[:, None, None]
    A = np.eye(6) - half @ half.transpose(0, 2, 1)
    found, least = group_batch._least_of(A), np.linalg.eigvalsh(A)[:, 0]
    assert (found <= least + 1e-14).all()
    assert (least - found <= 0.1).all()
    far = least < 0.9
    assert 5 < np.count_nonzero(far) < 35
    np.testing.assert_array_equal(found[far], least[far])
