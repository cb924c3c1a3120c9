"""Pictures of features that training rows act through."""

import numpy as np

from skinfluence.inspection.base import FAINT, INK, MARKED, POINTS, Display, beside, pyplot


class ArtifactsDisplay(Display):
    """What the absence of features from the training rows does to some predictions.

    Parameters
    ----------
    feature : array-like of shape (n_features,)
        Names.
    effect : array-like of shape (n_features,)
        Change of the mean test loss without the feature, solved.
    through : array-like of shape (n_features,)
        The same to first order.
    lift : array-like of shape (n_features,)
        Mean influence of its rows over that of all rows.
    rows : array-like of shape (n_features,)
        How many rows have it.

    Attributes
    ----------
    bars_ : BarContainer
    points_ : PathCollection
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from skinfluence.inspection import ArtifactsDisplay
    >>> display = ArtifactsDisplay(["corner", "x7"], [-0.4, -0.1], [-0.3, -0.1], [5.0, 1.2], [80, 200])
    >>> display.plot().ax_.get_yticklabels()[0].get_text()
    'corner'
    """

    figsize = (6.4, 4.0)

    def __init__(self, feature, effect, through, lift, rows):
        self.feature = [str(name) for name in feature]
        self.effect, self.through, self.lift = (np.asarray(a) for a in (effect, through, lift))
        self.rows = np.asarray(rows)

    @classmethod
    def from_artifacts(cls, found, *, ax=None, **options):
        """Draw what `artifacts` found.

        Parameters
        ----------
        found : Artifacts
        ax : matplotlib Axes, default=None
        **options
            Of the bars.

        Returns
        -------
        display : ArtifactsDisplay
        """
        pyplot()
        solved = found.table.dropna(subset=["effect"])
        if not len(solved):
            raise ValueError("No feature was solved without. Ask artifacts with k of at least 1.")
        columns = (solved[name] for name in ("feature", "effect", "through", "lift", "rows"))
        return cls(*columns).plot(ax, **options)

    def _draw(self, ax, **options):
        at = np.arange(len(self.feature))
        colours = np.where(self.effect < 0, MARKED, POINTS)
        self.bars_ = ax.barh(at, self.effect, **{"color": colours, "height": 0.6, **options})
        self.points_ = ax.scatter(
            self.through, at, s=26, facecolors="white", edgecolors=INK, zorder=3
        )
        ax.axvline(0, color=FAINT, linewidth=1)
        ax.set_yticks(at, [name.replace("$", r"\$") for name in self.feature])
        ax.set(
            ylim=(len(at) - 0.4, -0.6),
            ylabel="feature",
            xlabel="mean test loss without the feature (below 0: it misleads; circles: first order)",
        )
        ax.xaxis.label.set_size("small")
        for place, lift, rows in zip(at, self.lift, self.rows, strict=True):
            beside(ax, place, f"{rows:,} rows, {lift:.1f}× as influential")
