"""From torch losses to the package's: the known ones by their numpy twins, all others wrapped."""

import numpy as np
from scipy.special import expit, log_softmax, softmax

from skinfluence.losses import Binomial, Loss, Multinomial
from skinfluence.neural.running import import_torch


class TorchLoss(Loss):
    """A loss written in torch; its derivatives in the outputs by ``torch.func``.

    Parameters
    ----------
    fn : callable
        ``fn(outputs, targets)`` on a batch; it is called on one row at a time, so that its
        reduction does not matter.
    n_outputs : int
    link : Link, default=None
        Decision values are what goes into the last activation of the module; see
        :mod:`skinfluence.neural.splitting`.
    integers : bool, default=False
        Whether targets are whole numbers.
    """

    def __init__(self, fn, n_outputs, link=None, integers=False):
        self.fn = fn
        self.n_outputs = n_outputs
        self.link = link
        self.integers = integers

    def check_y(self, y):
        if not self.integers:
            return y
        if not (np.asarray(y) == np.round(y)).all():
            raise ValueError("The loss takes whole numbers as targets. Got fractions.")
        return np.asarray(y).astype(np.int64)

    def _one(self, eta, y):
        out = eta[None] if self.link is None else self.link.mean(eta[None])
        return self.fn(out, y[None]).reshape(())

    def _mapped(self, kind, eta, y):
        """Values or derivatives of rows over all leading axes, in float64."""
        torch = import_torch()
        lead = eta.shape[:-1]
        y = np.broadcast_to(y, lead).reshape(-1)
        y = torch.as_tensor(np.array(y, dtype=np.int64 if y.dtype.kind in "iu" else np.float64))
        flat = torch.as_tensor(np.array(eta, dtype=np.float64).reshape(-1, eta.shape[-1]))
        if not len(flat):
            return np.empty(lead + (self.n_outputs,) * ("value", "grad", "hessian").index(kind))
        try:
            one = self._one if kind == "value" else getattr(torch.func, kind)(self._one)
            found = torch.func.vmap(one)(flat, y)
        except (RuntimeError, NotImplementedError):
            # Branches on values and operations without a rule for batches: row by row.
            found = torch.stack([self._alone(kind, *row) for row in zip(flat, y, strict=True)])
        found = found.detach().numpy(force=True)
        return found.reshape(*lead, *found.shape[1:])

    def _alone(self, kind, eta, y):
        torch = import_torch()
        if kind == "value":
            return self._one(eta, y)
        if kind == "grad":
            eta = eta.clone().requires_grad_(True)
            (found,) = torch.autograd.grad(self._one(eta, y), eta, allow_unused=True)
            return torch.zeros_like(eta) if found is None else found
        return torch.autograd.functional.hessian(lambda eta: self._one(eta, y), eta)

    def value(self, eta, y):
        return self._mapped("value", eta, y)

    def gradient(self, eta, y):
        return self._mapped("grad", eta, y)

    def hessian(self, eta, y):
        return self._mapped("hessian", eta, y)

    def expand(self, eta):
        return eta if self.link is None else _through(self.link, eta)

    def mean(self, eta):
        return self.expand(eta)


class TorchClassLoss(TorchLoss):
    """A torch loss of class scores, such as a cross-entropy with label smoothing.

    Parameters
    ----------
    fn, n_outputs, link, integers
        As of :class:`TorchLoss`.
    outputs : {"scores", "log", "probabilities"}
        What the module gives.
    """

    def __init__(self, fn, n_outputs, link=None, integers=True, outputs="scores"):
        super().__init__(fn, n_outputs, link, integers)
        self.outputs = outputs

    def decide(self, eta):
        out = self.expand(eta)
        if out.shape[-1] > 1:
            return out.argmax(axis=-1)
        return (out[..., 0] > (0.5 if self.outputs == "probabilities" else 0.0)).astype(int)

    def predict_proba(self, eta):
        out = self.expand(eta)
        if self.outputs == "log":
            out = np.exp(out)
        elif self.outputs == "scores":
            out = softmax(out, axis=-1) if out.shape[-1] > 1 else expit(out)
        return out if out.shape[-1] > 1 else np.concatenate([1.0 - out, out], axis=-1)


class LogProbabilities(Multinomial):
    """The negative log-likelihood of log-probabilities: the cross-entropy, for they sum to one."""

    def expand(self, eta):
        return log_softmax(eta, axis=-1)


class Probability(Binomial):
    """The cross-entropy of a probability, in its logit."""

    def expand(self, eta):
        return expit(eta)

    def decide(self, eta):
        return (eta[..., 0] > 0).astype(int)


class Weighted(Loss):
    """A loss of classes times a factor for each.

    Parameters
    ----------
    loss : Loss
    factors : ndarray of shape (n_classes,)
    """

    def __init__(self, loss, factors):
        self.loss, self.factors = loss, np.asarray(factors, dtype=np.float64)
        self.n_outputs = loss.n_outputs

    def _factor(self, y):
        return self.factors[np.asarray(y, dtype=np.intp)]

    def value(self, eta, y):
        return self._factor(y) * self.loss.value(eta, y)

    def gradient(self, eta, y):
        return self._factor(y)[..., None] * self.loss.gradient(eta, y)

    def hessian(self, eta, y):
        return self._factor(y)[..., None, None] * self.loss.hessian(eta, y)

    def expand(self, eta):
        return self.loss.expand(eta)

    def decide(self, eta):
        return self.loss.decide(eta)

    def predict_proba(self, eta):
        return self.loss.predict_proba(eta)


def _through(link, eta):
    torch = import_torch()
    return link.mean(torch.as_tensor(np.asarray(eta, dtype=np.float64))).numpy()


def numpy_twin(known, n_outputs, link):
    """The package's own loss where a torch loss is one; None if it is not.

    Parameters
    ----------
    known : TrainingLoss
    n_outputs : int
    link : Link or None
        Of the module.
    """
    smoothed = getattr(known.call, "label_smoothing", 0.0)
    name = None if link is None else link.name
    if known.kind == "cross_entropy" and not smoothed:
        # A second log-softmax changes nothing.
        twin = (LogProbabilities if name == "log_softmax" else Multinomial)(n_outputs)
    elif known.kind == "bce_logits":
        twin = Binomial()
    elif known.kind == "nll" and name == "log_softmax":
        twin = LogProbabilities(n_outputs)
    elif known.kind == "bce" and name == "sigmoid":
        twin = Probability()
    else:
        return None
    return twin if known.factors is None or known.by_factors else Weighted(twin, known.factors)
