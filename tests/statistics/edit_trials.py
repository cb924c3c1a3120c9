"""Random edits of random pipelines, judged by refits in plain arrays.

Nothing of the package is used but the answer: scikit-learn fits the steps on the edited rows, and
Newton's method below the model, in the columns that come out.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_classif, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from skinfluence import Influence, edits

# Of values that a refit in float64 knows, relative to the largest of them.
ROUND_OFF = 1e-9


@dataclass
class Trial:
    """A fitted pipeline, its rows, an edit, the rows that this leaves, and which to ask about."""

    name: str
    model: object
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    edit: object
    X_after: np.ndarray
    y_after: np.ndarray
    weight_after: np.ndarray
    tests: np.ndarray


STEPS = {
    "scaler": lambda n: (StandardScaler(),),
    "scaler without mean": lambda n: (StandardScaler(with_mean=False),),
    "scaler without deviation": lambda n: (StandardScaler(with_std=False),),
    "min-max": lambda n: (MinMaxScaler(),),
    "min-max, clipped": lambda n: (MinMaxScaler(clip=True),),
    "max-abs": lambda n: (MaxAbsScaler(),),
    "robust": lambda n: (RobustScaler(),),
    "holes": lambda n: (SimpleImputer(), StandardScaler()),
    "median": lambda n: (SimpleImputer(strategy="median"), MinMaxScaler()),
    "components": lambda n: (StandardScaler(), PCA(2)),
    "selection": lambda n: (SelectKBest(k=2), StandardScaler()),
    "products": lambda n: (PolynomialFeatures(2, include_bias=False), StandardScaler()),
    "columns": lambda n: (
        ColumnTransformer(
            [
                ("numbers", StandardScaler(), slice(0, n - 1)),
                ("words", OneHotEncoder(handle_unknown="ignore"), [n - 1]),
            ]
        ),
    ),
}


def draw(seed):
    """A trial; None where there is no model to begin with."""
    rng = np.random.default_rng(seed)
    name = rng.choice(list(STEPS))
    n, d = int(rng.integers(15, 60)), int(rng.integers(3, 6))
    X = rng.standard_normal((n, d)) * np.exp(rng.uniform(0, 1.5) * rng.standard_normal((n, d)))
    X = X + rng.choice([0.0, 0.0, 30.0])
    if name == "columns":
        X[:, -1] = rng.choice([1.0, 2.0, 3.0], n)
        X[0, -1] = 4.0
    signal = X[:, 0] - np.median(X[:, 0])
    signal = signal / (np.abs(signal).mean() or 1.0) + rng.standard_normal(n)
    family = rng.choice(["logistic", "ridge", "poisson"])
    intercept = bool(rng.random() < 0.7)
    strength = float(10 ** rng.uniform(-1.5, 1.5))
    if family == "logistic":
        y = (signal > 0).astype(int)
        last = LogisticRegression(
            C=1 / strength,
            fit_intercept=intercept,
            solver="newton-cholesky",
            tol=1e-10,
            max_iter=300,
        )
    elif family == "ridge":
        y, last = signal, Ridge(strength, fit_intercept=intercept)
    else:
        y = rng.poisson(np.exp(np.clip(0.5 * signal, -3, 2))).astype(float)
        last = PoissonRegressor(
            alpha=0.1 * strength,
            fit_intercept=intercept,
            solver="newton-cholesky",
            tol=1e-10,
            max_iter=300,
        )
    if name in ("holes", "median"):
        X[rng.random((n, d)) < 0.08] = np.nan
    weight = np.ones(n) if rng.random() < 0.6 else rng.integers(0, 4, n) * rng.uniform(0.3, 1.0)
    steps = STEPS[name](d)
    if name == "selection":
        steps[0].score_func = f_classif if family == "logistic" else f_regression
    model = make_pipeline(*steps, last)
    if (family == "logistic" and len(np.unique(y[weight > 0])) < 2) or not (y * weight).any():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, **{f"{model.steps[-1][0]}__sample_weight": weight})
    edit, kept, new = _edit(rng, X, y, weight, family)
    X_after = np.vstack([X[kept], *(x for x, _, _ in new)])
    y_after = np.concatenate([edit[1][kept], [label for _, label, _ in new]])
    w_after = np.concatenate([edit[2][kept], [w for _, _, w in new]])
    tests = rng.choice(n, 4, replace=False)
    title = f"{name}, {family}, {edit[3]}"
    return Trial(title, model, X, y, weight, edit[0], X_after, y_after, w_after, tests)


def _edit(rng, X, y, weight, family):
    """An edit as the package writes it, and the rows that it leaves."""
    n = len(y)
    rows = rng.permutation(n)
    y_after, w_after, gone, new = y.copy(), weight.copy(), [], []
    total, said = None, []

    def other(label):
        return 1 - label if family == "logistic" else float(np.round(abs(label) + 1.0))

    kinds = ["remove", "group", "replace", "add", "relabel", "reweight"]
    count = 1 if rng.random() < 0.6 else 2
    # Half of them take the ways that single rows take.
    chosen = ["remove"] if rng.random() < 0.5 else rng.choice(kinds, count, replace=False)
    for kind in chosen:
        row = int(rows[0])
        if not said and rng.random() < 0.3:
            # One that a scaler notices.
            row = int(np.nanargmax(np.abs(X[:, 0] - np.nanmedian(X[:, 0]))))
        rows = rows[rows != row]
        if kind == "remove":
            one, gone = edits.remove(row), [*gone, row]
        elif kind == "group":
            some = rows[: int(rng.integers(2, max(3, n // 4)))]
            rows = rows[len(some) :]
            one, gone = edits.remove(some), [*gone, *some]
        elif kind == "replace":
            x = X[row].copy()
            x[0] = np.nan_to_num(x[0]) * rng.uniform(-2, 2) + rng.uniform(0, 3)
            one, gone = edits.replace(row, x), [*gone, row]
            new.append((x[None], y[row], weight[row]))
        elif kind == "add":
            x, w = X[int(rng.integers(n))] * 1.0, float(rng.uniform(0.2, 2.0))
            one = edits.add(x, y[row], sample_weight=w)
            new.append((x[None], y[row], w))
        elif kind == "relabel":
            y_after[row] = other(y[row])
            one = edits.relabel(row, y_after[row])
        else:
            w_after[row] = float(rng.choice([0.0, 0.5, 2.0]))
            one = edits.reweight(row, w_after[row])
        said.append(str(kind))
        total = one if total is None else total + one
    kept = np.delete(np.arange(n), gone)
    return (total, y_after, w_after, " + ".join(said)), kept, new


def judge(seed):
    """What is wrong with the answers of a trial, a list of sentences; None for no trial."""
    trial = draw(seed)
    if trial is None:
        return None
    rng = np.random.default_rng(seed + 10**6)
    X_test = trial.X[trial.tests]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth, sizes = _refit(trial, X_test)
        if truth is None:
            return None
        inf = Influence(trial.model, trial.X, trial.y, trial.weight)
        before = _old_optimum(trial, X_test)
        found = []
        for method in ("auto", "exact"):
            tol = float(rng.choice([0.3, 1e-2, 1e-3]))
            try:
                effect = inf.effect(
                    trial.edit, X_test, of="decision_function", method=method, tol=tol
                )
            except ValueError as error:
                if "keep weight" in str(error) or "refuse" in str(error):
                    return None
                raise
            found.append((method, tol, effect))
    change = truth - before
    # Decision values that are far larger than their change carry its round-off.
    size = max(np.abs(change).max(), 1e-3 * np.abs(truth).max())
    wrong = []
    for method, tol, effect in found:
        error = np.abs(effect.values - change)
        bound = effect.bound * sizes[str(effect.route)]
        if (error > bound * (1 + 1e-6) + ROUND_OFF * np.abs(truth).max()).any():
            wrong.append(f"{trial.name}: {method} misses its bound, {error} beyond {bound}")
        limit = 1e-6 if method == "exact" or effect.route == "fitted again" else 10 * tol
        if not error.max() <= limit * size:
            wrong.append(
                f"{trial.name}: {method} is off by {error.max() / size:.1e} ({effect.route})"
            )
    return wrong


def _old_optimum(trial, X_test):
    model = trial.model
    Z, T = (_dense(model[:-1].transform(one)) for one in (trial.X, X_test))
    theta, free = _solve(model[-1], Z, trial.y, trial.weight)
    return _with_intercept(T, free) @ theta


def _refit(trial, X_test):
    """Decision values of the edited pipeline, and ``|x_t|`` in the norms that bounds are in."""
    steps = clone(trial.model[:-1])
    if trial.model[-1].__class__ is LogisticRegression:
        left = np.unique(trial.y_after[trial.weight_after > 0])
        if len(left) < 2:
            return None, None
    if not (trial.weight_after * np.abs(trial.y_after)).any():
        return None, None
    Z = _dense(steps.fit_transform(trial.X_after, trial.y_after))
    T = _dense(steps.transform(X_test))
    last = trial.model[-1]
    theta, free = _solve(last, Z, trial.y_after, trial.weight_after)
    old_Z = _dense(trial.model[:-1].transform(trial.X_after))
    Z0 = _dense(trial.model[:-1].transform(trial.X))
    old_theta, _ = _solve(last, Z0, trial.y, trial.weight)
    at_old = _with_intercept(old_Z, free) @ old_theta
    J, T = _with_intercept(Z, free), _with_intercept(T, free)
    sizes = {}
    for route, eta in (("fitted again", J @ theta), ("penalty moved", at_old)):
        P = _hessian(last, J, eta, trial.weight_after)
        sizes[route] = np.sqrt(np.einsum("td,dt->t", T, np.linalg.lstsq(P, T.T, rcond=None)[0]))
    sizes["nothing to move"] = sizes["fills moved"] = sizes["penalty moved"]
    return T @ theta, sizes


def _penalty(last, d, weight):
    if isinstance(last, LogisticRegression):
        return np.full(d, 1.0 / last.C)
    return np.full(d, last.alpha * (1.0 if isinstance(last, Ridge) else weight.sum()))


def _with_intercept(Z, free):
    return np.column_stack([Z, np.ones(len(Z))]) if free else Z


def _curvature(last, eta):
    if isinstance(last, LogisticRegression):
        p = 1 / (1 + np.exp(-eta))
        return p, p * (1 - p)
    if isinstance(last, Ridge):
        return eta, np.ones_like(eta)
    return np.exp(eta), np.exp(eta)


def _hessian(last, J, eta, weight):
    R = _penalty(last, J.shape[1], weight)
    if last.fit_intercept:
        R[-1] = 0.0
    return (J * (weight * _curvature(last, eta)[1])[:, None]).T @ J + np.diag(R)


def _value(last, J, theta, y, weight, R):
    eta = J @ theta
    if isinstance(last, LogisticRegression):
        loss = np.logaddexp(0, eta) - y * eta
    elif isinstance(last, Ridge):
        loss = 0.5 * (eta - y) ** 2
    else:
        loss = np.exp(eta) - y * eta
    return weight @ loss + 0.5 * R @ theta**2


def _solve(last, Z, y, weight):
    """Newton's method with halved steps, from zero, and the intercept at its own optimum there."""
    free = last.fit_intercept
    J = _with_intercept(Z, free)
    R = _penalty(last, J.shape[1], weight)
    if free:
        R[-1] = 0.0
    theta = np.zeros(J.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(200):
            eta = J @ theta
            G = J.T @ (weight * (_curvature(last, eta)[0] - y)) + R * theta
            step = np.linalg.lstsq(_hessian(last, J, eta, weight), G, rcond=None)[0]
            scale, value = 1.0, _value(last, J, theta, y, weight, R)
            while scale > 1e-10 and not (
                _value(last, J, theta - scale * step, y, weight, R) <= value + 1e-13 * abs(value)
            ):
                scale *= 0.5
            theta = theta - scale * step
            if np.abs(J @ step).max() < 1e-14 * (1 + np.abs(eta).max()):
                break
    return theta, free


def _dense(Z):
    return Z.toarray() if hasattr(Z, "toarray") else np.asarray(Z, dtype=float)
