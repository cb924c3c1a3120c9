"""Kronecker factors of the Gauss-Newton Hessian, one pair for each linear or convolutional layer.

    H_l  ~  (sum_i w_i a a') x (sum_i w_i b' Lambda b) / (W T) + D

with ``a`` the inputs of the layer (1 for the bias), ``b`` the derivatives of the decision values in
its outputs, summed over its T positions. Layers do not meet.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator

from skinfluence.neural.curvature import _ModuleFactor
from skinfluence.neural.running import import_torch
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.base import Factor


@dataclass
class _Layer:
    """One layer: its module, where its parameters are in the flat vector, and its two factors."""

    name: str
    part: object
    places: np.ndarray
    has_weight: bool
    has_bias: bool
    A: object = 0.0
    G: object = 0.0
    runs: bool = True

    def inputs(self, x):
        """Inputs as (b, n_in, T), the bias's 1 last."""
        torch = import_torch()
        part = self.part
        if isinstance(part, torch.nn.Conv2d):
            options = {"dilation": part.dilation, "padding": part.padding, "stride": part.stride}
            a = torch.nn.functional.unfold(x, part.kernel_size, **options)
        else:
            a = x.reshape(len(x), -1, x.shape[-1]).transpose(1, 2)
        ones = torch.ones_like(a[:, :1])
        return torch.cat([a] * self.has_weight + [ones] * self.has_bias, dim=1)

    def outputs(self, slopes):
        """Derivatives in the layer's outputs as (b, K, n_out, T)."""
        b, k = slopes.shape[:2]
        if isinstance(self.part, import_torch().nn.Conv2d):
            return slopes.reshape(b, k, slopes.shape[2], -1)
        return slopes.reshape(b, k, -1, slopes.shape[-1]).transpose(2, 3)


class KFAC(LinearOperator):
    """The block-diagonal approximation as an operator.

    Parameters
    ----------
    layers : list of _Layer
        With numpy factors.
    added : ndarray of shape (n_parameters,)
        The diagonal ``D``, positive.
    """

    def __init__(self, layers, added):
        self.layers, self.added = layers, added
        super().__init__(dtype=np.dtype(np.float64), shape=(len(added), len(added)))

    def _matmat(self, V):
        out = self.added[:, None] * V
        for layer in self.layers:
            out[layer.places] += np.einsum("ab,bim,ij->ajm", layer.G, V[layer.places], layer.A)
        return out

    def _matvec(self, v):
        return self._matmat(np.asarray(v).reshape(-1, 1))[:, 0]

    def _adjoint(self):
        return self


class KFACFactor(_ModuleFactor, Factor):
    """Each layer solved by the eigenvectors of its two factors."""

    name = "Kronecker factors"

    def __init__(self, problem, layers, shift=0.0):
        Factor.__init__(self, problem, shift)
        self._layers = layers
        self.curvature = KFAC(layers, problem.added + shift * problem.unit_penalty)
        self.curvature.shift = shift
        if not (self.curvature.added > 0).all():
            raise SingularHessianError(
                "hessian='kfac' needs decay or damping on every parameter. "
                f"{np.count_nonzero(self.curvature.added <= 0)} have none; pass damping > 0."
            )
        self._eigen = [self._decomposed(layer) for layer in layers]

    def _decomposed(self, layer):
        # D depends on the input alone (bias or weight): scaled away, what is left is G x A~ + I.
        root = np.sqrt(self.curvature.added[layer.places[0]])
        values, vectors = np.linalg.eigh(layer.A / np.outer(root, root))
        return root, values, vectors, *np.linalg.eigh(layer.G)

    def _curvature_at(self, problem):
        added = problem.added + self.curvature.shift * problem.unit_penalty
        operator = KFAC(self._layers, added)
        operator.shift = self.curvature.shift
        return operator

    def _solve(self, B):
        out = np.empty_like(B, dtype=np.float64)
        for layer, (root, a, QA, g, QG) in zip(self._layers, self._eigen, strict=True):
            V = B[layer.places] / root[:, None]
            V = np.einsum("ab,aim,ij->bjm", QG, V, QA, optimize=True)
            V /= (np.outer(np.maximum(g, 0.0), np.maximum(a, 0.0)) + 1.0)[:, :, None]
            V = np.einsum("ab,bjm,ij->aim", QG, V, QA, optimize=True)
            out[layer.places] = V / root[:, None]
        return out, 0

    def _sibling(self, shift):
        return KFACFactor(self.objective, self._layers, shift)

    def _leverages(self, design):
        return self.leverages_by_solves(design)


def kfac_factor(problem):
    """The Kronecker factors of a problem, from one pass over the rows.

    Raises
    ------
    ValueError
        For chosen parameters outside linear and plain convolutional layers.
    """
    network = problem.network
    if network.projection is not None:
        raise ValueError("hessian='kfac' and projection= cannot be given together.")
    layers = _layers(network)
    layers = _that_run(
        layers, network, problem.design.inputs(np.arange(problem.n_samples)[:3], network)
    )
    for block in problem.passes(problem.loss.n_outputs):
        weighted = problem.weights[block, None, None] * problem.hessians[block]
        x = problem.design.inputs(block, network)
        _accumulate(layers, network, x, network.tensor(weighted))
    for layer in layers:
        if not layer.runs:
            # Nothing depends on it: what is added to the diagonal is its Hessian.
            columns, rows = layer.places.shape[1], layer.places.shape[0]
            layer.A, layer.G = np.zeros((columns, columns)), np.zeros((rows, rows))
            continue
        layer.A = layer.A.cpu().numpy().astype(np.float64)
        layer.G = layer.G.cpu().numpy().astype(np.float64)
        # Sum over rows of w a a' (a mean of the weighted outer products) times sum of b' w Lambda b.
        layer.A /= problem.n_samples
    return KFACFactor(problem, layers)


def _layers(network):
    torch = import_torch()
    start, places = 0, {}
    for name, shape in zip(network.names, network.shapes, strict=True):
        size = int(np.prod(shape))
        places[name] = np.arange(start, start + size).reshape(shape[0], -1)
        start += size
    layers = []
    for name, part in network.module.named_modules():
        own = [f"{name}.{kind}" if name else kind for kind in ("weight", "bias")]
        found = [places.pop(one) for one in own if one in places and _is_plain(torch, part)]
        if found:
            flags = [one in network.names for one in own]
            layers.append(_Layer(name or "the module", part, np.concatenate(found, axis=1), *flags))
    if places:
        raise ValueError(
            "hessian='kfac' needs parameters of Linear and Conv2d layers (one group, zero "
            f"padding). Got {', '.join(list(places)[:5])} too; choose parameters= without them, or "
            "use hessian='gauss-newton'."
        )
    return layers


def _is_plain(torch, part):
    if isinstance(part, torch.nn.Conv2d):
        zero = part.padding_mode == "zeros" and not isinstance(part.padding, str)
        return part.groups == 1 and zero
    return isinstance(part, torch.nn.Linear)


def _that_run(layers, network, x):
    """The layers, with which of them run; refuse those that are no product of two factors.

    Raises
    ------
    ValueError
        For a layer that runs twice, shares its parameters, or whose rows are not those of the batch.
    """
    torch, named = import_torch(), dict(network.module.named_parameters(remove_duplicate=False))
    owners = {}
    for name, value in named.items():
        owners.setdefault(id(value), []).append(name)
    calls, eta = _caught(layers, network, x)
    slopes = _slopes(layers, calls, eta)
    expected = network.gradients(x, np.ones((len(x), eta.shape[1])))
    for i, layer in enumerate(layers):
        shared = [owners[id(p)] for p in layer.part.parameters(recurse=False)]
        shared = next((names for names in shared if len(names) > 1), None)
        if shared:
            raise ValueError(_REMEDY.format(f"{' and '.join(shared)} are one parameter"))
        if len(calls[i]) > 1:
            raise ValueError(_REMEDY.format(f"{layer.name} runs {len(calls[i])} times"))
        layer.runs = bool(calls[i])
        if not layer.runs:
            continue
        try:
            a, b = layer.inputs(calls[i][0][0]), layer.outputs(torch.stack(slopes[i], dim=1))
            found = torch.einsum("bkot,bjt->boj", b, a).cpu().numpy()
            near = 1e-6 if network.dtype == torch.float64 else 1e-2
            own = expected[:, layer.places]
            same = found.shape == own.shape
            same = same and np.abs(found - own).max() <= near * np.abs(own).max()
        except RuntimeError:
            same = False
        if not same:
            raise ValueError(
                _REMEDY.format(f"{layer.name} does not run on one row of its input per row")
            )
    return layers


_REMEDY = (
    "hessian='kfac' needs layers that run once in a pass, on the rows of the batch, with parameters "
    "of their own. {}; use hessian='gauss-newton', or parameters= without it."
)


def _caught(layers, network, x):
    """Inputs and outputs of each call of each layer, and the decision values."""
    torch, calls = import_torch(), [[] for _ in layers]

    def catch(i):
        def hook(module, inputs, output):
            # What follows may change both in place: it gets a copy, and so do we.
            calls[i].append((inputs[0].detach().clone(), output))
            return output.clone()

        return hook

    handles = [layer.part.register_forward_hook(catch(i)) for i, layer in enumerate(layers)]
    held = [value for layer in layers for value in layer.part.parameters(recurse=False)]
    try:
        with torch.enable_grad():
            if x.is_floating_point():
                # Parameters do not ask for gradients; the input does, so that a graph is kept.
                eta = network.run(x.detach().requires_grad_(True).clone())
            else:
                for value in held:
                    value.requires_grad_(True)
                eta = network.run(x)
    finally:
        for handle in handles:
            handle.remove()
        for value in held:
            value.requires_grad_(False)
    return calls, eta


def _slopes(layers, calls, eta):
    """For each layer that runs, derivatives of each decision value in its outputs."""
    torch = import_torch()
    run = [i for i in range(len(layers)) if calls[i]]
    outputs = [calls[i][-1][1] for i in run]
    found = {i: [] for i in run}
    for k in range(eta.shape[1]):
        grads = torch.autograd.grad(
            eta[:, k].sum(), outputs, retain_graph=k + 1 < eta.shape[1], allow_unused=True
        )
        for i, output, one in zip(run, outputs, grads, strict=True):
            found[i].append(torch.zeros_like(output) if one is None else one)
    return found


def _accumulate(layers, network, x, weighted):
    """Add a batch to the sums of both factors of every layer."""
    torch = import_torch()
    calls, eta = _caught(layers, network, x)
    for i, slopes in _slopes(layers, calls, eta).items():
        layer = layers[i]
        a = layer.inputs(calls[i][0][0])
        b = layer.outputs(torch.stack(slopes, dim=1))
        layer.A = layer.A + torch.einsum("bit,bjt->ij", a, a)
        moved = torch.einsum("bkl,blot->bkot", weighted, b)
        layer.G = layer.G + torch.einsum("bkot,bkpt->op", b, moved) / a.shape[2]
