"""Tf-idf without some texts, of many edits at once: what scales columns and rows of the counts moves."""

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer

from skinfluence.smooth import piecewise
from skinfluence.smooth.old_factor import by_chords
from skinfluence.statistics.counted import CountedVectorizer
from skinfluence.statistics.texts import within

# The rows of the model are those of the counts to this share of the largest value.
SAME = 1e-12


class WeightedTexts:
    """A linear model behind tf-idf, whose rows after an edit are ``diag(a) T diag(b)``.

    ``b`` are the weights of words without the texts that are gone, 0 of words that no text has any
    more or that are beyond a limit; ``a`` is what makes the norms of the rows 1; ``T`` are the counts of all
    texts. So one product of ``T`` with many vectors serves many edits.

    Parameters
    ----------
    factor : Factor
        At the optimum, of an objective on sparse rows.
    counted : CountedVectorizer
        Of all texts.

    Notes
    -----
    A pass over the stored counts for each edit and step, O(nnz), and a solve.
    """

    def __init__(self, factor, counted):
        self.factor, self.objective = factor, factor.objective
        self.vectoriser, self.texts = counted.vectoriser, counted.texts
        n, width = self.texts.counts.shape
        self._in_texts = np.bincount(self.texts.counts.indices, minlength=width)
        self._kept = within(self.vectoriser, self._in_texts, n)
        self._columns = np.flatnonzero(self._kept)
        self.T = self._terms(self.texts.counts)
        self._turned, self._others = sp.csr_array(self.T.T), (None, None)
        # For norms: squares, or sizes.
        self._sizes = {"l2": self.T * self.T, "l1": abs(self.T)}.get(self.vectoriser.norm)

    @classmethod
    def of(cls, factor, steps, rows):
        """Those of a factor and the steps before it, where they are of this kind; else None.

        Parameters
        ----------
        factor : Factor
        steps : list of transformers
            As :class:`~skinfluence.statistics.refits.Refits` fits them again.
        rows : CSR array
            What the steps gave the model.
        """
        objective = factor.objective
        design, loss, penalty = objective.design, objective.loss, objective.penalty
        counted = steps[0] if len(steps) == 1 else None
        if not isinstance(counted, CountedVectorizer) or counted.texts.counts is None:
            return None
        vectoriser = counted.vectoriser
        if type(vectoriser) is not TfidfVectorizer or vectoriser.max_features is not None:
            return None
        certified = loss.self_concordance is not None and not piecewise.is_piecewise(loss)
        if not certified or not design.is_sparse or design.shift is not None or design.turned:
            return None
        penalised = (penalty[: design.n_features] > 0).all()
        if not penalised or factor.is_random or factor.curvature.damping:
            return None
        found = cls(factor, counted)
        if found.T.shape != rows.shape or len(rows.data) != len(found.T.data):
            return None
        b, a = found._scales([np.empty(0, dtype=np.intp)])
        again = sp.csr_array(found.T.multiply(a[0][:, None]).multiply(b[0]))
        same = abs(again - rows).max() <= SAME * abs(rows).max()
        return found if same else None

    def takes(self, rows):
        """Whether an edit does nothing but take texts away, and no word comes within the limits by that.

        Parameters
        ----------
        rows : EditedRows
        """
        if rows.new or rows.ratio is not None:
            return False
        left = self._left(rows.gone)
        n = len(self.texts.counts.indptr) - 1 - len(rows.gone)
        there = (left > 0) & within(self.vectoriser, left, n)
        return bool(there.any()) and not (there & ~self._kept).any()

    def after(self, edits, outs, noise):
        """Decision values of the models after some edits.

        Parameters
        ----------
        edits : list of EditedRows
            That it :meth:`takes`.
        outs : list of lists of str
            The texts that each is asked about.
        noise : float
            What rounding leaves of the fit, as a distance.

        Returns
        -------
        eta : list of ndarray of shape (n_out, n_outputs), or None
            None where the old factor is no help.
        """
        objective, m = self.objective, len(edits)
        b, a = self._scales([one.gone for one in edits])
        weights, penalty = np.zeros(a.shape), np.tile(objective.penalty, (m, 1))
        y = np.tile(objective.y, (m, *[1] * objective.y.ndim))
        for k, one in enumerate(edits):
            weights[k, one.kept], y[k, one.kept] = one.weights, one.y
            if objective.hold != "C":
                penalty[k] *= one.weights.sum() / objective.total_weight
        intercept, d = objective.design.intercept, len(self._columns)

        def gradients(which, theta):
            eta = self._products(a[which], b[which], theta[:, :, :d])
            if intercept:
                eta += intercept * theta[:, None, :, d]
            left = weights[which, :, None] * objective.loss.gradient(eta, y[which])
            out = penalty[which, None, :] * theta
            out[:, :, :d] += self._adjoints(a[which], b[which], left)
            if intercept:
                out[:, :, d] += intercept * left.sum(axis=1)
            return out.reshape(len(out), -1)

        starts = np.tile(objective.theta, (m, 1, 1))
        found = by_chords(self.factor, starts, gradients, noise)
        return [
            None if theta is None else self._values(theta, outs[k], b[k])
            for k, theta in enumerate(found)
        ]

    def _terms(self, counts):
        """The words within the limits at the fit, as often as the vectoriser takes them."""
        T = sp.csr_array(counts[:, self._columns])
        T.sort_indices()
        if self.vectoriser.sublinear_tf:
            T.data = np.log(T.data) + 1.0
        return T

    def _left(self, gone):
        """In how many texts each of all words is without some."""
        counts, left = self.texts.counts, self._in_texts.copy()
        for i in gone:
            left[counts.indices[counts.indptr[i] : counts.indptr[i + 1]]] -= 1
        return left

    def _scales(self, gone):
        """``b`` and ``a`` without the texts of each group, (m, n_words) and (m, n_texts)."""
        vectoriser, n = self.vectoriser, self.T.shape[0]
        b = np.empty((len(gone), len(self._columns)))
        for k, some in enumerate(gone):
            left, n_left = self._left(some), n - len(some)
            there = ((left > 0) & within(vectoriser, left, n_left))[self._columns]
            b[k] = 1.0
            if vectoriser.use_idf:
                one = float(vectoriser.smooth_idf)
                with np.errstate(divide="ignore"):
                    b[k] += np.log((n_left + one) / (left[self._columns] + one))
            b[k][~there] = 0.0
        return b, self._lengths(self._sizes, b)

    def _lengths(self, sizes, b):
        """What rows are divided by, turned over; 1 for rows of nothing."""
        if sizes is None:
            return np.ones((len(b), self.T.shape[0]))
        if self.vectoriser.norm == "l1":
            norm = (sizes @ np.abs(b).T).T
        else:
            norm = np.sqrt((sizes @ (b * b).T).T)
        return 1.0 / np.where(norm > 0, norm, 1.0)

    def _products(self, a, b, theta):
        m, k, d = theta.shape
        turned = np.ascontiguousarray((b[:, None, :] * theta).reshape(m * k, d).T)
        eta = (self.T @ turned).reshape(-1, m, k).transpose(1, 0, 2)
        return a[:, :, None] * eta

    def _adjoints(self, a, b, left):
        m, n, k = left.shape
        turned = (a[:, :, None] * left).transpose(1, 0, 2).reshape(n, m * k)
        out = (self._turned @ np.ascontiguousarray(turned)).T.reshape(m, k, -1)
        return b[:, None, :] * out

    def _values(self, theta, texts, b):
        """Decision values of other texts, (n_out, n_outputs)."""
        T = self._rows_of(texts)
        data = T.data * b[T.indices]
        eta = sp.csr_array((data, T.indices, T.indptr), shape=T.shape) @ theta[:, : len(b)].T
        if self._sizes is not None:
            squared = self.vectoriser.norm == "l2"
            sizes = data * data if squared else np.abs(data)
            row = np.repeat(np.arange(len(eta)), np.diff(T.indptr))
            length = np.bincount(row, sizes, len(eta))
            length = np.sqrt(length) if squared else length
            eta /= np.where(length > 0, length, 1.0)[:, None]
        intercept = self.objective.design.intercept
        return eta + intercept * theta[:, -1] if intercept else eta

    def _rows_of(self, texts):
        """The same words of other texts as often as they have them; of the same ones as last time, those."""
        texts = list(texts)
        before, T = self._others
        if before != texts:
            place = self.texts.places(texts)
            T = self._terms(self.texts.of(texts)) if place is None else self.T[place]
            self._others = texts, T
        return T
