"""Audits of every kind of model, of sources, and of rows that are known to be right, beside refits."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import GammaRegressor, Lasso, PoissonRegressor
from sklearn.metrics import average_precision_score, mean_gamma_deviance, mean_poisson_deviance
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

from skinfluence.cleaning import audit
from skinfluence.cleaning.calibration import chances
from skinfluence.cleaning.targets import beyond_doubt
from skinfluence.datasets import flip_labels
from skinfluence.inspection import SourcesDisplay
from skinfluence.linear_model import LogisticRegression, Ridge, RidgeClassifier
from skinfluence.svm import SVC, LinearSVC

TIGHT = {"tol": 1e-10, "max_iter": 10_000}
MARGINS = {
    "kernel machine": SVC(),
    "linear machine": LinearSVC(C=0.01, **TIGHT),
    "hinge": LinearSVC(C=0.01, loss="hinge", **TIGHT),
    "ridge": RidgeClassifier(),
}


def flipped(load, share=0.1):
    X, y = load(return_X_y=True)
    y, wrong = flip_labels(y, share, random_state=0)
    return StandardScaler().fit_transform(X), y, wrong


# Margins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine], ids=["two classes", "three"])
@pytest.mark.parametrize("model", MARGINS.values(), ids=MARGINS)
def test_a_model_without_probabilities_finds_errors_by_its_margins(model, load):
    X, y, wrong = flipped(load)
    found = audit(clone(model).fit(X, y), X, y)
    rank = np.empty(len(y))
    rank[found.table["row"]] = found.table["rank"]
    assert average_precision_score(wrong, -rank) > 0.93
    plan = found.plan()
    changed = np.concatenate([plan.relabel, plan.drop])
    assert wrong[changed].mean() > 0.85 and len(changed) > 0.4 * wrong.sum()
    assert any("no probabilities" in note for note in found.notes)
    np.testing.assert_allclose(found.loo_proba.sum(axis=1), 1.0)
    check = found.verify(2)
    np.testing.assert_allclose(check["loo_loss"], check["refit_loss"], rtol=2e-2, atol=1e-6)


def test_effects_are_asked_of_models_that_know_them():
    X, y, _ = flipped(load_breast_cancer)
    X, y = X[:150], y[:150]
    assert "effect_of_dropping" in audit(RidgeClassifier().fit(X, y), X, y).table
    machine = SVC().fit(X, y)
    assert "effect_of_dropping" not in audit(machine, X, y).table
    with pytest.raises(TypeError, match="effects=False"):
        audit(machine, X, y, effects=True)


def test_chances_follow_the_decision_values():
    """Labels drawn from a known logistic curve: its slope and shift come back."""
    rng = np.random.RandomState(0)
    f = rng.normal(size=(20_000, 1))
    y = (rng.uniform(size=len(f)) < expit(2.5 * f[:, 0] - 0.7)).astype(int)
    proba = chances(f, y, 2)
    np.testing.assert_allclose(proba[:, [1]], expit(2.5 * f - 0.7), atol=0.02)
    assert np.isnan(chances(np.where(f > 3, np.nan, f), y, 2)[f[:, 0] > 3]).all()
    # Values that say the opposite say nothing.
    assert np.ptp(chances(-f, y, 2)[:, 1]) < 1e-6
    # A tenth of wrong labels says nothing of the slope.
    wrong = np.where(rng.uniform(size=len(f)) < 0.1, 1 - y, y)
    np.testing.assert_allclose(chances(f, wrong, 2)[:, [1]], expit(2.5 * f - 0.7), atol=0.06)


def test_how_a_machine_shows_its_decisions_does_not_matter():
    """All pairs of four classes are six numbers, not one for each class."""
    rng = np.random.RandomState(0)
    y = np.repeat(np.arange(4), 20)
    X = rng.normal(size=(80, 2)) + 4.0 * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[y]
    y[::16] = 3 - y[::16]
    tables = [
        audit(SVC(decision_function_shape=shape).fit(X, y), X, y).table for shape in ("ovr", "ovo")
    ]
    assert (tables[0]["action"] != "keep").sum() == 5
    for name in ("row", "error_proba", "action"):
        np.testing.assert_array_equal(*(table[name] for table in tables))


# Regression -------------------------------------------------------------------------------------


def test_rows_far_beyond_all_others_are_not_kept_because_the_others_lean_on_them():
    """Two rows off in the same way: dropping one alone hurts the other, and both are wrong."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(120, 3))
    y = X @ [1.0, -1.0, 0.5] + 0.1 * rng.normal(size=120)
    X[:2] = [[9.0, 9.0, 9.0], [9.1, 9.0, 8.9]]
    y[:2] = 40.0
    found = audit(Ridge(alpha=1.0).fit(X, y), X, y)
    by_row = found.table.set_index("row")
    assert (by_row.loc[[0, 1], "effect_of_dropping"] > 0).any()
    assert (by_row.loc[[0, 1], "action"] == "drop").all()
    assert any("Look at them first" in note for note in found.notes)


@pytest.mark.parametrize(
    ("draw", "most"),
    [
        (stats.norm(), 0.08),
        (stats.laplace(), 0.08),
        (stats.t(3), 0.12),
        (stats.cauchy(), 0.12),
        (stats.lognorm(1.0), 0.08),
    ],
    ids=["normal", "laplace", "t3", "cauchy", "lognormal"],
)
def test_heavy_tails_are_no_outliers(draw, most):
    """The test is at 5 % for all rows of a table together, whatever the tails: 200 tables."""
    some = 0
    for seed in range(200):
        r = draw.rvs(300, random_state=seed)
        r = r - np.median(r)
        some += beyond_doubt(r / (1.4826 * np.median(np.abs(r)))).any()
    assert some / 200 <= most
    z = stats.norm.rvs(size=300, random_state=0)
    z[:2] = 57, -41
    assert np.flatnonzero(beyond_doubt(z)).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("model", "deviance"),
    [(PoissonRegressor, mean_poisson_deviance), (GammaRegressor, mean_gamma_deviance)],
)
def test_counts_and_amounts_are_ranked_by_their_deviance(model, deviance):
    X, y = load_diabetes(return_X_y=True)
    y = np.round(y / 30) + (1 if model is GammaRegressor else 0)
    y[5] = 80
    fitted = model(alpha=1e-3, **TIGHT).fit(X, y)
    found = audit(fitted, X, y, method="exact")
    assert found.table["row"][0] == 5 and found.table["action"][0] == "drop"
    left_out = np.delete(np.arange(len(y)), 5)
    mu = clone(fitted).fit(X[left_out], y[left_out]).predict(X[[5]])
    assert found.table["loo_loss"][0] == pytest.approx(deviance(y[[5]], mu) / 2, rel=1e-5)
    check = found.verify(4)
    np.testing.assert_allclose(check["loo_loss"], check["refit_loss"], rtol=1e-5)


# Sources ----------------------------------------------------------------------------------------


def sources_of(model, X, y, groups):
    """By refits: the effect of each source on the others' leave-one-out loss, and its score without it."""

    def losses(X, y):
        if hasattr(model, "predict_proba"):
            proba = cross_val_predict(model, X, y, cv=LeaveOneOut(), method="predict_proba")
            return -np.log(proba[np.arange(len(y)), y])
        return 0.5 * (y - cross_val_predict(model, X, y, cv=LeaveOneOut())) ** 2

    now = losses(X, y)
    for name in np.unique(groups):
        others = groups != name
        change = losses(X[others], y[others]) - now[others]
        score = clone(model).fit(X[others], y[others]).score(X[~others], y[~others])
        yield name, change.mean(), 1.96 * change.std(ddof=1) / np.sqrt(others.sum()), score


SOURCED = {
    "classes": LogisticRegression(C=0.05, **TIGHT),
    "closed form": LinearDiscriminantAnalysis(),
    "numbers": Ridge(alpha=5.0),
    "few columns": Lasso(alpha=5.0, tol=1e-12),
}


@pytest.mark.parametrize("kind", SOURCED)
def test_sources_are_those_of_refits(kind):
    rng = np.random.RandomState(1)
    n = 60
    groups = rng.choice(["ada", "bob", "cy"], n)
    model = SOURCED[kind]
    if is_classifier(model):
        X, y = load_breast_cancer(return_X_y=True)
        y = np.where((groups == "bob") & (rng.uniform(size=n) < 0.4), 1 - y[:n], y[:n])
        X = X[:, :5] if kind == "closed form" else X
    else:
        X, y = load_diabetes(return_X_y=True)
        y = y[:n] + np.where(groups == "bob", 150 * rng.normal(size=n), 0)
    X = StandardScaler().fit_transform(X[:n])
    found = audit(clone(model).fit(X, y), X, y, groups=groups, method="exact")
    assert found.sources["source"][0] == "bob"
    by_name = found.sources.set_index("source")
    truth = list(sources_of(model, X, y, groups))
    size = max(abs(effect) for _, effect, _, _ in truth)
    for name, effect, half, score in truth:
        line = by_name.loc[name]
        assert line["n_rows"] == (groups == name).sum()
        assert line["left_out_score"] == pytest.approx(score, abs=1e-6)
        assert abs(line["effect_of_dropping"] - effect) < 1e-3 * size
        assert (line["effect_high"] - line["effect_low"]) / 2 == pytest.approx(half, rel=1e-3)
    actions = found.table.groupby(groups[found.table["row"]])["action"].value_counts()
    assert by_name.loc["bob", "drop"] == actions.get(("bob", "drop"), 0)


def test_a_source_that_holds_a_class_has_no_effect_and_a_note():
    X, y, _ = flipped(load_wine, 0.0)
    groups = np.where(y == 2, "only one", np.where(np.arange(len(y)) % 2, "a", "b"))
    found = audit(LogisticRegression(**TIGHT).fit(X, y), X, y, groups=groups)
    line = found.sources.set_index("source").loc["only one"]
    assert np.isnan(line["effect_of_dropping"]) and np.isnan(line["left_out_score"])
    assert any("Without source only one" in note for note in found.notes)
    assert found.sources["source"].iloc[-1] == "only one"


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (["a", "b"], "one label per training row, 178"),
        (["a"] * 178, "at least two sources"),
        ([None, *["a"] * 177], "can be sorted"),
    ],
)
def test_groups_that_are_none_are_refused(groups, words):
    X, y, _ = flipped(load_wine)
    with pytest.raises(ValueError, match=words):
        audit(LogisticRegression().fit(X, y), X, y, groups=groups)


def test_the_display_of_sources_shows_their_intervals():
    pytest.importorskip("matplotlib").use("Agg")
    X, y, _ = flipped(load_breast_cancer)
    groups = np.random.RandomState(0).choice(["a", "b", "c"], len(y))
    found = audit(LogisticRegression(C=0.1, **TIGHT).fit(X, y), X, y, groups=groups)
    display = SourcesDisplay.from_audit(found)
    assert [one.get_text() for one in display.ax_.get_yticklabels()] == found.sources[
        "source"
    ].tolist()
    low, high = zip(*[(one[0][0], one[1][0]) for one in display.intervals_.get_segments()])
    np.testing.assert_allclose(low, found.sources["effect_low"])
    np.testing.assert_allclose(high, found.sources["effect_high"])
    page = found.to_html()
    assert "Where the rows come from" in page
    with pytest.raises(ValueError, match="groups="):
        SourcesDisplay.from_audit(audit(LogisticRegression(C=0.1, **TIGHT).fit(X, y), X, y))


# Validation rows --------------------------------------------------------------------------------


def test_effects_on_validation_rows_are_those_of_refits():
    X, y, _ = flipped(load_breast_cancer)
    train, val = np.arange(150), np.arange(150, 569)
    model = LogisticRegression(C=0.1, **TIGHT).fit(X[train], y[train])
    found = audit(model, X[train], y[train], X_val=X[val], y_val=y[val])
    by_row = found.table.set_index("row")["effect_on_validation"]

    def loss(model):
        return -np.log(model.predict_proba(X[val])[np.arange(len(val)), y[val]]).mean()

    rows = found.table["row"][:6]
    truth = [
        loss(clone(model).fit(np.delete(X[train], row, 0), np.delete(y[train], row))) - loss(model)
        for row in rows
    ]
    np.testing.assert_allclose(by_row[rows], truth, rtol=5e-3, atol=1e-9)
    assert found.table.columns[-1] == "action"
    with pytest.raises(ValueError, match="go together"):
        audit(model, X[train], y[train], X_val=X[val])
