"""Fits so far out that their rows no longer curve: the way to the optimum begins elsewhere."""

import warnings

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import expit
from sklearn.linear_model import PoissonRegressor, SGDClassifier

from skinfluence import Influence, edits, losses
from skinfluence.design import design_of
from skinfluence.objective import Objective
from skinfluence.smooth.one_step import point_steps, steps
from skinfluence.smooth.optimum import newton
from skinfluence.smooth.optimum.batch_newton import _OwnFactors
from skinfluence.solvers import Exact, SingularHessianError
from skinfluence.solvers.cg import CGFactor
from skinfluence.svm import LinearSVC


def refit(X, y, alpha, loss, weights):
    """Parameters that minimise the mean loss and ``alpha / 2 |coef|^2``, intercept last."""
    signs = 2.0 * y - 1.0

    def value(theta):
        margin = signs * (X @ theta[:-1] + theta[-1])
        short = np.maximum(0.0, 1.0 - margin)
        terms, slopes = {
            "log_loss": (np.logaddexp(0, -margin), -1 / (1 + np.exp(margin))),
            "squared_hinge": (short**2, -2 * short),
        }[loss]
        pull = weights * slopes * signs
        ridge = alpha * weights.sum() * theta[:-1]
        slope = np.append(X.T @ pull + ridge, pull.sum())
        return weights @ terms + 0.5 * ridge @ theta[:-1], slope

    options = {"gtol": 1e-10, "maxiter": 2000}
    return minimize(value, np.zeros(X.shape[1] + 1), jac=True, options=options).x


def far_fit(loss, X, y):
    """All rows are on their side by thousands of margins: nothing curves but the penalty."""
    model = SGDClassifier(loss, alpha=0.1, max_iter=5, tol=None, random_state=0).fit(X, y)
    model.coef_, model.intercept_ = np.zeros((1, 3)), np.zeros(1)
    model.coef_[0, 1] = 1e5
    return model


@pytest.mark.parametrize("solver", ["exact", "cg"])
@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
def test_a_saturated_fit_is_polished_to_the_optimum_of_true_refits(loss, solver, rng):
    X = rng.standard_normal((20, 3))
    X[:, 1] += np.sign(X[:, 1])
    y = (X[:, 1] > 0).astype(int)
    inf = Influence(far_fit(loss, X, y), X, y, polish=True, solver=solver)
    before, after = (refit(X, y, 0.1, loss, w) for w in (np.ones(20), 1.0 - np.eye(20)[3]))
    found = inf.effect(edits.remove(3), X, of="decision_function", method="exact").values
    change = after - before
    np.testing.assert_allclose(found, X @ change[:-1] + change[-1], atol=1e-6)


def test_newtons_method_that_meets_a_singular_hessian_begins_again_at_zero(rng):
    X = rng.standard_normal((30, 3))
    y = (X[:, 0] + rng.standard_normal(30) > 0).astype(int)
    far = Objective(
        loss=losses.Binomial(),
        design=design_of(X),
        y=y,
        weights=np.ones(30),
        penalty=np.r_[np.full(3, 0.1 * 30), 0.0],
        theta=np.array([[1e5, 0.0, 0.0, 1e7]]),
    )
    found = newton.minimise(far, Exact("primal")).objective
    truth = refit(X, y, 0.1, "log_loss", np.ones(30))
    np.testing.assert_allclose(found.theta[0], truth, atol=1e-7)


def test_a_step_whose_length_overflows_has_no_finite_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert point_steps.norm(np.full(3, 1e200), np.full(3, 1e200)) == np.inf
        assert point_steps.norm(np.array([1e200, -1e200]), np.full(2, 1e200)) == np.inf
        assert point_steps.norm(np.zeros(2), np.zeros(2)) == 0.0


def test_a_step_beyond_all_squares_is_reported_without_a_bare_warning(rng):
    """Rows so saturated that the intercept curves by e^-600."""
    X, y = rng.standard_normal((20, 3)), np.arange(20) % 2
    penalty, start = np.r_[np.ones(3), 0.0], np.array([[0.0, 0.0, 0.0, 600.0]])
    far = Objective(losses.Binomial(), design_of(X), y, np.ones(20), penalty, start)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = Exact("primal").factor(far).report()
    # The gradient of the intercept is 10, its curvature 20 e^-600.
    assert report.newton_decrement == pytest.approx(np.sqrt(100 / 20) * np.exp(300.0), rel=1e-3)


def test_a_loss_that_overflows_after_a_step_is_infinite_without_a_bare_warning(rng):
    """A test point on which the model says one, and hardly any other model does."""
    X, y = rng.standard_normal((20, 2)), rng.poisson(2.0, 20)
    model = PoissonRegressor(alpha=0.1, fit_intercept=False).fit(X, y)
    x = 1e6 * np.array([[-model.coef_[1], model.coef_[0]]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Influence(model, X, y).removal_effect(x, [1.0], method="one-step")
    assert np.isposinf(found).any()
    assert not np.isnan(found).any()


class Counted:
    """A solver that counts its factorisations."""

    def __init__(self):
        self.made = 0

    def factor(self, objective):
        self.made += 1
        return Exact("primal").factor(objective)


def test_newtons_method_begins_at_zero_where_a_fit_diverged(rng):
    """From there its steps would be halved thirty times each, and end nowhere."""
    X = np.round(3 * rng.standard_normal((40, 4))) * [1e-3, 1.0, 1e3, 1e5]
    y = (X[:, 0] > 0).astype(int)
    start = np.array([[1e6, -1e7, 1e5, -1e5]])
    far = Objective(losses.Binomial(), design_of(X, 0.0), y, np.ones(40), np.full(4, 0.3), start)
    solver = Counted()
    found = newton.minimise(far, solver).objective
    assert solver.made < 20
    slope = X.T @ (1 / (1 + np.exp(-X @ found.theta[0])) - y) + 0.3 * found.theta[0]
    np.testing.assert_allclose(slope / (1.0 + np.abs(X).sum(axis=0)), 0.0, atol=1e-12)


class LostAtZero:
    """What is left of a weak penalty where all rows curve: nothing."""

    def factor(self, objective):
        if not objective.theta.any():
            raise SingularHessianError("the penalty is lost beside the rows")
        return Exact("primal").factor(objective)


def test_a_start_worse_than_zero_leads_on_where_zero_has_no_factor(rng):
    """Either place may have a Hessian without digits, and the other one lead to the optimum."""
    X = rng.standard_normal((30, 3))
    y = (X[:, 0] + rng.standard_normal(30) > 0).astype(int)
    fit = Objective(
        losses.Binomial(), design_of(X, 0.0), y, np.ones(30), np.ones(3), np.zeros((1, 3))
    )
    best = newton.minimise(fit, Exact("primal")).objective
    start = best.at(best.theta + [[2.0, 2.0, 2.0]])
    assert start.value() > fit.value()
    found = newton.minimise(start, LostAtZero()).objective
    np.testing.assert_allclose(found.theta, best.theta, rtol=1e-10)


@pytest.mark.parametrize("side", [-25.0, 0.0], ids=["from the other side", "from zero"])
@pytest.mark.parametrize("solver", [Exact("primal"), Exact("dual")], ids=["primal", "dual"])
def test_rows_that_go_from_one_side_to_the_other_are_followed_down_the_penalties(solver, side):
    """On the way they curve by 1e20 times the penalty, which is lost beside them; at the end by 30."""
    direction, along = 1e7 * np.array([1.0, 2.0, -1.0]), np.array([1.0, -0.5])
    weights, y, penalty = np.full(2, 2e4), np.array([1, 0]), 1e-2
    size = direction @ direction
    start = side * direction[None] / size
    rows = design_of(np.outer(along, direction), 0.0)
    fit = Objective(losses.Binomial(), rows, y, weights, np.full(3, penalty), start)
    with pytest.raises(SingularHessianError):
        solver.factor(fit.at(np.zeros((1, 3))))
    found = newton.minimise(fit, solver).objective
    # All decision values are multiples of one number: its slope is a function of it alone.
    true = brentq(
        lambda t: (weights * (expit(along * t) - y)) @ along + penalty * t / size,
        0,
        100,
        xtol=1e-14,
    )
    np.testing.assert_allclose(found.theta[0] @ direction, true, rtol=1e-9)


def test_an_iterate_that_went_astray_has_no_bound_and_the_others_have_theirs(rng):
    """Far beyond the root of the largest number: without a bare warning."""
    X = rng.standard_normal((40, 3))
    y = (X[:, 0] + rng.standard_normal(40) > 0).astype(int)
    fit = Objective(
        losses.Binomial(), design_of(X, 0.0), y, np.ones(40), np.ones(3), np.zeros((1, 3))
    )
    batch = _OwnFactors(fit, steps.removals(fit, np.arange(3)))
    batch.run(np.zeros((3, 1, 3)), np.full(3, 1e-11), np.full(3, 1e-6))
    batch.theta[1] = 1e163
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = batch.result(np.ones((3, 40)))
    assert found.noise[1] == found.size[1] == np.inf
    assert (found.noise[[0, 2]] < 1e-12).all()


def test_edits_of_few_columns_are_not_solved_by_iterations_within_iterations(rng, monkeypatch):
    """A steep smooth hinge by conjugate gradients: the Hessian of each edit is factored."""
    X, y = rng.standard_normal((9, 12)), np.arange(9) % 2
    model = LinearSVC(loss="smooth_hinge", temperature=0.02, C=2.0, tol=1e-10).fit(X, y)
    solved, asked = CGFactor._solve, []
    monkeypatch.setattr(CGFactor, "_solve", lambda self, B: asked.append(1) or solved(self, B))
    of = dict(of="decision_function", method="exact")
    found = Influence(model, X, y, solver="cg").relabel_effect(X, **of)
    assert len(asked) < 60
    truth = Influence(model, X, y, solver=Exact("primal")).relabel_effect(X, **of)
    np.testing.assert_allclose(found, truth, atol=1e-6 * np.abs(truth).max())
