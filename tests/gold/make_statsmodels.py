"""Write ``statsmodels.json``: the diagnostics of statsmodels 0.15 on data made here.

Run ``python tests/gold/make_statsmodels.py``; the tests only read what it wrote.
"""

import json
from pathlib import Path

import numpy as np
import statsmodels.api as sm


def make_rows(family, n=40, d=3):
    rng = np.random.default_rng(7)
    X = rng.standard_normal((n, d)) * np.array([0.5, 1.0, 1.5])
    eta = 0.3 + X @ np.array([0.8, -0.5, 0.3])
    weight = rng.uniform(0.5, 2.0, n)
    y = {
        "gaussian": lambda: eta + rng.standard_normal(n),
        "binomial": lambda: (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": lambda: rng.poisson(np.exp(eta)).astype(float),
        "gamma": lambda: rng.gamma(2.0, np.exp(eta) / 2.0),
        "tweedie": lambda: rng.gamma(2.0, np.exp(eta) / 2.0) * (rng.uniform(size=n) < 0.8),
    }[family]()
    return X, y, weight


def intercept_last(values):
    """statsmodels' constant comes first here, ours last."""
    return np.column_stack([values[:, 1:], values[:, 0]])


def linear(X, y, weight):
    # Its WLS has no influence: least squares on rows scaled by the roots of their weights.
    root = np.sqrt(weight)
    model = sm.OLS(root * y, root[:, None] * sm.add_constant(X)).fit()
    found = model.get_influence()
    return {
        "leverage": found.hat_matrix_diag,
        "dispersion": model.mse_resid,
        "cooks_distance": found.cooks_distance[0],
        "dfbetas": intercept_last(found.dfbetas),
        "dffits": found.dffits[0],
        "resid_studentized_internal": found.resid_studentized_internal,
        "resid_studentized_external": found.resid_studentized_external,
    }


def generalised(X, y, weight, family):
    model = sm.GLM(y, sm.add_constant(X), family=family, var_weights=weight)
    scale = "X2" if estimates_scale(family) else None
    # Deviances stop moving at half the digits: the parameters decide.
    fit = model.fit(tol=1e-14, tol_criterion="params", maxiter=1000, scale=scale)
    assert np.abs(model.score(fit.params, scale=1.0)).max() < 1e-10
    found = fit.get_influence()
    return {
        "leverage": found.hat_matrix_diag,
        "dispersion": fit.scale,
        "cooks_distance": found.cooks_distance[0],
        "dfbetas": intercept_last(found.dfbetas),
        "dffits": found.d_linpred_scaled,
        "resid_studentized_internal": found.resid_studentized,
    }


def estimates_scale(family):
    return not isinstance(family, (sm.families.Binomial, sm.families.Poisson))


FAMILIES = {
    "binomial": sm.families.Binomial(),
    "poisson": sm.families.Poisson(),
    "gamma": sm.families.Gamma(sm.families.links.Log()),
    "tweedie": sm.families.Tweedie(sm.families.links.Log(), var_power=1.5),
}


def main():
    gold = {}
    for family in ("gaussian", *FAMILIES):
        for weighted in (False, True):
            X, y, weight = make_rows(family)
            weight = weight if weighted else np.ones(len(y))
            if family == "gaussian":
                values = linear(X, y, weight)
            else:
                values = generalised(X, y, weight, FAMILIES[family])
            values = {"X": X, "y": y, "weight": weight, **values}
            key = family + ("-weighted" if weighted else "")
            gold[key] = {name: np.asarray(value).tolist() for name, value in values.items()}
    Path(__file__).with_name("statsmodels.json").write_text(json.dumps(gold))


if __name__ == "__main__":
    main()
