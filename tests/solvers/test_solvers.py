"""Solvers over solvers x losses x designs: the same inverse, leverages and reports."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from skinfluence import Influence, edits
from skinfluence.curvature import Curvature
from skinfluence.design import design_of
from skinfluence.losses import Multinomial, SumToZero
from skinfluence.objective import Objective
from skinfluence.solvers import CG, Exact, SingularHessianError, resolve_solver
from skinfluence.solvers.dual import DualFactor
from tests.oracle.optimum import minimise
from tests.oracle.problems import problem_of
from tests.registries import LOSSES, SOLVERS
from tests.truth import relative_error

CONVEX = ["binomial", "sum-to-zero", "squared", "squared-3", "poisson", "gamma", "smooth-hinge-1"]
SHAPES = {"tall": (40, 4), "wide": (10, 15)}


def make(loss="binomial", shape="tall", kind="dense", intercept=1.0, free=True, hold="lambda"):
    case, (n, d) = LOSSES[loss], SHAPES[shape]
    rng = np.random.default_rng(3)
    X = rng.standard_normal((n, d)) * (rng.uniform(size=(n, d)) < 0.8)
    design = design_of(sp.csr_array(X) if kind == "csr" else X, intercept)
    penalty = np.full(design.n_columns, 0.4)
    if intercept and free:
        penalty[-1] = 0.0
    return Objective(
        loss=case.loss,
        design=design,
        y=case.draw(rng, n),
        weights=rng.uniform(0.2, 2.0, n) * (np.arange(n) != 5),
        penalty=penalty,
        theta=0.3 * rng.standard_normal((case.loss.n_outputs, design.n_columns)),
        hold=hold,
    )


def dense_leverages(objective, design, shift, damping=0.0):
    k = objective.loss.n_outputs
    inverse = np.linalg.inv(Curvature(objective, shift, damping).dense())
    rows = design.dense_rows()
    J = np.einsum("id,ab->iabd", rows, np.eye(k)).reshape(len(rows), k, -1)
    return np.einsum("iap,pq,ibq->iab", J, inverse, J)


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", CONVEX)
@pytest.mark.parametrize("solver", SOLVERS)
def test_solve_is_the_inverse_of_the_hessian(solver, loss, shape, kind, rng):
    """For one right-hand side, many, and every kind of shift; 1e-8."""
    objective = make(loss, shape, kind)
    factor = SOLVERS[solver].factor(objective)
    B = rng.standard_normal((objective.n_parameters, 4))
    for shift in (0.0, -0.7, 1.1):
        expected = np.linalg.solve(Curvature(objective, shift).dense(), B)
        assert relative_error(factor.solve(B, shift), expected) < 1e-8
        assert relative_error(factor.solve(B[:, :1], shift), expected[:, :1]) < 1e-8
    # Two distinct shifts go factor by factor, more through the generalised eigenvectors.
    for shifts in ([-0.5, 0.0, 0.0, -0.5], [-0.5, 0.0, 0.3, 1.0]):
        expected = np.column_stack(
            [
                np.linalg.solve(Curvature(objective, s).dense(), b)
                for s, b in zip(shifts, B.T, strict=True)
            ]
        )
        assert relative_error(factor.solve(B, np.array(shifts)), expected) < 1e-8


@pytest.mark.parametrize("solver", SOLVERS)
def test_of_no_rows_nothing_is_solved(solver):
    objective = make("sum-to-zero", next(iter(SHAPES)))
    none = objective.design.take(np.arange(0))
    for shift in (0.0, np.zeros(0)):
        found = (
            SOLVERS[solver]
            .factor(objective)
            .solve_rows(none, np.zeros((0, len(objective.theta))), shift)
        )
        assert found.shape == (0, *objective.theta.shape)


@pytest.mark.parametrize("intercept", [1.0, 0.0, 5.0])
@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_intercepts_of_every_kind(solver, shape, free, intercept, rng):
    """Absent, of another value, penalised (liblinear) or free."""
    objective = make("sum-to-zero", shape, intercept=intercept, free=free)
    factor = SOLVERS[solver].factor(objective)
    B = rng.standard_normal((objective.n_parameters, 3))
    expected = np.linalg.solve(Curvature(objective).dense(), B)
    assert relative_error(factor.solve(B), expected) < 1e-8
    h = dense_leverages(objective, objective.design, 0.0)
    assert relative_error(factor.leverages(), h) < 1e-8


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", ["binomial", "sum-to-zero", "squared-3"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_leverages_are_the_diagonal_blocks(solver, loss, shape, kind, rng):
    """Of training rows and of others, at one shift, at two, and at one per row."""
    objective = make(loss, shape, kind)
    factor = SOLVERS[solver].factor(objective)
    n, d = objective.design.X.shape
    other = objective.design.like(rng.standard_normal((n, d)))
    uneven = np.where(np.arange(n) % 2, -0.6, 0.2)
    for design in (None, other):
        rows = objective.design if design is None else design
        for shift in (0.0, -0.8):
            h = dense_leverages(objective, rows, shift)
            assert relative_error(factor.leverages(design, shift), h) < 1e-8
        # A shift of its own for each row is a factor of its own.
        for shifts in (uneven, -objective.weights) if design is None else (uneven,):
            expected = np.concatenate(
                [
                    dense_leverages(objective, rows.take([i]), shift)
                    for i, shift in enumerate(shifts)
                ]
            )
            assert relative_error(factor.leverages(design, shifts), expected) < 1e-8


@pytest.mark.parametrize("solver", SOLVERS)
def test_leverages_where_the_curvature_vanishes(solver):
    """Rows of weight zero and saturated rows: the dual's short cut divides by w Lambda."""
    objective = make("binomial", "wide")
    theta = objective.theta.copy()
    theta[0, -1] = 18.0  # Lambda about 1e-8
    objective = objective.at(theta)
    h = dense_leverages(objective, objective.design, 0.0)
    assert relative_error(SOLVERS[solver].factor(objective).leverages(), h) < 1e-6


@pytest.mark.parametrize("solver", SOLVERS)
def test_holding_c_ignores_shifts(solver, rng):
    objective = make(hold="C")
    factor = SOLVERS[solver].factor(objective)
    B = rng.standard_normal((5, 3))
    for shift in (3.0, np.array([1.0, 2.0, 3.0])):
        np.testing.assert_allclose(factor.solve(B, shift), factor.solve(B), rtol=1e-12)
    shifts = np.linspace(-1, 1, 40)
    np.testing.assert_allclose(factor.leverages(None, shifts), factor.leverages(), rtol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_many_shifts_leave_no_trace(solver, rng):
    """Siblings are kept for a handful of shifts only, and answers do not depend on history."""
    objective = make("binomial")
    factor = SOLVERS[solver].factor(objective)
    B = rng.standard_normal((5, 2))
    first = factor.solve(B, 0.25)
    for shift in np.linspace(-1, 1, 11):
        factor.solve(B, float(shift))
    assert len(factor._siblings) <= 4
    np.testing.assert_array_equal(factor.solve(B, 0.25), first)


@pytest.mark.parametrize("solver", SOLVERS)
def test_report_measures_the_systems(solver):
    objective = make("sum-to-zero")
    factor = SOLVERS[solver].factor(objective)
    report = factor.report()
    gradient = objective.gradient()
    H = Curvature(objective).dense()
    decrement = np.sqrt(gradient @ np.linalg.solve(H, gradient))
    np.testing.assert_allclose(report.newton_decrement, decrement, rtol=1e-8)
    assert report.converged
    assert report.residual < 1e-9
    assert report.n_parameters == 15
    assert report.solver == {"primal": "primal Cholesky", "dual": "dual Cholesky"}.get(solver, "CG")
    if report.rcond is not None and solver == "primal":
        s = 1 / np.sqrt(np.diag(H))
        true = 1 / np.linalg.cond(s[:, None] * H * s, 1)
        assert 0.3 * true < report.rcond < 10 * true


def test_auto_chooses_by_shape():
    assert resolve_solver("auto", make(shape="tall")).form == "primal"
    wide = make(shape="wide")
    assert isinstance(resolve_solver("auto", wide).factor(wide), DualFactor)
    unpenalised = make(shape="wide")
    unpenalised.penalty[:] = 0.0
    assert resolve_solver("auto", unpenalised).form == "primal"
    own = CG(rtol=1e-3)
    assert resolve_solver(own, make()) is own
    for bad in ("lu", None, 3):
        with pytest.raises(
            ValueError, match="solver must be 'auto', 'exact', 'cg', 'lissa' or a solver"
        ):
            resolve_solver(bad, make())


def test_auto_leaves_dense_factorisations_beyond_their_size(monkeypatch):
    monkeypatch.setattr("skinfluence.solvers.LARGEST_PRIMAL", 3)
    monkeypatch.setattr("skinfluence.solvers.LARGEST_DUAL", 3)
    for shape in SHAPES:
        assert isinstance(resolve_solver("auto", make(shape=shape)), CG)


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_large_entries_do_not_hide_small_ones(form, rng):
    """Features of scale 1e-6 and 1e6: the Cholesky is scaled first, so solves stay accurate."""
    objective = make("binomial")
    scale = np.array([1e-6, 1.0, 1e3, 1e6])
    wild = Objective(
        loss=objective.loss,
        design=design_of(objective.design.X * scale),
        y=objective.y,
        weights=objective.weights,
        penalty=np.r_[0.4 * scale**2, 0.0],
        theta=objective.theta / np.r_[scale, 1.0],
    )
    # The same problem in other units.
    B = rng.standard_normal((5, 2))
    units = np.r_[scale, 1.0][:, None]
    expected = Exact(form).factor(objective).solve(B)
    found = Exact(form).factor(wild).solve(B * units) * units
    assert relative_error(found, expected) < 1e-9


@pytest.mark.parametrize("problem", ["duplicate", "zero column", "nan"])
def test_a_singular_hessian_is_refused_with_the_remedy(problem):
    objective = make("binomial")
    X = objective.design.X.copy()
    if problem == "duplicate":
        X[:, 1] = X[:, 0]
    elif problem == "zero column":
        X[:, 1] = 0.0
    else:
        X[3, 1] = np.nan
    broken = Objective(
        loss=objective.loss,
        design=design_of(X),
        y=objective.y,
        weights=objective.weights,
        penalty=np.zeros(5),
        theta=objective.theta,
    )
    with pytest.raises(SingularHessianError, match="Penalise the model"):
        Exact("primal").factor(broken)
    if problem != "duplicate":
        with pytest.raises(SingularHessianError, match="positive"):
            CG().factor(broken)


def test_forms_are_named():
    with pytest.raises(ValueError, match="form must be"):
        Exact("qr").factor(make())
    free = make()
    free.penalty[:] = 0.0
    with pytest.raises(ValueError, match="dual form needs a penalty"):
        Exact("dual").factor(free)


def test_the_dual_refuses_a_loss_that_curves_down():
    objective = make("squared")
    case = LOSSES["tweedie-3"]
    rng = np.random.default_rng(0)
    curved = Objective(
        loss=case.loss,
        design=objective.design,
        y=case.draw(rng, 40) * 0.01,
        weights=objective.weights,
        penalty=objective.penalty,
        theta=objective.theta,
    )
    assert (curved.hessians < 0).any()
    with pytest.raises(SingularHessianError, match=r"convex loss.*Exact\('primal'\)"):
        Exact("dual").factor(curved)


def test_cg_that_stops_early_says_so_with_numbers(rng):
    objective = make("binomial", "wide")
    factor = CG(rtol=1e-12, max_iter=2).factor(objective)
    B = rng.standard_normal((objective.n_parameters, 5))
    with pytest.warns(ConvergenceWarning, match=r"2 iterations .* 5 of 5 right-hand sides"):
        factor.solve(B)
    with pytest.warns(ConvergenceWarning, match="Increase max_iter"):
        factor.solve(B[:, :1])
    assert not quiet(factor.report).converged


def quiet(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def test_cg_takes_zero_and_mixed_right_hand_sides(rng):
    factor = CG().factor(make("binomial"))
    B = rng.standard_normal((5, 3))
    B[:, 1] = 0.0
    B[:, 2] *= 1e-200
    X = factor.solve(B)
    expected = Exact().factor(make("binomial")).solve(B)
    np.testing.assert_array_equal(X[:, 1], 0.0)
    np.testing.assert_allclose(X[:, 0], expected[:, 0], rtol=1e-8)
    assert factor.solve(np.zeros((5, 1))).shape == (5, 1)


def test_cg_residuals_honour_rtol(rng):
    objective = make("sum-to-zero", "wide")
    B = rng.standard_normal((objective.n_parameters, 6))
    for rtol in (1e-4, 1e-8, 1e-12):
        X = CG(rtol=rtol).factor(objective).solve(B)
        residual = Curvature(objective) @ X - B
        assert (np.linalg.norm(residual, axis=0) < 2 * rtol * np.linalg.norm(B, axis=0)).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_factors_survive_pickling(solver, rng):
    factor = SOLVERS[solver].factor(make("sum-to-zero"))
    B = rng.standard_normal((15, 2))
    again = pickle.loads(pickle.dumps(factor))
    for shift in (0.0, 0.5, np.array([0.1, 0.2])):
        np.testing.assert_array_equal(again.solve(B, shift), factor.solve(B, shift))


# Where one form or one precision has too few digits ---------------------------------------------


def wild(n, d, seed=0):
    """Columns of scales from 1e-8 to 1e8, which a penalty determines all the same."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.standard_normal((n, d)), 2) * 10.0 ** np.linspace(-8, 8, d)
    return X, np.arange(n) % 3


@pytest.mark.parametrize(("n", "d"), [(12, 8), (8, 20)])
@pytest.mark.parametrize("method", ["one-step", "exact"])
def test_columns_that_cancel_in_the_dual_form_are_no_reason_to_refuse_it(n, d, method):
    X, y = wild(n, d)
    params = {"C": 30.0, "fit_intercept": True}
    truth = problem_of("LogisticRegression", params, X, y, classes=range(3))
    best = minimise(truth).theta
    model = LogisticRegression(solver="newton-cholesky", **params).fit(X, y)
    outputs = truth.basis @ best
    model.coef_ = outputs[:, :-1].astype(float)
    model.intercept_ = outputs[:, -1].astype(float)
    inf = Influence(model, X, y, solver=Exact("dual"))
    ask = dict(of="decision_function", method=method)
    found = inf.removal_effect(X[:3], indices=[0, 5], **ask)
    if method == "one-step":
        # That of the primal form, whose columns are brought to one size.
        expected = Influence(model, X, y, solver=Exact("primal")).removal_effect(
            X[:3], indices=[0, 5], **ask
        )
        return np.testing.assert_allclose(found, expected, rtol=1e-6)
    rows = truth.rows(X[:3])
    for position, i in enumerate([0, 5]):
        edited = truth.edited({i: 0.0})
        expected = edited.outputs(minimise(edited).theta, rows) - truth.outputs(best, rows)
        np.testing.assert_allclose(found[:, position], expected.astype(float), rtol=1e-6)


def test_edits_with_too_few_digits_in_single_precision_are_factored_in_double():
    """Two columns a thousandth apart: what some edits leave of their difference float32 cannot see."""
    rng = np.random.default_rng(4)
    X = np.round(rng.standard_normal((8, 2)), 1)
    X[:, 1] = X[:, 0] + 10.0 ** rng.uniform(-4, -2.5) * np.round(rng.standard_normal(8), 1)
    X, y = (
        (X, np.arange(8) % 2)
        if rng.random() > 0.7
        else (np.vstack([[0, 1], X[1:]]), np.arange(8) % 2)
    )
    params = {"C": 1e6, "fit_intercept": False}
    model = LogisticRegression(solver="newton-cholesky", tol=1e-10, **params).fit(X, y)
    truth = problem_of("LogisticRegression", params, X, y, classes=[0, 1])
    rows = truth.rows(X)
    before = truth.outputs(minimise(truth).theta, rows)
    inf = Influence(model, X, y, precision="mixed")
    ask = dict(of="decision_function", method="exact")
    found = inf.removal_effect(X, **ask)
    for i in range(8):
        edited = truth.edited({i: 0.0})
        expected = (edited.outputs(minimise(edited).theta, rows) - before).astype(float)[:, 0]
        whole = inf.effect(edits.remove(i), X, **ask).values
        for one in (found[:, i], whole):
            np.testing.assert_allclose(one, expected, rtol=1e-6, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("size", [1e20, 1e30, 1e39])
def test_columns_beyond_single_precision_are_refused_by_name(size, rng):
    X = rng.standard_normal((30, 4))
    X[:, 2] *= size
    model = Ridge(solver="svd").fit(X, X[:, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SingularHessianError, match=r"column 2.*precision='float64'"):
            Influence(model, X, X[:, 0], precision="mixed")


@pytest.mark.parametrize("method", ["one-step", "auto", "exact"])
@pytest.mark.parametrize("d", [6, 40])
def test_conjugate_gradients_solve_each_column_in_its_own_unit(d, method):
    """Beside a residual of columns of size 1e8 those of size 1e-8 are nothing, and still count."""
    X, y = wild(30, d, seed=2)
    y = y % 2
    X[:, 1::2] *= 1e3
    params = {"C": 0.5, "fit_intercept": True}
    truth = problem_of("LogisticRegression", params, X, y, classes=[0, 1])
    best = minimise(truth).theta
    model = LogisticRegression(solver="newton-cholesky", **params).fit(X, y)
    model.coef_, model.intercept_ = best[:, :-1].astype(float), best[:, -1].astype(float)
    ask = dict(of="decision_function", method=method, indices=[0, 7, 9])
    found = Influence(model, X, y, solver=CG()).removal_effect(X[:5], **ask)
    if method == "one-step":
        direct = Influence(model, X, y, solver=Exact("primal")).removal_effect(X[:5], **ask)
        return np.testing.assert_allclose(found, direct, rtol=1e-5, atol=1e-7)
    rows = truth.rows(X[:5])
    for position, i in enumerate(ask["indices"]):
        edited = truth.edited({i: 0.0})
        expected = edited.outputs(minimise(edited).theta, rows) - truth.outputs(best, rows)
        expected = expected.astype(float)[:, 0]
        size = 1e-3 * np.abs(expected).max()
        np.testing.assert_allclose(found[:, position], expected, rtol=1e-2, atol=size)


@pytest.mark.parametrize("hold", ["C", "lambda"])
@pytest.mark.parametrize(
    "solver",
    [Exact("primal"), Exact("dual"), Exact(precision="mixed"), CG(rtol=1e-5)],
    ids=["primal", "dual", "mixed", "cg"],
)
def test_leverages_by_solves_are_off_by_the_square_of_what_solves_are(solver, hold, rng):
    """Of softmax, shifted too; solves to 1e-5 give ten digits."""
    X = rng.standard_normal((12, 5))
    objective = Objective(
        loss=SumToZero(Multinomial(3)),
        design=design_of(X),
        y=rng.integers(0, 3, 12),
        weights=np.full(12, 1.5),
        penalty=np.r_[np.full(5, 7.0), 0.0],
        theta=rng.standard_normal((2, 6)),
        hold=hold,
    )
    shift = -1.0
    H = Curvature(objective).dense() + shift * np.diag(np.tile(objective.unit_penalty, 2))
    J = np.einsum("ab,id->iabd", np.eye(2), np.column_stack([X, np.ones(12)])).reshape(12, 2, 12)
    expected = J @ np.linalg.solve(H, J.transpose(0, 2, 1))
    factor = solver.factor(objective)
    found = factor.leverages_by_solves(objective.design, shift)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    each = factor.leverages_by_solves(objective.design, np.full(12, shift))
    np.testing.assert_allclose(each, expected, rtol=1e-8, atol=1e-10)
