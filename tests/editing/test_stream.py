"""Streams of edits: each model is that of a refit, and every row keeps its number."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from skinfluence import Influence, edits
from skinfluence.curvature import Curvature
from skinfluence.editing import stream
from skinfluence.objective import objective_of
from skinfluence.solvers import CG, Exact
from tests.editing.models import MODELS, NEWTON, SHARES, outputs
from tests.fewer import LONG
from tests.truth import polish


class Ledger:
    """Training rows that are edited by hand, by number."""

    def __init__(self, X, y):
        self.X, self.y, self.left = X.copy(), y.copy(), np.ones(len(y), dtype=bool)

    def edit(self, rng, kind):
        """One edit of a kind, of a row at random, carried out here too."""
        row = int(rng.choice(np.flatnonzero(self.left)))
        if kind == "remove":
            self.left[row] = False
            return edits.remove(row)
        if kind == "relabel":
            self.y[row] = label = rng.choice(self.y)
            return edits.relabel(row, label)
        x = self.X[row] * rng.uniform(0.8, 1.2)
        if kind == "replace":
            self.X[row] = x
            return edits.replace(row, x)
        self.X, self.y = np.vstack([self.X, x]), np.append(self.y, self.y[row])
        self.left = np.append(self.left, True)
        return edits.add(x, self.y[row])

    def refit(self, model):
        return clone(model).fit(self.X[self.left], self.y[self.left])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [name for name in MODELS if name != "liblinear"])
def test_every_model_of_a_stream_is_the_refit(name):
    """Removed, relabelled, replaced and added rows in turn, 8 of them, for every estimator."""
    model, X, y = MODELS[name]
    model = clone(model).fit(X, y)
    before, wanted = pickle.dumps(model), outputs(model, X)
    first = inf = Influence(model, X, y)
    ledger, rng = Ledger(X, y), np.random.default_rng(7)
    for step in range(16 if LONG else 8):
        inf = inf.after(ledger.edit(rng, ["remove", "relabel", "replace", "add"][step % 4]))
        if step % 4 == 3:
            refit = outputs(ledger.refit(model), X)
            atol = SHARES.get(name, 1e-8) * np.abs(refit).max()
            np.testing.assert_allclose(outputs(inf.estimator, X), refit, rtol=0, atol=atol)
    assert inf.objective.n_samples == len(ledger.y)
    # What came before is as it was.
    assert pickle.dumps(model) == before
    np.testing.assert_array_equal(outputs(first.estimator, X), wanted)


@pytest.mark.parametrize(
    "model",
    [LogisticRegression(**NEWTON), Ridge(), PoissonRegressor(alpha=0.01, **NEWTON)],
    ids=str,
)
def test_long_streams_do_not_drift(model):
    """Four hundred removals and corrections: the last model is as near to its refit as the first."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((900, 8)) * np.logspace(-1, 1, 8)
    eta = X @ rng.standard_normal(8) / 8
    targets = {
        "LogisticRegression": (rng.random(900) < 1 / (1 + np.exp(-eta))).astype(int),
        "Ridge": eta + rng.standard_normal(900),
        "PoissonRegressor": rng.poisson(np.exp(0.3 * eta)),
    }
    y = targets[type(model).__name__].astype(float)
    inf = Influence(clone(model).fit(X, y), X, y)
    ledger = Ledger(X, y)
    for step in range(400):
        inf = inf.after(ledger.edit(rng, "remove" if step % 2 else "relabel"))
        if step % 100 == 99:
            wanted = outputs(ledger.refit(model), X)
            atol = 1e-8 * np.abs(wanted).max()
            np.testing.assert_allclose(outputs(inf.estimator, X), wanted, rtol=0, atol=atol)


def test_a_quadratic_loss_over_many_columns_is_solved_though_rows_are_missing_to_the_factor():
    """Beyond 256 columns it is factored anew only where a twentieth of the Hessian has left."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 260))
    y = X @ rng.standard_normal(260) + 30.0 * rng.standard_normal(len(X))
    inf = Influence(Ridge(solver="cholesky").fit(X, y), X, y)
    for row in range(2):
        inf = inf.after(edits.remove(row))
    assert inf.answers.held.follower.kept < 0.99
    refit = Ridge(solver="cholesky").fit(X[2:], y[2:])
    np.testing.assert_allclose(inf.estimator.coef_, refit.coef_, rtol=0, atol=1e-11)


def test_the_hessian_is_formed_anew_once_passes_over_the_rows_have_cost_as_much(monkeypatch):
    model, X, y = MODELS["logistic"]
    monkeypatch.setattr(stream, "FEWEST", 1)
    formed, form = [], stream._renewed
    monkeypatch.setattr(stream, "_renewed", lambda *args: formed.append(1) or form(*args))
    inf = Influence(clone(model).fit(X, y), X, y)
    ledger, rng = Ledger(X, y), np.random.default_rng(7)
    for _ in range(12):
        inf = inf.after(ledger.edit(rng, "relabel"))
        assert inf.answers.follower.spent <= inf.objective.n_parameters
    assert formed
    wanted = outputs(ledger.refit(model), X)
    np.testing.assert_allclose(outputs(inf.estimator, X), wanted, atol=1e-8 * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["logistic", "softmax", "poisson", "ridge"])
def test_the_bound_of_a_stream_holds(name):
    """In the norm of the Hessian at the parameters, against Newton's method from scratch."""
    model, X, y = MODELS[name]
    inf = Influence(clone(model).fit(X, y), X, y)
    ledger, rng = Ledger(X, y), np.random.default_rng(3)
    checked = 0
    for _ in range(12):
        before, edit = inf, ledger.edit(rng, "remove")
        inf = before.after(edit)
        if before is inf or getattr(inf.answers, "follower", None) is None:
            continue
        best = polish(
            objective_of(ledger.refit(model), ledger.X[ledger.left], ledger.y[ledger.left])
        )
        away = inf.answers.problem.theta - best.theta
        size = np.sqrt(away.ravel() @ Curvature(best).dense() @ away.ravel())
        found = (
            stream.follow(
                before.answers.follower,
                before.answers.problem,
                _again(before, edit),
                edit_rows(edit),
            )
            if getattr(before.answers, "follower", None) is not None
            else None
        )
        if found is not None:
            assert size <= found.bound + 1e-12 * np.sqrt(abs(best.value()))
            checked += 1
    assert checked > 4


def _again(influence, edit):
    from skinfluence.editing.model import Move

    return Move(influence, edit, 1e-10, None).problem


def edit_rows(edit):
    return np.array([term.row for term in edit.terms])


@pytest.mark.parametrize("solver", [Exact("dual"), CG(rtol=1e-12), Exact(precision="mixed")])
def test_streams_go_on_with_every_solver(solver):
    model, X, y = MODELS["logistic"]
    model = clone(model).fit(X, y)
    inf = Influence(model, X, y, solver=solver)
    ledger, rng = Ledger(X, y), np.random.default_rng(7)
    for step in range(6):
        inf = inf.after(ledger.edit(rng, ["remove", "replace"][step % 2]))
    wanted = outputs(ledger.refit(model), X)
    np.testing.assert_allclose(outputs(inf.estimator, X), wanted, atol=1e-7)


def test_a_removed_row_stays_removed():
    model, X, y = MODELS["ridge"]
    inf = Influence(clone(model).fit(X, y), X, y).after(edits.remove(3) + edits.add(X[3], y[3]))
    for again in (
        edits.remove(3),
        edits.relabel(3, 1.0),
        edits.reweight(3, 1.0),
        edits.replace(3, X[0]),
    ):
        with pytest.raises(ValueError, match=r"A removed row stays removed\. Got an edit of row 3"):
            inf.after(again)
        with pytest.raises(ValueError, match="A removed row stays removed"):
            inf.edited(again)
    # Its copy is another row, the last one.
    inf = inf.after(edits.remove(len(y)))
    wanted = clone(model).fit(np.delete(X, 3, 0), np.delete(y, 3)).predict(X)
    np.testing.assert_allclose(inf.estimator.predict(X), wanted, rtol=1e-10)


def test_streams_without_functions_of_the_users_number_no_rows(monkeypatch):
    """What is left of all rows is looked at for functions only: it costs more than an edit."""

    def number(inputs, rows, new):
        raise AssertionError("all rows that are left were numbered")

    model, X, y = MODELS["ridge"]
    inf = Influence(clone(model).fit(X, y), X, y)
    monkeypatch.setattr(type(inf.data.inputs), "try_after", number)
    for row in range(3):
        inf = inf.after(edits.remove(row))
    inf.effect(edits.remove([5, 6]), X, y)


def test_a_tube_without_rows_on_its_edge_has_the_middle_of_its_biases():
    """All rows inside after an edit: libsvm's convention, and the same of a pickle of the stream."""
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 0.1, -0.1, 9.0])
    inf = Influence(SVR(epsilon=0.5, gamma=1.0, tol=1e-12).fit(X, y), X, y)
    after = inf.after(edits.remove(3))
    refit = SVR(epsilon=0.5, gamma=1.0, tol=1e-12).fit(X[:3], y[:3])
    np.testing.assert_allclose(after.estimator.predict(X), refit.predict(X), atol=1e-9)
    again = pickle.loads(pickle.dumps(inf.after(edits.relabel(3, 5.0)))).after(edits.remove(3))
    np.testing.assert_allclose(again.estimator.predict(X), refit.predict(X), atol=1e-9)


def test_a_row_of_weight_zero_may_come_back():
    model, X, y = MODELS["logistic"]
    model = clone(model).fit(X, y)
    inf = Influence(model, X, y).after(edits.reweight(3, 0.0)).after(edits.reweight(3, 1.0))
    np.testing.assert_allclose(inf.estimator.coef_, model.coef_, rtol=1e-9)


def test_rows_go_by_their_labels_through_a_stream():
    model, X, y = MODELS["logistic"]
    table = pd.DataFrame(X, index=[f"row {i}" for i in range(len(X))])
    inf = Influence(clone(model).fit(table, y), table, y)
    inf = inf.after(edits.add(table.iloc[0] * 1.1, y[0])).after(edits.remove(labels="row 5"))
    inf = inf.after(edits.relabel(labels="row 9", y=y[0]))
    y_after = y.copy()
    y_after[9] = y[0]
    after = pd.concat([table, table.iloc[[0]] * 1.1]).drop(index="row 5")
    refit = clone(model).fit(after, np.append(np.delete(y_after, 5), y[0]))
    np.testing.assert_allclose(
        inf.estimator.decision_function(table), refit.decision_function(table), rtol=1e-8
    )


def test_questions_after_an_edit_are_about_the_edited_model():
    """Effects, derivatives and leave-one-out values, against an Influence of the refit."""
    model, X, y = MODELS["logistic"]
    inf = Influence(clone(model).fit(X, y), X, y).after(edits.remove([0, 1]))
    left = np.arange(2, len(y))
    other = Influence(clone(model).fit(X[left], y[left]), X[left], y[left])
    for question in ("removal_effect", "relabel_effect"):
        found = getattr(inf, question)(X[:4], y[:4], method="exact", indices=left)
        wanted = getattr(other, question)(X[:4], y[:4], method="exact")
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(
        inf.loo_decision_function(indices=left, method="exact"),
        other.loo_decision_function(method="exact"),
        rtol=1e-7,
    )
    assert np.all(inf.removal_effect(X[:4], y[:4], indices=[0, 1]) == 0)
    assert inf.report().newton_decrement < 1e-9


OF_OWN_KINDS = ["svr", "lasso", "l1-logistic", "gaussian-nb", "lda", "neighbours", "scaler-lda"]


@pytest.mark.parametrize(
    "name", [*OF_OWN_KINDS, "neighbour-regression", "gaussian-process", "svc", "kernel-ridge"]
)
def test_questions_of_every_kind_go_on_after_edits(name):
    """Against an Influence of the refit, whose rows have other numbers; rows that are gone do nothing."""
    model, X, y = MODELS[name]
    inf = Influence(clone(model).fit(X, y), X, y)
    inf = inf.after(edits.remove([0, 3]) + edits.relabel(9, y[-1])).after(edits.add(X[5], y[5]))
    left = np.setdiff1d(np.arange(len(y) + 1), [0, 3])
    y_after = np.append(y, y[5])
    y_after[9] = y[-1]
    X_after = np.vstack([X, X[5]])
    refit = clone(model).fit(X_after[left], y_after[left])
    other = Influence(refit, X_after[left], y_after[left])
    # libsvm's own Influence begins where libsvm ended: at the optimum too, to round-off.
    near = {"rtol": 1e-6, "atol": 1e-7 * np.abs(outputs(refit, X)).max()}
    asked = {"of": "decision_function"}
    found = inf.removal_effect(X[:4], indices=left[5:12], **asked)
    wanted = other.removal_effect(X[:4], indices=np.arange(5, 12), **asked)
    np.testing.assert_allclose(found, wanted, **near)
    assert (inf.removal_effect(X[:4], indices=[0, 3], **asked) == 0).all()
    some = np.arange(0, len(left), 12)
    loo = inf.loo_predict(indices=left[some]), other.loo_predict(indices=some)
    if isinstance(y[0], str):
        np.testing.assert_array_equal(*loo)
    else:
        np.testing.assert_allclose(*loo, **near)
    one = inf.effect(edits.remove([7, len(y)]) + edits.add(X[8], y[8]), X[:4], **asked).values
    same = edits.remove([5, len(left) - 1]) + edits.add(X[8], y[8])
    np.testing.assert_allclose(one, other.effect(same, X[:4], **asked).values, **near)


@pytest.mark.parametrize("name", ["logistic-balanced", "ridge-classifier-balanced", "svc-balanced"])
def test_balanced_class_weights_go_on_moving(name):
    """Effects after an edit balance the classes of the rows that are left, as refits do."""
    model, X, y = MODELS[name]
    inf = Influence(clone(model).fit(X, y), X, y).after(edits.remove([3, 77]))
    left = np.setdiff1d(np.arange(len(y)), [3, 77])
    found = inf.removal_effect(X[:4], of="decision_function", indices=[5], method="exact")
    before = clone(model).fit(X[left], y[left]).decision_function(X[:4])
    others = np.setdiff1d(left, [5])
    after = clone(model).fit(X[others], y[others]).decision_function(X[:4])
    np.testing.assert_allclose(found[:, 0], after - before, atol=1e-7)


def test_pipelines_are_followed_as_a_whole_or_with_held_steps():
    X, y = MODELS["logistic"][1:]
    model = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON)).fit(X, y)
    inf = Influence(model, X, y)
    for row in (3, 10):
        inf = inf.after(edits.remove(row))
    refit = clone(model).fit(np.delete(X, [3, 10], 0), np.delete(y, [3, 10]))
    np.testing.assert_allclose(
        inf.estimator.decision_function(X), refit.decision_function(X), rtol=1e-8
    )
    inf = Influence(model, X, y)
    for row in (3, 10):
        inf = inf.after(edits.remove(row), frozen="accept")
    Z = model[0].transform(X)
    refit = clone(model[-1]).fit(np.delete(Z, [3, 10], 0), np.delete(y, [3, 10]))
    np.testing.assert_allclose(
        inf.estimator.decision_function(X), refit.decision_function(Z), rtol=1e-8
    )
    assert inf.estimator[0] is not model[0]


def test_edits_that_move_no_row_share_the_kernel_matrix_and_pickles_leave_it_out():
    model, X, y = MODELS["svc"]
    inf = Influence(clone(model).fit(X, y), X, y)
    inf.objective.design.values  # noqa: B018
    after = inf.after(edits.remove(3)).after(edits.relabel(5, y[-1]))
    assert after.objective.design.values is inf.objective.design.values
    # The rows on the margin are kept with it, but where the pair of classes has other rows now.
    assert [one is not None for one in after.answers.held.margins] == [False, True, False]
    assert inf.after(edits.replace(3, X[4])).objective.design is not inf.objective.design
    assert len(pickle.dumps(after.objective.design)) < 2 * X.nbytes
