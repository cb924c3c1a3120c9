"""What dropping a row does to all the others, each judged by the model that has not seen it."""

import numpy as np

from skinfluence._utils.memory import row_blocks


def effect_on_others(answers, answered):
    """Change of the mean leave-one-out loss of the other rows when each row is dropped.

    Parameters
    ----------
    answers : KernelAnswers
    answered : ndarray of shape (n_samples,), dtype=bool
        False for rows that count for nobody, and get NaN.

    Returns
    -------
    effects : ndarray of shape (n_samples,)
        Exact: both rows leave one inverse ``G = (K + alpha W^-1)^-1``.
    error : ndarray of shape (n_samples,)
        0; NaN of rows without an answer.
    """
    problem, rows = answers.problem, answers.system.rows
    known = rows[answered[rows]]
    G = answers.system.inverse[np.ix_(np.isin(rows, known), np.isin(rows, known))]
    own, beta = np.diagonal(G), answers.beta[np.isin(rows, known)]
    share = problem.weights[known] / problem.weights[known].sum()
    effects = np.full(problem.n_samples, np.nan)
    effects[rows] = 0.0
    for block in row_blocks(len(known), 40 * len(known)):
        # Residuals of the rows j (lines) without the row i (columns) and themselves.
        cross = G[:, block]
        # A row meets itself on the diagonal: nothing is left there to divide by.
        with np.errstate(divide="ignore", invalid="ignore"):
            residual = (beta[:, None] - cross * (beta / own)[block]) / (
                own[:, None] - cross**2 / own[block]
            )
        change = 0.5 * (residual**2 - (beta / own)[:, None] ** 2)
        columns = np.arange(len(known))[block]
        change[columns, np.arange(len(columns))] = 0.0
        effects[known[block]] = share @ change
    return effects, 0.0 * effects
