"""Lasso and elastic net, at the penalty that was given or chosen."""

from dataclasses import replace

import numpy as np
from sklearn.linear_model import ElasticNet, ElasticNetCV, Lasso, LassoCV

from skinfluence._utils.validation import check_sample_weight, check_targets
from skinfluence.adapters.cross_validated import chosen_among, with_given
from skinfluence.design import design_of
from skinfluence.objective import objective_of


@objective_of.register(Lasso)
@objective_of.register(ElasticNet)
def _(model, X, y, sample_weight=None):
    return _problem(model, X, y, sample_weight, float(model.alpha), model.l1_ratio)


@objective_of.register(LassoCV)
@objective_of.register(ElasticNetCV)
def _(model, X, y, sample_weight=None):
    share = 1.0 if isinstance(model, LassoCV) else model.l1_ratio_
    found = _problem(model, X, y, sample_weight, float(model.alpha_), share)
    # The grid is the user's where it is an array; else it begins where the rows leave nothing.
    alphas = model.alphas if np.ndim(model.alphas) else None
    rest = {"alpha": float(model.alpha_), "precompute": False}
    if isinstance(model, LassoCV):
        return replace(
            found,
            chosen=chosen_among(model, [alphas], ["alpha_"], with_given(Lasso, model, **rest)),
        )
    given = with_given(ElasticNet, model, l1_ratio=float(share), **rest)
    names = ["alpha_", "l1_ratio_"]
    return replace(found, chosen=chosen_among(model, [alphas, model.l1_ratio], names, given))


def _problem(model, X, y, sample_weight, alpha, l1_ratio):
    from skinfluence.l1 import answers as _answers  # noqa: F401  registers the answers
    from skinfluence.l1.problem import L1Problem

    y = check_targets(X, y)
    weights = check_sample_weight(sample_weight, X.shape[0])
    coef = np.asarray(model.coef_, dtype=np.float64)
    if coef.ndim != 1:
        raise ValueError(f"y must be one column. Got coefficients of shape {coef.shape}.")
    if not alpha * l1_ratio > 0:
        raise ValueError(
            f"The L1 part of the penalty must be positive. Got alpha={alpha:g}, l1_ratio={l1_ratio:g}. "
            "Fit Ridge with alpha times the number of rows, or LinearRegression: the same optimum."
        )
    theta = np.append(coef, float(np.ravel(model.intercept_)[0])) if model.fit_intercept else coef
    total = float(weights.sum())
    return L1Problem(
        design_of(X, float(model.fit_intercept)),
        y,
        weights,
        l1=alpha * l1_ratio * total,
        l2=alpha * (1.0 - l1_ratio) * total,
        positive=bool(model.positive),
        theta=theta,
        leaves=_left_by_the_fit(model, y, weights),
    )


def _left_by_the_fit(model, y, weights):
    """Ten times what scikit-learn's duality gap may be where it stops; infinite where it ran out.

    Single precision stops where its rounding lets it.
    """
    single = np.asarray(model.coef_).dtype == np.float32
    # A model after an edit does not say how often it went over its rows.
    if single or np.max(getattr(model, "n_iter_", np.inf)) >= model.max_iter:
        return np.inf
    middle = np.average(y, weights=weights) if model.fit_intercept else 0.0
    return 10.0 * float(model.tol) * float(weights @ (y - middle) ** 2)
