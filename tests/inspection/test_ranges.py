"""Displays of intervals, coefficients, values and flips show the numbers of what they are of."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import scale

import skinfluence.linear_model as ours
from skinfluence import Influence, robustness
from skinfluence.conformal import JackknifePlusRegressor
from skinfluence.inference import coefficient_table
from skinfluence.inspection import (
    CoefficientsDisplay,
    FlipDisplay,
    FoundDisplay,
    IntervalsDisplay,
    ValuesDisplay,
)
from skinfluence.values import Values

Xd, yd = load_diabetes(return_X_y=True, as_frame=True)
Xc, yc = load_breast_cancer(return_X_y=True)
Xc = scale(Xc)[:200]
yc = yc[:200]


@pytest.fixture(autouse=True)
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


# Intervals ----------------------------------------------------------------------------------------


def test_intervals_are_those_of_the_estimator_and_count_what_they_miss():
    X, y = Xd.to_numpy(), yd.to_numpy()
    model = JackknifePlusRegressor(Ridge(alpha=0.1)).fit(X[:200], y[:200])
    display = IntervalsDisplay.from_estimator(model, X[200:], y[200:], coverage=0.8)
    low, high = model.predict_interval(X[200:], coverage=0.8).T
    inside = (low <= y[200:]) & (y[200:] <= high)
    assert display.covered == inside.mean()
    order = np.argsort(model.predict(X[200:]))
    drawn = np.array([line[:, 1] for line in display.intervals_.get_segments()])
    np.testing.assert_allclose(drawn, np.column_stack([low, high])[order])
    assert len(display.missed_.get_offsets()) == (~inside).sum()
    np.testing.assert_allclose(display.points_.get_offsets()[:, 1], y[200:][order][inside[order]])
    assert "80%" in display.ax_.get_xlabel()


def test_intervals_without_targets_or_without_ends_are_drawn():
    display = IntervalsDisplay([1.0, 2.0], [-np.inf, 1.5], [np.inf, 2.5]).plot()
    assert np.isnan(display.covered)
    assert display.points_ is None
    first = display.intervals_.get_segments()[0][:, 1]
    np.testing.assert_allclose(first, display.ax_.get_ylim())
    IntervalsDisplay([1.0], [-np.inf], [np.inf]).plot()


def test_intervals_that_do_not_fit_together_or_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="one number per point"):
        IntervalsDisplay([1.0, 2.0], [0.0], [3.0, 3.0])
    with pytest.raises(TypeError, match=r"predict_interval\. Got Ridge"):
        IntervalsDisplay.from_estimator(Ridge().fit(Xd, yd), Xd)


# Coefficients -------------------------------------------------------------------------------------


def test_coefficients_are_those_of_the_table_without_the_intercept():
    table = coefficient_table(ours.LinearRegression().fit(Xd, yd), "hc3", coverage=0.9)
    display = CoefficientsDisplay.from_table(table)
    assert display.names == list(Xd.columns)
    drawn = np.array([line[:, 0] for line in display.intervals_.get_segments()])
    np.testing.assert_allclose(drawn, np.column_stack([table.lower, table.upper])[:-1])
    np.testing.assert_array_equal(display.excludes_zero, table.p_value[:-1] < 0.1)
    assert "90% intervals, hc3" in display.ax_.get_xlabel()
    assert CoefficientsDisplay.from_table(table, intercept=True).names[-1] == "intercept"


def test_penalised_coefficients_have_no_interval_and_say_so():
    with pytest.warns(UserWarning, match="penalised"):
        table = coefficient_table(ours.Ridge().fit(Xd, yd), "hc3")
    display = CoefficientsDisplay.from_table(table)
    assert not display.excludes_zero.any()
    assert "penalised, no test" in display.ax_.get_xlabel()
    drawn = np.array([line[:, 0] for line in display.intervals_.get_segments()])
    np.testing.assert_allclose(np.diff(drawn, axis=1)[:, 0], 2 * table.standard_error[:-1])
    with pytest.raises(ValueError, match="one number per name"):
        CoefficientsDisplay(["a"], [1.0, 2.0], [0.1])


# Flips --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["remove", "relabel"])
def test_the_way_to_a_flip_is_one_of_refits(by):
    """Against refits without the first rows of the set, in the order drawn; the last is the flip's own."""
    model = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(Xc[:, :5], yc)
    inf, what = Influence(model, Xc[:, :5], yc), robustness.coef(4)
    flip = robustness.smallest_flip(inf, what, by=by)
    display = FlipDisplay.from_influence(inf, what, flip, quantity="coefficient 4")
    assert len(display.path) == len(flip.rows) + 1
    np.testing.assert_allclose(
        display.path[[0, -1]], [flip.before, flip.after], rtol=1e-6, atol=1e-9
    )
    assert np.sign(display.path[-2]) == np.sign(flip.before)
    # The first row is the one of the largest effect of the set, alone.
    change = np.abs(display.linear[1] - display.linear[0])
    if by == "remove":
        alone = []
        for row in flip.rows:
            kept = np.arange(len(yc)) != row
            alone.append(clone(model).fit(Xc[kept, :5], yc[kept]).coef_[0, 4] - model.coef_[0, 4])
        assert display.path[1] - flip.before == pytest.approx(
            alone[np.argmax(np.abs(alone))], rel=1e-5
        )
        assert change == pytest.approx(np.abs(alone).max(), rel=0.5)
    assert display.ax_.get_ylabel() == "coefficient 4"


def test_a_flip_that_was_not_found_is_not_drawn():
    model = LogisticRegression(solver="newton-cholesky").fit(Xc, yc)
    inf = Influence(model, Xc, yc)
    with pytest.raises(ValueError, match=r"A flip must have been found\. Got none of up to 1 rows"):
        FlipDisplay.from_influence(inf, robustness.coef(1), max_rows=1)
    with pytest.raises(ValueError, match="one number for 0, 1"):
        FlipDisplay([1.0, 2.0], linear=[1.0])


# Values -------------------------------------------------------------------------------------------


def test_values_are_drawn_from_the_least_and_marked_rows_apart():
    found = Values(np.array([0.3, -0.2, 0.1]), np.array([0.1, 0.1, 0.0]), 10, 0.0, 0.2)
    display = ValuesDisplay.from_values(found, marked=[False, True, False])
    np.testing.assert_array_equal(display.order, [1, 2, 0])
    np.testing.assert_allclose(display.marked_.get_offsets(), [[0, -0.2]])
    np.testing.assert_allclose(display.points_.get_offsets(), [[1, 0.1], [2, 0.3]])
    errors = np.array([line[:, 1] for line in display.errors_.get_segments()])
    np.testing.assert_allclose(errors, [[-0.4, 0.0], [0.1, 0.1], [0.1, 0.5]])
    with pytest.raises(ValueError, match="one number per row"):
        ValuesDisplay([1.0], [0.1, 0.2])


def test_low_values_are_checked_first():
    found = Values(np.array([0.3, -0.2, 0.1]), np.zeros(3), 10, 0.0, 0.2)
    display = FoundDisplay.from_values(
        found, [False, True, False], others={"loss": [9.0, 1.0, 2.0]}
    )
    np.testing.assert_array_equal(display.orders["by value"], [1, 2, 0])
    np.testing.assert_array_equal(display.orders["loss"], [0, 2, 1])
    named = FoundDisplay.from_values({"shapley": found}, [False, True, False])
    assert list(named.orders) == ["shapley"]
