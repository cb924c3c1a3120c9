"""The registry of statistics: what leaving single rows out does to a transformer's outputs."""

from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags

from skinfluence._utils.untouched import transformed


@dataclass(frozen=True, eq=False)
class Moves:
    """What leaving each of some rows out, on its own, does to the outputs of a transformer.

    Parameters
    ----------
    scale : ndarray of shape (n_rows, n_outputs), default=None
        What each output is divided by, in units of what it was: fitted without row i, the
        transformer gives ``outputs / scale[i]``, up to a shift. None: it stays.
    shifted : bool, default=False
        Whether outputs move by a constant per column too.
    other : ndarray of bool, shape (n_rows,), default=None
        Rows without which something else happens, so that the transformer is fitted again.
    """

    scale: np.ndarray | None = None
    shifted: bool = False
    other: np.ndarray | None = None


NOTHING = Moves()


@singledispatch
def statistics(transformer, X, rows):
    """What leaving rows out does to the outputs of a transformer, where that is known.

    Register a class with ``statistics.register``; see :class:`Moves`::

        @statistics.register
        def _(transformer: Halving, X, rows):
            return Moves()  # it does not look at the rows

    Parameters
    ----------
    transformer : transformer
        Fitted on all rows of X.
    X : array-like of shape (n_samples, n_inputs)
        What it was fitted on.
    rows : ndarray of int, shape (n_rows,)
        The rows that are left out, each on its own.

    Returns
    -------
    moves : Moves or None
        None: fit it again without each row. So for classes that are not registered.
    """
    return None if learns(transformer) else NOTHING


def chain_moves(transformers, X, rows):
    """The moves of a chain of transformers, from those of each; None where they are not known.

    Parameters
    ----------
    transformers : list of transformers
    X : array-like
        Inputs of the first.
    rows : ndarray of int
    """
    scale, shifted, other = None, False, np.zeros(len(rows), dtype=bool)
    for i, transformer in enumerate(transformers):
        if scale is not None or shifted:
            # What a step makes of inputs that move is not written down.
            return None
        moves = statistics(transformer, X, rows)
        if moves is None:
            return None
        scale, shifted = moves.scale, moves.shifted
        if moves.other is not None:
            other = other | moves.other
        if i + 1 < len(transformers):
            X = transformed([transformer], X)
    return Moves(scale, shifted, other)


def learns(transformer):
    """Whether fitting the transformer looks at the rows at all."""
    if isinstance(transformer, FrozenEstimator):
        return False
    try:
        return get_tags(transformer).requires_fit
    except (AttributeError, TypeError):
        # Not an estimator of scikit-learn's: nothing is known.
        return True
