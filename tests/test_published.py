"""Values that R and SAS printed, as statsmodels brings them along for its own tests."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from skinfluence import Influence, diagnostics

statsmodels = pytest.importorskip("statsmodels")
pd = pytest.importorskip("pandas")
RESULTS = Path(statsmodels.__file__).parent / "stats" / "tests" / "results"
if not (RESULTS / "influence_lsdiag_R.json").exists():
    pytest.skip("statsmodels came without its tests", allow_module_level=True)


@pytest.fixture(scope="module")
def macro():
    """US growth of investment on that of output and the real interest rate, 202 quarters."""
    from statsmodels.datasets import macrodata

    table = macrodata.load_pandas().data
    X = np.column_stack([400 * np.diff(np.log(table["realgdp"])), table["realint"].to_numpy()[:-1]])
    y = 400 * np.diff(np.log(table["realinv"]))
    return Influence(LinearRegression().fit(X, y), X, y)


@pytest.mark.parametrize(
    ("name", "of_r"),
    [
        ("leverage", "hat"),
        ("cooks_distance", "cooks"),
        ("dffits", "dfits"),
        ("resid_studentized_internal", "std.res"),
        ("resid_studentized_external", "stud.res"),
    ],
)
def test_least_squares_has_the_diagnostics_of_r(macro, name, of_r):
    """``ls.diag`` of R."""
    expected = json.loads((RESULTS / "influence_lsdiag_R.json").read_text())[of_r]
    np.testing.assert_allclose(getattr(diagnostics, name)(macro), expected, atol=2e-12, rtol=1e-9)


def test_least_squares_has_the_influence_measures_of_r(macro):
    """``influence.measures`` of R: dfbetas with the intercept first, dffits, Cook's distance, hat."""
    expected = pd.read_csv(RESULTS / "influence_measures_R.csv", index_col=0)
    found = np.squeeze(diagnostics.dfbetas(macro))[:, [2, 0, 1]]
    np.testing.assert_allclose(found, expected.iloc[:, :3], atol=2e-12, rtol=1e-9)


def test_logistic_regression_has_the_diagnostics_of_sas():
    """Pregibon's on Finney's data of vasoconstriction, which SAS prints to three or four digits."""
    table = pd.read_csv(RESULTS / "binary_constrict.csv", index_col=0)
    sas = pd.read_csv(RESULTS / "results_influence_logit.csv", index_col=0)
    X, y = table[["log_rate", "log_volumne"]].to_numpy(), table["constrict"].to_numpy()
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(X, y)
    inf = Influence(model, X, y)
    np.testing.assert_allclose(diagnostics.leverage(inf), sas["hat_matrix_diagonal"], atol=6e-5)
    found = np.squeeze(diagnostics.dfbetas(inf))[:, [2, 0, 1]]
    names = ["dfb_intercept", "dfb_lograte", "dfb_logvolumne"]
    np.testing.assert_allclose(found, sas[names], atol=1e-4)
    cooks = 3 * diagnostics.cooks_distance(inf)
    np.testing.assert_allclose(cooks, sas["Cooks C"], atol=6e-5)
    left = 1.0 - diagnostics.leverage(inf)
    np.testing.assert_allclose(cooks * left, sas["Cooks Cbar"], atol=6e-5)
