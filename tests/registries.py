"""Registries the tests run over, and the data they run on."""

from dataclasses import dataclass, replace
from itertools import product

import autograd.numpy as anp
import numpy as np
import scipy.sparse as sp
from autograd.scipy.special import logsumexp
from sklearn import config_context, linear_model
from sklearn.multiclass import OneVsRestClassifier

from skinfluence import losses
from skinfluence.losses.beside import WithOffset
from skinfluence.solvers import CG, Exact
from tests.fewer import half

# Losses ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LossCase:
    """A loss, the same written for autograd, and how to draw targets."""

    loss: losses.Loss
    reference: object
    draw: object

    def draw_points(self, rng, n=60, scale=2.0):
        return scale * rng.standard_normal((n, self.loss.n_outputs)), self.draw(rng, n)


def _tweedie(power):
    def value(eta, y):
        eta = eta[..., 0]
        a, b = 2.0 - power, 1.0 - power
        return (anp.exp(a * eta) / a if a else eta) - y * (anp.exp(b * eta) / b if b else eta)

    return value


def _multinomial(eta, y):
    return logsumexp(eta, axis=-1) - anp.sum(eta * np.eye(eta.shape[-1])[y], axis=-1)


def _softplus(z):
    return anp.logaddexp(0.0, z)


def _squared(eta, y):
    return 0.5 * anp.sum((eta - anp.reshape(y, (-1, eta.shape[-1]))) ** 2, axis=-1)


def _pseudo_huber(eta, y):
    return anp.sqrt(1.0 + (eta[..., 0] - y) ** 2) - 1.0


def _coupled(eta, y):
    return anp.exp(eta[..., 0] - eta[..., 1]) + (eta[..., 1] - y) ** 2 * eta[..., 0] ** 2


def _labels(k):
    return lambda rng, n: rng.integers(0, k, n)


def _signs(rng, n):
    return rng.choice([-1.0, 1.0], n)


def _positive(rng, n):
    return rng.gamma(2.0, size=n)


_SUM_TO_ZERO = losses.SumToZero(losses.Multinomial(4))
_COUNTED = np.array([[1.0, 0.5, 2.0], [3.0, 1.0, 0.2], [0.7, 0.7, 1.0]])

LOSSES = {
    "binomial": LossCase(
        losses.Binomial(), lambda eta, y: _softplus(eta[..., 0]) - y * eta[..., 0], _labels(2)
    ),
    "multinomial": LossCase(losses.Multinomial(4), _multinomial, _labels(4)),
    "sum-to-zero": LossCase(
        _SUM_TO_ZERO,
        lambda eta, y: _multinomial(anp.dot(eta, _SUM_TO_ZERO.basis.T), y),
        _labels(4),
    ),
    "one-vs-rest": LossCase(
        losses.OneVsRest(losses.Binomial(), 3),
        lambda eta, y: anp.sum(_softplus(eta), axis=-1) - anp.sum(eta * np.eye(3)[y], axis=-1),
        _labels(3),
    ),
    "one-vs-rest-counted": LossCase(
        losses.OneVsRest(losses.Binomial(), 3, _COUNTED),
        lambda eta, y: anp.sum(_COUNTED[y] * (_softplus(eta) - eta * np.eye(3)[y]), axis=-1),
        _labels(3),
    ),
    "one-vs-rest-hinge": LossCase(
        losses.OneVsRest(losses.SmoothHinge(0.5), 3),
        lambda eta, y: anp.sum(0.5 * _softplus((1.0 - (2 * np.eye(3)[y] - 1) * eta) / 0.5), -1),
        _labels(3),
    ),
    "squared": LossCase(losses.SquaredError(), _squared, lambda rng, n: rng.standard_normal(n)),
    "squared-3": LossCase(
        losses.SquaredError(3), _squared, lambda rng, n: rng.standard_normal((n, 3))
    ),
    "poisson": LossCase(losses.Poisson(), _tweedie(1), lambda rng, n: rng.poisson(2.0, n)),
    "gamma": LossCase(losses.Gamma(), _tweedie(2), _positive),
    "gamma, offset": LossCase(
        WithOffset(losses.Gamma()),
        lambda eta, pairs: _tweedie(2)(eta + pairs[:, 1:], pairs[:, 0]),
        lambda rng, n: np.column_stack([_positive(rng, n), rng.standard_normal(n)]),
    ),
    "tweedie-1.2": LossCase(losses.Tweedie(1.2), _tweedie(1.2), _positive),
    "tweedie-1.5": LossCase(losses.Tweedie(1.5), _tweedie(1.5), _positive),
    "tweedie-0": LossCase(losses.Tweedie(0), _tweedie(0), _positive),
    "tweedie-3": LossCase(losses.Tweedie(3), _tweedie(3), _positive),
    "smooth-hinge-1": LossCase(
        losses.SmoothHinge(1.0), lambda eta, y: _softplus(1.0 - y * eta[..., 0]), _signs
    ),
    "smooth-hinge-0.1": LossCase(
        losses.SmoothHinge(0.1),
        lambda eta, y: 0.1 * _softplus((1.0 - y * eta[..., 0]) / 0.1),
        _signs,
    ),
    "squared-hinge": LossCase(
        losses.SquaredHinge(),
        lambda eta, y: anp.maximum(0.0, 1.0 - y * eta[..., 0]) ** 2,
        _signs,
    ),
    "squared-tube": LossCase(
        losses.SquaredEpsilonInsensitive(0.3),
        lambda eta, y: anp.maximum(0.0, anp.abs(eta[..., 0] - y) - 0.3) ** 2,
        lambda rng, n: rng.standard_normal(n),
    ),
    "autograd-1": LossCase(
        losses.AutogradLoss(_pseudo_huber), _pseudo_huber, lambda rng, n: rng.standard_normal(n)
    ),
    "autograd-2": LossCase(
        losses.AutogradLoss(_coupled, n_outputs=2), _coupled, lambda rng, n: rng.standard_normal(n)
    ),
}

SOLVERS = {
    "primal": Exact("primal"),
    "dual": Exact("dual"),
    "cg": CG(rtol=1e-10),
}

# Estimators ------------------------------------------------------------------------------------

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}
TIGHT = {
    "LogisticRegression": NEWTON,
    "Ridge": {"solver": "cholesky"},
    "RidgeClassifier": {"solver": "cholesky"},
    "LinearRegression": {"tol": 1e-14},
    "PoissonRegressor": NEWTON,
    "GammaRegressor": NEWTON,
    "TweedieRegressor": NEWTON,
}
# Their penalty is per unit of weight.
MEAN_FORM = (
    linear_model.PoissonRegressor,
    linear_model.GammaRegressor,
    linear_model.TweedieRegressor,
)


@dataclass(frozen=True)
class Case:
    """An estimator of scikit-learn, its parameters and a training set."""

    name: str
    params: tuple = ()
    task: str = "binary"
    sparse: bool = False
    weighted: bool = False
    one_vs_rest: bool = False

    @property
    def id(self):
        params = ",".join(f"{k}={v}" for k, v in self.params)
        return "-".join(
            part
            for part in (
                "OneVsRest" if self.one_vs_rest else "",
                self.name,
                params,
                self.task,
                "csr" if self.sparse else "dense",
                "weights" if self.weighted else "",
            )
            if part
        )

    def estimator(self, **more):
        cls = getattr(linear_model, self.name)
        model = cls(**{**TIGHT.get(self.name, {}), **dict(self.params), **more})
        return OneVsRestClassifier(model) if self.one_vs_rest else model

    def data(self, n=36, d=4, seed=0):
        X, y = make_data(self.task, n, d, seed)
        weight = np.random.default_rng(seed + 1).uniform(0.3, 2.5, n) if self.weighted else None
        return (sp.csr_array(X) if self.sparse else X), y, weight

    def fit(self, X, y, sample_weight):
        return fit(self.estimator(), X, y, sample_weight)


def fit(estimator, X, y, sample_weight):
    """Fit in place; OneVsRestClassifier takes weights where metadata are routed."""
    if not isinstance(estimator, OneVsRestClassifier):
        return estimator.fit(X, y, sample_weight=sample_weight)
    with config_context(enable_metadata_routing=True):
        estimator.estimator.set_fit_request(sample_weight=True)
        return estimator.fit(X, y, sample_weight=sample_weight)


def make_data(task, n, d, seed):
    """Overlapping classes, or a noisy line; some entries are exactly zero."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.linspace(0.5, 2.0, d)
    X[rng.uniform(size=X.shape) < 0.25] = 0.0
    score = X @ rng.standard_normal(d) + 0.4
    if task == "regression":
        return X, score + rng.standard_normal(n)
    if task == "counts":
        return X, rng.poisson(np.exp(0.4 * score)).astype(float)
    if task == "amounts":
        return X, rng.gamma(3.0, np.exp(0.4 * score) / 3.0)
    score = score + 1.5 * rng.standard_normal(n)
    if task == "binary":
        return X, np.where(score > 0, "yes", "no")
    # Three classes of unequal size.
    return X, np.digitize(score, np.quantile(score, [0.25, 0.6])) * 10


def _cases():
    cases = []
    tasks = {
        "LogisticRegression": ("binary", "softmax"),
        "RidgeClassifier": ("binary", "softmax"),
        "Ridge": ("regression",),
        "LinearRegression": ("regression",),
    }
    for name, task in [(name, task) for name, kinds in tasks.items() for task in kinds]:
        balances = (False,) if task == "regression" else (False, True)
        options = list(product((False, True), (False, True), (True, False), balances))
        for sparse, weighted, intercept, balanced in (options[at] for at in half(options)):
            plain = (("fit_intercept", intercept),)
            # sparse Ridge has no direct solver with an intercept
            if name.startswith("Ridge") and sparse:
                plain += (("solver", "sparse_cg"), ("tol", 1e-12))
            more = (("class_weight", "balanced"),) if balanced else ()
            cases.append(Case(name, plain + more, task, sparse, weighted))
    for name, task, params, sparse, weighted in (
        ("PoissonRegressor", "counts", {"alpha": 0.1}, False, True),
        ("PoissonRegressor", "counts", {"alpha": 0.0}, False, False),
        ("PoissonRegressor", "counts", {"alpha": 0.1, "fit_intercept": False}, True, True),
        ("GammaRegressor", "amounts", {"alpha": 0.1}, True, True),
        ("GammaRegressor", "amounts", {"alpha": 0.1, "fit_intercept": False}, False, False),
        ("TweedieRegressor", "counts", {"power": 1.5, "alpha": 0.1}, False, True),
        ("TweedieRegressor", "amounts", {"power": 3, "alpha": 0.1}, False, True),
        ("TweedieRegressor", "regression", {"alpha": 0.1}, False, True),
        ("TweedieRegressor", "amounts", {"link": "log", "alpha": 0.1}, False, False),
    ):
        cases.append(Case(name, tuple(params.items()), task, sparse, weighted))
    for name, task, params, sparse, weighted in (
        ("LogisticRegression", "softmax", {"C": 0.5}, False, True),
        ("LogisticRegression", "softmax", {"fit_intercept": False}, True, False),
        ("LogisticRegression", "binary", {}, False, False),
        ("RidgeClassifier", "softmax", {}, False, True),
    ):
        cases.append(Case(name, tuple(params.items()), task, sparse, weighted, True))
    for params in ({"C": 0.01}, {"C": 30.0}, {"C": np.inf}):
        for task in ("binary", "softmax"):
            cases.append(Case("LogisticRegression", tuple(params.items()), task))
    for scaling in (1.0, 5.0):
        for sparse in (False, True):
            params = {"solver": "liblinear", "tol": 1e-10, "intercept_scaling": scaling, "C": 0.3}
            cases.append(Case("LogisticRegression", tuple(params.items()), "binary", sparse, True))
    balanced = (("solver", "liblinear"), ("tol", 1e-10), ("class_weight", "balanced"))
    cases.append(Case("LogisticRegression", balanced, "binary"))
    chosen = (("class_weight", (("no", 3.0), ("yes", 0.5))),)
    cases.append(Case("LogisticRegression", chosen, "binary", weighted=True))
    cases.append(Case("RidgeClassifier", chosen, "binary", weighted=True))
    return [_with_dicts(case) for case in cases]


def _with_dicts(case):
    params = tuple((k, dict(v) if isinstance(v, tuple) else v) for k, v in case.params)
    return replace(case, params=params)


ESTIMATORS = _cases()


def name_of(case):
    return case.id
