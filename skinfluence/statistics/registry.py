"""The registry of statistics: what leaving single rows out does to a transformer's outputs."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags

from skinfluence._utils.alone import is_own_function, treats_rows_alone
from skinfluence._utils.dispatch import dispatched, rewrites
from skinfluence._utils.untouched import transformed
from skinfluence.smooth.one_step.fills import Fills


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
    gone : ndarray of bool, shape (n_rows,), default=None
        Rows without which an output is not there any more that is 0 at all other rows, and that
        the row itself has not got either, as the transformer then takes it.
    fills : Fills, default=None
        What is put where cells are missing moves by; outputs are what they were elsewhere.

    Examples
    --------
    >>> from skinfluence.pipeline import Moves
    >>> Moves()  # of a transformer that does not look at the rows
    Moves(scale=None, shifted=False, other=None, gone=None, fills=None)
    """

    scale: np.ndarray | None = None
    shifted: bool = False
    other: np.ndarray | None = None
    gone: np.ndarray | None = None
    fills: Fills | None = None

    @property
    def columns_move(self):
        """Whether outputs are others at rows that stay."""
        return self.scale is not None or self.shifted or self.fills is not None


NOTHING = Moves()


def either(*masks):
    """Rows of any of some masks; None stands for none of the rows."""
    masks = [one for one in masks if one is not None]
    return np.logical_or.reduce(masks) if masks else None


@dispatched
def statistics(transformer, X, rows):
    """What leaving rows out does to the outputs of a transformer, where that is known.

    Register a class with ``statistics.register``; see :class:`Moves`. One that derives from a registered
    class, and rewrites what that does, is not known before it is registered itself::

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

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.pipeline import statistics
    >>> X = np.array([[0.0], [1.0], [2.0], [9.0]])
    >>> moves = statistics(StandardScaler().fit(X), X, np.array([3]))
    >>> moves.scale.round(3)
    array([[0.231]])
    >>> StandardScaler().fit(X[:3]).scale_ / StandardScaler().fit(X).scale_
    array([0.23094011])
    """
    return None if learns(transformer) else NOTHING


@dispatched
def followed(transformer, X, rows, moves):
    """What leaving rows out does to the outputs of a transformer whose inputs move already.

    Registered by class, like :func:`statistics`. Of others nothing is known but that columns of
    zeros that go are no rows that stay.

    Parameters
    ----------
    transformer, X, rows
        As of :func:`statistics`.
    moves : Moves
        Of the inputs.

    Returns
    -------
    moves : Moves or None
        But for rows that are ``other`` in the inputs, which are so in the outputs.
    """
    if moves.columns_move:
        return None
    after = statistics(transformer, X, rows)
    return after and replace(after, other=either(after.other, moves.gone))


def chain_moves(transformers, X, rows):
    """The moves of a chain of transformers, from those of each; None where they are not known.

    Parameters
    ----------
    transformers : list of transformers
    X : array-like
        Inputs of the first.
    rows : ndarray of int
    """
    moves = NOTHING
    for i, transformer in enumerate(transformers):
        if moves.columns_move or moves.gone is not None:
            after = followed(transformer, X, rows, moves)
        else:
            after = statistics(transformer, X, rows)
        if after is None:
            return None
        if after.fills is not None and moves.fills is None:
            after = replace(after, fills=after.fills.behind(transformers[:i]))
        moves = replace(after, other=either(moves.other, after.other))
        if i + 1 < len(transformers):
            X = transformed([transformer], X)
    other = np.zeros(len(rows), dtype=bool) if moves.other is None else moves.other
    return replace(moves, other=other)


def learns(transformer):
    """Whether fitting the transformer looks at the rows at all."""
    if isinstance(transformer, FrozenEstimator):
        return False
    if rewrites(type(transformer)):
        return True
    if is_own_function(transformer):
        return not treats_rows_alone(transformer)
    try:
        return get_tags(transformer).requires_fit
    except (AttributeError, TypeError):
        # Not an estimator of scikit-learn's: nothing is known.
        return True
