"""LiSSA and conjugate gradients on MNIST: accuracy against exact scores, and CPU seconds.

    python benchmarks/lissa.py [--rows 55000] [--tests 8 30 0]

Softmax, all 55,000 rows, lambda 0.01: the setting of Koh and Liang (2017), figure 2. Everything runs
on one thread; times are CPU seconds, and ratios to the arithmetic floor are to matrix products timed
in between.
"""

import argparse
import time
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
from data import load_mnist
from scipy.stats import pearsonr
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from skinfluence.objective import objective_of
from skinfluence.solvers import CG, Exact, LiSSA

LAMBDA = 0.01
PAPER = dict(scale=25, depth=5_000, repeats=10)


def cpu(call):
    """The result and the CPU seconds of a call."""
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def gemm_rate():
    """Flops per CPU second of a matrix product, the best of a few."""
    A = np.random.default_rng(0).standard_normal((1000, 1000))
    return 2e9 / min(cpu(lambda: A @ A)[1] for _ in range(7))


def extra_memory(call):
    """Largest sum of what numpy holds beyond what it did before, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def problem(n_rows):
    """The fitted softmax, at the optimum, and gradients of test losses."""
    X, y, X_test, y_test = load_mnist()
    X, y = np.ascontiguousarray(X[-55_000:][:n_rows]), y[-55_000:][:n_rows]
    C = 1.0 / (LAMBDA * len(y))
    model = LogisticRegression(C=C, max_iter=1000, tol=1e-5).fit(X, y)
    return objective_of(model, X, y), X_test, y_test


def test_gradient(objective, x, label):
    row = objective.design.like(x[None])
    eta = row.multiply(objective.theta.T)
    gradient = objective.loss.gradient(eta, objective.labels.targets[[label]])
    return (gradient[0][:, None] * row.dense_rows()).ravel()[:, None]


def scores(objective, X):
    """``I_up,loss`` of every row, one line for each column of X: (m, n_samples)."""
    k, d = objective.theta.shape
    out = np.empty((X.shape[1], objective.n_samples))
    objective.design.combine(objective.gradients, -objective.n_samples * X.reshape(k, d, -1), out)
    return out


def top(values, k=10):
    return set(np.argsort(-np.abs(values))[:k])


def lissa_line(name, solver, objective, B, exact):
    factor, made = cpu(lambda: solver.factor(objective))
    found, solved = cpu(lambda: factor.repeated(B))
    each = scores(objective, found.X[:, :, 0].T)
    mean, error = each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(len(each))
    drift = scores(objective, found.drift)[0]
    slope = mean @ exact / (exact @ exact)
    error = np.hypot(error, drift)
    standard = np.sqrt(np.mean(((mean - exact) / error) ** 2))
    covered = np.mean(np.abs(mean - exact) <= 3 * error)
    singles = [len(top(one) & top(exact)) for one in each]
    alone = [pearsonr(one, exact)[0] for one in each]
    print(
        f"  {name}: Pearson {pearsonr(mean, exact)[0]:.4f}, slope {slope:.3f}, error in standard errors "
        f"{standard:.2f}, within three {covered:.3f} | one repeat: Pearson {np.median(alone):.4f}, of the "
        f"top ten {np.median(singles):.0f} (least {min(singles)}) | scale {factor.scale:.3g}, depth "
        f"{found.depth[0]}, relative error {found.relative_error[0]:.3f} | factor {made:.2f} s, solve "
        f"{solved:.2f} s",
        flush=True,
    )


def cg_line(name, solver, objective, B, truth, reference):
    factor, made = cpu(lambda: solver.factor(objective))
    solution, solved = cpu(lambda: factor.solution(B))
    n, d = objective.design.X.shape
    product = 4.0 * n * d * objective.loss.n_outputs * B.shape[1] / gemm_rate()
    iterations = solution.iterations.max()
    error = np.abs(solution.X - truth).max() / np.abs(truth).max() if truth is not None else 0.0
    print(
        f"  {name}: {iterations} iterations, residual {solution.residual.max():.0e}, error {error:.0e} | "
        f"factor {made:.2f} s, solve {solved:.2f} s | over the floor of its own products "
        f"{(made + solved) / (iterations * product):.2f}, of {reference or iterations} products "
        f"{(made + solved) / ((reference or iterations) * product):.2f}",
        flush=True,
    )
    return solution.X, iterations


def mnist(n_rows, tests):
    objective, X_test, y_test = problem(n_rows)
    B = np.hstack([test_gradient(objective, X_test[t], y_test[t]) for t in tests])
    # Kernels are compiled before anything is timed.
    small = objective_of_rows(objective, 2_000)
    LiSSA(depth=8, random_state=0).factor(small).repeated(B[:, :1])
    print(f"mnist, {objective.n_samples} rows")
    print(" conjugate gradients to 1e-10, one right-hand side")
    truth, _ = cg_line("blocks", CG(preconditioner="blocks"), objective, B[:, :1], None, None)
    _, plain = cg_line("diagonal", CG(preconditioner="diagonal"), objective, B[:, :1], truth, None)
    for name, solver in (
        ("blocks", CG()),
        ("blocks, mixed", CG(precision="mixed")),
        ("kronecker", CG(preconditioner="kronecker")),
        ("blocks, started by LiSSA", CG(start=LiSSA(depth=20_000, repeats=2, random_state=0))),
        ("blocks, rtol=1e-4", CG(rtol=1e-4)),
    ):
        cg_line(name, solver, objective, B[:, :1], truth, plain)
    fresh = objective.at(objective.theta)
    extra = extra_memory(lambda: CG().factor(fresh).solution(B[:, :1]))
    print(f"  blocks, extra memory: {100 * extra / objective.design.X.nbytes:.1f} % of the rows")
    print(" ten right-hand sides")
    many = np.hstack([test_gradient(objective, X_test[t], y_test[t]) for t in range(10)])
    cg_line("blocks", CG(), objective, many, None, None)
    cg_line("blocks, mixed", CG(precision="mixed"), objective, many, None, None)
    solved = CG().factor(objective).solve(B)
    for t, b, x in zip(tests, B.T, solved.T, strict=True):
        print(f" LiSSA, test {t}")
        exact = scores(objective, x[:, None])[0]
        for name, solver in (
            ("the paper's settings", LiSSA(**PAPER, random_state=0)),
            ("automatic", LiSSA(random_state=0)),
            ("automatic, batches of 16", LiSSA(batch_size=16, random_state=0)),
        ):
            lissa_line(name, solver, objective, b[:, None], exact)


def objective_of_rows(objective, n_rows):
    return replace(
        objective,
        design=objective.design.take(slice(0, n_rows)),
        y=objective.y[:n_rows],
        weights=objective.weights[:n_rows],
    )


def unscaled():
    """Data in their own units: no divergence, and how good the answers are."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    cases = {"diabetes, not scaled": (Ridge(alpha=1.0).fit(X, y), X, y)}
    X, y = load_breast_cancer(return_X_y=True)
    model = LogisticRegression(solver="newton-cholesky", max_iter=1000).fit(X, y)
    cases["breast cancer, not scaled"] = model, X, y
    X, y, _, _ = load_mnist()
    X, y = X[:5_000] * 255.0, y[:5_000]
    model = LogisticRegression(C=1.0 / (LAMBDA * 255.0**2 * len(y)), max_iter=2000).fit(X, y)
    cases["mnist, pixels 0 to 255"] = model, X, y
    print("unscaled data")
    for name, (model, X, y) in cases.items():
        objective = objective_of(model, X, y)
        k, d = objective.theta.shape
        B = objective.gradients[0][:, None] * objective.design.take([0]).dense_rows()
        B = B.reshape(k * d, 1)
        solver = CG() if k > 1 else Exact()
        exact = scores(objective, solver.factor(objective).solve(B))[0]
        lissa_line(name, LiSSA(random_state=0), objective, B, exact)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=55_000)
    parser.add_argument("--tests", type=int, nargs="+", default=[8, 30, 0])
    parser.add_argument("--only", choices=["mnist", "unscaled"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        if arguments.only != "unscaled":
            mnist(arguments.rows, arguments.tests)
        if arguments.only != "mnist":
            unscaled()
