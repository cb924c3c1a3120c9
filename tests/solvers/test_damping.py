"""``damping`` is the ``lambda`` of ``H + lambda I``, in every solver alike, and never certified."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from skinfluence import Influence
from skinfluence.curvature import Curvature
from skinfluence.solvers import CG, Exact, LiSSA, SingularHessianError
from tests.solvers.test_solvers import dense_leverages, make
from tests.truth import relative_error

DAMPED = {
    "primal": Exact("primal", damping=3.0),
    "dual": Exact("dual", damping=3.0),
    "mixed": Exact("primal", "mixed", damping=3.0),
    "cg": CG(damping=3.0, preconditioner="diagonal"),
    "cg-blocks": CG(damping=3.0, preconditioner="blocks"),
}


@pytest.mark.parametrize("loss", ["binomial", "sum-to-zero"])
@pytest.mark.parametrize("solver", DAMPED)
def test_damping_is_what_is_added_to_the_hessian(solver, loss, rng):
    """Solves, other shifts, leverages, both meanings of an edit, and the report."""
    objective = make(loss, hold="C")
    B = rng.standard_normal((objective.n_parameters, 2))
    factor = DAMPED[solver].factor(objective)
    H = Curvature(objective, damping=3.0).dense()
    plain = Curvature(objective).dense()
    assert relative_error(H, plain + 3.0 * np.eye(len(H))) < 1e-14
    assert relative_error(factor.solve(B), np.linalg.solve(H, B)) < 1e-8
    held = objective.holding("lambda")
    shifted = H + 0.5 * np.diag(np.tile(held.unit_penalty, objective.loss.n_outputs))
    found = factor.holding("lambda").solve(B, 0.5)
    assert relative_error(found, np.linalg.solve(shifted, B)) < 1e-8
    assert factor.report().damping == 3.0
    rough = 1e-5 if solver == "mixed" else 1e-8
    expected = dense_leverages(objective, objective.design, 0.0, damping=3.0)
    assert relative_error(factor.leverages(), expected) < rough


@pytest.mark.parametrize(
    "solver", [CG(damping=1.0), Exact(damping=1.0), Exact("dual", damping=1.0)]
)
def test_damped_answers_are_never_certified(solver):
    X, y = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60) % 2
    inf = Influence(LogisticRegression().fit(X, y), X, y, solver=solver)
    assert inf.report().damping == 1.0
    assert inf.removal_effect(X[:2], y[:2], method="one-step").shape == (2, 60)
    with pytest.raises(ValueError, match=r"Hessian of the fit.*damping=1"):
        inf.removal_effect(X[:2], y[:2])


def test_damping_answers_where_the_fit_is_not_determined():
    """Only when asked for: the same question without it is refused."""
    X = np.random.default_rng(0).standard_normal((30, 3))
    X, y = np.hstack([X, X[:, :1]]), X @ np.ones(3)
    y = np.exp(0.1 * y)
    model = PoissonRegressor(alpha=0.0, tol=1e-10).fit(X, y)
    with pytest.raises(SingularHessianError):
        Influence(model, X, y)
    answers = [
        Influence(model, X, y, solver=solver).influence_up_loss(X[:2], y[:2] + 1.0)
        for solver in (Exact("primal", damping=1e-3), CG(damping=1e-3))
    ]
    assert relative_error(answers[1], answers[0]) < 1e-6


@pytest.mark.parametrize("solver", [Exact, CG, LiSSA])
@pytest.mark.parametrize("damping", [-1.0, np.nan, np.inf])
def test_damping_is_finite_and_not_negative(solver, damping):
    with pytest.raises(ValueError, match="damping must be finite and non-negative"):
        solver(damping=damping).factor(make())
