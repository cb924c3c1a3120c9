"""One against one: a row moves the models of its class's pairs, and votes are those of refits of all of them."""

import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, RidgeClassifier, RidgeClassifierCV
from sklearn.metrics import f1_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.multiclass import OneVsOneClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skinfluence import Influence, edits
from skinfluence.cleaning import audit
from skinfluence.losses.base import Loss
from skinfluence.robustness import prediction, smallest_flip
from skinfluence.unlearning import forget

N = 36
NEWTON = {"solver": "newton-cholesky", "tol": 1e-12}
LOGISTIC = LogisticRegression(**NEWTON)
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
LINE = X @ [1.0, -1.0, 0.5] + rng.standard_normal(N)
TWO = np.where(LINE > 0, "yes", "no")
FOUR = np.digitize(LINE, np.quantile(LINE, [0.2, 0.5, 0.8])) * 10
# A classifier, its targets, and how near refits are known.
CASES = {
    "logistic": (OneVsOneClassifier(LOGISTIC), FOUR, 1e-9),
    "balanced": (
        OneVsOneClassifier(clone(LOGISTIC).set_params(class_weight="balanced")),
        FOUR,
        1e-9,
    ),
    "least squares": (OneVsOneClassifier(RidgeClassifier()), FOUR, 1e-12),
    "naive Bayes": (OneVsOneClassifier(GaussianNB()), FOUR, 1e-12),
    "neighbours": (OneVsOneClassifier(KNeighborsClassifier(3)), FOUR, 1e-12),
    "machines": (OneVsOneClassifier(SVC(tol=1e-10)), FOUR, 1e-6),
    "two classes": (OneVsOneClassifier(LOGISTIC), TWO, 1e-9),
    "chances of two classes": (OneVsOneClassifier(GaussianNB()), TWO, 1e-12),
    "behind a scaler": (make_pipeline(StandardScaler(), OneVsOneClassifier(LOGISTIC)), FOUR, 1e-9),
}


@pytest.fixture(params=CASES)
def case(request):
    model, y, atol = CASES[request.param]
    model = clone(model).fit(X, y)
    return model, y, atol, Influence(model, X, y)


def refit(model, X, y):
    return clone(model).fit(X, y)


def test_left_out_values_and_classes_are_those_of_refits(case):
    model, y, atol, inf = case
    rows = range(0, N, 5)
    others = [refit(model, np.delete(X, i, axis=0), np.delete(y, i)) for i in rows]
    expected = [one.decision_function(X[[i]])[0] for i, one in zip(rows, others, strict=True)]
    found = inf.loo_decision_function(method="exact", indices=rows)
    assert_allclose(found, expected, atol=atol)
    expected = [one.predict(X[[i]])[0] for i, one in zip(rows, others, strict=True)]
    assert_array_equal(inf.loo_predict(method="exact", indices=rows), expected)


def test_edits_removals_and_groups_are_refits(case):
    model, y, atol, inf = case
    new = y[y != y[7]][0]
    edit = edits.remove([1, 5]) + edits.relabel(7, new) + edits.add(X[0] + 0.1, new)
    after, left = np.array(y), np.delete(np.arange(N), [1, 5])
    after[7] = new
    other = refit(model, np.vstack([X[left], X[:1] + 0.1]), np.append(after[left], new))
    before = model.decision_function(X)
    asked = {"of": "decision_function", "method": "exact"}
    found = inf.effect(edit, X, **asked).values
    change = other.decision_function(X) - before
    assert np.abs(change).max() > 1e-2
    assert_allclose(found, change, atol=atol)
    one = refit(model, X[1:], y[1:])
    found = inf.removal_effect(X, indices=[0], **asked)[:, 0]
    assert_allclose(found, one.decision_function(X) - before, atol=atol)
    group = np.arange(N) % 4
    one = refit(model, X[group != 1], y[group != 1])
    found = inf.removal_effect(X, groups=group, **asked)[:, 1]
    assert_allclose(found, one.decision_function(X) - before, atol=atol)


def test_a_row_with_another_label_leaves_enters_and_turns(case):
    model, y, atol, inf = case
    found = inf.relabel_effect(X[:3], of="decision_function", method="exact", indices=[2])[:, 0]
    before = model.decision_function(X[:3])
    for k, label in enumerate(model.classes_):
        other = refit(model, X, np.where(np.arange(N) == 2, label, y))
        assert_allclose(found[:, k], other.decision_function(X[:3]) - before, atol=atol)


def test_losses_are_of_the_pairs_of_a_class_and_scores_are_of_the_votes():
    model = OneVsOneClassifier(RidgeClassifier()).fit(X, FOUR)
    inf = Influence(model, X, FOUR)
    other = refit(model, X[1:], FOUR[1:])

    def losses(one):
        total, k = np.zeros(N), 0
        for i, a in enumerate(one.classes_):
            for b in one.classes_[i + 1 :]:
                own = (FOUR == a) | (FOUR == b)
                away = one.estimators_[k].decision_function(X) - np.where(FOUR == b, 1, -1)
                total[own], k = total[own] + 0.5 * away[own] ** 2, k + 1
        return total

    found = inf.removal_effect(X, FOUR, indices=[0])[:, 0]
    assert_allclose(found, losses(other) - losses(model), atol=1e-12)
    left_out = cross_val_predict(model, X, FOUR, cv=LeaveOneOut())
    assert inf.loo_score() == (left_out == FOUR).mean()
    score = f1_score(FOUR, left_out, average="macro")
    assert inf.loo_score("f1_macro") == pytest.approx(score, abs=1e-12)
    pytest.importorskip("pandas")
    assert audit(model, X, FOUR).verify(2)["difference"].abs().max() < 1e-9


@pytest.mark.parametrize("inside", [LOGISTIC, GaussianNB()], ids=["values", "chances"])
def test_its_loss_has_the_derivatives_that_it_says(inside):
    loss = Influence(OneVsOneClassifier(inside).fit(X, FOUR), X, FOUR).objective.loss
    assert isinstance(loss, Loss)
    eta, y, eps = rng.uniform(0.2, 0.8, (4, 6)), np.arange(4), 1e-6
    for k in range(6):
        step = eps * np.eye(6)[k]
        slope = (loss.value(eta + step, y) - loss.value(eta - step, y)) / (2 * eps)
        assert_allclose(loss.gradient(eta, y)[:, k], slope, atol=1e-7)
        bend = (loss.gradient(eta + step, y) - loss.gradient(eta - step, y)) / (2 * eps)
        assert_allclose(loss.hessian(eta, y)[:, k], bend, atol=1e-6)


def test_sparse_rows_and_rows_of_weight_are_taken_apart():
    model = OneVsOneClassifier(LinearSVC(loss="squared_hinge", tol=1e-10, max_iter=100_000))
    sparse = csr_array(np.where(np.abs(X) < 0.5, 0.0, X))
    dense = sparse.toarray()
    found = Influence(clone(model).fit(sparse, FOUR), sparse, FOUR).loo_decision_function()
    expected = Influence(clone(model).fit(dense, FOUR), dense, FOUR).loo_decision_function()
    assert_allclose(found, expected, atol=1e-5)


def test_trust_is_that_of_the_pairs_that_are_touched():
    inf = Influence(OneVsOneClassifier(GaussianNB()).fit(X, FOUR), X, FOUR)
    found = inf.effect([edits.remove(3), edits.relabel(4, FOUR[0])], X, FOUR)
    assert found.bound.tolist() == [0.0, 0.0] and set(found.method_used) == {"exact"}
    inf = Influence(OneVsOneClassifier(LOGISTIC).fit(X, FOUR), X, FOUR)
    assert inf.effect(edits.remove(3), X, FOUR).bound == np.inf
    assert str(inf.report()).startswith("a smooth linear model for each pair of classes:\n- ")


def test_the_only_row_of_a_class_has_no_answer_and_is_named_by_its_own_number():
    y = np.where(FOUR == 30, 20, FOUR)
    y[17] = 30
    inf = Influence(OneVsOneClassifier(LOGISTIC).fit(X, y), X, y)
    for ask in (
        lambda: inf.loo_decision_function(),
        lambda: inf.removal_effect(X[:2], of="decision_function").swapaxes(0, 1).reshape(N, -1),
    ):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = ask()
        assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [17]
        assert [str(one.message)[:7] for one in said] == ["Row 17 "]


def test_rows_without_which_a_pair_has_no_model_are_named_by_their_own_numbers():
    """Two rows of a class, in a pair with neighbours that need more than are left."""
    y = np.where(np.arange(N) < 34, np.arange(N) % 2, 2)
    y[2:] = np.where(y[2:] == 1, 0, y[2:])
    inf = Influence(OneVsOneClassifier(KNeighborsClassifier(3)).fit(X, y), X, y)
    with pytest.warns(UserWarning, match="^Row") as said:
        found = inf.loo_decision_function()
    lost = np.flatnonzero(np.isnan(found).any(axis=1))
    assert 1 in lost and any("34, 35" in str(one.message) for one in said)


REFUSED = {
    "steps that draw": (
        OneVsOneClassifier(make_pipeline(Nystroem(random_state=0, n_components=5), LOGISTIC)),
        "another draw",
    ),
    "a choice": (OneVsOneClassifier(RidgeClassifierCV(alphas=[0.1, 1.0])), "chosen nothing"),
    "two scores": (OneVsOneClassifier(LinearDiscriminantAnalysis()), "one decision value"),
    "kernel values": (OneVsOneClassifier(SVC(kernel="precomputed")), "rows of numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_pairs_that_are_not_known_say_what_to_do(name):
    model, match = REFUSED[name]
    rows = X @ X.T if name == "kernel values" else X
    model = clone(model).fit(rows, FOUR)
    with pytest.raises(TypeError, match=match) as refusal:
        Influence(model, rows, FOUR)
    code = re.search(r"(a, b = .*; )(Influence\(.*\))\.$", str(refusal.value))
    if code is not None:
        place = {"np": np, "Influence": Influence, "model": model, "X": X, "y": FOUR, "k": 4}
        exec(code[1], place)
        assert (eval(code[2], place).loo_predict() <= 1).all()
    assert code is not None or name in ("a choice", "kernel values")


def test_the_model_after_an_edit_is_its_fit_without_a_bound_and_streams_are_refused(case):
    model, y, _, inf = case
    edit = edits.remove([1, 5]) + edits.add(X[0] + 0.1, y[3])
    left = np.delete(np.arange(N), [1, 5])
    other = refit(model, np.vstack([X[left], X[:1] + 0.1]), np.append(y[left], y[3]))
    edited = inf.edited(edit)
    assert_allclose(edited.estimator.decision_function(X), other.decision_function(X), atol=1e-12)
    assert np.isinf(edited.error_at(X)).all()
    with pytest.raises(TypeError, match="whose models have the rows of two classes"):
        inf.after(edit)
    with pytest.raises(ValueError, match="takes no weights"):
        inf.edited(edits.reweight(1, 2.0))


def test_flips_and_receipts_of_votes_are_refused():
    inf = Influence(OneVsOneClassifier(RidgeClassifier()).fit(X, FOUR), X, FOUR)
    for ask in (lambda: smallest_flip(inf, prediction(X[0])), lambda: forget(inf, [1])):
        with pytest.raises(TypeError, match="whose models have the rows of two classes"):
            ask()


def test_other_rows_than_those_of_the_fit_are_refused():
    model = OneVsOneClassifier(LOGISTIC).fit(X, FOUR)
    with pytest.raises(ValueError, match="must be those of the fit"):
        Influence(model, X[::-1], FOUR)
