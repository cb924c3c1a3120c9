"""What every Display does, and the colours they share. matplotlib is imported where it draws."""

from abc import ABC, abstractmethod

from skinfluence._utils._optional import require

# Told apart by those who see no red, no green or no blue, and in grey.
POINTS, MARKED = "#1d4ed8", "#c2410c"
INK, FAINT, GRID = "#1f2937", "#6b7280", "#e5e7eb"
# Dots beyond this are drawn as pixels in vector formats.
MANY = 2000


def pyplot():
    """matplotlib.pyplot, or the error that names the extra."""
    return require("matplotlib.pyplot", extra="audit")


class Display(ABC):
    """Computed numbers and how they are drawn: the base of displays.

    The constructor takes numbers and stores them, class methods ``from_...`` compute them, and
    :meth:`plot` draws, as often as one likes. A subclass writes ``_draw(ax, **options)``.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the last :meth:`plot`.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from skinfluence.inspection import Display
    >>> class Heights(Display):
    ...     def __init__(self, heights):
    ...         self.heights = heights
    ...     def _draw(self, ax):
    ...         ax.bar(range(len(self.heights)), self.heights)
    ...
    >>> display = Heights([1, 3, 2]).plot()
    >>> len(display.ax_.patches)
    3
    """

    # Of a figure of its own, in inches.
    figsize = (6.4, 4.8)

    def plot(self, ax=None, **options):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to; on a new figure when None.
        **options
            Of the kind of display.

        Returns
        -------
        display : Display
            Itself.
        """
        plt = pyplot()
        if ax is None:
            _, ax = plt.subplots(figsize=self.figsize, layout="constrained")
        self._draw(ax, **options)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @abstractmethod
    def _draw(self, ax, **options):
        """Draw on Axes, and keep the artists in attributes that end in ``_``."""


def beside(ax, place, text):
    """A note to the right of the axes, at a place of the vertical one."""
    ax.annotate(
        text,
        xy=(1, place),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize="small",
        color=FAINT,
    )
