"""Predicted effects of removing rows beside those of true refits."""

import numpy as np
from scipy.stats import spearmanr
from sklearn.pipeline import Pipeline

from skinfluence.influence import Influence
from skinfluence.inspection.base import FAINT, GRID, MANY, POINTS, Display, pyplot
from skinfluence.inspection.refits import refitted


class RemovalEffectDisplay(Display):
    """Predicted effects of removals against those of refits, which say how far to trust them.

    Parameters
    ----------
    predicted, actual : array-like of shape (n_effects,)
        Effects without and with a refit, after minus before.
    quantity : str, default="test loss"
        What changes, for the labels.

    Attributes
    ----------
    slope : float
        Of the refits on the predictions, through the origin: 1 where the scale is right. A
        correlation says nothing of it.
    pearson, spearman : float
        Correlations of the values and of the ranks.
    error : float
        Relative error, ``|predicted - actual| / |actual|`` in the Euclidean norm.
    points_ : PathCollection
    line_ : Line2D
        Where both are equal.
    text_ : Annotation
        The numbers above.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.inspection import RemovalEffectDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> inf = Influence(Ridge(alpha=0.1).fit(X, y), X, y)
    >>> display = RemovalEffectDisplay.from_influence(inf, X[:1], y[:1], rows=range(20))
    >>> round(display.slope, 6)
    1.0
    """

    figsize = (5.2, 5.2)

    def __init__(self, predicted, actual, *, quantity="test loss"):
        self.predicted = _numbers(predicted, "predicted")
        self.actual = _numbers(actual, "actual")
        if self.predicted.shape != self.actual.shape:
            raise ValueError(
                "predicted and actual must hold one number per effect each. Got shapes "
                f"{self.predicted.shape} and {self.actual.shape}."
            )
        self.quantity = quantity

    @property
    def slope(self):
        """Of the refits on the predictions, through the origin."""
        size = self.predicted @ self.predicted
        return float(self.predicted @ self.actual / size) if size else np.nan

    @property
    def pearson(self):
        """Correlation of the values."""
        return _correlation(self.predicted, self.actual)

    @property
    def spearman(self):
        """Correlation of the ranks."""
        if min(np.ptp(self.predicted), np.ptp(self.actual)) == 0:
            return np.nan
        return float(spearmanr(self.predicted, self.actual)[0])

    @property
    def error(self):
        """Relative error in the Euclidean norm."""
        size = np.linalg.norm(self.actual)
        return float(np.linalg.norm(self.predicted - self.actual) / size) if size else np.nan

    @classmethod
    def from_predictions(cls, predicted, actual, *, quantity="test loss", ax=None, **options):
        """Draw effects that are there already.

        Parameters
        ----------
        predicted, actual : array-like of shape (n_effects,)
            Of any shape, if it is the same.
        quantity : str, default="test loss"
        ax : matplotlib Axes, default=None
        **options
            To :meth:`plot`.

        Returns
        -------
        display : RemovalEffectDisplay
        """
        pyplot()
        both = np.asarray(predicted), np.asarray(actual)
        if both[0].shape != both[1].shape:
            raise ValueError(
                "predicted and actual must have one shape. Got "
                f"{both[0].shape} and {both[1].shape}."
            )
        return cls(both[0].ravel(), both[1].ravel(), quantity=quantity).plot(ax, **options)

    @classmethod
    def from_influence(
        cls, influence, X, y, rows, *, method="auto", refit=None, ax=None, **options
    ):
        """Remove rows one at a time, by prediction and by refit, and draw the change of test losses.

        Parameters
        ----------
        influence : Influence
        X : array-like of shape (n_test, n_features)
        y : array-like of shape (n_test,)
        rows : array-like of int
            Training rows to refit without; each takes a fit.
        method : {"auto", "exact", "one-step", "influence"}, default="auto"
            Of the predictions.
        refit : callable, default=None
            ``refit(row)`` gives the losses of the test points, (n_test,), under the model fitted
            without that row, for what is not refitted by a clone's ``fit``, which brings weights to the
            last step of a pipeline: networks, searches, wrappers.
        ax : matplotlib Axes, default=None
        **options
            To :meth:`plot`.

        Returns
        -------
        display : RemovalEffectDisplay
            With one effect per test point and row.

        Raises
        ------
        TypeError
            If a refit needs ``refit``.
        """
        pyplot()
        rows = influence.data.positions(np.asarray(rows))
        tests = influence.data.tests(X, y)
        before = influence.answers.quantity(tests, "loss", "influence").before
        if refit is None:
            _check_refits(influence)
        after = [
            _losses_without(influence, X, y, row) if refit is None else refit(int(row))
            for row in rows
        ]
        actual = np.reshape(after, (len(rows), len(before))).T - before[:, None]
        predicted = influence.removal_effect(X, y, method=method, indices=rows)
        return cls.from_predictions(predicted, actual, ax=ax, **options)

    def plot(self, ax=None, **options):
        """Draw the scatter with the line where both are equal.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to; on a new figure when None.
        **options
            To ``scatter``.

        Returns
        -------
        display : RemovalEffectDisplay
            Itself.
        """
        return super().plot(ax, **options)

    def _draw(self, ax, **options):
        values = np.concatenate([self.predicted, self.actual])
        values = values[np.isfinite(values)]
        low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
        margin = 0.05 * (high - low) or 1.0
        ends = low - margin, high + margin
        for line in (ax.axhline, ax.axvline):
            line(0, color=GRID, linewidth=0.8, zorder=0)
        (self.line_,) = ax.plot(ends, ends, color=FAINT, linewidth=1, linestyle="--", zorder=1)
        options = {
            "s": 18,
            "color": POINTS,
            "alpha": 0.7,
            "linewidths": 0,
            "rasterized": len(self.predicted) > MANY,
            **options,
        }
        self.points_ = ax.scatter(self.predicted, self.actual, zorder=2, **options)
        self.text_ = ax.annotate(
            f"slope {self.slope:.3g}\nPearson {self.pearson:.3f}\nSpearman {self.spearman:.3f}\n"
            f"relative error {self.error:.2g}",
            xy=(0.03, 0.97),
            xycoords="axes fraction",
            va="top",
            fontsize="small",
        )
        ax.annotate(
            "equal",
            xy=(ends[1], ends[1]),
            xytext=(-4, -34),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize="small",
            color=FAINT,
        )
        ax.set(
            xlim=ends,
            ylim=ends,
            xlabel=f"predicted change of the {self.quantity}",
            ylabel=f"change of the {self.quantity} by true refit",
        )
        # The line is at 45 degrees, as it looks.
        ax.set_aspect("equal", adjustable="box")


def _numbers(values, name):
    values = np.asarray(values, dtype=float)
    if values.ndim != 1:
        raise ValueError(f"{name} must have one dimension. Got shape {values.shape}.")
    return values


def _correlation(a, b):
    if min(np.ptp(a), np.ptp(b)) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def _check_refits(influence):
    estimator, inside = influence.estimator, getattr(influence.data.inputs, "model", None)
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if last is not inside:
        raise TypeError(
            "The refit of a network, a search or a wrapper is for you to say. Got "
            f"{type(estimator).__name__}; pass refit=, a function of the row."
        )


def _losses_without(influence, X, y, row):
    """Losses of test points from a clone that was fitted without a row."""
    without = Influence(*refitted(influence, row))
    return without.answers.quantity(without.data.tests(X, y), "loss", "influence").before
