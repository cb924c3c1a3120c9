"""``method="exact"`` and ``"auto"`` against true refits; every row of data reaches every C."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    TweedieRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits, losses
from skinfluence.curvature import Curvature
from skinfluence.design import design_of
from skinfluence.edits.points import Points
from skinfluence.model_selection import leave_one_group_out
from skinfluence.objective import Objective
from skinfluence.smooth.batches.row_batch import RowBatch
from skinfluence.smooth.one_step.steps import removals, row_edits
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.accuracy import Accuracy
from skinfluence.smooth.optimum.batch_newton import refit as refit_together
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.smooth.stages.solved import ROUND_OFF
from skinfluence.solvers import Exact
from tests.truth import polish, refit, relative_error, relative_l2

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def breast_cancer(n=150):
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return X[:n], np.where(y[:n] == 1, "benign", "malign")


def digits(classes, n):
    X, y = load_digits(return_X_y=True)
    kept = np.isin(y, classes)
    return X[kept][:n] / 16.0, y[kept][:n]


DATA = {
    "breast cancer": breast_cancer,
    "digits 3v8": lambda: digits([3, 8], 120),
    "digits": lambda: digits(range(6), 120),
}


def fitted(name, C, weighted, tight=True):
    """A model and its data."""
    X, y = DATA[name]()
    weight = np.random.default_rng(0).uniform(0.3, 2.5, len(y)) if weighted else None
    options = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000} if tight else {}
    model = LogisticRegression(C=C, class_weight="balanced" if weighted else None, **options)
    return model.fit(X, y, sample_weight=weight), X, y, weight


def edits_of(X, y, weight, rng):
    """Edits with the data they lead to: (edit, X, y, sample weights)."""
    n = len(y)
    s = np.ones(n) if weight is None else weight
    classes = np.unique(y)
    other = lambda i: classes[(np.searchsorted(classes, y[i]) + 1) % len(classes)]
    for size in (1, max(2, n // 100), n // 10, n // 4):
        rows = rng.choice(n, size, replace=False)
        kept = np.setdiff1d(np.arange(n), rows)
        yield edits.remove(rows), X[kept], y[kept], s[kept]
    i, j, k = rng.choice(n, 3, replace=False)
    relabelled = y.copy()
    relabelled[[i, j]] = other(i), other(j)
    yield edits.relabel([i, j], relabelled[[i, j]]), X, relabelled, s
    moved = X.copy()
    moved[k] += rng.standard_normal(X.shape[1])
    yield edits.replace(k, moved[k]), moved, y, s
    new = X[i] + 0.5 * rng.standard_normal(X.shape[1])
    yield (
        edits.add(new, other(i), sample_weight=1.5) + edits.reweight(j, 0.25),
        np.vstack([X, new]),
        np.append(y, other(i)),
        np.append(np.where(np.arange(n) == j, 0.25, s), 1.5),
    )


def decision_values(objective, X):
    eta = objective.loss.expand(objective.design.like(X).multiply(objective.theta.T))
    return eta[:, 0] if eta.shape[1] == 1 else eta


@pytest.mark.parametrize("hold", ["C", "lambda"])
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("name", DATA)
def test_exact_equals_refits(name, C, hold):
    """Decision values on the training rows and on new ones, to 1e-6 of the largest change."""
    weighted = C == 1.0
    model, X, y, weight = fitted(name, C, weighted)
    inf = Influence(model, X, y, weight, hold=hold)
    # Balanced weights move with the edit, and sum to what the samples weigh.
    total = (len(y) if weight is None else weight.sum()) if hold == "lambda" else None
    rng = np.random.default_rng(1)
    test = np.vstack([X[:30], X[:10] + rng.standard_normal((10, X.shape[1]))])
    before = decision_values(polish(inf.objective), test)
    for edit, new_X, new_y, new_s in edits_of(X, y, weight, rng):
        after = refit(model, new_X, new_y, new_s, total=total)
        expected = decision_values(after, test) - before
        found = inf.effect(edit, test, of="decision_function", method="exact").values
        # What float64 leaves of the decision values themselves is no error of their change.
        floor = 1e-12 * np.abs(before).max()
        assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max() + floor
        close = inf.effect(edit, test, of="decision_function")
        assert np.linalg.norm(close.values - expected) < 0.01 * np.linalg.norm(expected) + floor


def losses_of(objective, X, y):
    return objective.loss.value(objective.design.like(X).multiply(objective.theta.T), y)


@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("name", ["breast cancer", "digits 3v8"])
def test_every_removal(name, C):
    """``exact`` is the refits; ``auto`` ranks all rows as ``exact`` does."""
    model, X, y, _ = fitted(name, C, weighted=False)
    inf = Influence(model, X, y)
    exact = inf.removal_effect(X[:40], y[:40], method="exact")
    auto = inf.removal_effect(X[:40], y[:40])
    base = polish(inf.objective)
    start = losses_of(base, X[:40], base.y[:40])
    largest = np.argsort(-np.abs(exact).max(axis=0))[:4]
    for i in [0, 7, *largest]:
        kept = np.delete(np.arange(len(y)), i)
        after = refit(model, X[kept], y[kept], np.ones(len(kept)))
        expected = losses_of(after, X[:40], base.y[:40]) - start
        floor = 1e-12 * np.abs(start).max()
        assert np.abs(exact[:, i] - expected).max() < 1e-6 * np.abs(expected).max() + floor
    assert spearmanr(auto.ravel(), exact.ravel()).statistic >= 0.999
    assert relative_l2(auto, exact) <= 0.01


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_a_fit_stopped_early_gives_the_answers_of_a_tight_one(name, method):
    """Both start from the optimum, which they look for themselves."""
    tight, X, y, _ = fitted(name, 1.0, weighted=False)
    early = LogisticRegression().fit(X, y)
    assert np.abs(early.coef_ - tight.coef_).max() > 1e-7
    rows = np.arange(0, len(y), 10)
    ask = {"of": "decision_function", "method": method, "indices": rows}
    found = Influence(early, X, y).removal_effect(X[:20], **ask)
    assert relative_error(found, Influence(tight, X, y).removal_effect(X[:20], **ask)) < 1e-8


# Mean forms --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (PoissonRegressor(), losses.Poisson()),
        (GammaRegressor(), losses.Gamma()),
        (TweedieRegressor(power=1.5, link="log"), losses.Tweedie(1.5)),
    ],
    ids=["Poisson", "Gamma", "Tweedie"],
)
def test_mean_form_removals_equal_refits_on_the_rest(model, loss, weighted, solver):
    """scikit-learn divides by the weights, so removing a row also takes its share of alpha."""
    rng = np.random.default_rng(4)
    n, d, alpha = 40, 5, 0.05
    X = rng.standard_normal((n, d))
    y = rng.gamma(2.0, np.exp(0.4 * X[:, 0]))
    if isinstance(loss, losses.Poisson):
        y = rng.poisson(np.exp(0.5 * X[:, 0])).astype(float)
    s = rng.uniform(0.3, 2.5, n) if weighted else np.ones(n)
    model.set_params(alpha=alpha, solver="newton-cholesky", tol=1e-12, max_iter=1000)

    def parameters(rows):
        model.fit(X[rows], y[rows], sample_weight=s[rows])
        return np.append(model.coef_, model.intercept_)

    everyone = np.arange(n)
    theta = parameters(everyone)
    penalty = np.append(np.full(d, alpha * s.sum()), 0.0)
    fit = Objective(
        loss, design_of(X), y, s, penalty, theta[None], hold="lambda", natural_hold="lambda"
    )
    fit = polish(fit)
    factor = Exact(solver).factor(fit)
    edit_solver = EditSolver(factor, Exact(solver))
    (part,) = (p for _, p in edit_solver.rows.solve(removals(fit, everyone), ROUND_OFF))
    for i in range(0, n, 3):
        expected = parameters(np.delete(everyone, i)) - theta
        assert relative_error(part.steps[i, 0], expected) < 1e-6
        points = Points(np.array([i]), -s[[i]], None, None, np.empty(0))
        step = edit_solver.points.solve(points, ROUND_OFF)[0]
        assert relative_error(step[0], expected) < 1e-6


# Losses without a constant -----------------------------------------------------------------------


def _pseudo_huber(eta, y):
    import autograd.numpy as anp

    return anp.sqrt(1.0 + (eta[..., 0] - y) ** 2) - 1.0


@pytest.mark.parametrize("loss", [losses.SquaredHinge(), losses.AutogradLoss(_pseudo_huber)])
def test_losses_without_a_constant_are_solved_and_say_so(loss):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((40, 3))
    y = np.sign(X[:, 0] + rng.standard_normal(40))
    objective = Objective(loss, design_of(X), y, np.ones(40), np.full(4, 0.5), np.zeros((1, 4)))

    def optimum(problem):
        value = lambda t: problem.at(t).value()
        slope = lambda t: problem.at(t).gradient()
        found = minimize(value, np.zeros(4), jac=slope, method="BFGS", options={"gtol": 1e-10})
        return polish(problem.at(found.x), steps=6)

    fit = optimum(objective)
    solver = EditSolver(Exact().factor(fit), Exact())
    (part,) = (p for _, p in solver.rows.solve(removals(fit, np.arange(6)), 1e-3))
    assert (part.method_used == "newton").all()
    assert np.isinf(part.bound).all()
    for i in range(6):
        weights = np.ones(40)
        weights[i] = 0.0
        expected = optimum(
            Objective(loss, design_of(X), y, weights, np.full(4, 0.5), np.zeros((1, 4)))
        )
        truth = expected.theta - fit.theta
        # A row with no gradient changes nothing: absolute there.
        np.testing.assert_allclose(part.steps[i], truth, rtol=1e-7, atol=1e-12)
        points = Points(np.array([i]), -np.ones(1), None, None, np.empty(0))
        step, bound, _, used, _ = solver.points.solve(points, 1e-3)
        np.testing.assert_allclose(step, truth, rtol=1e-7, atol=1e-12)
        if piecewise.is_piecewise(loss):
            # Of single edits it knows how far its ends may be.
            assert bound < 1e-8
        else:
            assert bound == np.inf or not truth.any()
        assert used in ("newton", "one-step")


# Refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "exact"])
def test_edits_without_an_answer_are_refused(method):
    model, X, y, _ = fitted("breast cancer", 1.0, weighted=False)
    inf = Influence(model, X, y)
    ask = {"of": "decision_function", "method": method}
    with pytest.raises(ValueError, match="removes all the training weight"):
        inf.effect(edits.remove(np.arange(len(y))), X[:2], **ask)
    with pytest.raises(ValueError, match="Every class must keep weight"):
        inf.effect(edits.remove(np.flatnonzero(y == "malign")), X[:2], **ask)
    with pytest.raises(ValueError, match="finite and non-negative"):
        inf.effect(edits.reweight(3, -0.5), X[:2], **ask)
    with pytest.raises(ValueError, match="named twice"):
        inf.effect(edits.remove(3) + edits.remove(3), X[:2], **ask)


@pytest.mark.parametrize("method", ["auto", "exact"])
def test_an_edit_that_makes_classes_separable_is_refused_without_penalty(method):
    """One overlapping row keeps the optimum finite."""
    x = np.append(np.r_[np.linspace(-2, -0.2, 10), np.linspace(0.1, 2, 10)], 0.3)[:, None]
    y = np.append(np.repeat([0, 1], 10), 0)
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(x, y)
    inf = Influence(model, x, y)
    with pytest.raises(ValueError, match="must not separate"):
        inf.effect(edits.remove(20), x[:3], y[:3], method=method)
    # In a batch the others keep their answers, and a warning names those that have none.
    with pytest.warns(ConvergenceWarning, match=r"Rows .*20 have no answer"):
        assert np.isfinite(inf.removal_effect(x[:3], y[:3], method=method)[:, :10]).all()


@pytest.mark.parametrize("apart", [[2], [2, 3]])
def test_classes_that_are_separated_from_others_have_no_optimum_without_penalty(apart):
    """Though those among themselves overlap: one row of the others keeps the optimum finite."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(2 + len(apart)), 12)
    X = rng.standard_normal((len(y), 2))
    far = np.isin(y, apart)
    X[:, 1] = np.where(far, 1.0, -1.0) * (0.3 + np.abs(X[:, 1]))
    X, y = np.vstack([X, [0.0, 2.0], [0.0, -2.0]]), np.append(y, [0, 2])
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(X, y)
    inf, edge = Influence(model, X, y), [len(y) - 2, len(y) - 1]
    with pytest.raises(ValueError, match="must not separate"):
        inf.effect(edits.remove(edge), X[:3], of="decision_function")
    with pytest.raises(ValueError, match="must not separate"):
        inf.after(edits.remove(edge))
    pipeline = make_pipeline(StandardScaler(), clone(model)).fit(X, y)
    groups = np.r_[np.arange(len(y) - 2) % 3, 3, 3]
    with pytest.warns(UserWarning, match=r"no (model|answer)"):
        out = leave_one_group_out(pipeline, X, y, groups, response_method="decision_function")
    assert np.isnan(out[edge]).all()


# Many problems at once ---------------------------------------------------------------------------


def _binary(rng, X):
    y = (X[:, 0] + rng.standard_normal(len(X)) > 0).astype(int)
    return losses.Binomial(), y, 1 - y


def _softmax(rng, X):
    y = (X[:, :3] + rng.standard_normal((len(X), 3))).argmax(axis=1)
    return losses.SumToZero(losses.Multinomial(3)), y, (y + 1) % 3


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("far", [0.0, 10.0], ids=["near", "far"])
@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("kind", [_binary, _softmax])
def test_newton_on_many_problems_is_newton_on_each(sparse, far, form, kind):
    """With factors of their own or one shared; from zero steps, and steps that overshoot."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 4)) * (rng.random((60, 4)) < 0.7)
    loss, y, other = kind(rng, X)
    design = design_of(sp.csr_array(X) if sparse else X)
    s = rng.uniform(0.3, 2.0, 60)
    s[7] = 0.0
    start = np.zeros((loss.n_outputs, 5))
    fit = Objective(loss, design, y, s, np.array([0.05] * 4 + [0.0]), start)
    fit = minimise(fit, Exact("primal")).objective
    factor = Exact(form).factor(fit)
    rows = np.arange(20)
    changes = row_edits(fit, rows, other[rows], s[rows] + 0.5)
    block = RowBatch(Accuracy(factor), changes)
    block.use(rows)
    starts = far * rng.standard_normal(block.theta_steps.shape)
    found = refit_together(
        factor, changes, starts, block.size, 1e-11, block.sizes, block.edited_solve
    )
    ((_, found),) = found
    for i in rows:
        weights, targets = fit.weights.copy(), fit.y.copy()
        weights[i], targets[i] = changes.weight[i], changes.y[i]
        alone = minimise(replace(fit, weights=weights, y=targets), Exact("primal")).objective
        step = (alone.theta - fit.theta).ravel()
        P = Curvature(replace(fit, weights=weights, y=targets))
        size = np.sqrt(step @ (P @ step))
        np.testing.assert_allclose(found.steps[i].ravel(), step, atol=1e-9 * size)
        assert found.size[i] == pytest.approx(size, rel=1e-8)
        assert found.decrement[i] < 1e-9 * size


def quadratic_cases():
    """Rows and a penalty: plain, nearly collinear, off their origin, one row with a say of its own."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 5))
    twins = X.copy()
    twins[:, 1] = twins[:, 0] + 1e-4 * rng.standard_normal(80)
    outlier = X.copy()
    outlier[7] *= 1e3
    far = X + 1e3
    powers = np.vander(np.linspace(0.0, 1.0, 80), 6, increasing=True)[:, 1:]
    return {
        "plain": (X, 1.0),
        "no penalty": (X, 0.0),
        "twins": (twins, 1e-3),
        "outlier": (outlier, 1e-3),
        "far": (far, 1.0),
        "powers": (powers, 1e-6),
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", quadratic_cases())
@pytest.mark.parametrize("method, rtol", [("exact", 1e-8), ("auto", 1e-3)])
def test_ridge_left_out_is_the_refit(name, weighted, method, rtol):
    """By one step where that is known to be enough, with the certificate where it is not."""
    X, alpha = quadratic_cases()[name]
    rng = np.random.default_rng(1)
    y = X @ rng.standard_normal(5) + rng.standard_normal(80)
    w = rng.uniform(0.5, 2.0, 80) if weighted else np.ones(80)
    model = Ridge(alpha=alpha, solver="svd").fit(X, y, sample_weight=w)
    found = Influence(model, X, y, sample_weight=w).loo_predict(method=method)
    fitted, kept = model.predict(X), ~np.eye(80, dtype=bool)
    truth = np.array(
        [
            Ridge(alpha=alpha, solver="svd").fit(X[one], y[one], w[one]).predict(X[[i]])[0]
            for i, one in enumerate(kept)
        ]
    )
    change = truth - fitted
    assert np.linalg.norm(found - truth) <= rtol * np.linalg.norm(change)
