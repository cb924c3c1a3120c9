"""The effect of a row on the others is what refits say it is."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.datasets import load_diabetes
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.datasets import load_demo
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.leave_one_out import loo_loss
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.smooth import others
from skinfluence.svm import LinearSVC


def effect_on_others(influence, answered=None):
    n = influence.objective.n_samples
    return influence.answers.effect_on_others(
        np.ones(n, dtype=bool) if answered is None else answered
    )


def true_effects(make_model, X, y, rows, method):
    """Refit without each row, and take the leave-one-out losses of the others again."""
    before = loo_loss(Influence(make_model().fit(X, y), X, y), method)
    effects = []
    for row in rows:
        others = np.delete(np.arange(len(y)), row)
        after = loo_loss(
            Influence(make_model().fit(X[others], y[others]), X[others], y[others]), method
        )
        effects.append(after.mean() - before[others].mean())
    return np.array(effects)


@pytest.mark.parametrize(
    ("name", "C", "rank", "error"),
    [
        ("breast-cancer", 0.1, 0.99, 0.1),
        ("breast-cancer", 1.0, 0.98, 0.3),
        ("wine", 0.1, 0.98, 0.2),
    ],
)
def test_effects_follow_refits(name, C, rank, error):
    """Second order in the pair: a few per cent where the penalty is strong, more where it is weak."""
    demo = load_demo(name, flip_share=0.1)
    X = StandardScaler().fit_transform(demo.X)

    def make_model():
        return LogisticRegression(C=C, solver="newton-cg", tol=1e-9, max_iter=1000)

    influence = Influence(make_model().fit(X, demo.y), X, demo.y)
    effects = effect_on_others(influence)
    order = np.argsort(-loo_loss(influence, "one-step"))
    rows = np.r_[order[:8], order[8 :: len(order) // 8]]
    truth = true_effects(make_model, X, demo.y, rows, "exact")
    assert spearmanr(effects[rows], truth).statistic > rank
    assert np.linalg.norm(effects[rows] - truth) < error * np.linalg.norm(truth)


@pytest.mark.parametrize(("name", "C"), [("breast-cancer", 0.1), ("wine", 0.1)])
def test_effects_follow_refits_without_going_through_pairs(name, C, monkeypatch):
    """The sums over all other rows, prepared once, which is all that most rows of a large table get."""
    monkeypatch.setattr(others, "FOLLOWED", 0)
    test_effects_follow_refits(name, C, 0.98, 0.25)


@pytest.mark.parametrize(
    "make_model",
    [
        lambda: LogisticRegression(C=0.001, tol=1e-10),
        lambda: LinearSVC(C=0.001, loss="smooth_hinge", temperature=0.3, tol=1e-10),
        lambda: OneVsRestClassifier(LogisticRegression(C=0.001, tol=1e-10)),
    ],
    ids=["logistic", "smooth hinge", "one against the rest"],
)
def test_sums_over_rows_are_those_of_pairs(make_model, monkeypatch):
    """Where a row moves the others little; with few columns and with more of them than rows."""
    demo = load_demo("breast-cancer", flip_share=0.1)
    # A free intercept moves by about 1 / rows however strong the penalty is.
    for rows, shift in ((200, 0.03), (20, 0.06)):
        X, y = StandardScaler().fit_transform(demo.X)[:rows], demo.y[:rows]
        factor = Influence(make_model().fit(X, y), X, y).answers.factor
        answered = np.ones(rows, dtype=bool)
        found = {}
        for followed in (0, rows):
            monkeypatch.setattr(others, "FOLLOWED", followed)
            found[followed] = others.effect_on_others(factor, answered)
        error = np.linalg.norm(found[0] - found[rows])
        assert error < shift * np.linalg.norm(found[rows])


def test_rows_and_parameters_give_the_same_forms():
    demo = load_demo("wine", flip_share=0.1)
    X = StandardScaler().fit_transform(demo.X)
    factor = Influence(LogisticRegression(C=0.1).fit(X, demo.y), X, demo.y).answers.factor
    K = factor.objective.loss.n_outputs
    S = np.random.RandomState(0).normal(size=(2, len(X), K, K))
    S = S + S.transpose(0, 1, 3, 2)
    np.testing.assert_allclose(
        others._forms(factor, S), others._forms_by_rows(factor, S), atol=1e-9
    )


def test_ridge_effects_follow_refits():
    """No curvature changes; what is left out is the interaction of the pair in the step itself."""
    X, y = load_diabetes(return_X_y=True)
    effects = effect_on_others(Influence(Ridge(alpha=0.1).fit(X, y), X, y))
    rows = np.arange(0, len(y), 40)
    truth = true_effects(lambda: Ridge(alpha=0.1), X, y, rows, "one-step")
    np.testing.assert_allclose(effects[rows], truth, rtol=0.1, atol=0.02 * np.abs(truth).max())


def test_kernel_ridge_effects_are_those_of_refits():
    X, y = load_diabetes(return_X_y=True)
    X, y = 20 * X[:40], y[:40]
    make = lambda: KernelRidge(kernel="rbf", gamma=0.1, alpha=0.1)
    effects = effect_on_others(Influence(make().fit(X, y), X, y))
    rows = np.arange(0, 40, 9)
    truth = true_effects(make, X, y, rows, "exact")
    # A share of all rows' mean, in which a row itself does not count.
    np.testing.assert_allclose(effects[rows], truth * 39 / 40, rtol=1e-8)


def test_rows_without_an_answer_count_for_nobody():
    X, y = load_diabetes(return_X_y=True)
    answered = np.ones(len(y), dtype=bool)
    answered[3] = False
    effects = effect_on_others(Influence(Ridge(alpha=0.1).fit(X, y), X, y), answered)
    assert np.isnan(effects[3]) and np.isfinite(np.delete(effects, 3)).all()


def test_a_kind_without_the_answer_is_refused_by_its_name():
    from skinfluence.cleaning import audit
    from skinfluence.m_estimation import MEstimator

    X, y = load_diabetes(return_X_y=True)
    model = MEstimator(
        lambda q, x, y: (y - x @ q) ** 2, 10, l2=0.1, decision=lambda q, X: X @ q
    ).fit(X, y)
    with pytest.raises(TypeError, match=r"Got an MEstimator.*pass effects=False"):
        audit(model, X, y, effects=True)
    assert "effect_of_dropping" not in audit(model, X, y, effects=False).table
    with pytest.raises(TypeError, match="Got an MEstimator, which does not"):
        effect_on_others(Influence(model, X, y))
