"""Kernel approximations and kernel PCA."""

import numpy as np
from sklearn.decomposition import KernelPCA
from sklearn.kernel_approximation import (
    AdditiveChi2Sampler,
    Nystroem,
    RBFSampler,
    SkewedChi2Sampler,
)

from skinfluence._utils.memory import row_blocks
from skinfluence.kernel.functions import kernel_of
from skinfluence.pullbacks.registry import (
    dense,
    no_derivative,
    numeric,
    pullback,
    undefined_rows,
)

# With a gradient, under the names scikit-learn takes.
KERNELS = ("linear", "poly", "polynomial", "rbf", "laplacian", "sigmoid")
# The steps at which the additive chi2 kernel is sampled, as scikit-learn chooses them.
CHI2_INTERVALS = {1: 0.8, 2: 0.5, 3: 0.4}


@pullback.register
def _nystroem(transformer: Nystroem, X, V):
    chosen = {
        "gamma": transformer.gamma,
        "degree": 3 if transformer.degree is None else transformer.degree,
        "coef0": 1 if transformer.coef0 is None else transformer.coef0,
        **(transformer.kernel_params or {}),
    }
    kernel = _kernel(transformer, chosen)
    return _expansions(kernel, X, transformer.components_, transformer.normalization_.T, V)


@pullback.register
def _kernel_pca(transformer: KernelPCA, X, V):
    chosen = {
        "gamma": transformer.gamma_,
        "degree": transformer.degree,
        "coef0": transformer.coef0,
    }
    kernel = _kernel(transformer, chosen)
    size = np.sqrt(transformer.eigenvalues_)
    used = size > 0
    coef = np.where(used, transformer.eigenvectors_ / np.where(used, size, 1.0), 0.0)
    # Centring the kernel values of a row is centring the coefficients.
    return _expansions(kernel, X, transformer.X_fit_, coef - coef.mean(axis=0), V)


def _kernel(transformer, chosen):
    name = transformer.kernel
    if callable(name) or name not in KERNELS:
        raise no_derivative(
            transformer, f"the gradient of its kernel {name!r} is not known (known: {KERNELS})"
        )
    return kernel_of(name, transformer.n_features_in_, **chosen)


def _expansions(kernel, X, centres, coef, V):
    """Pull back through ``k(x, centres) @ coef``, a block of rows at a time."""
    X = numeric(X)
    out = np.empty((*V.shape[:2], X.shape[1]))
    for block in row_blocks(V.shape[1], 8 * (coef.shape[1] * X.shape[1] + 2 * len(coef))):
        gradients = kernel.grad_combination(X[block], centres, coef)
        out[:, block] = np.einsum("mbq,qbf->mbf", V[:, block], gradients, optimize=True)
    return out


@pullback.register
def _rbf_sampler(transformer: RBFSampler, X, V):
    return _cosines(transformer, numeric(X), V)


@pullback.register
def _skewed(transformer: SkewedChi2Sampler, X, V):
    moved = dense(X) + transformer.skewedness
    return _cosines(transformer, np.log(moved), V) / moved


def _cosines(transformer, X, V):
    """Pull back through ``sqrt(2 / q) cos(x W + b)``."""
    W = transformer.random_weights_
    slope = -np.sqrt(2.0 / W.shape[1]) * np.sin(X @ W + transformer.random_offset_)
    return (V * slope) @ W.T


@pullback.register
def _additive(transformer: AdditiveChi2Sampler, X, V):
    X = dense(X)
    step = transformer.sample_interval
    step = CHI2_INTERVALS[transformer.sample_steps] if step is None else step
    zero = X == 0
    safe = np.where(zero, 1.0, X)
    parts = np.split(V, 2 * transformer.sample_steps - 1, axis=2)
    out = parts[0] * (0.5 * np.sqrt(step / safe))
    for j in range(1, transformer.sample_steps):
        size = np.sqrt(2.0 * safe * step / np.cosh(np.pi * j * step))
        phase = j * step * np.log(safe)
        cos, sin = np.cos(phase), np.sin(phase)
        out += parts[2 * j - 1] * (size / safe * (0.5 * cos - j * step * sin))
        out += parts[2 * j] * (size / safe * (0.5 * sin + j * step * cos))
    return undefined_rows(transformer, out, zero.any(axis=1), "its slope at 0 is infinite")
