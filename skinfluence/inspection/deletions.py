"""Leverage and residual of each row: which rows decide the fit, and which disagree with it."""

from itertools import cycle

import numpy as np

from skinfluence.diagnostics import cooks_distance, leverage, resid_studentized_internal
from skinfluence.inspection.base import FAINT, GRID, INK, MANY, MARKED, POINTS, Display, pyplot

STYLES = ("-", "--", ":")


class LeverageResidualDisplay(Display):
    """Leverage against studentised residual, with lines of equal Cook's distance.

    A row moves the fit where it has both: leverage to pull and a residual to pull with.

    Parameters
    ----------
    leverage, residual, distance : array-like of shape (n_samples,)
        Leverages, internally studentised residuals and Cook's distances.
    edf : float, default=None
        Effective degrees of freedom, for lines of ``D = r^2 h / ((1 - h) edf)``; None draws none.
    rows : array-like of shape (n_samples,), default=None
        Names of the rows; their positions when None.

    Attributes
    ----------
    points_ : PathCollection
    marked_ : PathCollection
        The rows with the largest distances.
    labels_ : list of Annotation
        Their names.
    contours_ : dict of float to list of Line2D
        By Cook's distance.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inspection import LeverageResidualDisplay
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = LeverageResidualDisplay.from_influence(LinearRegression().fit(X, y))
    >>> round(display.edf, 6)
    11.0
    """

    def __init__(self, leverage, residual, distance, *, edf=None, rows=None):
        self.leverage = np.asarray(leverage, dtype=float)
        self.residual = np.asarray(residual, dtype=float)
        self.distance = np.asarray(distance, dtype=float)
        self.edf = edf
        self.rows = np.arange(len(self.leverage)) if rows is None else np.asarray(rows)
        shapes = {v.shape for v in (self.leverage, self.residual, self.distance, self.rows)}
        if len(shapes) > 1 or len(self.leverage.shape) != 1:
            raise ValueError(
                "leverage, residual, distance and rows must hold one number per row each. Got "
                f"shapes {sorted(shapes)}."
            )

    @classmethod
    def from_influence(cls, influence, *, rows=None, ax=None, **options):
        """Draw the training rows of a fitted model with one decision value.

        Parameters
        ----------
        influence : Influence or estimator
            An :class:`~skinfluence.Influence`, or a fitted estimator of this package.
        rows : array-like of shape (n_train,), default=None
            Names of the rows.
        ax : matplotlib Axes, default=None
        **options
            To :meth:`plot`.

        Returns
        -------
        display : LeverageResidualDisplay
            With ``edf`` where Cook's distance is the function of both that the lines show: squared
            error, and other losses with their canonical link, of rows that leave the penalty.

        Raises
        ------
        ValueError
            For several decision values per row.
        """
        pyplot()
        residual = resid_studentized_internal(influence)
        if residual.ndim > 1:
            raise ValueError(
                "The model must have one decision value per row. Got "
                f"{residual.shape[1]}; draw one class of resid_studentized_internal yourself."
            )
        own, distance = leverage(influence), cooks_distance(influence)
        edf = float(own.sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = residual**2 * own / ((1 - own) * edf)
        known = np.isfinite(drawn) & np.isfinite(distance)
        if not np.allclose(drawn[known], distance[known], rtol=1e-6, atol=1e-12):
            edf = None
        return cls(own, residual, distance, edf=edf, rows=rows).plot(ax, **options)

    def plot(self, ax=None, *, n_labels=5, levels=None, **options):
        """Draw the scatter, name the rows that move the fit most, and draw the lines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to; on a new figure when None.
        n_labels : int, default=5
            How many rows to name, those with the largest Cook's distance.
        levels : array-like of float, default=None
            Cook's distances of the lines; round numbers below the largest when None.
        **options
            To ``scatter``.

        Returns
        -------
        display : LeverageResidualDisplay
            Itself.
        """
        return super().plot(ax, n_labels=n_labels, levels=levels, **options)

    def _draw(self, ax, *, n_labels, levels, **options):
        known = np.isfinite(self.leverage) & np.isfinite(self.residual)
        h, r = self.leverage, self.residual
        options = {
            "s": 16,
            "color": POINTS,
            "alpha": 0.6,
            "linewidths": 0,
            "rasterized": len(h) > MANY,
            **options,
        }
        ax.axhline(0, color=GRID, linewidth=0.8, zorder=0)
        self.points_ = ax.scatter(h[known], r[known], zorder=2, **options)
        ranked = np.flatnonzero(known & np.isfinite(self.distance))
        top = ranked[np.argsort(-self.distance[ranked], kind="stable")][:n_labels]
        self.marked_ = ax.scatter(h[top], r[top], s=26, color=MARKED, linewidths=0, zorder=3)
        width = 1.08 * h[known].max(initial=0.0) or 1.0
        height = 1.12 * np.abs(r[known]).max(initial=0.0) or 1.0
        self.labels_ = [
            ax.annotate(
                str(self.rows[i]),
                xy=(h[i], r[i]),
                xytext=(5 if h[i] < 0.1 * width else -5, 4 if r[i] >= 0 else -4),
                textcoords="offset points",
                ha="left" if h[i] < 0.1 * width else "right",
                va="bottom" if r[i] >= 0 else "top",
                fontsize="small",
                color=INK,
                zorder=4,
            )
            for i in top
        ]
        ax.set(
            xlim=(0, width),
            ylim=(-height, height),
            xlabel="leverage (share of the row in its own fit)",
            ylabel="studentised residual (standard deviations)",
        )
        self.contours_ = {}
        if self.edf is not None:
            given = _round_levels(self.distance) if levels is None else levels
            self._draw_contours(ax, np.atleast_1d(given), width, height)

    def _draw_contours(self, ax, levels, width, height):
        h = np.linspace(0, min(width, 1.0), 400)[1:]
        for level, style in zip(levels, cycle(STYLES), strict=False):
            r = np.sqrt(level * self.edf * np.maximum(1 - h, 0) / h)
            inside = r <= height
            if not inside.any():
                continue
            look = {"color": FAINT, "linewidth": 0.9, "linestyle": style, "zorder": 1}
            self.contours_[float(level)] = [
                ax.plot(h[inside], r[inside], label=f"Cook's distance {level:g}", **look)[0],
                ax.plot(h[inside], -r[inside], **look)[0],
            ]
        if self.contours_:
            ax.legend(loc="best", frameon=False, fontsize="small")


def _round_levels(distance):
    """Three of 1, 2, 5 times powers of ten, up to the largest distance."""
    known = distance[np.isfinite(distance) & (distance > 0)]
    if not len(known):
        return []
    power = np.floor(np.log10(known.max()))
    steps = [m * 10.0**p for p in (power - 2, power - 1, power) for m in (1, 2, 5)]
    return [float(f"{step:.1g}") for step in steps if step <= known.max()][-1:-6:-2]
