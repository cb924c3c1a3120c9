"""Stacks: without a row the folds are cut anew, their models move, and the last model follows."""

import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestRegressor, StackingClassifier, StackingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeCV,
)
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skinfluence import Influence, edits
from skinfluence.unlearning import receipt
from skinfluence.utils.estimator_checks import check_influence
from tests.fewer import LONG

N = 42
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
LINE = X @ [1.0, -1.0, 0.5] + rng.standard_normal(N)
TWO = (LINE > 0).astype(int)
THREE = np.digitize(LINE, [-0.7, 0.7])
WORDS = np.array(["x", "y", "z"])[THREE]
WEIGHT = np.linspace(0.5, 2.0, N)
ROWS = [0, 17, N - 1]
# To their optima, where the solvers of scikit-learn stop otherwise.
NEWTON = {"solver": "newton-cholesky", "tol": 1e-12}
SURE = LogisticRegression(**NEWTON)
BALANCED = clone(SURE).set_params(class_weight="balanced")
SCALED = make_pipeline(StandardScaler(), SURE)
CASES = {
    "two classes": (StackingClassifier([("a", SURE), ("b", GaussianNB())], SURE, cv=2), TWO),
    "three words": (StackingClassifier([("a", SURE), ("b", GaussianNB())], SURE, cv=3), WORDS),
    "features too": (
        StackingClassifier([("a", SURE), ("b", "drop")], SURE, cv=3, passthrough=True),
        TWO,
    ),
    "a machine": (StackingClassifier([("a", SVC(kernel="linear", tol=1e-10))], SURE, cv=3), TWO),
    "steps inside": (
        StackingClassifier([("a", SCALED), ("b", KNeighborsClassifier(5))], SCALED, cv=3),
        THREE,
    ),
    "balanced classes": (StackingClassifier([("a", BALANCED)], BALANCED, cv=3), (LINE > 0.8) * 1),
    "sums last": (
        StackingClassifier([("a", SURE), ("b", RidgeClassifier())], GaussianNB(), cv=3),
        THREE,
    ),
    "ridges, the last one among candidates": (
        StackingRegressor([("a", Ridge()), ("b", Lasso(0.05, tol=1e-12))]),
        LINE,
    ),
    "neighbours": (
        StackingRegressor([("a", Ridge()), ("b", KNeighborsRegressor(5))], LinearRegression()),
        LINE,
    ),
    "a link": (
        StackingRegressor([("a", PoissonRegressor(**NEWTON)), ("b", Ridge())], Ridge(0.1), cv=3),
        np.abs(LINE),
    ),
    "a link last": (
        StackingRegressor([("a", Ridge())], PoissonRegressor(**NEWTON), cv=3),
        np.abs(LINE),
    ),
    "behind a scaler": (
        make_pipeline(StandardScaler(), StackingRegressor([("a", Ridge())], Ridge(0.1), cv=3)),
        LINE,
    ),
}


def output_of(model):
    """What is compared, and the quantity of that name."""
    if hasattr(model, "decision_function"):
        return "decision_function", "decision_function"
    return ("predict_proba",) * 2 if hasattr(model, "predict_proba") else ("predict",) * 2


@pytest.mark.parametrize("name", CASES)
def test_without_a_row_all_is_as_if_it_had_not_been_there(name):
    """atol=1e-6: a machine is libsvm's on one side; the others agree to 1e-9 of values of about one."""
    model, y = CASES[name]
    model = clone(model).fit(X, y)
    output, of = output_of(model)
    refits = [clone(model).fit(np.delete(X, i, 0), np.delete(y, i)) for i in ROWS]
    inf = Influence(model, X, y)
    sure = {"atol": 1e-6 if name == "a machine" else 1e-9, "rtol": 0}
    own = [getattr(one, output)(X[[i]])[0] for one, i in zip(refits, ROWS, strict=True)]
    assert_allclose(getattr(inf, f"loo_{output}")(method="exact", indices=ROWS), own, **sure)
    before = getattr(model, output)(X[:5])
    expected = np.stack([getattr(one, output)(X[:5]) - before for one in refits], axis=1)
    assert np.abs(expected).max() > 1e-2
    found = inf.removal_effect(X[:5], of=of, indices=ROWS, method="exact")
    assert_allclose(found, expected, **sure)
    # By default up to the share that is asked for, of what each model moves by.
    rough = inf.removal_effect(X[:5], of=of, indices=ROWS)
    assert_allclose(rough, expected, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["three words", "steps inside", "neighbours", "behind a scaler"])
def test_rows_keep_their_places_in_every_edit_and_in_the_model_after_it(name):
    model, y = CASES[name]
    model = clone(model).fit(X, y)
    output, of = output_of(model)
    new = X[5] + 0.4
    edit = edits.remove([1, 5]) + edits.relabel(7, y[0]) + edits.replace(20, new, y[3])
    edit += edits.add(X[0] + 0.1, y[3])
    X2, y2, left = X.copy(), y.copy(), np.delete(np.arange(N), [1, 5])
    X2[20], y2[20], y2[7] = new, y[3], y[0]
    after = clone(model).fit(np.vstack([X2[left], X[:1] + 0.1]), np.append(y2[left], y[3]))
    inf = Influence(model, X, y)
    expected = getattr(after, output)(X) - getattr(model, output)(X)
    assert_allclose(inf.effect(edit, X, of=of).values, expected, atol=1e-9)
    edited = inf.edited(edit).estimator
    assert type(edited) is type(model)
    assert_allclose(getattr(edited, output)(X), getattr(after, output)(X), atol=1e-9)
    group = np.arange(N) % 4
    rest = clone(model).fit(X[group != 1], y[group != 1])
    expected = getattr(rest, output)(X[:3]) - getattr(model, output)(X[:3])
    found = inf.removal_effect(X[:3], of=of, groups=group)[:, 1]
    assert_allclose(found, expected, atol=1e-9)


def test_weights_are_those_of_all_its_models_and_a_row_of_none_is_in_a_fold():
    model = StackingClassifier([("a", SURE), ("b", GaussianNB())], SURE, cv=3)

    def fitted(rows, weight, y=THREE):
        return clone(model).fit(X[rows], y[rows], sample_weight=weight[rows])

    everything, kept = np.arange(N), np.delete(np.arange(N), 17)
    fit = fitted(everything, WEIGHT)
    inf = Influence(fit, X, THREE, sample_weight=WEIGHT)
    found = inf.loo_predict_proba(indices=[17], method="exact")
    assert_allclose(found, fitted(kept, WEIGHT).predict_proba(X[[17]]), atol=1e-9)
    light = fitted(everything, np.where(everything == 9, 0.0, WEIGHT))
    expected = light.predict_proba(X[:4]) - fit.predict_proba(X[:4])
    found = inf.effect(edits.reweight(9, 0.0), X[:4], of="predict_proba").values
    assert_allclose(found, expected, atol=1e-9)
    label = (THREE[4] + 1) % 3
    turned = np.where(everything == 4, label, THREE)
    found = inf.relabel_effect(X[:3], of="predict_proba", indices=[4])[:, 0, label]
    expected = fitted(everything, WEIGHT, turned).predict_proba(X[:3]) - fit.predict_proba(X[:3])
    assert_allclose(found, expected, atol=1e-9)


def test_what_the_last_model_chooses_among_candidates_it_chooses_anew():
    last = RidgeCV(alphas=np.geomspace(1e-2, 1e2, 60))
    model = StackingRegressor([("a", Ridge()), ("b", KNeighborsRegressor(4))], last, cv=3).fit(
        X, LINE
    )
    refits = [clone(model).fit(np.delete(X, i, 0), np.delete(LINE, i)) for i in range(6)]
    assert len({one.final_estimator_.alpha_ for one in refits}) > 1
    expected = [one.predict(X[[i]])[0] for i, one in enumerate(refits)]
    inf = Influence(model, X, LINE, frozen="refuse")
    assert_allclose(inf.loo_predict(indices=range(6), method="exact"), expected, atol=1e-9)


def test_rows_may_be_sparse_and_a_frame():
    rows = sp.csr_array(X * (np.abs(X) > 0.5))
    model = StackingClassifier([("a", SURE)], SURE, cv=3, passthrough=True).fit(rows, TWO)
    kept = np.delete(np.arange(N), 17)
    refit = clone(model).fit(rows[kept], TWO[kept])
    found = Influence(model, rows, TWO).loo_predict_proba(indices=[17], method="exact")
    assert_allclose(found, refit.predict_proba(rows[[17]]), atol=1e-9)
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = StackingRegressor([("a", Ridge())], Ridge(0.1), cv=3).fit(frame, LINE)
    refit = clone(model).fit(frame.iloc[kept], LINE[kept])
    found = Influence(model, frame, LINE).loo_predict(indices=[17], method="exact")
    assert_allclose(found, refit.predict(frame.iloc[[17]]), atol=1e-9)


def test_what_it_costs_is_said_beforehand():
    model = StackingRegressor([("a", Ridge()), ("b", Lasso(0.1))], cv=3).fit(X, LINE)
    inf = Influence(model, X, LINE)
    all_rows, refits = (
        inf.estimate("loo"),
        inf.estimate("effect", X[:2], edits=edits.remove([3, 5])),
    )
    # Two models of all rows, and at most those of three folds in each of four cuts.
    assert 2 * 4 <= all_rows.fits <= 2 * (1 + 3 * 4)
    assert refits.fits == 2 * 4
    assert all_rows.seconds > 0 and refits.seconds > 0


@pytest.mark.skipif(not LONG, reason="fits of all folds for every check")
def test_the_contract_holds():
    model = StackingRegressor([("a", Ridge()), ("b", Ridge(10.0))], Ridge(0.1), cv=2)
    found = check_influence(model, data=(X[:24], LINE[:24]))
    assert sum(one["status"] == "passed" for one in found) >= 8


# Ends ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_rows_without_which_a_fold_has_all_of_a_class_have_no_answer():
    y = np.where(np.isin(np.arange(N), [3, 30]), 1, 0)
    model = StackingClassifier([("a", GaussianNB())], SURE, cv=3).fit(X, y)
    with pytest.warns(UserWarning, match=r"Rows 3, 30 have no answer.*all the rows of a class"):
        found = Influence(model, X, y).loo_predict_proba(method="exact")
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [3, 30]


def test_a_class_that_one_fold_has_alone_is_named():
    y = np.where(np.arange(N) == 3, "alone", WORDS)
    with warnings.catch_warnings():
        # Of scikit-learn, that a class has one member.
        warnings.simplefilter("ignore", UserWarning)
        model = StackingClassifier([("a", GaussianNB())], SURE, cv=3).fit(X, y)
        with pytest.raises(ValueError, match=r"one fold with all the rows of class alone\. Leave"):
            Influence(model, X, y)
        there = np.arange(N) != 3
        rest = clone(model).fit(X[there], y[there])
        assert np.isfinite(Influence(rest, X[there], y[there]).loo_predict_proba()).all()


def test_other_rows_than_those_of_the_fit_are_refused():
    for inside, last in ((SURE, SURE), (GaussianNB(), SURE), (GaussianNB(), GaussianNB())):
        model = StackingClassifier([("a", inside)], last, cv=3).fit(X, TWO)
        for data in ((X[::-1], TWO[::-1]), (X, 1 - TWO), (X[1:], TWO[1:])):
            with pytest.raises(ValueError, match=r"those of the fit|given to fit"):
                Influence(model, *data)
    model = StackingRegressor([("a", Ridge())], cv=3).fit(X, LINE)
    with pytest.raises(ValueError, match="those of the fit"):
        Influence(model, np.roll(X, 3, axis=0), np.roll(LINE, 3))


HELD = FrozenEstimator(Ridge().fit(X, LINE))
CURVED = TransformedTargetRegressor(Ridge(), func=np.arcsinh, inverse_func=np.sinh)
REFUSED = {
    "a forest": ([("a", RandomForestRegressor(3, random_state=0))], {}, "Trees are piecewise"),
    "a search": ([("a", GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}))], {}, "a, .* which chose"),
    "a penalty that was chosen": ([("a", RidgeCV())], {}, "which chose alpha_"),
    "folds that are drawn": (
        [("a", Ridge())],
        {"cv": KFold(3, shuffle=True, random_state=0)},
        r"Fit with cv=5 or cv=KFold\(5\)",
    ),
    "one that is held": ([("a", HELD), ("b", Ridge())], {}, "all be FrozenEstimators"),
    "a forest last": (
        [("a", Ridge())],
        {"final_estimator": RandomForestRegressor(3, random_state=0)},
        "Trees are piecewise",
    ),
    "a curve last": ([("a", Ridge())], {"final_estimator": CURVED}, "around the stack"),
    "a curve inside": ([("a", CURVED)], {}, "around the stack"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_without_a_row_is_refused_with_a_way_out(name):
    models, more, words = REFUSED[name]
    model = StackingRegressor(models, **more).fit(X, LINE)
    with pytest.raises(TypeError, match=words) as refusal:
        Influence(model, X, LINE)
    known = {"Influence": Influence, "clone": clone, "model": model, "X": X, "y": LINE}
    way, question = re.search(r"(Z = .*); (Influence\(.*\))\.$", str(refusal.value)).groups()
    exec(way, known)
    if name != "a forest last":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.isfinite(eval(question, known).loo_predict()).all()


def test_labels_alone_and_models_that_are_given_fitted_are_refused():
    held = FrozenEstimator(GaussianNB().fit(X, WORDS))
    asked = {
        "stack_method='auto'": StackingClassifier([("a", SURE)], SURE, stack_method="predict"),
        r"searchsorted\(model.classes_, y\)": StackingClassifier([("a", held)], SURE),
        "or cv='prefit'": StackingClassifier([("a", held.estimator)], SURE, cv="prefit"),
    }
    for words, model in asked.items():
        with pytest.raises(TypeError, match=words):
            Influence(model.fit(X, WORDS), X, WORDS)
    positions = np.searchsorted(np.unique(WORDS), WORDS)
    model = StackingClassifier([("a", held)], SURE).fit(X, positions)
    assert np.isfinite(Influence(model, X, positions).loo_predict_proba()).all()


def test_streams_receipts_and_derivatives_are_refused_by_name():
    model = StackingClassifier([("a", SURE)], SURE, cv=3).fit(X, TWO)
    inf = Influence(model, X, TWO)
    asked = {
        "cut anew after each": lambda: inf.after(edits.remove(3)),
        "a stack": lambda: inf.influence_up_loss(X, TWO),
        "distance from its optimum": lambda: receipt(model, X, TWO),
        "a stack, which": lambda: inf.loo_predict(method="influence"),
    }
    for words, ask in asked.items():
        with pytest.raises(TypeError, match=words):
            ask()


def test_fits_that_stopped_early_are_answered_about_their_optima():
    """The last model of the fit is within what lbfgs leaves by default of what answers start from."""
    model = StackingClassifier([("a", LogisticRegression())], cv=StratifiedKFold(3)).fit(X, TWO)
    inf = Influence(model, X, TWO)
    best = StackingClassifier([("a", SURE)], SURE, cv=3).fit(np.delete(X, 3, 0), np.delete(TWO, 3))
    found = inf.loo_predict_proba(indices=[3], method="exact")
    assert_allclose(found, best.predict_proba(X[[3]]), atol=1e-9)
    assert_array_equal(inf.loo_predict(indices=[3]), best.predict(X[[3]]))
