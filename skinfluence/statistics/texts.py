"""Vectorisers of texts: a text that leaves may be the last with a word, or take one over a limit."""

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from skinfluence.statistics.registry import NOTHING, Moves, statistics


@statistics.register
def _(transformer: CountVectorizer, X, rows):
    """Rows that are the last with one of their words; limits on words move with the number of rows."""
    if isinstance(transformer, TfidfVectorizer):
        return None
    if transformer.vocabulary is not None:
        return NOTHING
    counts = every_word(transformer, X)
    if counts is None:
        return None
    n, words = counts.shape[0], counts.copy()
    words.data = np.ones(len(words.data))
    in_texts = np.bincount(words.indices, minlength=words.shape[1])
    kept = within(transformer, in_texts, n)
    kept_without = within(transformer, in_texts, n - 1) != kept
    # Of the words of the row itself one text fewer has them; of none they are no words.
    own = (within(transformer, in_texts - 1, n - 1) & (in_texts > 1)) != kept
    last = own & (in_texts == 1)
    some = words[rows]
    other = some @ (own & ~last).astype(float) > 0
    other |= kept_without.sum() - some @ kept_without.astype(float) > 0
    if transformer.max_features is not None:
        other |= _overtaken(transformer, counts, kept, rows)
        # Where a word of the most frequent goes, the next one comes.
        other |= some @ last.astype(float) > 0
        return Moves(other=other)
    return Moves(gone=some @ last.astype(float) > 0, other=other)


def every_word(transformer, X, fitted=False):
    """How often each text has each word, whatever the limits, (n_texts, n_all_words); or None.

    With ``fitted`` the vectoriser without limits, too.
    """
    whole = clone(transformer).set_params(min_df=1, max_df=1.0, max_features=None)
    if isinstance(whole, TfidfVectorizer):
        params = {
            name: value
            for name, value in whole.get_params(deep=False).items()
            if name in CountVectorizer().get_params(deep=False)
        }
        whole = CountVectorizer(**params)
    try:
        counts = sp.csr_array(whole.fit_transform(X), dtype=np.float64)
    except ValueError:
        return (None, None) if fitted else None
    counts.sum_duplicates()
    return (counts, whole) if fitted else counts


def within(transformer, in_texts, n):
    """Which words are in enough texts and in not too many."""
    low, high = (
        limit if isinstance(limit, int | np.integer) else limit * n
        for limit in (transformer.min_df, transformer.max_df)
    )
    return (in_texts >= low) & (in_texts <= high)


def _overtaken(transformer, counts, kept, rows):
    """Rows without which another word may be among the most frequent ones."""
    total = np.asarray(counts.sum(axis=0)).ravel()
    if np.count_nonzero(kept) <= transformer.max_features:
        return np.zeros(len(rows), dtype=bool)
    order = np.sort(total[kept])[::-1]
    least, next_one = order[transformer.max_features - 1 : transformer.max_features + 1]
    if least == next_one:
        # Which of them is taken is no matter of the counts.
        return np.ones(len(rows), dtype=bool)
    some = counts[rows].tocoo()
    chosen = kept[some.col] & (total[some.col] >= least)
    falls = chosen & (total[some.col] - some.data <= next_one)
    return np.bincount(some.row[falls], minlength=len(rows)) > 0
