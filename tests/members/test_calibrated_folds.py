"""Calibration in folds: without a row they are cut anew, and their models and calibrators follow."""

import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skinfluence import Influence, edits
from skinfluence.members import fold_models
from skinfluence.members.folds import Cuts
from skinfluence.unlearning import forget, receipt
from skinfluence.utils.estimator_checks import check_influence
from tests.closed_form.test_calibration import METHODS, chances
from tests.fewer import LONG

N = 42
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
LINE = X @ [1.0, -1.0, 0.5] + rng.standard_normal(N)
TWO = (LINE > 0).astype(int)
THREE = np.digitize(LINE, [-0.7, 0.7])
WEIGHT = np.linspace(0.5, 2.0, N)
ROWS = [0, 17, N - 1]
# To their optima, where the solvers of scikit-learn stop otherwise.
SURE = LogisticRegression(solver="newton-cholesky", tol=1e-12)
INSIDE = {
    "decision values of two": (SURE, TWO),
    "decision values of three": (SURE, THREE),
    "chances of two": (GaussianNB(), TWO),
    "chances of three": (GaussianNB(), THREE),
    "a machine": (SVC(kernel="linear", tol=1e-10), TWO),
    "neighbours": (KNeighborsClassifier(7), THREE),
    "scaled rows": (make_pipeline(StandardScaler(), SURE), TWO),
    "columns that are chosen": (make_pipeline(SelectKBest(k=2), GaussianNB()), TWO),
}


def scores_of(method, model, X):
    """What calibrators are fitted to, of a fitted classifier."""
    if hasattr(model, "decision_function"):
        found = model.decision_function(X)
        two = found.ndim == 1
        if method == "temperature":
            return np.column_stack([-found, found]) if two else found
        return found[:, None] if two else found
    found = model.predict_proba(X)
    if method == "temperature":
        return np.log(found + 1e-12)
    return found[:, 1:] if found.shape[1] == 2 else found


def refit(method, ensemble, cv, inside, X, y, w, at):
    """Chances at rows: each fold's model, and what its calibrators are, a second time."""

    def fitted(rows):
        weighed = not isinstance(inside, KNeighborsClassifier | Pipeline)
        given = {"sample_weight": w[rows]} if weighed else {}
        return clone(inside).fit(X[rows], y[rows], **given)

    folds = list(cv.split(X, y))
    models = [fitted(train) for train, _ in folds]
    own = [scores_of(method, m, X[test]) for m, (_, test) in zip(models, folds, strict=True)]
    if ensemble:
        with np.errstate(invalid="ignore"):
            parts = [
                chances(method, s, y[test], w[test], scores_of(method, m, at))
                for m, s, (_, test) in zip(models, own, folds, strict=True)
            ]
        # Where steps say that no class is possible, all are alike.
        return np.mean(np.nan_to_num(parts, nan=1 / len(np.unique(y))), axis=0)
    rows = np.concatenate([test for _, test in folds])
    last = scores_of(method, fitted(np.arange(len(y))), at)
    return chances(method, np.concatenate(own), y[rows], w[rows], last)


def fitted(method, ensemble, cv, inside, X, y, w=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = CalibratedClassifierCV(inside, method=method, ensemble=ensemble, cv=cv)
        return made.fit(X, y, sample_weight=w)


def change_of(before, after, at):
    return after.predict_proba(at) - before.predict_proba(at)


@pytest.mark.parametrize("ensemble", [True, False])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", INSIDE)
def test_without_a_row_all_is_as_if_it_had_not_been_there(name, method, ensemble):
    """atol=1e-7: a machine is libsvm's on one side; the others agree to 1e-9."""
    (inside, y), cv = INSIDE[name], StratifiedKFold(3)
    if method == "isotonic" and name == "a machine":
        pytest.skip("Rows on the margin have one score, which rounding puts in an order.")
    model = fitted(method, ensemble, cv, inside, X, y, WEIGHT)
    inf = Influence(model, X, y, WEIGHT)
    truth = method, ensemble, cv, inside
    left = [np.delete(np.arange(N), i) for i in ROWS]
    before = refit(*truth, X, y, WEIGHT, X)
    after = [refit(*truth, X[k], y[k], WEIGHT[k], X) for k in left]
    size = max(np.abs(one - before).max() for one in after)
    assert size > 1e-2
    sure = {"atol": (1e-7 if name == "a machine" else 1e-9), "rtol": 0}
    own = [one[i] for one, i in zip(after, ROWS, strict=True)]
    assert_allclose(inf.loo_predict_proba(indices=ROWS, method="exact"), own, **sure)
    found = inf.removal_effect(X, of="predict_proba", indices=ROWS, method="exact")
    assert_allclose(found, np.stack(after, axis=1) - before[:, None], **sure)
    # By default up to the share that is asked for, of what each model moves by.
    rough = inf.loo_predict_proba(indices=ROWS)
    assert_allclose(rough, own, atol=1e-3 * size if method != "isotonic" else 0.05, rtol=0)


@pytest.mark.parametrize("cv", [StratifiedKFold(4), KFold(3), 2])
@pytest.mark.parametrize("y", [TWO, THREE, TWO[::-1]], ids=["two", "three", "another order"])
def test_folds_without_each_row_are_those_of_the_splitter(cv, y):
    cuts = Cuts(cv, classifies=True)
    found = cuts.without(y, np.arange(N))
    for fold, some in found:
        for i in some:
            assert_array_equal(np.delete(fold, i), cuts.of(np.delete(y, i)))
    assert sorted(np.concatenate([some for _, some in found])) == list(range(N))
    # Few of them, which is what makes it cheap.
    assert len(found) <= (cuts.n_folds + 2) * len(np.unique(y))


@pytest.mark.parametrize("before", [None, StandardScaler()], ids=["rows", "scaled rows"])
def test_rows_keep_their_places_in_the_table_in_every_edit_and_the_model_after_it(before):
    """atol=1e-6: where the calibrators of scikit-learn end."""
    model = CalibratedClassifierCV(SURE, cv=StratifiedKFold(3))
    model = model if before is None else make_pipeline(before, model)
    model = model.fit(X, TWO)
    new = X[5] + 0.4
    edit = edits.remove([1, 5]) + edits.relabel([7], [1 - TWO[7]]) + edits.replace(20, new, 1)
    edit += edits.add(X[0] + 0.1, 1)
    X2, y2, left = X.copy(), TWO.copy(), np.delete(np.arange(N), [1, 5])
    X2[20], y2[20], y2[7] = new, 1, 1 - TWO[7]
    X2, y2 = np.vstack([X2[left], X[:1] + 0.1]), np.append(y2[left], 1)
    after = clone(model).fit(X2, y2)
    inf = Influence(model, X, TWO)
    expected = change_of(model, after, X)
    assert np.abs(expected).max() > 1e-2
    assert_allclose(inf.effect(edit, X, of="predict_proba").values, expected, atol=1e-6)
    assert_allclose(inf.edited(edit).estimator.predict_proba(X), after.predict_proba(X), atol=1e-12)
    labels = np.where(np.arange(N) == 4, 1 - TWO, TWO)
    found = inf.relabel_effect(X[:3], of="predict_proba", indices=[4])[:, 0, labels[4]]
    expected = change_of(model, clone(model).fit(X, labels), X[:3])
    assert_allclose(found, expected, atol=1e-6)
    group = np.arange(N) % 4
    found = inf.removal_effect(X[:3], of="predict_proba", groups=group)[:, 1]
    rest = clone(model).fit(X[group != 1], TWO[group != 1])
    assert_allclose(found, change_of(model, rest, X[:3]), atol=1e-6)


def test_a_row_that_weighs_nothing_is_in_a_fold_and_one_that_leaves_is_not():
    model = fitted("sigmoid", True, 3, SURE, X, TWO)
    inf, weight = Influence(model, X, TWO), np.where(np.arange(N) == 9, 0.0, 1.0)
    asked = [edits.reweight(9, 0.0), edits.remove(9)]
    found = inf.effect(asked, X[:3], of="predict_proba").values
    light = fitted("sigmoid", True, 3, SURE, X, TWO, weight)
    gone = fitted("sigmoid", True, 3, SURE, np.delete(X, 9, axis=0), np.delete(TWO, 9))
    expected = np.stack([change_of(model, one, X[:3]) for one in (light, gone)], axis=1)
    assert np.abs(expected[:, 0] - expected[:, 1]).max() > 1e-3
    assert_allclose(found, expected, atol=1e-6)
    edited = inf.edited(edits.reweight(9, 0.0)).estimator
    assert_allclose(edited.predict_proba(X), light.predict_proba(X), atol=1e-12)


def test_a_scaler_before_it_sees_each_row_leave():
    model = make_pipeline(StandardScaler(), CalibratedClassifierCV(SURE, cv=3)).fit(X, TWO)
    found = Influence(model, X, TWO).loo_predict_proba(indices=ROWS)
    left = [np.delete(np.arange(N), i) for i in ROWS]
    expected = [
        clone(model).fit(X[k], TWO[k]).predict_proba(X[[i]])[0]
        for i, k in zip(ROWS, left, strict=True)
    ]
    assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "labels"),
    [
        ("sigmoid", np.array(["no", "yes"])[TWO]),
        ("sigmoid", TWO + 4),
        (METHODS[-1], np.array(["no", "yes"])[TWO]),
    ],
    ids=["words", "4 and 5", "words of a temperature"],
)
@pytest.mark.filterwarnings("ignore:Row .* has no answer")
def test_labels_are_what_they_are(method, labels):
    model = fitted(method, True, 3, GaussianNB(), X, labels)
    inf = Influence(model, X, labels)
    found = inf.loo_predict()
    chance = inf.loo_predict_proba()
    # A temperature may end at the edge.
    known = ~np.isnan(chance).any(axis=1)
    assert known.sum() >= N - 1
    assert_array_equal(found[known], np.unique(labels)[chance[known].argmax(axis=1)])
    assert inf.loo_score() == np.mean(found[known] == labels[known])
    other = np.unique(labels)[1 - TWO[3]]
    edit = edits.remove(17) + edits.relabel([3], [other])
    turned, k = np.where(np.arange(N) == 3, other, labels), np.delete(np.arange(N), 17)
    after = fitted(method, True, 3, GaussianNB(), X[k], turned[k])
    change = inf.effect(edit, X[:3], of="predict_proba").values
    assert_allclose(change, change_of(model, after, X[:3]), atol=1e-6)
    assert_allclose(inf.edited(edit).estimator.predict_proba(X), after.predict_proba(X), atol=1e-12)


@pytest.mark.skipif(not LONG, reason="fits of all folds for every check")
def test_the_contract_holds():
    model = CalibratedClassifierCV(GaussianNB(), cv=2)
    found = check_influence(model, data=(X[:24], TWO[:24]))
    assert sum(one["status"] == "passed" for one in found) >= 8


# Ends ---------------------------------------------------------------------------------------------


def test_rows_of_a_class_that_then_has_fewer_than_there_are_folds_have_no_answer():
    y = np.where(np.isin(np.arange(N), [3, 11, 30]), 1, 0)
    model = fitted("sigmoid", True, 3, GaussianNB(), X, y)
    with pytest.raises(ValueError, match="less than 3 examples"):
        clone(model).fit(np.delete(X, 3, axis=0), np.delete(y, 3))
    with pytest.warns(UserWarning, match=r"Rows 3, 11, 30 have no answer.*folds"):
        found = Influence(model, X, y).loo_predict_proba()
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [3, 11, 30]


def test_models_that_are_not_at_their_optima_are_said_not_to_be():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = CalibratedClassifierCV(LogisticRegression(max_iter=2), cv=3).fit(X, TWO)
    with pytest.warns(ConvergenceWarning, match="not at the optimum"):
        found = Influence(model, X, TWO).loo_predict_proba(indices=[3], method="exact")
    best = fitted("sigmoid", True, 3, SURE, np.delete(X, 3, axis=0), np.delete(TWO, 3))
    assert_allclose(found, best.predict_proba(X[[3]]), atol=1e-6)


def test_other_rows_than_those_of_the_fit_are_refused():
    for inside in (SURE, GaussianNB(), SVC()):
        model = fitted("sigmoid", True, 3, inside, X, TWO)
        for data in ((X[::-1], TWO[::-1]), (X, 1 - TWO), (X[1:], TWO[1:])):
            with pytest.raises(ValueError, match=r"those of the fit|given to fit"):
                Influence(model, *data)


REFUSED = {
    "steps that draw": (
        make_pipeline(Nystroem(random_state=0, n_components=5), SURE),
        3,
        "another draw",
    ),
    "a search": (GridSearchCV(SURE, {"C": [1.0, 2.0]}, cv=2), 3, "which chose the parameters"),
    "a forest": (RandomForestClassifier(3, random_state=0), 3, "Trees are piecewise constant"),
    "folds that are drawn": (
        SURE,
        StratifiedKFold(3, shuffle=True, random_state=0),
        "draws its folds",
    ),
    "folds that are listed": (SURE, list(StratifiedKFold(3).split(X, TWO)), "Fit with cv=5"),
    "what was chosen": (RidgeClassifierCV(), 3, "chose alpha_"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_without_a_row_is_refused_with_a_way_out(name):
    inside, cv, words = REFUSED[name]
    model = fitted("sigmoid", True, cv, inside, X, TWO)
    with pytest.raises(TypeError, match=words) as refusal:
        Influence(model, X, TWO)
    known = {"Influence": Influence, "clone": clone, "model": model, "X": X, "y": TWO}
    found = re.search(r"(Influence\(.*\))\.$", str(refusal.value))
    if found is not None and name != "a forest":
        assert np.isfinite(eval(found[1], known).loo_decision_function()).all()


def test_steps_inside_that_read_no_numbers_are_asked_for_before_it():
    pd = pytest.importorskip("pandas")
    frame, texts = pd.DataFrame(X, columns=["a", "b", "c"]), np.array(["one two", "two three"])[TWO]
    named = make_pipeline(ColumnTransformer([("a", StandardScaler(), ["a", "b"])]), SURE)
    read = make_pipeline(CountVectorizer(), SURE)
    for inside, rows, words in (
        (named, frame, r"must take arrays of numbers.*Put its steps before the calibration"),
        (read, texts, r"must be finite numbers here.*Put what reads them before it"),
    ):
        model = fitted("sigmoid", True, 3, inside, rows, TWO)
        with pytest.raises((TypeError, ValueError), match=words):
            Influence(model, rows, TWO)
    outside = make_pipeline(named[0], CalibratedClassifierCV(SURE, cv=3)).fit(frame, TWO)
    refit = clone(outside).fit(frame.drop(index=3), np.delete(TWO, 3))
    found = Influence(outside, frame, TWO).loo_predict_proba(indices=[3])
    assert_allclose(found, refit.predict_proba(frame.iloc[[3]]), atol=1e-6)


def test_streams_receipts_and_derivatives_are_refused_by_name():
    model = fitted("sigmoid", True, 3, SURE, X, TWO)
    inf = Influence(model, X, TWO)
    asked = {
        "cut anew after each": [lambda: inf.after(edits.remove(3)), lambda: forget(inf, [3])],
        "calibration in folds": [
            lambda: inf.influence_up_loss(X, TWO),
            lambda: inf.self_influence(),
        ],
        "distance from its optimum": [lambda: receipt(model, X, TWO)],
        "in folds, which": [lambda: inf.loo_predict(method="influence")],
    }
    for words, questions in asked.items():
        for ask in questions:
            with pytest.raises(TypeError, match=words):
                ask()


def test_a_fold_without_a_class_is_refused_with_folds_that_have_all():
    order = np.argsort(TWO, kind="stable")
    rows, y = X[order], TWO[order]
    model = fitted("sigmoid", True, KFold(7), GaussianNB(), rows, y)
    with pytest.raises(
        ValueError, match=r"Got one without class 1\. Fit with cv=StratifiedKFold\(7\)"
    ):
        Influence(model, rows, y)
    model = fitted("sigmoid", True, StratifiedKFold(7), GaussianNB(), rows, y)
    assert np.isfinite(Influence(model, rows, y).loo_predict_proba(indices=[3])).all()


@pytest.mark.parametrize("form", ["sparse rows", "balanced classes"])
def test_rows_may_be_sparse_and_classes_balanced_anew_in_each_fold(form):
    y, rows = (LINE > 0.8).astype(int), X
    inside = clone(SURE)
    if form == "sparse rows":
        rows = sp.csr_array(X * (np.abs(X) > 0.5))
    else:
        inside.set_params(class_weight="balanced")
    model = fitted("sigmoid", True, 3, inside, rows, y)
    k = np.delete(np.arange(N), 17)
    refit = fitted("sigmoid", True, 3, inside, rows[k], y[k])
    inf = Influence(model, rows, y)
    found = inf.removal_effect(rows[:4], of="predict_proba", indices=[17], method="exact")[:, 0]
    assert_allclose(found, change_of(model, refit, rows[:4]), atol=1e-6)
    edit = edits.remove(17) + edits.relabel([3], [1 - y[3]])
    y2 = np.where(np.arange(N) == 3, 1 - y, y)
    refit = fitted("sigmoid", True, 3, inside, rows[k], y2[k])
    found = inf.effect(edit, rows[:4], of="predict_proba").values
    assert_allclose(found, change_of(model, refit, rows[:4]), atol=1e-6)


def test_models_that_are_not_kept_are_fitted_again(monkeypatch):
    model = fitted("sigmoid", True, 3, GaussianNB(), X, TWO)
    expected = Influence(model, X, TWO).loo_predict_proba()
    monkeypatch.setattr(fold_models, "KEPT_BYTES", 0)
    assert_array_equal(Influence(model, X, TWO).loo_predict_proba(), expected)


def test_a_classifier_that_is_held_is_calibrated_on_all_rows():
    held = FrozenEstimator(clone(SURE).fit(X, TWO))
    model = CalibratedClassifierCV(held, cv=2, ensemble=True).fit(X, TWO)
    with pytest.raises(TypeError, match="Leave ensemble at 'auto'"):
        Influence(model, X, TWO)


@pytest.mark.skipif(not LONG, reason="a table of 569 rows")
def test_the_table_of_cancers_is_answered_as_refits_answer():
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = CalibratedClassifierCV(SURE).fit(X, y)
    rows = np.arange(0, 569, 40)
    found = Influence(model, X, y).loo_predict_proba(method="exact")[rows]
    left = [np.delete(np.arange(569), i) for i in rows]
    expected = [
        clone(model).fit(X[k], y[k]).predict_proba(X[[i]])[0]
        for i, k in zip(rows, left, strict=True)
    ]
    assert_allclose(found, expected, atol=1e-5)


def test_rows_of_weight_0_that_folds_count_are_named(rng):
    """Stratified folds are cut by how many rows there are; without those that weigh nothing each has its own."""
    X, y, weight = rng.standard_normal((20, 2)), np.repeat([0, 1], 10), np.ones(20)
    weight[:5] = 0.0
    model = CalibratedClassifierCV(LogisticRegression(), cv=StratifiedKFold(2))
    with pytest.raises(
        ValueError, match=r"without class 0\. Leave rows of weight 0 out\. Fit with"
    ):
        Influence(model.fit(X, y, weight), X, y, weight)
    X, y = X[5:], y[5:]
    found = Influence(model.fit(X, y), X, y).removal_effect(X[:2], of="predict_proba", indices=[7])
    assert np.isfinite(found).all()
