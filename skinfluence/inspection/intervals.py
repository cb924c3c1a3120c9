"""Pictures of answers with a range: prediction intervals, coefficients, values of rows."""

import numpy as np

from skinfluence.inspection.base import FAINT, INK, MANY, MARKED, POINTS, Display, pyplot

# Lines of a table that fit into a figure of the default size.
FITTING = 14


class IntervalsDisplay(Display):
    """Prediction intervals of points, by their prediction, and the targets that they hold or miss.

    Parameters
    ----------
    prediction, low, high : array-like of shape (n_points,)
        Predictions, and the ends of the intervals, in units of the targets.
    target : array-like of shape (n_points,), default=None
        What came, where that is known.
    coverage : float, default=None
        What was asked for.

    Attributes
    ----------
    covered : float
        Share of the targets that are in their intervals; NaN without targets.
    intervals_ : LineCollection
    predictions_ : PathCollection
    points_, missed_ : PathCollection or None
        Targets inside and outside.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.conformal import JackknifePlusRegressor
    >>> from skinfluence.inspection import IntervalsDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = JackknifePlusRegressor(Ridge(alpha=0.1)).fit(X[:300], y[:300])
    >>> display = IntervalsDisplay.from_estimator(model, X[300:], y[300:], coverage=0.9)
    >>> round(display.covered, 3)
    0.901
    """

    def __init__(self, prediction, low, high, *, target=None, coverage=None):
        named = {"prediction": prediction, "low": low, "high": high}
        if target is not None:
            named["target"] = target
        for name, values in named.items():
            setattr(self, name, np.asarray(values, dtype=float))
        shapes = {getattr(self, name).shape for name in named}
        if len(shapes) > 1 or len(self.prediction.shape) != 1:
            raise ValueError(
                f"{', '.join(named)} must hold one number per point each. Got shapes {sorted(shapes)}."
            )
        self.target = getattr(self, "target", None)
        self.coverage = coverage

    @property
    def covered(self):
        """Share of the targets that are in their intervals."""
        return np.nan if self.target is None else float(self._inside.mean())

    @property
    def _inside(self):
        return (self.low <= self.target) & (self.target <= self.high)

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, coverage=0.9, ax=None, **options):
        """Ask a fitted conformal regressor about points, and draw.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``predict_interval(X, coverage)``.
        X : array-like of shape (n_points, n_features)
        y : array-like of shape (n_points,), default=None
        coverage : float, default=0.9
        ax : matplotlib Axes, default=None
        **options
            Of the intervals, to ``vlines``.

        Returns
        -------
        display : IntervalsDisplay

        Raises
        ------
        TypeError
            For an estimator without intervals.
        """
        pyplot()
        if not hasattr(estimator, "predict_interval"):
            raise TypeError(
                "Intervals are those of predict_interval. Got "
                f"{type(estimator).__name__}, which has none; fit a regressor of skinfluence.conformal."
            )
        low, high = estimator.predict_interval(X, coverage).T
        found = cls(estimator.predict(X), low, high, target=y, coverage=coverage)
        return found.plot(ax, **options)

    def _draw(self, ax, **options):
        order = np.argsort(self.prediction, kind="stable")
        place, n = np.arange(len(order)), len(order)
        low, high = self.low[order], self.high[order]
        known = [
            self.low,
            self.high,
            self.prediction,
            *([] if self.target is None else [self.target]),
        ]
        known = np.concatenate(known)
        known = known[np.isfinite(known)]
        ends = (known.min(), known.max()) if len(known) else (0.0, 1.0)
        margin = 0.05 * (ends[1] - ends[0]) or 1.0
        limits = ends[0] - margin, ends[1] + margin
        width = float(np.clip(260.0 / max(n, 1), 0.8, 5.0))
        look = {"color": "#bfdbfe", "linewidth": width, "rasterized": n > MANY, **options}
        # Ends at infinity are drawn to the edge.
        self.intervals_ = ax.vlines(place, np.clip(low, *limits), np.clip(high, *limits), **look)
        self.predictions_ = ax.scatter(
            place, self.prediction[order], s=9, marker="_", color=INK, label="prediction", zorder=2
        )
        self.points_ = self.missed_ = None
        if self.target is not None:
            inside, y = self._inside[order], self.target[order]
            dots = {"linewidths": 0, "zorder": 3, "rasterized": n > MANY}
            self.points_ = ax.scatter(
                place[inside], y[inside], s=14, color=POINTS, label="inside", **dots
            )
            self.missed_ = ax.scatter(
                place[~inside],
                y[~inside],
                s=22,
                color=MARKED,
                marker="D",
                label=f"outside, {n - inside.sum()} of {n}",
                **dots,
            )
        asked = "" if self.coverage is None else f", {self.coverage:.0%} asked for"
        ax.set(xlabel=f"points, by their prediction{asked}", ylabel="target", ylim=limits)
        ax.legend(loc="upper left", frameon=False, fontsize="small")


class CoefficientsDisplay(Display):
    """Coefficients with their intervals; those that hold zero are faint.

    Parameters
    ----------
    names : list of str
    coef, standard_error : array-like of shape (p,)
    lower, upper : array-like of shape (p,), default=None
        Ends of the intervals. None, or NaN, where there are none, as of penalised models: then one
        standard error to either side is drawn, and that is said.
    coverage : float, default=None
        Of the intervals.
    kind : str, default=None
        Of the covariance.

    Attributes
    ----------
    points_ : PathCollection
    intervals_ : LineCollection
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inference import coefficient_table
    >>> from skinfluence.inspection import CoefficientsDisplay
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> table = coefficient_table(LinearRegression().fit(X, y), "hc3")
    >>> display = CoefficientsDisplay.from_table(table)
    >>> [name for name, known in zip(display.names, display.excludes_zero) if known]
    ['sex', 'bmi', 'bp', 's5']
    """

    def __init__(
        self, names, coef, standard_error, lower=None, upper=None, *, coverage=None, kind=None
    ):
        self.names = [str(name) for name in names]
        nothing = np.full(len(self.names), np.nan)
        given = {"coef": coef, "standard_error": standard_error, "lower": lower, "upper": upper}
        for name, values in given.items():
            values = nothing if values is None else np.asarray(values, dtype=float)
            if values.shape != nothing.shape:
                raise ValueError(
                    f"{name} must hold one number per name, {len(nothing)}. Got shape {values.shape}."
                )
            setattr(self, name, values)
        self.coverage, self.kind = coverage, kind

    @property
    def excludes_zero(self):
        """Whether zero is outside of each interval; False where there is none."""
        return (self.lower > 0) | (self.upper < 0)

    @classmethod
    def from_table(cls, table, *, intercept=False, ax=None, **options):
        """Draw a :class:`~skinfluence.inference.CoefficientTable`.

        Parameters
        ----------
        table : CoefficientTable
        intercept : bool, default=False
            Whether intercepts, which are in other units, are drawn too.
        ax : matplotlib Axes, default=None
        **options
            Of the intervals, to ``hlines``.

        Returns
        -------
        display : CoefficientsDisplay
        """
        pyplot()
        kept = [i for i, name in enumerate(table.names) if intercept or not _is_intercept(name)]
        parts = (
            getattr(table, name)[kept] for name in ("coef", "standard_error", "lower", "upper")
        )
        names = [table.names[i] for i in kept]
        return cls(names, *parts, coverage=table.coverage, kind=table.kind).plot(ax, **options)

    def plot(self, ax=None, **options):
        """Draw a line for each coefficient.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to; on a new figure, as high as the lines need, when None.
        **options
            Of the intervals, to ``hlines``.

        Returns
        -------
        display : CoefficientsDisplay
            Itself.
        """
        self.figsize = 6.4, 4.8 * max(1.0, (len(self.names) + 4) / (FITTING + 4))
        return super().plot(ax, **options)

    def _draw(self, ax, **options):
        at = np.arange(len(self.names))
        tested = np.isfinite(self.lower) & np.isfinite(self.upper)
        low = np.where(tested, self.lower, self.coef - self.standard_error)
        high = np.where(tested, self.upper, self.coef + self.standard_error)
        colours = np.where(self.excludes_zero, np.where(self.coef > 0, POINTS, MARKED), FAINT)
        ax.axvline(0, color=FAINT, linewidth=1)
        look = {"colors": colours, "linewidth": 2, **options}
        self.intervals_ = ax.hlines(at, low, high, **look)
        self.points_ = ax.scatter(self.coef, at, c=colours, s=26, zorder=3)
        ax.set_yticks(at, [name.replace("$", r"\$") for name in self.names])
        if tested.all() and self.coverage is not None:
            said = f"{self.coverage:.0%} intervals"
        else:
            said = "± one standard error: penalised, no test"
        kind = "" if self.kind is None else f", {self.kind}"
        ax.set(
            ylim=(len(at) - 0.4, -0.6), ylabel="column", xlabel=f"coefficient, with {said}{kind}"
        )


def _is_intercept(name):
    return name == "intercept" or name.endswith(": intercept")


class ValuesDisplay(Display):
    """Values of training rows in rising order, with their errors; some rows marked.

    Parameters
    ----------
    values, standard_error : array-like of shape (n_train,)
    marked : array-like of shape (n_train,), dtype=bool, default=None
        Rows to show apart: wrong labels, those of one source.
    n_labels : int, default=3
        How many of the least values are named by their row.

    Attributes
    ----------
    points_ : PathCollection
    marked_ : PathCollection or None
    errors_ : LineCollection
        Two standard errors to either side.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from skinfluence.inspection import ValuesDisplay
    >>> ValuesDisplay([0.2, -0.1, 0.4], [0.1, 0.02, 0.1]).order
    array([1, 0, 2])
    """

    def __init__(self, values, standard_error, *, marked=None, n_labels=3):
        self.values = np.asarray(values, dtype=float)
        self.standard_error = np.asarray(standard_error, dtype=float)
        self.marked = None if marked is None else np.asarray(marked, dtype=bool)
        self.n_labels = n_labels
        shapes = {self.values.shape, self.standard_error.shape}
        shapes |= set() if self.marked is None else {self.marked.shape}
        if len(shapes) > 1 or self.values.ndim != 1:
            raise ValueError(
                "values, standard_error and marked must hold one number per row each. Got shapes "
                f"{sorted(shapes)}."
            )

    @property
    def order(self):
        """Rows by rising value."""
        return np.argsort(self.values, kind="stable")

    @classmethod
    def from_values(cls, found, *, marked=None, ax=None, **options):
        """Draw what :func:`~skinfluence.values.shapley` or its like found.

        Parameters
        ----------
        found : Values
        marked : array-like of shape (n_train,), dtype=bool, default=None
        ax : matplotlib Axes, default=None
        **options
            Of the points, to ``scatter``.

        Returns
        -------
        display : ValuesDisplay
        """
        pyplot()
        return cls(found.values, found.standard_error, marked=marked).plot(ax, **options)

    def _draw(self, ax, **options):
        order, n = self.order, len(self.values)
        place, values = np.arange(n), self.values[order]
        error = 2 * self.standard_error[order]
        shown = np.zeros(n, dtype=bool) if self.marked is None else self.marked[order]
        ax.axhline(0, color=FAINT, linewidth=1)
        colours = np.where(shown, MARKED, POINTS)
        self.errors_ = ax.vlines(
            place, values - error, values + error, colors=colours, linewidth=0.8, alpha=0.5
        )
        look = {"s": 12, "linewidths": 0, "rasterized": n > MANY, **options}
        self.points_ = ax.scatter(place[~shown], values[~shown], color=POINTS, label="rows", **look)
        self.marked_ = None
        if self.marked is not None:
            self.marked_ = ax.scatter(
                place[shown],
                values[shown],
                color=MARKED,
                marker="D",
                label=f"marked, {shown.sum()} of {n}",
                **look,
            )
            ax.legend(loc="upper left", frameon=False)
        for i in range(min(self.n_labels, n)):
            ax.annotate(
                str(order[i]),
                (place[i], values[i]),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize="x-small",
                va="center",
                color=INK,
            )
        errors = ", with two standard errors" if self.standard_error.any() else ""
        ax.set(xlabel="rows, by their value", ylabel=f"value{errors}")
