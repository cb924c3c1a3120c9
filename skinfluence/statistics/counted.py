"""Texts are counted once: what a vectoriser would learn from some of them is a sum over their counts."""

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer

from skinfluence.statistics.texts import every_word, within

# Differences from what the vectoriser itself makes of the texts that are round-off.
SAME = 1e-12


class CountedVectorizer(TransformerMixin, BaseEstimator):
    """A vectoriser, of texts that are counted already.

    Parameters
    ----------
    vectoriser : CountVectorizer or TfidfVectorizer
        Whose limits and weights these are.
    words : ndarray of str, shape (n_words,)
        All words of all texts, in order: columns of the counts.
    """

    def __init__(self, vectoriser, words):
        self.vectoriser, self.words = vectoriser, words

    def __sklearn_clone__(self):
        # The words are many, and stay as they are.
        return type(self)(self.vectoriser, self.words)

    def fit(self, counts, y=None):
        """Learn which words there are, and their weights."""
        self.fit_transform(counts)
        return self

    def fit_transform(self, counts, y=None):
        """Counts of the words within the limits, weighted."""
        vectoriser, n = self.vectoriser, counts.shape[0]
        in_texts = np.bincount(counts.indices, minlength=counts.shape[1])
        kept = np.flatnonzero((in_texts > 0) & within(vectoriser, in_texts, n))
        if vectoriser.max_features is not None and len(kept) > vectoriser.max_features:
            total = np.asarray(counts.sum(axis=0)).ravel()[kept]
            kept = np.sort(kept[(-total).argsort()[: vectoriser.max_features]])
        if not len(kept):
            raise ValueError(
                "After pruning, no terms remain. Try a lower min_df or a higher max_df."
            )
        self.kept_, self.weights_ = kept, None
        chosen = counts[:, kept]
        if isinstance(vectoriser, TfidfVectorizer):
            names = "norm", "use_idf", "smooth_idf", "sublinear_tf"
            self.weights_ = TfidfTransformer(**{name: getattr(vectoriser, name) for name in names})
            chosen = self.weights_.fit_transform(chosen)
        return chosen

    def transform(self, counts):
        """The same of other texts."""
        chosen = counts[:, self.kept_]
        return chosen if self.weights_ is None else self.weights_.transform(chosen)

    def get_feature_names_out(self, input_features=None):
        """The words."""
        return self.words[self.kept_]


class CountedTexts:
    """The texts of a training set as counts, and how others are counted.

    Parameters
    ----------
    counts : CSR array of shape (n_texts, n_words)
    whole : CountVectorizer
        Fitted, without limits.
    step : CountedVectorizer
    """

    def __init__(self, counts, whole, step):
        self.counts, self.whole, self.step = counts, whole, step
        self._last = None, None

    @classmethod
    def of(cls, transformer, X):
        """Those of the texts that a fitted vectoriser was fitted on; None for other transformers."""
        if type(transformer) not in (CountVectorizer, TfidfVectorizer):
            return None
        if transformer.vocabulary is not None or np.dtype(transformer.dtype) == np.float32:
            return None
        counts, whole = every_word(transformer, X, fitted=True)
        if counts is None:
            return None
        one = cls(counts, whole, CountedVectorizer(transformer, whole.get_feature_names_out()))
        again, given = one.step.fit_transform(counts), transformer.transform(X)
        if again.shape != given.shape:
            return None
        return one if abs(sp.csr_array(again - given)).max() <= SAME * abs(given).max() else None

    def of_texts(self, texts):
        """The counts of other texts; of the same ones as last time, those."""
        before, counts = self._last
        if before is not texts:
            counts = sp.csr_array(self.whole.transform(texts), dtype=np.float64)
            self._last = texts, counts
        return counts
