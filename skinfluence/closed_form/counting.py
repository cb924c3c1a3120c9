"""Naive Bayes of counts: multinomial, complement and Bernoulli.

With F the counts by class and column, a row scores ``x . b_k + c_k``, b and c made of logarithms of
``F + alpha``. Without row i of weight w the counts of its class lose ``w x_i``: b moves where the row
is not zero, and by what the totals lose, one number for all columns. So that leaving each row out
costs the entries of the row, not its columns.
"""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import binarize

from skinfluence._utils.rows import are_all
from skinfluence.closed_form.family import Family, log_priors


@dataclass(frozen=True, eq=False)
class Parts:
    """Scores of one class, ``scale (x . base + x . moved_i + shift_i sum(x)) + constant_i``.

    Attributes
    ----------
    base : ndarray of shape (n_features,)
    moved : CSR array of shape (b, n_features) or None
        For each row that is left out, where it is not zero.
    shift, scale, constant : ndarray of shape (b,) or float
    """

    base: np.ndarray
    moved: object = None
    shift: object = 0.0
    scale: object = 1.0
    constant: object = 0.0

    def at(self, X):
        """Scores of rows of X without each row, shape (b or 1, m)."""
        out = (X @ self.base)[None, :]
        if self.moved is not None:
            out = out + _dense(self.moved @ X.T)
        out = out + np.multiply.outer(self.shift, _dense(X.sum(axis=1)).ravel())
        return np.reshape(self.scale, (-1, 1)) * out + np.reshape(self.constant, (-1, 1))


class CountingFamily(Family):
    """Counts of columns by class.

    Parameters
    ----------
    X, codes, weights, n_classes
        See :class:`~skinfluence.closed_form.family.Family`.
    alpha : float or ndarray of shape (n_features,)
        What is added to each count.
    priors : ndarray of shape (n_classes,) or None
    options : dict
        Of the kind.
    """

    takes_weights = True
    # Whether leaving a row out moves columns where it is zero.
    moves_all_columns = False

    def __init__(self, X, codes, weights, n_classes, alpha, priors, **options):
        super().__init__(X, codes, weights, n_classes)
        self.alpha, self.priors, self.options = np.asarray(alpha, dtype=float), priors, options
        self.seen = _sparse(self.see(X))
        member = sp.csr_array(
            (weights, (codes, np.arange(len(codes)))), shape=(n_classes, len(codes))
        )
        self.features = (member @ self.seen).toarray()

    def again(self, X, codes, weights):
        make = type(self)
        return make(X, codes, weights, self.n_classes, self.alpha, self.priors, **self.options)

    def see(self, X):
        """Rows as they are counted."""
        return X

    @abstractmethod
    def parts(self, k):
        """The :class:`Parts` of a class as fitted."""

    @abstractmethod
    def parts_without(self, k, c, w, R):
        """The :class:`Parts` of a class without each of some rows R of class c and weights w."""

    def scores(self, X):
        return self._as_fitted(_sparse(self.see(X))) + self.log_priors(self.counts)

    def _as_fitted(self, seen):
        """Scores of rows without the priors, all classes in one product, (n_rows, n_classes)."""
        parts = [self.parts(k) for k in range(self.n_classes)]
        out = seen @ np.column_stack([one.base for one in parts])
        out += np.outer(_dense(seen.sum(axis=1)).ravel(), [one.shift for one in parts])
        return out * [one.scale for one in parts] + [one.constant for one in parts]

    def own_scores(self, rows):
        every = are_all(rows, len(self.codes))
        seen = self.seen if every else self.seen[rows]
        # Rows that were given in an array are multiplied as one: twice as fast where few are zero.
        plain = every and isinstance(self.X, np.ndarray) and self.see(self.X) is self.X
        out = self._as_fitted(self.X if plain else seen)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._leave_out(out, seen, rows)
        return self._whole(out, rows)

    @abstractmethod
    def _leave_out(self, out, seen, rows):
        """Write scores of rows without themselves where they differ from those of the fit.

        Parameters
        ----------
        out : ndarray of shape (n_rows, n_classes)
            As fitted, without priors.
        seen : CSR array of shape (n_rows, n_features)
        rows : ndarray of int
        """

    def _taken(self, seen, rows):
        """What each row has added to counts, entry by entry, and in all."""
        w, sums = self.weights[rows], _row_sums(seen, seen.data)
        if (w == 1.0).all():
            return seen.data, sums
        return np.repeat(w, np.diff(seen.indptr)) * seen.data, w * sums

    def scores_without(self, X, rows):
        X = _sparse(self.see(X))
        for block in self.blocks(rows, X):
            some = rows[block]
            out = np.empty((len(some), X.shape[0], self.n_classes))
            for group in self._alike(some):
                for k, one in enumerate(self._without(some[group])):
                    out[group, :, k] = one.at(X)
            yield block, self._whole(out, some)

    def _without(self, rows):
        R, c, w = self.seen[rows], self.codes[rows[0]], self.weights[rows]
        with np.errstate(divide="ignore", invalid="ignore"):
            return [self.parts_without(k, c, w, R) for k in range(self.n_classes)]

    def _alike(self, rows):
        """Positions of rows of one class, and of one weight where that moves all columns."""
        keys = self.codes[rows].astype(float)[:, None]
        if self.moves_all_columns:
            keys = np.column_stack([keys, self.weights[rows]])
        _, group = np.unique(keys, axis=0, return_inverse=True)
        return [np.flatnonzero(group == g) for g in range(group.max(initial=-1) + 1)]

    def _whole(self, scores, rows):
        """With the classes' priors; NaN for all classes where one of them has no rows left."""
        counts = np.tile(self.counts, (len(rows), 1))
        counts[np.arange(len(rows)), self.codes[rows]] -= self.weights[rows]
        gone = (counts <= 1e-12 * self.counts).any(axis=1)
        counts[gone] = 1.0
        scores += self.log_priors(counts if scores.ndim == 2 else counts[:, None])
        scores[gone] = np.nan
        return scores

    def log_priors(self, counts):
        """What the priors add to the scores."""
        return log_priors(counts, self.priors)

    def _log_moves(self, counts, R, w):
        """``log(counts - w x)``, less ``log(counts)``, where rows are not zero: a CSR array."""
        taken = R.data if (w == 1.0).all() else np.repeat(w, np.diff(R.indptr)) * R.data
        return _with_data(R, np.log1p(-taken / counts[R.indices]))


class MultinomialFamily(CountingFamily):
    """Shares of a class's counts: ``b = log(F + alpha) - log(sum(F + alpha))``."""

    def parts(self, k):
        smoothed = self.features[k] + self.alpha
        return Parts(np.log(smoothed), shift=-np.log(smoothed.sum()))

    def parts_without(self, k, c, w, R):
        if k != c:
            return self.parts(k)
        smoothed = self.features[k] + self.alpha
        total = smoothed.sum() - w * _row_sums(R, R.data)
        return Parts(np.log(smoothed), self._log_moves(smoothed, R, w), -np.log(total))

    def _leave_out(self, out, seen, rows):
        smoothed, codes = self.features + self.alpha, self.codes[rows]
        taken, lost = self._taken(seen, rows)
        moved = np.log1p(-taken / smoothed.ravel()[_in_table(codes, seen)])
        total = smoothed.sum(axis=1)[codes]
        own = _row_sums(seen, seen.data * moved)
        own -= _row_sums(seen, seen.data) * np.log1p(-lost / total)
        out[np.arange(len(rows)), codes] += own


class ComplementFamily(CountingFamily):
    """Shares of the other classes' counts, whose logarithms count against the class.

    ``options["norm"]``: divided by the sum of the logarithms.
    """

    def log_priors(self, counts):
        # scikit-learn uses them where there is one class, which has nothing to ask about.
        return 0.0

    def _others(self, k):
        return self.features.sum(axis=0) - self.features[k] + self.alpha

    def _scale(self, logs, total):
        """What ``x . logs - sum(x) log(total)`` is multiplied by; ``logs`` is their sum."""
        if not self.options["norm"]:
            return -1.0
        return 1.0 / (logs - self.seen.shape[1] * np.log(total))

    def parts(self, k):
        others = self._others(k)
        logs, total = np.log(others), others.sum()
        return Parts(logs, shift=-np.log(total), scale=self._scale(logs.sum(), total))

    def parts_without(self, k, c, w, R):
        if k == c:
            return self.parts(k)
        others = self._others(k)
        logs, moved = np.log(others), self._log_moves(others, R, w)
        total = others.sum() - w * _row_sums(R, R.data)
        sums = logs.sum() + _row_sums(R, moved.data)
        return Parts(logs, moved, -np.log(total), self._scale(sums, total))

    def _leave_out(self, out, seen, rows):
        codes, sums = self.codes[rows], _row_sums(seen, seen.data)
        taken, lost = self._taken(seen, rows)
        others = np.stack([self._others(k) for k in range(self.n_classes)])
        logs = np.log(others)
        for k, (scored, moved) in enumerate(self._logs_without(seen, taken, others, logs)):
            total = others[k].sum() - lost
            found = scored - sums * np.log(total)
            scale = self._scale(logs[k].sum() + moved, total)
            out[:, k] = np.where(codes == k, out[:, k], scale * found)

    def _logs_without(self, seen, taken, others, logs):
        """For each class ``x . log(others - taken)`` of each row, and what the logarithms move by in all."""
        n_columns, most = seen.shape[1], taken.max(initial=0.0)
        if n_columns * (most + 1) > len(taken) or (taken != np.floor(taken)).any():
            base = seen @ logs.T
            for k in range(self.n_classes):
                moved = np.log1p(-taken / others[k][seen.indices])
                scored = base[:, k] + _row_sums(seen, seen.data * moved)
                yield scored, _row_sums(seen, moved)
            return
        # Few counts that repeat: each logarithm is taken once, and rows are products with a table of them.
        levels = np.arange(int(most) + 1)
        moved = np.log1p(-levels / others[:, :, None]).reshape(self.n_classes, -1)
        at = seen.indices * len(levels) + taken.astype(seen.indices.dtype)
        shape = seen.shape[0], n_columns * len(levels)
        scored = sp.csr_array((seen.data, at, seen.indptr), shape=shape)
        scored = scored @ np.ascontiguousarray((np.repeat(logs, len(levels), axis=1) + moved).T)
        shifts = np.zeros_like(scored)
        if self.options["norm"]:
            shifts = sp.csr_array((np.ones(len(at)), at, seen.indptr), shape=shape) @ moved.T
        yield from zip(scored.T, shifts.T, strict=True)


class BernoulliFamily(CountingFamily):
    """Shares of a class's rows in which a column is on, and off.

    ``options["threshold"]``: above which a number is on; None where numbers are 0 and 1.
    """

    moves_all_columns = True

    def see(self, X):
        threshold = self.options["threshold"]
        return X if threshold is None else binarize(X, threshold=threshold)

    def parts(self, k):
        on = self.features[k] + self.alpha
        every = self.counts[k] + 2 * self.alpha
        off = every - on
        return Parts(np.log(on) - np.log(off), constant=(np.log(off) - np.log(every)).sum())

    def parts_without(self, k, c, w, R):
        if k != c:
            return self.parts(k)
        w = w[0]
        base, constant, on, off, taken = self._off_first(k, w)
        moved, switched = _switched_on(on, off, taken, R.indices)
        return Parts(base, _with_data(R, moved), constant=constant + _row_sums(R, switched))

    def _off_first(self, k, w):
        """What classes say without a row of a weight that is off in all columns where it may be.

        Parameters
        ----------
        k : int or ndarray of int, shape (m,)
        w : float

        Returns
        -------
        base : ndarray of shape (m, n_features)
        constant : ndarray of shape (m,)
        on, off : ndarray of shape (m, n_features)
            Smoothed counts with the row.
        taken : ndarray of shape (m, n_features)
            What a row that is on takes from those that are on, and gives back to those that are off.
        """
        counts = np.asarray(self.counts[k])[..., None]
        on, every = self.features[k] + self.alpha, counts + 2 * self.alpha
        off = every - on
        # Where the class is never off, the row is on.
        always = counts - self.features[k] < 0.5 * w
        on_base, off_base = on - w * always, off - w * ~always
        constant = (np.log(off_base) - np.log(every - w)).sum(axis=-1)
        return np.log(on_base) - np.log(off_base), constant, on, off, np.where(always, 0.0, w)

    def _leave_out(self, out, seen, rows):
        weights = self.weights[rows]
        for w in np.unique(weights):
            some = np.flatnonzero(weights == w)
            R = seen if len(some) == len(rows) else seen[some]
            codes = self.codes[rows[some]]
            classes, place = np.unique(codes, return_inverse=True)
            base, constant, on, off, taken = self._off_first(classes, w)
            at = _in_table(place, R)
            moved, switched = _switched_on(on, off, taken, at)
            own = _row_sums(R, R.data * (base.ravel()[at] + moved) + switched)
            out[some, codes] = own + constant[place]


def _switched_on(on, off, taken, at):
    """What a row that is on moves in the scores, beyond one that is off, at some places of tables."""
    less = taken.ravel()[at]
    switched = -np.log1p(-less / off.ravel()[at])
    return np.log1p(-less / on.ravel()[at]) - switched, switched


def _in_table(lines, R):
    """Where entries of rows stand in a table of a line for some of them and their columns, raveled."""
    return np.repeat(lines, np.diff(R.indptr)) * R.shape[1] + R.indices


def _with_data(R, values):
    """A CSR array with other values at the same entries."""
    return sp.csr_array((values, R.indices, R.indptr), shape=R.shape)


def _row_sums(R, values):
    """Sums by row of values at the entries of a CSR array, (n_rows,)."""
    out = np.zeros(R.shape[0])
    # A row without entries would be given the first one of the next.
    some = np.diff(R.indptr) > 0
    if some.any():
        out[some] = np.add.reduceat(values, R.indptr[:-1][some])
    return out


def _sparse(X):
    """Rows as a CSR array; of an array in half of the time that scipy takes."""
    if not isinstance(X, np.ndarray):
        return sp.csr_array(X)
    there = X != 0
    indptr = np.zeros(len(X) + 1, dtype=np.int32 if X.size < 2**31 else np.int64)
    np.cumsum(there.sum(axis=1), out=indptr[1:])
    columns = np.broadcast_to(np.arange(X.shape[1], dtype=indptr.dtype), X.shape)[there]
    return sp.csr_array((X[there], columns, indptr), shape=X.shape)


def _dense(found):
    return found.toarray() if sp.issparse(found) else np.asarray(found)
