"""Answers about whole pipelines against refits of whole pipelines on real data: a table.

python -m benchmarks.pipeline_truth --data DIR            # all rows
python -m benchmarks.pipeline_truth --data DIR --rows 60 --only adult

The truth is scikit-learn's transformers fitted on the edited rows and Newton's method below, in the
coordinates of the rows; of support vector machines, the conditions of the margin solved in double.
"""

import argparse
import os
import sys
import time
import warnings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
    scale,
)
from sklearn.svm import SVC
from sklearn.utils import _safe_indexing

from benchmarks.data import add_data_option, folder, load_enron

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 500}
# Of values that a refit in float64 knows, relative to the largest of them.
ROUND_OFF = 1e-10


def cancer():
    return load_breast_cancer(return_X_y=True)


def scaled_cancer():
    X, y = cancer()
    return scale(X), y


def heavy_counts():
    rng = np.random.default_rng(0)
    X = np.exp(1.2 * rng.standard_normal((300, 6)))
    return X, rng.poisson(np.exp(0.3 * np.log(X[:, 0]))).astype(float)


def adult(data, n=600):
    """A sample of the census table: numbers, some of them made missing, and categories."""
    import pandas as pd

    names = (
        "age work weight school years married job kin race sex gain loss hours country y".split()
    )
    path = folder(data, "adult") / "adult.data.xz"
    table = pd.read_csv(path, names=names, skipinitialspace=True, na_values="?")
    table = table.sample(n, random_state=0).reset_index(drop=True)
    numbers = ["age", "years", "gain", "loss", "hours"]
    words = ["work", "married", "job", "kin", "sex"]
    X = table[numbers].astype(float)
    X[np.random.default_rng(0).random(X.shape) < 0.03] = np.nan
    X[words] = table[words].astype(object).fillna("unknown")
    return X, (table["y"].str.startswith(">50K")).to_numpy().astype(int)


def enron(data, n=300):
    texts, y = load_enron(data)
    chosen = np.random.default_rng(0).choice(len(y), n, replace=False)
    return [texts[i] for i in chosen], y[chosen].astype(int)


def cases(data):
    """Name, pipeline and a function that gives its rows."""
    scaler, logistic = StandardScaler(), LogisticRegression(**NEWTON)
    numbers = ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), slice(0, 5))
    words = ("words", OneHotEncoder(handle_unknown="ignore"), slice(5, 10))
    columns = ColumnTransformer([numbers, words])
    yield "scaler, logistic; breast cancer", make_pipeline(scaler, logistic), cancer
    yield (
        "scaler, ridge; diabetes",
        make_pipeline(scaler, Ridge()),
        lambda: load_diabetes(return_X_y=True),
    )
    yield (
        "MinMaxScaler, Poisson; heavy-tailed columns",
        make_pipeline(MinMaxScaler(), PoissonRegressor(alpha=0.01, **NEWTON)),
        heavy_counts,
    )
    yield "scaler, PCA(5), logistic; breast cancer", make_pipeline(scaler, PCA(5), logistic), cancer
    yield (
        "SelectKBest, scaler, logistic; breast cancer",
        make_pipeline(SelectKBest(k=10), scaler, logistic),
        cancer,
    )
    yield (
        "imputer, scaler, one-hot, logistic; adult",
        make_pipeline(columns, logistic),
        lambda: adult(data),
    )
    yield (
        "tf-idf, logistic; Enron mails",
        make_pipeline(TfidfVectorizer(min_df=2), logistic),
        lambda: enron(data),
    )
    yield "scaler, SVC; breast cancer", make_pipeline(scaler, SVC(tol=1e-10)), cancer
    yield (
        "SVC, gamma of its own; breast cancer, scaled beforehand",
        make_pipeline(FunctionTransformer(), SVC(tol=1e-10)),
        scaled_cancer,
    )
    yield (
        "scaler, logistic; digits, 10 classes",
        make_pipeline(scaler, logistic),
        lambda: tuple(part[:600] for part in load_digits(return_X_y=True)),
    )


# Refits -----------------------------------------------------------------------------------------


class Refit:
    """The pipeline on some rows, by Newton's method; decision values anywhere."""

    def __init__(self, model, X, y, start=None):
        self.steps = clone(model[:-1]).fit(X, y)
        self.last = model.steps[-1][1]
        Z = self.steps.transform(X)
        self.machine = Machine(self.last, Z, y) if isinstance(self.last, SVC) else None
        self.rotation = None
        if self.machine is not None:
            return
        if Z.shape[1] > len(y):
            # The optimum lies in the span of the rows.
            values, vectors = np.linalg.eigh(_dense(Z @ Z.T))
            there = values > 1e-13 * values[-1]
            scaled = vectors[:, there] / np.sqrt(values[there])
            self.rotation = sp.csr_array(Z).T @ scaled
        self._solve(self._rows(Z), y, start)

    def _rows(self, Z):
        Z = _dense(Z) if self.rotation is None else Z @ self.rotation
        return np.column_stack([Z, np.ones(len(Z))])

    def _solve(self, J, y, start):
        self.J, self.y = J, y
        if isinstance(self.last, LogisticRegression):
            classes = np.unique(y)
            self.codes, k = np.searchsorted(classes, y), len(classes)
            self.basis = np.ones((1, 1)) if k == 2 else _contrasts(k)
            strength = 1.0 / self.last.C
        else:
            self.basis = np.ones((1, 1))
            strength = self.last.alpha * (len(y) if isinstance(self.last, PoissonRegressor) else 1)
        self.penalty = np.r_[np.full(J.shape[1] - 1, strength), 0.0]
        shape = self.basis.shape[1], J.shape[1]
        theta = np.zeros(shape)
        if start is not None and start.shape == shape and self.rotation is None:
            theta = start
        best, value = np.inf, self._value(theta)
        for _ in range(100):
            gradient = self._gradient(theta)
            self.H = cho_factor(self._hessian(J @ theta.T))
            step = cho_solve(self.H, gradient.ravel()).reshape(shape)
            decrement = np.sqrt(max(0.0, step.ravel() @ gradient.ravel()))
            if decrement >= 0.5 * best and best < 1e-7 * (1.0 + np.linalg.norm(theta)):
                break
            best, length = min(best, decrement), 1.0
            # Near the optimum the objective is flat to round-off, and the whole step is right.
            while decrement > 1e-4 and not (
                self._value(theta - length * step) <= value - 0.1 * length * decrement**2
            ):
                length *= 0.5
            theta = theta - length * step
            value = self._value(theta)
        if not decrement < 1e-7 * (1.0 + np.linalg.norm(theta)):
            raise RuntimeError(f"Newton's method is {decrement:.1e} from the optimum.")
        self.theta, self.left = theta, decrement

    def _value(self, theta):
        eta, ridge = self.J @ theta.T @ self.basis.T, 0.5 * (self.penalty * theta**2).sum()
        if isinstance(self.last, Ridge):
            return 0.5 * ((eta[:, 0] - self.y) ** 2).sum() + ridge
        if isinstance(self.last, PoissonRegressor):
            with np.errstate(over="ignore"):
                return (np.exp(eta[:, 0]) - self.y * eta[:, 0]).sum() + ridge
        if eta.shape[1] == 1:
            signed = np.where(self.codes, eta[:, 0], -eta[:, 0])
            return np.logaddexp(0.0, -signed).sum() + ridge
        return (logsumexp(eta, axis=1) - eta[np.arange(len(eta)), self.codes]).sum() + ridge

    def _gradient(self, theta):
        return (self._errors(self.J @ theta.T) @ self.basis).T @ self.J + self.penalty * theta

    def _errors(self, inner):
        eta = inner @ self.basis.T
        if isinstance(self.last, Ridge):
            return eta - self.y[:, None]
        if isinstance(self.last, PoissonRegressor):
            return np.exp(eta) - self.y[:, None]
        if eta.shape[1] == 1:
            return 1.0 / (1.0 + np.exp(-eta)) - self.codes[:, None]
        P = _softmax(eta)
        P[np.arange(len(P)), self.codes] -= 1.0
        return P

    def _hessian(self, inner):
        """Where the rows have the decision values ``inner @ basis.T``."""
        eta, B, J = inner @ self.basis.T, self.basis, self.J
        k, c = B.shape[1], J.shape[1]
        if isinstance(self.last, Ridge):
            S = np.ones((len(eta), 1, 1))
        elif isinstance(self.last, PoissonRegressor):
            S = np.exp(eta)[:, :, None]
        elif eta.shape[1] == 1:
            S = (0.25 / np.cosh(0.5 * eta) ** 2)[:, :, None]
        else:
            P = _softmax(eta)
            PB = P @ B
            S = np.einsum("ik,ka,kb->iab", P, B, B) - PB[:, :, None] * PB[:, None, :]
        H = np.empty((k, c, k, c))
        for a in range(k):
            for b in range(a, k):
                block = (J * S[:, a, b, None]).T @ J
                H[a, :, b], H[b, :, a] = block, block.T
            H[a, range(c), a, range(c)] += self.penalty
        return H.reshape(k * c, k * c)

    def at(self, X):
        """Decision values, (m, n_outputs)."""
        Z = self.steps.transform(X)
        if self.machine is not None:
            return self.machine.at(Z)[:, None]
        return self._rows(Z) @ self.theta.T @ self.basis.T

    def norms(self, X, inner=None):
        """``|x_t|`` in the inverse Hessian at the optimum, or where rows have values, (m, n_outputs)."""
        rows = self._rows(self.steps.transform(X))
        H = self.H if inner is None else cho_factor(self._hessian(inner))
        D = (self.basis[None, :, :, None] * rows[:, None, None, :]).reshape(-1, self.theta.size)
        return np.sqrt(np.einsum("td,dt->t", D, cho_solve(H, D.T))).reshape(len(rows), -1)


class Machine:
    """A support vector machine of two classes: libsvm's, whose kernel is in single precision, then
    the conditions of its margin solved in double."""

    def __init__(self, last, Z, y):
        self.Z, self.gamma = Z, 1.0 / (Z.shape[1] * Z.var())
        fitted = clone(last).set_params(gamma=self.gamma, tol=1e-8).fit(Z, y)
        signs = np.where(y == fitted.classes_[1], 1.0, -1.0)
        share = np.zeros(len(y))
        share[fitted.support_] = np.abs(fitted.dual_coef_[0])
        C, K = last.C, self._kernel(Z)
        above, margin = share >= C * (1 - 1e-5), (share > 1e-5 * C) & (share < C * (1 - 1e-5))
        for _ in range(50):
            share = np.where(above, C, 0.0)
            inner = np.flatnonzero(margin)
            one = np.ones((len(inner), 1))
            A = np.block([[K[np.ix_(inner, inner)], one], [one.T, np.zeros((1, 1))]])
            right = np.r_[signs[inner] - K[inner] @ (signs * share), -(signs @ share)]
            solved = np.linalg.lstsq(A, right, rcond=None)[0]
            coefficients = signs * share
            coefficients[inner] = solved[:-1]
            self.coefficients, self.offset = coefficients, solved[-1]
            share = signs * coefficients
            reached = signs * (K @ coefficients + self.offset)
            low, high = margin & (share < 0), margin & (share > C)
            enter = ~margin & np.where(above, reached > 1 + 1e-9, reached < 1 - 1e-9)
            if not (low | high | enter).any():
                return
            above = (above & ~enter) | high
            margin = (margin & ~low & ~high) | enter
        raise RuntimeError("The conditions of the margin were not met.")

    def _kernel(self, Z):
        return np.exp(-self.gamma * cdist(Z, self.Z, "sqeuclidean"))

    def at(self, Z):
        """Decision values, (m,)."""
        return self._kernel(Z) @ self.coefficients + self.offset


def _dense(Z):
    return Z.toarray() if sp.issparse(Z) else np.asarray(Z, dtype=float)


def _softmax(eta):
    E = np.exp(eta - eta.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def _contrasts(k):
    """Orthonormal coordinates of outputs that sum to zero."""
    Q, _ = np.linalg.qr(np.column_stack([np.ones(k), np.eye(k)[:, :-1]]))
    return Q[:, 1:]


# Questions --------------------------------------------------------------------------------------


def many_edits(X, y, rng):
    """What is asked beside removals: a title, and edits with the rows that each leaves."""
    from skinfluence import edits

    n = len(y)
    groups = [
        rng.choice(n, max(2, int(share * n)), replace=False) for share in (0.01, 0.05, 0.1, 0.25)
    ]
    groups = groups + [rng.choice(n, int(0.1 * n), replace=False) for _ in range(4)]
    yield (
        "groups of 1-25 %",
        [
            (edits.remove(rows), *_left(X, y, rows), np.delete(np.arange(n), rows))
            for rows in groups
        ],
    )
    pairs = [rng.choice(n, 2, replace=False) for _ in range(12)]
    replaced = []
    for i, j in pairs:
        kept = np.delete(np.arange(n), i)
        more = [*kept, j]
        labels = np.append(y[kept], y[i])
        replaced.append((edits.replace(int(i), _row(X, j)), _safe_indexing(X, more), labels, kept))
    yield "replaced rows", replaced
    added = []
    for i, j in pairs:
        more, labels = [*range(n), j], np.append(y, y[i])
        added.append((edits.add(_row(X, j), y[i]), _safe_indexing(X, more), labels, np.arange(n)))
    yield "added rows", added


def _left(X, y, rows):
    kept = np.delete(np.arange(len(y)), rows)
    return _safe_indexing(X, kept), y[kept]


def _row(X, i):
    if isinstance(X, list):
        return X[i]
    return X[i] if isinstance(X, np.ndarray) else X.iloc[i]


def compare(found, truth):
    """Relative L2, Spearman and slope of changes."""
    found, truth = np.ravel(found), np.ravel(truth)
    # Points on the margin of a machine stay there: the order of round-off says nothing.
    moved = np.abs(truth) > 1e-9 * np.abs(truth).max()
    rank = spearmanr(found[moved], truth[moved])[0]
    slope = float(found @ truth / (truth @ truth))
    return np.linalg.norm(found - truth) / np.linalg.norm(truth), rank, slope


def measure(name, model, X, y, n_rows):
    """The lines of one pipeline."""
    from skinfluence import Influence, edits

    n, rng = len(y), np.random.default_rng(0)
    model = clone(model).fit(X, y)
    inf = Influence(model, X, y, budget=np.inf)
    full = Refit(model, X, y)
    start = getattr(full, "theta", None)
    before = full.at(X)
    rows = np.arange(n) if n_rows is None else np.sort(rng.choice(n, min(n, n_rows), replace=False))
    tests = np.sort(rng.choice(n, 10, replace=False))
    X_test = _safe_indexing(X, tests)
    own, effects, norms = np.empty((len(rows), before.shape[1])), {}, {}
    held_out = rows[:: max(1, len(rows) // 40)]
    clock = time.process_time()
    for place, i in enumerate(rows):
        kept = np.delete(np.arange(n), i)
        again = Refit(model, *_left(X, y, [i]), start)
        own[place] = again.at(_safe_indexing(X, [i]))[0]
        if i in held_out:
            effects[i] = again.at(X_test) - before[tests]
            norms[i] = _norms(again, X_test, before[kept], len(kept))
    seconds = time.process_time() - clock
    lines = []
    for method in ("auto", "exact"):
        clock = time.process_time()
        found = inf.loo_decision_function(indices=rows, method=method)
        spent = time.process_time() - clock
        scores = compare(found.reshape(own.shape) - before[rows], own - before[rows])
        lines.append(
            [name, f"own values, {len(rows)} rows", method, *scores, None, spent / seconds]
        )
    held = inf.loo_decision_function(indices=rows, method="exact", frozen="accept")
    scores = compare(held.reshape(own.shape) - before[rows], own - before[rows])
    lines.append([name, f"own values, {len(rows)} rows", "held", *scores, None, None])
    asked = [edits.remove(int(i)) for i in held_out]
    truth = [effects[i] for i in held_out]
    lines += _effects(
        inf, name, "removed rows", asked, truth, [norms[i] for i in held_out], X_test, before
    )
    for title, some in many_edits(X, y, rng):
        truth, sizes = [], []
        for _, X_after, y_after, kept in some:
            again = Refit(model, X_after, y_after, start)
            truth.append(again.at(X_test) - before[tests])
            sizes.append(_norms(again, X_test, before[kept], len(y_after)))
        lines += _effects(inf, name, title, [one[0] for one in some], truth, sizes, X_test, before)
    return lines


def _norms(again, X_test, kept, n_after):
    if again.machine is not None:
        return None
    found = {"fitted again": again.norms(X_test)}
    if len(kept) == n_after:
        found["start"] = again.norms(X_test, kept @ again.basis)
    return found


def _effects(inf, name, title, asked, truth, norms, X_test, before):
    lines = []
    for method in ("auto", "exact"):
        effect = inf.effect(asked, X_test, of="decision_function", method=method)
        found = np.swapaxes(effect.values, 0, 1).reshape(len(asked), len(truth[0]), -1)
        violated = 0
        for one, true, bound, route, size in zip(
            found, truth, effect.bound, effect.route, norms, strict=True
        ):
            if size is None or not np.isfinite(bound):
                continue
            reach = size["fitted again" if route == "fitted again" else "start"]
            beyond = (
                np.abs(one - true) > bound * reach * (1 + 1e-6) + ROUND_OFF * np.abs(before).max()
            )
            violated += bool(beyond.any())
        lines.append([name, title, method, *compare(found, np.array(truth)), violated, None])
    return lines


HEAD = (
    "pipeline | asked | method | relative L2 | Spearman | slope | bounds violated | CPU, of refits"
)


def line(words, error, rank, slope, violated, cost):
    """One line of the long table."""
    cells = [*words, f"{error:.0e}", f"{rank:.4f}", f"{slope:.4f}"]
    cells += ["" if violated is None else str(violated), "" if cost is None else f"{cost:.2g}"]
    return "| " + " | ".join(cells) + " |"


def summary(found):
    """One line of a pipeline: relative L2 and Spearman by "auto", relative L2 by "exact"."""
    scores = {(asked.split(",")[0], method): rest for _, asked, method, *rest in found}
    cells = [found[0][0], "{:.1g}; {:.2f}".format(*scores["own values", "held"][:2])]
    for asked in ("own values", "removed rows", "groups of 1-25 %", "replaced rows", "added rows"):
        auto, exact = scores[asked, "auto"], scores[asked, "exact"]
        cells.append(f"{auto[0]:.0e}; {auto[1]:.4f}; {exact[0]:.0e}")
    cells.append(str(sum(one[6] or 0 for one in found)))
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--rows", type=int, help="at most so many rows of each pipeline")
    parser.add_argument("--only", help="pipelines whose name has this in it")
    given = parser.parse_args()
    print(f"| {HEAD} |")
    short = []
    for name, model, rows in cases(given.data):
        if given.only and given.only not in name:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = measure(name, model, *rows(), given.rows)
        short.append(summary(found))
        for one in found:
            print(line(one[:3], *one[3:]), flush=True)
    print("\n".join(short))


if __name__ == "__main__":
    sys.exit(main())
