"""How much memory answers take, and what happens when one would not fit."""

import tracemalloc

import numpy as np
import pytest
from sklearn import linear_model

from skinfluence import Influence
from skinfluence._utils import memory

N, D, M = 6000, 60, 300


@pytest.fixture(scope="module")
def inf():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D))
    y = (X @ rng.standard_normal(D) + rng.standard_normal(N) > 0).astype(int)
    return Influence(linear_model.LogisticRegression(C=0.1, tol=1e-6).fit(X, y), X, y)


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(1)
    return rng.standard_normal((M, D)), rng.integers(0, 2, M)


def peak_of(call):
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_up_loss_needs_its_output_and_a_few_blocks(inf, points, monkeypatch):
    """The design alone is 3 MB, the output 14 MB; with 1 MB blocks the peak is 1.5 outputs."""
    small_blocks(monkeypatch)
    peak, values = peak_of(lambda: inf.influence_up_loss(*points))
    assert values.shape == (M, N)
    assert peak < 1.5 * values.nbytes


def test_removal_effect_needs_its_output_and_a_few_blocks(inf, points, monkeypatch):
    small_blocks(monkeypatch)
    peak, values = peak_of(lambda: inf.removal_effect(*points, method="one-step"))
    # The edits hold one more copy of the design.
    assert peak < 1.6 * values.nbytes + 2 * N * D * 8


def test_top_never_holds_the_full_matrix(inf, points, monkeypatch):
    small_blocks(monkeypatch)
    peak, top = peak_of(lambda: inf.top(*points, k=3, method="one-step"))
    assert top.helpful.shape == (M, 3)
    assert peak < 0.8 * M * N * 8


def test_aggregate_takes_the_memory_of_one_test_point(inf, points, monkeypatch):
    small_blocks(monkeypatch)
    peak, values = peak_of(lambda: inf.influence_up_loss(*points, aggregate="mean"))
    assert values.shape == (N,)
    assert peak < 0.4 * M * N * 8


def small_blocks(monkeypatch, budget=2**20):
    original = memory.row_blocks
    for module in (
        "design.base",
        "design.dense",
        "smooth.one_step.effects",
        "curvature",
        "smooth.derivatives",
    ):
        monkeypatch.setattr(
            f"skinfluence.{module}.row_blocks",
            lambda n, size, *_: original(n, size, budget),
        )


QUESTIONS = {
    "influence_up_loss": lambda inf, X, y: inf.influence_up_loss(X, y),
    "influence_pert": lambda inf, X, y: inf.influence_pert(X, y),
    "influence_up_params": lambda inf, X, y: inf.influence_up_params(),
    "removal_effect": lambda inf, X, y: inf.removal_effect(X, y, method="one-step"),
    "relabel_effect": lambda inf, X, y: inf.relabel_effect(X, y, method="one-step"),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_an_answer_that_cannot_fit_is_refused_before_any_work(ask, inf, points, monkeypatch):
    """With the shape, the size needed, the memory there is, and what to ask instead."""
    monkeypatch.setattr("skinfluence._utils.memory.available_memory", lambda: 2**20)
    with pytest.raises(MemoryError, match=r"array of shape \(.*[KMG]iB.*available.*indices="):
        ask(inf, *points)


def test_what_fits_when_the_full_answer_does_not(inf, points, monkeypatch):
    """The remedies named in the error work under the limit that it names."""
    monkeypatch.setattr("skinfluence._utils.memory.available_memory", lambda: 2**22)
    with pytest.raises(
        MemoryError, match=r"\(300, 6000\) takes [0-9.]+ [KM]iB.*aggregate='mean'.*top"
    ):
        inf.influence_up_loss(*points)
    assert inf.influence_up_loss(*points, aggregate="mean").shape == (N,)
    assert inf.influence_up_loss(*points, indices=range(10)).shape == (M, 10)
    assert inf.top(*points, k=2, method="one-step").helpful.shape == (M, 2)


def test_a_hessian_that_cannot_fit_names_the_other_solver(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 40)), rng.integers(0, 2, 50)
    model = linear_model.LogisticRegression().fit(X, y)
    monkeypatch.setattr("skinfluence._utils.memory.SURE_BYTES", 0)
    monkeypatch.setattr("skinfluence._utils.memory.available_memory", lambda: 1000)
    for solver in ("exact", "auto"):
        with pytest.raises(MemoryError, match=r"Hessian and its factor.*solver='cg'"):
            Influence(model, X, y, solver=solver)


def test_available_memory_is_a_positive_number():
    assert memory.available_memory() > 2**20
