"""Where a model cannot follow the data, the labels around a row say so; a wrong label stands alone."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_array
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from skinfluence.cleaning import audit
from skinfluence.cleaning.likelihood import USUAL_HEED
from skinfluence.cleaning.neighbours import nearest_rows
from skinfluence.cleaning.noise import estimate_noise
from skinfluence.cleaning.surroundings import (
    AROUND,
    UNSEEN,
    heeded,
    local_probabilities,
    surroundings,
)
from skinfluence.cleaning.surroundings import (
    misfit as misfit_of,
)
from skinfluence.datasets import load_demo
from skinfluence.linear_model import LogisticRegression


def misfit(n=600, seed=0):
    """Two classes in clusters that no plane separates, none of whose labels is wrong."""
    X, y = make_classification(
        n,
        20,
        n_informative=8,
        n_redundant=2,
        n_clusters_per_class=1,
        class_sep=0.6,
        flip_y=0,
        random_state=seed,
    )
    return StandardScaler().fit_transform(X), y


def audited(X, y):
    return audit(LogisticRegression(C=0.1).fit(X, y), X, y, effects=False, method="one-step")


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def follows(n=500, k=3, seed=0):
    """Rows, probabilities and labels drawn from them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    proba = softmax(2.0 * X[:, :k])
    codes = (rng.random(n)[:, None] > proba.cumsum(axis=1)).sum(axis=1)
    return X, proba, codes


def test_right_labels_of_a_model_that_cannot_follow_the_data_are_let_alone():
    X, y = misfit()
    assert (audited(X, y).table["action"] != "keep").mean() < 0.01


def test_errors_beside_a_misfit_are_ranked_before_it():
    X, y = misfit()
    wrong = np.random.default_rng(0).random(len(y)) < 0.1
    given = np.where(wrong, 1 - y, y)
    found = audited(X, given)
    by_loss = found.table.sort_values("row")["loo_loss"]
    score = -found.table.sort_values("row")["rank"]
    gain = average_precision_score(wrong, score) - average_precision_score(wrong, by_loss)
    assert gain > 0.05


def test_where_the_model_is_right_the_surroundings_are_not_heeded():
    X, proba, codes = follows()
    moved = local_probabilities(proba, codes, surroundings(X))
    assert np.abs(moved - proba).mean() < 0.01


def patches(n=400, seed=0):
    """Labels in patches of the plane, nearly all as their patch says, and a model that is sure of one side."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 2))
    right = (np.floor(3 * X).sum(axis=1) % 2).astype(int)
    codes = np.where(rng.random(n) < 0.08, 1 - right, right)
    side = (X[:, 0] > 1 / 3).astype(int)
    proba = np.where(np.eye(2)[np.where(rng.random(n) < 0.1, right, side)] == 1, 0.999, 0.001)
    return X, proba, codes, right


def test_where_the_model_is_sure_and_wrong_the_labels_around_outvote_it():
    X, proba, codes, right = patches()
    heed = heeded(proba, codes, surroundings(X))
    local = local_probabilities(proba, codes, surroundings(X), heed)
    assert heed.votes > 0.3
    before, after = ((one.argmax(axis=1) == right).mean() for one in (proba, local))
    assert before < 0.7 and after > 0.85


def test_where_the_model_is_right_the_labels_around_have_no_vote():
    X, proba, codes = follows()
    assert heeded(proba, codes, surroundings(X)).votes == 0.0


def tilted(n):
    """A model of three classes that leans one way in half of the space, the other way in the rest."""
    X, proba, codes = follows(n)
    return X, softmax(np.log(proba) + np.sign(X[:, 3:]) * [0.8, 0.0, -0.8]), codes


@pytest.mark.parametrize("data, voted", [(patches(200)[:3], True), (tilted(200), False)])
def test_votes_and_moves_are_those_of_the_highest_likelihood(data, voted):
    """Written out, with slopes by finite differences; the logarithm of the rows as the price of votes."""
    X, proba, codes = data
    proba = 0.9 * proba + 0.1 / proba.shape[1]
    n, K = proba.shape
    around, labels = surroundings(X), np.eye(proba.shape[1])[codes]
    k = around.shape[1]
    surplus = (labels - proba)[around].mean(axis=1)
    weight = 2 - (2 * np.arange(k) + 1) / k
    votes = (np.einsum("j,ijc->ic", weight, labels[around]) + labels.mean(axis=0)) ** 1.5
    votes /= votes.sum(axis=1, keepdims=True)

    def downhill(parameters):
        log_a, b, c, v, shares = np.split(parameters, [1, 1 + K, 2 + K, 3 + K])
        q = softmax(np.exp(log_a) * np.log(proba) + b + c * surplus)
        q = (1 - v) * q + v * votes
        T = np.eye(K) * (1 - shares)[:, None] + (1 - np.eye(K)) * shares[:, None] / (K - 1)
        prior = (log_a[0] - 0.2) ** 2 + b @ b + (c[0] / USUAL_HEED) ** 2
        return 0.5 * prior - np.log((q @ T)[np.arange(n), codes]).sum()

    def best(most):
        bounds = [(-4, 4), *[(None, None)] * K, (0, None), (0, most), *[(0, 0.5)] * K]
        start = np.concatenate([[0.2], np.zeros(K + 1), [min(most, 0.1)], np.full(K, 0.05)])
        return minimize(downhill, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12})

    without, mixed = best(0.0), best(0.95)
    assert (without.fun - mixed.fun > np.log(n)) == voted
    found = mixed if voted else without
    a, c, v = np.exp(found.x[0]), found.x[1 + K], found.x[2 + K]
    heed = heeded(proba, codes, around)
    assert c > 1 and (v > 0.1) == voted
    np.testing.assert_allclose([heed.sharpness, heed.moved, heed.votes], [a, c / a, v], atol=0.02)


def test_a_row_without_an_answer_has_none_and_says_nothing():
    X, proba, codes = follows()
    around = surroundings(X)
    proba[7] = np.nan
    moved = local_probabilities(proba, codes, around)
    other = codes.copy()
    other[7] = (codes[7] + 1) % 3
    assert np.isnan(moved[7]).all() and np.isfinite(np.delete(moved, 7, axis=0)).all()
    np.testing.assert_array_equal(moved, local_probabilities(proba, other, around))


@pytest.mark.parametrize("sparse", [False, True])
def test_the_rows_around_are_the_nearest_of_those_looked_at(sparse):
    rng = np.random.default_rng(0)
    X = np.abs(rng.normal(size=(120, 5))) + 0.1
    among = np.sort(rng.permutation(120)[:70])
    found = nearest_rows(csr_array(X) if sparse else X, np.arange(120), 6, among=among)
    search = NearestNeighbors(n_neighbors=7, metric="cosine" if sparse else "euclidean")
    near = among[search.fit(X[among]).kneighbors(X, return_distance=False)]
    expected = [[one for one in line if one != row][:6] for row, line in enumerate(near)]
    np.testing.assert_array_equal(found, expected)


def test_rows_as_near_as_each_other_come_in_their_order():
    X = np.repeat([0.0, 1.0, 3.0, 7.0], 8)[:, None]
    found = nearest_rows(X, np.arange(32), 6)
    distance = np.abs(X - X.T) + np.diag(np.full(32, np.inf))
    np.testing.assert_array_equal(found, np.argsort(distance, axis=1, kind="stable")[:, :6])


def test_single_precision_finds_the_rows_around_however_far_from_zero_and_from_one_other_they_are():
    X = np.random.default_rng(0).normal(size=(300, 4)) + 1e5
    X[17] = 1e12
    single = nearest_rows(X, np.arange(300), 10, dtype=np.float32)
    others = np.delete(np.arange(300), 17)
    search = NearestNeighbors(n_neighbors=11).fit(X[others] - 1e5)
    near = others[search.kneighbors(X[others] - 1e5, return_distance=False)[:, 1:]]
    assert (np.sort(single[others], axis=1) == np.sort(near, axis=1)).mean() > 0.999


@pytest.mark.parametrize(
    ("shape", "k"), [((400, 5), AROUND), ((90, 5), 9), ((49, 2), 0), ((50, 50), 0), ((50, 80), 0)]
)
def test_few_rows_have_few_around_them_and_wide_tables_none(shape, k):
    around = surroundings(np.random.default_rng(0).normal(size=shape))
    assert around is None if k == 0 else around.shape == (shape[0], k)


def test_rows_that_are_not_in_memory_have_none_around_them():
    assert surroundings(object()) is None
    _, proba, codes = follows(40)
    assert local_probabilities(proba, codes, None) is proba


def erring(n):
    """Leave-one-out probabilities and labels of which a seventh is wrong."""
    _, proba, codes = follows(n)
    wrong = np.random.default_rng(1).random(n) < 0.15
    return proba, np.where(wrong, (codes + 1) % 3, codes)


def error_chances(noise, proba, codes):
    return 1.0 - noise.posterior(proba, codes)[np.arange(len(codes)), codes]


def test_a_model_that_misfits_is_doubted_when_labels_are_called_wrong():
    proba, codes = erring(800)
    trusted, doubted = (estimate_noise(proba, codes, misfit=m) for m in (0.0, 0.2))
    likely = (chance := error_chances(trusted, proba, codes)) > 0.5
    assert likely.any() and (error_chances(doubted, proba, codes)[likely] < chance[likely]).all()
    assert doubted.share == trusted.share and (doubted.matrix == trusted.matrix).all()
    orders = [noise.log_odds(proba, codes) for noise in (trusted, doubted)]
    np.testing.assert_array_equal(*orders)


def test_in_doubt_a_row_is_one_of_which_only_the_classes_are_known():
    proba, codes = erring(800)
    noise = estimate_noise(proba, codes, misfit=0.2)
    right = noise.right(proba)
    assert noise.doubt == pytest.approx(0.2 * (1.0 - right.max(axis=1)).mean())
    expected = np.zeros_like(proba)
    for weight, shape in zip(noise.weights, noise.shapes, strict=True):
        q = np.exp(shape.log_right(np.log(proba)))
        joint = ((1 - noise.doubt) * q + noise.doubt * right.mean(axis=0)) * shape.T[:, codes].T
        expected += weight * joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(noise.posterior(proba, codes), expected, atol=1e-12)


def test_the_misfit_is_half_of_what_the_labels_around_move():
    one, other = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.7, 0.3], [0.9, 0.1]])
    assert misfit_of(one, other, np.zeros((2, 5), dtype=int)) == pytest.approx(0.05)
    assert misfit_of(one, one, np.zeros((2, 5), dtype=int)) == 0.0
    assert misfit_of(one, one, None) == UNSEEN


@pytest.mark.parametrize("width", [4, None])
def test_rows_are_changed_that_are_wrong_even_if_the_chance_is_off_by_the_misfit(width):
    demo = load_demo("breast-cancer", flip_share=0.2)
    X = StandardScaler().fit_transform(demo.X)[:, :4]
    if width is None:
        # As many columns as rows: none around can tell.
        X = np.hstack([X, np.zeros((len(X), len(X)))])
    found = audit(LogisticRegression().fit(X, demo.y), X, demo.y, effects=False)
    changed = (found.table["action"] != "keep").to_numpy()
    chance = found.table["error_proba"].to_numpy()
    assert (found.noise.misfit == 0.15) == (width is None)
    assert changed.any() and (changed == (chance >= 0.48 + found.noise.misfit)).all()
    (note,) = (note for note in found.notes if "suggested change" in note)
    assert f"about {chance[changed].sum():.0f} of {changed.sum()}" in note
    doubtful = [int(note.split()[0]) for note in found.notes if "good as it looks" in note]
    assert sum(doubtful) >= ((chance >= 0.5) & ~changed).sum()
    assert len(doubtful) == (width is None)
