"""Values of rows, by averages over random sets of rows."""

import numbers
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils import check_random_state

from skinfluence.values.games import asked, game_of
from skinfluence.values.neighbours import neighbour_shapley


@dataclass(frozen=True, eq=False)
class Values:
    """What each training row is worth.

    Attributes
    ----------
    values : ndarray of shape (n_train,)
        Positive is helpful: a lower mean test loss, or a higher score, with the row. Of a callable
        ``of``, what the row adds to it.
    standard_error : ndarray of shape (n_train,)
        Of the sampling of sets; 0 for leave-one-out.
    n_draws : int
        Sets that were drawn.
    empty : float
        What no row at all is worth: the utility of decision values of zero.
    full : float
        The utility of the fit on all rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import Ridge
    >>> from skinfluence.values import shapley
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((40, 2))
    >>> y = X[:, 0] + 0.1 * rng.standard_normal(40)
    >>> found = shapley(Ridge().fit(X[:20], y[:20]), X[20:], y[20:], n_draws=50, random_state=0)
    >>> found.values.shape, found.n_draws, bool(found.full > found.empty)
    ((20,), 50, True)
    """

    values: np.ndarray
    standard_error: np.ndarray
    n_draws: int
    empty: float
    full: float


def leave_one_out(influence, X, y, *, of="loss", method="auto", tol=1e-3):
    """What the utility of the model of all rows loses without each row.

    Parameters
    ----------
    influence : Influence or estimator
        Of a smooth linear model (ridge, logistic regression, softmax, GLMs), or kernel ridge
        regression.
    X : array-like of shape (n_test, n_features)
    y : array-like of shape (n_test,)
    of : str, scorer or callable, default="loss"
        The utility: minus the mean test loss, a score by name, or a callable that returns a scalar,
        or one number for each test point of which the mean is taken.
    method, tol
        As in :meth:`~skinfluence.Influence.removal_effect`.

    Returns
    -------
    values : Values

    Examples
    --------
    >>> from skinfluence.linear_model import Ridge
    >>> from skinfluence.values import leave_one_out
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 2.0, 0.0]
    >>> found = leave_one_out(Ridge(alpha=0.1).fit(X, y), [[0.5], [4.0]], [0.5, 4.0])
    >>> found.values.round(2)  # the last row is wrong
    array([ 2.01, -0.  ,  1.45, -2.26])
    """
    game = game_of(influence, X, y, of, method, tol)
    everything = np.ones(game.n, dtype=bool)
    found, full = game.marginals(everything)
    return Values(found, np.zeros(game.n), 1, game.empty, full)


def shapley(influence, X, y, *, of="loss", n_draws=100, method="auto", tol=1e-3, random_state=None):
    """Shapley values of the training rows.

    The mean of what a row changes over sets of the other rows, of each size alike. They add up to
    the utility of the fit on all rows less that of none.

    Parameters
    ----------
    influence, X, y, of, method, tol
        As in :func:`leave_one_out`; or of a ``KNeighborsClassifier`` with uniform
        votes, whose values are exact: nothing is drawn, one sort for each test point.
    n_draws : int, default=100
        Sets to draw, each with a fit and an edit for every row.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    values : Values

    Notes
    -----
    A set of k rows, k uniform from 0 to n, without row i is a set of the others with every size
    alike, whether the row was in it or not: each set serves all rows. The sizes are spread evenly over
    the draws; the standard errors are those of independent draws, which are no smaller. Errors of
    different rows go together.

    References
    ----------
    .. [1] A. Ghorbani and J. Zou, "Data Shapley: Equitable Valuation of Data for Machine Learning",
       ICML 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import Ridge
    >>> from skinfluence.values import shapley
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = Ridge().fit(X[:50], y[:50])
    >>> found = shapley(model, X[50:150], y[50:150], n_draws=20, random_state=0)
    >>> found.values.shape, bool((found.standard_error > 0).all())
    ((50,), True)
    """

    def draw(rng, n, share):
        mask = np.zeros(n, dtype=bool)
        # Sizes spread over the draws: those of few rows are rare and change most.
        mask[rng.permutation(n)[: int(share * (n + 1))]] = True
        return mask

    influence = asked(influence)
    if isinstance(influence.data.inputs.model, KNeighborsClassifier):
        if of != "loss":
            raise ValueError(
                "Values of neighbours are of the share of votes, of='loss'. Got "
                f"of={of!r}; leave it out."
            )
        found, empty, full = neighbour_shapley(influence, X, y)
        return Values(found, np.zeros(len(found)), 0, empty, full)
    return _averaged(influence, X, y, of, draw, n_draws, method, tol, random_state)


def banzhaf(influence, X, y, *, of="loss", n_draws=100, method="auto", tol=1e-3, random_state=None):
    """Banzhaf values of the training rows.

    The mean of what a row changes over all sets of the other rows. Ranks of rows by them suffer
    least from noise in the utility; they add up to nothing in particular.

    Parameters
    ----------
    influence, X, y, of, method, tol, n_draws, random_state
        As in :func:`shapley`.

    Returns
    -------
    values : Values

    References
    ----------
    .. [1] J. T. Wang and R. Jia, "Data Banzhaf: A Robust Data Valuation Framework for Machine
       Learning", AISTATS 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import Ridge
    >>> from skinfluence.values import banzhaf
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((40, 2))
    >>> y = X[:, 0] + 0.1 * rng.standard_normal(40)
    >>> y[3] += 5.0
    >>> model = Ridge(alpha=1.0).fit(X[:20], y[:20])
    >>> int(banzhaf(model, X[20:], y[20:], n_draws=50, random_state=0).values.argmin())
    3
    """
    return _averaged(
        influence,
        X,
        y,
        of,
        lambda rng, n, _: rng.uniform(size=n) < 0.5,
        n_draws,
        method,
        tol,
        random_state,
    )


def _averaged(influence, X, y, of, draw, n_draws, method, tol, random_state):
    if not isinstance(n_draws, numbers.Integral) or n_draws < 2:
        raise ValueError(f"n_draws must be an integer of at least 2. Got {n_draws!r} instead.")
    rng = check_random_state(random_state)
    game = game_of(influence, X, y, of, method, tol)
    mean, squares = np.zeros(game.n), np.zeros(game.n)
    for t in range(1, n_draws + 1):
        share = (t - 1 + rng.uniform()) / n_draws
        found, _ = game.marginals(draw(rng, game.n, share))
        step = found - mean
        mean += step / t
        squares += step * (found - mean)
    error = np.sqrt(squares / (n_draws - 1) / n_draws)
    return Values(mean, error, int(n_draws), game.empty, game.full)
