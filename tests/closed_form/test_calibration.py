"""Calibrated classifiers over one that is held: calibrators of the rows that are left, and nothing else moves."""

import re
import warnings
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq, root
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skinfluence import Influence, edits, objective_of
from skinfluence.cleaning import audit
from skinfluence.model_selection import LeaveOneOutSearch
from skinfluence.pipeline import influence_by_name
from skinfluence.unlearning import forget
from skinfluence.utils.estimator_checks import check_influence
from tests.fewer import LONG

N = 40
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
LINE = X @ [1.0, -1.0, 0.5] + rng.standard_normal(N)
TWO = (LINE > 0).astype(int)
THREE = np.digitize(LINE, [-0.7, 0.7])
Z = rng.standard_normal((30, 3))
WEIGHT = np.linspace(0.5, 2.0, N)
# A list of constraints does not name what each of them allows, the constraint does.
HAS_TEMPERATURE = "temperature" in str(CalibratedClassifierCV._parameter_constraints["method"][0])
METHODS = ["sigmoid", "isotonic", *(["temperature"] if HAS_TEMPERATURE else [])]


def held(model, n_classes):
    line = Z @ [1.0, -1.0, 0.5] + np.random.default_rng(1).standard_normal(30)
    return FrozenEstimator(
        clone(model).fit(Z, np.digitize(line, [-0.5, 0.5] if n_classes > 2 else [0]))
    )


HELD = {
    "decision values of two": (held(LogisticRegression(), 2), TWO),
    "chances of two": (held(RandomForestClassifier(9, random_state=0), 2), TWO),
    "decision values of three": (held(SVC(), 3), THREE),
    "chances of three": (held(RandomForestClassifier(9, random_state=0), 3), THREE),
}


def fitted(method, inside, X, y, weight=None):
    with warnings.catch_warnings():
        # The classifier that is held takes no weights, scikit-learn says, and needs none.
        warnings.simplefilter("ignore")
        return CalibratedClassifierCV(inside, method=method).fit(X, y, sample_weight=weight)


# What a fit minimises, a second time ------------------------------------------------------------


def platt(s, own, w, at):
    """Chances at scores: of logistic regression on targets that are not 0 and 1."""
    n1, n0 = w[own].sum(), w[~own].sum()
    target = np.where(own, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    columns = np.column_stack([s, np.ones_like(s)])
    found = root(
        lambda t: columns.T @ (w * (expit(columns @ t) - target)),
        np.zeros(2),
        jac=lambda t: (
            columns.T @ (columns * (w * expit(columns @ t) * expit(-columns @ t))[:, None])
        ),
        tol=1e-13,
    ).x
    return expit(at * found[0] + found[1])


def steps(s, own, w, at):
    """Chances at scores: the largest of the smallest means of the rows about each."""
    places, which = np.unique(s, return_inverse=True)
    total, mine = np.bincount(which, w), np.bincount(which, w * own)
    size, sums = (np.append(0.0, np.cumsum(one)) for one in (total, mine))
    # From j (lines) to k (columns), where j is not above k.
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (sums[None, 1:] - sums[:-1, None]) / (size[None, 1:] - size[:-1, None])
    mean[np.tril_indices(len(places), -1)] = np.nan
    value = [np.nanmin(mean[: i + 1, i:], axis=1).max() for i in range(len(places))]
    return np.interp(at, places, value)


def chances(method, scores, y, w, at):
    """Of a calibrated classifier of given scores, (n_rows, n_scores) for rows and for those asked about."""
    two = scores.shape[1] == 1
    if method == "temperature":
        own = scores[np.arange(len(y)), y]

        def slope(beta):
            return w @ ((softmax(beta * scores, axis=1) * scores).sum(axis=1) - own)

        return softmax(brentq(slope, np.exp(-10), np.exp(10), xtol=1e-14, rtol=1e-14) * at, axis=1)
    curve = {"sigmoid": platt, "isotonic": steps}[method]
    found = np.column_stack(
        [curve(scores[:, k], y == (1 if two else k), w, at[:, k]) for k in range(scores.shape[1])]
    )
    if two:
        return np.column_stack([1 - found[:, 0], found[:, 0]])
    return found / found.sum(axis=1, keepdims=True)


def scores_of(method, inside, X):
    """What calibrators are fitted to: decision values, else chances."""
    as_values = hasattr(inside, "decision_function")
    found = inside.decision_function(X) if as_values else inside.predict_proba(X)
    if method == "temperature":
        if as_values:
            return np.column_stack([-found, found]) if found.ndim == 1 else found
        return np.log(found + 1e-12)
    if found.ndim == 1:
        return found[:, None]
    return found[:, 1:] if found.shape[1] == 2 else found


@pytest.fixture(params=[(m, h) for m in METHODS for h in HELD], ids=lambda one: ", ".join(one))
def asked(request):
    method, name = request.param
    return method, *HELD[name]


def test_without_a_row_calibrators_are_those_of_the_others(asked):
    """rtol: Newton's method on both sides; of steps, sums in another order."""
    method, inside, y = asked
    inf = Influence(fitted(method, inside, X, y, WEIGHT), X, y, WEIGHT)
    scores = scores_of(method, inside, X)
    rows = [0, 7, 31]
    left = [np.delete(np.arange(N), i) for i in rows]
    expected = np.array(
        [
            chances(method, scores[kept], y[kept], WEIGHT[kept], scores[[i]])[0]
            for i, kept in zip(rows, left, strict=True)
        ]
    )
    assert_allclose(inf.loo_predict_proba(indices=rows), expected, rtol=1e-9, atol=1e-10)
    before = chances(method, scores, y, WEIGHT, scores)
    after = [chances(method, scores[k], y[k], WEIGHT[k], scores) for k in left]
    found = inf.removal_effect(X, of="predict_proba", indices=rows)
    assert_allclose(found, np.stack(after, axis=1) - before[:, None], atol=1e-9)


@pytest.mark.parametrize("name", ["decision values of two", "chances of three"])
def test_steps_move_with_the_rows_at_their_edges_and_stay_without_those_inside(name):
    """At rows that lie between the others, where it shows which edges a step has."""
    inside, y = HELD[name]
    between = 0.5 * (X + X[np.argsort(LINE)])
    scores, at = scores_of("isotonic", inside, X), scores_of("isotonic", inside, between)
    inf = Influence(fitted("isotonic", inside, X, y), X, y)
    found = inf.removal_effect(between, of="predict_proba")
    before = chances("isotonic", scores, y, np.ones(N), at)
    stays = np.zeros(N, dtype=bool)
    for i in range(N):
        kept = np.delete(np.arange(N), i)
        after = chances("isotonic", scores[kept], y[kept], np.ones(N - 1), at)
        assert_allclose(found[:, i], after - before, atol=1e-12)
        stays[i] = not found[:, i].any()
    assert not stays.all() and (stays.any() or name.endswith("three"))


def test_all_rows_together_are_each_as_refits_have_it(asked):
    """rtol=1e-9: Newton's method, polynomials and pooled blocks of all rows on one side."""
    method, inside, y = asked
    inf = Influence(fitted(method, inside, X, y, WEIGHT), X, y, WEIGHT)
    scores = scores_of(method, inside, X)
    left = [np.delete(np.arange(N), i) for i in range(N)]
    with np.errstate(invalid="ignore"):
        expected = [
            chances(method, scores[k], y[k], WEIGHT[k], scores[[i]])[0] for i, k in enumerate(left)
        ]
    # Where steps say that no class is possible, all are alike.
    expected = np.nan_to_num(expected, nan=1.0 / (y.max() + 1))
    assert_allclose(inf.loo_predict_proba(), expected, rtol=1e-9, atol=1e-10)


def test_scores_that_are_no_numbers_have_no_calibrators(asked):
    method, inside, y = asked
    family = Influence(fitted(method, inside, X, y), X, y).answers.family
    moved = np.stack([family.X, family.X])
    moved[1, 5] = np.nan
    found = family.under(moved, np.array([7, 7]))
    assert [one is None for one in found] == [False, True]


def test_every_edit_and_the_model_after_it_are_those_of_a_refit(asked):
    """atol=1e-5: where the solvers of scikit-learn end. The model after it is its own fit."""
    method, inside, y = asked
    model = fitted(method, inside, X, y)
    new = (y[7] + 1) % (y.max() + 1)
    edit = edits.remove([1, 5]) + edits.relabel([7], [new]) + edits.add(X[0] + 0.1, new)
    edit += edits.reweight(9, 2.5)
    after, weights = np.array(y), np.ones(N)
    after[7], weights[9] = new, 2.5
    left = np.delete(np.arange(N), [1, 5])
    refit = fitted(
        method,
        inside,
        np.vstack([X[left], X[:1] + 0.1]),
        np.append(after[left], new),
        np.append(weights[left], 1.0),
    )
    inf = Influence(model, X, y)
    change = refit.predict_proba(X) - model.predict_proba(X)
    assert np.abs(change).max() > 1e-3
    found = inf.effect(edit, X, of="predict_proba")
    assert_allclose(found.values, change, atol=1e-5)
    assert found.bound == 0.0 and found.method_used == "exact"
    edited = inf.edited(edit).estimator
    assert edited.calibrated_classifiers_[0].estimator is model.calibrated_classifiers_[0].estimator
    assert_allclose(edited.predict_proba(X), refit.predict_proba(X), atol=1e-12)
    stream = inf.after(edits.remove([1, 5])).after(edits.relabel([7], [new]))
    last = stream.after(edits.add(X[0] + 0.1, new) + edits.reweight(9, 2.5)).estimator
    assert_allclose(last.predict_proba(X), refit.predict_proba(X), atol=1e-12)


def test_losses_groups_labels_and_scores_are_those_of_its_chances():
    inside, y = HELD["decision values of three"]
    model = fitted("sigmoid", inside, X, y)
    inf = Influence(model, X, y)
    group = np.arange(N) % 4
    refit = fitted("sigmoid", inside, X[group != 1], y[group != 1])
    losses = [-np.log(one.predict_proba(X)[np.arange(N), y]) for one in (model, refit)]
    found = inf.removal_effect(X, y, groups=group)[:, 1]
    assert_allclose(found, losses[1] - losses[0], atol=1e-5)
    moved = inf.relabel_effect(X[:2], of="predict_proba", indices=[4])
    other = fitted("sigmoid", inside, X, np.where(np.arange(N) == 4, 0, y)).predict_proba(X[:2])
    assert_allclose(moved[:, 0, 0], other - model.predict_proba(X[:2]), atol=1e-5)
    left_out = inf.loo_predict_proba()
    assert inf.loo_score("neg_log_loss") == pytest.approx(-log_loss(y, left_out), abs=1e-12)
    np.testing.assert_array_equal(inf.loo_predict(), np.argmax(left_out, axis=1))


def test_what_is_held_may_read_texts_and_what_is_before_it_is_fitted_again():
    texts = np.array(["good a", "bad b", "good c", "bad d", "a", "b"] * 6, dtype=object)
    y = np.array([1, 0, 1, 0, 1, 1] * 6)
    reader = FrozenEstimator(make_pipeline(TfidfVectorizer(), LinearSVC()).fit(texts[:12], y[:12]))
    model = fitted("sigmoid", reader, texts, y)
    refit = fitted("sigmoid", reader, texts[1:], y[1:])
    found = Influence(model, texts, y).loo_predict_proba(indices=[0])
    assert_allclose(found, refit.predict_proba(texts[:1]), atol=1e-5)
    scaled = make_pipeline(StandardScaler(), CalibratedClassifierCV(HELD["chances of two"][0]))
    inf = Influence(clone(scaled).fit(X, TWO), X, TWO)
    refit = clone(scaled).fit(X[1:], TWO[1:])
    found = inf.loo_predict_proba(indices=[0])
    assert_allclose(found, refit.predict_proba(X[:1]), atol=1e-5)
    edited = inf.edited(edits.remove(0)).estimator
    assert_allclose(edited.predict_proba(X), refit.predict_proba(X), atol=1e-12)


def test_searches_audits_and_receipts_know_calibrated_classifiers():
    inside, y = HELD["decision values of two"]
    model = CalibratedClassifierCV(inside)
    search = LeaveOneOutSearch(model, {"method": ["sigmoid", "isotonic"]}, scoring="accuracy").fit(
        X, y
    )
    assert search.best_params_["method"] in METHODS
    chosen = GridSearchCV(model, {"method": ["sigmoid", "isotonic"]}, cv=2).fit(X, y)
    with pytest.warns(UserWarning, match="Held as chosen"):
        Influence(chosen, X, y).loo_predict()
    pytest.importorskip("pandas")
    model = model.fit(X, y)
    assert audit(model, X, y, effects=False).verify(2)["difference"].abs().max() < 1e-6
    forgotten = forget(Influence(model, X, y), [3])
    assert forgotten.receipt.distance == forgotten.receipt.decision_values == 0.0


def test_a_receipt_measures_the_calibrators():
    from skinfluence.unlearning import receipt

    inside, y = HELD["decision values of two"]
    model = fitted("sigmoid", inside, X, y)
    assert receipt(model, X, y).distance == 0.0
    model.calibrated_classifiers_[0].calibrators[0].a_ += 1e-6
    assert receipt(model, X, y).distance == pytest.approx(1e-6, rel=1e-6)


@pytest.mark.parametrize("method", METHODS if LONG else ["sigmoid"])
def test_the_contract_holds(method):
    inside, y = HELD["decision values of two"]
    found = check_influence(CalibratedClassifierCV(inside, method=method), data=(X[:24], y[:24]))
    assert sum(one["status"] == "passed" for one in found) >= 10


def test_derivatives_end_at_the_scores_by_name():
    inside, y = HELD["decision values of two"]
    inf = Influence(fitted("sigmoid", inside, X, y), X, y)
    for ask in (inf.influence_up_loss, inf.influence_pert, partial(influence_by_name, inf)):
        with pytest.raises(TypeError, match="Got sigmoid calibration"):
            ask(X[:2], y[:2])


def test_an_objective_asked_for_by_itself_has_the_scores_for_rows():
    inside, y = HELD["chances of two"]
    model = fitted("sigmoid", inside, X, y)
    assert repr(Influence(model, X, y)) == f"Influence({model!r}, n_train={N})"
    assert str(Influence(model, X, y).report()).endswith("curves of the scores, fitted again")
    problem = objective_of(model, X, y)
    assert_allclose(problem.design.X[:, 0], inside.predict_proba(X)[:, 1])


# Ends ---------------------------------------------------------------------------------------------


def test_the_only_row_of_a_class_has_no_answer():
    y = np.where(np.arange(N) == 3, 1, 0)
    inf = Influence(fitted("sigmoid", HELD["decision values of two"][0], X, y), X, y)
    with pytest.warns(UserWarning, match="Row 3 is the only one"):
        found = inf.loo_predict_proba()
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [3]


@pytest.mark.parametrize("method", METHODS)
def test_tied_scores_are_scores(method):
    inside, y = HELD["decision values of two"]
    coarse = FrozenEstimator(make_pipeline(FunctionTransformer(np.sign), inside))
    model = fitted(method, coarse, X, y)
    refit = fitted(method, coarse, np.delete(X, 4, axis=0), np.delete(y, 4))
    found = Influence(model, X, y).loo_predict_proba(indices=[4])
    assert_allclose(found, refit.predict_proba(X[[4]]), atol=1e-5)
    assert len(np.unique(coarse.decision_function(X))) < N / 2


def test_scores_that_are_all_the_same_have_no_curve():
    constant = clone(HELD["decision values of two"][0].estimator).fit(Z, np.arange(30) % 2)
    constant.coef_ = np.zeros_like(constant.coef_)
    model = fitted("sigmoid", FrozenEstimator(constant), X, TWO)
    with pytest.raises(ValueError, match=r"scores of all rows are the same.*method='isotonic'"):
        Influence(model, X, TWO)
    model = fitted("isotonic", model.estimator, X, TWO)
    assert np.isfinite(Influence(model, X, TWO).loo_predict_proba()).all()


@pytest.mark.skipif(not HAS_TEMPERATURE, reason="scikit-learn before 1.8")
def test_a_temperature_at_an_edge_is_refused_and_curves_in_its_place_are_not():
    large = clone(HELD["decision values of two"][0].estimator).fit(Z, np.arange(30) % 2)
    large.coef_ = 1e7 * large.coef_
    model = fitted("temperature", FrozenEstimator(large), X, TWO)
    with pytest.raises(ValueError, match=r"ends at the edge.*method='sigmoid'"):
        Influence(model, X, TWO)
    model = fitted("sigmoid", FrozenEstimator(large), X, TWO)
    assert np.isfinite(Influence(model, X, TWO).loo_predict_proba()).all()


def test_other_rows_weights_and_classes_than_those_of_the_fit_are_refused():
    for method in METHODS:
        inside, y = HELD["decision values of two"]
        model = fitted(method, inside, X, y, WEIGHT)
        for data in ((X[::-1], y, WEIGHT), (X, y, None), (X, 1 - y, WEIGHT)):
            with pytest.raises(
                ValueError, match=r"must be those of the fit|Pass what was given to fit"
            ):
                Influence(model, *data)
    model = fitted("isotonic", HELD["chances of two"][0], X, THREE)
    with pytest.raises(ValueError, match="all classes that its classifier knows"):
        Influence(model, X, THREE)


@pytest.mark.skipif(not HAS_TEMPERATURE, reason="scikit-learn before 1.8")
def test_a_temperature_of_labels_that_scikit_learn_takes_for_positions_is_refused():
    inside = FrozenEstimator(LogisticRegression().fit(Z, np.arange(30) % 2 + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = CalibratedClassifierCV(inside, method="temperature").fit(X, TWO + 1)
    with pytest.raises(ValueError, match=re.escape("y.astype(str)")):
        Influence(model, X, TWO + 1)
    inside = FrozenEstimator(LogisticRegression().fit(Z, (np.arange(30) % 2 + 1).astype(str)))
    labels = (TWO + 1).astype(str)
    model = fitted("temperature", inside, X, labels)
    assert set(Influence(model, X, labels).loo_predict()) == {"1", "2"}


@pytest.mark.parametrize(
    "model",
    [
        CalibratedClassifierCV(make_pipeline(Nystroem(n_components=5), LogisticRegression()), cv=2),
        CalibratedClassifierCV(HELD["decision values of two"][0], cv=2, ensemble=True),
        CalibratedClassifierCV(
            OneVsRestClassifier(LogisticRegression()), cv=KFold(2, shuffle=True, random_state=0)
        ),
    ],
    ids=["steps that draw", "a held one in folds", "one with an inside"],
)
def test_folds_that_are_not_known_are_refused_with_a_way_out(model):
    model = clone(model).fit(X, TWO)
    with pytest.raises(TypeError, match="FrozenEstimator") as refusal:
        Influence(model, X, TWO)
    code = re.search(r"(Influence\(.*\))\.$", str(refusal.value))[1]
    known = {
        "Influence": Influence,
        "clone": clone,
        "CalibratedClassifierCV": CalibratedClassifierCV,
    }
    instead = eval(code, {**known, "model": model, "X": X, "y": TWO})
    asked, held = instead.estimator, isinstance(model.estimator, FrozenEstimator)
    assert repr(asked) == repr(
        clone(model).set_params(ensemble="auto", cv=None)
        if held
        else model.calibrated_classifiers_[0].estimator
    )
    assert np.isfinite(instead.loo_decision_function() if not held else instead.loo_predict()).all()
