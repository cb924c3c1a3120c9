"""Write ``sandwich.json``: covariances of statsmodels 0.15 and pyfixest 0.60 on data made here.

Run ``python tests/gold/make_sandwich.py``; the tests only read what it wrote. The constant is last.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyfixest
import statsmodels.api as sm
from make_statsmodels import make_rows

FAMILIES = {"binomial": sm.families.Binomial(), "poisson": sm.families.Poisson()}
N_GROUPS = 8


def covariances(family, X, y, weight, groups):
    Z = sm.add_constant(X, prepend=False)

    def fit(**options):
        if family == "gaussian":
            return sm.WLS(y, Z, weights=weight).fit(**options).cov_params()
        # Without weights: statsmodels' robust covariances of weighted GLMs are of counts.
        model = sm.GLM(y, Z, family=FAMILIES[family])
        return model.fit(tol=1e-14, tol_criterion="params", maxiter=1000, **options).cov_params()

    # It gives HC0 for all four where the model is not linear.
    kinds = ("HC0", "HC1", "HC2", "HC3") if family == "gaussian" else ("HC0",)
    found = {kind.lower(): fit(cov_type=kind) for kind in kinds}
    found["cr1"] = fit(cov_type="cluster", cov_kwds={"groups": groups})
    found["nonrobust"] = fit()
    return found


def deleted_clusters(X, y, groups):
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=y, g=groups)
    fit = pyfixest.feols("y ~ a + b + c", frame, vcov={"CRV3": "g"})
    last = [1, 2, 3, 0]
    return np.asarray(fit._vcov)[np.ix_(last, last)]


def main():
    gold = {}
    for family in ("gaussian", "binomial", "poisson"):
        for weighted in (False, True)[: 2 if family == "gaussian" else 1]:
            X, y, weight = make_rows(family)
            weight = weight if weighted else np.ones(len(y))
            groups = np.arange(len(y)) % N_GROUPS
            values = covariances(family, X, y, weight, groups)
            if family == "gaussian" and not weighted:
                values["pyfixest"] = deleted_clusters(X, y, groups)
            values = {"X": X, "y": y, "weight": weight, "groups": groups, **values}
            key = family + ("-weighted" if weighted else "")
            gold[key] = {name: np.asarray(value).tolist() for name, value in values.items()}
    Path(__file__).with_name("sandwich.json").write_text(json.dumps(gold))


if __name__ == "__main__":
    main()
