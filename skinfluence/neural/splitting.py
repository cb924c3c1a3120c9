"""Where a module ends and its loss begins: before a last activation, if the loss is convex there.

Gauss-Newton takes the curvature of the loss in what it calls the outputs and none of what comes
before. A negative log-likelihood of log-probabilities is linear in them: its curvature is that of
the log-softmax before it. Decision values are then what goes into that activation.
"""

import copy
from dataclasses import dataclass

import numpy as np

from skinfluence.neural.running import import_torch


@dataclass(frozen=True)
class Link:
    """A last activation, from decision values to outputs of the module.

    Attributes
    ----------
    name : str
    node : str
        What autograd calls it.
    """

    name: str
    node: str

    def mean(self, eta):
        """The outputs of the module, a tensor, from decision values."""
        F = import_torch().nn.functional
        if self.name in ("softmax", "log_softmax"):
            return getattr(F, self.name)(eta, dim=-1)
        return getattr(import_torch() if self.name != "softplus" else F, self.name)(eta)

    def inverse(self, outputs):
        """Decision values that have these outputs."""
        torch = import_torch()
        if self.name == "log_softmax":
            # It changes nothing of what it has given.
            return outputs
        if self.name in ("softmax", "exp"):
            return torch.log(outputs)
        if self.name == "sigmoid":
            return torch.log(outputs) - torch.log1p(-outputs)
        return outputs + torch.log(-torch.expm1(-outputs))


@dataclass(frozen=True)
class Removed(Link):
    """The link of a module whose last activation was taken out: nothing is left to invert."""

    def inverse(self, outputs):
        """The outputs are the decision values."""
        return outputs


LINKS = tuple(
    Link(name, node)
    for name, node in (
        ("log_softmax", "LogSoftmaxBackward0"),
        ("softmax", "SoftmaxBackward0"),
        ("sigmoid", "SigmoidBackward0"),
        ("softplus", "SoftplusBackward0"),
        ("exp", "ExpBackward0"),
    )
)
# Nodes of autograd that only move numbers about.
MOVES = "View", "Reshape", "Squeeze", "Unsqueeze", "Select", "Slice", "Clone", "Alias", "Copy"
# Clamped probabilities are still probabilities.
MOVES = (*MOVES, "Clamp")


def link_of(network, X, outputs, name=None):
    """The :class:`Link` that a network's outputs come through, and the module before it.

    Parameters
    ----------
    network : Network
    X : ndarray of shape (b, ...)
        A few rows.
    outputs : ndarray of shape (n_rows, K)
        Of all training rows.
    name : str, default=None
        Of the link, where the loss says what the outputs are.

    Returns
    -------
    link : Link or None
    module : torch.nn.Module
        The network's own, or a copy that ends before the activation.
    """
    torch = import_torch()
    found = torch.as_tensor(outputs)
    near = 1e-8 if network.dtype == torch.float64 else 1e-4
    last = _last_node(network, X)
    for link in LINKS:
        over_outputs = link.name in ("softmax", "log_softmax")
        given = link.name == name or link.node == last
        if (over_outputs and found.shape[1] < 2) or (not over_outputs and not given):
            continue
        shorter = _without_last(network, link, X, outputs[: len(X)], near) if given else None
        if shorter is not None:
            return Removed(link.name, link.node), shorter
        back = link.mean(link.inverse(found))
        if bool(((back - found).abs() <= near * (1.0 + found.abs())).all()):
            return link, network.module
    return None, network.module


def _last_node(network, X):
    """What autograd calls the last operation that computes something."""
    torch = import_torch()
    held = list(network.module.parameters())
    try:
        with torch.enable_grad():
            for value in held:
                value.requires_grad_(value.is_floating_point())
            node = network.module(network.rows(X)).grad_fn
    finally:
        for value in held:
            value.requires_grad_(False)
    while node is not None and node.name().startswith(MOVES):
        node = node.next_functions[0][0]
    return None if node is None else node.name()


def _without_last(network, link, X, outputs, near):
    """A copy of the module that ends before its last activation, where that is a part of it."""
    torch = import_torch()
    kind = {"sigmoid": "Sigmoid", "softmax": "Softmax", "softplus": "Softplus"}.get(link.name)
    if kind is None:
        return None
    kind = getattr(torch.nn, kind)
    for name, part in network.module.named_modules():
        if type(part) is not kind or not name:
            continue
        shorter = copy.deepcopy(network.module)
        parent, _, child = name.rpartition(".")
        setattr(shorter.get_submodule(parent), child, torch.nn.Identity())
        with torch.no_grad():
            eta = shorter(network.rows(X)).reshape(len(X), -1)
        back = link.mean(eta).cpu().numpy()
        if back.shape == outputs.shape and np.allclose(back, outputs, rtol=near, atol=near):
            return shorter
    return None
