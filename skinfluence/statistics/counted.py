"""Texts are counted once: what a vectoriser would learn from some of them is a sum over their counts."""

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer

from skinfluence.statistics.texts import every_word, within

KINDS = (CountVectorizer, TfidfVectorizer)
# Sets of other texts whose counts are at hand: those that are asked about, and those of an edit.
KEPT = 2


class Texts:
    """Texts and how often each has each word, from the first fit on.

    Attributes
    ----------
    counts : CSR array of shape (n_texts, n_words), or None
        Of the texts of the first fit, all words whatever the limits.
    words : ndarray of str, shape (n_words,)
        In order.
    """

    def __init__(self):
        self.counts, self.words = None, None
        self._whole, self._place = None, {}
        self._others, self._counted = ([], None), []

    def learn(self, vectoriser, texts):
        """Count the texts of a first fit.

        Raises
        ------
        TypeError
            For what is no text.
        ValueError
            Where there is no word.
        """
        if not all(isinstance(one, str | bytes) for one in texts):
            raise TypeError("Texts are strings.")
        counts, whole = every_word(vectoriser, texts, fitted=True)
        if counts is None:
            raise ValueError("There is no word in any text.")
        self.counts, self._whole, self.words = counts, whole, whole.get_feature_names_out()
        self._place = {text: i for i, text in enumerate(texts)}

    def places(self, texts):
        """Which texts of the first fit some are, a list; None where there is another one."""
        place = [self._place.get(text, -1) for text in texts]
        return None if -1 in place else place

    def known(self, texts):
        """The counts of texts of the first fit; None where there is another one."""
        place = self.places(texts)
        return None if place is None else self.counts[place]

    def of(self, texts):
        """The counts of any texts, of words that are known; of the same ones as last time, those."""
        counts = self.known(texts)
        if counts is not None:
            return counts
        before, counts = self._others
        if before != texts:
            counts = sp.csr_array(self._whole.transform(texts), dtype=np.float64)
            self._others = texts, counts
        return counts

    @property
    def vocabulary(self):
        """Where each word stands, a dict."""
        return self._whole.vocabulary_

    def beside(self, vectoriser, texts):
        """Texts of which some are new, with the words that only those have: a :class:`Wider`."""
        place = [self._place.get(text, -1) for text in texts]
        counts, words = self.counts_of(
            vectoriser, [texts[i] for i, at in enumerate(place) if at < 0]
        )
        unseen = [word for word in words if word not in self.vocabulary]
        wider = Wider(self, vectoriser, np.array(unseen, dtype=object))
        known = [at for at in place if at >= 0]
        both = sp.vstack([wider.spread(self.counts[known]), wider.placed(counts, words)], "csr")
        order = np.argsort([at < 0 for at in place], kind="stable")
        if not (order == np.arange(len(order))).all():
            both = both[np.argsort(order)]
        return wider, sp.csr_array(both)

    def counts_of(self, vectoriser, texts):
        """All words of some texts; of those of the last few times as then."""
        found = next((found for before, found in self._counted if before == texts), None)
        others = [one for one in self._counted if one[1] is not found]
        if found is None:
            counts, whole = every_word(vectoriser, texts, fitted=True)
            found = sp.csr_array((len(texts), 0)), []
            if counts is not None:
                found = counts, whole.get_feature_names_out().tolist()
        self._counted = [(texts, found), *others][:KEPT]
        return found


class Wider:
    """The words of the texts of a first fit, and those that only new ones have, in order.

    Parameters
    ----------
    texts : Texts
    vectoriser : CountVectorizer or TfidfVectorizer
    unseen : ndarray of str, in order
    """

    def __init__(self, texts, vectoriser, unseen):
        self._texts, self._vectoriser = texts, vectoriser
        before = np.searchsorted(texts.words, unseen)
        n = np.arange(len(texts.words))
        # Where the words of the first fit now stand.
        self._at = n + np.searchsorted(before, n, side="right")
        self._unseen = dict(
            zip(unseen.tolist(), (before + np.arange(len(unseen))).tolist(), strict=True)
        )
        self.words = np.insert(texts.words, before, unseen)

    def spread(self, counts):
        """Counts of the words of the first fit, among all."""
        shape = counts.shape[0], len(self.words)
        return sp.csr_array((counts.data, self._at[counts.indices], counts.indptr), shape=shape)

    def placed(self, counts, words):
        """Counts of some words, among all; of those that are none of them nothing."""
        known, at = self._texts.vocabulary, np.full(len(words), -1)
        for i, word in enumerate(words):
            place = known.get(word)
            at[i] = self._unseen.get(word, -1) if place is None else self._at[place]
        there = np.flatnonzero(at >= 0)
        counts = sp.coo_array(counts[:, there])
        shape = counts.shape[0], len(self.words)
        return sp.csr_array((counts.data, (counts.row, at[there][counts.col])), shape=shape)

    def of(self, texts):
        """The counts of any texts."""
        counts = self._texts.known(texts)
        if counts is not None:
            return self.spread(counts)
        return self.placed(*self._texts.counts_of(self._vectoriser, texts))


class CountedVectorizer(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """A vectoriser that counts a text once, however often it is fitted on some of them.

    Parameters
    ----------
    vectoriser : CountVectorizer or TfidfVectorizer
        Whose limits and weights these are.
    texts : Texts
        Shared by all clones.
    """

    def __init__(self, vectoriser, texts):
        self.vectoriser, self.texts = vectoriser, texts

    def __sklearn_clone__(self):
        # The texts are many, and stay as they are.
        return type(self)(self.vectoriser, self.texts)

    def fit(self, X, y=None):
        """Learn which words there are, and their weights."""
        self.fit_transform(X)
        return self

    def fit_transform(self, X, y=None):
        """Counts of the words within the limits, weighted."""
        vectoriser, texts = self.vectoriser, list(X)
        if self.texts.counts is None:
            self.texts.learn(vectoriser, texts)
        self.known_, counts = self.texts, self.texts.known(texts)
        if counts is None:
            # A text that is new may have words that are.
            self.known_, counts = self.texts.beside(vectoriser, texts)
        in_texts = np.bincount(counts.indices, minlength=counts.shape[1])
        total = None if vectoriser.max_features is None else np.asarray(counts.sum(axis=0)).ravel()
        kept = chosen_words(vectoriser, in_texts, total, len(texts))
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

    def transform(self, X):
        """The same of other texts."""
        chosen = self.known_.of(list(X))[:, self.kept_]
        return chosen if self.weights_ is None else self.weights_.transform(chosen)

    def get_feature_names_out(self, input_features=None):
        """The words."""
        return self.known_.words[self.kept_]


def chosen_words(vectoriser, in_texts, total, n):
    """The words that are columns, in order.

    Parameters
    ----------
    vectoriser : CountVectorizer
        With limits on words.
    in_texts, total : ndarray of shape (n_words,)
        In how many texts each word is, and how often it is there at all; the latter may be None where their
        number has no limit.
    n : int
        Of texts.
    """
    most = vectoriser.max_features
    kept = np.flatnonzero((in_texts > 0) & within(vectoriser, in_texts, n))
    if most is not None and len(kept) > most:
        # As numbers of its type: which of equal ones are taken is how they are sorted.
        some = total[kept].astype(vectoriser.dtype)
        kept = np.sort(kept[(-some).argsort()[:most]])
    return kept


def countable(step):
    """Whether a step is a vectoriser whose texts can be counted once."""
    if type(step) not in KINDS:
        return False
    return step.vocabulary is None and np.dtype(step.dtype) != np.float32


def counted(vectoriser):
    """Such a vectoriser, not fitted, that counts a text once."""
    return CountedVectorizer(clone(vectoriser), Texts())
