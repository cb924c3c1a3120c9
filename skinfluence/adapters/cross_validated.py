"""What estimators that search along a path of penalties chose on the rows."""

import numpy as np

from skinfluence.problem import Chosen


def chosen_among(model, candidates, names, given=None):
    """What a fitted estimator chose; None where it had no choice.

    Parameters
    ----------
    model : estimator
        Fitted.
    candidates : list of array-like or None
        The values of each parameter; None for a grid that was made of the rows.
    names : list of str
        The attributes that hold what was chosen.
    given : estimator, default=None
        As in :class:`~skinfluence.problem.Chosen`.
    """
    if all(values is not None and np.size(values) == 1 for values in candidates):
        return None
    shown = [f"{name} {np.max(getattr(model, name)):.6g}" for name in names]
    return Chosen(" and ".join(shown), among_candidates=True, given=given)


def with_given(kind, model, **chosen):
    """An estimator of another class, with the parameters that both have and those that were chosen.

    Parameters
    ----------
    kind : class
    model : estimator
    **chosen : values
    """
    own = kind().get_params(deep=False)
    shared = {k: v for k, v in model.get_params(deep=False).items() if k in own}
    return kind(**{**shared, **chosen})
