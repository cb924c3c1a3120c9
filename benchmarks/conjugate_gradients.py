"""Conjugate gradients: iterations by preconditioner, and what products in single precision save.

    python benchmarks/conjugate_gradients.py [--data DIR] [--cnn]

Features of a network (synthetic) and, with ``--data``, the word counts of Enron1; with ``--cnn`` the
tanh network of Koh and Liang (2017) on 100 digits: the spectrum of its preconditioned full Hessian
(needs torch). One thread; CPU seconds.
"""

import argparse
import time
import warnings

import numpy as np
import scipy.sparse as sp
from data import add_data_option, load_enron, network_features
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from skinfluence import Influence
from skinfluence.curvature import Curvature
from skinfluence.objective import objective_of
from skinfluence.solvers import CG

CNN_ROWS, CNN_STEPS = 100, 40


def best(call, repeats=5):
    """Smallest CPU seconds of a few calls."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def gradients(objective, m):
    """Of the losses of the first rows, one column each."""
    rows = objective.design.take(slice(0, m)).dense_rows()
    return np.einsum("mk,md->kdm", objective.gradients[:m], rows).reshape(-1, m)


def iterations(name, objective):
    print(f"{name}: {objective.n_samples} x {objective.design.n_features}, iterations to 1e-10")
    for preconditioner in ("diagonal", "means"):
        solver = CG(preconditioner=preconditioner)
        used = [
            solver.factor(objective).solution(gradients(objective, m)).iterations.max()
            for m in (1, 10)
        ]
        print(f"  {preconditioner}: one right-hand side {used[0]}, ten together {used[1]}")


def features():
    X, y = network_features(3_010, 1_280, 5)
    X, y, X_test, y_test = X[:-10], y[:-10], X[-10:], y[-10:]
    model = LogisticRegression(C=1 / 30, fit_intercept=False, tol=1e-8, max_iter=5_000).fit(X, y)
    objective = objective_of(model, X, y)
    iterations("features of a network", objective)
    curvature, B = Curvature(objective), gradients(objective, 10)
    for dtype in (np.float64, np.float32):
        curvature.product(B, dtype)
        seconds = best(lambda dtype=dtype: curvature.product(B, dtype))
        rate = 4.0 * X.size * B.shape[1] * objective.theta.shape[0] / seconds
        print(
            f"  product with ten, {np.dtype(dtype).name}: {1e3 * seconds:.0f} ms, {rate:.1e} flops/s"
        )
    for precision in ("float64", "mixed"):
        solver = CG(rtol=1e-7, precision=precision)
        seconds = best(
            lambda solver=solver: Influence(model, X, y, solver=solver).influence_up_loss(
                X_test, y_test
            )
        )
        print(f"  answer for ten test points to 1e-7, {precision}: {1e3 * seconds:.0f} ms")


def counts(data):
    texts, y = load_enron(data)
    X = sp.csr_array(CountVectorizer(min_df=10).fit_transform(texts).astype(np.float64))
    model = LogisticRegression(fit_intercept=False, tol=1e-8, max_iter=5_000).fit(X, y)
    iterations("Enron1", objective_of(model, X, y))


def cnn():
    """Ritz values of the full Hessian in the metric of Gauss-Newton, after some training."""
    import torch
    from cnn import DECAY, network
    from data import load_mnist
    from torch import nn

    from skinfluence.neural import ModuleInfluence

    torch.set_num_threads(1)
    X, y, _, _ = load_mnist()
    X, y = X[-55_000 :: 55_000 // CNN_ROWS][:CNN_ROWS], y[-55_000 :: 55_000 // CNN_ROWS][:CNN_ROWS]
    X, net = X.reshape(-1, 1, 28, 28), network()
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y.astype(np.int64))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=DECAY)
    for _ in range(300):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        optimiser.step()
    options = {"weight_decay": DECAY, "damping": 0.1, "hessian": "full"}
    B = np.random.default_rng(0).standard_normal((2_616, 2))
    for precision in ("float64", "mixed"):
        solver = CG(rtol=1e-8, precision=precision)
        inf = ModuleInfluence(net, nn.CrossEntropyLoss(), X, y, solver=solver, **options)
        factor = inf.answers.factor
        if precision == "float64":
            values = _ritz(factor._preconditioner.around(factor.curvature.product), len(B))
            print(f"the CNN of the paper, {CNN_ROWS} rows: Ritz values {values}")
        used = factor.solution(B).iterations.max()
        seconds = best(lambda factor=factor: factor.solution(B), 2)
        print(f"  two right-hand sides to 1e-8, {precision}: {used} iterations, {seconds:.1f} s")


def _ritz(product, p):
    """Ritz values of some Lanczos steps, shortened."""
    Q = [np.random.default_rng(0).standard_normal(p)]
    Q[0] /= np.linalg.norm(Q[0])
    T = np.zeros((CNN_STEPS, CNN_STEPS))
    for j in range(CNN_STEPS):
        v, basis = product(Q[j]), np.array(Q)
        T[j, : j + 1] = T[: j + 1, j] = basis @ v
        for _ in range(2):
            v = v - basis.T @ (basis @ v)
        Q.append(v / np.linalg.norm(v))
    return " ".join(f"{value:.2f}" for value in np.linalg.eigvalsh(T)[:: CNN_STEPS // 10])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--cnn", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        features()
        if arguments.data:
            counts(arguments.data)
        if arguments.cnn:
            cnn()
