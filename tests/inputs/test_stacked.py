"""Stacks of models that are held: without a row the last model is the one of the others, and nothing else moves."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, StackingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skinfluence import Influence, edits
from skinfluence.cleaning import audit
from skinfluence.pipeline import NoDerivativeError

N = 40
rng = np.random.default_rng(0)
X = rng.standard_normal((2 * N, 3))
LINE = X @ [1.0, -1.0, 0.5] + rng.standard_normal(2 * N)
THREE = np.digitize(LINE, [-0.7, 0.7])
OLD, NEW = slice(0, N), slice(N, None)
LAST = LogisticRegression(solver="newton-cholesky", tol=1e-12)


def held(model, y):
    return FrozenEstimator(clone(model).fit(X[OLD], y[OLD]))


FOREST, BAYES = held(RandomForestClassifier(9, random_state=0), THREE), held(GaussianNB(), THREE)
KERNEL, LINEAR = held(KernelRidge(kernel="rbf"), LINE), held(Ridge(), LINE)
CASES = {
    "classes": (StackingClassifier([("a", FOREST), ("b", BAYES)], LAST), THREE),
    "classes, prefit, features too": (
        StackingClassifier([("a", FOREST), ("b", BAYES)], LAST, cv="prefit", passthrough=True),
        THREE,
    ),
    "two classes, a pipeline last": (
        StackingClassifier(
            [("a", held(SVC(), THREE > 1))], make_pipeline(StandardScaler(), LAST), passthrough=True
        ),
        1 * (THREE > 1),
    ),
    "numbers": (StackingRegressor([("a", KERNEL), ("b", LINEAR)], Ridge(0.1)), LINE),
    "numbers behind a scaler": (
        make_pipeline(StandardScaler(), StackingRegressor([("a", KERNEL)], Ridge(0.1))),
        LINE,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_stacks_of_held_models_are_those_of_refits(name):
    model, y = CASES[name]
    Z, y = X[NEW], y[NEW]
    model = clone(model).fit(Z, y)
    output = "predict_proba" if hasattr(model, "classes_") else "predict"
    inf = Influence(model, Z, y)
    rows = [0, 7, 31]
    expected = [
        getattr(clone(model).fit(np.delete(Z, i, 0), np.delete(y, i)), output)(Z[[i]])[0]
        for i in rows
    ]
    found = getattr(inf, f"loo_{output}")(method="exact", indices=rows)
    assert_allclose(found, expected, atol=1e-9)
    edit = edits.remove([1, 5]) + edits.relabel(7, y[0]) + edits.add(Z[0] + 0.1, y[3])
    after, left = y.copy(), np.delete(np.arange(N), [1, 5])
    after[7] = y[0]
    refit = clone(model).fit(np.vstack([Z[left], Z[:1] + 0.1]), np.append(after[left], y[3]))
    change = getattr(refit, output)(Z) - getattr(model, output)(Z)
    found = inf.effect(edit, Z, of=output, method="exact").values
    assert_allclose(found, change, atol=1e-9)
    edited = inf.edited(edit).estimator
    assert type(edited) is type(model)
    assert_allclose(getattr(edited, output)(Z), getattr(refit, output)(Z), atol=1e-8)


def test_audits_fit_stacks_again_and_features_below_have_no_derivative():
    model, y = CASES["numbers"]
    Z, y = X[NEW], y[NEW]
    model = clone(model).fit(Z, y)
    with pytest.raises(NoDerivativeError):
        Influence(model, Z, y).influence_pert(Z[:2], y[:2])
    pytest.importorskip("pandas")
    assert audit(model, Z, y).verify(2)["difference"].abs().max() < 1e-9


def test_labels_of_held_models_are_positions_and_some_that_learn_are_refused():
    words = THREE[NEW].astype(str)
    for model, y, said in (
        (
            StackingClassifier([("a", FOREST), ("b", GaussianNB())], LAST),
            THREE[NEW],
            "all be Frozen",
        ),
        (StackingClassifier([("a", held(GaussianNB(), THREE.astype(str)))], LAST), words, "0, 1"),
    ):
        with pytest.raises(TypeError, match=rf"{said}.*final_estimator_"):
            Influence(clone(model).fit(X[NEW], y), X[NEW], y)
