"""Leave-one-out for every row at scale, checked against true refits.

python benchmarks/loo_scale.py a9a diabetes enron mnist --data DIR
"""

import argparse
import resource
import time

import numpy as np
from data import add_data_option, load_a9a, load_diabetes, load_enron, load_mnist
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.edits.points import Points, edited
from skinfluence.smooth.one_step.steps import removals
from skinfluence.smooth.optimum.newton import minimise


class Clock:
    """Wall and CPU seconds of a block."""

    def __enter__(self):
        self.start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall = time.perf_counter() - self.start[0]
        self.cpu = time.process_time() - self.start[1]


def refitted_eta(solver, rows):
    """Own decision values of rows without each, from Newton's method run to round-off."""
    found = []
    for row in rows:
        change = np.array([-solver.objective.weights[row]])
        points = Points(np.array([row]), change, None, None, np.empty(0))
        best = minimise(edited(solver.objective, points), solver.solver).objective
        found.append(best.design.take([row]).multiply(best.theta.T)[0])
    return np.array(found)


def certified(name, X, y, C, tols, n_checked=12):
    """Certify all rows; check the largest shifts and random rows against refits."""
    with Clock() as fit:
        model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-8, max_iter=200)
        model.fit(X.toarray() if hasattr(X, "toarray") else X, y)
    with Clock() as factor:
        solver = Influence(model, X, y).answers.edit_solver()
    objective = solver.objective
    edits = removals(objective, np.arange(objective.n_samples))
    for tol in tols:
        used, eta, failed = [], objective.eta.copy(), 0
        with Clock() as clock:
            for block, solved in solver.rows.solve(edits, tol):
                rows = edits.design.take(block)
                for part in np.array_split(np.arange(rows.n_samples), 1 + rows.n_samples // 10_000):
                    dense = rows.take(part).dense_rows()
                    inside = np.arange(objective.n_samples)[block][part]
                    eta[inside] += np.einsum("ikd,id->ik", solved.steps[part], dense)
                used.append(solved.method_used)
                failed += np.count_nonzero(~solved.within(tol))
        shift = np.abs(eta - objective.eta).max(axis=1)
        rng = np.random.default_rng(0)
        checked = np.r_[
            np.argsort(-shift)[: n_checked // 2],
            rng.choice(len(shift), n_checked // 2, replace=False),
        ]
        truth = refitted_eta(solver, checked)
        error = np.abs(eta[checked] - truth).max(axis=1) / np.maximum(shift[checked], 1e-12)
        counts = dict(zip(*np.unique(np.concatenate(used), return_counts=True), strict=True))
        print(
            f"{name} C={C:g} tol={tol:g}: fit {fit.wall:.2f} s, factor and polish {factor.wall:.2f} s, "
            f"all rows {clock.wall:.2f} s ({clock.cpu:.2f} CPU s) | "
            f"{ {str(k): int(v) for k, v in counts.items()} }, not certified {failed} | "
            f"relative error of {len(checked)} refits: median {np.median(error):.1e}, "
            f"max {error.max():.1e}",
            flush=True,
        )


def run_a9a(data):
    """All rows of a9a at three penalties and two tolerances."""
    X, y = load_a9a(data)
    certified("warm-up", X[:4000], y[:4000], 1.0, (1e-3,), 2)
    for C in (1.0, 1e-3, 1e4):
        certified("a9a", X, y, C, (1e-3, 1e-6))


def run_diabetes(data):
    """All rows of diabetes 130."""
    X, y = load_diabetes(data)
    print("diabetes130", X.shape, f"{X.nnz / X.shape[0]:.1f} entries per row")
    certified("diabetes130", X, y, 1.0, (1e-3,), 6)


def run_enron(data):
    """One-step leave-one-out of text by the dual, against refits and k-fold."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.model_selection import cross_val_predict

    texts, y = load_enron(data)
    rng = np.random.default_rng(0)
    train = rng.permutation(len(y))[:4137]
    X = CountVectorizer(min_df=5).fit_transform([texts[i] for i in train]).astype(float)
    y = y[train]
    model = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(X, y)
    with Clock() as default:
        LogisticRegression(C=1.0, max_iter=1000).fit(X, y)
    Influence(model, X[:200], y[:200]).loo_predict_proba(method="one-step")
    with Clock() as clock:
        inf = Influence(model, X, y)
        one_step = inf.loo_predict_proba(method="one-step")[:, 1]
    checked = rng.choice(len(y), 60, replace=False)
    tight = LogisticRegression(C=1.0, tol=1e-9, max_iter=20_000)
    truth = np.empty(len(checked))
    for i, row in enumerate(checked):
        keep = np.arange(len(y)) != row
        truth[i] = tight.fit(X[keep], y[keep]).predict_proba(X[[row]])[0, 1]
    error = np.abs(one_step[checked] - truth)
    print(f"enron1 counts {X.shape}: default lbfgs fit {default.wall:.2f} s")
    print(
        f"  one-step of every row, {inf.report().solver}: {clock.wall:.2f} s "
        f"({clock.cpu:.2f} CPU s), probability error mean {error.mean():.1e} max {error.max():.1e}"
    )
    with Clock() as clock:
        certified_proba = inf.loo_predict_proba(method="auto")[:, 1]
    error = np.abs(certified_proba[checked] - truth)
    every = np.abs(one_step - certified_proba)
    print(
        f"  certified to 1e-3, every row: {clock.wall:.2f} s ({clock.cpu:.2f} CPU s), probability "
        f"error mean {np.nanmean(error):.1e} max {np.nanmax(error):.1e}; one-step against it on all "
        f"{len(y)} rows: mean {np.nanmean(every):.1e}, {np.nanmean(every > 1e-3):.1%} above 1e-3"
    )
    for folds in (5, 10):
        with Clock() as clock:
            proba = cross_val_predict(
                LogisticRegression(C=1.0, max_iter=1000), X, y, cv=folds, method="predict_proba"
            )[:, 1]
        error = np.abs(proba[checked] - truth)
        print(
            f"  {folds}-fold: {clock.wall:.2f} s ({clock.cpu:.2f} CPU s), probability error mean "
            f"{error.mean():.1e} max {error.max():.1e}"
        )


def run_mnist(_):
    """One-step leave-one-out of the softmax for every row in mixed precision."""
    X, y, _, _ = load_mnist()
    X, y = X[-55_000:], y[-55_000:]
    with Clock() as fit:
        model = LogisticRegression(C=1.0 / (len(y) * 0.01), max_iter=1000, tol=1e-4).fit(X, y)
    print(f"mnist {X.shape}: fit {fit.wall:.1f} s", flush=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Clock() as factor:
        inf = Influence(model, X, y, precision="mixed")
    with Clock() as clock:
        shifted = inf.loo_decision_function(method="one-step")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"  factor {factor.wall:.1f} s, one-step of every row {clock.wall:.1f} s, together "
        f"{factor.wall + clock.wall:.1f} s ({factor.cpu + clock.cpu:.0f} CPU s); peak memory "
        f"{peak / 2**20:.2f} GiB, of which {before / 2**20:.2f} before",
        flush=True,
    )
    objective = inf.objective
    change = shifted - objective.loss.expand(objective.eta)
    rng = np.random.default_rng(0)
    order = np.argsort(-np.abs(change).max(axis=1))
    checked = np.r_[order[:6], rng.choice(len(y), 6, replace=False)]
    # Truth: chord steps on the problem without the row, to a decrement below 1e-7.
    from skinfluence.smooth.one_step.point_steps import EditedInverse

    errors = []
    for row in checked:
        points = Points(np.array([row]), np.array([-1.0]), None, None, np.empty(0))
        problem = edited(objective, points)
        inverse = EditedInverse(inf.answers.factor, inf.answers.solver, points)
        theta, start = objective.theta, objective.gradient()
        for _ in range(12):
            # The gradient the fit stopped with is not the row's doing.
            step = -inverse.solve(problem.at(theta).gradient() - start)
            theta = theta + step.reshape(theta.shape)
            if np.sqrt(step @ inverse.multiply(step)) < 1e-8:
                break
        own = objective.design.take([row]).multiply((theta - objective.theta).T)[0]
        truth = objective.loss.expand(own)
        errors.append(np.linalg.norm(change[row] - truth) / np.linalg.norm(truth))
    print(
        f"  relative error of 12 refits: largest shifts {np.max(errors[:6]):.1e}, random rows "
        f"{np.max(errors[6:]):.1e}"
    )


RUNS = {"a9a": run_a9a, "diabetes": run_diabetes, "enron": run_enron, "mnist": run_mnist}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(RUNS), choices=[*RUNS, []])
    add_data_option(parser)
    arguments = parser.parse_args()
    for name in arguments.names:
        RUNS[name](arguments.data)
