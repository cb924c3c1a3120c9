"""LiSSA: the recursion itself, its bounds, its errors, and that it never diverges."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from skinfluence import Influence
from skinfluence._compiled.lissa import walk
from skinfluence.curvature import Curvature
from skinfluence.objective import Objective, objective_of
from skinfluence.solvers import CG, Exact, LiSSA, SingularHessianError, resolve_solver
from skinfluence.solvers.bounds import norm_bound
from tests._compiled import twins
from tests.registries import LOSSES
from tests.solvers.test_solvers import make
from tests.truth import relative_error, relative_l2

CONVEX = ["binomial", "sum-to-zero", "one-vs-rest", "squared", "squared-3", "poisson", "gamma"]


def quiet(call, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **options)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("intercept", [0.0, 2.0])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_the_compiled_recursion_is_that_of_numpy(kind, k, intercept, batch, rng):
    """Columns without a penalty, with one so large that a step overshoots, and never touched."""
    n, f, d = 30, 7, 7 + (intercept > 0)
    X = rng.standard_normal((n, f)) * (rng.uniform(size=(n, f)) < 0.4)
    X[:, 2] = 0.0
    curved = rng.standard_normal((n, k, k))
    curved = curved @ curved.transpose(0, 2, 1)
    drawn = rng.integers(0, n, (50, batch))
    step, penalty = rng.uniform(1e-3, 3e-3, d), rng.uniform(0, 2, d)
    penalty[[0, 1, -1]] = 400.0, 1e-9, 0.0
    b, start = rng.standard_normal((k, d)), rng.standard_normal((k, d))
    ends = []
    for call in (twins.walk, walk):
        v = start.copy()
        rows = sp.csr_array(X) if kind == "csr" else X
        total, count = call(rows, intercept, curved, drawn, step, penalty, b, v, 4)
        assert count == 12
        ends.append((total, v))
    for found, expected in zip(ends[1], ends[0], strict=True):
        assert relative_error(found, expected) < 1e-12


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("shape", ["tall", "wide"])
@pytest.mark.parametrize("loss", CONVEX)
def test_solutions_are_the_inverse_within_their_standard_errors(loss, shape, kind, batch_size, rng):
    objective = make(loss, shape, kind)
    B = rng.standard_normal((objective.n_parameters, 2))
    solver = LiSSA(tol=0.05, max_depth=256_000, batch_size=batch_size, random_state=0)
    found = solver.factor(objective).solution(B)
    expected = np.linalg.solve(Curvature(objective).dense(), B)
    assert found.converged.all()
    assert (relative_l2(found.X[:, 0], expected[:, 0])) < 0.2
    # Student's t of eight repeats: its root mean square is 1.2.
    standardised = (found.X - expected) / found.standard_error
    assert np.sqrt(np.mean(standardised**2)) < 2.5


def test_standard_errors_are_neither_too_small_nor_too_large():
    X, y = load_digits(return_X_y=True)
    model = LogisticRegression(C=0.01, max_iter=1000).fit(X / 16, y)
    objective = objective_of(model, X / 16, y)
    B = np.random.default_rng(0).standard_normal((objective.n_parameters, 3))
    found = LiSSA(depth=20_000, random_state=0).factor(objective).solution(B)
    expected = Exact().factor(objective).solve(B)
    # Where no row reaches there is no noise.
    used = np.isin(np.arange(len(B)) % 65, objective.design.used_columns)
    standardised = (found.X - expected)[used] / found.standard_error[used]
    assert 0.6 < np.sqrt(np.mean(standardised**2)) < 1.6


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_the_scale_bounds_the_second_moment(batch_size, rng):
    """``E A^2 <= scale H`` in the norm of D: what makes every step a contraction on average."""
    objective = make("sum-to-zero")
    factor = LiSSA(batch_size=batch_size, random_state=0).factor(objective)
    k, d = objective.theta.shape
    root = np.sqrt(np.tile(factor._columns, k))
    rows = objective.design.dense_rows()
    chances = np.diff(np.r_[0.0, factor._chances])
    penalty = np.diag(np.tile(objective.penalty, k))
    mean, second = np.zeros((k * d, k * d)), np.zeros((k * d, k * d))
    largest = 0.0
    for i in np.flatnonzero(chances):
        J = np.kron(np.eye(k), rows[i])
        A = objective.weights[i] / chances[i] * J.T @ objective.hessians[i] @ J + penalty
        A = A / root[:, None] / root
        mean += chances[i] * A
        second += chances[i] * A @ A
        largest = max(largest, np.linalg.norm(A, 2))
    H = Curvature(objective).dense() / root[:, None] / root
    np.testing.assert_allclose(mean, H, rtol=1e-10, atol=1e-12)
    second = (1 - 1 / batch_size) * mean @ mean + second / batch_size
    assert np.linalg.eigvalsh(factor.scale * H - second).min() > -1e-10 * factor.scale
    if batch_size == 1:
        assert largest <= factor.scale * (1 + 1e-12)
    else:
        # Larger batches may take longer steps.
        assert factor.scale < LiSSA().factor(objective).scale


def test_the_norm_of_the_hessian_is_bounded_closely_for_non_negative_rows():
    X, y = load_digits(return_X_y=True)
    objective = objective_of(LogisticRegression(C=0.01, max_iter=500).fit(X, y > 4), X, y > 4)
    operator = Curvature(objective)
    metric = operator.diagonal()
    sizes = objective.weights * objective.hessians[:, 0, 0]
    bound = norm_bound(operator, sizes, metric)
    H = operator.dense() / np.sqrt(metric)[:, None] / np.sqrt(metric)
    largest = np.linalg.norm(H, 2)
    assert largest <= bound <= 1.1 * largest


def unscaled(name):
    if name == "diabetes":
        X, y = load_diabetes(return_X_y=True, scaled=False)
        return Ridge(alpha=1.0).fit(X, y), X, y
    if name == "breast cancer":
        X, y = load_breast_cancer(return_X_y=True)
        return LogisticRegression(solver="newton-cholesky", max_iter=1000).fit(X, y), X, y
    X, y = load_digits(return_X_y=True)
    X, y = X[:500] * 255 / 16, y[:500]
    return LogisticRegression(C=1e-6, solver="newton-cholesky", tol=1e-8).fit(X, y), X, y


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("name", ["diabetes", "breast cancer", "pixels"])
def test_data_in_their_own_units_do_not_diverge(name, kind):
    """Columns from 1e-3 to 1e3: an error below one, and no smaller a claim than the error."""
    model, X, y = unscaled(name)
    objective = objective_of(model, sp.csr_array(X) if kind == "csr" else X, y)
    b = objective.gradients[0][:, None] * objective.design.take([0]).dense_rows()
    factor = LiSSA(max_depth=32_000, repeats=4, random_state=0).factor(objective)
    found = factor.repeated(b.reshape(-1, 1))
    exact = Exact().factor(objective).solve(b.reshape(-1, 1))
    size = np.tile(factor._columns, len(b))[:, None]
    error = np.sqrt(np.sum(size * (found.X.mean(axis=0) - exact) ** 2) / np.sum(size * exact**2))
    assert error < min(1.0, 1.5 * found.relative_error[0])


def test_a_scale_of_the_user_is_the_papers_and_may_diverge(rng):
    objective = make("binomial")
    B = rng.standard_normal((5, 1))
    H = Curvature(objective).dense()
    factor = LiSSA(scale=20.0, depth=40_000, random_state=0).factor(objective)
    assert factor.scale == 20.0 * objective.n_samples
    assert relative_l2(factor.solution(B).X, np.linalg.solve(H, B)) < 0.1
    with pytest.raises(ValueError, match=r"diverged: scale=0\.0001 is too small"):
        LiSSA(scale=1e-4, depth=5_000).factor(objective).solution(B)


def test_draws_depend_on_the_seed_alone(rng):
    """Not on the other right-hand sides, nor on what was asked before."""
    objective = make("sum-to-zero")
    B = rng.standard_normal((15, 3))
    solver = LiSSA(depth=400, random_state=3)
    factor = solver.factor(objective)
    together = factor.repeated(B).X
    np.testing.assert_array_equal(factor.repeated(B).X, together)
    np.testing.assert_array_equal(
        solver.factor(objective).repeated(B[:, 1:2]).X, together[:, :, 1:2]
    )
    other = LiSSA(depth=400, random_state=4).factor(objective).repeated(B).X
    assert relative_error(other, together) > 1e-3
    assert (together.std(axis=0) > 0).all()


def test_zeros_and_sizes_of_right_hand_sides(rng):
    factor = LiSSA(depth=400, random_state=0).factor(make())
    b = rng.standard_normal((5, 1))
    found = factor.solution(np.hstack([b, 0.0 * b, 1e-200 * b]))
    assert not found.X[:, 1].any()
    assert found.converged[1]
    assert found.standard_error[0, 1] == 0
    np.testing.assert_allclose(1e200 * found.X[:, 2], found.X[:, 0], rtol=1e-9)
    assert quiet(factor.solve, np.zeros((5, 0))).shape == (5, 0)


def test_damping_is_what_is_added_to_the_hessian(rng):
    objective = make("sum-to-zero")
    H = Curvature(objective).dense()
    B = rng.standard_normal((len(H), 1))
    found = LiSSA(damping=30.0, tol=0.01, random_state=0).factor(objective).solution(B)
    assert relative_l2(found.X, np.linalg.solve(H + 30.0 * np.eye(len(H)), B)) < 0.05
    expected = CG(damping=30.0).factor(objective).solve(B)
    assert relative_l2(found.X, expected) < 0.05


@pytest.mark.parametrize("hold", ["C", "lambda"])
def test_shifts_are_other_hessians(hold, rng):
    objective = make("binomial", hold=hold)
    factor = LiSSA(tol=0.02, random_state=0).factor(objective)
    B = rng.standard_normal((5, 1))
    expected = Exact().factor(objective).solve(B, 4.0)
    assert relative_l2(quiet(factor.solve, B, 4.0), expected) < 0.1


def test_random_answers_are_never_silent_nor_certified():
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    model = LogisticRegression(C=0.1, tol=1e-10).fit(X, y)
    inf = Influence(model, X, y, solver=LiSSA(random_state=0))
    report = inf.report()
    assert report.solver == "LiSSA"
    assert 0 < report.standard_error < 0.2
    with pytest.warns(UserWarning, match=r"relative standard error of .* 8 repeats"):
        found = inf.influence_up_loss(X[:2], y[:2])
    exact = Influence(model, X, y).influence_up_loss(X[:2], y[:2])
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.995
    with pytest.raises(ValueError, match=r"exact leverages.*LiSSA"):
        inf.removal_effect(X[:2], y[:2])
    hasty = Influence(model, X, y, solver=LiSSA(depth=8, random_state=0))
    with pytest.warns(ConvergenceWarning, match=r"stopped before it converged for 2 of 2"):
        hasty.influence_up_loss(X[:2], y[:2])


def test_it_has_a_name():
    assert isinstance(resolve_solver("lissa", make()), LiSSA)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"repeats": 1}, "repeats must be an integer of at least 2"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"depth": 2}, "depth must be an integer of at least 4"),
        ({"depth": "deep"}, "depth must be an integer"),
        ({"max_depth": 10}, "max_depth must be an integer"),
        ({"scale": 0.0}, "scale must be 'auto' or positive"),
        ({"scale": "paper"}, "scale must be 'auto' or positive"),
        ({"tol": 1.5}, "tol must lie between 0 and 1"),
        ({"damping": -1.0}, "damping must be finite and non-negative"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        LiSSA(**options).factor(make())


def test_losses_that_curve_down_and_singular_hessians_are_refused():
    objective, case = make("squared"), LOSSES["tweedie-3"]
    curved = Objective(
        loss=case.loss,
        design=objective.design,
        y=case.draw(np.random.default_rng(0), 40) * 0.01,
        weights=objective.weights,
        penalty=objective.penalty,
        theta=objective.theta,
    )
    assert (curved.hessians < 0).any()
    with pytest.raises(ValueError, match="convex loss"):
        LiSSA().factor(curved)
    free = make("binomial", "wide")
    free.penalty[:] = 0.0
    with pytest.raises(SingularHessianError, match="Penalise the model"):
        LiSSA().factor(free)
