"""Edits by one Newton step: against a dense Newton step written out here, and their errors."""

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence import Influence, edits
from skinfluence.m_estimation import MEstimator
from skinfluence.solvers import CG, Exact
from tests.registries import Case, make_data, name_of
from tests.truth import class_factor, parameters_of, relative_error

HOLDS = pytest.mark.parametrize("hold", ["C", "lambda"])
METHODS = pytest.mark.parametrize("method", ["influence", "one-step"])
BALANCED = ("class_weight", "balanced")
CASES = [
    Case("LogisticRegression", (BALANCED,), "binary", weighted=True),
    Case("LogisticRegression", (BALANCED,), "softmax", weighted=True),
    Case("LogisticRegression", (("fit_intercept", False),), "softmax", sparse=True),
    Case("LogisticRegression", (("solver", "liblinear"), ("intercept_scaling", 3.0)), "binary"),
    Case("LogisticRegression", (("C", np.inf),), "softmax", weighted=True),
    Case("RidgeClassifier", (BALANCED,), "softmax", weighted=True),
    Case("Ridge", (), "regression", weighted=True),
    Case("LinearRegression", (), "regression", weighted=True),
]
EVERY = pytest.mark.parametrize("case", CASES, ids=name_of)


class Dense:
    """The objective of a linear model, written out a second time.

    All K outputs are kept; the one direction a softmax does not see goes by a pseudo-inverse.
    """

    def __init__(self, model, X, y, sample_weight, hold):
        self.model, self.hold = model, hold
        self.X = X.toarray() if sp.issparse(X) else np.asarray(X)
        self.y = y
        n = len(y)
        self.s = np.ones(n) if sample_weight is None else sample_weight
        self.factor, self.class_weight = class_factor(model, y, sample_weight)
        self.w = self.s * self.factor
        self.classes = getattr(model, "classes_", None)
        coef = np.atleast_2d(model.coef_)
        liblinear = getattr(model, "solver", "") == "liblinear"
        self.constant = float(model.intercept_scaling) if liblinear else 1.0
        strength = 0.0
        if hasattr(model, "C"):
            strength = 1.0 / model.C
        elif hasattr(model, "alpha"):
            strength = model.alpha
        self.penalty = np.full(coef.shape[1], strength)
        self.theta = coef
        if model.fit_intercept:
            self.theta = np.column_stack([coef, np.ravel(model.intercept_) / self.constant])
            self.penalty = np.r_[self.penalty, strength if liblinear else 0.0]
        self.unit = self.penalty / self.w.sum() if hold == "lambda" else 0.0 * self.penalty

    def rows(self, X):
        X = X.toarray() if sp.issparse(X) else np.asarray(X)
        if not self.model.fit_intercept:
            return X
        return np.column_stack([X, np.full(len(X), self.constant)])

    def derivatives(self, X, y):
        """Loss, gradient (n, K) and Hessian (n, K, K) in the decision values."""
        return pointwise(self.model, self.classes, self.rows(X) @ self.theta.T, y)

    def terms(self, X, y, w):
        _, g, L = self.derivatives(X, y)
        J = self.rows(X)
        k, d = self.theta.shape
        b = np.einsum("i,ik,id->kd", w, g, J).ravel()
        H = np.einsum("i,ikl,ic,id->kcld", w, L, J, J, optimize=True).reshape(k * d, k * d)
        return b, H

    def weight_of(self, label):
        return 1.0 if self.class_weight is None else self.class_weight[label]

    def step(self, points, method):
        """Points (x, y, change of w): the Newton or first-order step of the edited objective."""
        k, d = self.theta.shape
        X = np.array([x for x, _, _ in points])
        y = np.array([label for _, label, _ in points])
        dw = np.array([change for _, _, change in points])
        _, H = self.terms(self.X, self.y, self.w)
        H += np.diag(np.tile(self.penalty, k))
        b, dH = self.terms(X, y, dw)
        b = b + (dw.sum() * self.unit * self.theta).ravel()
        if method == "one-step":
            H += dH + dw.sum() * np.diag(np.tile(self.unit, k))
        return -(np.linalg.pinv(H, rcond=1e-12, hermitian=True) @ b).reshape(k, d)

    def effect(self, points, X, y, method):
        eta = self.rows(X) @ self.theta.T
        moved = eta + self.rows(X) @ self.step(points, method).T
        loss = lambda at: pointwise(self.model, self.classes, at, y)[0]
        return loss(moved) - loss(eta)


def pointwise(model, classes, eta, y):
    n, k = eta.shape
    if isinstance(model, linear_model.LogisticRegression):
        full = eta if k > 1 else np.column_stack([0.0 * eta, eta])
        code = np.searchsorted(classes, y)
        p = np.exp(full - full.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        target = np.eye(full.shape[1])[code]
        loss = -np.log(p[np.arange(n), code])
        g, L = p - target, p[:, :, None] * np.eye(full.shape[1]) - p[:, :, None] * p[:, None, :]
        return (loss, g, L) if k > 1 else (loss, g[:, 1:], L[:, 1:, 1:])
    if classes is not None:
        y = 2.0 * (np.asarray(y)[:, None] == (classes if k > 1 else classes[1:])) - 1.0
    residual = eta - np.reshape(y, (n, -1))
    return 0.5 * (residual**2).sum(axis=1), residual, np.broadcast_to(np.eye(k), (n, k, k))


def make(case, hold):
    X, y, weight = case.data()
    model = case.fit(X, y, weight)
    dense = X.toarray() if sp.issparse(X) else X
    inf = Influence(model, X, y, weight, hold=hold)
    # The reference keeps the weights of the classes.
    inf.answers = inf.answers.held
    return inf, Dense(model, X, y, weight, hold), X, dense, y


def other_label(y, row):
    if y.dtype.kind == "f":
        return y[row] + 1.7
    classes = np.unique(y)
    return classes[(np.searchsorted(classes, y[row]) + 1) % len(classes)]


def assert_same(found, expected):
    """1e-10 of the largest entry, and of the pseudo-inverse's own error at C=inf."""
    assert relative_error(found, expected) < 1e-10


@EVERY
@HOLDS
@METHODS
def test_removal_of_each_row(case, hold, method):
    inf, dense, X, D, y = make(case, hold)
    found = inf.removal_effect(X[:5], y[:5], method=method)
    expected = [dense.effect([(D[i], y[i], -dense.w[i])], D[:5], y[:5], method) for i in range(36)]
    assert_same(found, np.array(expected).T)


@EVERY
@HOLDS
@METHODS
def test_removal_of_groups_in_sorted_order(case, hold, method):
    """From pairs to a group that has more outputs than the model parameters."""
    inf, dense, X, D, y = make(case, hold)
    groups = np.array(["b", "a"] + ["c"] * 18 + ["d", "b"] + [f"x{i // 3}" for i in range(14)])
    found = inf.removal_effect(X[:5], y[:5], groups=groups, method=method)
    expected = []
    for name in np.unique(groups):
        points = [(D[i], y[i], -dense.w[i]) for i in np.flatnonzero(groups == name)]
        expected.append(dense.effect(points, D[:5], y[:5], method))
    assert found.shape == (5, len(expected))
    assert_same(found, np.array(expected).T)


@pytest.mark.parametrize("case", [c for c in CASES if c.task != "regression"], ids=name_of)
@HOLDS
@METHODS
def test_relabelling_each_row(case, hold, method):
    inf, dense, X, D, y = make(case, hold)
    found = inf.relabel_effect(X[:4], y[:4], method=method)
    classes = np.unique(y)
    expected = np.zeros((4, 36, len(classes)))
    for i in range(36):
        for c, label in enumerate(classes):
            if label != y[i]:
                new = dense.s[i] * dense.weight_of(label)
                points = [(D[i], y[i], -dense.w[i]), (D[i], label, new)]
                expected[:, i, c] = dense.effect(points, D[:4], y[:4], method)
    assert_same(found, expected)
    own = np.searchsorted(classes, y)
    assert not found[:, np.arange(36), own].any()
    some = inf.relabel_effect(X[:4], y[:4], method=method, indices=[7, 2])
    np.testing.assert_allclose(some, found[:, [7, 2]], rtol=1e-9, atol=1e-12)


@EVERY
@HOLDS
@METHODS
def test_every_kind_of_edit(case, hold, method):
    """remove, relabel, replace, add, reweight, and all of them at once."""
    inf, dense, X, D, y = make(case, hold)
    x_new = D[3] + 0.5
    label = y[4]
    w = dense.w
    own = dense.factor

    def weight(row_label, s):
        return s * dense.weight_of(row_label)

    def swap(i, x, new):
        return [(D[i], y[i], -w[i]), (x, new, weight(new, dense.s[i]))]

    pairs = {
        "remove": (edits.remove(3), [(D[3], y[3], -w[3])]),
        "remove two": (edits.remove([3, -1]), [(D[i], y[i], -w[i]) for i in (3, 35)]),
        "relabel": (edits.relabel(6, other_label(y, 6)), swap(6, D[6], other_label(y, 6))),
        "replace": (edits.replace(8, x_new), swap(8, x_new, y[8])),
        "replace both": (
            edits.replace(8, x_new, other_label(y, 8)),
            swap(8, x_new, other_label(y, 8)),
        ),
        "add": (edits.add(x_new, label), [(x_new, label, weight(label, 1.0))]),
        "add heavy": (edits.add(x_new, label, 2.5), [(x_new, label, weight(label, 2.5))]),
        "reweight": (edits.reweight(9, 0.25), [(D[9], y[9], 0.25 * own[9] - w[9])]),
        "reweight two": (
            edits.reweight([9, 10], [3.0, 0.0]),
            [(D[9], y[9], 3.0 * own[9] - w[9]), (D[10], y[10], -w[10])],
        ),
    }
    together = [pairs[name] for name in ("remove", "relabel", "replace", "add", "reweight two")]
    total = together[0][0]
    for edit, _ in together[1:]:
        total = total + edit
    pairs["together"] = (total, [point for _, points in together for point in points])
    expected = [dense.effect(points, D[:5], y[:5], method) for _, points in pairs.values()]
    answer = inf.effect([edit for edit, _ in pairs.values()], X[:5], y[:5], method=method)
    for name, found, truth in zip(pairs, answer.values.T, expected, strict=True):
        assert relative_error(found, truth) < 1e-10, name
    for (edit, _), truth in zip(pairs.values(), expected, strict=True):
        assert_same(inf.effect(edit, X[:5], y[:5], method=method).values, truth)


@EVERY
def test_edits_agree_with_the_vectorised_questions(case):
    inf, _, X, _, y = make(case, "lambda")
    one_by_one = inf.effect([edits.remove(i) for i in range(6)], X, y, method="one-step")
    at_once = inf.removal_effect(X, y, indices=range(6), method="one-step")
    assert_same(one_by_one.values, at_once)
    grouped = inf.removal_effect(X, y, groups=np.arange(36), method="one-step")
    assert_same(grouped[:, :6], at_once)


def test_adding_a_row_and_removing_it_is_nothing():
    inf, dense, X, D, y = make(CASES[0], "lambda")
    nothing = edits.reweight(4, dense.s[4])
    np.testing.assert_allclose(inf.effect(nothing, X, y, method="one-step").values, 0, atol=1e-14)
    same = edits.replace(4, D[4])
    np.testing.assert_allclose(inf.effect(same, X, y, method="one-step").values, 0, atol=1e-12)
    same = edits.relabel(4, y[4])
    np.testing.assert_allclose(inf.effect(same, X, y, method="one-step").values, 0, atol=1e-12)


@pytest.mark.parametrize("solver", ["primal", "dual", "cg"])
@HOLDS
def test_solvers_agree_on_edits(solver, hold):
    from tests.registries import SOLVERS

    case = CASES[1]
    inf, _, X, D, y = make(case, hold)
    other = Influence(inf.estimator, X, y, case.data()[2], hold=hold, solver=SOLVERS[solver])
    other.answers = other.answers.held
    groups = np.arange(36) // 9
    for ask in (
        lambda i: i.removal_effect(X, y, groups=groups, method="one-step"),
        lambda i: i.relabel_effect(X, y, method="one-step"),
        lambda i: i.effect(edits.add(D[0] + 1, y[0]), X, y, method="one-step").values,
    ):
        assert relative_error(ask(other), ask(inf)) < 1e-8


# Quantities ------------------------------------------------------------------------------------


def moved_model(dense, points):
    return dense.theta + dense.step(points, "one-step")


@EVERY
def test_quantities_other_than_the_loss(case):
    inf, dense, X, D, y = make(case, "C")
    if case.params and ("C", np.inf) in case.params:
        return  # decision values have no gauge in the pseudo-inverse; the losses are compared above
    theta = moved_model(dense, [(D[5], y[5], -dense.w[5])])
    before, after = (dense.rows(D) @ t.T for t in (dense.theta, theta))
    k = before.shape[1]
    if k == 1:
        before, after = before[:, 0], after[:, 0]
    elif isinstance(dense.model, linear_model.LogisticRegression):
        before, after = (e - e.mean(axis=1, keepdims=True) for e in (before, after))
    found = inf.removal_effect(X, of="decision_function", method="one-step", indices=[5])
    assert_same(found[:, 0], after - before)
    per_row = inf.removal_effect(
        X, of=lambda eta: eta.reshape(len(eta), -1)[:, 0] ** 2, method="one-step", indices=[5]
    )
    first = lambda eta: eta.reshape(len(eta), -1)[:, 0] ** 2
    assert_same(per_row[:, 0], first(after) - first(before))
    scalar = inf.removal_effect(X, of=lambda eta: (eta**2).mean(), method="one-step")
    assert scalar.shape == (36,)
    np.testing.assert_allclose(scalar[5], (after**2).mean() - (before**2).mean(), rtol=1e-8)
    with_y = inf.effect(
        edits.remove(5), X, y, of=lambda eta, y: eta.sum() + 0.0 * len(y), method="one-step"
    )
    np.testing.assert_allclose(with_y.values, after.sum() - before.sum(), rtol=1e-7, atol=1e-10)
    both = inf.effect(
        [edits.remove(5), edits.remove(6)], X, of=lambda eta: eta.sum(), method="one-step"
    )
    assert both.values.shape == (2,)


@pytest.mark.parametrize("task", ["binary", "softmax"])
def test_probabilities_move_and_still_sum_to_one(task):
    case = Case("LogisticRegression", task=task)
    inf, dense, X, D, y = make(case, "C")
    found = inf.removal_effect(X, of="predict_proba", method="one-step", indices=[5, 6])
    n_classes = 2 if task == "binary" else 3
    assert found.shape == (36, 2, n_classes)
    np.testing.assert_allclose(found.sum(axis=2), 0.0, atol=1e-14)
    eta = dense.rows(D) @ moved_model(dense, [(D[5], y[5], -dense.w[5])]).T
    if task == "binary":
        eta = np.column_stack([0 * eta, eta])
    p = np.exp(eta) / np.exp(eta).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found[:, 0], p - dense.model.predict_proba(D), atol=1e-12)


def test_a_callable_gets_class_positions_as_y():
    inf, _, X, _, y = make(Case("LogisticRegression"), "C")
    seen = []
    inf.removal_effect(
        X, y, of=lambda eta, y: seen.append(y) or eta[0], method="one-step", indices=[0]
    )
    np.testing.assert_array_equal(seen[0], (y == "yes").astype(int))
    with pytest.raises(ValueError, match="takes \\(eta, y\\), but y was not given"):
        inf.removal_effect(X, of=lambda eta, y: eta[0], method="one-step")


def test_wrong_quantities_are_refused():
    inf, _, X, _, y = make(Case("LogisticRegression"), "C")
    with pytest.raises(ValueError, match=r"of must be 'loss'.*Got 'proba'"):
        inf.removal_effect(X, y, of="proba", method="one-step")
    with pytest.raises(ValueError, match="needs y"):
        inf.removal_effect(X, method="one-step")
    ridge, _, X, _, y = make(CASES[6], "C")
    with pytest.raises(AttributeError, match="classifier with probabilities"):
        ridge.removal_effect(X, of="predict_proba", method="one-step")
    with pytest.raises(ValueError, match="relabel_effect needs a classifier"):
        ridge.relabel_effect(X, y, method="one-step")
    with pytest.raises(ValueError, match="method must be one of"):
        ridge.removal_effect(X, y, method="newton")


# The Effect ------------------------------------------------------------------------------------


def test_effect_of_one_edit_and_of_a_list():
    inf, _, X, _, y = make(CASES[1], "C")
    one = inf.effect(edits.remove(3), X, y, method="one-step")
    many = inf.effect([edits.remove(3)], X, y, method="one-step")
    assert one.values.shape == (36,)
    assert many.values.shape == (36, 1)
    np.testing.assert_array_equal(one.values, many.values[:, 0])
    assert one.method_used == many.method_used[0] == "one-step"
    assert np.ndim(one.leverage) == np.ndim(one.bound) == 0
    assert many.leverage.shape == many.bound.shape == (1,)
    with pytest.raises(AttributeError):
        one.values = 0


def test_effect_of_no_edits_is_empty():
    inf, _, X, _, y = make(CASES[1], "C")
    none = inf.effect([], X, y, method="one-step")
    assert none.values.shape == (36, 0)
    assert none.leverage.shape == (0,)


def test_leverage_is_the_share_a_row_has_in_its_own_curvature():
    """The largest eigenvalue of D^1/2 h D^1/2: the hat matrix for least squares."""
    case = Case("LinearRegression", task="regression", weighted=True)
    inf, dense, X, D, y = make(case, "C")
    A = np.sqrt(dense.w)[:, None] * dense.rows(D)
    hat = A @ np.linalg.pinv(A)
    many = inf.effect([edits.remove(i) for i in range(36)], X, y, method="one-step")
    np.testing.assert_allclose(many.leverage, np.diag(hat), rtol=1e-9)
    group = [4, 9, 11]
    one = inf.effect(edits.remove(group), X, y, method="one-step")
    np.testing.assert_allclose(one.leverage, np.linalg.eigvalsh(hat[np.ix_(group, group)])[-1])
    big = inf.effect(edits.remove(range(30)), X, y, method="one-step")
    np.testing.assert_allclose(big.leverage, np.linalg.eigvalsh(hat[:30, :30])[-1], rtol=1e-8)
    assert inf.effect(edits.add(D[0], y[0]), X, y, method="one-step").leverage == 0


# Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda X, y: edits.remove(36), IndexError, "below 36.*Got row 36"),
        (lambda X, y: edits.remove(-37), IndexError, "Got row -37"),
        (lambda X, y: edits.remove([3, 3]), ValueError, "twice"),
        (lambda X, y: edits.remove([3, -33]), ValueError, "twice"),
        (lambda X, y: edits.remove(3) + edits.relabel(3, "no"), ValueError, "twice"),
        (lambda X, y: edits.remove(3) + edits.replace(3, X[0]), ValueError, "twice"),
        (lambda X, y: edits.remove(3) + edits.reweight(3, 5.0), ValueError, "twice"),
        (lambda X, y: edits.reweight(3, 2.0) + edits.reweight(3, 0.5), ValueError, "twice"),
        (lambda X, y: edits.relabel(3, "no") + edits.reweight(3, 5.0), ValueError, "twice"),
        (lambda X, y: edits.reweight(3, -0.1), ValueError, "non-negative"),
        (lambda X, y: edits.add(X[0], "yes", -1.0), ValueError, "non-negative"),
        (lambda X, y: edits.remove(range(36)), ValueError, "nothing is left to fit"),
        (lambda X, y: edits.relabel(3, "perhaps"), ValueError, "labels the model was fitted on"),
        (lambda X, y: edits.add(X[0], "perhaps"), ValueError, "labels the model was fitted on"),
        (lambda X, y: edits.add(X[0, :3], "yes"), ValueError, "3 features"),
        (lambda X, y: edits.replace(3, np.full(4, np.nan)), ValueError, "NaN"),
        (lambda X, y: edits.add(X[:2], "yes"), ValueError, "One row"),
        (lambda X, y: edits.reweight(3, np.nan), ValueError, "finite"),
        (lambda X, y: edits.reweight(3, np.inf), ValueError, "finite"),
        (lambda X, y: edits.add(X[0], "yes", np.nan), ValueError, "finite"),
        (lambda X, y: "remove", TypeError, "An edit is made by"),
        (lambda X, y: [3], TypeError, "An edit is made by"),
    ],
)
@pytest.mark.parametrize("hold", ["C", "lambda"])
def test_impossible_edits_are_refused(edit, error, message, hold):
    inf, _, X, _, y = make(Case("LogisticRegression"), hold)
    with pytest.raises(error, match=message):
        inf.effect(edit(X, y), X, y, method="one-step")


@pytest.mark.parametrize(
    ("make_edit", "error", "message"),
    [
        (lambda: edits.remove(1.5), TypeError, "integer positions"),
        (lambda: edits.remove("row"), TypeError, "integer positions"),
        (lambda: edits.remove([[0, 1]]), TypeError, "integer positions"),
        (lambda: edits.relabel([1, 2], ["a"]), ValueError, "one value per row. Got 1 for 2"),
        (lambda: edits.reweight([1], [1.0, 2.0]), ValueError, "one value per row"),
        (lambda: edits.remove(0) + 1, TypeError, "unsupported operand"),
    ],
)
def test_constructors_check_what_they_can(make_edit, error, message):
    with pytest.raises(error, match=message):
        make_edit()


def test_groups_must_be_one_label_per_row():
    inf, _, X, _, y = make(Case("LogisticRegression"), "C")
    with pytest.raises(ValueError, match="one label per training row, 36"):
        inf.removal_effect(X, y, groups=np.zeros(35), method="one-step")
    with pytest.raises(ValueError, match="cannot be given together"):
        inf.removal_effect(X, y, groups=np.arange(36), indices=[0], method="one-step")
    with pytest.warns(UserWarning, match="no model"):
        found = inf.removal_effect(X, y, groups=np.zeros(36), method="one-step")
    assert np.isnan(found).all()


def test_nan_is_a_group_too():
    inf, _, X, _, y = make(Case("LogisticRegression"), "C")
    groups = np.where(np.arange(36) < 5, np.nan, np.arange(36) // 12)
    found = inf.removal_effect(X, y, groups=groups, method="one-step")
    assert found.shape == (36, 4)
    expected = inf.effect(edits.remove(range(5)), X, y, method="one-step").values
    assert_same(found[:, -1], expected)


# Rows of weight that decide everything ---------------------------------------------------------


def test_the_last_weight_of_a_class_is_found_wherever_its_rows_are():
    """Not all rows are looked at where one says that a class stays; it stays while any row does."""
    X = np.random.default_rng(0).standard_normal((1100, 2))
    y = np.zeros(1100, dtype=int)
    y[[1, 6, 1099]] = 1
    heavy = np.where(np.arange(1100) == 6, 50.0, 1.0)
    for weight in (None, heavy):
        model = linear_model.LogisticRegression(solver="newton-cholesky").fit(X, y, weight)
        inf = Influence(model, X, y, weight)
        for left in (1, 6, 1099):
            gone = np.setdiff1d([1, 6, 1099], left)
            assert np.isfinite(inf.effect(edits.remove(gone), X[:1], y[:1]).values).all()
        every = edits.remove([1, 6]) + edits.reweight(1099, 0.0)
        for edit in (edits.remove([1, 6, 1099]), every):
            with pytest.raises(edits.NoOptimumError, match="leaves none to class 1"):
                inf.effect(edit, X[:1], y[:1])
        # Another row takes its place.
        inf.effect(edits.remove([1, 6, 1099]) + edits.add(X[0], 1), X[:1], y[:1])


def test_removing_the_last_row_of_a_class_has_no_answer():
    """Its class cannot be fitted without it: NaN and a warning, whoever asks."""
    X, y = make_data("binary", 36, 4, 0)
    y = np.where(np.arange(36) == 4, "yes", "no")
    inf = Influence(linear_model.LogisticRegression(tol=1e-8).fit(X, y), X, y)
    with pytest.warns(UserWarning, match="Row 4 is the only one of its class"):
        found = inf.removal_effect(X[:3], y[:3], method="one-step")
    assert np.isnan(found[:, 4]).all()
    assert np.isfinite(np.delete(found, 4, axis=1)).all()
    with pytest.warns(UserWarning, match="Row 4"):
        assert np.isnan(inf.loo_decision_function(method="one-step")[4])
    for edit in (edits.remove(4), edits.relabel(4, "no")):
        with pytest.raises(ValueError, match="Every class must keep weight"):
            inf.effect(edit, X[:3], y[:3], method="one-step")
    for ask in (
        lambda: inf.relabel_effect(X[:3], y[:3], method="one-step")[:, 4, 0],
        lambda: inf.removal_effect(X[:3], y[:3], groups=y, method="one-step")[:, 1],
    ):
        with pytest.warns(UserWarning, match="class"):
            assert np.isnan(ask()).all()
    with pytest.warns(UserWarning, match="Row 4"):
        top = inf.top(X[:3], y[:3], k=36, method="one-step")
    assert not (top.helpful[:, :35] == 4).any()


def _decision(theta, x):
    return anp.dot(x, theta)


def _row_loss(theta, x, y):
    return (_decision(theta, x) - y) ** 2


@pytest.mark.parametrize("method", ["influence", "one-step", "auto", "exact"])
@pytest.mark.parametrize(
    ("model", "options"),
    [
        (linear_model.Ridge(), {}),
        (linear_model.Ridge(), {"solver": Exact("dual")}),
        (linear_model.Ridge(fit_intercept=False), {}),
        (linear_model.GammaRegressor(), {"hold": "lambda"}),
        (linear_model.GammaRegressor(), {"solver": Exact("dual")}),
        (linear_model.TweedieRegressor(power=0), {"solver": CG()}),
        (linear_model.PoissonRegressor(), {}),
        (KernelRidge(kernel="rbf"), {}),
        (MEstimator(_row_loss, 8, decision=_decision, l2=1.0), {}),
    ],
)
def test_a_row_with_all_the_weight_has_no_answer(model, options, method):
    """Nothing is left to fit without it: NaN, and a warning that says so and nothing else."""
    X, _ = make_data("regression", 6, 8, 0)
    y, weights = np.arange(1.0, 7.0), np.where(np.arange(6) == 2, 3.0, 0.0)
    inf = Influence(model.fit(X, y, sample_weight=weights), X, y, weights, **options)
    rest = np.delete(np.arange(6), 2)
    for ask in (
        lambda: inf.removal_effect(X[:3], y[:3], method=method).T,
        lambda: inf.loo_predict(method=method),
    ):
        with pytest.warns(UserWarning) as said:
            found = ask()
        assert ["Row 2 has all the training weight" in str(one.message) for one in said] == [True]
        assert np.isnan(found[2]).all()
        assert np.isfinite(found[rest]).all()
    np.testing.assert_allclose(found[rest], model.predict(X)[rest], rtol=1e-9)
    with pytest.raises(ValueError, match="removes all the training weight"):
        inf.effect(edits.remove(2), X[:3], y[:3], method=method)


def test_a_penalised_intercept_survives_the_last_row_of_a_class():
    X, _ = make_data("binary", 36, 4, 0)
    y = np.where(np.arange(36) == 4, "yes", "no")
    model = linear_model.LogisticRegression(solver="liblinear", tol=1e-10).fit(X, y)
    found = Influence(model, X, y).removal_effect(X, y, method="one-step")
    assert np.isfinite(found).all()


def test_a_row_that_alone_determines_a_coefficient_has_no_removal_effect():
    """Leverage 1 without a penalty: the edited problem has no unique optimum."""
    X, y = make_data("regression", 30, 4, 0)
    X[:, 3] = np.arange(30) == 5
    inf = Influence(linear_model.LinearRegression().fit(X, y), X, y)
    with pytest.warns(UserWarning, match="5"):
        found = inf.removal_effect(X[:3], y[:3], method="one-step")
    assert np.isnan(found[:, 5]).all()
    assert np.isfinite(np.delete(found, 5, axis=1)).all()


# What users pass -------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_new_rows_come_in_any_form(sparse):
    case = Case("LogisticRegression", sparse=sparse)
    inf, _, X, D, y = make(case, "C")
    x = np.where(np.arange(4) == 1, 0.0, D[2] + 1)
    answers = [
        inf.effect(edits.replace(2, form), X, y, method="one-step").values
        for form in (x, list(x), tuple(x), x[None], sp.csr_array(x[None]), sp.coo_matrix(x[None]))
    ]
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], rtol=1e-12, atol=1e-14)


def test_rows_of_a_table_go_through_the_pipeline():
    """A plain list, a Series and a one-row table mean the same row."""
    pd = pytest.importorskip("pandas")
    from sklearn.compose import make_column_transformer

    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "size": rng.normal(10, 3, 60),
            "colour": rng.choice(["red", "green", "blue"], 60),
            "count": rng.integers(0, 5, 60),
        }
    )
    y = np.where(
        table["size"] + 3 * (table["colour"] == "red") + rng.normal(size=60) > 11, "b", "a"
    )
    pipeline = make_pipeline(
        make_column_transformer(
            (StandardScaler(), ["size", "count"]),
            (OneHotEncoder(handle_unknown="ignore"), ["colour"]),
        ),
        linear_model.LogisticRegression(tol=1e-8),
    ).fit(table, y)
    inf = Influence(pipeline, table, y)
    series = pd.Series([12.0, "red", 3], index=table.columns)
    forms = [[12.0, "red", 3], series, pd.DataFrame([[12.0, "red", 3]], columns=table.columns)]
    answers = [
        inf.effect(edits.replace(2, form, "b"), table, y, method="one-step", frozen="accept").values
        for form in forms
    ]
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-12)
    np.testing.assert_allclose(answers[2], answers[0], rtol=1e-12)
    features = pipeline[:-1].transform(table)
    new = pipeline[:-1].transform(forms[2])
    plain = Influence(pipeline[-1], features, y)
    expected = plain.effect(edits.replace(2, new, "b"), features, y, method="one-step").values
    np.testing.assert_allclose(answers[0], expected, rtol=1e-12)
    with pytest.raises(ValueError, match="3 values"):
        inf.effect(edits.replace(2, [12.0, "red"]), table, y, method="one-step")


def test_regressions_relabel_to_any_number():
    inf, dense, X, D, y = make(CASES[6], "C")
    found = inf.effect(edits.relabel([3, 4], [0.5, -2]), X, y, method="one-step").values
    points = [(D[i], y[i], -dense.w[i]) for i in (3, 4)]
    points += [(D[3], 0.5, dense.w[3]), (D[4], -2.0, dense.w[4])]
    assert_same(found, dense.effect(points, D, y, "one-step"))
    with pytest.raises(ValueError, match="finite"):
        inf.effect(edits.relabel(3, np.nan), X, y, method="one-step")


def test_an_edit_shows_its_size():
    assert repr(edits.remove([1, 2]) + edits.add([0.0], 1)) == "Edit(3 weighted points)"


def test_parameters_move_by_the_step_the_effects_use():
    """The decision values of all test points move as one parameter vector does."""
    inf, dense, X, D, y = make(CASES[0], "lambda")
    step = dense.step([(D[2], y[2], -dense.w[2])], "one-step")
    found = inf.removal_effect(X, of="decision_function", method="one-step", indices=[2])[:, 0]
    assert_same(found, (dense.rows(D) @ step.T)[:, 0])
    np.testing.assert_allclose(parameters_of(inf.objective), dense.theta, rtol=1e-12)
