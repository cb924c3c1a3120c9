"""From torch losses to the package's: the known ones by their numpy twins, all others wrapped."""

import numpy as np
from scipy.special import expit, softmax

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
    """

    def __init__(self, fn, n_outputs):
        self.fn = fn
        self.n_outputs = n_outputs

    def _one(self, eta, y):
        if self.n_outputs > 1:
            eta = eta[None]
        return self.fn(eta, y[None]).reshape(())

    def _mapped(self, fn, eta, y):
        """A function of one row over all leading axes, in float64."""
        torch = import_torch()
        lead = eta.shape[:-1]
        y = np.broadcast_to(y, lead).reshape(-1)
        y = torch.as_tensor(np.array(y, dtype=np.int64 if y.dtype.kind in "iu" else np.float64))
        flat = torch.as_tensor(np.array(eta, dtype=np.float64).reshape(-1, eta.shape[-1]))
        found = torch.func.vmap(fn)(flat, y).numpy()
        return found.reshape(*lead, *found.shape[1:])

    def value(self, eta, y):
        return self._mapped(self._one, eta, y)

    def gradient(self, eta, y):
        return self._mapped(import_torch().func.grad(self._one), eta, y)

    def hessian(self, eta, y):
        return self._mapped(import_torch().func.hessian(self._one), eta, y)


class TorchClassLoss(TorchLoss):
    """A torch loss of class scores, such as a cross-entropy with label smoothing."""

    def predict_proba(self, eta):
        if self.n_outputs == 1:
            return np.concatenate([expit(-eta), expit(eta)], axis=-1)
        return softmax(eta, axis=-1)


def loss_of(loss, n_outputs):
    """The package's loss for a torch loss (module or function), or for one of its own.

    Returns
    -------
    loss : Loss
    is_classifier : bool

    Raises
    ------
    ValueError
        For class weights inside the loss, and for outputs that it cannot take.
    """
    if isinstance(loss, Loss):
        _check_outputs(loss.n_outputs, n_outputs)
        return loss, isinstance(loss, Binomial | Multinomial)
    torch = import_torch()
    F, nn = torch.nn.functional, torch.nn
    if not callable(loss):
        raise TypeError(
            "loss must be a torch loss, a callable loss(outputs, targets) or a "
            f"skinfluence.losses.Loss. Got {loss!r}."
        )
    for name in ("weight", "pos_weight"):
        if getattr(loss, name, None) is not None:
            raise ValueError(
                f"The loss must treat all rows alike. Got one with {name}=; pass "
                "sample_weight=weight[y] to ModuleInfluence instead."
            )
    if loss is F.binary_cross_entropy_with_logits or isinstance(loss, nn.BCEWithLogitsLoss):
        _check_outputs(1, n_outputs)
        return Binomial(), True
    if loss is F.cross_entropy or isinstance(loss, nn.CrossEntropyLoss):
        if n_outputs < 2:
            raise ValueError(
                "The cross-entropy needs one output per class. Got one output; use "
                "BCEWithLogitsLoss."
            )
        if getattr(loss, "label_smoothing", 0.0):
            return TorchClassLoss(loss, n_outputs), True
        return Multinomial(n_outputs), True
    return TorchLoss(loss, n_outputs), False


def _check_outputs(wanted, n_outputs):
    if wanted != n_outputs:
        raise ValueError(f"The loss takes {wanted} outputs per row. The module has {n_outputs}.")
