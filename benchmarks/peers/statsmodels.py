"""statsmodels: PRESS residuals of least squares, one-step deletions of generalised linear models."""

import numpy as np
import statsmodels.api as sm
from scipy.special import expit
from statsmodels.stats.outliers_influence import GLMInfluence, OLSInfluence

from benchmarks.peers.registry import Answering, contestant


@contestant("statsmodels: OLS influence", "loo-ridge")
def ridge(problem):
    """It has no influence for penalised fits: the penalty as rows of its own is the same problem."""
    d = problem.X.shape[1]
    X = np.vstack([problem.X, np.sqrt(problem.l2) * np.eye(d)])
    y = np.concatenate([problem.y, np.zeros(d)])
    fitted = sm.OLS(y, X).fit()

    def call():
        return problem.y - OLSInfluence(fitted).resid_press[: len(problem.y)]

    return Answering(call)


@contestant("statsmodels: GLM influence", "loo-plain", exact=False)
def plain(problem):
    """Its one-step deletions move the parameters: each row's output by its own."""
    model = sm.GLM(problem.y, problem.X, family=sm.families.Binomial())
    fitted = model.fit(start_params=problem.theta[0], tol=1e-12)

    def call():
        influence = GLMInfluence(fitted)
        return influence.d_linpred

    def read(change):
        p = expit(problem.X @ problem.theta[0] - change)
        return np.where(problem.y == 1, p, 1.0 - p)

    return Answering(call, read=read)
