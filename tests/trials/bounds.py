"""Random squared hinges, squared tubes and Huber regressions: their bounds against optima in long double."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import HuberRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

from skinfluence import Influence, edits
from tests.oracle.algebra import LD, Factor
from tests.oracle.half_squares import Sides, hinge_sides, tube_sides
from tests.oracle.huber import Huber, parameters

EPS = np.finfo(float).eps
KINDS = ["squared hinge", "squared tube", "Huber"]
EDITS = ["remove", "group", "relabel", "replace", "add", "reweight"]


class Trial:
    """One model on random rows, one edit, and the rows that it leaves."""

    def __init__(self, seed):
        rng = self.rng = np.random.default_rng(seed)
        self.kind = KINDS[int(rng.integers(len(KINDS)))]
        self.piped = bool(rng.random() < 0.5)
        n, d = int(rng.integers(12, 40)), int(rng.integers(1, 6))
        heavy = rng.random() < 0.5
        X = rng.standard_t(2, (n, d)) if heavy else rng.standard_normal((n, d))
        scale = 1.0 if self.kind == "Huber" and not self.piped else 10.0 ** rng.uniform(-2, 2, d)
        self.X, noise = X * scale, rng.standard_t(2, n) if heavy else rng.standard_normal(n)
        y = X @ rng.standard_normal(d) + 10.0 ** rng.uniform(-1, 0.5) * noise + rng.normal()
        self.y = (y > np.median(y)).astype(int) if self.kind == "squared hinge" else y
        self.w = np.ones(n)
        if not self.piped and rng.random() < 0.5:
            self.w = rng.choice([0.0, 0.1, 1.0, 3.0], n)
        self.model = self._model()

    def _model(self):
        rng, tight = self.rng, {"dual": False, "tol": 1e-8, "max_iter": 20_000}
        free = bool(rng.random() < 0.8)
        if self.kind == "Huber":
            alpha, epsilon = 10.0 ** rng.uniform(-5, 1), rng.uniform(1.05, 2.5)
            return HuberRegressor(
                alpha=alpha, epsilon=epsilon, fit_intercept=free, tol=1e-7, max_iter=5_000
            )
        more = {"C": 10.0 ** rng.uniform(-3, 2), "fit_intercept": free, **tight}
        more["intercept_scaling"] = rng.choice([1.0, 3.0])
        if self.kind == "squared hinge":
            return LinearSVC(**more)
        epsilon = rng.choice([0.0, 0.1, 0.5, 1.0])
        return LinearSVR(loss="squared_epsilon_insensitive", epsilon=epsilon, **more)

    def fitted(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            if self.piped:
                return make_pipeline(StandardScaler(), self.model).fit(self.X, self.y)
            return self.model.fit(self.X, self.y, self.w)

    def edit(self):
        """An edit, and what rows are after it: X, y, weights and which of them are there."""
        rng, n = self.rng, len(self.y)
        choice = EDITS if not self.piped else EDITS[:-1]
        name, i = choice[int(rng.integers(len(choice)))], int(rng.integers(n))
        X, y, w, there = self.X.copy(), self.y.copy(), self.w.copy(), np.ones(n, dtype=bool)
        target = 1 - y[i] if self.kind == "squared hinge" else y[i] + 3.0 * rng.standard_normal()
        point = X[i] + rng.standard_normal(X.shape[1]) * X.std(axis=0)
        if name in ("remove", "group"):
            rows = [i] if name == "remove" else rng.choice(n, 3, replace=False).tolist()
            there[rows] = False
            return edits.remove(rows), X, y, w, there
        if name == "relabel":
            y[i] = target
            return edits.relabel(i, y[i]), X, y, w, there
        if name == "replace":
            X[i] = point
            return edits.replace(i, point), X, y, w, there
        if name == "reweight":
            w[i] = w[i] + 2.5
            return edits.reweight(i, w[i]), X, y, w, there
        added = np.vstack([X, point]), np.append(y, target), np.append(w, 1.0)
        return edits.add(point, target), *added, np.append(there, True)

    def truth(self, X, y, w, start, asked):
        """The optimum on rows, decision values of ``asked`` there, and the Hessian there and elsewhere.

        Returns
        -------
        problem, theta, Z : the problem, its optimum and the rows asked about as it sees them
        """
        if self.piped:
            scaler = StandardScaler().fit(X)
            X, asked = scaler.transform(X), scaler.transform(asked)
        model = self.model
        if self.kind == "Huber":
            problem = Huber(model, X, y, w)
            Z = np.column_stack([asked, np.ones((len(asked), int(model.fit_intercept)))])
            return problem, problem.optimum(start), np.column_stack([Z, np.zeros(len(Z))])
        column = np.full((len(X), int(model.fit_intercept)), model.intercept_scaling)
        rows = np.column_stack([X, column]).astype(LD)
        if self.kind == "squared hinge":
            sides = hinge_sides(rows, 2 * y - 1, w)
        else:
            sides = tube_sides(rows, y, w, model.epsilon)
        problem = Sides(*sides, np.full(rows.shape[1], 1 / LD(model.C)))
        Z = np.column_stack([asked, column[:1].repeat(len(asked), axis=0)])
        return problem, problem.optimum(start), Z.astype(LD)

    def start(self, model):
        """Parameters of a fitted estimator."""
        model = model[-1] if self.piped else model
        if self.kind == "Huber":
            return parameters(model)
        theta = np.ravel(model.coef_)
        if not model.fit_intercept:
            return theta
        return np.append(theta, np.ravel(model.intercept_) / model.intercept_scaling)


@dataclass(frozen=True)
class Compared:
    """What is said of an answer, and what it is.

    Attributes
    ----------
    bound : float
    ratio : float
        The largest error of a decision value in units of its bound; 0 where only rounding is left.
    share : float
        The largest bound of a decision value in units of the largest change, or of a millionth of the
        decision values where they change by less.
    """

    bound: float
    ratio: float
    share: float

    @classmethod
    def of(cls, bound, error, allowed, change, decided):
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.nan_to_num(np.where(error > 0, error / allowed, 0), nan=0.0).max()
        size = max(np.abs(change).max(), 1e-6 * np.abs(decided).max())
        return cls(float(bound), float(ratio), float(allowed.max() / size))


def compare(trial):
    """The effect of a trial's edit, and the model after it, as two :class:`Compared`."""
    fitted = trial.fitted()
    weights = () if trial.piped else (trial.w,)
    inf = Influence(fitted, trial.X, trial.y, *weights, polish=True)
    asked, X2, y2, w2, there = trial.edit()
    of = "decision_function" if trial.kind == "squared hinge" else "predict"
    effect = inf.effect(asked, trial.X, of=of, method="exact")
    edited = inf.edited(asked)
    _, before, Z = trial.truth(trial.X, trial.y, trial.w, trial.start(fitted), trial.X)
    problem, after, Z2 = trial.truth(
        X2[there], y2[there], w2[there], trial.start(edited.estimator), trial.X
    )
    # Alone the bound is in the norm of the edited Hessian at the fit, behind steps in that after the edit.
    P = problem.hessian(after if trial.piped else before)
    terms = np.abs(Z) @ np.abs(before) + np.abs(Z2) @ np.abs(after)
    change = Z2 @ after - Z @ before
    error = np.maximum(0, np.abs(np.ravel(effect.values) - change) - 4 * EPS * terms)
    allowed = Factor(P).inverse_norms(Z2.T) * effect.bound
    decided = edited.estimator.decision_function if of != "predict" else edited.estimator.predict
    off = np.abs(np.ravel(decided(trial.X)) - Z2 @ after)
    off = np.maximum(0, off - 4 * EPS * np.abs(Z2) @ np.abs(after))
    said = np.ravel(edited.error_at(trial.X))
    return (
        Compared.of(effect.bound, error, allowed, change, Z2 @ after),
        Compared.of(said.max(), off, said, change, Z2 @ after),
    )
