"""Training rows that help and harm a prediction, as what they are: pictures, texts, lines of a table."""

import numbers
import re

import numpy as np
import scipy.sparse as sp
from sklearn.utils import _safe_indexing

from skinfluence.inspection.base import FAINT, INK, MARKED, POINTS, Display, pyplot
from skinfluence.inspection.explanation import ways_through

# Characters in a line of text.
WIDTH = 90
# Of the width of the picture, for names and numbers.
TEXTS_FROM = 0.3


class GalleryDisplay(Display):
    """Training rows that help or harm a prediction, shown as pictures, texts or lines of a table.

    Parameters
    ----------
    item : ndarray of shape (height, width) or (height, width, 3), str, or mapping of str to object
        What is predicted: a picture, a text, or the cells of a row of a table by column.
    items : list of n_rows such
        The training rows.
    effects : array-like of shape (n_rows,)
        Change of the loss of what is predicted without each row; positive: it helps.
    name : str, default=""
        Of what is predicted.
    names : list of str, default=None
        Of the training rows.
    through : list of n_rows tuples of (str, float), default=None
        The features that each row acts through, and the change of their parts in the decision value
        without it: words and cells of these names are marked.

    Attributes
    ----------
    images_ : list of AxesImage
        Of pictures, what is predicted first, then the rows that help, then those that harm.
    texts_ : list of Text
        Everything written, in the order of lines and words.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skinfluence import Influence
    >>> from skinfluence.inspection import GalleryDisplay
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_digits(return_X_y=True)
    >>> X, pictures = X[:300] / 16, X[:301].reshape(-1, 8, 8)
    >>> inf = Influence(LogisticRegression(C=0.1).fit(X, y[:300]), X, y[:300])
    >>> display = GalleryDisplay.from_influence(
    ...     inf, pictures[300:].reshape(1, -1) / 16, y[[300]], k=2, items=pictures[:300], item=pictures[300]
    ... )
    >>> display.names
    ['row 86: 7', 'row 174: 7', 'row 231: 3', 'row 191: 7']
    """

    def __init__(self, item, items, effects, *, name="", names=None, through=None):
        self.item, self.items, self.name = item, list(items), name
        self.effects = np.asarray(effects, dtype=float)
        n = len(self.items)
        self.names = [""] * n if names is None else list(names)
        self.through = [()] * n if through is None else list(through)
        sizes = {n, len(self.effects), len(self.names), len(self.through)}
        if len(sizes) > 1:
            raise ValueError(
                "items, effects, names and through must hold one entry per row each. Got "
                f"{n}, {len(self.effects)}, {len(self.names)} and {len(self.through)}."
            )
        pictures = [np.ndim(one) in (2, 3) for one in [item, *self.items]]
        if any(pictures) and not all(pictures):
            raise ValueError(
                "item and items must be of one kind. Got pictures beside other things."
            )
        self._pictures = pictures[0]
        order = np.argsort(-np.abs(self.effects), kind="stable")
        self._helpful = [i for i in order if self.effects[i] > 0]
        self._harmful = [i for i in order if self.effects[i] < 0]
        most = max(len(self._helpful), len(self._harmful), 1)
        self.figsize = (1.5 * (most + 1) + 0.5, 3.9) if self._pictures else (10, 0.34 * (n + 5))

    @classmethod
    def from_influence(
        cls,
        influence,
        X,
        y,
        *,
        k=3,
        items=None,
        item=None,
        n_features=8,
        method="auto",
        ax=None,
        **options,
    ):
        """Draw the rows without which the loss of one row rises and falls most.

        Parameters
        ----------
        influence : Influence
        X : array-like of shape (1, n_features), or list of one text
            The row that is predicted.
        y : array-like of shape (1,)
            Its right label or target.
        k : int, default=3
            How many rows that help, and how many that harm.
        items : array-like of n_train rows, default=None
            What to show of the training rows: pictures of shape (n_train, height, width) or
            (n_train, height, width, 3), texts, or a table. The rows themselves by default.
        item : object, default=None
            The same of the row that is predicted; needed with `items`.
        n_features : int, default=8
            Of models with coefficients: how many words or cells are marked, at the price of an edit for
            each row that is shown. 0 marks none.
        method : {"auto", "exact", "one-step", "influence"}, default="auto"
            Of the effects.
        ax : matplotlib Axes, default=None
        **options
            To :meth:`plot`.

        Returns
        -------
        display : GalleryDisplay
        """
        pyplot()
        if (items is None) != (item is None):
            raise ValueError(
                "items= and item= go together: what to show of the rows. Got only one."
            )
        if not isinstance(n_features, numbers.Integral) or n_features < 0:
            raise ValueError(f"n_features must be a whole number from 0. Got {n_features!r}.")
        if len(y) != 1:
            raise ValueError(f"A gallery is about one row. Got {len(y)} targets.")
        top = influence.top(X, y, k, method=method)
        rows = np.concatenate([top.helpful[0], top.harmful[0]])
        effects = np.concatenate([top.helpful_effects[0], top.harmful_effects[0]])
        # Of few rows some would be on both sides, and some on the wrong one.
        signs = np.repeat([1.0, -1.0], [top.helpful.shape[1], top.harmful.shape[1]])
        stays = (rows >= 0) & (signs * effects > 0)
        rows, effects = rows[stays], effects[stays]
        through = [()] * len(rows)
        if n_features:
            through = ways_through(influence, X, rows, n_features)
        targets = influence.data.y
        if items is None:
            items, item = influence.data.inputs.raw, _safe_indexing(X, [0])
            item = _entries(item, [0])[0]
        return cls(
            item,
            _entries(items, rows),
            effects,
            name=f"predicted as {influence.estimator.predict(X)[0]}, is {np.asarray(y)[0]}",
            names=[f"row {row}: {targets[row]}" for row in rows],
            through=through,
        ).plot(ax, **options)

    def _draw(self, ax, **options):
        for side in ax.spines.values():
            side.set_visible(False)
        ax.set_xticks([])
        ax.set_yticks([])
        (self._draw_pictures if self._pictures else self._draw_lines)(ax, **options)
        ax.set(
            xlabel="the numbers: change of the loss without the row",
            ylabel="above: rows that help; below: that harm",
        )

    def _draw_pictures(self, ax, **options):
        shown = [self.item, *self.items]
        low = min(float(np.min(one)) for one in shown)
        high = max(float(np.max(one)) for one in shown)
        self.images_, self.texts_ = [], []

        def put(picture, column, line, title, colour):
            place = (column, column + 0.9, -1.4 * line - 0.9, -1.4 * line)
            look = {"cmap": "gray_r", "vmin": low, "vmax": high, **options}
            if np.ndim(picture) == 3:
                look = dict(options)
            self.images_.append(ax.imshow(picture, extent=place, **look))
            write = dict(ha="center", va="bottom", fontsize="small", color=colour, parse_math=False)
            self.texts_.append(ax.text(column + 0.45, -1.4 * line + 0.04, title, **write))

        put(self.item, 0, 0.5, self.name.replace(", ", ",\n"), INK)
        for line, (side, colour) in enumerate([(self._helpful, POINTS), (self._harmful, MARKED)]):
            for column, i in enumerate(side):
                title = f"{self.names[i]}\n{self.effects[i]:+.2g}"
                put(self.items[i], column + 1.5, line, title, colour)
        columns = max(len(self._helpful), len(self._harmful), 1)
        ax.set(xlim=(-0.15, columns + 1.6), ylim=(-2.4, 0.5), aspect="equal")

    def _draw_lines(self, ax, **options):
        total = {}
        for through in self.through:
            for feature, change in through:
                total[feature] = total.get(feature, 0.0) + abs(change)
        lines = [(self.name, None, _segments(self.item, list(total.items())), INK)]
        for side, head, colour in (
            (self._helpful, "helpful: the loss rises without them", POINTS),
            (self._harmful, "harmful: the loss falls without them", MARKED),
        ):
            lines.append((head, None, [], colour))
            for i in side:
                parts = _segments(self.items[i], self.through[i])
                lines.append((self.names[i], self.effects[i], parts, colour))
        self.images_, self.texts_ = [], []
        ax.set(xlim=(0, 1), ylim=(-len(lines) + 0.4, 0.6))
        for at, (name, effect, parts, colour) in enumerate(lines):
            head = name if effect is None else f"{name}  {effect:+.2g}"
            look = {"weight": "bold" if effect is None else "normal", "color": colour}
            self.texts_.append(ax.text(0, -at, head, va="center", parse_math=False, **look))
            self._write_parts(ax, -at, parts, {"color": INK, **options})

    def _write_parts(self, ax, y, parts, look):
        """Words one after another, marked ones on a ground that is the stronger the more they weigh."""
        strongest = max((abs(weight) for _, weight in parts), default=0.0)
        before = None
        for text, weight in parts:
            ground = None
            if weight:
                alpha = 0.15 + 0.45 * abs(weight) / strongest
                ground = {"facecolor": "#f59e0b", "alpha": alpha, "edgecolor": "none", "pad": 1.2}
            style = {
                "va": "center",
                "fontsize": "small",
                "bbox": ground,
                "parse_math": False,
                **look,
            }
            if text == "…":
                style["color"] = FAINT
            if before is None:
                before = ax.text(TEXTS_FROM, y, text, **style)
            else:
                # Where the last word ends is known when it is drawn.
                before = ax.annotate(
                    text,
                    xy=(1, 0.5),
                    xycoords=before,
                    xytext=(5, 0),
                    textcoords="offset points",
                    **style,
                )
            self.texts_.append(before)


def _entries(items, rows):
    """Pictures, texts or cells by column of some rows."""
    some = _safe_indexing(items, rows)
    if hasattr(some, "columns"):
        columns = [str(name) for name in some.columns]
        return [dict(zip(columns, row, strict=True)) for row in some.to_numpy(dtype=object)]
    some = some.toarray() if sp.issparse(some) else some
    if np.ndim(some) == 2:
        return [{f"x{j}": value for j, value in enumerate(row)} for row in np.asarray(some)]
    return [one if np.ndim(one) else str(one) for one in some]


def _segments(item, through):
    """Words or cells with the weight of the features they stand for, as many as a line holds."""
    if isinstance(item, dict):
        return _cells(item, through)
    weights = {}
    for feature, change in through:
        for word in _plain(feature).split():
            weights[word] = weights.get(word, 0.0) + change
    words = str(item).split()
    marks = [weights.get(re.sub(r"\W+", "", word.lower()), 0.0) for word in words]
    marked = np.flatnonzero(marks)
    # The words nearest to a marked one, up to the width of a line; from the beginning without any.
    place = np.arange(len(words))
    far = place if not len(marked) else np.abs(place[:, None] - marked).min(axis=1)
    kept, length = set(), 0
    for i in np.argsort(far, kind="stable"):
        length += len(words[i]) + 1
        if length > WIDTH:
            break
        kept.add(int(i))
    parts, last = [], -1
    for i in sorted(kept):
        if i != last + 1:
            parts.append(("…", 0.0))
        parts.append((words[i], marks[i]))
        last = i
    if last != len(words) - 1:
        parts.append(("…", 0.0))
    return parts


def _cells(row, through):
    """``column value`` of the cells that weigh most, then of the first ones, as a line holds."""
    weights = dict.fromkeys(row, 0.0)
    for feature, change in through:
        column = _column_of(feature, row)
        if column is not None:
            weights[column] += change
    parts, length = [], 0
    for column in sorted(row, key=lambda name: -abs(weights[name])):
        value = row[column]
        shown = f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
        text = f"{column} {shown}"
        length += len(text) + 1
        if length > WIDTH:
            return [*parts, ("…", 0.0)]
        parts.append((text, weights[column]))
    return parts


def _column_of(feature, row):
    """The column of a table that a feature was made of, by its name: the longest that fits."""
    name = _plain(feature, lower=False)
    fits = [c for c in row if name == c or re.match(re.escape(c) + r"[_:=\[ ]", name)]
    return max(fits, key=len, default=None)


def _plain(feature, lower=True):
    """The name of a feature without that of its transformer and column."""
    name = str(feature).rpartition("__")[2]
    return name.rpartition(": ")[2].lower() if lower else name
