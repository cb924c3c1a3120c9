"""Random Huber regressions of few rows and edits of every kind, judged by optima that their conditions prove.

Where a regression passes through many of its rows it has no optimum with a scale above zero; near there
the scale is small and what rows are within epsilon changes with every edit.
"""

import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import HuberRegressor

from skinfluence import Influence, edits
from skinfluence.solvers import SingularHessianError
from tests.oracle.algebra import LD, Factor
from tests.oracle.huber import Huber, UndecidedError

EPS = np.finfo(float).eps
EDITS = ["remove", "group", "relabel", "replace", "add", "reweight"]
# An answer's error that is no fault, relative to its change and to its terms, and those of models.
OFF, TERMS, OFF_MODEL = 1e-6, 1e-11, 1e-7


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows with weights, and where a Huber regression of them ends: an End, or None where nothing is proved."""

    X: np.ndarray
    y: np.ndarray
    w: np.ndarray
    problem: Huber
    end: object

    @classmethod
    def of(cls, model, X, y, w):
        problem = Huber(model, X, y, w)
        try:
            return cls(X, y, w, problem, problem.end())
        except UndecidedError:
            return cls(X, y, w, problem, None)

    @property
    def kind(self):
        if self.end is None:
            return "not decided"
        if self.end.vanishes:
            return "no optimum"
        return "regular" if self.end.regular else "irregular"


class HuberTrial:
    """A Huber regression on 8 to 60 rows of 1 to 12 columns, and edits of it."""

    def __init__(self, seed):
        rng = self.rng = np.random.default_rng([15, seed])
        n, d = int(rng.integers(8, 61)), int(rng.integers(1, 13))
        X = rng.standard_normal((n, d)) if rng.random() < 0.7 else rng.standard_t(2, (n, d))
        if rng.random() < 0.2:
            X[: max(2, n // 5)] = X[0]
        if rng.random() < 0.1 and d > 1:
            X[:, 1] = X[:, 0]
        if rng.random() < 0.15:
            X = X * 10.0 ** rng.uniform(-1.5, 1.5, d)
        if rng.random() < 0.15:
            X = X * (rng.random(X.shape) < 0.4)
        noise = rng.standard_t(2, n) if rng.random() < 0.6 else rng.standard_normal(n)
        y = X @ rng.standard_normal(d) / np.sqrt(d) + 10.0 ** rng.uniform(-2, 0.5) * noise
        y = y + rng.normal()
        if rng.random() < 0.15:
            y = np.round(y)
        if rng.random() < 0.1:
            y[: n // 3] = y[0]
        if rng.random() < 0.15:
            y = y * 10.0 ** rng.integers(-4, 5)
        kind, w = rng.integers(0, 4), np.ones(n)
        if kind == 1:
            w = rng.choice([0.0, 0.1, 1.0, 3.0], n)
            w[0] = 1.0
        if kind == 2:
            w = 10.0 ** rng.uniform(-2, 2, n)
        epsilon = rng.choice([1.0, 1.01, 1.1, 1.35, 1.35, 2.0, 3.0, rng.uniform(1, 3)])
        alpha = rng.choice([0.0, 1e-4, 1e-4, 10.0 ** rng.uniform(-5, 1)])
        self.model = HuberRegressor(
            epsilon=float(epsilon),
            alpha=float(alpha),
            fit_intercept=bool(rng.random() < 0.8),
            max_iter=3000,
            tol=1e-8,
        )
        self.before = Rows.of(self.model, X, y, w)

    def fitted(self):
        """The estimator as fitted, or, often, at its optimum."""
        before, model = self.before, self.model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(before.X, before.y, before.w)
        if before.end is not None and not before.end.vanishes and self.rng.random() < 0.7:
            theta, d = before.end.params.astype(float), before.X.shape[1]
            model.coef_, model.scale_ = theta[:d], float(theta[-1])
            model.intercept_ = float(theta[d]) if model.fit_intercept else 0.0
        return model

    def edit(self):
        """An edit of any kind, and the :class:`Rows` that it leaves."""
        rng, (X, y, w) = self.rng, (self.before.X, self.before.y, self.before.w)
        n, name = len(y), EDITS[int(rng.integers(len(EDITS)))]
        i = int(rng.integers(n))
        X2, y2, w2 = X.copy(), y.copy(), w.copy()
        target = y[i] + float(rng.choice([0.1, 3.0, 30.0])) * np.std(y) * rng.standard_normal()
        point = X[i] * rng.choice([1.0, 1.0, 5.0]) + 0.3 * X.std(axis=0) * rng.standard_normal(
            X.shape[1]
        )
        if name == "remove":
            w2[i] = 0.0
            asked = edits.remove(i)
        elif name == "group":
            rows = rng.choice(n, int(rng.integers(2, max(3, n // 3))), replace=False)
            w2[rows] = 0.0
            asked = edits.remove(rows.tolist())
        elif name == "relabel":
            y2[i] = target
            asked = edits.relabel(i, target)
        elif name == "replace":
            X2[i] = point
            asked = edits.replace(i, point)
        elif name == "reweight":
            w2[i] = w[i] * rng.choice([0.3, 3.0, 10.0]) + 0.5
            asked = edits.reweight(i, float(w2[i]))
        else:
            X2, y2, w2 = np.vstack([X, point]), np.append(y, target), np.append(w2, 1.0)
            asked = edits.add(point, target)
        return asked, Rows.of(self.model, X2, y2, w2)

    def without(self, row):
        w = self.before.w.copy()
        w[row] = 0.0
        return Rows.of(self.model, self.before.X, self.before.y, w)

    def columns(self, X):
        """Rows asked about, as the parameters see them: the scale says nothing of a prediction."""
        ones = np.ones((len(X), int(self.model.fit_intercept)))
        return np.column_stack([X, ones, np.zeros(len(X))]).astype(LD)


def judge(trial, n_edits=4, n_rows=3):
    """What was asked of a trial and how it ended.

    Returns
    -------
    counts : Counter
        Of ``(question, before, after, outcome)``.
    faults : list of str
        Wrong answers, refusals of what has a regular optimum, bounds that do not hold or are infinite.
    """
    counts, faults, before = Counter(), [], trial.before
    try:
        fitted = trial.fitted()
    except ValueError:
        # The estimator's own: its solver gave up.
        return counts, faults
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            inf = Influence(fitted, before.X, before.y, before.w)
        except SingularHessianError as error:
            counts["the fit", before.kind, "", "refused"] += 1
            if before.kind == "regular":
                faults.append(f"refused: {error}")
            elif before.kind == "no optimum" and "scale" not in str(error):
                faults.append(f"refused in other words: {error}")
            return counts, faults
        counts["the fit", before.kind, "", "answered"] += 1
        if before.kind == "no optimum":
            return counts, ["a fit without an optimum was answered about"]
        asked = trial.columns(before.X[:4])
        for _ in range(n_edits):
            edit, after = trial.edit()
            method = str(trial.rng.choice(["auto", "exact"]))
            found = inf.effect(edit, before.X[:4], of="predict", method=method)
            values = np.ravel(found.values)
            outcome, said = _compared(before, after, asked, values, found.bound)
            counts["effect", before.kind, after.kind, outcome] += 1
            faults += [f"effect, {method}: {one}" for one in said]
            outcome, said = _edited(inf, edit, before, after, asked)
            counts["edited", before.kind, after.kind, outcome] += 1
            faults += [f"edited: {one}" for one in said]
        rows = trial.rng.choice(len(before.y), n_rows, replace=False)
        moved = inf.removal_effect(before.X[:4], of="predict", indices=rows)
        own = np.ravel(inf.loo_predict(indices=rows))
        for k, row in enumerate(rows):
            after = trial.without(row)
            outcome, said = _compared(before, after, asked, moved[:, k])
            counts["removal", before.kind, after.kind, outcome] += 1
            faults += [f"removal of {row}: {one}" for one in said]
            if after.kind in ("regular", "irregular"):
                z = trial.columns(before.X[[row]])[0]
                off = abs(own[k] - z @ after.end.params)
                if not off <= 1e-8 * (np.abs(z) @ np.abs(after.end.params)):
                    faults.append(f"own prediction without {row}: {float(off):.1e} off")
    return counts, faults


def _compared(before, after, asked, values, bound=None):
    """How an answer ended, and what is wrong with it."""
    both = {before.kind, after.kind}
    if np.isnan(values).any():
        return "NaN", ["NaN where there is an optimum"] if both == {"regular"} else []
    if after.kind == "no optimum":
        return "answered", ["answered where there is no optimum"]
    if "not decided" in both:
        return "answered", []
    change = asked @ (after.end.params - before.end.params)
    terms = np.abs(asked) @ (np.abs(after.end.params) + np.abs(before.end.params))
    error, faults = np.abs(values - change), []
    if error.max() > OFF * np.abs(change).max() + TERMS * terms.max():
        faults.append(
            f"{float(error.max()):.1e} off in a change of {float(np.abs(change).max()):.1e}"
        )
    if bound is None:
        return "right", faults
    if both == {"regular"} and not np.isfinite(bound):
        faults.append("no bound")
    P = after.problem.hessian(before.end.params)
    # Rows that only the edit brings within epsilon leave no norm at the fit to compare in.
    if np.isfinite(bound) and np.linalg.cond(P.astype(float)) < 1e14:
        lengths = Factor(P).inverse_norms(asked.T)
        if (error > lengths * bound + 4 * EPS * terms).any():
            faults.append(f"{float((error / (lengths * bound)).max()):.1e} times its bound off")
    return "with a bound" if np.isfinite(bound) else "without a bound", faults


def _edited(inf, edit, before, after, asked):
    try:
        edited = inf.edited(edit)
    except SingularHessianError as error:
        regular = before.kind == after.kind == "regular"
        return "refused", [f"refused: {error}"] if regular else []
    if after.kind == "no optimum":
        return "answered", ["a model without an optimum"]
    if after.end is None:
        return "answered", []
    X = before.X[:4]
    said, faults = np.ravel(edited.error_at(X)), []
    terms = np.abs(asked) @ np.abs(after.end.params)
    error = np.abs(edited.estimator.predict(X) - asked @ after.end.params)
    if error.max() > OFF_MODEL * terms.max():
        faults.append(f"{float(error.max()):.1e} off in {float(terms.max()):.1e}")
    if (error > said + 16 * EPS * terms).any():
        faults.append("further off than is said")
    if after.kind == "regular" and not np.isfinite(said).all():
        faults.append("no bound")
    return "with a bound" if np.isfinite(said).all() else "without a bound", faults
