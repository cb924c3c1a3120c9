"""A conclusion as rows leave: what removing a set of rows does to it, one row after the other."""

import numpy as np

from skinfluence import edits
from skinfluence.inspection.base import FAINT, GRID, INK, MARKED, POINTS, Display, pyplot
from skinfluence.robustness import smallest_flip


class FlipDisplay(Display):
    """The number behind a conclusion as the rows of a set leave, to where it flips.

    Parameters
    ----------
    path : array-like of shape (n_rows + 1,)
        The number, its level at 0, without the first 0, 1, … rows of the set.
    linear : array-like of shape (n_rows + 1,), default=None
        What first-order effects on the model of all rows promise of the same rows.
    refit : float, default=None
        Of the estimator fitted again without all of them.
    lower_bound : int, default=1
        No set of fewer rows flips the conclusion.
    quantity : str, default="number behind the conclusion"

    Attributes
    ----------
    path_ : Line2D
    linear_ : Line2D or None
    refit_ : PathCollection or None
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence import Influence, robustness
    >>> from skinfluence.inspection import FlipDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X[:, :10])
    >>> inf = Influence(LogisticRegression(solver="newton-cholesky").fit(X, y), X, y)
    >>> display = FlipDisplay.from_influence(inf, robustness.coef(4))
    >>> bool(display.path[0] * display.path[-1] < 0)
    True
    """

    def __init__(
        self,
        path,
        *,
        linear=None,
        refit=None,
        lower_bound=1,
        quantity="number behind the conclusion",
    ):
        self.path = np.asarray(path, dtype=float)
        self.linear = None if linear is None else np.asarray(linear, dtype=float)
        if self.path.ndim != 1 or (
            self.linear is not None and self.linear.shape != self.path.shape
        ):
            got = None if self.linear is None else self.linear.shape
            raise ValueError(
                "path and linear must hold one number for 0, 1, … rows each. Got shapes "
                f"{self.path.shape} and {got}."
            )
        self.refit, self.lower_bound, self.quantity = refit, int(lower_bound), quantity

    @classmethod
    def from_influence(
        cls, influence, what, flip=None, *, quantity=None, max_rows=None, ax=None, **options
    ):
        """Look for the smallest flip, unless it is given, and draw the way there.

        Parameters
        ----------
        influence : Influence
        what : Conclusion
            As :func:`~skinfluence.robustness.smallest_flip` takes it.
        flip : Flip, default=None
            What that found; looked for, by removals, when None.
        quantity : str, default=None
            What the number is, for the label.
        max_rows : int, default=None
            Where the search gives up.
        ax : matplotlib Axes, default=None
        **options
            Of the path, to ``plot``.

        Returns
        -------
        display : FlipDisplay
            Its path takes an exact edit for each row of the set.

        Raises
        ------
        ValueError
            Where no set was found: there is no way to draw.

        Notes
        -----
        Rows leave in the order of their effects on the model of all rows, the strongest first.
        """
        pyplot()
        if flip is None:
            flip = smallest_flip(influence, what, max_rows=max_rows)
        if not flip.found:
            raise ValueError(
                f"A flip must have been found. Got none of up to {flip.searched} rows; search further with "
                "max_rows=, which is no promise that there is one."
            )
        what.begin(influence)
        rows, effects = flip.rows, _effects(influence, what, flip)
        order = np.argsort(what.side * effects, kind="stable")
        path, state = [flip.before], influence
        for i in order:
            edit = edits.remove(int(rows[i]))
            if flip.by == "relabel":
                edit = edits.relabel(int(rows[i]), flip.labels[i])
            state = state.after(edit)
            path.append(what.number_in(state))
        linear = flip.before + np.append(0.0, np.cumsum(effects[order]))
        more = {} if quantity is None else {"quantity": quantity}
        found = cls(path, linear=linear, refit=flip.after, lower_bound=flip.lower_bound, **more)
        return found.plot(ax, **options)

    def _draw(self, ax, **options):
        k = np.arange(len(self.path))
        if self.lower_bound > 1:
            ax.axvspan(0, self.lower_bound - 0.5, color=GRID, zorder=0)
            ax.annotate(
                "proved: not with so few",
                xy=(0, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize="small",
                color=FAINT,
            )
        ax.axhline(0, color=FAINT, linewidth=1)
        self.linear_ = self.refit_ = None
        if self.linear is not None:
            (self.linear_,) = ax.plot(
                k, self.linear, "--", color=FAINT, linewidth=1.2, label="first order"
            )
        look = {"color": POINTS, "marker": ".", "linewidth": 1.6, **options}
        (self.path_,) = ax.plot(k, self.path, label="the rows of the set, solved", **look)
        if self.refit is not None:
            self.refit_ = ax.scatter(
                k[-1:],
                [self.refit],
                s=60,
                facecolors="none",
                edgecolors=MARKED,
                linewidths=1.8,
                zorder=4,
                label="a refit without all of them",
            )
        ax.set(
            xlim=(-0.02 * len(k), 1.03 * k[-1] + 0.02), xlabel="rows changed", ylabel=self.quantity
        )
        ax.yaxis.label.set_color(INK)
        ax.legend(frameon=False, fontsize="small")


def _effects(influence, what, flip):
    """First-order change of the number for each row of the set, alone, (n_rows,)."""
    answers = influence.answers.held
    # Kinds without a first order are answered exactly, a row at a time.
    method = "influence" if answers.knows("up_loss") else "auto"

    def asked(rows, label):
        return what.effects(influence, answers, rows, label, method)

    if flip.by == "remove":
        return asked(flip.rows, None)
    classes = answers.problem.labels.classes
    found = np.empty(len(flip.rows))
    for label in np.unique(flip.labels):
        mine = np.flatnonzero(flip.labels == label)
        found[mine] = asked(flip.rows[mine], int(np.flatnonzero(classes == label)[0]))
    return found
