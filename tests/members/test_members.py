"""Votes, and a model for each target: without a row they are what refits of the whole are."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)
from sklearn.metrics import accuracy_score, get_scorer, log_loss, r2_score
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, SVR

from skinfluence import Influence, edits
from skinfluence.cleaning import audit
from skinfluence.conformal import JackknifePlusClassifier, JackknifePlusRegressor
from skinfluence.diagnostics import leverage
from skinfluence.model_selection import LeaveOneOutSearch
from skinfluence.unlearning import forget

N = 24
NEWTON = {"solver": "newton-cholesky", "tol": 1e-12}
LOGISTIC = LogisticRegression(**NEWTON)
BALANCED = LogisticRegression(class_weight="balanced", **NEWTON)
RIDGE = Ridge(solver="cholesky")
LASSO = Lasso(0.05, tol=1e-14, max_iter=100_000)
PROCESS = GaussianProcessRegressor(RBF() + WhiteKernel(0.5), optimizer=None)

rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
LINE = X @ [1.0, -1.0, 0.5] + rng.standard_normal(N)
TWO = np.where(LINE > 0, "yes", "no")
THREE = np.digitize(LINE, np.quantile(LINE, [0.3, 0.7])) * 10
Y = np.column_stack([LINE, X @ [0.0, 1.0, 1.0] + rng.standard_normal(N), rng.poisson(2.0, N) + 0.5])
MANY = (X @ rng.standard_normal((3, 3)) + rng.standard_normal((N, 3)) > 0).astype(int)
WEIGHT = np.linspace(0.5, 2.0, N)


def soft(*models, **more):
    return VotingClassifier([(f"m{k}", one) for k, one in enumerate(models)], voting="soft", **more)


def mean(*models, **more):
    return VotingRegressor([(f"m{k}", one) for k, one in enumerate(models)], **more)


# A model, its targets, weights, what is compared, a new target, how near refits are known.
CASES = {
    "two classes": (soft(LOGISTIC, GaussianNB()), TWO, None, "predict_proba", "yes", 1e-9),
    "three classes, shares": (
        soft(LOGISTIC, KNeighborsClassifier(4), LinearDiscriminantAnalysis(), weights=[2, 1, 3]),
        THREE,
        None,
        "predict_proba",
        10,
        1e-9,
    ),
    "one is left out": (
        soft(LOGISTIC, GaussianNB(), LogisticRegression(C=0.1, **NEWTON)).set_params(m1="drop"),
        THREE,
        None,
        "predict_proba",
        10,
        1e-9,
    ),
    "balanced, weights": (soft(BALANCED, GaussianNB()), TWO, WEIGHT, "predict_proba", "no", 1e-9),
    "behind a scaler": (
        make_pipeline(StandardScaler(), soft(BALANCED, GaussianNB())),
        THREE,
        None,
        "predict_proba",
        10,
        1e-9,
    ),
    "numbers": (
        mean(RIDGE, LASSO, KernelRidge(kernel="rbf"), KNeighborsRegressor(3), weights=[1, 2, 1, 1]),
        LINE,
        None,
        "predict",
        1.5,
        1e-9,
    ),
    "a process": (mean(PROCESS, LinearRegression()), LINE, None, "predict", 1.5, 1e-9),
    "numbers behind a scaler": (
        make_pipeline(StandardScaler(), mean(RIDGE, SVR(tol=1e-10))),
        LINE,
        None,
        "predict",
        1.5,
        1e-6,
    ),
    "machines of a class": (
        OneVsRestClassifier(SVC(C=3.0, class_weight="balanced", tol=1e-10)),
        THREE,
        None,
        "decision_function",
        10,
        1e-6,
    ),
    "few columns of a class": (
        OneVsRestClassifier(
            LogisticRegression(l1_ratio=1.0, solver="saga", tol=1e-12, max_iter=100_000)
        ),
        THREE,
        None,
        "predict_proba",
        10,
        1e-8,
    ),
    "a class and the rest": (
        OneVsRestClassifier(GaussianNB()),
        THREE,
        None,
        "predict_proba",
        10,
        1e-9,
    ),
    "a class and the other": (
        OneVsRestClassifier(KNeighborsClassifier(3)),
        TWO,
        None,
        "predict_proba",
        "yes",
        1e-9,
    ),
    "weights of labels": (
        OneVsRestClassifier(LogisticRegression(class_weight={0: 1, 1: 3}, **NEWTON)),
        THREE,
        None,
        "decision_function",
        10,
        1e-8,
    ),
    "steps inside, a class and the rest": (
        OneVsRestClassifier(make_pipeline(PolynomialFeatures(), StandardScaler(), LOGISTIC)),
        THREE,
        None,
        "predict_proba",
        10,
        1e-9,
    ),
    "steps inside, targets, behind others": (
        make_pipeline(
            PowerTransformer(), MultiOutputRegressor(make_pipeline(StandardScaler(), LASSO))
        ),
        Y,
        None,
        "predict",
        Y[3] + 1,
        1e-9,
    ),
    "steps inside, labels": (
        MultiOutputClassifier(make_pipeline(StandardScaler(), LOGISTIC)),
        MANY,
        None,
        "predict_proba",
        1 - MANY[7],
        1e-8,
    ),
    "steps inside, a vote": (
        soft(
            make_pipeline(SelectKBest(k=2), LOGISTIC), make_pipeline(SelectKBest(k=2), GaussianNB())
        ),
        TWO,
        None,
        "predict_proba",
        "yes",
        1e-9,
    ),
    "kernels": (KernelRidge(alpha=0.5, kernel="rbf"), Y, WEIGHT, "predict", Y[3] + 1, 1e-9),
    "a penalty each": (KernelRidge(alpha=[0.5, 1, 2]), Y, None, "predict", Y[3] + 1, 1e-9),
    "kernels behind a scaler": (
        make_pipeline(StandardScaler(), KernelRidge(alpha=0.5, kernel="rbf")),
        Y,
        None,
        "predict",
        Y[3] + 1,
        1e-9,
    ),
    "labels": (RidgeClassifier(), MANY, WEIGHT, "decision_function", 1 - MANY[7], 1e-9),
    "labels, balanced": (
        MultiOutputClassifier(BALANCED),
        MANY,
        WEIGHT,
        "predict_proba",
        1 - MANY[7],
        1e-8,
    ),
    "labels of naive Bayes behind a scaler": (
        make_pipeline(StandardScaler(), MultiOutputClassifier(GaussianNB())),
        MANY,
        None,
        "predict_proba",
        1 - MANY[7],
        1e-9,
    ),
    "labels against the rest": (
        OneVsRestClassifier(SVC(gamma=0.3, tol=1e-10)),
        MANY,
        None,
        "decision_function",
        1 - MANY[7],
        1e-6,
    ),
    "machines": (MultiOutputRegressor(SVR(tol=1e-10)), Y, None, "predict", Y[3] + 1, 1e-6),
    "lassos": (MultiOutputRegressor(LASSO), Y, None, "predict", Y[3] + 1, 1e-9),
    "neighbours": (
        MultiOutputRegressor(KNeighborsRegressor(3)),
        Y,
        None,
        "predict",
        Y[3] + 1,
        1e-9,
    ),
    "counts": (
        MultiOutputRegressor(PoissonRegressor(alpha=0.1, **NEWTON)),
        np.abs(Y),
        WEIGHT,
        "predict",
        np.abs(Y[3]) + 1,
        1e-8,
    ),
}


def fitted(model, X, y, weight):
    return (
        clone(model).fit(X, y) if weight is None else clone(model).fit(X, y, sample_weight=weight)
    )


def taken(values, rows):
    return None if values is None else values[rows]


def says(model, output, X):
    """What a model says of rows; of several labels the chance of each, as one array."""
    found = getattr(model, output)(X)
    return np.stack([one[:, 1] for one in found], axis=1) if isinstance(found, list) else found


@pytest.mark.parametrize("name", CASES)
def test_left_out_outputs_are_those_of_refits(name):
    model, y, weight, output, _, atol = CASES[name]
    inf = Influence(fitted(model, X, y, weight), X, y, weight)
    found = getattr(inf, f"loo_{output}")(method="exact")
    for i in range(0, N, 3):
        left = np.delete(np.arange(N), i)
        refit = fitted(model, X[left], y[left], taken(weight, left))
        np.testing.assert_allclose(found[i], says(refit, output, X[[i]])[0], atol=atol)


@pytest.mark.parametrize("name", CASES)
def test_effects_of_edits_are_those_of_refits(name):
    model, y, weight, output, new, atol = CASES[name]
    before = fitted(model, X, y, weight)
    edit = edits.remove([1, 5]) + edits.relabel([7], [new]) + edits.add(X[0] + 0.1, new)
    after = np.array(y)
    after[7] = new
    left = np.delete(np.arange(N), [1, 5])
    weights = None if weight is None else np.append(weight[left], 1.0)
    refit = fitted(
        model, np.vstack([X[left], X[:1] + 0.1]), np.concatenate([after[left], [new]]), weights
    )
    found = Influence(before, X, y, weight).effect(edit, X, of=output, method="exact")
    expected = says(refit, output, X) - says(before, output, X)
    np.testing.assert_allclose(found.values, expected, atol=atol)
    assert np.abs(expected).max() > 1e-2


@pytest.mark.parametrize("name", CASES)
def test_models_after_an_edit_are_refits(name):
    """Of weights, labels and rows at once; and within the bound that they come with, where there is one."""
    model, y, weight, output, new, atol = CASES[name]
    if name == "a process":
        weight = None
    inf = Influence(fitted(model, X, y, weight), X, y, weight)
    edit = edits.remove([1, 5]) + edits.relabel([7], [new]) + edits.add(X[0] + 0.1, new)
    after = np.array(y)
    after[7] = new
    left = np.delete(np.arange(N), [1, 5])
    rows = np.vstack([X[left], X[:1] + 0.1]), np.concatenate([after[left], [new]])
    weights = None if weight is None else np.append(weight[left], 1.0)
    refit = fitted(model, *rows, weights)
    edited = inf.edited(edit)
    expected = says(refit, output, X)
    assert type(edited.estimator) is type(refit)
    np.testing.assert_allclose(says(edited.estimator, output, X), expected, atol=atol)
    error = edited.error_at(X)
    assert error.shape[0] == N and (error >= 0).all()
    if output in ("predict", "decision_function") and error.ndim == expected.ndim:
        off = np.abs(says(edited.estimator, output, X) - expected)
        assert name == "counts" or (off <= error + atol).all()
    if edited.report.fitted_again and hasattr(inf.objective, "members"):
        with pytest.raises(TypeError, match="A stream of edits follows"):
            inf.after(edit)
        return
    # And the same numbers of rows in a stream.
    stream = inf.after(edits.remove([1, 5])).after(edits.relabel([7], [new]))
    last = stream.after(edits.add(X[0] + 0.1, new)).estimator
    np.testing.assert_allclose(says(last, output, X), expected, atol=atol)


def test_steps_inside_each_model_are_those_before_all_and_stay_inside():
    """Of texts, too: what reads them is in each of the models, and is fitted again for all at once."""
    texts = np.array(["good a", "bad b", "good c", "bad d", "a c", "b d"] * 4, dtype=object)
    y = np.array([1, 0, 2] * 8)
    inside = OneVsRestClassifier(make_pipeline(TfidfVectorizer(), LOGISTIC)).fit(texts, y)
    before = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LOGISTIC)).fit(texts, y)
    one, other = Influence(inside, texts, y), Influence(before, texts, y)
    np.testing.assert_allclose(one.loo_predict_proba(), other.loo_predict_proba(), atol=1e-12)
    found = one.influence_up_loss(texts[:2], y[:2])
    np.testing.assert_allclose(found, other.influence_up_loss(texts[:2], y[:2]), atol=1e-12)
    edited = one.edited(edits.remove([1, 3])).estimator
    left = np.delete(np.arange(24), [1, 3])
    refit = clone(inside).fit(texts[left], y[left])
    np.testing.assert_allclose(edited.predict_proba(texts), refit.predict_proba(texts), atol=1e-8)
    kinds = [[type(step) for _, step in part.steps] for part in edited.estimators_]
    assert kinds == [[TfidfVectorizer, LogisticRegression]] * 3


def test_an_edited_vote_behind_columns_that_come_and_go_predicts_and_is_a_refit():
    """The only row of a category leaves, and its column with it."""
    letters = np.array(["a", "b"] * (N // 2), dtype=object)[:, None]
    letters[5] = "c"
    coded = OneHotEncoder(handle_unknown="ignore")
    vote = make_pipeline(coded, soft(LOGISTIC, LogisticRegression(C=0.1, **NEWTON)))
    edited = Influence(vote.fit(letters, TWO), letters, TWO).edited(edits.remove(5)).estimator
    left = np.delete(np.arange(N), 5)
    refit = clone(vote).fit(letters[left], TWO[left])
    assert edited[-1].n_features_in_ == 2
    found, expected = edited.predict_proba(letters[left]), refit.predict_proba(letters[left])
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_targets_of_a_count_must_each_keep_a_positive_one():
    """The only positive count of the second target: the first one has others."""
    y = np.column_stack([rng.poisson(2.0, N) + 1.0, np.zeros(N)])
    y[3, 1] = 2.0
    inf = Influence(MultiOutputRegressor(PoissonRegressor(**NEWTON)).fit(X, y), X, y)
    with pytest.warns(UserWarning, match="Row 3 is the only one"):
        found = inf.loo_predict(indices=[2, 3])
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()
    with pytest.raises(edits.NoOptimumError, match="positive targets of target 1"):
        inf.effect(edits.remove(3), X[:2], of="predict")


def test_groups_scores_and_labels_of_a_vote():
    model = soft(LOGISTIC, GaussianNB()).fit(X, THREE)
    inf = Influence(model, X, THREE)
    group = np.arange(N) % 4
    refits = [clone(model).fit(X[group != g], THREE[group != g]) for g in range(4)]
    was = -np.log(model.predict_proba(X)[np.arange(N), THREE // 10])
    expected = [-np.log(one.predict_proba(X)[np.arange(N), THREE // 10]) - was for one in refits]
    found = inf.removal_effect(X, THREE, groups=group, method="exact")
    np.testing.assert_allclose(found.T, expected, atol=1e-8)
    found = inf.removal_effect(X, THREE, groups=group, of="neg_log_loss", method="exact")
    scores = [-log_loss(THREE, one.predict_proba(X)) for one in [model, *refits]]
    np.testing.assert_allclose(found, np.array(scores[1:]) - scores[0], atol=1e-8)
    moved = inf.relabel_effect(X[:2], of="predict_proba", indices=[4], method="exact")
    other = np.where(np.arange(N) == 4, 0, THREE)
    expected = clone(model).fit(X, other).predict_proba(X[:2]) - model.predict_proba(X[:2])
    np.testing.assert_allclose(moved[:, 0, 0], expected, atol=1e-9)
    top = inf.top(X[:2], THREE[:2], 2)
    effects = inf.removal_effect(X[:2], THREE[:2])
    np.testing.assert_array_equal(top.helpful[:, 0], effects.argmax(axis=1))


@pytest.mark.parametrize("score", ["roc_auc", "average_precision", "neg_brier_score"])
def test_scores_of_a_vote_of_two_classes_are_those_of_its_probabilities(score):
    y = (TWO == "yes").astype(int)
    model, scorer = soft(LOGISTIC, GaussianNB()).fit(X, y), get_scorer(score)
    inf = Influence(model, X, y)
    without = clone(model).fit(X[1:], y[1:])
    found = inf.removal_effect(X, y, of=score, indices=[0], method="exact")
    np.testing.assert_allclose(found, scorer(without, X, y) - scorer(model, X, y), atol=1e-9)
    apart = cross_val_predict(model, X, y, cv=LeaveOneOut(), method="predict_proba")
    expected = scorer._sign * scorer._score_func(y, apart[:, 1])
    assert inf.loo_score(score, method="exact") == pytest.approx(expected, abs=1e-9)


def test_what_asks_for_left_out_outputs_asks_votes():
    model = mean(RIDGE, KNeighborsRegressor(3)).fit(X, LINE)
    own = np.array(
        [
            clone(model).fit(np.delete(X, i, 0), np.delete(LINE, i)).predict(X[[i]])[0]
            for i in range(N)
        ]
    )
    intervals = JackknifePlusRegressor(model).fit(X, LINE)
    np.testing.assert_allclose(intervals.residuals_, np.abs(LINE - own), atol=1e-10)
    classifier = soft(BALANCED, GaussianNB()).fit(X, TWO)
    sets = JackknifePlusClassifier(classifier).fit(X, TWO).predict_set(X)
    assert sets[np.arange(N), (TWO == "yes").astype(int)].mean() > 0.7
    pytest.importorskip("pandas")
    found = audit(model, X, LINE)
    np.testing.assert_allclose(found.table.sort_values("row")["suggested"], own, atol=1e-10)
    assert found.verify(2)["difference"].abs().max() < 1e-10
    inside = [
        make_pipeline(StandardScaler(), one) for one in (GaussianNB(), KNeighborsClassifier(3))
    ]
    with pytest.warns(UserWarning, match="frozen"):
        found = audit(soft(*inside).fit(X, TWO), X, TWO, method="one-step")
    for how in (None, "frozen"):
        assert found.verify(2, preprocessing=how)["difference"].abs().max() < 1e-10
    assert audit(classifier, X, TWO).verify(2)["difference"].abs().max() < 1e-3


@pytest.mark.parametrize("name", ["kernels", "counts"])
def test_derivatives_of_several_targets_are_the_sums_of_each(name):
    model, y, weight, *_ = CASES[name]
    whole = fitted(model, X, y, weight)
    inf = Influence(whole, X, y, weight)
    parts = [
        Influence(fitted(getattr(model, "estimator", model), X, one, weight), X, one, weight)
        for one in y.T
    ]
    for ask in (
        lambda inf, y: inf.influence_up_loss(X[:2], y[:2]),
        lambda inf, y: inf.influence_pert(X[:2], y[:2]),
        lambda inf, y: inf.self_influence(),
        lambda inf, y: inf.influence_up_loss(X[:2], y[:2], aggregate="mean"),
    ):
        expected = sum(ask(part, one) for part, one in zip(parts, y.T, strict=True))
        np.testing.assert_allclose(ask(inf, y), expected, rtol=1e-9)


def test_derivatives_of_several_labels_are_the_sums_of_each():
    inf = Influence(MultiOutputClassifier(LOGISTIC).fit(X, MANY), X, MANY)
    parts = [Influence(clone(LOGISTIC).fit(X, own), X, own) for own in MANY.T]
    found = inf.influence_up_loss(X[:2], MANY[:2])
    expected = sum(
        part.influence_up_loss(X[:2], own[:2]) for part, own in zip(parts, MANY.T, strict=True)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    "model",
    [RidgeClassifier(), MultiOutputClassifier(GaussianNB()), OneVsRestClassifier(LOGISTIC)],
    ids=["ridge", "a model each", "against the rest"],
)
def test_several_labels_are_predicted_and_scored_as_by_refits(model):
    """Accuracy is of rows of which all labels are right; a class that is not there is refused."""
    inf = Influence(model.fit(X, MANY), X, MANY)
    found, expected = inf.loo_predict(), cross_val_predict(model, X, MANY, cv=LeaveOneOut())
    assert (found == expected).all() and inf.loo_score() == (expected == MANY).all(axis=1).mean()
    edit, left = edits.remove([2, 9]), np.delete(np.arange(N), [2, 9])
    refit = clone(model).fit(X[left], MANY[left])
    change = accuracy_score(MANY, refit.predict(X)) - accuracy_score(MANY, model.predict(X))
    assert inf.effect(edit, X, MANY, of="accuracy").values == pytest.approx(change, abs=1e-12)
    with pytest.raises(ValueError, match="has each"):
        inf.effect(edits.relabel([1], [[0, 2, 1]]), X, of="decision_function")


@pytest.mark.parametrize(
    "inside", [SVC(tol=1e-10), KNeighborsClassifier(3)], ids=["values", "votes"]
)
@pytest.mark.parametrize("y", [TWO, THREE], ids=["two classes", "three classes"])
def test_losses_and_classes_of_one_against_the_rest(inside, y):
    """Losses of the models, one for each class; where they have chances alone, the log loss."""
    model = OneVsRestClassifier(inside).fit(X, y)
    inf = Influence(model, X, y)
    refit = clone(model).fit(np.delete(X, 4, axis=0), np.delete(y, 4))
    classes = model.classes_ if len(model.classes_) > 2 else model.classes_[1:]

    def losses(one):
        total = 0.0
        for part, label in zip(one.estimators_, classes, strict=True):
            own = y == label
            if hasattr(part, "decision_function"):
                total += np.maximum(0.0, 1.0 - np.where(own, 1, -1) * part.decision_function(X))
            else:
                chance = part.predict_proba(X)[:, 1]
                with np.errstate(divide="ignore"):
                    total -= np.log(np.where(own, chance, 1.0 - chance))
        return total

    with np.errstate(invalid="ignore"):
        expected = losses(refit) - losses(model)
        found = inf.removal_effect(X, y, indices=[4])[:, 0]
    known = np.isfinite(expected)
    assert known.sum() > 5
    np.testing.assert_allclose(found[known], expected[known], atol=1e-5)
    turned = inf.removal_effect(X, of="predict", indices=range(N))
    for i in range(0, N, 6):
        refit = clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i))
        np.testing.assert_array_equal(turned[:, i] != 0, refit.predict(X) != model.predict(X))


def test_relabelled_rows_are_in_the_class_and_among_the_rest():
    model = OneVsRestClassifier(GaussianNB()).fit(X, THREE)
    moved = Influence(model, X, THREE).relabel_effect(X[:3], of="predict_proba", indices=[4, 5])
    for j, row in enumerate([4, 5]):
        for k, label in enumerate(model.classes_):
            refit = clone(model).fit(X, np.where(np.arange(N) == row, label, THREE))
            expected = refit.predict_proba(X[:3]) - model.predict_proba(X[:3])
            np.testing.assert_allclose(moved[:, j, k], expected, atol=1e-10)


def test_targets_of_a_kernel_ridge_share_one_factor():
    inf = Influence(KernelRidge(kernel="rbf").fit(X, Y), X, Y)
    first, *others = inf.answers.members
    assert all(one.system is first.system for one in others)


def test_trust_is_that_of_the_members():
    certain = Influence(soft(GaussianNB(), LinearDiscriminantAnalysis()).fit(X, TWO), X, TWO)
    found = certain.effect(edits.remove(3), X, TWO)
    assert found.bound == 0.0
    assert found.method_used == "exact"
    mixed = Influence(soft(LOGISTIC, GaussianNB()).fit(X, TWO), X, TWO)
    found = mixed.effect([edits.remove(3), edits.remove(4)], X, TWO)
    assert found.bound.tolist() == [np.inf, np.inf]
    assert set(found.method_used) == {"by member"}
    assert str(mixed.report()).startswith("a vote of several models:\n- ")


def test_the_only_row_of_a_class_has_no_answer_and_the_others_do():
    y = np.array(TWO)
    y[:], y[3] = "no", "yes"
    inf = Influence(soft(LOGISTIC, GaussianNB()).fit(X, y), X, y)
    with pytest.warns(UserWarning, match="Row 3 "):
        found = inf.loo_predict_proba()
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        effects = inf.removal_effect(X[:2], y[:2])
    assert np.flatnonzero(np.isnan(effects).any(axis=0)).tolist() == [3]


def test_what_members_say_is_said_once_and_through_the_filters_of_the_caller():
    """24 neighbours of 23 rows: neither member has an answer, and says so."""
    model = mean(KNeighborsRegressor(N), KNeighborsRegressor(N, weights="distance")).fit(X, LINE)
    inf = Influence(model, X, LINE)
    for rule in ("always", "default", "once"):
        for _ in range(2):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter(rule)
                assert np.isnan(inf.loo_predict()).all()
            assert [one.filename for one in said] == [__file__], rule
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore")
        inf.loo_predict()
    assert said == []
    with warnings.catch_warnings(), pytest.raises(UserWarning, match="no answer"):
        warnings.simplefilter("error")
        inf.loo_predict()


# Refused by name -----------------------------------------------------------------------------------

SCALED = make_pipeline(StandardScaler(), LOGISTIC)
REFUSED = {
    "counted votes": (VotingClassifier([("a", LOGISTIC)]), TWO, "voting='soft'"),
    "a held one inside": (
        soft(FrozenEstimator(clone(LOGISTIC).fit(X, TWO)), GaussianNB()),
        TWO,
        "Put what they share before it",
    ),
    "a curve inside": (
        mean(TransformedTargetRegressor(RIDGE, transformer=QuantileTransformer(n_quantiles=9))),
        LINE,
        r"VotingRegressor\(.*ask about one model: Influence\(model.estimators_\[k\], X, y\)",
    ),
    "a search for each target": (
        MultiOutputRegressor(GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2)),
        Y,
        "Got GridSearchCV inside it",
    ),
    "a step for each class": (
        OneVsRestClassifier(make_pipeline(SelectKBest(k=2), LOGISTIC)),
        THREE,
        "fitted to the targets of each",
    ),
    "steps that draw": (
        soft(make_pipeline(Nystroem(random_state=0, n_components=5), LOGISTIC), GaussianNB()),
        TWO,
        "another draw.*ask about one model",
    ),
    "a choice behind a step": (
        mean(make_pipeline(StandardScaler(), RidgeCV()), RIDGE),
        LINE,
        "chosen nothing",
    ),
    "no probabilities": (soft(LOGISTIC), TWO, "must have probabilities"),
    "a choice": (mean(RidgeCV()), LINE, "chosen nothing"),
    "two scores of a class": (
        OneVsRestClassifier(LinearDiscriminantAnalysis()),
        THREE,
        "one class at a time",
    ),
    "several parameters": (MultiOutputRegressor(HuberRegressor()), Y, "one target at a time"),
    "labels of three classes": (
        MultiOutputClassifier(LOGISTIC),
        np.column_stack([THREE, MANY[:, 0]]),
        "must tell 1 from 0",
    ),
    "labels with a choice": (RidgeClassifierCV(alphas=[0.1, 1.0]), MANY, "chosen nothing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_votes_that_are_not_known_say_why(name):
    model, y, match = REFUSED[name]
    model = model.fit(X, y)
    if name == "no probabilities":
        model.estimators_ = [RidgeClassifier().fit(X, model.le_.transform(y))]
    with pytest.raises(TypeError, match=match):
        Influence(model, X, y)


def test_the_way_out_of_the_refusals_works():
    model = VotingClassifier([("a", LOGISTIC)]).fit(X, TWO)
    inside = Influence(model.estimators_[0], X, model.le_.transform(TWO))
    assert inside.loo_predict().shape == (N,)
    inf = Influence(mean(RIDGE).fit(X, LINE), X, LINE)
    for ask in (
        lambda: inf.influence_up_loss(X, LINE),
        lambda: inf.self_influence(),
        lambda: leverage(inf),
    ):
        with pytest.raises(TypeError, match="a vote of several models"):
            ask()


def test_forgetting_knows_one_model_at_a_time():
    for model, y in ((mean(RIDGE), LINE), (KernelRidge(kernel="rbf"), Y)):
        with pytest.raises(TypeError, match="Got"):
            forget(Influence(model.fit(X, y), X, y), [1])


def test_a_vote_that_is_not_fitted_can_be_searched():
    """What it is made of is looked at where there is something."""
    model = mean(Ridge(solver="cholesky"), KNeighborsRegressor(3))
    alpha = next(name for name in model.get_params() if name.endswith("__alpha"))
    search = LeaveOneOutSearch(model, {alpha: [0.1, 3.0]}, scoring="r2").fit(X, LINE)
    model.set_params(**search.best_params_)
    left_out = cross_val_predict(model, X, LINE, cv=LeaveOneOut())
    assert search.best_score_ == pytest.approx(r2_score(LINE, left_out), rel=1e-9)


@pytest.mark.parametrize("inside", [Ridge(solver="cholesky"), KNeighborsRegressor(3)], ids=str)
def test_one_target_in_a_column_is_one_model(inside):
    model, y = MultiOutputRegressor(inside), np.reshape(LINE, (-1, 1))
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut())
    found = Influence(model.fit(X, y), X, y).loo_predict()
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-9)
    with pytest.raises(ValueError, match="must be those of the fit"):
        Influence(model, X[::-1], y)


def test_models_of_a_frame_are_asked_about_without_a_word_of_its_names():
    frame = pytest.importorskip("pandas").DataFrame(X, columns=["a", "b", "c"])
    for model, y in (
        (soft(LOGISTIC, GaussianNB()), TWO),
        (OneVsRestClassifier(GaussianNB()), THREE),
        (GaussianNB(), TWO),
        (MultiOutputRegressor(KNeighborsRegressor(3)), Y),
    ):
        model.fit(frame, y)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Influence(model, frame, y).loo_predict()


@pytest.mark.parametrize(
    "model, y",
    [
        (OneVsRestClassifier(LOGISTIC), MANY),
        (OneVsRestClassifier(RidgeClassifier()), MANY),
        (MultiOutputClassifier(LOGISTIC), MANY),
        (RidgeClassifier(), MANY),
        (OneVsRestClassifier(LogisticRegression(class_weight={0: 1.0, 1: 2.0}, **NEWTON)), THREE),
    ],
    ids=lambda one: str(one) if hasattr(one, "fit") else "",
)
def test_other_rows_than_those_of_the_fits_of_labels_and_classes_are_refused(model, y):
    model = fitted(model, X, y, None)
    Influence(model, X, y)
    with pytest.raises(ValueError, match="must be those of the fit"):
        Influence(model, X[::-1], y)


def test_other_rows_than_those_of_the_fit_are_refused():
    model = mean(RIDGE, KNeighborsRegressor(3)).fit(X, LINE)
    with pytest.raises(ValueError, match="must be those of the fit"):
        Influence(model, X[::-1], LINE)
