"""Fits of statsmodels are asked as they are: its refits without a row, and its own influence, say the same."""

import autograd.numpy as anp
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import PoissonRegressor, Ridge

from skinfluence import Influence, edits
from skinfluence.adapters import from_statsmodels
from skinfluence.diagnostics import cooks_distance, dfbetas, leverage
from skinfluence.m_estimation import MEstimator

sm = pytest.importorskip("statsmodels.api")

N = 60
rng = np.random.default_rng(0)
X = sm.add_constant(rng.standard_normal((N, 3)))
ETA = X @ [0.3, 0.8, -0.5, 0.2]
W = rng.uniform(0.5, 2.0, N)
OFFSET, EXPOSURE = rng.uniform(-0.5, 0.5, N), rng.uniform(0.5, 4.0, N)
LINE = ETA + rng.standard_normal(N)
BITS = (rng.uniform(size=N) < 1 / (1 + np.exp(-ETA))).astype(float)
COUNTS = rng.poisson(EXPOSURE * np.exp(ETA + OFFSET)).astype(float)
AMOUNTS = rng.gamma(2.0, np.exp(ETA) / 2.0) + 1e-3
THREE = np.digitize(LINE, [-0.3, 0.9])
LOG = sm.families.links.Log()


def glm(y, family, **more):
    """A GLM on some rows; what else it takes is one number per row."""

    def fit(rows):
        own = {name: values[rows] for name, values in more.items()}
        model = sm.GLM(y[rows], X[rows], family=family, **own)
        return model.fit(tol=1e-14, tol_criterion="params", maxiter=500)

    return fit


def likelihood(kind, y, **more):
    def fit(rows):
        own = {name: values[rows] for name, values in more.items()}
        return kind(y[rows], X[rows], **own).fit(disp=0, method="newton", tol=1e-12)

    return fit


FITS = {
    "ols": lambda rows: sm.OLS(LINE[rows], X[rows]).fit(),
    "wls": lambda rows: sm.WLS(LINE[rows], X[rows], weights=W[rows]).fit(),
    "gaussian": glm(LINE, sm.families.Gaussian(), offset=OFFSET, var_weights=W),
    "binomial": glm(BITS, sm.families.Binomial(), freq_weights=W),
    "poisson": glm(COUNTS, sm.families.Poisson(), offset=OFFSET, exposure=EXPOSURE),
    "poisson, weights": glm(
        COUNTS, sm.families.Poisson(), offset=OFFSET, freq_weights=W, var_weights=W
    ),
    "gamma": glm(AMOUNTS, sm.families.Gamma(LOG), offset=OFFSET, var_weights=W),
    "tweedie": glm(AMOUNTS, sm.families.Tweedie(LOG, var_power=1.5), offset=OFFSET),
    "binomial, offset": glm(BITS, sm.families.Binomial(), freq_weights=W, offset=OFFSET),
    "logit": likelihood(sm.Logit, BITS),
    "logit, offset": likelihood(sm.Logit, BITS, offset=OFFSET),
    "poisson, likelihood": likelihood(sm.Poisson, COUNTS, offset=OFFSET, exposure=EXPOSURE),
    "multinomial": likelihood(sm.MNLogit, THREE),
}
ALL = np.arange(N)


def decide(fit, points):
    """Decision values without an offset, those of classes as differences from the first."""
    return points @ np.asarray(fit.params)


@pytest.fixture(params=FITS)
def asked(request):
    fit = FITS[request.param]
    full = fit(ALL)
    return fit, full, Influence(*from_statsmodels(full))


def test_effects_are_refits_by_statsmodels(asked):
    """rtol=1e-7: where their Newton's method stops."""
    fit, full, inf = asked
    points = X[:5]
    found = inf.removal_effect(points, of="decision_function", method="exact", indices=[2, 11])
    several = inf.effect(edits.remove([2, 11, 40]), points, of="decision_function", method="exact")
    if found.ndim == 3:
        found, values = found[..., 1:] - found[..., :1], several.values
        several = values[..., 1:] - values[..., :1]
    else:
        several = several.values
    scale = np.abs(found).max()
    for j, row in enumerate([2, 11]):
        change = decide(fit(np.delete(ALL, row)), points) - decide(full, points)
        assert_allclose(found[:, j], change, atol=1e-7 * scale)
    change = decide(fit(np.delete(ALL, [2, 11, 40])), points) - decide(full, points)
    assert_allclose(several, change, atol=1e-7 * np.abs(change).max())


# Its Cook's distances of other links are of other steps; freq_weights are counts of rows there.
SAME = ("ols", "poisson", "logit", "logit, offset", "poisson, likelihood")


@pytest.mark.parametrize("name", SAME)
def test_diagnostics_are_the_influence_of_statsmodels(name):
    full = FITS[name](ALL)
    inf, own = Influence(*from_statsmodels(full)), full.get_influence()
    assert_allclose(leverage(inf), own.hat_matrix_diag, rtol=1e-6)
    assert_allclose(cooks_distance(inf), own.cooks_distance[0], rtol=1e-5)
    if hasattr(own, "dfbetas"):
        assert_allclose(dfbetas(inf)[:, 0], own.dfbetas, rtol=1e-5, atol=1e-10)


def test_a_frame_keeps_its_names_and_the_rows_that_were_kept():
    frame = pd.DataFrame(X, columns=["const", "a", "b", "c"], index=np.arange(N) + 100)
    holed = frame.copy()
    holed.iloc[3, 1] = np.nan
    fit = sm.OLS(pd.Series(LINE, index=frame.index), holed, missing="drop").fit()
    inf = Influence(*from_statsmodels(fit))
    without = inf.loo_predict(labels=[104])
    rows = np.delete(ALL, [3, 4])
    refit = sm.OLS(LINE[rows], X[rows]).fit()
    assert_allclose(without, refit.predict(X[[4]]), rtol=1e-10)


def test_labels_are_those_that_were_given():
    names = np.array(["low", "mid", "top"])[THREE]
    model, _, y, *_ = from_statsmodels(sm.MNLogit(pd.Series(names), X).fit(disp=0))
    assert list(model.classes_) == ["low", "mid", "top"] and (y == names).all()


def test_columns_far_from_zero_are_answered_like_others():
    """A year beside a constant: no centring is possible without a free intercept."""
    Z = X.copy()
    Z[:, 1] = 2000.0 + np.round(5 * Z[:, 1])
    inf = Influence(*from_statsmodels(sm.OLS(LINE, Z).fit()))
    refit = sm.OLS(LINE[1:], Z[1:]).fit()
    assert_allclose(inf.loo_predict(indices=[0]), refit.predict(Z[:1]), rtol=1e-8)


def test_the_optimum_of_a_penalised_fit_is_asked_as_the_refusal_says():
    penalised = sm.OLS(LINE, X).fit_regularized(alpha=0.1, L1_wt=0.0)
    with pytest.raises(ValueError, match="those of fit_regularized"):
        from_statsmodels(penalised)
    ridge = Ridge(0.1 * N, fit_intercept=False).fit(X, LINE)
    assert_allclose(ridge.coef_, penalised.params, rtol=1e-8)
    found = Influence(ridge, X, LINE, hold="lambda").loo_predict(indices=[7])
    rows = np.delete(ALL, 7)
    refit = sm.OLS(LINE[rows], X[rows]).fit_regularized(alpha=0.1, L1_wt=0.0)
    assert_allclose(found, [X[7] @ refit.params], rtol=1e-8)


def test_exposure_is_a_rate_and_a_weight_for_an_estimator_of_scikit_learn_too():
    model = PoissonRegressor(alpha=0.0, fit_intercept=False, tol=1e-12, solver="newton-cholesky")
    rate = COUNTS / (EXPOSURE * np.exp(OFFSET))
    model.fit(X, rate, sample_weight=EXPOSURE * np.exp(OFFSET))
    assert_allclose(model.coef_, FITS["poisson"](ALL).params, rtol=1e-8)


def logistic(params, x, y):
    eta = x[..., :-1] @ params + x[..., -1]
    return anp.logaddexp(0.0, eta) - y * eta


def linear(params, X):
    return X[:, :-1] @ params


def test_an_offset_is_a_column_of_an_m_estimator():
    """As the refusal of other models says."""
    fit = glm(BITS, sm.families.Binomial(), offset=OFFSET)
    model = MEstimator(logistic, n_params=4, decision=linear)
    Z = np.column_stack([X, OFFSET])
    inf = Influence(model.fit(Z, BITS), Z, BITS)
    found = inf.effect(edits.remove([3, 8]), Z[:4], of="decision_function")
    change = decide(fit(np.delete(ALL, [3, 8])), X[:4]) - decide(fit(ALL), X[:4])
    assert_allclose(found.values, change, rtol=1e-6)


REFUSED = {
    "another link": (glm(BITS, sm.families.Binomial(sm.families.links.Probit())), "with Probit"),
    "another family": (
        glm(AMOUNTS, sm.families.InverseGaussian(LOG)),
        "Got InverseGaussian with Log",
    ),
    "shares": (glm(BITS * 0.5, sm.families.Binomial(), freq_weights=W), "zeros and ones"),
    "a power": (glm(AMOUNTS, sm.families.Tweedie(LOG, var_power=2.5)), "between 1 and 2"),
    "constraints": (
        lambda rows: sm.GLM(COUNTS, X, family=sm.families.Poisson()).fit_constrained("x1 = 0"),
        "with constraints",
    ),
    "correlated rows": (lambda rows: sm.GLS(LINE, X, sigma=W).fit(), "Known are OLS"),
    "quantiles": (lambda rows: sm.QuantReg(LINE, X).fit(), "Known are OLS"),
    "no fit": (lambda rows: Ridge(), "must be what fit"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_name(name):
    fit, words = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=words):
        from_statsmodels(fit(ALL))


def test_results_themselves_are_no_estimator_and_the_way_is_named():
    with pytest.raises(TypeError, match="from_statsmodels"):
        Influence(FITS["ols"](ALL), X, LINE)
