"""Rows that move what missing cells are filled with, without a look at the rows that move: against solved edits."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.design import design_of
from skinfluence.smooth.batches.filled_cells import FilledCells
from skinfluence.smooth.chords import filled_rows
from skinfluence.smooth.one_step.fills import Fills
from skinfluence.smooth.one_step.steps import removals
from skinfluence.smooth.pairs.step_sums import own_values_along
from skinfluence.smooth.stages.row_solver import RowSolver
from tests.smooth.test_own_values import LOSSES
from tests.smooth.test_single_chords import HOLDS, hessian, setting, solved

COLUMNS = np.array([1, 4])


def filled_edits(objective, size, rng, rows=None):
    """Removals that move the missing cells of two columns, but none of their own, and some penalties."""
    n, d = objective.n_samples, objective.design.n_columns
    rows = np.flatnonzero(objective.weights > 0) if rows is None else rows
    holes = rng.random((n, 2)) < 0.3
    by = size * rng.standard_normal((len(rows), 2)) * ~holes[rows]
    ratio = rng.uniform(1.0 - size, 1.0 + size, (len(rows), d))
    ratio[:, objective.penalty == 0] = 1.0
    edits = removals(objective, rows)
    return replace(edits, ratio=ratio, fills=Fills(COLUMNS, by, holes, None))


def true_step(objective, edits, i):
    """Of the parameters, where rows have moved."""
    X = objective.design.dense_rows()[:, :-1].copy()
    X[:, COLUMNS] += edits.fills.holes * edits.fills.by[i]
    moved = replace(objective, design=design_of(X, objective.design.intercept))
    return solved(moved, edits.rows[i], edits.y[i], 0.0, edits.ratio[i])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("size", [1e-3, 0.05])
@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize("guess", [False, True])
def test_no_own_value_is_farther_from_the_solved_one_than_its_bound(
    name, hold, size, tall, guess, monkeypatch
):
    if not guess:
        monkeypatch.setattr(filled_rows._Cells, "are_few", lambda *args: False)
    objective, solver = setting(name, 2, hold, n=150)
    edits = filled_edits(objective, size, np.random.default_rng(0))
    if objective.hold == "lambda":
        assert np.ndim(edits.one_shift) == 0
    at = solver.start.whitened(edits)
    own = at.edits(edits)
    found = own_values_along(own, at.tall if tall else None)
    assert np.isfinite(found.bound).mean() > 0.5
    for i in np.flatnonzero(np.isfinite(found.bound))[::8]:
        true = objective.design.dense_rows()[edits.rows[i]] @ true_step(objective, edits, i)
        assert abs(found.change[i] - true) <= found.bound[i] + 1e-9 * abs(true)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_left_of_a_change_falls_with_what_a_row_does(name):
    left = []
    for n in (200, 800):
        objective, solver = setting(name, 0, n=n)
        rows = np.flatnonzero(objective.weights > 0)[::5]
        own = solver.start.whitened(removals(objective, rows[:3]))
        own = own.edits(filled_edits(objective, 1.0 / n, np.random.default_rng(0), rows))
        own_values_along(own)
        left.append(np.median(own.beyond / own.size))
    assert left[0] < 4e-3
    assert left[1] < 0.3 * left[0]


def apart(objective, solver, size):
    """How far optima are from those with a constant in the gradient, over what bounds that, of some edits."""
    edits = filled_edits(objective, size, np.random.default_rng(1))
    own = solver.start.whitened(edits).edits(edits)
    own_values_along(own)
    known = np.isfinite(own.beyond)
    assert known.mean() > 0.8
    known = np.flatnonzero(known & own._by.any(axis=1))
    nothing = np.zeros_like(own.a)
    never = lambda now, which: np.zeros(len(which), dtype=bool)
    optima = own.at.whole(own.at.newton.solve(own, nothing, never).steps)
    out = []
    for i in known[::6]:
        P = hessian(objective, own, i, objective.theta[0], edits.ratio[i])
        off = optima[i] - true_step(objective, edits, i)
        out.append(np.sqrt(off @ P @ off) * (1.0 - own.spread[i]) / own.beyond[i])
    return np.array(out)


@pytest.mark.parametrize("name", LOSSES)
def test_no_optimum_is_farther_from_that_with_a_constant_than_is_said(name):
    objective, solver = setting(name, 3, n=120, penalty=0.3)
    assert apart(objective, solver, 0.02).max() < 1.0


@pytest.mark.parametrize("forgotten", ["at the fit", "where the step is"])
def test_each_part_of_the_constant_is_needed(forgotten, monkeypatch):
    """What moved cells add to the gradient: what is said of the rest would be too little."""
    objective, solver = setting("poisson", 3, n=120, penalty=0.3)
    if forgotten == "at the fit":
        original = filled_rows._Cells.__init__

        def without(cells, *args):
            original(cells, *args)
            cells.first_order = 0.0 * cells.first_order

        monkeypatch.setattr(filled_rows._Cells, "__init__", without)
    else:
        monkeypatch.setattr(filled_rows._Cells, "second_order", lambda *args: 0.0)
    assert apart(objective, solver, 0.005).max() > 1.0


@pytest.fixture
def passed(monkeypatch):
    """How many edits each pass over the rows with missing cells is of."""
    found, original = [], FilledCells.moved_rows
    monkeypatch.setattr(
        FilledCells,
        "moved_rows",
        lambda batch, active, steps: found.append(len(active)) or original(batch, active, steps),
    )
    return found


def test_rows_behind_an_imputer_need_no_pass_over_the_rows_with_missing_cells(passed):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 5)) * 10.0 ** np.arange(5)
    y = (StandardScaler().fit_transform(X).sum(axis=1) + rng.logistic(size=2000) > 0) * 1
    X[rng.random(X.shape) < 0.1] = np.nan
    steps = SimpleImputer(strategy="mean", add_indicator=True), StandardScaler()
    model = make_pipeline(*steps, LogisticRegression(tol=1e-10, max_iter=1000)).fit(X, y)
    found = Influence(model, X, y).loo_decision_function()
    assert sum(passed) < 0.02 * len(y)
    before = model.decision_function(X)
    for i in (0, 17, 400):
        kept = np.arange(len(y)) != i
        again = LogisticRegression(solver="newton-cholesky", tol=1e-12)
        true = make_pipeline(*steps, again).fit(X[kept], y[kept]).decision_function(X[[i]])[0]
        assert abs(found[i] - true) <= 1e-3 * abs(true - before[i]) + 1e-7


@pytest.mark.parametrize("name", ["logistic", "poisson"])
@pytest.mark.parametrize("hold", HOLDS)
def test_no_step_is_farther_from_the_solved_one_than_its_bound(name, hold):
    objective, solver = setting(name, 2, hold, n=400)
    rows = np.flatnonzero(objective.weights > 0)[::4]
    edits = filled_edits(objective, 2e-3, np.random.default_rng(0), rows)
    ((_, found),) = solver.rows.solve(edits, 1e-3)
    assert found.within(1e-3).all()
    own = solver.start.whitened(edits).edits(edits)
    for i in range(0, len(own), 9):
        P = hessian(objective, own, i, objective.theta[0], edits.ratio[i])
        off = found.steps[i, 0] - true_step(objective, edits, i)
        assert np.sqrt(off @ P @ off) <= 1.01 * found.bound[i]


def test_steps_behind_an_imputer_need_no_pass_over_the_rows_with_missing_cells(passed):
    objective, solver = setting("logistic", 2, n=400)
    rows = np.flatnonzero(objective.weights > 0)
    edits = filled_edits(objective, 1e-3, np.random.default_rng(0), rows)
    ((_, found),) = solver.rows.solve(edits, 1e-3)
    assert found.within(1e-3).all()
    assert sum(passed) < 0.1 * len(rows)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(
    "model", [Ridge(alpha=3.0), Ridge(alpha=3.0, fit_intercept=False)], ids=repr
)
def test_of_squared_errors_one_step_is_all(holes, model, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_t(3, (300, 5)) * 10.0 ** np.arange(5)
    y = StandardScaler().fit_transform(X).sum(axis=1) + rng.standard_normal(300)
    steps = [StandardScaler(with_mean=model.fit_intercept)]
    if holes:
        X[rng.random(X.shape) < 0.1] = np.nan
        steps.insert(0, SimpleImputer(strategy="mean"))
    whole = make_pipeline(*steps, model).fit(X, y)
    solved_rows, original = [], RowSolver.solve
    monkeypatch.setattr(
        RowSolver,
        "solve",
        lambda solver, edits, tol: (
            solved_rows.append(len(edits.rows)) or original(solver, edits, tol)
        ),
    )
    found = Influence(whole, X, y).loo_predict()
    assert sum(solved_rows) < 0.1 * len(y)
    before = whole.predict(X)
    for i in range(0, 300, 23):
        kept = np.arange(len(y)) != i
        true = make_pipeline(*steps, model).fit(X[kept], y[kept]).predict(X[[i]])[0]
        assert abs(found[i] - true) <= 1e-3 * abs(true - before[i]) + 1e-9
