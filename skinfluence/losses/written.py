"""Losses that users write with autograd."""

import numpy as np

from skinfluence._utils.locks import one_trace_at_a_time
from skinfluence.losses.base import Loss


class AutogradLoss(Loss):
    """A loss written with ``autograd.numpy``; its derivatives come by themselves.

    Parameters
    ----------
    fn : callable
        ``fn(eta, y)`` with ``eta`` of shape ``(..., n_outputs)``, returning shape ``(...)``. The
        value of a sample may depend on its own ``eta`` and ``y`` only.
    n_outputs : int, default=1
    self_concordance : float, default=None
        Declare it only with a proof: certificates rest on it.

    Examples
    --------
    >>> import autograd.numpy as anp
    >>> import numpy as np
    >>> from skinfluence.losses import AutogradLoss
    >>> loss = AutogradLoss(lambda eta, y: anp.log(anp.cosh(eta[..., 0] - y)))
    >>> loss.gradient(np.array([[2.0]]), np.array([1.0])).round(3)
    array([[0.762]])
    """

    def __init__(self, fn, n_outputs=1, self_concordance=None):
        self.fn = fn
        self.n_outputs = n_outputs
        self.self_concordance = self_concordance

    def value(self, eta, y):
        return np.asarray(self.fn(eta, y))

    @one_trace_at_a_time
    def gradient(self, eta, y):
        from autograd import grad

        return grad(lambda e: self.fn(e, y).sum())(eta)

    @one_trace_at_a_time
    def hessian(self, eta, y):
        from autograd import grad

        first = grad(lambda e: self.fn(e, y).sum())
        columns = [grad(lambda e, k=k: first(e)[..., k].sum())(eta) for k in range(self.n_outputs)]
        return np.stack(columns, axis=-1)
