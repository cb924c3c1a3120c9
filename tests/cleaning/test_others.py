"""The effect of a row on the others is what refits say it is."""

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression as SkLogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.datasets import load_demo
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.leave_one_out import loo_loss
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.smooth import others, strong_rows
from skinfluence.smooth.batches.few_rows import optima_without
from skinfluence.svm import LinearSVC
from tests.fewer import turns


def effects_and_errors(influence, answered=None, **options):
    answered = np.ones(influence.objective.n_samples, bool) if answered is None else answered
    return influence.answers.effect_on_others(answered, **options)


def effect_on_others(influence, answered=None):
    return effects_and_errors(influence, answered)[0]


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


def left_out_losses(make_model, X, y):
    """By a refit of scikit-learn without each row."""
    losses, every = np.empty(len(y)), np.arange(len(y))
    for row in every:
        model = make_model().fit(X[every != row], y[every != row])
        eta = model.decision_function(X[[row]])[0]
        # Of two classes the first has 0.
        eta = np.append(0.0, eta) if len(model.classes_) == 2 else eta
        losses[row] = logsumexp(eta) - eta[np.searchsorted(model.classes_, y[row])]
    return losses


def heavy_tails(rng):
    X = rng.standard_t(1.5, (45, 3))
    return X, (X[:, 0] + rng.standard_t(3, 45) > 0).astype(int)


def one_side(rng):
    X = rng.normal(size=(45, 3))
    return X, (X[:, 0] + 0.3 * rng.normal(size=45) > 1.0).astype(int)


def three_classes(rng):
    y = np.arange(45) % 3
    X = rng.normal(size=(45, 2)) + 1.5 * np.eye(3)[y, :2]
    y[:3] = (y[:3] + 1) % 3
    return X, y


@pytest.mark.parametrize(
    ("table", "C"), turns([heavy_tails, one_side, three_classes], [100.0, 1.0])
)
def test_where_the_error_is_smaller_the_sign_is_that_of_refits(table, C):
    """Weak penalties, heavy tails and small classes, where an expansion alone was ten times too large."""
    X, y = table(np.random.RandomState(3))
    make = lambda: SkLogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    influence = Influence(make().fit(X, y), X, y)
    found = [effects_and_errors(influence, thorough=thorough) for thorough in (False, True)]
    before = left_out_losses(make, X, y)
    for row in np.r_[np.argsort(-before)[:2], 8]:
        rest = np.delete(np.arange(len(y)), row)
        truth = (left_out_losses(make, X[rest], y[rest]) - before[rest]).sum() / len(y)
        for effects, errors in found:
            # To 1e-9 of the losses refits are no truth.
            assert abs(effects[row] - truth) < errors[row] + 1e-9
            assert abs(effects[row]) <= errors[row] or np.sign(effects[row]) == np.sign(truth)


@pytest.mark.parametrize(
    ("name", "C", "error"),
    [("breast-cancer", 1.0, 0.03), ("wine", 0.1, 0.03)],
)
def test_effects_follow_refits(name, C, error):
    """Of the rows that look most wrong, and of some others."""
    demo = load_demo(name, flip_share=0.1)
    X = StandardScaler().fit_transform(demo.X)
    make = lambda: LogisticRegression(C=C, solver="newton-cg", tol=1e-9, max_iter=1000)
    influence = Influence(make().fit(X, demo.y), X, demo.y)
    effects, errors = effects_and_errors(influence, thorough=True)
    order = np.argsort(-loo_loss(influence, "one-step"))
    rows = np.r_[order[:4], order[4 :: len(order) // 3]]
    truth = true_effects(make, X, demo.y, rows, "exact") * (len(X) - 1) / len(X)
    assert np.linalg.norm(effects[rows] - truth) < error * np.linalg.norm(truth)
    shown = np.abs(effects[rows]) > errors[rows]
    assert shown.mean() > 0.4 and (np.sign(effects[rows]) == np.sign(truth))[shown].all()


@pytest.mark.parametrize(
    "make_model",
    [
        lambda: LogisticRegression(C=0.01, tol=1e-10),
        lambda: LinearSVC(C=0.01, loss="smooth_hinge", temperature=0.3, tol=1e-10),
        lambda: OneVsRestClassifier(LogisticRegression(C=0.01, tol=1e-10)),
    ],
    ids=["logistic", "smooth hinge", "one against the rest"],
)
def test_sums_over_rows_are_those_of_models_without_rows(make_model, monkeypatch):
    """Where rows move the others little each is predicted alike by both; with more columns than rows, too."""
    demo = load_demo("breast-cancer", flip_share=0.1)
    for rows, shift in ((120, 0.03), (20, 0.2)):
        X, y = StandardScaler().fit_transform(demo.X)[:rows], demo.y[:rows]
        influence = Influence(make_model().fit(X, y), X, y)
        found = {}
        for followed in (2, 16):
            monkeypatch.setattr(strong_rows, "USUAL_ROWS", followed)
            found[followed] = effect_on_others(influence)
        error = np.linalg.norm(found[2] - found[16])
        assert 0 < error < shift * np.linalg.norm(found[16])


def test_optima_without_rows_are_those_of_refits():
    """Of rows that nearly decide a coefficient alone, one and two at a time."""
    X, y = heavy_tails(np.random.RandomState(3))
    make = lambda: SkLogisticRegression(C=100.0, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    factor = Influence(make().fit(X, y), X, y).answers.edit_solver().factor
    removed = [np.array([0]), np.array([7, 12]), np.array([1, 30])]
    starts = np.repeat(factor.objective.theta[None], 3, axis=0)
    found = optima_without(factor, removed, starts, np.full(3, 1e-4))
    for rows, theta in zip(removed, found, strict=True):
        model = make().fit(np.delete(X, rows, axis=0), np.delete(y, rows))
        np.testing.assert_allclose(theta[0], np.append(model.coef_, model.intercept_), rtol=1e-5)


def test_effects_of_one_row_among_many_are_told_from_none():
    """They fall with the square of the rows, and their errors faster."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(3000, 4))
    y = (X[:, 0] + 0.5 * rng.normal(size=3000) > 0).astype(int)
    effects, errors = effects_and_errors(Influence(LogisticRegression().fit(X, y), X, y))
    assert np.median(np.abs(effects)) < 1e-6 and (np.abs(effects) > errors).mean() > 0.8


def test_errors_are_not_known_where_models_without_rows_cost_too_much(monkeypatch):
    demo = load_demo("wine", flip_share=0.1)
    X = StandardScaler().fit_transform(demo.X)
    influence = Influence(LogisticRegression(C=0.1).fit(X, demo.y), X, demo.y)
    monkeypatch.setattr(strong_rows, "PRODUCTS", 10)
    effects, errors = effects_and_errors(influence)
    assert np.isfinite(effects).all() and np.isnan(errors).all()
    assert np.isfinite(effects_and_errors(influence, thorough=True)[1]).all()


def test_rows_of_a_class_of_two_have_no_effect_on_others():
    """Without one the other would be alone, and has no model without it."""
    X, y = load_diabetes(return_X_y=True)
    kind = np.where(np.arange(60) < 2, 2, (y[:60] > 150).astype(int))
    effects, errors = effects_and_errors(
        Influence(LogisticRegression().fit(X[:60], kind), X[:60], kind)
    )
    assert np.isnan(effects[:2]).all() and np.isnan(errors[:2]).all()
    assert np.isfinite(effects[2:]).all() and np.isfinite(errors[2:]).all()


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
    effects, errors = effects_and_errors(Influence(Ridge(alpha=0.1).fit(X, y), X, y))
    rows = np.arange(0, len(y), 40)
    truth = true_effects(lambda: Ridge(alpha=0.1), X, y, rows, "one-step") * (len(y) - 1) / len(y)
    assert (np.abs(effects[rows] - truth) < errors[rows]).all()
    np.testing.assert_allclose(effects[rows], truth, rtol=0.02, atol=0.002 * np.abs(truth).max())


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

    X, y = (one[:60] for one in load_diabetes(return_X_y=True))
    model = MEstimator(
        lambda q, x, y: (y - x @ q) ** 2, 10, l2=0.1, decision=lambda q, X: X @ q
    ).fit(X, y)
    with pytest.raises(TypeError, match=r"Got an MEstimator.*pass effects=False"):
        audit(model, X, y, effects=True)
    assert "effect_of_dropping" not in audit(model, X, y, effects=False).table
    with pytest.raises(TypeError, match="Got an MEstimator, which does not"):
        effect_on_others(Influence(model, X, y))
