"""Conjugate gradients: preconditioners, starts, precisions, and what is said of each solution."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, curvature
from skinfluence.curvature import Curvature
from skinfluence.design import design_of
from skinfluence.losses import Binomial, Multinomial, SquaredError, SumToZero
from skinfluence.objective import Objective
from skinfluence.solvers import CG, Exact, LiSSA, SingularHessianError
from skinfluence.solvers.base import Factor
from skinfluence.solvers.cg import CGFactor
from skinfluence.solvers.preconditioners import NAMES, preconditioner_of
from tests.registries import SOLVERS
from tests.solvers.test_solvers import make
from tests.truth import relative_error

LOSS = {
    "binary": Binomial(),
    "softmax": SumToZero(Multinomial(5)),
    "squared-3": SquaredError(3),
}


def wide_spread(loss="softmax", n=900, d=12, sparse=False, seed=0):
    """Correlated columns of unequal size, one of them empty: plain CG takes many iterations."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4)) @ rng.standard_normal((4, d)) + 0.3 * rng.standard_normal(
        (n, d)
    )
    X = (X + 1.0) * np.geomspace(0.1, 10.0, d)
    X[:, 3] = 0.0
    if sparse:
        X[rng.uniform(size=X.shape) < 0.5] = 0.0
    loss = LOSS[loss]
    k = loss.n_outputs
    scale = 0.3 / np.geomspace(0.1, 10.0, d)
    return Objective(
        loss=loss,
        design=design_of(sp.csr_array(X) if sparse else X),
        y=rng.integers(0, 2, n)
        if k == 1
        else rng.standard_normal((n, k))
        if k == 3
        else rng.integers(0, 5, n),
        weights=rng.uniform(0.2, 2.0, n) * (np.arange(n) != 5),
        penalty=np.r_[np.full(d, 0.4), 0.0],
        theta=np.column_stack([scale * rng.standard_normal((k, d)), np.zeros(k)]),
    )


@pytest.mark.parametrize("precision", ["float64", "mixed"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss", LOSS)
def test_every_preconditioner_and_precision_solves(loss, name, sparse, precision, rng):
    """To the residual asked for, whatever the products were rounded to."""
    objective = wide_spread(loss, sparse=sparse)
    factor = CG(rtol=1e-11, preconditioner=name, precision=precision).factor(objective)
    B = rng.standard_normal((objective.n_parameters, 3))
    H = Curvature(objective).dense()
    found = factor.solution(B)
    assert found.converged.all()
    own = np.linalg.norm(H @ found.X - B, axis=0) / np.linalg.norm(B, axis=0)
    assert (own < 3e-11).all()
    np.testing.assert_allclose(found.residual, own, rtol=1e-2, atol=1e-12)
    assert relative_error(found.X, np.linalg.solve(H, B)) < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_preconditioners_are_symmetric_and_positive(name):
    objective = wide_spread()
    operator = Curvature(objective)
    M = preconditioner_of(name, operator, operator.diagonal()).apply(np.eye(operator.shape[0]))
    assert relative_error(M, M.T) < 1e-6
    assert np.linalg.eigvalsh(0.5 * (M + M.T)).min() > 0


def test_blocks_take_a_fraction_of_the_iterations(rng):
    """Of those of the diagonal: at most half, as few as a fifth on MNIST."""
    objective = wide_spread()
    B = rng.standard_normal((objective.n_parameters, 2))
    used = {
        name: CG(preconditioner=name).factor(objective).solution(B).iterations.max()
        for name in NAMES
    }
    assert used["blocks"] <= 0.5 * used["diagonal"]
    assert used["kronecker"] < used["diagonal"]
    assert used["auto"] == used["blocks"]


def test_auto_leaves_blocks_where_they_are_large():
    few_rows = make("sum-to-zero", "wide")
    assert type(CG().factor(few_rows)._preconditioner).__name__ == "Means"
    assert type(CG().factor(wide_spread())._preconditioner).__name__ == "OutputBlocks"


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_means_take_the_curvature_of_classes_away(sparse, rng):
    """Classes far from each other and from zero, as features of a network are."""
    y = rng.integers(0, 4, 300)
    X = rng.standard_normal((300, 400)) + 3.0 + rng.standard_normal((4, 400))[y]
    model = LogisticRegression(C=0.01, tol=1e-10, max_iter=1000).fit(X, y)
    objective = Influence(model, sp.csr_array(X) if sparse else X, y, solver="cg").objective
    b = rng.standard_normal((objective.n_parameters, 1))
    H = Curvature(objective).dense()
    used = {}
    for name in ("diagonal", "means", "auto"):
        found = CG(preconditioner=name).factor(objective).solution(b)
        assert relative_error(found.X, np.linalg.solve(H, b)) < 1e-8
        used[name] = found.iterations[0]
    assert used["auto"] == used["means"] <= 0.7 * used["diagonal"]


def test_each_right_hand_side_has_its_own_report(rng):
    objective = wide_spread()
    H = Curvature(objective).dense()
    B = rng.standard_normal((len(H), 4))
    B[:, 1] = 0.0
    B[:, 2] = np.linalg.eigh(H)[1][:, -1]
    B[:, 3] *= 1e-250
    found = CG(preconditioner="diagonal").factor(objective).solution(B)
    assert found.converged.all()
    assert found.iterations[1] == found.residual[1] == 0
    assert not found.X[:, 1].any()
    assert found.iterations.shape == found.residual.shape == (4,)
    assert abs(found.iterations[3] - found.iterations[0]) < 20
    alone = CG(preconditioner="diagonal").factor(objective).solution(B[:, :1])
    np.testing.assert_allclose(alone.X, found.X[:, :1], rtol=1e-6)


def test_what_stops_is_the_residual_of_the_solution(rng):
    """Ill-conditioned enough that the recurrence's residual says less than what is left."""
    objective = wide_spread("binary")
    objective.penalty[:-1] = 1e-6
    B = rng.standard_normal((objective.n_parameters, 2))
    factor = CG(rtol=1e-13, preconditioner="diagonal").factor(objective)
    found = factor.solution(B)
    left = np.linalg.norm(factor.curvature @ found.X - B, axis=0) / np.linalg.norm(B, axis=0)
    np.testing.assert_allclose(found.residual, left, rtol=0.5, atol=1e-16)
    few = CG(rtol=1e-13, preconditioner="diagonal", max_iter=3).factor(objective).solution(B)
    assert (few.iterations == 3).all()
    assert not few.converged.any()


def test_a_start_saves_iterations_and_changes_nothing_else(rng):
    objective = wide_spread()
    B = rng.standard_normal((objective.n_parameters, 2))
    plain = CG(preconditioner="diagonal").factor(objective).solution(B)
    near = CG(preconditioner="diagonal", start=CG(rtol=1e-5)).factor(objective).solution(B)
    lissa = CG(start=LiSSA(depth=2000, repeats=2, random_state=0)).factor(objective).solution(B)
    assert near.iterations.max() < plain.iterations.max()
    for found in (near, lissa):
        assert found.converged.all()
        assert relative_error(found.X, plain.X) < 1e-7


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"preconditioner": "ilu"}, "preconditioner must be one of"),
        ({"precision": "float16"}, "precision must be"),
        ({"damping": -1.0}, "damping must be finite and non-negative"),
        ({"damping": np.nan}, "damping must be finite"),
        ({"start": "lissa"}, "start must be a solver object"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        CG(**options).factor(make())


@pytest.mark.parametrize("size", [1.0, 1e25], ids=["collinear", "overflow"])
def test_mixed_precision_goes_on_in_double_where_single_has_no_more_to_give(size, rng):
    """Columns equal to eight digits, or with squares beyond the range of float32."""
    X = rng.standard_normal((200, 3))
    X = np.hstack([X, X + 1e-6 * rng.standard_normal(X.shape)])
    objective = Objective(
        loss=SquaredError(),
        design=design_of(size * X, 0.0),
        y=rng.standard_normal(200),
        weights=np.ones(200),
        penalty=np.full(6, size**2 * 1e-11),
        theta=np.zeros((1, 6)),
    )
    b = objective.gradient()[:, None]
    found = (
        CG(rtol=1e-9, precision="mixed", preconditioner="diagonal").factor(objective).solution(b)
    )
    assert found.converged.all()
    assert found.residual[0] < 3e-9


def test_mixed_precision_gives_up_soon_where_directions_lose_their_conjugacy(rng, monkeypatch):
    """Columns far from zero: single precision alone would take all iterations there are."""
    X = rng.standard_normal((300, 60)) + 100.0
    y = X @ rng.standard_normal(60) + rng.standard_normal(300)
    objective = Influence(Ridge(1.0).fit(X, y), X, y, solver="cg").objective
    b = rng.standard_normal((objective.n_parameters, 1))
    plain = CG(preconditioner="diagonal").factor(objective).solution(b)
    single, product = [], Curvature.product

    def watched(self, V, dtype=np.float64):
        single.append(dtype == np.float32)
        return product(self, V, dtype)

    monkeypatch.setattr(Curvature, "product", watched)
    found = CG(preconditioner="diagonal", precision="mixed").factor(objective).solution(b)
    # What round-off leaves to products in double, too.
    assert found.converged.all() and found.residual[0] < max(3e-9, 3 * plain.residual[0])
    assert 0 < sum(single) <= 3 * 40
    assert len(single) - sum(single) <= plain.iterations[0] + 5


class OwnCurvature(CGFactor):
    """As modules have it: an operator and a diagonal of their own, nothing else prepared."""

    def __init__(self, objective, solver, shift=0.0):
        Factor.__init__(self, objective, shift)
        self.solver, self.rtol = solver, solver.rtol
        self._diagonal = self.curvature.diagonal()


def test_problems_with_their_own_curvature_refuse_what_they_cannot_take(rng):
    objective = make()
    B = rng.standard_normal((5, 2))
    expected = Exact().factor(objective).solve(B)
    assert relative_error(OwnCurvature(objective, CG()).solve(B), expected) < 1e-8
    for solver in (CG(damping=1.0), CG(start=LiSSA())):
        with pytest.raises(ValueError, match="no damping or start"):
            OwnCurvature(objective, solver).solve(B)
    with pytest.raises(ValueError, match="precision must be 'float64'"):
        OwnCurvature(objective, CG(precision="mixed")).solve(B)
    with pytest.raises(ValueError, match="preconditioned by the diagonal"):
        OwnCurvature(objective, CG(preconditioner="blocks")).solve(B)


@pytest.mark.parametrize("name", NAMES)
def test_more_free_parameters_than_rows_are_refused(name):
    objective = make("binomial", "wide")
    objective.penalty[:] = 0.0
    with pytest.raises(SingularHessianError, match="Penalise the model"):
        CG(preconditioner=name).factor(objective)


@pytest.mark.parametrize("name", NAMES)
def test_one_row_that_outweighs_the_others_and_repeated_columns_are_solved(name, rng):
    """Its class is far above the mean of the blocks' scale, and has lost the other rows."""
    X = rng.standard_normal((2_000, 10))
    X[0] = 0.0
    weights = np.ones(len(X))
    weights[0] = 1e9
    objective = Objective(
        loss=SumToZero(Multinomial(4)),
        design=design_of(np.hstack([X, X])),
        y=rng.integers(0, 4, len(X)),
        weights=weights,
        penalty=np.append(np.full(20, 1e-6), 0.0),
        theta=0.1 * rng.standard_normal((3, 21)),
    )
    b = objective.gradient()[:, None]
    found = CG(preconditioner=name, rtol=1e-9).factor(objective).solution(b)
    assert found.residual[0] < 1e-7


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_zeros_leave_the_penalty(name):
    objective = Objective(
        loss=LOSS["binary"],
        design=design_of(np.zeros((20, 3)), 0.0),
        y=np.arange(20) % 2,
        weights=np.ones(20),
        penalty=np.full(3, 2.0),
        theta=np.zeros((1, 3)),
    )
    found = CG(preconditioner=name).factor(objective).solution(np.ones((3, 1)))
    np.testing.assert_allclose(found.X, 0.5, rtol=1e-12)


@pytest.mark.parametrize("intercept", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("m", [1, 2, 40])
@pytest.mark.parametrize("d", [70, 210])
def test_products_are_those_of_the_dense_hessian(intercept, m, d, rng, monkeypatch):
    """Few and many columns and vectors, which BLAS gets in other orders; blocks that cut the rows."""
    n = 2003
    objective = Objective(
        loss=LOSS["softmax"],
        design=design_of(rng.standard_normal((n, d)), intercept),
        y=rng.integers(0, 5, n),
        weights=rng.uniform(0.0, 1.0, n),
        penalty=rng.uniform(0.1, 1.0, d + (intercept > 0)),
        theta=0.1 * rng.standard_normal((4, d + (intercept > 0))),
    )
    V = rng.standard_normal((objective.n_parameters, m))
    monkeypatch.setattr(curvature, "CACHE_BYTES", 2**18)
    found = Curvature(objective).product(V)
    H = Curvature(objective).dense()
    assert relative_error(found, H @ V) < 1e-12
    assert relative_error(Curvature(objective).product(V, np.float32), found) < 1e-5


def test_softmax_products_without_a_matrix_keep_their_digits(rng):
    """Also where one class has nearly all the probability: 1 - p would cancel."""
    loss = SumToZero(Multinomial(4))
    eta = rng.standard_normal((30, 3)) * np.geomspace(0.1, 40, 30)[:, None]
    V = rng.standard_normal((30, 2, 3))
    expected = V @ loss.hessian(eta, np.zeros(30, dtype=int))
    size = np.abs(expected).max(axis=(1, 2))
    error = np.abs(loss.hessian_product(loss.hessian_state(eta), V) - expected).max(axis=(1, 2))
    assert (error < 1e-12 * size).all()


def test_influence_takes_a_preconditioned_solver():
    rng = np.random.default_rng(1)
    X = StandardScaler().fit_transform(rng.standard_normal((600, 8)) @ rng.standard_normal((8, 8)))
    y = np.digitize(X[:, 0] + rng.standard_normal(600), [-0.5, 0.5])
    model = LogisticRegression(C=0.5, tol=1e-10, max_iter=500).fit(X, y)
    exact = Influence(model, X, y).influence_up_loss(X[:20], y[:20])
    for solver in (CG(preconditioner="blocks"), CG(precision="mixed")):
        inf = Influence(model, X, y, solver=solver)
        np.testing.assert_allclose(
            inf.influence_up_loss(X[:20], y[:20]), exact, rtol=1e-6, atol=1e-8
        )


@pytest.mark.parametrize("name", ["diagonal", "blocks"])
def test_right_hand_sides_that_depend_on_each_other_are_solved(name, rng):
    """Repeated, opposite, zero and hardly different ones, and more of them than parameters."""
    objective = wide_spread("binary", n=300)
    p = objective.n_parameters
    some = rng.standard_normal((p, 3))
    B = np.column_stack([
        some, -2.0 * some, some[:, [0]] * 1e-9, np.zeros(p), some + 1e-11 * rng.standard_normal((p, 3)),
        some @ rng.standard_normal((3, 4)), rng.standard_normal((p, 40)),
    ])  # fmt: skip
    found = CG(preconditioner=name).factor(objective).solution(B)
    assert found.converged.all()
    assert relative_error(found.X, Exact("primal").factor(objective).solve(B)) < 1e-7
    assert (found.X[:, 7] == 0.0).all()


def test_many_right_hand_sides_take_fewer_iterations_than_one(rng):
    objective = wide_spread()
    B = rng.standard_normal((objective.n_parameters, 16))
    factor = CG(preconditioner="diagonal").factor(objective)
    alone = max(factor.solution(b[:, None]).iterations[0] for b in B.T)
    assert factor.solution(B).iterations.max() < 0.5 * alone


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_right_hand_side_that_is_not_known_leaves_the_others_their_solutions(solver, rng):
    """A row whose leverage is lost has a step of NaN; the Hessian is not to blame."""
    objective = make()
    factor = SOLVERS[solver].factor(objective)
    B = rng.standard_normal((objective.n_parameters, 4))
    B[1, 2], known = np.nan, [0, 1, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = factor.solve(B)
        assert np.isnan(factor.solve(B[:, [2]])).any()
    assert np.isnan(found[:, 2]).any()
    expected = np.linalg.solve(Curvature(objective).dense(), B[:, known])
    assert relative_error(found[:, known], expected) < 1e-8
