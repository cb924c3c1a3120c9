"""What can be trusted about a hinge model and about each answer."""

from dataclasses import dataclass, field

import numpy as np

from skinfluence.quantity import Effect


@dataclass(frozen=True, eq=False)
class HingeReport:
    """How the fit is, and the roles of the rows.

    Attributes
    ----------
    distance : float
        Largest difference of a training row's decision value between the model as fitted and the
        optimum that answers start from.
    kkt_residual : float
        Largest violation of the optimality conditions at that optimum.
    n_pivots : int
        Changes of role on the way from the fit to the optimum.
    n_support, n_margin : ndarray of int, shape (n_outputs,)
        Support vectors of each binary problem, and those of them on the margin.
    role : ndarray of str, shape (n_samples, n_outputs)
        ``"none"``, ``"margin"`` or ``"bound"``; empty where a row has no part in a problem.
    held : str or None
        What was chosen on all rows, and every answer holds.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from skinfluence import Influence
    >>> X, y = load_iris(return_X_y=True)
    >>> report = Influence(SVC(gamma=0.5).fit(X[50:], y[50:]), X[50:], y[50:]).report()
    >>> report.n_support, str(report.role[20, 0])
    (array([32]), 'bound')
    """

    distance: float
    kkt_residual: float
    n_pivots: int
    n_support: np.ndarray
    n_margin: np.ndarray
    role: np.ndarray = field(repr=False)
    held: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class HingeEffect(Effect):
    """An :class:`~skinfluence.quantity.Effect` with the certificate of each path.

    Attributes
    ----------
    values, bound, method_used, leverage, route, greater_is_better
        As of any :class:`~skinfluence.quantity.Effect`.
    kkt_residual : ndarray of shape (n_edits,) or float
        Largest violation of the edited problem's optimality conditions over all rows, in units of
        the decision value; NaN for local methods and where a pipeline was fitted again.
    n_pivots : ndarray of int, shape (n_edits,) or int
        Changes of role that the edit makes; NaN where a pipeline was fitted again.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from skinfluence import Influence, edits
    >>> X, y = load_iris(return_X_y=True)
    >>> inf = Influence(SVC(gamma=0.5).fit(X[50:], y[50:]), X[50:], y[50:])
    >>> effect = inf.effect(edits.remove(20), X[:1], of="decision_function")
    >>> bool(effect.kkt_residual < 1e-9), str(effect.method_used)
    (True, 'path')
    """

    kkt_residual: np.ndarray
    n_pivots: np.ndarray
