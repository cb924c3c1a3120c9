"""Pictures of audits: sources of rows with their intervals, errors found against rows checked."""

import numpy as np

from skinfluence.inspection.base import FAINT, INK, MARKED, POINTS, Display, beside, pyplot

COLOURS = (POINTS, MARKED, "#7c3aed", "#0f766e", "#a16207")


class SourcesDisplay(Display):
    """What dropping each source of rows does to the others, with intervals.

    Parameters
    ----------
    source : array-like of shape (n_sources,)
        Names of the sources.
    effect, low, high : array-like of shape (n_sources,)
        Change of the mean loss of the other rows, and its interval.
    n_rows : array-like of shape (n_sources,), default=None

    Attributes
    ----------
    points_ : PathCollection
    intervals_ : LineCollection
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from skinfluence.inspection import SourcesDisplay
    >>> display = SourcesDisplay(["north", "south"], [0.01, -0.05], [0.0, -0.07], [0.02, -0.03])
    >>> display.plot().points_ is not None
    True
    """

    figsize = (6.4, 3.6)

    def __init__(self, source, effect, low, high, *, n_rows=None):
        self.source = list(source)
        self.effect, self.low, self.high = (np.asarray(one, float) for one in (effect, low, high))
        self.n_rows = n_rows

    @classmethod
    def from_audit(cls, audit, *, ax=None, **options):
        """Draw the sources of an `Audit` that was asked with ``groups=``.

        Parameters
        ----------
        audit : Audit
        ax : matplotlib Axes, default=None
        **options
            To :meth:`plot`.

        Returns
        -------
        display : SourcesDisplay
        """
        pyplot()
        return sources_of(audit).plot(ax, **options)

    def _draw(self, ax, **options):
        at = np.arange(len(self.source))
        known = np.isfinite(self.effect)
        # Negative: the others are better off without it.
        colours = np.where(self.high < 0, MARKED, np.where(self.low > 0, POINTS, FAINT))
        ax.axvline(0, color=FAINT, linewidth=1)
        self.intervals_ = ax.hlines(
            at[known], self.low[known], self.high[known], colors=colours[known], linewidth=2
        )
        self.points_ = ax.scatter(
            self.effect[known], at[known], c=colours[known], zorder=3, **{"s": 28, **options}
        )
        ax.set_yticks(at, [str(name).replace("$", r"\$") for name in self.source])
        ax.set(
            ylim=(len(at) - 0.4, -0.6),
            ylabel="source",
            xlabel="leave-one-out loss of the others if dropped (below 0: they gain)",
        )
        if self.n_rows is not None:
            for row, n in zip(at, self.n_rows, strict=True):
                beside(ax, row, f"{n:,} rows")


def sources_of(audit):
    """The :class:`SourcesDisplay` of an audit, before it is drawn.

    Raises
    ------
    ValueError
        For an audit without sources.
    """
    if audit.sources is None:
        raise ValueError("This audit knows no sources. Ask for it with groups=.")
    table = audit.sources
    columns = (table[name] for name in ("effect_of_dropping", "effect_low", "effect_high"))
    return SourcesDisplay(table["source"], *columns, n_rows=table["n_rows"].tolist())


class FoundDisplay(Display):
    """Errors found against rows checked, for one order of the rows or several, with baselines.

    Parameters
    ----------
    wrong : array-like of shape (n_samples,), dtype=bool
        The rows that are wrong.
    orders : dict of str to array-like of shape (n_samples,)
        Rows in the order in which they are checked, by name.

    Attributes
    ----------
    lines_ : dict of str to Line2D
        Of each order, of "perfect order" and of "random order".
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.inspection import FoundDisplay
    >>> wrong = np.array([False, True, False, True])
    >>> FoundDisplay(wrong, {"mine": [1, 0, 3, 2]}).found("mine")
    array([0.5, 0.5, 1. , 1. ])
    """

    def __init__(self, wrong, orders):
        self.wrong = np.asarray(wrong, dtype=bool)
        self.orders = {name: np.asarray(order) for name, order in orders.items()}
        for name, order in self.orders.items():
            if not np.array_equal(np.sort(order), np.arange(len(self.wrong))):
                raise ValueError(
                    f"An order must name each of the {len(self.wrong)} rows once. {name!r} does not."
                )
        if not self.wrong.any():
            raise ValueError("wrong must mark the rows that are wrong. Got none.")

    def found(self, name):
        """Share of the errors among the first rows of an order.

        Parameters
        ----------
        name : str
            Of the order.

        Returns
        -------
        found : ndarray of shape (n_samples,)
            Among the first 1, 2, … rows.
        """
        return np.cumsum(self.wrong[self.orders[name]]) / self.wrong.sum()

    @classmethod
    def from_audit(cls, audit, wrong, *, others=(), ax=None, **options):
        """Draw the ranking of an `Audit` beside those by loss and by self-influence.

        Parameters
        ----------
        audit : Audit
        wrong : array-like of shape (n_samples,), dtype=bool
            The rows that are wrong, in the order of the training set.
        others : dict of str to array-like of shape (n_samples,), default=()
            Further scores of the rows, high for those to check first.
        ax : matplotlib Axes, default=None
        **options
            To :meth:`plot`.

        Returns
        -------
        display : FoundDisplay
        """
        pyplot()
        orders = {"this audit": audit.table["row"].to_numpy()}
        by_row = audit.table.sort_values("row")
        for name, column in (("by loss", "loo_loss"), ("by self-influence", "self_influence")):
            if column in by_row:
                orders[name] = np.argsort(-by_row[column].to_numpy(), kind="stable")
        for name, score in dict(others).items():
            orders[name] = np.argsort(-np.asarray(score, dtype=float), kind="stable")
        return cls(wrong, orders).plot(ax, **options)

    @classmethod
    def from_values(cls, values, wrong, *, others=(), ax=None, **options):
        """Draw how soon rows of low value are the wrong ones, which values are not made to tell.

        Parameters
        ----------
        values : Values, or dict of str to Values
            From :mod:`skinfluence.values`; rows of low value are checked first.
        wrong : array-like of shape (n_samples,), dtype=bool
            The rows that are wrong, in the order of the training set.
        others : dict of str to array-like of shape (n_samples,), default=()
            Further scores of the rows, high for those to check first: losses of own labels left out,
            self-influence.
        ax : matplotlib Axes, default=None
        **options
            To :meth:`plot`.

        Returns
        -------
        display : FoundDisplay
        """
        pyplot()
        named = values if isinstance(values, dict) else {"by value": values}
        orders = {name: np.argsort(one.values, kind="stable") for name, one in named.items()}
        for name, score in dict(others).items():
            orders[name] = np.argsort(-np.asarray(score, dtype=float), kind="stable")
        return cls(wrong, orders).plot(ax, **options)

    def _draw(self, ax, **options):
        n = len(self.wrong)
        share = 100 * np.arange(n + 1) / n
        self.lines_ = {}

        def draw(name, found, **look):
            (self.lines_[name],) = ax.plot(share, 100 * found, label=name, **{**look, **options})

        draw(
            "perfect order",
            np.minimum(1, np.arange(n + 1) / self.wrong.sum()),
            color=FAINT,
            linewidth=1,
            linestyle=":",
        )
        draw("random order", np.arange(n + 1) / n, color=FAINT, linewidth=1, linestyle="--")
        for k, name in enumerate(self.orders):
            found = np.concatenate([[0.0], self.found(name)])
            colour = COLOURS[k] if k < len(COLOURS) else INK
            draw(name, found, color=colour, linewidth=2.2 if k == 0 else 1.4)
        ax.set(xlim=(0, 100), ylim=(0, 103), xlabel="rows checked (%)", ylabel="errors found (%)")
        ax.legend(loc="lower right", frameon=False)
