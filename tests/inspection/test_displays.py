"""Displays: the numbers they show, the artists they keep, the protocol they follow."""

import inspect
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import GammaRegressor, LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skinfluence.linear_model as ours
from skinfluence import Influence, inspection
from skinfluence.cleaning.plots import RankedLossDisplay
from skinfluence.inspection import (
    ArtifactsDisplay,
    CoefficientsDisplay,
    Display,
    FlipDisplay,
    FoundDisplay,
    GalleryDisplay,
    IntervalsDisplay,
    LeverageResidualDisplay,
    RemovalEffectDisplay,
    SourcesDisplay,
    ValuesDisplay,
)

DISPLAYS = {
    "ArtifactsDisplay": lambda: ArtifactsDisplay(
        ["cash", "noon"], [-0.3, 0.1], [-0.2, 0.2], [2.0, 1.0], [30, 12]
    ),
    "RemovalEffectDisplay": lambda: RemovalEffectDisplay([0.0, 1.0, -1.0], [0.1, 0.9, -1.2]),
    "LeverageResidualDisplay": lambda: LeverageResidualDisplay(
        [0.1, 0.2, 0.5], [1.0, -2.0, 0.5], [0.1, 0.3, 0.2], edf=2.0
    ),
    "SourcesDisplay": lambda: SourcesDisplay(
        ["a", "b"], [0.1, -0.2], [0.0, -0.3], [0.2, -0.1], n_rows=[3, 4]
    ),
    "IntervalsDisplay": lambda: IntervalsDisplay(
        [1.0, 0.0], [0.5, -np.inf], [2.0, np.inf], target=[3.0, 0.0], coverage=0.9
    ),
    "CoefficientsDisplay": lambda: CoefficientsDisplay(
        ["a", "b"], [1.0, -0.2], [0.1, 0.2], [0.8, -0.6], [1.2, 0.2], coverage=0.95, kind="hc3"
    ),
    "ValuesDisplay": lambda: ValuesDisplay([0.2, -0.1], [0.1, 0.0], marked=[False, True]),
    "FlipDisplay": lambda: FlipDisplay(
        [1.0, 0.4, -0.1], linear=[1.0, 0.6, 0.3], refit=-0.1, lower_bound=2
    ),
    "FoundDisplay": lambda: FoundDisplay(
        np.array([True, False, True, False]), {"mine": [0, 2, 1, 3]}
    ),
    "GalleryDisplay": lambda: GalleryDisplay("a b", ["b c", "d"], [0.1, -0.2]),
    "RankedLossDisplay": lambda: RankedLossDisplay(
        np.array([3.0, 1.0]), np.array(["drop", "keep"], dtype=object)
    ),
}
EVERY = pytest.mark.parametrize("name", DISPLAYS)


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.close("all")
    yield plt
    plt.close("all")


@pytest.fixture
def linear():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:120], y[:120]
    return Influence(LinearRegression().fit(X, y), X, y), X, y


def test_every_display_is_tried():
    named = [getattr(inspection, name) for name in inspection.__all__]
    listed = {one for one in named if inspect.isclass(one) and issubclass(one, Display)} - {Display}
    assert {type(make()) for make in DISPLAYS.values()} == listed | {RankedLossDisplay}


@EVERY
def test_plot_draws_on_the_axes_given_and_returns_itself(name, pyplot):
    display = DISPLAYS[name]()
    assert not hasattr(display, "ax_")
    assert display.plot() is display
    first = display.ax_
    assert display.figure_ is first.figure
    figure, ax = pyplot.subplots()
    assert display.plot(ax=ax).ax_ is ax
    assert display.figure_ is figure
    assert len(pyplot.get_fignums()) == 2
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    figure.canvas.draw()


@EVERY
def test_constructors_store_and_classmethods_draw(name, pyplot):
    cls = type(DISPLAYS[name]())
    makers = [n for n, _ in inspect.getmembers(cls, inspect.ismethod) if n.startswith("from_")]
    assert makers
    assert issubclass(cls, Display)
    DISPLAYS[name]()
    assert not pyplot.get_fignums()


@EVERY
def test_without_matplotlib_the_extra_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skinfluence\[audit\]"):
        DISPLAYS[name]().plot()


def test_nothing_is_computed_without_matplotlib(linear, monkeypatch):
    inf, X, y = linear
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    refit = lambda row: pytest.fail("a refit for nothing")
    with pytest.raises(ImportError, match=r"skinfluence\[audit\]"):
        RemovalEffectDisplay.from_influence(inf, X[:1], y[:1], [0], refit=refit)
    with pytest.raises(ImportError, match=r"skinfluence\[audit\]"):
        LeverageResidualDisplay.from_influence(inf)


# Removal effects ----------------------------------------------------------------------------------


def test_the_effects_of_refits_are_those_of_refits(linear, pyplot):
    """Against least squares without each row, by numpy."""
    inf, X, y = linear
    rows = [3, 0, 77]
    display = RemovalEffectDisplay.from_influence(inf, X[:2], y[:2], rows, color="k")

    def losses(kept):
        A = np.column_stack([X, np.ones(len(X))])
        theta = np.linalg.lstsq(A[kept], y[kept], rcond=None)[0]
        return 0.5 * (A[:2] @ theta - y[:2]) ** 2

    everything = np.arange(len(y))
    right = [losses(np.delete(everything, row)) - losses(everything) for row in rows]
    right = np.transpose(right).ravel()
    np.testing.assert_allclose(display.actual, right, rtol=1e-6)
    np.testing.assert_allclose(display.predicted, right, rtol=1e-6)
    np.testing.assert_allclose([display.slope, display.pearson, display.spearman], 1.0, rtol=1e-6)
    assert display.error < 1e-6
    drawn = display.points_.get_offsets()
    np.testing.assert_array_equal(drawn, np.column_stack([display.predicted, display.actual]))


def test_weights_pipelines_and_classes_are_refitted_as_they_were(pyplot):
    X, y = load_breast_cancer(return_X_y=True)
    X, y = StandardScaler().fit_transform(X[:150]), np.array(["no", "yes"])[y[:150]]
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 150)
    model = LogisticRegression(C=0.1, tol=1e-10, max_iter=1000).fit(X, y, weight)
    inf = Influence(model, X, y, weight)
    display = RemovalEffectDisplay.from_influence(inf, X[:2], y[:2], range(20))
    assert display.error < 2e-3
    target = np.where(y == "yes", 1.0, 0.0)
    pipeline = make_pipeline(StandardScaler(with_mean=False), Ridge())
    for given in (None, weight, np.full(150, 2.0)):
        inf = Influence(pipeline.fit(X, target, ridge__sample_weight=given), X, target, given)
        display = RemovalEffectDisplay.from_influence(inf, X[:2], target[:2], range(5))
        before = 0.5 * (pipeline.predict(X[:2]) - target[:2]) ** 2
        for k in range(5):
            w = None if given is None else np.delete(given, k)
            others = np.delete(X, k, axis=0), np.delete(target, k)
            refit = clone(pipeline).fit(*others, ridge__sample_weight=w).predict(X[:2])
            change = 0.5 * (refit - target[:2]) ** 2 - before
            np.testing.assert_allclose(display.actual.reshape(2, 5)[:, k], change, atol=1e-12)
        # Certified to a thousandth.
        assert display.error < 1e-3


def test_a_slope_is_seen_that_a_correlation_hides(pyplot):
    actual = np.random.default_rng(0).standard_normal((2, 30))
    display = RemovalEffectDisplay.from_predictions(actual / 3, actual, quantity="margin")
    assert display.pearson == pytest.approx(1)
    assert display.slope == pytest.approx(3)
    assert "slope 3\n" in display.text_.get_text()
    assert "margin" in display.ax_.get_xlabel()
    assert display.ax_.get_xlim() == display.ax_.get_ylim()
    np.testing.assert_array_equal(*display.line_.get_data())


def test_a_constant_has_no_correlation_and_says_nan(pyplot):
    display = RemovalEffectDisplay.from_predictions(np.zeros(4), np.zeros(4))
    assert np.isnan([display.slope, display.pearson, display.spearman, display.error]).all()


@pytest.mark.filterwarnings("ignore:Held as chosen")
def test_what_it_does_not_know_to_refit_is_asked_for(linear, pyplot):
    _, X, y = linear
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}).fit(X, y)
    inf = Influence(search, X, y)
    with pytest.raises(TypeError, match=r"Got GridSearchCV; pass refit="):
        RemovalEffectDisplay.from_influence(inf, X[:2], y[:2], [0])

    def refit(row):
        others = np.delete(np.arange(len(y)), row)
        model = Ridge(search.best_params_["alpha"]).fit(X[others], y[others])
        return 0.5 * (model.predict(X[:2]) - y[:2]) ** 2

    display = RemovalEffectDisplay.from_influence(inf, X[:2], y[:2], [0, 5], refit=refit)
    assert display.error < 1e-6


def test_effects_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one number per effect"):
        RemovalEffectDisplay([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="one dimension"):
        RemovalEffectDisplay([[1.0]], [[1.0]])
    with pytest.raises(ValueError, match="one shape"):
        RemovalEffectDisplay.from_predictions(np.ones((2, 3)), np.ones((3, 2)))


# Leverages and residuals --------------------------------------------------------------------------


def test_leverage_and_residual_are_those_of_the_hat_matrix(linear, pyplot):
    inf, X, y = linear
    display = LeverageResidualDisplay.from_influence(inf, n_labels=3, rows=np.arange(120) + 1000)
    A = np.column_stack([X, np.ones(len(X))])
    h = np.einsum("ij,ji->i", A, np.linalg.pinv(A))
    e = y - A @ np.linalg.lstsq(A, y, rcond=None)[0]
    r = e / np.sqrt(e @ e / (120 - 11) * (1 - h))
    cook = r**2 * h / ((1 - h) * 11)
    np.testing.assert_allclose(display.points_.get_offsets(), np.column_stack([h, r]), rtol=1e-6)
    np.testing.assert_allclose(display.distance, cook, rtol=1e-6)
    top = np.argsort(-cook)[:3]
    assert [label.get_text() for label in display.labels_] == [str(1000 + i) for i in top]
    np.testing.assert_allclose(
        display.marked_.get_offsets(), np.column_stack([h, r])[top], rtol=1e-6
    )


def test_lines_have_the_distance_they_name(linear, pyplot):
    inf, _, _ = linear
    display = LeverageResidualDisplay.from_influence(inf, levels=[0.01, 0.05])
    assert list(display.contours_) == [0.01, 0.05]
    for level, lines in display.contours_.items():
        for line in lines:
            h, r = line.get_data()
            np.testing.assert_allclose(r**2 * h / ((1 - h) * display.edf), level)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["Cook's distance 0.01", "Cook's distance 0.05"]


@pytest.mark.parametrize(
    "model",
    [ours.Ridge(alpha=0.1), ours.LogisticRegression(), ours.PoissonRegressor(alpha=0.0)],
    ids=lambda model: type(model).__name__,
)
def test_lines_are_drawn_where_the_distance_is_a_function_of_both(model, pyplot):
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:100], y[:100]
    y = y > 150 if isinstance(model, ours.LogisticRegression) else y
    display = LeverageResidualDisplay.from_influence(model.fit(X, y))
    assert display.edf is not None
    assert display.contours_


def test_no_lines_are_drawn_where_it_is_not(pyplot):
    """A Newton step of the log link moves by the gradient, not by the Pearson residual."""
    X, y = load_diabetes(return_X_y=True)
    inf = Influence(GammaRegressor(alpha=0.0, tol=1e-8, max_iter=1000).fit(X, y), X, y)
    display = LeverageResidualDisplay.from_influence(inf)
    assert display.edf is None
    assert display.contours_ == {}
    assert len(display.labels_) == 5


def test_several_decision_values_are_refused(pyplot):
    X, y = load_diabetes(return_X_y=True)
    model = ours.LogisticRegression().fit(X, np.digitize(y, [100, 200]))
    with pytest.raises(ValueError, match=r"one decision value per row\. Got 3"):
        LeverageResidualDisplay.from_influence(model)


def test_rows_without_a_residual_are_left_out(pyplot):
    display = LeverageResidualDisplay([1.0, 0.2], [np.nan, 1.0], [np.nan, 0.1], edf=1.2).plot()
    assert len(display.points_.get_offsets()) == 1
    assert [label.get_text() for label in display.labels_] == ["1"]
    with pytest.raises(ValueError, match="one number per row"):
        LeverageResidualDisplay([1.0], [1.0, 2.0], [1.0])
