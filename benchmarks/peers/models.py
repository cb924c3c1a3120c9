"""The problem's model as scikit-learn estimators with the given weights."""

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge


def inverse_penalty(problem):
    return 1.0 / problem.l2 if problem.l2 else np.inf


def unfitted(problem, **options):
    """The estimator whose optimum the weights are; options are those of the estimator."""
    if problem.kind == "ridge":
        return Ridge(alpha=problem.l2, fit_intercept=False, **options)
    return LogisticRegression(C=inverse_penalty(problem), fit_intercept=False, **options)


def fitted(problem):
    """The same with the weights, as ``fit`` would leave it."""
    model = unfitted(problem)
    model.n_features_in_ = problem.X.shape[1]
    if problem.kind == "ridge":
        model.coef_, model.intercept_ = problem.theta[0], 0.0
        return model
    model.classes_ = np.unique(problem.y)
    model.coef_, model.intercept_ = problem.theta, np.zeros(len(problem.theta))
    model.n_iter_ = np.array([1])
    return model
