"""statsmodels: PRESS residuals of least squares, one-step deletions of generalised linear models."""

import numpy as np
import statsmodels.api as sm
from scipy.special import expit
from statsmodels.stats.outliers_influence import OLSInfluence

from benchmarks.peers.registry import Answering, contestant


@contestant("statsmodels: OLS influence", "loo-ridge")
def ridge(problem):
    """It has no influence for penalised fits: the penalty as rows of its own is the same problem."""
    d = problem.X.shape[1]
    X = np.vstack([problem.X, np.sqrt(problem.l2) * np.eye(d)])
    y = np.concatenate([problem.y, np.zeros(d)])

    def call():
        influence = OLSInfluence(sm.OLS(y, X).fit())
        return problem.y - influence.resid_press[: len(problem.y)]

    return Answering(call)


@contestant("statsmodels: GLM influence", "loo-plain", exact=False)
def plain(problem):
    """Its deletions move the parameters by one step; each row's output by its own. Fit included."""

    def call():
        model = sm.GLM(problem.y, problem.X, family=sm.families.Binomial())
        # Made by itself, GLMInfluence would take the columns without their weights.
        return model.fit(start_params=problem.theta[0]).get_influence().d_params

    def read(change):
        moved = problem.theta[0] - change
        p = expit((problem.X * moved).sum(axis=1))
        return np.where(problem.y == 1, p, 1.0 - p)

    return Answering(call, read=read)
