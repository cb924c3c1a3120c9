"""What streams of effects, a block of rows at a time, are gathered into."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import _safe_indexing

from skinfluence._utils._optional import require


@dataclass(frozen=True, eq=False)
class Top:
    """The training rows that matter most for each test point.

    Attributes
    ----------
    helpful, harmful : ndarray of int, shape (n_test, k)
        Training rows by falling / rising removal effect. Positive effects are helpful: removing
        the row raises the test loss.
    helpful_effects, harmful_effects : ndarray of shape (n_test, k)
        NaN, last, for rows without an answer, such as the only one of a class: a warning names
        them.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence import Influence
    >>> X, y = load_iris(return_X_y=True)
    >>> inf = Influence(LogisticRegression(max_iter=1000, tol=1e-8).fit(X, y), X, y)
    >>> top = inf.top(X[[70]], y[[70]], k=3)
    >>> top.harmful.shape, bool((top.harmful_effects < 0).all())
    ((1, 3), True)
    """

    helpful: np.ndarray
    helpful_effects: np.ndarray
    harmful: np.ndarray
    harmful_effects: np.ndarray

    def __repr__(self):
        n_test, k = self.helpful.shape
        lines = [f"Top({n_test} test point{'s' if n_test != 1 else ''}, {k} rows each way)"]
        for t in range(min(n_test, 3)):
            sides = (
                ("helpful", self.helpful, self.helpful_effects),
                ("harmful", self.harmful, self.harmful_effects),
            )
            for name, rows, effects in sides:
                some = zip(rows[t, :3], effects[t, :3], strict=True)
                shown = ", ".join(f"{row} ({effect:+.3g})" for row, effect in some)
                lines.append(f"  test {t}, {name}: {shown}{', …' if k > 3 else ''}")
        return "\n".join([*lines, *(["  …"] if n_test > 3 else [])])

    def _repr_html_(self):
        try:
            return self.to_frame().head(40).to_html(index=False)
        except ImportError:
            return f"<pre>{self!r}</pre>"

    def to_frame(self, X=None, y=None):
        """One line for each test point, side and rank; needs pandas.

        Parameters
        ----------
        X : DataFrame or array-like of n_train rows, default=None
            The training rows, shown beside their effects.
        y : array-like of shape (n_train,), default=None
            Their targets.

        Returns
        -------
        frame : DataFrame
            ``test``, ``side`` ("helpful" or "harmful"), ``rank`` from 1, ``row``, ``effect``, then the
            target and the columns of `X`.
        """
        pd = require("pandas", extra="audit")
        n_test, k = self.helpful.shape
        rows = np.stack([self.helpful, self.harmful], axis=1)
        frame = pd.DataFrame(
            {
                "test": np.repeat(np.arange(n_test), 2 * k),
                "side": np.tile(np.repeat(["helpful", "harmful"], k), n_test),
                "rank": np.tile(np.arange(1, k + 1), 2 * n_test),
                "row": rows.ravel(),
                "effect": np.stack([self.helpful_effects, self.harmful_effects], axis=1).ravel(),
            }
        )
        if y is not None:
            frame["y"] = np.asarray(y)[frame["row"]]
        if X is None:
            return frame
        shown = _safe_indexing(X, frame["row"].to_numpy())
        if not hasattr(shown, "columns"):
            shown = shown.toarray() if hasattr(shown, "toarray") else np.asarray(shown)
            shown = pd.DataFrame(shown.reshape(len(frame), -1)).add_prefix("x")
        shown = shown.reset_index(drop=True)
        taken = {name: f"{name} (row)" for name in shown.columns if name in frame.columns}
        return pd.concat([frame, shown.rename(columns=taken)], axis=1)


def gathered(stream, quantity, n, out=None):
    """A stream of effects of n rows as one array, (n_test, n, ...), or (n,) for a scalar."""
    shape = quantity.shape
    if out is None:
        out = np.empty((*shape[:1], n, *shape[1:]))
    for block, values in stream:
        if shape:
            out[:, block] = np.swapaxes(values, 0, 1)
        else:
            out[block] = values
    return out


def top_of(stream, n, k):
    """The k largest and smallest of a stream of effects of n rows for each test point: a Top."""
    kept = {sign: (None, None) for sign in (1, -1)}
    for block, values in stream:
        rows = np.broadcast_to(np.arange(n)[block], values.T.shape)
        for sign in kept:
            kept[sign] = _merge(kept[sign], sign * values.T, rows, k)
    (helpful, up), (harmful, down) = kept[1], kept[-1]
    return Top(helpful, up, harmful, -down)


def _merge(kept, values, rows, k):
    """The k largest values of each line of two candidate sets, sorted; numpy sorts NaN last."""
    if kept[0] is not None:
        values = np.concatenate([kept[1], values], axis=1)
        rows = np.concatenate([kept[0], rows], axis=1)
    if values.shape[1] > k:
        best = np.argpartition(-values, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(values, best, axis=1)
        rows = np.take_along_axis(rows, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(values, order, axis=1)
