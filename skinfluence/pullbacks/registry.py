"""The registry of pullbacks, one function per class of transformer, and what they share."""

import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.utils import _safe_indexing

from skinfluence._utils.calls import level_outside
from skinfluence._utils.dispatch import dispatched
from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence._utils.untouched import transformed

WAYS_OUT = (
    "Ask by the names of its outputs with skinfluence.pipeline.influence_by_name, or on the "
    "transformed features with Influence(pipeline[-1], pipeline[:-1].transform(X), y)."
)


class NoDerivativeError(TypeError):
    """A transformer has no derivative in its inputs, or none is registered.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import KBinsDiscretizer
    >>> from skinfluence.pipeline import NoDerivativeError, pullback
    >>> X = np.arange(8.0)[:, None]
    >>> bins = KBinsDiscretizer(2, encode="ordinal", strategy="uniform").fit(X)
    >>> try:
    ...     pullback(bins, X, np.ones((1, 8, 1)))
    ... except NoDerivativeError:
    ...     print("bins move in steps")
    bins move in steps
    """


@dispatched
def pullback(transformer, X, V):
    """Gradients in a transformer's outputs, as gradients in its inputs.

    Register a class with ``pullback.register``::

        @pullback.register
        def _(transformer: MyScaler, X, V):
            return V * transformer.factor_

    Parameters
    ----------
    transformer : transformer
        Fitted; it stays as it is.
    X : array-like of shape (n_rows, n_inputs)
        The inputs at which to differentiate, as the transformer was given them.
    V : ndarray of shape (n_vectors, n_rows, n_outputs)

    Returns
    -------
    V : ndarray of shape (n_vectors, n_rows, n_inputs)

    Raises
    ------
    NoDerivativeError
        A ``TypeError``: for a class without a registered pullback, and for transformers that move
        in steps.

    Warns
    -----
    UserWarning
        For inputs on a kink, where the derivative of one side is given, and for rows at which
        there is no derivative at all, which are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.pipeline import pullback
    >>> X = np.array([[0.0], [4.0]])
    >>> pullback(StandardScaler().fit(X), X, np.ones((1, 2, 1)))
    array([[[0.5],
            [0.5]]])
    """
    raise NoDerivativeError(
        "influence_pert goes through transformers whose derivative is registered. Got "
        f"{type(transformer).__name__}. Register it with skinfluence.pipeline.pullback.register. "
        f"{WAYS_OUT}"
    )


def no_derivative(transformer, reason):
    """The error for a transformer that is known to have no derivative.

    Parameters
    ----------
    transformer : transformer
    reason : str
        A clause to follow "because".
    """
    return NoDerivativeError(
        f"influence_pert cannot go through {type(transformer).__name__}, because {reason}. "
        f"{WAYS_OUT} To define a derivative of your own, use skinfluence.pipeline.pullback.register."
    )


def pull_back_through(transformers, X, V):
    """Gradients pulled back through a chain of transformers, a block of rows at a time.

    Parameters
    ----------
    transformers : list of transformers
        In the order in which they are applied.
    X : array-like of shape (n_rows, n_inputs)
        Inputs of the first.
    V : ndarray of shape (n_vectors, n_rows, n_outputs)
        Gradients in the outputs of the last.
    """
    inputs = stages(transformers, X)
    width = max([V.shape[2], *(np.shape(one)[1] for one in inputs if np.ndim(one) == 2)])
    parts = []
    for block in row_blocks(V.shape[1], 16 * max(1, len(V)) * width):
        part = V[:, block]
        for transformer, one in zip(transformers[::-1], inputs[::-1], strict=True):
            part = pullback(transformer, _safe_indexing(one, block), part)
        parts.append(part)
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def stages(transformers, X):
    """The inputs of each transformer of a chain."""
    inputs = [X]
    for transformer in transformers[:-1]:
        inputs.append(transformed([transformer], inputs[-1]))
    return inputs[: len(transformers)]


def dense(X):
    """Inputs as a float64 array; sparse ones only if they fit in memory."""
    if sp.issparse(X):
        check_fits(X.shape, "Ask for fewer rows with indices=.", what="A block of dense rows")
        X = X.toarray()
    return np.asarray(X, dtype=np.float64)


def numeric(X):
    """Inputs as a float64 array, sparse ones as they are."""
    return X if sp.issparse(X) else np.asarray(X, dtype=np.float64)


def warn_kinks(transformer, on_kink, side):
    """Say that some inputs are where the derivative jumps, and whose side was taken."""
    count = int(np.count_nonzero(on_kink))
    if count:
        warnings.warn(
            f"{count} inputs lie on a kink of {type(transformer).__name__}, where its derivative "
            f"jumps. The derivative of {side} is given.",
            UserWarning,
            stacklevel=level_outside(),
        )


def undefined_rows(transformer, V, rows, reason):
    """``V`` with NaN at the rows without a derivative, and a warning that says why."""
    if not rows.any():
        return V
    warnings.warn(
        f"{int(rows.sum())} rows have no derivative through {type(transformer).__name__}: {reason}. "
        "Their answers are NaN.",
        UserWarning,
        stacklevel=level_outside(),
    )
    return np.where(rows[:, None], np.nan, V)
