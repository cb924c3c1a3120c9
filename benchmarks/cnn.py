"""The tanh network of Fig. 2 of Koh and Liang (2017), as a torch module."""

import torch
from torch import nn

DECAY = 1e-3


def network(small=False):
    """2,616 parameters; the first three layers only, for pictures of half the size, if small."""
    torch.manual_seed(0)
    strides = [1, 2, 1] if small else [1, 2, 1, 2, 1]
    parts = []
    for i, stride in enumerate(strides):
        parts += [nn.Conv2d(8 if i else 1, 8, 3, stride), nn.Tanh()]
    parts += [nn.Conv2d(8, 10, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(10, 10)).double()
