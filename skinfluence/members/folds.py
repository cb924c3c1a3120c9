"""How a table is cut into folds, and how it is cut without each of its rows."""

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, check_cv


class Cuts:
    """Folds of consecutive rows, of each class or of all: without a row few others change theirs.

    Parameters
    ----------
    cv : int, KFold, StratifiedKFold or None
        As of an estimator; that it does not draw.
    classifies : bool
        Whether a number of folds is of each class.

    Raises
    ------
    TypeError
        For other splitters, with what to do.
    """

    def __init__(self, cv, classifies):
        self.cv = check_cv(cv, [0, 1], classifier=classifies)
        known = type(self.cv) in (KFold, StratifiedKFold)
        if not known or self.cv.shuffle:
            like = "StratifiedKFold" if classifies else "KFold"
            drawn = " that draws its folds (shuffle=True)" if known else ""
            raise TypeError(
                "Folds must be consecutive rows, of each class or of all, so that it is known what becomes "
                f"of them without a row. Got {type(self.cv).__name__}{drawn}. Fit with cv=5 or "
                f"cv={like}(5), rows shuffled once beforehand if they are in an order."
            )

    @property
    def n_folds(self):
        return self.cv.n_splits

    def of(self, codes):
        """The fold of each row, (n_rows,).

        Parameters
        ----------
        codes : ndarray of int, shape (n_rows,)
            Positions of classes.
        """
        fold = np.empty(len(codes), dtype=np.int16)
        for k, (_, test) in enumerate(self.cv.split(np.zeros((len(codes), 1)), codes)):
            fold[test] = k
        return fold

    def without(self, codes, rows):
        """Folds without each of some rows; that row itself is put beside one next to it.

        Parameters
        ----------
        codes : ndarray of int, shape (n_rows,)
        rows : ndarray of int, shape (m,)

        Returns
        -------
        cuts : list of (ndarray of shape (n_rows,), ndarray of int)
            Folds of all rows, and the positions in ``rows`` of those without which the others have these.
        """
        found = {}
        lines = [np.arange(len(codes))]
        if isinstance(self.cv, StratifiedKFold):
            lines = [np.flatnonzero(codes == k) for k in np.unique(codes[rows])]
        for line in lines:
            asked = np.flatnonzero(np.isin(rows, line))
            if len(asked):
                asked = asked[np.argsort(rows[asked], kind="stable")]
                self._between(codes, line, rows, asked, found)
        return [(fold, np.array(some)) for fold, some in found.values()]

    def _between(self, codes, line, rows, asked, found):
        """Look at the first, the last, and between two that differ: folds of a line change one way."""
        known = {}

        def cut(at):
            if at not in known:
                known[at] = self._placed(codes, line, rows[asked[at]])
            return known[at]

        same = np.empty(len(asked), dtype=object)
        pending = [(0, len(asked) - 1)]
        while pending:
            low, high = pending.pop()
            same[low], same[high] = cut(low), cut(high)
            if (same[low] == same[high]).all():
                for at in range(low + 1, high):
                    same[at] = same[low]
            elif high - low > 1:
                middle = (low + high) // 2
                pending += [(low, middle), (middle, high)]
        for at, fold in zip(asked, same, strict=True):
            found.setdefault(fold.tobytes(), (fold, []))[1].append(at)

    def _placed(self, codes, line, row):
        others = self.of(np.delete(codes, row))
        at = np.searchsorted(line, row)
        beside = line[at - 1] if at else line[min(1, len(line) - 1)]
        own = others[beside - (beside > row)] if beside != row else 0
        return np.insert(others, row, own)
