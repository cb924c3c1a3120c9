"""The audit ranks planted errors first, says what to do about them, and agrees with refits."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, make_blobs
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import BayesianRidge
from sklearn.linear_model import LogisticRegression as SkLogisticRegression
from sklearn.linear_model import Ridge as SkRidge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skinfluence import Influence
from skinfluence.cleaning import Plan, audit, effects
from skinfluence.cleaning.effects import TARGETS, _notes_on_edits, trusted
from skinfluence.datasets import load_demo, shift_targets
from skinfluence.leave_one_out import fitted_again, loo_loss
from skinfluence.linear_model import LogisticRegression, Ridge


@pytest.fixture(scope="module")
def demo():
    return load_demo("wine", flip_share=0.1, random_state=0)


def pipeline(C=0.1, **parameters):
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=C, tol=1e-9, max_iter=5000, **parameters)
    )


@pytest.fixture(scope="module")
def found(demo):
    return audit(pipeline().fit(demo.X, demo.y), demo.X, demo.y, frozen="accept")


def test_the_table_has_one_row_per_training_row(found, demo):
    table = found.table
    assert sorted(table["row"]) == list(range(len(demo.y)))
    np.testing.assert_array_equal(table["given"], demo.y[table["row"]])
    expected = "rank row id given suggested suggested_proba loo_loss error_proba self_influence effect_of_dropping effect_error action"
    assert list(table.columns) == expected.split()
    assert set(table["action"]) <= {"drop", "relabel", "keep"}
    assert table["error_proba"].between(0, 1).all()


def test_the_table_is_ranked_by_the_score_asked_for(demo):
    model = pipeline().fit(demo.X, demo.y)

    def ranked(score):
        return audit(model, demo.X, demo.y, frozen="accept", score=score)

    for score in ("loo_loss", "self_influence"):
        assert ranked(score).table[score].is_monotonic_decreasing
    found = ranked("margin")
    codes = np.searchsorted(found.classes, demo.y)
    proba = found.loo_proba.copy()
    given = proba[np.arange(len(codes)), codes]
    proba[np.arange(len(codes)), codes] = -1.0
    margin = given - proba.max(axis=1)
    assert (np.diff(margin[found.table["row"]]) >= 0).all()
    assert ranked(None).score == "error_proba"
    with pytest.raises(ValueError, match=r"score of a classifier must be one of .* Got 'entropy'"):
        ranked("entropy")


def test_a_regressor_has_no_chances_to_rank_by():
    X, y = load_diabetes(return_X_y=True)
    model = Ridge(alpha=0.1).fit(X, y)
    assert (
        audit(model, X, y, score="self_influence").table["self_influence"].is_monotonic_decreasing
    )
    with pytest.raises(ValueError, match="score of a regressor must be one of"):
        audit(model, X, y, score="margin")
    with pytest.raises(ValueError, match="suspect= names a class, and a regressor has none"):
        audit(model, X, y, suspect={"true": 1})


@pytest.mark.parametrize(
    "suspect", [{"true": "class_9"}, {"wrong": "class_0"}, {}, "class_0", {"true": 1, "given": 2}]
)
def test_a_suspect_that_is_no_class_is_refused(demo, suspect):
    model = pipeline().fit(demo.X, demo.y)
    with pytest.raises(ValueError, match=r"suspect must be .* Got "):
        audit(model, demo.X, demo.y, frozen="accept", suspect=suspect)


def test_with_a_suspect_only_its_labels_are_called_wrong(demo):
    some = np.flatnonzero(demo.y_true != "class_1")[::9]
    y = demo.y_true.copy()
    y[some] = "class_1"
    found = audit(
        pipeline().fit(demo.X, y), demo.X, y, frozen="accept", suspect={"given": "class_1"}
    )
    changed = found.table[found.table["action"] != "keep"]
    assert len(changed) and (changed["given"] == "class_1").all()
    assert (found.noise_matrix.to_numpy()[:, [0, 2]] == np.eye(3)[:, [0, 2]]).sum() >= 4


def test_effects_can_be_left_out_and_change_no_suggestion(found, demo):
    without = audit(pipeline().fit(demo.X, demo.y), demo.X, demo.y, frozen="accept", effects=False)
    expected = found.table.drop(columns=["effect_of_dropping", "effect_error"])
    pd.testing.assert_frame_equal(without.table, expected)
    page = without.to_html()
    assert "others if dropped" not in page and "Loss of the others" not in page


def test_the_noise_matrix_names_its_classes(found):
    matrix = found.noise_matrix
    assert matrix.index.name == "true" and matrix.columns.name == "given"
    assert list(matrix.index) == list(matrix.columns) == ["class_0", "class_1", "class_2"]
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert 0 < found.noise_share < 0.2 and "At least about" in found.notes[0]


def test_planted_errors_come_first(found, demo):
    depths = found.depth_table(demo.flipped).set_index("depth")
    assert depths.loc[0.15, "share_found"] >= 0.85
    assert depths.loc[0.15, "random"] == pytest.approx(0.15, abs=0.01)
    relabelled = found.table[found.table["action"] == "relabel"]
    assert demo.flipped[relabelled["row"]].mean() > 0.8


@pytest.mark.parametrize("name", ["wine", "breast-cancer"])
def test_clean_data_is_left_alone(name):
    clean = load_demo(name, flip_share=0.0)
    result = audit(pipeline(C=1.0).fit(clean.X, clean.y), clean.X, clean.y, frozen="accept")
    assert result.noise_share < 0.02
    assert (result.table["action"] != "keep").sum() == 0


def test_the_noise_share_is_close_to_what_was_planted():
    noisy = load_demo("breast-cancer", flip_share=0.1)
    result = audit(pipeline().fit(noisy.X, noisy.y), noisy.X, noisy.y, frozen="accept")
    assert result.noise_share == pytest.approx(0.1, abs=0.03)


def test_losses_are_those_of_true_refits(found, demo):
    """Refits by hand, with the scaler frozen: the loss of the row under the model without it."""
    X = StandardScaler().fit_transform(demo.X)
    for _, line in found.table.iloc[[0, 5, 100]].iterrows():
        others = np.delete(np.arange(len(demo.y)), line["row"])
        model = SkLogisticRegression(C=0.1, tol=1e-9, max_iter=5000).fit(X[others], demo.y[others])
        proba = model.predict_proba(X[[line["row"]]])[0]
        assert line["loo_loss"] == pytest.approx(
            -np.log(proba[list(model.classes_).index(line["given"])]), rel=2e-3
        )


def test_verify_refits_and_reports_the_difference(found):
    verification = found.verify(4)
    assert len(verification) == 4
    np.testing.assert_allclose(verification["refit_loss"], verification["loo_loss"], rtol=2e-3)
    np.testing.assert_allclose(
        verification["difference"], verification["refit_loss"] - verification["loo_loss"]
    )


def test_verify_can_refit_the_preprocessing_too(found):
    frozen = found.verify(3)["refit_loss"]
    refit = found.verify(3, preprocessing="refit")["refit_loss"]
    np.testing.assert_allclose(frozen, refit, rtol=0.2)
    assert not np.allclose(frozen, refit, rtol=1e-6)


@pytest.mark.parametrize("options", [{"preprocessing": "thawed"}, {"k": -1}])
def test_verify_refuses_unknown_options(found, options):
    with pytest.raises(ValueError, match="Got"):
        found.verify(**options)


def test_verify_holds_weights_and_balanced_class_weights(demo):
    weight = np.random.RandomState(0).uniform(0.5, 2, len(demo.y))
    X = StandardScaler().fit_transform(demo.X)
    model = LogisticRegression(C=0.1, class_weight="balanced", tol=1e-9, max_iter=5000)
    model.fit(X, demo.y, sample_weight=weight)
    verification = audit(model, X, demo.y, sample_weight=weight).verify(3)
    np.testing.assert_allclose(verification["refit_loss"], verification["loo_loss"], rtol=0.02)


@pytest.mark.parametrize(
    ("scaled", "balanced", "classes"), [(True, False, 2), (False, True, 2), (True, True, 3)]
)
def test_effects_of_shown_rows_are_those_of_refits_of_the_whole(
    scaled, balanced, classes, monkeypatch
):
    """With the scaler and the class weights held, one sign in seven was wrong here."""
    monkeypatch.setattr(effects, "SHOWN", 4)
    rng, n = np.random.RandomState(0), 36
    X = rng.standard_t(2, (n, 3))
    y = np.digitize(X[:, 0] - X[:, 1] + rng.standard_normal(n), [0, 1.5][: classes - 1])
    weights = "balanced" if balanced else None
    model = SkLogisticRegression(class_weight=weights, solver="newton-cholesky", tol=1e-10)
    model = (make_pipeline(StandardScaler(), model) if scaled else model).fit(X, y)
    found = audit(model, X, y, effects=True)
    shown = found.table["effect_of_dropping"].notna()
    assert shown.sum() == 4 and shown.head(4).all()
    (note,) = [note for note in found.notes if "effect_of_dropping" in note]
    assert "first 4 rows" in note and ("the transformers" in note) == scaled
    assert ("balanced class weights" in note) == balanced

    def losses(rows):
        """Of each of the rows, by a refit on the others."""
        out = np.empty(len(rows))
        for at, row in enumerate(rows):
            rest = np.delete(rows, at)
            out[at] = -clone(model).fit(X[rest], y[rest]).predict_log_proba(X[[row]])[0, y[row]]
        return out

    share = n / np.bincount(y)[y] if balanced else np.ones(n)
    before = losses(np.arange(n))
    for line in found.table.iloc[[0, 3]].itertuples():
        rest = np.delete(np.arange(n), line.row)
        truth = share[rest] @ (losses(rest) - before[rest]) / share.sum()
        # Refits stop at gradients of 1e-10.
        assert abs(line.effect_of_dropping - truth) <= line.effect_error + 1e-7 * abs(truth)


def test_effects_behind_a_scaler_are_empty_unless_they_are_asked_for(demo):
    """They are worked out by fits; a note says so, and none where all is held as asked."""
    found = audit(pipeline().fit(demo.X, demo.y), demo.X, demo.y)
    assert found.table[["effect_of_dropping", "effect_error"]].isna().all(axis=None)
    (note,) = [note for note in found.notes if "effect_of_dropping" in note]
    assert "effects=True makes them" in note
    held = audit(pipeline().fit(demo.X, demo.y), demo.X, demo.y, frozen="accept")
    assert held.table["effect_of_dropping"].notna().any()
    assert not any("learned anew" in note for note in held.notes)


@pytest.mark.filterwarnings("ignore:Held as chosen on all rows:UserWarning")
def test_effects_of_models_without_edits_are_those_of_clones(monkeypatch):
    """Audits ended in the refusal of an edit where targets went through a curve that moves, or precisions were chosen."""
    monkeypatch.setattr(effects, "SHOWN", 1)
    rng, n = np.random.RandomState(0), 24
    X = rng.standard_normal((n, 2))
    z = X[:, 0] + 0.3 * rng.standard_t(3, n)
    curve = make_pipeline(FunctionTransformer(np.log, np.exp), StandardScaler())
    curved = TransformedTargetRegressor(SkRidge(alpha=2.0), transformer=curve)
    chosen = make_pipeline(StandardScaler(), BayesianRidge())
    every = np.arange(n)

    def curved_losses(fitted, rows):
        return [fit(curved, X, np.exp(z), np.setdiff1d(rows, i)).predict(X[[i]])[0] for i in rows]

    def chosen_losses(fitted, rows):
        held = SkRidge(alpha=fitted[-1].lambda_ / fitted[-1].alpha_)
        held = make_pipeline(StandardScaler(), held)
        return [fit(held, X, z, np.setdiff1d(rows, i)).predict(X[[i]])[0] for i in rows]

    spread = z.std()
    for model, y, predictions, residual in [
        (curved, np.exp(z), curved_losses, lambda y, p: np.log(y / p) / spread),
        (chosen, z, chosen_losses, lambda y, p: y - p),
    ]:
        whole = fit(model, X, y, every)
        found = audit(whole, X, y, effects=True)
        line = found.table.iloc[0]
        rest = np.setdiff1d(every, line["row"])
        before = residual(y, np.array(predictions(whole, every))) ** 2 / 2
        after = predictions(fit(model, X, y, rest), rest)
        after = residual(y[rest], np.array(after)) ** 2 / 2
        truth = (after - before[rest]).sum() / n
        assert abs(line["effect_of_dropping"] - truth) <= line["effect_error"]
        checked = found.verify(1, effects=True).iloc[0]
        assert abs(checked["refit_effect"] - truth) <= line["effect_error"]


@pytest.mark.filterwarnings("ignore:Held as chosen on all rows:UserWarning")
def test_clones_that_take_no_weights_are_given_none(monkeypatch):
    monkeypatch.setattr(effects, "SHOWN", 1)
    X, y = load_diabetes(return_X_y=True)
    model = make_pipeline(StandardScaler(), GaussianProcessRegressor(RBF(2.0) + WhiteKernel()))
    X, y = X[:16, :2], y[:16] / 100 - 1.5
    found = audit(model.fit(X, y), X, y, effects=True)
    checked = found.verify(1, effects=True).iloc[0]
    assert abs(checked["effect_of_dropping"]) > 0
    np.testing.assert_allclose(checked["effect_of_dropping"], checked["refit_effect"], rtol=1e-6)


def fit(model, X, y, rows):
    return clone(model).fit(X[rows], y[rows])


def test_effects_behind_steps_are_empty_where_edits_hold_what_no_fit_holds():
    """An audit of targets ended in an error where an action rested on an effect."""
    X, y = load_diabetes(return_X_y=True)
    X, (y, _) = X[:150], shift_targets(y[:150], 0.04, size=4, random_state=2)
    model = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    found = audit(model, X, y, influence=Influence(model, X, y, hold="lambda"))
    assert found.table["effect_of_dropping"].isna().all()
    assert any("hold='lambda'); leave hold out" in note for note in found.notes)
    again = audit(model, X, y, influence=Influence(model, X, y))
    assert again.table["effect_of_dropping"].notna().any()


def test_fits_are_counted_for_the_answers_that_are_asked_for():
    """A kernel has no step behind a scaler: none were counted, and "refuse" was refused for it."""
    X, y = load_diabetes(return_X_y=True)
    model = make_pipeline(StandardScaler(), KernelRidge(kernel="rbf", gamma=0.1))
    model.fit(X[:30], y[:30])
    assert fitted_again(Influence(model, X[:30], y[:30]), "refuse") == 30
    found = audit(model, X[:30], y[:30], frozen="refuse")
    assert any("effect_of_dropping" in note for note in found.notes)


def test_a_note_says_of_which_rows_effects_are_and_which_cells_are_empty_all_the_same():
    effect = np.array([0.1, np.nan, 0.2, np.nan, np.nan, np.nan])
    first = np.arange(6)

    def note(wanted, known, asked):
        return _notes_on_edits(np.array(wanted), np.array(known), first, effect, [TARGETS], asked)[
            0
        ]

    said = note([4, 0, 1], [4, 0, 1], True)
    assert "the first 2 rows and 1 more row whose action rests on it, by fits in which" in said
    assert "the transformer of the targets is learned anew" in said
    assert "empty for 2 of these, too" in said and "too long" not in said
    said = note([0, 2, 3], [0, 2], False)
    assert "the 2 rows whose action rests on it" in said and "more would take too long" in said
    assert "of these" not in said


def test_effects_that_would_take_too_long_are_empty(demo, monkeypatch):
    monkeypatch.setattr(effects, "MOST_WORK", 1e4)
    found = audit(pipeline().fit(demo.X, demo.y), demo.X, demo.y, effects=True)
    assert found.table["effect_of_dropping"].isna().all()
    assert any("too long for a table like this" in note for note in found.notes)


def test_a_target_is_dropped_behind_a_scaler_where_that_helps_the_others(monkeypatch):
    """The effects that an action rests on are worked out unasked."""
    monkeypatch.setattr(effects, "SHOWN", 20)
    X, y = load_diabetes(return_X_y=True)
    X, (noisy, shifted) = X[:150], shift_targets(y[:150], 0.04, size=4, random_state=2)
    model = make_pipeline(StandardScaler(), Ridge()).fit(X, noisy)
    table = audit(model, X, noisy).table
    known = table["effect_of_dropping"].notna()
    assert known.any() and (table["residual_z"][known].abs() > 3.5).all()
    assert set(table["row"][table["action"] == "drop"]) >= set(np.flatnonzero(shifted))


def test_apply_carries_out_the_plan_and_changes_nothing_in_place(found, demo):
    plan = found.plan()
    X, y, kept = found.apply(pd.DataFrame(demo.X))
    assert len(y) == len(demo.y) - len(plan.drop)
    assert isinstance(X, pd.DataFrame) and len(X) == len(y)
    np.testing.assert_array_equal(found.y, demo.y)
    full = demo.y.copy()
    full[plan.relabel] = plan.labels
    np.testing.assert_array_equal(y, full[kept])
    assert (y == demo.y_true[kept]).mean() > (demo.y == demo.y_true).mean()


def test_longer_labels_are_not_truncated(found):
    plan = Plan(np.array([], dtype=int), np.array([1]), np.array(["long"]))
    y = np.full(len(found.y), "s")
    assert found.apply(found.X, y, plan=plan)[1][1] == "long"
    assert found.apply(found.X, np.arange(len(y)), plan=plan)[1].tolist()[:3] == [0, "long", 2]


def test_a_plan_can_be_limited_and_made_by_hand(found, demo):
    assert len(found.plan(actions=["drop"]).relabel) == 0
    top = found.plan(top=5)
    assert len(top.drop) + len(top.relabel) <= 5
    _, y, kept = found.apply(
        demo.X, plan=Plan(np.array([0]), np.array([], dtype=int), np.array([], dtype=str))
    )
    np.testing.assert_array_equal(y, demo.y[1:])
    assert kept[0] == 1
    with pytest.raises(ValueError, match="actions may hold"):
        found.plan(actions=["burn"])


def test_a_plan_is_all_of_one_kind_or_a_mapping(found, demo):
    flagged = found.table[found.table["action"] != "keep"].set_index("row")
    X, y, kept = found.apply(demo.X, plan="drop")
    assert set(range(len(demo.y))) - set(kept) == set(flagged.index) and len(X) == len(y) == len(
        kept
    )
    _, y, kept = found.apply(demo.X, plan="relabel")
    assert (y[flagged.index] == flagged["suggested"]).all()
    changed = np.flatnonzero(y != demo.y)
    assert set(changed) == set(flagged.index) and len(kept) == len(demo.y)
    _, y, kept = found.apply(demo.X, plan={3: "a much longer label", np.int64(5): None})
    assert y[3] == "a much longer label" and 5 not in kept
    assert (y[kept != 3] == demo.y[kept[kept != 3]]).all()


def test_a_plan_of_some_rows_changes_the_first_ones(found):
    few = found.plan(budget=3)
    rows = np.concatenate([few.drop, few.relabel])
    assert sorted(rows) == sorted(found.table.loc[found.table["action"] != "keep", "row"].head(3))
    assert len(found.plan(budget=0)) == 0 and len(found.plan(budget=10**6)) == len(found.plan())


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("burn", "must be a Plan, 'relabel', 'drop'"),
        ({-1: None}, "0 to 177. Got -1"),
        ({178: None}, "0 to 177. Got 178"),
        ({0.5: None}, "by position"),
        ({True: None}, "by position"),
        (Plan(np.array([3]), np.array([3]), np.array(["class_0"])), "Got row 3 twice"),
        (Plan(np.array([3]), np.array([4]), np.array([])), "Got 0 for 1"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(found, demo, plan, words):
    with pytest.raises(ValueError, match=words):
        found.apply(demo.X, plan=plan)


def test_the_log_says_what_a_plan_changes(found, demo):
    log = found.changes({4: "class_9", 2: None})
    assert sorted(log["row"]) == [2, 4]
    by_row = log.set_index("row")
    assert by_row.loc[4, ["action", "before", "after"]].tolist() == [
        "relabel",
        demo.y[4],
        "class_9",
    ]
    assert by_row.loc[2, "action"] == "drop" and by_row.loc[2, "after"] is None
    _, y, kept = found.apply(demo.X)
    log = found.changes()
    gone = np.setdiff1d(np.arange(len(demo.y)), kept)
    moved = kept[y != demo.y[kept]]
    assert sorted(log["row"]) == sorted([*gone, *moved])
    relabelled = log[log["action"] == "relabel"]
    assert (relabelled["after"] == y[np.searchsorted(kept, relabelled["row"])]).all()


def test_no_prediction_takes_the_place_of_a_measurement():
    X, y = load_diabetes(return_X_y=True)
    result = audit(Ridge().fit(X, y), X, y)
    with pytest.raises(ValueError, match="no measurement"):
        result.apply(X, plan="relabel")


def test_ids_come_from_the_index_or_the_argument(demo):
    frame = pd.DataFrame(demo.X, index=[f"r{i}" for i in range(len(demo.y))])
    model = pipeline().fit(frame, demo.y)
    table = audit(model, frame, demo.y, frozen="accept").table
    assert (table["id"] == "r" + table["row"].astype(str)).all()
    table = audit(model, frame, demo.y, ids=np.arange(len(demo.y)) + 100, frozen="accept").table
    assert (table["id"] == table["row"] + 100).all()


def test_plain_scikit_learn_models_and_sparse_rows_are_audited(demo):
    X = sparse.csr_array(StandardScaler().fit_transform(demo.X))
    model = SkLogisticRegression(C=0.1, tol=1e-9, max_iter=5000).fit(X, demo.y)
    result = audit(model, X, demo.y)
    assert result.depth_table(demo.flipped)["share_found"].iloc[2] >= 0.85
    assert len(result.verify(2)) == 2


def test_a_class_with_one_row_gets_a_note_and_no_suggestion(demo):
    y = demo.y.astype(object)
    y[7] = "typo"
    y = y.astype(str)
    result = audit(pipeline().fit(demo.X, y), demo.X, y, frozen="accept")
    assert any("typo" in note for note in result.notes)
    assert np.isnan(result.table.set_index("row")["error_proba"][7])
    line = result.table[result.table["row"] == 7].iloc[0]
    assert line["action"] == "keep" and line["suggested"] == "typo"
    assert result.table["effect_error"].notna().sum() >= len(y) - 1
    assert np.isnan(result.verify(len(y) - 177 or 1)["refit_loss"]).sum() <= 1


def test_changes_are_counted_as_the_table_has_them():
    """A class of two rows that both look wrong is kept, and is no suggested change."""
    X, y = make_blobs(200, centers=[[0, 0], [6, 0], [0, 6]], random_state=0)
    rows = np.random.RandomState(0).permutation(200)
    y[rows[:12]] = (y[rows[:12]] + 1) % 3
    y[rows[12:14]] = 3
    found = audit(LogisticRegression(C=0.3).fit(X, y), X, y, effects=False)
    assert any("looks wrong ('3')" in note for note in found.notes)
    n = int((found.table["action"] != "keep").sum())
    assert n > 0 and any(f" of {n} suggested changes" in note for note in found.notes)


def test_effects_whose_sign_is_not_known_are_not_said():
    """No larger than their error, of no known error, or more than all losses: these do not fall below zero."""
    effect = np.array([-0.7, -0.4, 0.1, 0.1, 0.1, 0.0, np.nan])
    error = np.array([0.1, 0.1, 0.2, np.nan, 0.0, 0.0, np.nan])
    expected = [np.nan, -0.4, np.nan, np.nan, 0.1, 0.0, np.nan]
    assert np.array_equal(trusted(effect, error, 0.5), expected, equal_nan=True)


def test_effects_are_checked_by_refits_too():
    demo = load_demo("breast-cancer", flip_share=0.1)
    X, y = StandardScaler().fit_transform(demo.X)[:150], demo.y[:150]
    found = audit(LogisticRegression(C=0.1, tol=1e-9).fit(X, y), X, y)
    checked = found.verify(3, effects=True)
    for line in checked.itertuples():
        rest = np.delete(np.arange(len(y)), line.row)
        change = [
            loo_loss(
                Influence(
                    LogisticRegression(C=0.1, tol=1e-9).fit(X[rows], y[rows]), X[rows], y[rows]
                ),
                "exact",
            )
            for rows in (np.arange(len(y)), rest)
        ]
        truth = (change[1] - change[0][rest]).sum() / len(y)
        assert abs(line.refit_effect - truth) < 1e-6 * abs(truth)
        error = found.table["effect_error"][line.rank - 1]
        assert np.isnan(line.effect_of_dropping) or abs(line.effect_of_dropping - truth) < error
    assert "refit_effect" not in found.verify(1)


def test_effects_of_a_trimmed_fit_are_not_compared():
    demo = load_demo("wine", flip_share=0.1)
    found = audit(
        pipeline().fit(demo.X, demo.y), demo.X, demo.y, frozen="accept", rounds=1, trim=0.05
    )
    with pytest.raises(ValueError, match="audit without it"):
        found.verify(1, effects=True)


def test_a_note_counts_the_rows_without_an_effect_and_says_how_large_it_can_be():
    demo = load_demo("breast-cancer")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=100.0, max_iter=10_000))
    found = audit(model.fit(demo.X, demo.y), demo.X, demo.y, frozen="accept")
    empty = found.table["effect_of_dropping"].isna()
    (note,) = [note for note in found.notes if "effect_of_dropping is empty" in note]
    assert empty.any() and f"for {empty.sum()} rows" in note and "% of the mean loss" in note
    shown = found.table[~empty]
    assert (shown["effect_of_dropping"].abs() > shown["effect_error"]).all()


def test_regression_finds_shifted_targets_and_never_relabels():
    X, y = load_diabetes(return_X_y=True)
    noisy, shifted = shift_targets(y, 0.03, size=5, random_state=0)
    result = audit(Ridge(alpha=0.1).fit(X, noisy), X, noisy)
    assert set(result.table["action"]) == {"drop", "keep"}
    dropped = result.table.loc[result.table["action"] == "drop", "row"]
    assert shifted[dropped].mean() > 0.9
    verification = result.verify(3)
    # One-step is exact for a quadratic loss.
    np.testing.assert_allclose(verification["loo_loss"], verification["refit_loss"], rtol=1e-8)


def test_a_classifier_that_only_predicts_is_refused(demo):
    class Oracle(ClassifierMixin, BaseEstimator):
        def predict(self, X):
            return demo.y

    with pytest.raises(TypeError, match="has neither"):
        audit(Oracle(), demo.X, demo.y)


def test_an_audit_is_about_the_whole_pipeline(demo):
    """Losses, their check by refits and the selection that saw y, without a word of warning."""
    steps = SelectKBest(k=8), StandardScaler()
    model = make_pipeline(*steps, LogisticRegression(C=0.1, tol=1e-9, max_iter=5000))
    model.fit(demo.X, demo.y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = audit(model, demo.X, demo.y)
    for _, line in found.table.iloc[[0, 5]].iterrows():
        others = np.delete(np.arange(len(demo.y)), line["row"])
        again = clone(model).fit(demo.X[others], demo.y[others])
        proba = again.predict_proba(demo.X[[line["row"]]])[0]
        own = -np.log(proba[list(again.classes_).index(line["given"])])
        assert line["loo_loss"] == pytest.approx(own, rel=2e-3)
    np.testing.assert_allclose(found.verify(3)["difference"], 0.0, atol=2e-3)
    held = audit(model, demo.X, demo.y, frozen="accept")
    assert not np.allclose(held.table["loo_loss"].max(), found.table["loo_loss"].max(), rtol=1e-4)


def test_draws_are_held_in_an_audit_and_said_once(demo):
    model = make_pipeline(
        StandardScaler(),
        Nystroem(n_components=10, random_state=0),
        LogisticRegression(C=0.1, tol=1e-9, max_iter=5000),
    ).fit(demo.X, demo.y)
    with pytest.warns(UserWarning, match="nystroem.*draws") as said:
        found = audit(model, demo.X, demo.y)
    assert len([one for one in said if "frozen" in str(one.message)]) == 1
    held = audit(model, demo.X, demo.y, frozen="accept")
    np.testing.assert_array_equal(held.table["loo_loss"], found.table["loo_loss"])
    np.testing.assert_allclose(found.verify(2)["difference"], 0.0, atol=2e-3)


def test_something_that_predicts_nothing_is_refused(demo):
    with pytest.raises(TypeError, match="fitted classifier or regressor"):
        audit(StandardScaler().fit(demo.X), demo.X, demo.y)


def test_lengths_must_agree(demo):
    with pytest.raises(ValueError, match="inconsistent"):
        audit(pipeline().fit(demo.X, demo.y), demo.X, demo.y[:-1])


def test_the_plot_is_a_display(found, demo):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    display = found.plot(planted=demo.flipped)
    assert display.ax_.get_ylabel() == "leave-one-out loss"
    assert sum(len(points.get_offsets()) for points in display.points_.values()) == len(demo.y)
    pyplot.close(display.figure_)


def test_the_repr_counts_actions(found):
    counts = found.table["action"].value_counts()
    assert f"relabel={counts['relabel']}" in repr(found)


@pytest.mark.parametrize("dtype", ["bool", "boolean", "Int64", "uint8", "category", "object"])
def test_suggested_labels_have_the_type_of_the_given_ones(dtype):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(200, 2))
    y = pd.Series(X[:, 0] > 0)
    y[:8] = ~y[:8]
    y = y.map({True: "yes", False: "no"}) if dtype in ("category", "object") else y
    y = y.astype(dtype)
    found = audit(LogisticRegression().fit(X, y), X, y)
    assert found.plan().relabel.size > 0
    kinds = lambda values: {
        type(getattr(value, "item", lambda value=value: value)()) for value in values
    }
    given = kinds(found.table["given"])
    assert given == kinds(found.table["suggested"]) == kinds(found.loo_prediction)
    assert set(found.plan().labels.tolist()) <= set(y.tolist())


def test_labels_of_which_a_row_has_several_are_no_regression(demo):
    X = StandardScaler().fit_transform(demo.X)
    Y = np.column_stack([demo.y == demo.y[0], demo.y == demo.y[-1]]).astype(int)
    model = OneVsRestClassifier(SkLogisticRegression(C=0.1)).fit(X, Y)
    with pytest.raises(ValueError, match=r"Got a model of 2 targets; fit one of them"):
        audit(model, X, Y)
