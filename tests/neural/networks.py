"""torch or a skip, and the small networks of the tests."""

import os

import numpy as np
import pytest
from sklearn.datasets import load_digits

if os.environ.get("SKINFLUENCE_REQUIRE_ALL") == "1":
    import torch
else:
    torch = pytest.importorskip("torch", exc_type=ImportError)

from torch import nn


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
