"""Term weighting: from tf-idf to counts."""

import numpy as np
from sklearn.feature_extraction.text import TfidfTransformer

from skinfluence.pullbacks.registry import dense, pullback, undefined_rows
from skinfluence.pullbacks.scaling import through_norm


@pullback.register
def _tfidf(transformer: TfidfTransformer, X, V):
    """To the counts; words that are not in a text have no slope under ``sublinear_tf``."""
    X = dense(X)
    counts = X
    if transformer.sublinear_tf:
        present = X != 0
        safe = np.where(present, X, 1.0)
        X = np.where(present, 1.0 + np.log(safe), 0.0)
    idf = transformer.idf_ if transformer.use_idf else 1.0
    if transformer.norm is not None:
        V, empty = through_norm(X * idf, V, transformer.norm, at_zero=1.0)
        reason = "they hold no known word, so they have no norm"
        V = undefined_rows(transformer, V, empty, reason)
    V = V * idf
    return V * np.where(counts != 0, 1.0 / safe, 0.0) if transformer.sublinear_tf else V
