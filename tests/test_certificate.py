"""Certificates: no random edit violates one, wrong ones are seen to fail, closed forms hold."""

from collections import Counter
from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from skinfluence import certificate, losses
from skinfluence.design import design_of
from skinfluence.edits.points import Points
from skinfluence.objective import Objective
from skinfluence.smooth.batches.row_batch import RowBatch
from skinfluence.smooth.one_step.steps import removals, row_edits
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.solvers import Exact
from tests.fuzzing import (
    FORMULAS,
    KINDS,
    LOSSES,
    STAGES,
    VIOLATED,
    WRONG,
    Change,
    draw_change,
    draw_problem,
    edited_dense,
    failures,
    point_trials,
    points_of,
    row_trials,
    run,
)

# Random edits ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trials():
    return run(350, seed=3, per_problem=5)[0]


def test_no_certificate_is_violated(trials):
    """350 edits of every kind over all losses, against refits in extended precision."""
    seen = [line for line in failures(trials) if "not seen" not in line]
    assert not seen, "\n".join(seen)


def test_every_kind_stage_and_loss_takes_part(trials):
    kinds = Counter(trial.change.kind for trial in trials)
    stages = Counter(trial.stage for trial in trials)
    assert set(kinds) == set(KINDS)
    # (D) alone certifies what single precision does not serve: seldom in so few.
    assert set(STAGES) - {"one-step (D)"} <= set(stages) <= set(STAGES)
    assert {trial.problem.name for trial in trials} == set(LOSSES)
    assert {trial.problem.form for trial in trials} == {"primal", "dual", "cg"}
    assert np.mean([np.isfinite(trial.bound) for trial in trials]) > 0.97


def test_certificates_are_not_vacuous(trials):
    """The formulas come within 10 % of what happens, and wrong ones fail."""
    for name in FORMULAS:
        assert 0.6 < max(trial.formulas.get(name, 0.0) for trial in trials) < VIOLATED
    # The other two wrong bounds fail rarely at random, and by construction below.
    for name in ("M/2", "naive"):
        assert max(trial.wrong.get(name, 0.0) for trial in trials) > VIOLATED
    assert set(WRONG) >= {"sup norm", "new rows left out"}


# Wrong bounds ----------------------------------------------------------------------------------
#
# One parameter, P = 1, one row that is all of the curvature: l'(t) / l''(0) = e^t - 1 for Poisson.
# The step is u = -0.9 and the truth e^d = 0.1.

STEP = -0.9
TRUTH = np.log(0.1)
ERROR = STEP - TRUTH


def test_the_bounds_hold_where_the_wrong_ones_fail():
    r = np.array(0.9)
    left = certificate.remainder_factor(r) * 0.9
    assert certificate.newton_step_bound(1.0, 1.0, 0.9) > ERROR
    assert not certificate.gradient_bound(1.0, 1.0, left, r) < ERROR


def test_half_the_constant_fails():
    assert certificate.newton_step_bound(0.5, 1.0, 0.9) < 0.4 * ERROR


def test_the_remainder_of_the_computed_step_is_no_bound():
    """(e^r - 1 - r) / r x size speaks of the gradient left at u, not of the distance left."""
    assert certificate.remainder_factor(np.array(0.9)) * 0.9 < 0.5 * ERROR


def test_leaving_new_rows_out_of_the_maximum_fails():
    """The row that is all of the curvature is the new one; the old ones have kappa = 0.001."""
    assert certificate.newton_step_bound(1.0, 1e-3, 0.9) < 1e-3 * ERROR


def test_the_sup_norm_of_the_softmax_fails():
    """Two classes matter: what moves by (t, -t) changes the odds by 2 t, its range."""
    loss = losses.Multinomial(3)
    direction = np.array([1.0, -1.0, 0.0])
    start = np.array([-3.0, 3.0, -40.0])
    curvature = direction @ loss.hessian(start, 0) @ direction

    def change(t):
        moved = loss.gradient(start + t * direction, 0) - loss.gradient(start, 0)
        return (direction @ moved) / curvature

    # In units where P = 1: t of size |t| sqrt(curvature), a spread of 2 t or, wrongly, of t.
    unit = np.sqrt(curvature)
    u = -0.45
    d = brentq(lambda t: change(t) - u, -30, 0)
    error, size = abs(u - d) * unit, abs(u) * unit
    kappa = loss.spread(direction) / unit
    sup = np.abs(direction).max() / unit
    assert certificate.newton_step_bound(1.0, kappa, size) > error
    assert certificate.newton_step_bound(1.0, sup, size) < 0.4 * error


# The largest row -------------------------------------------------------------------------------


def exact_kappa(problem, change):
    dense, _ = edited_dense(problem, change)
    theta = problem.objective.theta
    P = dense.derivatives(theta.astype(np.longdouble))[2]
    J, (k, d) = dense.J.astype(float), theta.shape
    inverse = np.linalg.inv(P).reshape(k, d, k, d)
    h = np.einsum("ia,kalb,ib->ikl", J, inverse, J, optimize=True)
    v = dense.loss.spread_directions()
    return np.sqrt(np.einsum("va,iab,vb->iv", v, h, v).max())


@pytest.mark.parametrize("number", range(20))
def test_kappa_covers_every_row_of_positive_weight(number):
    """New and relabelled rows, and rows that had no weight, included."""
    rng = np.random.default_rng([11, number])
    problem = None
    while problem is None:
        name = rng.choice(["logistic", "softmax, 3 classes", "Gamma", "smooth hinge t=1"])
        problem = draw_problem(rng, str(name), "primal")
    solver = EditSolver(problem.factor, problem.solver)
    for kind in KINDS:
        change = draw_change(rng, problem, kind)
        if not edited_dense(problem, change)[0].weights.size:
            continue
        points = points_of(problem, change)
        inverse = solver_inverse(solver, points)
        found = solver.points.kappa(inverse, points)[0]
        assert found >= (1.0 - 1e-6) * exact_kappa(problem, change)


def solver_inverse(solver, points):
    from skinfluence.smooth.one_step.point_steps import EditedInverse

    return EditedInverse(solver.factor, solver.solver, points)


def test_a_row_without_weight_that_gets_some_counts():
    """The far-out row decides kappa though it is not in the fitted objective."""
    objective = _fitted(losses.Binomial(), far=50.0)
    solver = EditSolver(Exact("primal").factor(objective), Exact("primal"))
    points = Points(np.array([0]), np.array([2.0]), None, None, np.empty(0))
    problem = type("", (), {"objective": objective, "rows": objective.design.X})
    change = Change(
        "reweight", np.array([0]), np.array([2.0]), np.empty((0, 3)), objective.y[:0], np.empty(0)
    )
    expected = exact_kappa(problem, change)
    rows = row_edits(objective, np.array([0]), objective.y[:1], np.array([2.0]))
    assert solver.points.kappa(solver_inverse(solver, points), points)[0] >= expected * (1 - 1e-9)
    assert RowBatch(solver.accuracy, rows).kappa()[0] >= expected * (1 - 1e-9)
    assert np.sqrt(solver.accuracy.row_sizes.max()) < expected


def _fitted(loss, far=1.0, n=30, weight=0.0, penalty=1.0):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((n, 3))
    X[0] *= far
    y = (rng.uniform(size=n) < 0.5).astype(int)
    if isinstance(loss, losses.Tweedie):
        y = rng.gamma(2.0, size=n)
    weights = np.ones(n)
    weights[0] = weight
    start = Objective(
        loss=loss,
        design=design_of(X, 1.0),
        y=y,
        weights=weights,
        penalty=np.array([penalty] * 3 + [0.0]),
        theta=np.zeros((1, 4)),
    )
    return minimise(start, Exact("primal")).objective


# Round-off ---------------------------------------------------------------------------------------


def test_a_step_that_overflows_goes_to_newton():
    """A far-out row of an exponential loss: one Newton step is absurd, the answer is not."""
    objective = _fitted(losses.Poisson(), n=20)
    solver = EditSolver(Exact("primal").factor(objective), Exact("primal"))
    new = objective.design.like(np.array([[900.0, -20.0, 5.0]]))
    points = Points(np.empty(0, int), np.empty(0), new, np.array([3.0]), np.array([1.0]))
    step, bound, _, used, _ = solver.points.solve(points, 1e-3)
    assert np.isfinite(step).all()
    assert used == "newton"
    assert bound > 0


def test_nothing_is_certified_below_round_off():
    """Bounds hold what the solver and the gradient lose, also where the formulas say 0."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3))
    weights, y = np.ones(30), rng.standard_normal(30)
    start = Objective(losses.SquaredError(), design_of(X), y, weights, np.ones(4), np.zeros((1, 4)))
    objective = minimise(start, Exact("primal")).objective
    solver = EditSolver(Exact("primal").factor(objective), Exact("primal"))
    (part,) = (part for _, part in solver.rows.solve(removals(objective, np.arange(30)), 1e-9))
    assert (part.bound > 1e-17).all()
    assert (part.bound < 1e-12).all()
    assert (part.method_used == "one-step").all()


def test_an_edit_that_changes_nothing_has_size_zero():
    objective = _fitted(losses.Binomial())
    solver = EditSolver(Exact("primal").factor(objective), Exact("primal"))
    points = Points(np.array([3]), np.zeros(1), None, None, np.empty(0))
    step, bound, size, used, _ = solver.points.solve(points, 1e-3)
    assert not step.any()
    assert size == 0.0
    assert bound == solver.accuracy.floor
    assert used == "one-step"


# Closed forms ----------------------------------------------------------------------------------

GRID = np.concatenate([np.geomspace(1e-15, 0.999, 200), np.linspace(9e-4, 1.1e-3, 21)])


def digits(formula):
    """A formula of one number in sixty digits."""

    def value(x):
        with localcontext() as context:
            context.prec = 60
            return float(formula(Decimal(float(x))))

    return value


newton_to = digits(lambda s: 1 / (1 - s) + (1 - s).ln() / s)
gradient_to = digits(lambda t: -(1 - t).ln())
remainder_to = digits(lambda r: (r.exp() - 1 - r) / r)


def test_closed_forms_against_sixty_digits():
    """Across the switch to the series, where the closed form cancels."""
    # s/2 + 2 s^2/3 + ...: cut after s^4 at 1e-3, a relative 1e-9 too much never too little.
    found = certificate.newton_step_bound(1.0, 1.0, GRID) / GRID
    np.testing.assert_allclose(found, [newton_to(s) for s in GRID], rtol=1e-8)
    found = certificate.remainder_factor(GRID)
    np.testing.assert_allclose(found, [remainder_to(s) for s in GRID], rtol=1e-8)
    found = certificate.gradient_bound(1.0, 1.0, GRID, np.zeros_like(GRID))
    np.testing.assert_allclose(found, [gradient_to(s) for s in GRID], rtol=1e-8)


def test_series_are_never_below_the_truth():
    small = np.geomspace(1e-14, 9.99e-4, 300)
    truth = np.array([newton_to(s) for s in small])
    assert (certificate.newton_step_bound(1.0, 1.0, small) / small >= truth * (1 - 1e-15)).all()
    truth = np.array([remainder_to(s) for s in small])
    assert (certificate.remainder_factor(small) >= truth * (1 - 4e-16)).all()
    tiny = np.geomspace(1e-14, 9.99e-9, 300)
    truth = np.array([gradient_to(s) for s in tiny])
    found = certificate.gradient_bound(1.0, 1.0, tiny, np.zeros(300))
    assert (found >= truth * (1 - 4e-16)).all()


@pytest.mark.parametrize(
    "bound",
    [
        lambda x: certificate.newton_step_bound(1.0, 2.0, x),
        lambda x: certificate.gradient_bound(1.0, 2.0, x, 0.1 + x),
        certificate.remainder_factor,
        lambda x: certificate.chord_bound(1.0, 2.0, x, 0.1 + x),
    ],
    ids=["B", "C", "D", "E"],
)
def test_bounds_grow_with_what_they_bound(bound):
    x = np.sort(np.concatenate([np.geomspace(1e-12, 1e3, 2000), np.linspace(4e-4, 6e-4, 500)]))
    values = bound(x)
    assert not np.isnan(values).any()
    assert (values >= 0).all()
    with np.errstate(invalid="ignore"):
        falls = values[1:] < values[:-1] * (1 - 1e-12)
    assert not falls.any()


def test_what_cannot_be_bounded_is_infinite():
    inf = np.inf
    for M, kappa, size in ((1.0, 1.0, 1.0), (1.0, 1.0, inf), (1.0, inf, 1.0), (1.0, 1.0, 1e300)):
        assert certificate.newton_step_bound(M, kappa, np.array(size)) == inf
        assert certificate.gradient_bound(M, kappa, np.array(size), np.array(1.0)) == inf
    for r in (1e4, inf):
        assert certificate.gradient_bound(1.0, 1.0, np.array(1e-3), np.array(r)) == inf
        assert certificate.remainder_factor(np.array(r)) == inf
        assert certificate.chord_bound(1.0, 1.0, np.array(1e-3), np.array(r)) == inf
    assert certificate.chord_bound(1.0, 1.0, np.array(inf), np.array(0.1)) == inf


def test_without_curvature_change_the_newton_step_is_exact():
    """M = 0: the squared error."""
    assert certificate.newton_step_bound(0.0, 3.0, np.array(2.0)) == 0.0
    assert certificate.gradient_bound(0.0, 3.0, np.array(2.0), np.array(0.0)) == 2.0
    assert certificate.chord_bound(0.0, 3.0, np.array(2.0), np.array(0.0)) == 0.0


@pytest.mark.filterwarnings("error")
def test_no_step_is_no_error_however_far_rows_reach():
    for kappa in (0.0, 1.0, np.inf):
        assert certificate.newton_step_bound(1.0, kappa, np.array([0.0]))[0] == 0.0
    assert np.isnan(certificate.newton_step_bound(1.0, 1.0, np.array([np.nan]))[0])


def test_within_speaks_of_the_true_size():
    """A bound as large as the step certifies nothing, whatever the tolerance."""
    assert not certificate.within(1.0, 1.0, 1e-1, 0.0)
    assert not certificate.within(0.1, 1.0, 0.1, 0.0)
    assert certificate.within(0.09, 1.0, 0.1, 0.0)
    assert certificate.within(1e-15, 0.0, 1e-3, 1e-15)
    assert not certificate.within(np.inf, np.inf, 1e-3, 1e-15)


@pytest.mark.parametrize("error", [0.0, 1e-6, 0.3])
@pytest.mark.parametrize("r", [1e-9, 3e-3, 0.02, 1.5])
def test_the_bound_of_an_own_value_has_all_its_terms(r, error):
    """``psi`` and ``chi`` as the averages over a segment that they are, by quadrature."""
    M, kappa, fourth, across, length = 1.7, 0.9, 0.6, 0.4, 1.3
    reach = r + M * kappa * error
    psi = quad(lambda t: np.exp(t * reach), 0, 1)[0]
    chi = quad(lambda t: 0.5 * (1 - t) ** 2 * np.exp(t * r), 0, 1)[0]
    expected = error * M * psi * (np.sqrt(fourth * across) + kappa * error * length)
    expected += M**2 * chi * fourth**1.5 * np.sqrt(across)
    found = certificate.own_value_bound(
        M, kappa, *map(np.array, (error, r, fourth, across, length))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", [(77, 35), (77, 193), (78, 110)])
def test_leverages_that_cancel_in_the_dual_form_are_counted(seed):
    """Squared errors with a weak penalty and more rows than columns: nothing but rounding is left."""
    rng = np.random.default_rng(seed)
    problem = draw_problem(rng)
    assert (problem.name, problem.form) == ("squared", "dual")
    found = [
        *row_trials(rng, problem, 8, []),
        *point_trials(rng, problem, 8, []),
    ]
    assert len(found) > 8
    assert not any(trial.violated for trial in found)
    # Nor is all that is said that nothing is known.
    assert np.median([trial.bound / trial.size for trial in found if trial.size]) < 1e-7
