"""Labels are repaired in rounds, and inside cross-validation without leaking."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression as SkLogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence.cleaning import LabelCleaner, audit
from skinfluence.datasets import load_demo, shift_targets
from skinfluence.linear_model import LogisticRegression, Ridge

TIGHT = {"tol": 1e-10, "max_iter": 5000}


@pytest.fixture(scope="module")
def demo():
    return load_demo("wine", flip_share=0.1, random_state=0)


MODELS = {
    "a pipeline": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, **TIGHT)),
    "one that used y": make_pipeline(
        StandardScaler(), SelectKBest(k=9), LogisticRegression(C=0.1, **TIGHT)
    ),
    "a plain model": SkLogisticRegression(C=1e-2, solver="newton-cholesky", **TIGHT),
}


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_an_update_is_an_audit_of_the_corrected_labels(demo, model, weights):
    """Beside one that is made from scratch; three labels are corrected, one is confirmed."""
    weight = np.random.RandomState(0).uniform(0.5, 2, len(demo.y)) if weights else None
    named = {} if weight is None else {"sample_weight": weight}
    if weights and hasattr(model, "steps"):
        named = {f"{model.steps[-1][0]}__sample_weight": weight}
    options = {"sample_weight": weight, "frozen": "accept", "method": "exact"}
    fitted = clone(model).fit(demo.X, demo.y, **named)
    found = audit(fitted, demo.X, demo.y, **options)
    before = found.table.copy()
    rows = [*found.table["row"][:3], found.table["row"].iloc[-1]]
    updated = found.update(rows, demo.y_true[rows])
    y = demo.y.copy()
    y[rows] = demo.y_true[rows]
    scratch = audit(clone(model).fit(demo.X, y, **named), demo.X, y, **options)
    pd.testing.assert_frame_equal(found.table, before)
    np.testing.assert_array_equal(updated.y, y)
    ours, theirs = (one.table.set_index("row").sort_index() for one in (updated, scratch))
    for name in ("loo_loss", "error_proba", "self_influence", "effect_of_dropping"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-5, atol=1e-9)
    assert (ours.loc[rows, "action"] == "keep").all() and ours["checked"].sum() == 4
    assert updated.table["row"].tail(4).isin(rows).all()
    others = ours.index.difference(rows)
    assert (ours.loc[others, "action"] == theirs.loc[others, "action"]).all()


def test_rows_that_were_confirmed_are_left_alone_from_then_on(demo):
    model = MODELS["a pipeline"].fit(demo.X, demo.y)
    found = audit(model, demo.X, demo.y, frozen="accept")
    first = found.table["row"][0]
    assert found.table["action"][0] != "keep"
    once = found.update([first])
    assert once.estimator is model and first not in {*once.plan().drop, *once.plan().relabel}
    second = once.table["row"][0]
    twice = once.update(second, "class_2")
    assert twice.checked.sum() == 2 and first not in {*twice.plan().drop, *twice.plan().relabel}
    assert twice.y[second] == "class_2"


def test_an_update_goes_on_from_where_the_model_was(demo):
    model = MODELS["a pipeline"].fit(demo.X, demo.y)
    updated = audit(model, demo.X, demo.y, frozen="accept").update([3], ["class_2"])
    y = updated.y
    assert updated.estimator[-1].n_iter_[0] < clone(model).fit(demo.X, y)[-1].n_iter_[0]
    assert updated.estimator[-1].warm_start is False and model[-1].warm_start is False


def test_a_class_may_come_or_go_with_an_update(demo):
    model = MODELS["a pipeline"].fit(demo.X, demo.y)
    found = audit(model, demo.X, demo.y, frozen="accept")
    rows = np.flatnonzero(demo.y_true == "class_2")[:9]
    updated = found.update(rows, ["class_10"] * 9)
    assert "class_10" in updated.classes.tolist() and len(updated.classes) == 4


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        ([200], None, "0 to 177. Got 200"),
        ([3, 3], None, "row 3 twice"),
        ([3], ["a", "b"], "Got 2 for 1 rows"),
        ([True, False], None, "mask"),
        ([1.5], None, "by position"),
    ],
)
def test_an_update_names_rows_once_by_position(demo, rows, labels, words):
    found = audit(MODELS["a pipeline"].fit(demo.X, demo.y), demo.X, demo.y, frozen="accept")
    with pytest.raises(ValueError, match=words):
        found.update(rows, labels)


def test_rounds_of_a_few_checked_rows_find_the_errors(demo):
    """Six rounds of four rows, each answered by the truth: most errors are gone."""
    found = audit(MODELS["a pipeline"].fit(demo.X, demo.y), demo.X, demo.y, frozen="accept")
    for _ in range(6):
        rows = found.table["row"][:4].tolist()
        found = found.update(rows, demo.y_true[rows])
    assert (found.y != demo.y_true).sum() <= 0.15 * demo.flipped.sum()
    assert found.checked.sum() == 24


# In a pipeline ----------------------------------------------------------------------------------


@pytest.fixture
def imblearn():
    return pytest.importorskip("imblearn.pipeline")


def test_cleaning_inside_cross_validation_sees_no_row_it_is_judged_on(imblearn, demo):
    """The same as by hand: audit, clean and fit on each training part, predict the labels as given."""
    cleaner = LabelCleaner(LogisticRegression(C=0.1))
    model = imblearn.make_pipeline(StandardScaler(), cleaner, LogisticRegression(C=0.1))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    proba = cross_val_predict(model, demo.X, demo.y, cv=folds, method="predict_proba")
    for train, test in folds.split(demo.X, demo.y):
        scaler = StandardScaler().fit(demo.X[train])
        Z, y = scaler.transform(demo.X[train]), demo.y[train]
        audited = audit(LogisticRegression(C=0.1).fit(Z, y), Z, y)
        Z_clean, y_clean, _ = audited.apply(Z)
        last = LogisticRegression(C=0.1).fit(Z_clean, y_clean)
        np.testing.assert_allclose(proba[test], last.predict_proba(scaler.transform(demo.X[test])))
    plain = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1)), demo.X, demo.y, cv=folds
    )
    cleaned = np.unique(demo.y)[proba.argmax(axis=1)]
    assert (cleaned == demo.y_true).mean() >= (plain == demo.y_true).mean()


@pytest.mark.parametrize("plan", ["suggested", "relabel", "drop"])
def test_what_comes_out_is_of_the_type_that_came(demo, plan):
    frame = pd.DataFrame(demo.X, index=np.arange(len(demo.y)) + 1000).add_prefix("f")
    y = pd.Series(demo.y, index=frame.index, name="kind", dtype="category")
    cleaner = LabelCleaner(MODELS["a pipeline"], plan=plan, frozen="accept")
    X_clean, y_clean = cleaner.fit_resample(frame, y)
    assert list(X_clean.columns) == list(frame.columns) and cleaner.n_features_in_ == 13
    assert y_clean.name == "kind" and y_clean.dtype == y.dtype
    assert (X_clean.index == y_clean.index).all()
    assert (X_clean.index == frame.index[cleaner.sample_indices_]).all()
    assert len(cleaner.changes_) == (cleaner.audit_.table["action"] != "keep").sum() > 10
    n_dropped = (cleaner.changes_["action"] == "drop").sum()
    assert len(X_clean) == len(frame) - n_dropped
    assert n_dropped == {"relabel": 0, "drop": len(cleaner.changes_)}.get(plan, n_dropped)
    cleaner.set_params(estimator=LogisticRegression(C=0.1, **TIGHT))
    S, z = cleaner.fit_resample(sparse.csr_array(demo.X / demo.X.std(axis=0)), demo.y.tolist())
    assert sparse.issparse(S) and isinstance(z, list) and S.shape[0] == len(z)


def test_targets_far_off_are_dropped_before_a_regression():
    X, y = load_diabetes(return_X_y=True)
    noisy, shifted = shift_targets(y, 0.05, size=8, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        _, y_clean = (cleaner := LabelCleaner()).fit_resample(X, noisy)
    assert not shifted[cleaner.sample_indices_].any() and len(y_clean) > 0.9 * len(y)
    assert isinstance(cleaner.audit_.estimator[-1], Ridge)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"plan": "burn"}, "Got 'burn'"), ({"plan": "drop", "budget": 3}, "budget= limits")],
)
def test_a_plan_that_is_none_is_refused_at_the_fit(demo, options, words):
    with pytest.raises(ValueError, match=words):
        LabelCleaner(**options).fit_resample(demo.X, demo.y)
