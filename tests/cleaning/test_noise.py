"""Overlap is not taken for errors, and errors are not taken for overlap."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from skinfluence.cleaning import audit
from skinfluence.cleaning.noise import estimate_noise
from skinfluence.datasets import load_demo
from skinfluence.linear_model import LogisticRegression


def audited(X, y):
    model = LogisticRegression(solver="newton-cg", tol=1e-8, max_iter=500).fit(X, y)
    return audit(model, X, y)


def logistic_rows(n, coef, intercept, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 6))
    eta = X[:, : len(coef)] @ coef + intercept
    return X, np.where(rng.uniform(size=n) < 1 / (1 + np.exp(-eta)), "yes", "no")


def test_constant_features_accuse_nobody():
    found = audited(np.ones((200, 1)), np.repeat(["yes", "no"], [124, 76]))
    assert (found.table["action"] == "keep").all() and found.noise_share == 0
    assert "no better than the class shares" in found.notes[0]


@pytest.mark.parametrize("seed", range(3))
def test_pure_noise_accuses_nobody(seed):
    rng = np.random.RandomState(seed)
    y = np.where(rng.uniform(size=1000) < 0.7, "a", "b")
    found = audited(rng.normal(size=(1000, 10)), y)
    assert (found.table["action"] == "keep").all()
    assert found.notes


@pytest.mark.parametrize(
    ("coef", "intercept"),
    [((0.5, 0.3, 0.2), -1.5), ((0.6, 0.3), -3.0), ((3.0, 2.0, 1.0), 0.0)],
    ids=["weak", "weak and imbalanced", "strong"],
)
@pytest.mark.parametrize("seed", range(3))
def test_overlap_alone_accuses_nobody(coef, intercept, seed):
    found = audited(*logistic_rows(1000, coef, intercept, seed))
    assert (found.table["action"] != "keep").sum() <= 10
    assert found.noise_share < 0.02


def test_errors_beside_overlap_are_found():
    X, y = logistic_rows(3000, (5.0, 4.0, 2.0), -2.0)
    flipped = np.random.RandomState(1).uniform(size=len(y)) < 0.05
    found = audited(X, np.where(flipped, np.where(y == "yes", "no", "yes"), y))
    assert found.noise_share == pytest.approx(0.05, abs=0.025)
    relabelled = found.table.loc[found.table["action"] == "relabel", "row"]
    assert len(relabelled) > 40 and flipped[relabelled].mean() > 0.85


def test_the_chances_of_a_row_sum_to_one():
    rng = np.random.RandomState(0)
    proba = rng.dirichlet(np.full(4, 0.05), size=500)
    codes = np.where(rng.uniform(size=500) < 0.1, rng.randint(4, size=500), proba.argmax(axis=1))
    noise = estimate_noise(proba, codes)
    assert 0.03 < noise.share < 0.15
    np.testing.assert_allclose(noise.posterior.sum(axis=1), 1)


def test_no_suggestion_leaves_a_class_without_rows():
    """Two labels that contradict all their neighbours are the whole of their class."""
    demo = load_demo("wine", flip_share=0.1)
    X, y = StandardScaler().fit_transform(demo.X), demo.y.astype("<U9")
    odd = np.flatnonzero(y == "class_0")[[3, 30]]
    y[odd] = "zero"
    model = LogisticRegression(C=0.1, solver="newton-cg", tol=1e-8).fit(X, y)
    found = audit(model, X, y)
    plan = found.plan()
    assert len(plan.relabel) > 5 and not np.isin(odd, plan.relabel).any()
    assert "zero" in found.apply(X)[1]
    assert any("'zero'" in note for note in found.notes)
