"""Overlap is not taken for errors, and errors are not taken for overlap."""

import tracemalloc

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from skinfluence.cleaning import audit
from skinfluence.cleaning.likelihood import LabelLikelihood
from skinfluence.cleaning.noise import estimate_noise
from skinfluence.cleaning.shapes import Kinds, Likelihood
from skinfluence.datasets import load_demo
from skinfluence.linear_model import LogisticRegression
from tests.fewer import LONG


def audited(X, y):
    model = LogisticRegression(solver="newton-cg", tol=1e-8, max_iter=500).fit(X, y)
    return audit(model, X, y)


def logistic_rows(n, coef, intercept, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 6))
    eta = X[:, : len(coef)] @ coef + intercept
    return X, np.where(rng.uniform(size=n) < 1 / (1 + np.exp(-eta)), "yes", "no")


def test_a_model_that_knows_nothing_accuses_nobody_and_vouches_for_nobody():
    found = audited(np.ones((200, 1)), np.repeat(["yes", "no"], [124, 76]))
    assert (found.table["action"] == "keep").all()
    assert found.table["error_proba"].isna().all() and np.isnan(found.noise_share)
    assert "no better than the class shares" in found.notes[0]


@pytest.mark.parametrize("seed", range(3))
def test_pure_noise_accuses_nobody(seed):
    rng = np.random.RandomState(seed)
    y = np.where(rng.uniform(size=1000) < 0.7, "a", "b")
    found = audited(rng.normal(size=(1000, 10)), y)
    assert (found.table["action"] == "keep").all()
    assert found.notes


OVERLAPS = {
    "weak": ((0.5, 0.3, 0.2), -1.5),
    "weak and imbalanced": ((0.6, 0.3), -3.0),
    "strong": ((3.0, 2.0, 1.0), 0.0),
}


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_overlap_alone_accuses_nobody(overlap):
    """One set in hundreds happens to look like errors on one side: none of these."""
    for seed in range(1, 9 if LONG else 5):
        found = audited(*logistic_rows(1000, *OVERLAPS[overlap], seed))
        assert (found.table["action"] == "keep").all() and not found.noise.claimed


def test_errors_beside_overlap_are_found():
    X, y = logistic_rows(3000, (5.0, 4.0, 2.0), -2.0)
    flipped = np.random.RandomState(1).uniform(size=len(y)) < 0.05
    found = audited(X, np.where(flipped, np.where(y == "yes", "no", "yes"), y))
    assert found.noise_share == pytest.approx(0.05, abs=0.025)
    relabelled = found.table.loc[found.table["action"] == "relabel", "row"]
    assert len(relabelled) > 40 and flipped[relabelled].mean() > 0.85


def rows_of_known_noise(T, n, seed, spread=4.0):
    """The chances of the true classes, labels drawn from them, and what they are given as."""
    rng = np.random.RandomState(seed)
    K = len(T)
    eta = spread * rng.normal(size=(n, K))
    q = np.exp(eta - eta.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    true = (rng.uniform(size=(n, 1)) > q.cumsum(axis=1)).sum(axis=1)
    given = (rng.uniform(size=(n, 1)) > T.cumsum(axis=1)[true]).sum(axis=1)
    return q, true, given


def noise_matrix(K, **cells):
    """The identity but for cells named like ``c01=0.1``: class 0 given as class 1."""
    T = np.eye(K)
    for name, chance in cells.items():
        true, given = int(name[1]), int(name[2])
        T[true, given] += chance
        T[true, true] -= chance
    return T


EVEN_3 = np.full((3, 3), 0.04) + 0.88 * np.eye(3)
SHAPES = {
    "both of two": noise_matrix(2, c01=0.1, c10=0.1),
    "one of two": noise_matrix(2, c10=0.15),
    "two, unequally": noise_matrix(2, c01=0.03, c10=0.2),
    "even of three": EVEN_3,
    "one given as another": noise_matrix(4, c20=0.2),
    "two pairs": noise_matrix(4, c20=0.2, c31=0.12),
    "one given as any other": noise_matrix(4, c10=0.08, c12=0.08, c13=0.08),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_noise_matrix_is_recovered(shape):
    T = SHAPES[shape]
    for seed in range(2):
        q, true, given = rows_of_known_noise(T, 3000, seed)
        noise = estimate_noise(q, given)
        assert noise.claimed
        assert noise.share == pytest.approx((true != given).mean(), abs=0.02)
        np.testing.assert_allclose(noise.matrix, T, atol=0.05)
        np.testing.assert_allclose(noise.matrix.sum(axis=1), 1)
        np.testing.assert_allclose(noise.posterior(q, given).sum(axis=1), 1)


@pytest.mark.parametrize("K", [2, 5])
def test_clean_labels_are_left_alone(K):
    claimed = [estimate_noise(q, g).claimed for q, _, g in clean_sets(K, 8)]
    assert sum(claimed) <= 1


def clean_sets(K, n_seeds):
    return [rows_of_known_noise(np.eye(K), 1000, seed, spread=2.0) for seed in range(n_seeds)]


def test_chances_of_the_right_labels_sum_to_one_in_doubt():
    """Whether there are errors at all is a shape among the others, with its weight."""
    doubtful = 0
    for q, _, g in clean_sets(2, 5):
        noise = estimate_noise(q[:200], g[:200])
        doubtful += 0.05 < noise.weights[0] < 0.95
        np.testing.assert_allclose(noise.posterior(q, g).sum(axis=1), 1.0)
    assert doubtful


@pytest.mark.parametrize("K", [2, 5])
def test_what_cannot_be_excluded_is_small_where_classes_are_clear_cut(K):
    """And says so: a note with the largest share that the labels allow."""
    for q, _, g in clean_sets(K, 3):
        (note,) = estimate_noise(q, g).notes
        assert note.startswith("No errors are claimed") and "Up to " in note
        assert 0 < float(note.split("Up to ")[1].split(" %")[0]) < 15


def test_who_said_which_class_was_mislabelled_is_not_asked_to_say_so():
    q, _, g = clean_sets(2, 1)[0]
    (note,) = estimate_noise(q, g).notes
    assert "say so with" in note
    (note,) = estimate_noise(q, g, suspect=("true", 1)).notes
    assert note.startswith("No errors are claimed") and "suspect" not in note


def test_the_largest_share_is_where_the_likelihood_has_fallen_by_its_bound():
    q, _, given = rows_of_known_noise(noise_matrix(2, c10=0.02), 1500, 0, spread=2.0)
    likelihood = Likelihood(np.log(q), given)
    shape = likelihood.fit([("true", 1)])
    largest = likelihood.largest(shape)
    grid = np.linspace(shape.shares[-1], 0.3, 60)
    falls = [shape.value - likelihood.fit([("true", 1)], held=share).value for share in grid]
    assert largest == pytest.approx(np.interp(1.92, falls, grid), abs=0.01)


@pytest.mark.parametrize("around", [False, True])
def test_slopes_and_curvatures_are_those_of_finite_differences(around):
    q, _, given = rows_of_known_noise(SHAPES["two pairs"], 300, 0)
    rng = np.random.RandomState(0)
    more = (rng.normal(size=q.shape), rng.dirichlet(np.ones(4), 300)) if around else ()
    likelihood = LabelLikelihood(np.log(q), given, *more)
    kinds = Kinds.of([("even",), ("true", 1), ("given", 2), ("cell", 0, 3)], 4)
    heed = [0.7, 0.2] if around else []
    at = np.array([0.3, 0.1, -0.4, 0.2, 0.0, *heed, 0.1, 0.08, 0.05, 0.12])
    _, slope, curved = likelihood.parts(at, kinds)
    # Central differences at 1e-5 in float64.
    ends = [
        [likelihood.parts(at + side * one, kinds)[:2] for side in (1e-5, -1e-5)]
        for one in np.eye(len(at))
    ]
    np.testing.assert_allclose(slope, [(a[0] - b[0]) / 2e-5 for a, b in ends], atol=1e-8)
    np.testing.assert_allclose(curved, [(b[1] - a[1]) / 2e-5 for a, b in ends], atol=1e-6)


def test_fits_end_as_high_as_those_of_another_method():
    """Where errors are absent from one class, and from all: shares end at their bounds."""
    for T in (noise_matrix(2), noise_matrix(2, c10=0.1), SHAPES["two pairs"]):
        q, _, given = rows_of_known_noise(T, 400, 1)
        k = len(T)
        likelihood = Likelihood(np.log(q), given)
        names = [("true", i) for i in range(k)]
        kinds, free = Kinds.of(names, k), [(None, None)] * k
        found = minimize(
            lambda at, of=likelihood, kinds=kinds: tuple(-one for one in of.parts(at, kinds)[:2]),
            np.r_[0.2, np.zeros(k), np.full(k, 0.02)],
            jac=True,
            method="L-BFGS-B",
            bounds=[(-4, 4), *free, *[(0, 1)] * k],
            options={"ftol": 1e-15, "gtol": 1e-9},
        )
        assert likelihood.fit(names).value > -400 * found.fun - 1e-5


@pytest.mark.parametrize("T", [noise_matrix(2, c10=0.7), noise_matrix(3, c10=0.6, c01=0.6)])
def test_classes_cannot_swap_their_names(T):
    for seed in range(3):
        q, _, given = rows_of_known_noise(T, 1000, seed)
        noise = estimate_noise(q, given)
        assert all((np.diag(s.T)[:, None] >= s.T).all() for s in noise.shapes)


@pytest.mark.parametrize("shape", ["one of two", "one given as another"])
def test_one_sided_errors_come_before_surprising_right_labels(shape):
    """Labels of the other classes are right however surprising: the loss does not know that."""
    for seed in range(4):
        q, true, given = rows_of_known_noise(SHAPES[shape], 3000, seed, spread=2.0)
        wrong, loss = true != given, -np.log(q[np.arange(3000), given])
        by_loss = average_precision_score(wrong, loss)
        noise = estimate_noise(q, given)
        assert average_precision_score(wrong, noise.log_odds(q, given)) > by_loss + 0.05


def test_even_errors_are_ranked_as_the_loss_ranks_them():
    for seed in range(4):
        q, true, given = rows_of_known_noise(EVEN_3, 2000, seed, spread=2.0)
        loss = -np.log(q[np.arange(2000), given])
        order = estimate_noise(q, given).log_odds(q, given)
        scores = [average_precision_score(true != given, by) for by in (order, loss)]
        assert scores[0] > scores[1] - 0.005


def test_a_suspect_is_believed_where_the_labels_do_not_tell():
    gains = []
    for seed in range(4):
        q, true, given = rows_of_known_noise(noise_matrix(2, c10=0.1), 400, seed, spread=0.7)
        wrong = true != given
        told = estimate_noise(q, given, suspect=("true", 1))
        log_odds = told.log_odds(q, given)
        assert np.isneginf(log_odds[given == 1]).all()
        untold = estimate_noise(q, given).log_odds(q, given)
        gains.append(
            average_precision_score(wrong, np.maximum(log_odds, -1e9))
            - average_precision_score(wrong, untold)
        )
    assert np.mean(gains) > 0.05


@pytest.mark.parametrize("suspect", [("true", 2), ("given", 0)])
def test_a_suspect_names_the_true_class_or_the_given_one(suspect):
    q, _, given = rows_of_known_noise(SHAPES["one given as another"], 2000, 0)
    noise = estimate_noise(q, given, suspect=suspect)
    wrong = noise.matrix - np.diag(np.diag(noise.matrix))
    named = wrong[2] if suspect[0] == "true" else wrong[:, 0]
    assert named.sum() == pytest.approx(wrong.sum()) and wrong[2, 0] == pytest.approx(0.2, abs=0.05)


def test_many_classes_are_no_matter():
    q, _, given = rows_of_known_noise(noise_matrix(9, c20=0.3), 1500, 0, spread=6.0)
    noise = estimate_noise(q, given)
    assert noise.matrix[2, 0] == pytest.approx(0.3, abs=0.08)


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


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_a_few_errors_of_one_class_among_ten_are_told_from_even_ones(share):
    """Nine members of one class: the single kind that explains them is among the shapes."""
    T = np.eye(10)
    T[3] = share / 9
    T[3, 3] = 1 - share
    q, true, given = rows_of_known_noise(T, 1800, 2, spread=6.0)
    noise = estimate_noise(q, given)
    assert noise.shapes[noise.weights.argmax()].names == (("true", 3),)
    loss = -np.log(q[np.arange(1800), given])
    scores = [average_precision_score(true != given, by) for by in (noise.log_odds(q, given), loss)]
    assert scores[0] > scores[1] + 0.05


def test_noise_among_many_classes_takes_no_memory_for_pairs_of_pairs_of_classes():
    """Of 60 classes these alone would be 104 MB."""
    rng = np.random.default_rng(0)
    k, n = 60, 180
    codes = np.repeat(np.arange(k), n // k)
    logits = rng.standard_normal((n, k)) + 5.0 * np.eye(k)[codes]
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes[::30] = (codes[::30] + 1) % k
    estimate_noise(proba, codes)
    tracemalloc.start()
    try:
        estimate_noise(proba, codes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * k**4 / 2
