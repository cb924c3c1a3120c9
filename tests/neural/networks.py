"""torch or a skip, and the small networks of the tests."""

import copy

import numpy as np
import pytest
from sklearn.datasets import load_digits

torch = pytest.importorskip("torch", exc_type=ImportError)
nn = torch.nn


def small_net(seed=0, training=False):
    """Two convolutions with batch normalisation and dropout, 8 x 8 pictures to 6 features."""
    torch.manual_seed(seed)
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(1, 4, 3))
    net.add_module("norm", nn.BatchNorm2d(4))
    net.add_module("act1", nn.Tanh())
    net.add_module("drop", nn.Dropout(0.5))
    net.add_module("conv2", nn.Conv2d(4, 5, 3, stride=2))
    net.add_module("act2", nn.Softplus())
    net.add_module("flat", nn.Flatten())
    net.add_module("head", nn.Linear(20, 6))
    with torch.no_grad():
        net.norm.running_mean.uniform_(-0.5, 0.5)
        net.norm.running_var.uniform_(0.5, 2.0)
    return net.train(training)


def digit_pictures(n=60, n_class=2):
    """Digits as (n, 1, 8, 8) pictures within 0 .. 1, and their labels."""
    X, y = load_digits(n_class=n_class, return_X_y=True)
    return X.reshape(-1, 1, 8, 8)[:n] / 16.0, y[:n]


def flat(pictures):
    return np.reshape(pictures, (len(pictures), -1))


def small_mlp(seed=0, n_outputs=1):
    """4 inputs, 3 tanh units, in float64."""
    torch.manual_seed(seed)
    hidden, head = nn.Linear(4, 3), nn.Linear(3, n_outputs)
    net = nn.Sequential()
    net.add_module("hidden", hidden)
    net.add_module("act", nn.Tanh())
    net.add_module("head", head)
    return net.double()


def flat_parameters(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def train(net, loss, X, y, decay, weights=None):
    """A copy of a network at a stationary point of the decayed mean loss, by damped Newton.

    ``loss(outputs, targets)`` gives one value per row. Written apart from the package: the Hessian
    is torch's own, of the flat vector of parameters.
    """
    net = copy.deepcopy(net)
    names = [name for name, _ in net.named_parameters()]
    shapes = [p.shape for p in net.parameters()]
    X, y = torch.as_tensor(X), torch.as_tensor(y)
    weights = torch.ones(len(X)) if weights is None else torch.as_tensor(weights)
    weights = weights.double() / weights.sum()

    def value(theta):
        parts = torch.split(theta, [shape.numel() for shape in shapes])
        values = {n: part.view(shape) for n, part, shape in zip(names, parts, shapes)}
        out = torch.func.functional_call(net, values, (X,))
        return weights @ loss(out, y) + 0.5 * decay * (theta**2).sum()

    theta = flat_parameters(net)
    gradient, hessian = torch.func.grad(value), torch.func.hessian(value)
    for _ in range(200):
        g, H = gradient(theta), hessian(theta)
        values, vectors = torch.linalg.eigh(H)
        # Away from a minimum, go down along negative curvature too.
        step = vectors @ ((vectors.T @ g) / values.abs().clamp_min(1e-3))
        size = 1.0
        while value(theta - size * step) > value(theta) + 1e-15 and size > 1e-8:
            size *= 0.5
        theta = theta - size * step
        if g.abs().max() < 1e-14:
            break
    assert gradient(theta).abs().max() < 1e-10
    torch.nn.utils.vector_to_parameters(theta, net.parameters())
    return net
