"""Linear machines on columns in different units: changes are those of rational arithmetic."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from sklearn.svm import SVC

from skinfluence import Influence, edits
from skinfluence.hinge.planes import held
from skinfluence.svm import LinearSVC
from tests.oracle.kernels import LD, _interior_point

C, BIG = 4, 1e5
MODELS = {
    "penalised": LinearSVC(C=C, loss="hinge"),
    "none": LinearSVC(C=C, loss="hinge", fit_intercept=False),
    "free": SVC(C=C, kernel="linear", max_iter=10_000),
}
KINDS = pytest.mark.parametrize("kind", MODELS)


def rows(seed):
    """Two columns hold the rows, two others, 1e5 times smaller, tell most of them apart."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((5, 4)) * [BIG, BIG, 1.0, 1.0]
    return X, np.array([0, 1, 0, 1, 1]), X[:3] + rng.standard_normal((3, 4)) * [BIG, BIG, 1.0, 1.0]


def solved(A, b):
    """``A^-1 b`` of fractions; None where A is singular."""
    A, n = [[*row, right] for row, right in zip(A, b, strict=True)], len(b)
    for k in range(n):
        pivot = next((i for i in range(k, n) if A[i][k]), None)
        if pivot is None:
            return None
        A[k], A[pivot] = A[pivot], A[k]
        A[k] = [value / A[k][k] for value in A[k]]
        for i in range(n):
            if i != k and A[i][k]:
                A[i] = [a - A[i][k] * c for a, c in zip(A[i], A[k], strict=True)]
    return [row[-1] for row in A]


def optimum(X, y, kind):
    """Weights and bias in rational arithmetic, which prove that they meet the optimality conditions.

    Which rows are on a limit is guessed by an interior point in long double, and mended.
    """
    n, s, free = len(X), [2 * int(v) - 1 for v in y], kind == "free"
    Z = [[Fraction(float(v)) for v in x] + [Fraction(1)] * (kind == "penalised") for x in X]
    K = [[s[i] * s[j] * sum(map(Fraction.__mul__, Z[i], Z[j])) for j in range(n)] for i in range(n)]
    dot = np.array(X, dtype=LD) @ np.array(X, dtype=LD).T + (kind == "penalised")
    near, _ = _interior_point(dot, np.array(s, dtype=LD), np.full(n, LD(C)), free)
    sets = [2 if a >= C - 1e-9 else int(a > 1e-14) for a in near]
    for _ in range(30):
        inside, full = ([i for i in range(n) if sets[i] == k] for k in (1, 2))
        A = [[K[i][j] for j in inside] + [Fraction(s[i])] * free for i in inside]
        b = [1 - sum((C * K[i][j] for j in full), Fraction(0)) for i in inside]
        if free:
            A.append([Fraction(s[j]) for j in inside] + [Fraction(0)])
            b.append(-sum((Fraction(C) * s[j] for j in full), Fraction(0)))
        found = solved(A, b)
        bias = found[-1] if free else Fraction(0)
        a = [Fraction(C) if k == 2 else Fraction(0) for k in sets]
        for i, value in zip(inside, found, strict=False):
            a[i] = value
        slack = [sum(K[i][j] * a[j] for j in range(n)) + s[i] * bias - 1 for i in range(n)]
        off = [max(-a[i], a[i] - C) if sets[i] == 1 else (sets[i] - 1) * slack[i] for i in range(n)]
        worst = max(range(n), key=lambda i: off[i])
        if off[worst] <= 0:
            w = [sum(a[j] * s[j] * Z[j][k] for j in range(n)) for k in range(len(Z[0]))]
            return (w[:-1], w[-1]) if kind == "penalised" else (w, bias)
        sets[worst] = 1 if sets[worst] != 1 else 0 if a[worst] < 0 else 2
    raise ArithmeticError("the rows on a limit were not found")


def decisions(at, X):
    w, bias = at
    return [sum(Fraction(float(v)) * c for v, c in zip(x, w, strict=True)) + bias for x in X]


def change(before, after, X):
    pairs = zip(decisions(before, X), decisions(after, X), strict=True)
    return np.array([float(b - a) for a, b in pairs])


def asked(kind, seed):
    X, y, tests = rows(seed)
    with warnings.catch_warnings():
        # That rounding may violate the optimality conditions by more than 1e-6.
        warnings.simplefilter("ignore")
        model = MODELS[kind].fit(X, y)
        inf = Influence(model, X, y)
        removed = inf.removal_effect(tests, of="decision_function", method="exact")
        relabelled = inf.relabel_effect(tests, of="decision_function", method="exact")
        added = inf.effect(edits.add(X[1] + X[2], 0), tests, of="decision_function").values
        own = inf.loo_decision_function(method="exact")
        edited = inf.edited(edits.remove(0)).estimator
    return model, removed, relabelled, added, own, edited


@KINDS
@pytest.mark.parametrize("seed", range(2))
def test_edits_are_those_of_rational_arithmetic(kind, seed):
    """Terms of decision values add up to 1e10 and cancel: coefficients in float64 are off by 1e-6."""
    X, y, tests = rows(seed)
    model, removed, relabelled, added, own, edited = asked(kind, seed)
    before = optimum(X, y, kind)
    if kind != "free":
        # What an SVC holds are its coefficients.
        first = optimum(X[1:], y[1:], kind)
        for one, at in ((model, before), (edited, first)):
            truth = [float(v) for v in decisions(at, tests)]
            np.testing.assert_allclose(one.decision_function(tests), truth, rtol=0, atol=1e-10)
    for i in range(5):
        without = optimum(np.delete(X, i, 0), np.delete(y, i), kind)
        np.testing.assert_allclose(removed[:, i], change(before, without, tests), atol=1e-10)
        np.testing.assert_allclose(own[i], float(decisions(without, X[[i]])[0]), atol=1e-10)
        other = optimum(X, np.where(np.arange(5) == i, 1 - y, y), kind)
        expected = change(before, other, tests)
        np.testing.assert_allclose(relabelled[:, i, 1 - y[i]], expected, atol=1e-10)
    after = optimum(np.vstack([X, X[1] + X[2]]), np.append(y, 0), kind)
    np.testing.assert_allclose(added, change(before, after, tests), atol=1e-10)


def test_rows_that_depend_on_each_other_are_left_where_they_are():
    Z, w = np.array([[1.0, 2.0], [2.0, 4.0]]), np.array([0.5, 0.5])
    found, bias = held(Z, np.array([1.0, 2.0]), w, 0.0, free_bias=False)
    np.testing.assert_array_equal(found, w)
    assert bias == 0.0
