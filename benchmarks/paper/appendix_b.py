"""Appendix B of Koh and Liang (2017): influence where training has not ended.

A tanh network on two digits, stopped early, with damping. Around such parameters influence speaks
of a quadratic: its minimum moves, when a row leaves, by what damped Newton steps with and without
the row are apart. That is a statement of algebra, and holds to first order in one row however far
the training has come; how much it says of training on is another matter, and is here too.

    python benchmarks/paper/appendix_b.py [--quick]
"""

import copy
import warnings

import numpy as np
import torch
from experiment import Experiment, agreement, axes, scatter, words
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.func import functional_call, hessian

from skinfluence.neural import ModuleInfluence

DAMPING, DECAY = 0.02, 0.005


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def trained(net, X, y, steps, keep=None, rate=0.5):
    """Gradient descent on the mean loss and the decay, all rows or those of ``keep``."""
    weight = torch.ones(len(y), dtype=torch.float64) if keep is None else keep
    net = copy.deepcopy(net)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(X), y, reduction="none") @ weight / weight.sum()
        loss = loss + DECAY / 2 * sum((p**2).sum() for p in net.parameters())
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, g in zip(net.parameters(), grads, strict=True):
                p -= rate * g
    return net


def newton_step(net, X, y, keep):
    """Parameters after one damped Newton step on the rows of ``keep``, in plain torch."""
    names = [name for name, _ in net.named_parameters()]
    sizes = [p.shape for p in net.parameters()]
    theta = torch.cat([p.detach().flatten() for p in net.parameters()])

    def loss(flat):
        parts = torch.split(flat, [s.numel() for s in sizes])
        held = {k: v.reshape(s) for k, v, s in zip(names, parts, sizes, strict=True)}
        each = nn.functional.cross_entropy(functional_call(net, held, (X,)), y, reduction="none")
        return each @ keep / keep.sum() + DECAY / 2 * flat @ flat

    H = hessian(loss)(theta) + DAMPING * torch.eye(len(theta), dtype=theta.dtype)
    flat = theta.clone().requires_grad_()
    gradient = torch.autograd.grad(loss(flat), flat)[0]
    return theta - torch.linalg.solve(H, gradient)


def loss_at(net, x, label):
    with torch.no_grad():
        return float(nn.functional.cross_entropy(net(x), label))


def with_parameters(net, theta):
    net = copy.deepcopy(net)
    nn.utils.vector_to_parameters(theta, net.parameters())
    return net


def main():
    experiment = Experiment(
        "appendix_b", "Appendix B, before convergence", __doc__, rows=(30, 8), steps=(200, 200)
    )
    args = experiment.args
    # Threads of a network this small wait for each other.
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    some = np.isin(y, (3, 8))
    X, y = torch.as_tensor(X[some] / 16.0), torch.as_tensor((y[some] == 8).astype(int))
    X, X_test, y, y_test = X[:200], X[200:], y[:200], y[200:]
    figure, (row,) = axes(2)
    for ax, (steps, name) in zip(row, ((60, "stopped early"), (1500, "trained")), strict=True):
        net = trained(network(), X, y, steps)
        every = torch.ones(len(y), dtype=torch.float64)
        losses = nn.functional.cross_entropy(net(X_test), y_test, reduction="none")
        t = int(losses.argsort()[-len(losses) // 10])
        x, label = X_test[[t]], y_test[[t]]
        with warnings.catch_warnings():
            # That is what this is about.
            warnings.simplefilter("ignore", ConvergenceWarning)
            inf = ModuleInfluence(
                net, nn.CrossEntropyLoss(), X.numpy(), y.numpy(), weight_decay=DECAY,
                damping=DAMPING, hessian="full", hold="lambda",
            )  # fmt: skip
            up = -inf.influence_up_loss(x.numpy(), label.numpy())[0] / len(y)
        rows = np.argsort(-np.abs(up))[: args.rows]
        before = newton_step(net, X, y, every)
        on = trained(net, X, y, args.steps)
        newton, further = [], []
        for i in rows:
            keep = every.clone()
            keep[i] = 0.0
            newton.append(newton_step(net, X, y, keep) - before)
            again = trained(net, X, y, args.steps, keep)
            further.append(loss_at(again, x, label) - loss_at(on, x, label))
        theta = torch.cat([p.detach().flatten() for p in net.parameters()])
        here = loss_at(net, x, label)
        steps_apart = [loss_at(with_parameters(net, theta + d), x, label) - here for d in newton]
        steps_apart = np.array(steps_apart)
        found = agreement(up[rows], steps_apart)
        experiment.claim(
            f"{name}: influence against damped Newton steps, {len(rows)} rows", "tracks it",
            words(found), holds=found["pearson"] > 0.9,
        )  # fmt: skip
        found = agreement(up[rows], np.array(further))
        experiment.claim(
            f"{name}: influence against {args.steps} steps of training on", "correlated",
            words(found), holds=found["spearman"] > 0.5,
        )  # fmt: skip
        scatter(ax, up[rows], steps_apart, f"{name}: one damped Newton step")
    experiment.save(figure)


if __name__ == "__main__":
    main()
