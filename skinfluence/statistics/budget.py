"""What fitting transformers again may cost, and what is said of rows without an answer."""

import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence._utils.naming import rows_have
from skinfluence.smooth.optimum.existence import why_no_optimum

# CPU seconds that fitting transformers again may take.
BUDGET = 60.0


class OverBudgetError(RuntimeError):
    """Answering would take longer than the budget.

    Parameters
    ----------
    message : str
    seconds : float
        CPU seconds that all fits would take.
    fits : int

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.feature_selection import SelectKBest
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skinfluence import Influence
    >>> from skinfluence.pipeline import OverBudgetError
    >>> X, y = np.random.default_rng(0).standard_normal((40, 6)), np.arange(40) % 2
    >>> model = make_pipeline(SelectKBest(k=3), LogisticRegression()).fit(X, y)
    >>> try:
    ...     Influence(model, X, y, budget=1e-6).removal_effect(X[:1], y[:1])
    ... except OverBudgetError:
    ...     print("longer than a microsecond")
    longer than a microsecond
    """

    def __init__(self, message, seconds=np.nan, fits=0):
        super().__init__(message)
        self.seconds, self.fits = seconds, fits


def clock():
    """What a budget counts: CPU seconds of this process, whatever else the machine does.

    What a step leaves to other processes is not in them.
    """
    return time.process_time()


def check_budget(seconds, n_fits, budget):
    """Refuse what takes longer than the budget.

    Raises
    ------
    OverBudgetError
    """
    if seconds <= budget:
        return
    raise OverBudgetError(
        f"Answers about the whole pipeline may take budget={budget:g} seconds of CPU. Fitting its "
        f"transformers {n_fits} times, once for each edit, would take about {seconds:.3g}. Ask for "
        "fewer rows with indices=, raise budget= (an audit takes influence=Influence(..., "
        "budget=...)), or pass frozen='accept' for the answers with the transformers as fitted on "
        "all rows.",
        seconds,
        n_fits,
    )


def warn_unanswered(problem, refused, gone, emptied):
    """Say which rows have no answer: those transformers refuse, and why, those that hold a class, others.

    Parameters
    ----------
    problem : Problem
    refused : list of (ndarray of int, str)
    gone, emptied : list of ndarray of int
    """
    if refused:
        warnings.warn(
            f"{_who(refused_rows for refused_rows, _ in refused)} no answer (NaN): the "
            f"transformers, fitted on what the edit leaves, refuse. {refused[0][1]}",
            UserWarning,
            stacklevel=level_outside(),
        )
    if emptied:
        warnings.warn(
            f"{_who(emptied)} no answer (NaN): without them a class has no rows that weigh anything, so that "
            "its balanced weight would be infinite. Fit the model that is meant on the remaining rows.",
            UserWarning,
            stacklevel=level_outside(),
        )
    if gone:
        warnings.warn(
            f"{_who(gone)} no answer (NaN): without them {why_no_optimum(problem)}",
            ConvergenceWarning,
            stacklevel=level_outside(),
        )


def _who(rows):
    rows = np.concatenate([*rows])
    return rows_have(rows) if len(rows) else "An edit has"
