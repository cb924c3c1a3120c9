"""Pulling gradients back as far as names go: to columns, categories and words.

Where a transformer has no derivative in its inputs (one-hot encoders, vectorisers, bins), the walk
ends at its outputs, which have names. Every path through a pipeline ends at such outputs or at the
raw columns.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import _safe_indexing

from skinfluence._utils._compat import counts_and_weighting
from skinfluence._utils.dispatch import dispatched
from skinfluence._utils.untouched import transformed
from skinfluence.pullbacks.composition import chain, column_parts, union_parts
from skinfluence.pullbacks.registry import NoDerivativeError, dense, pullback, stages


@dataclass(frozen=True, eq=False)
class End:
    """Features at which a path of the walk ends.

    Attributes
    ----------
    transformer : transformer or None
        Whose outputs they are; None for raw columns.
    prefix : str
        Of their names: the parts of the unions they come through.
    inputs : sequence of str
        Names of the transformer's inputs, or of the raw columns.
    X : ndarray or sparse matrix of shape (n_rows, n_features)
        Their values.
    V : ndarray of shape (n_vectors, n_rows, n_features)
        The gradients in them.
    """

    transformer: object
    prefix: str
    inputs: object
    X: object
    V: np.ndarray

    @property
    def names(self):
        """What the features are called, a list of str."""
        known = self.inputs
        if self.transformer is not None:
            known = output_names(self.transformer, known)
        return [f"{self.prefix}{known[i]}" for i in range(self.X.shape[1])]


@dispatched
def pull_back_to_names(transformer, X, V, reached, names):
    """Gradients in a transformer's outputs, as far towards its inputs as derivatives go.

    Parameters
    ----------
    transformer : transformer
    X : array-like of shape (n_rows, n_inputs), or a sequence of texts
    V : ndarray of shape (n_vectors, n_rows, n_outputs)
    reached : ndarray of bool, shape (n_outputs,)
        Outputs that gradients come from; the others are used in no differentiable way.
    names : sequence of str or None
        Of the inputs.

    Returns
    -------
    V : ndarray of shape (n_vectors, n_rows, n_inputs) or None
        What goes on to the inputs.
    reached : ndarray of bool, shape (n_inputs,)
    ends : list of End
    """
    try:
        V = pullback(transformer, X, V)
    except NoDerivativeError:
        return None, None, [End(transformer, "", names, transformed([transformer], X), V)]
    return V, np.ones(V.shape[2], dtype=bool), []


@pull_back_to_names.register
def _frozen(transformer: FrozenEstimator, X, V, reached, names):
    return pull_back_to_names(transformer.estimator, X, V, reached, names)


@pull_back_to_names.register
def _tfidf(transformer: TfidfVectorizer, X, V, reached, names):
    counts, weighting = counts_and_weighting(transformer, X)
    return None, None, [End(transformer, "", names, counts, pullback(weighting, counts, V))]


@pull_back_to_names.register
def _pipeline(transformer: Pipeline, X, V, reached, names):
    return names_through(chain(transformer), X, V, reached, names)


@pull_back_to_names.register
def _union(transformer: FeatureUnion, X, V, reached, names):
    total, ends, seen = None, [], None
    for name, part, outputs, weight in union_parts(transformer, X):
        gradients, mask = weight * V[:, :, outputs], reached[outputs]
        if not mask.any():
            continue
        gradients, mask, found = _part(part, X, gradients, mask, names)
        ends += _within(transformer, name, found)
        if gradients is not None:
            total = gradients if total is None else total + gradients
            seen = mask if seen is None else seen | mask
    return total, seen, ends


@pull_back_to_names.register
def _columns(transformer: ColumnTransformer, X, V, reached, names):
    total, ends = np.zeros((*V.shape[:2], X.shape[1])), []
    seen = np.zeros(X.shape[1], dtype=bool)
    for name, part, inputs, outputs, weight in column_parts(transformer, X):
        gradients, mask = weight * V[:, :, outputs], reached[outputs]
        if not mask.any():
            continue
        columns = np.atleast_1d(inputs)
        chosen = _safe_indexing(X, inputs, axis=1)
        inner = [names[i] for i in columns]
        gradients, mask, found = _part(part, chosen, gradients, mask, inner)
        ends += _within(transformer, name, found)
        if gradients is not None:
            total[:, :, columns] += gradients
            seen[columns] |= mask
    return (total, seen, ends) if seen.any() else (None, None, ends)


def _part(part, X, V, reached, names):
    if part is None:
        return V, reached, []
    return pull_back_to_names(part, X, V, reached, names)


def _within(transformer, name, ends):
    if not transformer.verbose_feature_names_out:
        return ends
    return [replace(end, prefix=f"{name}__{end.prefix}") for end in ends]


def names_through(transformers, X, V, reached, names):
    """:func:`pull_back_to_names` through a chain."""
    inputs = stages(transformers, X)
    all_names = [names]
    for transformer in transformers[:-1]:
        all_names.append(output_names(transformer, all_names[-1]))
    ends = []
    for transformer, one, known in zip(
        transformers[::-1], inputs[::-1], all_names[::-1], strict=False
    ):
        V, reached, found = pull_back_to_names(transformer, one, V, reached, known)
        ends = found + ends
        if V is None:
            break
    return V, reached, ends


def output_names(transformer, names):
    """Names of the outputs of a transformer, whatever it can say about them."""
    names = getattr(transformer, "feature_names_in_", names)
    if hasattr(transformer, "get_feature_names_out"):
        return transformer.get_feature_names_out(None if names is None else list(names))
    return _Numbered(type(transformer).__name__.lower())


class _Numbered:
    """Names for outputs that have none, however many there are."""

    def __init__(self, stem):
        self.stem = stem

    def __getitem__(self, i):
        return f"{self.stem}{i}"


def column_names(X):
    """Names of raw columns, None for texts and mappings."""
    if hasattr(X, "columns"):
        return [str(name) for name in X.columns]
    return [f"x{i}" for i in range(np.shape(X)[1])] if np.ndim(X) == 2 else None


def all_ends(X, V, reached, ends, names):
    """What :func:`names_through` found and, first, the raw columns it came to."""
    if V is None:
        return ends
    columns = np.flatnonzero(reached)
    raw = dense(_safe_indexing(X, columns, axis=1))
    return [End(None, "", [names[i] for i in columns], raw, V[:, :, columns]), *ends]
