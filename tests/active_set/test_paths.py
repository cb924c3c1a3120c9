"""Paths of hinge problems against refits from scratch, and their certificates."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC

from skinfluence.active_set import BOUND, MARGIN, NONE, HingeProblem, NewRows, Paths, polish
from skinfluence.active_set.tableau import Tableau, solve_margin

BIAS = pytest.mark.parametrize("free_bias", [True, False], ids=["free", "penalised"])
COSTS = pytest.mark.parametrize("C", [0.1, 1.0, 10.0])


def digits(n=160, labels=(3, 8), flip=0.0):
    X, y = load_digits(return_X_y=True)
    chosen = np.isin(y, labels)
    X, y = X[chosen] / 16.0, np.where(y[chosen] == labels[1], 1, -1)
    y[np.random.default_rng(0).uniform(size=len(y)) < flip] *= -1
    gamma = 1.0 / (X.shape[1] * X[:n].var())
    return X, y, gamma, n


def overlapping(n=160, d=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + 20, d))
    y = np.where(X[:, 0] + X[:, 1] ** 2 - 1 + rng.normal(size=n + 20) > 0, 1, -1)
    return X, y, 1.0 / d, n


DATA = {"digits": lambda: digits(flip=0.05), "overlapping": overlapping}


class Case:
    """A weighted problem, its solution and paths, and points to compare at."""

    def __init__(self, data, C, free_bias, weighted=True):
        X, y, gamma, n = DATA[data]()
        self.n, self.free_bias = n, free_bias
        self.K_all = rbf_kernel(X, gamma=gamma) + (not free_bias)
        self.K, self.y, self.y_all = self.K_all[:n, :n], y[:n], y
        self.points = np.arange(len(y) - 20, len(y))
        weights = np.random.default_rng(1).uniform(0.3, 2.0, n) if weighted else np.ones(n)
        self.C = C * weights
        self.solution = polish(HingeProblem(self.K, self.y, self.C, free_bias=free_bias))
        self.paths = Paths(self.solution)
        self.f = self.decision(self.solution)

    def decision(self, solution):
        return solution.beta @ self.K_all[: self.n, self.points] + solution.bias

    def refit(self, y=None, C=None):
        y, C = self.y if y is None else y, self.C if C is None else C
        return self.decision(polish(HingeProblem(self.K, y, C, free_bias=self.free_bias))) - self.f

    def change(self, moves):
        return moves.decision_change(self.K_all[: self.n, self.points])


@pytest.fixture(scope="module")
def case():
    cases = {}

    def get(*key):
        if key not in cases:
            cases[key] = Case(*key)
        return cases[key]

    return get


def certified(moves):
    return np.nanmax(moves.kkt_residual) <= 1e-8


# Polish ----------------------------------------------------------------------------------------


@COSTS
@pytest.mark.parametrize("data", DATA)
def test_polish_makes_any_start_the_same_optimum(data, C):
    """Zeros, libsvm at its default and at a tight tolerance, and noise in the box."""
    X, y, gamma, n = DATA[data]()
    X, y = X[:n], y[:n]
    problem = HingeProblem(rbf_kernel(X, gamma=gamma), y, C, free_bias=True)
    from_zero = polish(problem)
    starts = [y * C * np.random.default_rng(0).uniform(size=n)]
    for tol in (1e-3, 1e-10):
        model = SVC(C=C, gamma=gamma, tol=tol).fit(X, y)
        beta = np.zeros(n)
        beta[model.support_] = model.dual_coef_[0]
        starts.append(beta)
    for start in starts:
        solution = polish(problem, start)
        assert solution.kkt_residual <= 1e-11
        np.testing.assert_allclose(solution.f, from_zero.f, atol=1e-11)
    # libsvm keeps its kernel in single precision.
    assert np.abs(from_zero.f - model.decision_function(X)).max() <= 5e-6
    assert solution.distance <= 5e-6


def test_polish_reports_roles_and_distance():
    X, y, gamma, n = digits()
    problem = HingeProblem(rbf_kernel(X[:n], gamma=gamma), y[:n], 1.0, free_bias=True)
    solution = polish(problem)
    beta, role = solution.beta, solution.role
    assert set(role) == {NONE, MARGIN, BOUND}
    assert np.all(beta[role == NONE] == 0) and np.all(np.abs(beta[role == BOUND]) == 1.0)
    np.testing.assert_allclose(y[:n][role == MARGIN] * solution.f[role == MARGIN], 1.0, atol=1e-12)
    assert abs(beta.sum()) < 1e-12
    assert solution.bias_interval == (solution.bias, solution.bias)
    again = polish(problem, beta, bias0=solution.bias + 0.5)
    assert again.distance == pytest.approx(0.5, abs=1e-11)


@BIAS
def test_kernel_blocks_on_demand_give_the_same_as_a_matrix(free_bias):
    """With fewer candidates than rows: the working set grows until all rows are optimal."""
    X, y, gamma, n = overlapping(n=900)
    X, y = X[:n], y[:n]
    asked = []

    def kernel(rows_a, rows_b):
        asked.append((len(rows_a), len(rows_b)))
        return rbf_kernel(X[rows_a], X[rows_b], gamma=gamma) + (not free_bias)

    K = rbf_kernel(X, gamma=gamma) + (not free_bias)
    solutions = [
        polish(HingeProblem(source, y, 1.0, free_bias=free_bias)) for source in (kernel, K)
    ]
    np.testing.assert_allclose(solutions[0].f, solutions[1].f, atol=1e-11)
    assert solutions[0].kkt_residual <= 1e-11


def test_rows_of_zero_bound_are_absent():
    X, y, gamma, n = overlapping()
    K = rbf_kernel(X[:n], gamma=gamma)
    C = np.ones(n)
    C[::3] = 0.0
    kept = np.flatnonzero(C)
    solution = polish(HingeProblem(K, y[:n], C, free_bias=True))
    alone = polish(HingeProblem(K[np.ix_(kept, kept)], y[:n][kept], 1.0, free_bias=True))
    assert np.all(solution.beta[::3] == 0)
    np.testing.assert_allclose(solution.f[kept], alone.f, atol=1e-12)


# Edits -----------------------------------------------------------------------------------------


@BIAS
@COSTS
@pytest.mark.parametrize("data", DATA)
def test_removals_equal_refits_and_rows_without_coefficient_change_nothing(
    case, data, C, free_bias
):
    c = case(data, C, free_bias)
    moves = c.paths.remove(np.arange(c.n))
    change, beta = c.change(moves), c.solution.beta
    assert certified(moves)
    assert np.all(change[beta == 0] == 0.0)
    assert set(moves.moving) == set(np.flatnonzero(beta))
    for i in moves.moving[::12]:
        C_i = c.C.copy()
        C_i[i] = 0.0
        np.testing.assert_allclose(change[i], c.refit(C=C_i), atol=1e-9)


def test_removals_equal_libsvm():
    X, y, gamma, n = digits()
    K, target = rbf_kernel(X[:n], X, gamma=gamma), y[:n]
    solution = polish(HingeProblem(K[:, :n], target, 1.0, free_bias=True))
    moves = Paths(solution).remove(np.arange(n))
    change = moves.decision_change(K)
    base = solution.beta @ K + solution.bias
    for i in moves.moving[::4]:
        keep = np.arange(n) != i
        model = SVC(C=1.0, gamma=gamma, tol=1e-10).fit(X[:n][keep], target[keep])
        assert np.abs(model.decision_function(X) - base - change[i]).max() <= 5e-6


@BIAS
@COSTS
def test_groups_equal_refits(case, C, free_bias):
    c = case("overlapping", C, free_bias)
    rng = np.random.default_rng(0)
    support = np.flatnonzero(c.solution.beta)
    groups = [rng.choice(support, k, replace=False) for k in (2, 5, 20, 50)]
    groups += [rng.choice(c.n, k, replace=False) for k in (3, 30)] + [np.zeros(0, dtype=int)]
    moves = c.paths.remove_groups(groups)
    assert certified(moves)
    change = c.change(moves)
    assert np.all(change[-1] == 0)
    for e, group in enumerate(groups):
        C_e = c.C.copy()
        C_e[group] = 0.0
        np.testing.assert_allclose(change[e], c.refit(C=C_e), atol=1e-9)


@BIAS
@COSTS
@pytest.mark.parametrize("factor", [0.05, 0.6, 3.0])
def test_fractional_weights_equal_refits(case, C, free_bias, factor):
    c = case("overlapping", C, free_bias)
    rows = np.arange(0, c.n, 16)
    moves = c.paths.change(rows, C=factor * c.C[rows])
    assert certified(moves)
    change = c.change(moves)
    for e, i in enumerate(rows):
        C_e = c.C.copy()
        C_e[i] *= factor
        np.testing.assert_allclose(change[e], c.refit(C=C_e), atol=1e-9)


@BIAS
@COSTS
@pytest.mark.parametrize("data", DATA)
def test_relabels_equal_refits(case, data, C, free_bias):
    c = case(data, C, free_bias)
    rows = np.arange(0, c.n, 12)
    moves = c.paths.change(rows, y=-c.y[rows])
    assert certified(moves)
    change = c.change(moves)
    for e, i in enumerate(rows):
        y = c.y.copy()
        y[i] *= -1
        np.testing.assert_allclose(change[e], c.refit(y=y), atol=1e-9)


@BIAS
@COSTS
@pytest.mark.parametrize("kind", ["add", "replace", "all"])
def test_new_rows_equal_refits(case, C, free_bias, kind):
    """Rows added; rows replaced; removal, weight, label and new rows in one edit."""
    c = case("overlapping", C, free_bias)
    rng = np.random.default_rng(0)
    for _ in range(4):
        joined = c.n + rng.choice(20, 2, replace=False)
        new = NewRows(
            c.K_all[: c.n, joined],
            c.K_all[np.ix_(joined, joined)],
            rng.choice([-1, 1], 2),
            C * rng.uniform(0.5, 2.0, 2),
        )
        rows = rng.choice(c.n, {"add": 0, "replace": 2, "all": 5}[kind], replace=False)
        y, bounds = c.y[rows].copy(), c.C[rows].copy()
        bounds[:2] = 0.0
        bounds[2:3] *= 0.4
        y[3:] *= -1
        moves = c.paths.edit(rows, y=y, C=bounds, new=new)
        assert certified(moves)
        y_after, C_after = c.y.copy(), c.C.copy()
        y_after[rows], C_after[rows] = y, bounds
        everything = np.append(np.arange(c.n), joined)
        refit = polish(
            HingeProblem(
                c.K_all[np.ix_(everything, everything)],
                np.append(y_after, new.y),
                np.append(C_after, new.C),
                free_bias=free_bias,
            )
        )
        expected = refit.beta @ c.K_all[np.ix_(everything, c.points)] + refit.bias - c.f
        change = moves.decision_change(c.K_all[: c.n, c.points], c.K_all[np.ix_(joined, c.points)])
        np.testing.assert_allclose(change[0], expected, atol=1e-9)


def test_ordinary_edits_need_no_second_attempt(case):
    """No tie breaking and no fit of their own: paths alone."""
    c = case("overlapping", 1.0, True)
    paths = Paths(c.solution)
    rows = np.arange(c.n)
    paths.remove(rows)
    paths.change(rows, y=-c.y)
    paths.change(rows, C=2.0 * c.C)
    paths.remove_groups([rows[:20], rows[::5]])
    assert list(paths._bases) == [0]


def test_a_row_of_zero_bound_can_be_given_one():
    X, y, gamma, n = overlapping()
    K = rbf_kernel(X[:n], gamma=gamma)
    C = np.ones(n)
    C[5] = 0.0
    before = polish(HingeProblem(K, y[:n], C, free_bias=True))
    after = polish(HingeProblem(K, y[:n], 1.0, free_bias=True))
    moves = Paths(before).change([5], C=1.0)
    np.testing.assert_allclose(moves.decision_change(K)[0], after.f - before.f, atol=1e-10)


def test_starts_at_any_tolerance_give_the_same_removals():
    X, y, gamma, n = digits()
    K = rbf_kernel(X[:n], gamma=gamma)
    problem = HingeProblem(K, y[:n], 1.0, free_bias=True)
    changes = []
    for tol in (1e-3, 1e-10):
        model = SVC(C=1.0, gamma=gamma, tol=tol).fit(X[:n], y[:n])
        beta = np.zeros(n)
        beta[model.support_] = model.dual_coef_[0]
        changes.append(Paths(polish(problem, beta)).remove(np.arange(n)).decision_change(K))
    np.testing.assert_allclose(changes[0], changes[1], atol=1e-10)


def test_rows_outside_the_tableau_join_when_they_are_violated(monkeypatch):
    """The certificate looks at all rows: a tableau of support vectors only is extended."""
    X, y, gamma, n = overlapping(n=400)
    K = rbf_kernel(X[:n], gamma=gamma)
    solution = polish(HingeProblem(K, y[:n], 1.0, free_bias=True))
    expected = Paths(solution).remove(np.arange(n)).decision_change(K)
    monkeypatch.setattr(
        "skinfluence.active_set.base.nearest", lambda problem, beta, f, n_more: np.flatnonzero(beta)
    )
    paths = Paths(solution)
    size = len(paths._bases[0].tableau.rows)
    moves = paths.remove(np.arange(n))
    assert len(paths._bases[0].tableau.rows) > size
    assert certified(moves)
    np.testing.assert_allclose(moves.decision_change(K), expected, atol=1e-10)


# Local changes ---------------------------------------------------------------------------------


@BIAS
@COSTS
def test_one_step_is_the_dense_span_formula_and_exact_without_role_changes(case, C, free_bias):
    c = case("overlapping", C, free_bias)
    beta, role = c.solution.beta, c.solution.role
    margin = np.flatnonzero(role == MARGIN)
    border = int(free_bias)
    A = np.ones((len(margin) + border,) * 2)
    A[:border, :border] = 0.0
    A[border:, border:] = c.K[np.ix_(margin, margin)]
    inverse = np.linalg.inv(A)

    def with_ones(k):
        return np.vstack([np.ones((border, k.shape[1])), k])

    V_points = inverse @ with_ones(c.K_all[np.ix_(margin, c.points)])
    expected = np.zeros((c.n, len(c.points)))
    for i in np.flatnonzero(role == BOUND):
        conditional = c.K_all[i, c.points] - with_ones(c.K[np.ix_(margin, [i])])[:, 0] @ V_points
        expected[i] = -beta[i] * conditional
    for k, i in enumerate(margin):
        expected[i] = -beta[i] * V_points[border + k] / inverse[border + k, border + k]
    found = c.change(c.paths.one_step(np.arange(c.n)))
    np.testing.assert_allclose(found, expected, atol=1e-10)
    moves = c.paths.remove(np.arange(c.n))
    # Leaving the margin is itself one change of role.
    local = moves.n_pivots == (role == MARGIN)
    np.testing.assert_allclose(c.change(moves)[local], found[local], atol=1e-10)


@BIAS
def test_projection_gives_the_conditional_kernel(case, free_bias):
    """It vanishes on the margin and is the response of one-step removals elsewhere."""
    c = case("overlapping", 1.0, free_bias)
    margin = c.paths.margin
    k = c.K_all[np.ix_(margin, c.points)]
    bias, v = c.paths.project(k)
    on_margin = k - c.K[np.ix_(margin, margin)] @ v - bias
    np.testing.assert_allclose(on_margin, 0.0, atol=1e-10)
    i = np.flatnonzero(c.solution.role == BOUND)[0]
    conditional = c.K_all[i, c.points] - c.K[i, margin] @ v - bias
    one_step = c.change(c.paths.one_step([i]))[0]
    np.testing.assert_allclose(one_step, -c.solution.beta[i] * conditional, atol=1e-10)


# Ties ------------------------------------------------------------------------------------------


def _labels(score):
    return np.where(score > np.median(score), 1, -1)


def tied(name):
    """Data on which many events of a path coincide."""
    rng = np.random.default_rng(0)
    n = 80
    X = rng.normal(size=(n // 2, 4))
    y = _labels(X[:, 0] + rng.normal(size=n // 2))
    if name == "grid":
        X = rng.integers(0, 4, (n, 3)).astype(float)
        return X, _labels(X @ [1, 2, -1] + 2 * rng.normal(size=n))
    if name == "binary":
        X = rng.integers(0, 2, (n, 6)).astype(float)
        return X, _labels(X @ rng.normal(size=6) + rng.normal(size=n))
    if name == "duplicated":
        return np.tile(X, (2, 1)), np.tile(y, 2)
    if name == "opposite":
        return np.tile(X, (2, 1)), np.append(y, -y)
    if name == "rank one":
        X = rng.normal(size=(n, 1)) @ rng.normal(size=(1, 5))
        return X, _labels(X[:, 0] + 0.5 * rng.normal(size=n))
    X, y = load_breast_cancer(return_X_y=True)
    X = np.round((X - X.mean(axis=0)) / X.std(axis=0))[:200]
    y = 2 * y[:200] - 1
    twice = rng.choice(200, 40, replace=False)
    return np.vstack([X, X[twice]]), np.append(y, y[twice])


@BIAS
@pytest.mark.parametrize("C", [1e-4, 0.1, 10.0])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize(
    "name", ["grid", "binary", "duplicated", "opposite", "rank one", "rounded table"]
)
def test_ties_raise_nothing_and_certify(name, kernel, C, free_bias):
    X, y = tied(name)
    n = len(y)
    K = X @ X.T if kernel == "linear" else rbf_kernel(X)
    K = K + (not free_bias)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = polish(HingeProblem(K, y, C, free_bias=free_bias))
        paths = Paths(solution)
        rows = np.arange(n)
        moves = paths.remove(rows)
        edits = [
            paths.change(rows[::5], y=-y[::5]),
            paths.change(rows[::5], C=0.4 * C),
            paths.remove_groups([rows[:6], rows[::7]]),
        ]
    assert solution.kkt_residual <= 1e-11
    assert certified(moves) and all(certified(edit) for edit in edits)
    change = moves.decision_change(K)
    for i in moves.moving[:: max(1, len(moves.moving) // 3)]:
        bounds = np.full(n, C)
        bounds[i] = 0.0
        refit = polish(HingeProblem(K, y, bounds, free_bias=free_bias))
        np.testing.assert_allclose(change[i], refit.f - solution.f, atol=1e-8)


def test_without_rows_on_the_margin_the_bias_is_the_middle_of_its_interval():
    """As libsvm has it."""
    X, y, gamma, n = overlapping()
    X, y = X[:n], y[:n]
    rows = np.concatenate([np.flatnonzero(y == label)[:40] for label in (-1, 1)])
    X, y = X[rows], y[rows]
    solution = polish(HingeProblem(rbf_kernel(X, gamma=gamma), y, 1e-3, free_bias=True))
    low, high = solution.bias_interval
    assert low < high and solution.bias == pytest.approx((low + high) / 2)
    model = SVC(C=1e-3, gamma=gamma, tol=1e-10).fit(X, y)
    assert solution.bias == pytest.approx(model.intercept_[0], abs=1e-6)


# What is refused -------------------------------------------------------------------------------


def test_an_edit_that_leaves_one_class_is_nan():
    K = np.eye(5) + 0.1
    y = np.array([1, -1, -1, -1, -1])
    for free_bias in (True, False):
        paths = Paths(polish(HingeProblem(K, y, 1.0, free_bias=free_bias)))
        moves = paths.remove([0, 1])
        change = moves.decision_change(K)
        assert np.isnan(change[0]).all() and np.isnan(moves.kkt_residual[0])
        assert np.isfinite(change[1]).all() and moves.kkt_residual[1] <= 1e-8
        assert np.isnan(paths.remove_groups([[1, 2, 3, 4]]).delta_bias).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"y": [1, 2, -1, -1]}, "y must be -1 or 1"),
        ({"y": [1, 1, 1, 1]}, "Both labels"),
        ({"y": []}, "not empty"),
        ({"C": [1, -1, 1, 1]}, "non-negative"),
        ({"C": np.nan}, "finite"),
        ({"C": [0, 0, 1, 1]}, "Both labels"),
        ({"kernel": np.eye(3)}, "must have shape"),
        ({"kernel": np.full((4, 4), np.nan)}, "must be finite"),
        ({"kernel": lambda a, b: np.ones(3)}, "must have shape"),
    ],
)
def test_bad_problems_are_refused(change, match):
    arguments = {"kernel": np.eye(4), "y": [1, 1, -1, -1], "C": 1.0, "free_bias": True, **change}
    with pytest.raises(ValueError, match=match):
        polish(HingeProblem(**arguments))


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda p: p.remove([4]), "from 0 to 3"),
        (lambda p: p.remove([-1]), "from 0 to 3"),
        (lambda p: p.remove([0.5]), "integers"),
        (lambda p: p.change([0], y=[0]), "-1 or 1"),
        (lambda p: p.change([0], C=[-1.0]), "non-negative"),
        (lambda p: p.edit([0, 0], C=[0.0, 0.0]), "twice"),
        (lambda p: p.edit(new=NewRows(np.ones((3, 1)), np.ones((1, 1)), [1], [1.0])), "shapes"),
        (lambda p: p.edit(new=NewRows(np.full((4, 1), np.nan), np.ones((1, 1)), [1], [1])), "NaN"),
    ],
)
def test_bad_edits_are_refused(ask, match):
    paths = Paths(polish(HingeProblem(np.eye(4), [1, 1, -1, -1], 1.0, free_bias=True)))
    with pytest.raises(ValueError, match=match):
        ask(paths)


def test_bad_starts_are_refused():
    problem = HingeProblem(np.eye(4), [1, 1, -1, -1], 1.0, free_bias=True)
    for beta in (np.zeros(3), np.full(4, np.nan)):
        with pytest.raises(ValueError, match="beta0"):
            polish(problem, beta)


def test_an_indefinite_kernel_is_warned_about_where_no_optimum_is_reached():
    """Whether there is one on the way hangs on rounding, hence ten of them."""
    warned = []
    for seed in range(10):
        K = np.random.default_rng(seed).normal(size=(30, 30))
        problem = HingeProblem(K + K.T, np.tile([-1, 1], 15), 1.0, free_bias=False)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            solution = polish(problem)
        warned.append(any("indefinite" in str(one.message) for one in said))
        assert warned[-1] == (solution.kkt_residual > 1e-9)
    assert any(warned)


def test_asking_for_nothing_is_fine():
    paths = Paths(polish(HingeProblem(np.eye(4), [1, 1, -1, -1], 1.0, free_bias=True)))
    for moves in (paths.remove([]), paths.one_step([]), paths.remove_groups([])):
        assert moves.decision_change(np.eye(4)).shape == (0, 4)
    assert np.all(paths.edit().decision_change(np.eye(4)) == 0)


def test_solutions_pickle(case):
    solution = case("overlapping", 1.0, True).solution
    again = pickle.loads(pickle.dumps(solution))
    np.testing.assert_array_equal(again.beta, solution.beta)


@BIAS
def test_edits_of_tied_problems_are_changes_since_the_solution(free_bias):
    # Repeated rows leave the coefficients free, so that breaking ties starts from other ones.
    rng = np.random.default_rng(0)
    x = np.repeat(np.round(rng.normal(size=(12, 1)), 1), 4, axis=0)
    y = np.where(x[:, 0] + rng.normal(size=48) > 0, 1, -1)
    problem = HingeProblem(x @ x.T, y, 0.01, free_bias=free_bias)
    solution = polish(problem)
    rows = np.arange(48)
    edited = solution.beta + Paths(solution).remove(rows).dense(48)
    assert np.abs(edited[rows, rows]).max() < 1e-14
    assert (edited >= problem.lo - 1e-12).all() and (edited <= problem.hi + 1e-12).all()


@pytest.mark.parametrize("C", [1e3, 1e10, 1e16])
def test_a_bound_far_above_all_coefficients_changes_nothing(C):
    rng = np.random.default_rng(1)
    y = np.repeat([-1, 1], 20)
    X = rng.normal(size=(40, 2)) + 3.0 * y[:, None]
    found = []
    for bound in (1e2, C):
        solution = polish(HingeProblem(X @ X.T, y, bound, free_bias=True))
        moves = Paths(solution).remove(np.arange(40))
        found.append(moves.decision_change(X @ X.T))
        assert moves.kkt_residual.max() < 1e-10
    assert np.abs(found[0]).max() > 1e-3
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-9)


def test_huge_kernels_are_certified_or_warned_about():
    rng = np.random.default_rng(1)
    y = np.repeat([-1.0, 1.0], 30)
    X = 1000.0 * (rng.normal(size=(60, 2)) + 3.0 * (y[:, None] > 0))
    K = (X @ X.T) ** 3
    problem = HingeProblem(K, y, 1.0, free_bias=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solution = polish(problem)
    f = K @ solution.beta + solution.bias
    honest = max(problem.violation(solution.beta, f).max(), problem.imbalance(solution.beta))
    assert honest < 1e-6 or caught
    assert solution.kkt_residual > 0.1 * honest - 1e-6


@BIAS
def test_new_rows_respond_like_rows_of_the_tableau(free_bias):
    """What certificates and refits would hide: responses of new rows, each to all others."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((14, 3))
    K, y = X @ X.T, rng.choice([-1, 1], 14)
    whole = HingeProblem(K, y, np.ones(14), free_bias=free_bias)
    part = HingeProblem(K[:11, :11], y[:11], np.ones(11), free_bias=free_bias)
    margin, others, new = np.array([2, 5]), np.array([0, 1, 7, 8]), np.array([11, 12, 13])
    tableau = Tableau(part, margin, others)
    side, own = tableau.responses(K[np.ix_(tableau.rows, new)], K[np.ix_(new, new)])
    expected = Tableau(whole, margin, np.concatenate([others, new])).table
    n = len(tableau.rows)
    np.testing.assert_allclose(side, expected[:n, n:-1], atol=1e-12)
    np.testing.assert_allclose(own[:, :n], expected[n:, :n], atol=1e-12)
    np.testing.assert_allclose(own[:, n], expected[n:, -1], atol=1e-12)
    np.testing.assert_allclose(own[:, n + 1 :], expected[n:, n:-1], atol=1e-12)


def test_a_singular_margin_is_told_by_its_values():
    """Two rows alike cannot both be on the margin; scipy's warning would blame nobody."""
    X = np.array([[1.0, 2.0], [1.0, 2.0], [-1.0, 0.5]])
    problem = HingeProblem(X @ X.T, np.array([1, 1, -1]), np.ones(3), free_bias=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, _, f = solve_margin(problem, np.array([0, 1]), np.zeros(3))
    assert np.isnan(f).all()
