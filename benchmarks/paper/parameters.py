"""Lyu et al. (2024): influence with some of a network's parameters held.

A tanh network on two digits. Generalised influence lets only some of the parameters answer an edit
and holds the rest, which is exactly what training the chosen ones on does. The paper: held with
care, influence agrees better with training again than that of all parameters. Truth here: L-BFGS
from the trained weights on the rows without one, of the same parameters, until the gradient is
gone.

    python benchmarks/paper/parameters.py [--quick]
"""

import copy
import warnings

import numpy as np
import torch
from experiment import Experiment, agreement, axes, scatter, words
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skinfluence.neural import ModuleInfluence

DECAY = 0.01
CHOICES = {"the last layer": ["2.weight", "2.bias"], "the first layer": ["0.weight", "0.bias"],
           "all": None}  # fmt: skip


def trained(net, X, y, names, without=None):
    """The network after training the named parameters on, all when None."""
    net = copy.deepcopy(net)
    weight = torch.ones(len(y), dtype=torch.float64)
    if without is not None:
        weight[without] = 0.0
    moving = [p for name, p in net.named_parameters() if names is None or name in names]
    solver = torch.optim.LBFGS(
        moving, max_iter=2000, tolerance_grad=1e-10, tolerance_change=0.0, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        solver.zero_grad()
        loss = nn.functional.cross_entropy(net(X), y, reduction="none") @ weight / weight.sum()
        loss = loss + DECAY / 2 * sum((p**2).sum() for p in net.parameters())
        loss.backward()
        return loss

    solver.step(closure)
    return net


def main():
    experiment = Experiment(
        "parameters", "Lyu et al. (2024), generalised influence", __doc__, rows=(20, 6)
    )
    # Threads of a network this small wait for each other.
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    some = np.isin(y, (3, 8))
    X, y = torch.as_tensor(X[some] / 16.0), torch.as_tensor((y[some] == 8).astype(int))
    X, X_test, y, y_test = X[:150], X[150:], y[:150], y[150:]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    net = trained(net, X, y, None)
    losses = nn.functional.cross_entropy(net(X_test), y_test, reduction="none")
    t = int(losses.argsort()[-10])
    x, label = X_test[[t]], y_test[[t]]

    def loss(net):
        with torch.no_grad():
            return float(nn.functional.cross_entropy(net(x), label))

    before = loss(net)
    figure, (row,) = axes(len(CHOICES))
    found = {}
    for ax, (name, names) in zip(row, CHOICES.items(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            inf = ModuleInfluence(
                net, nn.CrossEntropyLoss(), X.numpy(), y.numpy(), weight_decay=DECAY,
                hessian="full", parameters=names,
            )  # fmt: skip
            every = inf.removal_effect(x.numpy(), label.numpy(), method="influence")[0]
        rows = np.argsort(-np.abs(every))[: experiment.args.rows]
        truth = np.array([loss(trained(net, X, y, names, i)) - before for i in rows])
        found[name] = agreement(every[rows], truth)
        experiment.claim(
            f"{f'only {name} moves' if names else 'all parameters move'}: influence against training it "
            f"on, {len(rows)} rows",
            "agrees", words(found[name]), holds=found[name]["pearson"] > 0.9,
        )  # fmt: skip
        scatter(ax, every[rows], truth, f"only {name} moves" if names else "all move")
    best = max(found[name]["pearson"] for name in list(CHOICES)[:2])
    experiment.claim(
        "Pearson, some held and none held", "better with some held",
        f"{best:.4f}, {found['all']['pearson']:.4f}", holds=best > found["all"]["pearson"],
    )  # fmt: skip
    experiment.save(figure)


if __name__ == "__main__":
    main()
