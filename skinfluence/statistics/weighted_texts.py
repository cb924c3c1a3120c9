"""Tf-idf without some texts, of many edits at once: what scales columns and rows of the counts moves."""

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer

from skinfluence._utils.weights import weigh
from skinfluence.smooth.optimum.old_factor import by_chords, serves
from skinfluence.smooth.optimum.penalty_bound import bound_of
from skinfluence.statistics.beside_texts import parts_of
from skinfluence.statistics.counted import CountedVectorizer, chosen_words
from skinfluence.statistics.near_optimum import Nearness

# The rows of the model are those of the counts to this share of the largest value.
SAME = 1e-12


class OneText:
    """The words of one text as they lie: a row of a sparse array takes longer to make than to multiply.

    Parameters
    ----------
    data, indices : ndarray of shape (n_words,)
    """

    def __init__(self, data, indices):
        self.data, self.indices = data, indices

    def __matmul__(self, B):
        return (self.data @ B[self.indices])[None]


class WeightedTexts:
    """A linear model behind tf-idf, whose rows after an edit are ``diag(a) T diag(b)``.

    ``b`` are the weights of words without the texts that are gone, 0 of words that no text has any
    more or that are beyond a limit; ``a`` is what makes the norms of the rows 1; ``T`` are the counts of all
    texts. So one product of ``T`` with many vectors serves many edits. Columns beside those of words stay
    as they are: what they are divided by is in the penalty.

    Parameters
    ----------
    factor : Factor
        At the optimum, of an objective on sparse rows.
    counted : CountedVectorizer
        Of all texts.
    beside : Beside
        Where the words stand among the columns, and what stands beside them.

    Notes
    -----
    A pass over the stored counts for each edit and step, O(nnz), and a solve.
    """

    def __init__(self, factor, counted, beside):
        self.factor, self.objective = factor.for_steps(), factor.objective
        self.vectoriser, self.texts, self.beside = counted.vectoriser, counted.texts, beside
        n, width = self.texts.counts.shape
        self._in_texts = np.bincount(self.texts.counts.indices, minlength=width)
        self._total = np.asarray(self.texts.counts.sum(axis=0)).ravel()
        self._columns = chosen_words(self.vectoriser, self._in_texts, self._total, n)
        self._kept = np.zeros(width, dtype=bool)
        self._kept[self._columns] = True
        self.T = self._terms(self.texts.counts)
        self._turned, self._others = sp.csr_array(self.T.T), (None, None)
        # For norms: squares, or sizes.
        self._sizes = {"l2": self.T * self.T, "l1": abs(self.T)}.get(self.vectoriser.norm)
        self._b, self._a = (one[0] for one in self._scales([np.empty(0, dtype=np.intp)]))

    @classmethod
    def of(cls, factor, refits, rows):
        """Those of a factor and the steps before it, where they are of this kind; else None.

        Parameters
        ----------
        factor : Factor
        refits : Refits
            Of the steps.
        rows : CSR array
            What the steps gave the model.
        """
        design, penalty = factor.objective.design, factor.objective.penalty
        if not serves(factor) or not design.is_sparse or design.shift is not None or design.turned:
            return None
        counted, beside = parts_of(refits, rows, bool(design.intercept and penalty[-1] == 0))
        if not isinstance(counted, CountedVectorizer) or counted.texts.counts is None:
            return None
        if type(counted.vectoriser) is not TfidfVectorizer:
            return None
        found = cls(factor, counted, beside)
        words = rows[:, beside.at]
        if found.T.shape != words.shape or len(words.data) != len(found.T.data):
            return None
        again = sp.csr_array(found.T.multiply(found._a[:, None]).multiply(found._b))
        same = abs(again - words).max() <= SAME * abs(words).max()
        return found if same else None

    def takes(self, rows):
        """Whether an edit does nothing but take texts away, and no word comes within the limits by that.

        Parameters
        ----------
        rows : EditedRows
        """
        if rows.new or not self.beside.takes(rows) or not np.isfinite(rows.weights).all():
            return False
        loss = self.objective.loss
        if rows.ratio is not None and loss.reweighted(rows.ratio) is not loss:
            return False
        _, there = self._left(rows.gone)
        return bool(there.any()) and not (there & ~self._kept).any()

    @property
    def bounds_errors(self):
        """Whether it is known how far the parameters after an edit are from their optimum."""
        objective = self.objective
        free = objective.design.intercept and objective.penalty[-1] == 0
        known = objective.loss.n_outputs == 1 and objective.loss.self_concordance is not None
        return bool(known and free and self._sizes is not None)

    def after(self, edits, outs, noise, tol=0.0, certify=False):
        """Decision values of the models after some edits.

        Parameters
        ----------
        edits : list of EditedRows
            That it :meth:`takes`.
        outs : list of array-like
            The raw rows that each is asked about.
        noise : float
            What rounding leaves of the fit, as a distance.
        tol : float, default=0.0
            Share of the largest change among them that the decision values of an edit may be off by, where
            that can be certified; else they are solved for to round-off.
        certify : bool, default=False
            Whether bounds are wanted, where :attr:`bounds_errors`.

        Returns
        -------
        found : list of (ndarray of shape (n_out, n_outputs), float), or None
            The bound is on the distance of the parameters, in the norm of the Hessian. None where the old
            factor is no help.
        """
        objective, beside, m = self.objective, self.beside, len(edits)
        b, a = self._scales([one.gone for one in edits])
        weights, penalty = np.zeros(a.shape), np.tile(objective.penalty, (m, 1))
        y = np.tile(objective.y, (m, *[1] * objective.y.ndim))
        for k, one in enumerate(edits):
            weights[k, one.kept], y[k, one.kept] = one.weights, one.y
            if objective.hold != "C":
                penalty[k] *= one.weights.sum() / objective.total_weight
            penalty[k, beside.columns] *= beside.ratio(one)
        intercept, bends = objective.design.intercept, np.zeros(m)
        others = beside.of(outs)
        counts = [self._rows_of(beside.texts_of(one)) for one in outs]
        asked = self._asked(counts, others, b)
        # Of rows whose words have a norm of at most 1, and one decision value.
        short = objective.loss.n_outputs == 1 and self._sizes is not None
        certifies = short and (tol > 0 or certify)

        def gradients(which, theta):
            eta = self._products(a[which], b[which], theta[:, :, beside.at])
            eta += beside.products(theta)
            if intercept:
                eta += intercept * theta[:, None, :, -1]
            left = weigh(weights[which, :, None], objective.loss.gradient(eta, y[which]))
            if certifies:
                second = objective.loss.hessian(eta, y[which])[..., 0, 0]
                bends[which] = weigh(weights[which], second).sum(axis=1)
            out = penalty[which, None, :] * theta
            out[:, :, beside.at] += self._adjoints(a[which], b[which], left)
            beside.add_adjoints(out, left)
            if intercept:
                out[:, :, -1] += intercept * left.sum(axis=1)
            return out.reshape(len(out), -1)

        enough, bounds = None, np.full(m, np.inf)
        if certifies:
            largest = np.array([beside.largest(*one) for one in zip(penalty, others, strict=True)])
        if certifies and tol > 0:
            fitted = self._asked(counts, others, [self._b] * m)
            before = [fitted(k, objective.theta) for k in range(m)]
            enough = Nearness(objective, penalty, largest, bends, asked, before, tol)
        starts = np.tile(objective.theta, (m, 1, 1))
        found = by_chords(self.factor, starts, gradients, noise, enough)
        there = [k for k, theta in enumerate(found) if theta is not None]
        if certify and there:
            left = gradients(np.array(there), np.stack([found[k] for k in there]))
            inverse = np.zeros((len(there), penalty.shape[1]))
            inverse[:, :-1] = 1.0 / penalty[there, :-1]
            M = objective.loss.self_concordance
            bounds[there] = noise + bound_of(
                left, inverse, largest[there], intercept, bends[there], M
            )
        return [
            None if theta is None else (asked(k, theta), float(bounds[k]))
            for k, theta in enumerate(found)
        ]

    def _asked(self, counts, others, b):
        """Decision values of the rows that each edit is asked about, at parameters and weights of words."""
        words = [self._weighted(*one) for one in zip(counts, b, strict=True)]
        at, columns = self.beside.at, self.beside.columns
        intercept = self.objective.design.intercept

        def values(k, theta):
            eta = words[k] @ theta[:, at].T
            if len(columns):
                eta = eta + others[k] @ theta[:, columns].T
            return eta + intercept * theta[:, -1] if intercept else eta

        return values

    def _terms(self, counts):
        """The words within the limits at the fit, as often as the vectoriser takes them."""
        T = sp.csr_array(counts[:, self._columns])
        T.sort_indices()
        if self.vectoriser.sublinear_tf:
            T.data = np.log(T.data) + 1.0
        return T

    def _left(self, gone):
        """In how many texts each of all words is without some, and which words are columns then."""
        counts, left = self.texts.counts, self._in_texts.copy()
        limited = self.vectoriser.max_features is not None
        total = self._total.copy() if limited else self._total
        for i in gone:
            own = slice(counts.indptr[i], counts.indptr[i + 1])
            left[counts.indices[own]] -= 1
            if limited:
                total[counts.indices[own]] -= counts.data[own]
        there = np.zeros(len(left), dtype=bool)
        there[chosen_words(self.vectoriser, left, total, len(counts.indptr) - 1 - len(gone))] = True
        return left, there

    def _scales(self, gone):
        """``b`` and ``a`` without the texts of each group, (m, n_words) and (m, n_texts)."""
        vectoriser, n = self.vectoriser, self.T.shape[0]
        b = np.ones((len(gone), len(self._columns)))
        for k, some in enumerate(gone):
            left, there = self._left(some)
            if vectoriser.use_idf:
                one = float(vectoriser.smooth_idf)
                with np.errstate(divide="ignore"):
                    b[k] += np.log((n - len(some) + one) / (left[self._columns] + one))
            b[k][~there[self._columns]] = 0.0
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

    def _weighted(self, T, b):
        """Counts of other texts as the vectoriser would weigh them."""
        data = T.data * b[T.indices]
        if isinstance(T, OneText):
            if self._sizes is not None:
                length = np.linalg.norm(data, 2 if self.vectoriser.norm == "l2" else 1)
                data = data / (length or 1.0)
            return OneText(data, T.indices)
        if self._sizes is not None:
            squared = self.vectoriser.norm == "l2"
            sizes = data * data if squared else np.abs(data)
            row = np.repeat(np.arange(T.shape[0]), np.diff(T.indptr))
            length = np.bincount(row, sizes, T.shape[0])
            length = np.sqrt(length) if squared else length
            data = data / np.where(length > 0, length, 1.0)[row]
        return sp.csr_array((data, T.indices, T.indptr), shape=T.shape)

    def _rows_of(self, texts):
        """The same words of other texts as often as they have them; of the same ones as last time, those."""
        before, T = self._others
        if before != texts:
            place = self.texts.places(texts)
            if place is not None and len(place) == 1:
                own = slice(*self.T.indptr[place[0] : place[0] + 2])
                return OneText(self.T.data[own], self.T.indices[own])
            T = self._terms(self.texts.of(texts)) if place is None else self.T[place]
            self._others = texts, T
        return T
