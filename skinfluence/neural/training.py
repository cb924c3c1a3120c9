"""That the objective is the one that training minimised: its loss, its weights, its gradient.

One comparison finds what a loss called row by row does not: the loss of a batch as the user's own
loss gives it, and its gradient by autograd through the user's own module.
"""

import copy
from dataclasses import dataclass

import numpy as np
from sklearn.utils import column_or_1d

from skinfluence.losses import Binomial, Loss, Multinomial
from skinfluence.neural.called_losses import callings, training_loss
from skinfluence.neural.losses import TorchClassLoss, TorchLoss, numpy_twin
from skinfluence.neural.running import import_torch, in_words
from skinfluence.neural.splitting import link_of
from skinfluence.objective import Labels

# Rows of the batches that are compared: all, and a few whose number and classes are others.
SOME, FEW = 64, 7
# A loss may be computed in single precision.
NEAR = 1e-6


@dataclass(frozen=True, eq=False)
class AsTrained:
    """A loss and targets as training uses them.

    Attributes
    ----------
    loss : Loss
        Of the decision values of the network.
    y : ndarray of shape (n_samples,)
        As the loss wants it.
    labels : Labels or None
        With the weights of classes that the mean is divided by.
    counted : ndarray of bool of shape (n_samples,)
        Rows that the loss does not leave out.
    called : ndarray of shape (n_samples,) or None
        As the user's loss of a batch is called with it.
    call : callable or None
        The user's loss of a batch of outputs of the module; None for one of the package's.
    """

    loss: Loss
    y: np.ndarray
    labels: Labels | None
    counted: np.ndarray
    called: np.ndarray | None = None
    call: object = None

    @property
    def class_weights(self):
        """Of each row, by its class; 0 where it does not count."""
        if self.labels is None:
            return np.ones(len(self.y))
        return self.labels.class_weight[self.labels.codes_of(self.y)] * self.counted


def as_trained(loss, y, network, X):
    """The loss and the targets of a module's training; the network is split where the loss asks.

    Parameters
    ----------
    loss : torch loss, callable or Loss
    y : array-like of shape (n_samples,)
        As the user gave it.
    network : Network
    X : ndarray of shape (n_samples, ...)

    Returns
    -------
    trained : AsTrained

    Raises
    ------
    ValueError
        If the loss of a batch is not made of those of its rows.
    """
    outputs = network.outputs(X)
    n_outputs = outputs.shape[1]
    if isinstance(loss, Loss):
        if loss.n_outputs != n_outputs:
            raise ValueError(
                f"The loss takes {loss.n_outputs} outputs per row. The module has {n_outputs}."
            )
        labels = _labels(n_outputs) if isinstance(loss, Binomial | Multinomial) else None
        y = _numbers(y) if labels is None else labels.targets[labels.codes(y)]
        return AsTrained(loss, y, labels, np.ones(len(y), dtype=bool))
    known = training_loss(loss, n_outputs, y)
    labels, counted, called = None, np.ones(len(y), dtype=bool), y
    if known.is_classifier:
        weights = known.factors if known.by_factors else None
        labels = _labels(n_outputs, weights)
        y, counted = _without_ignored(y, known, labels)
        y = labels.targets[labels.codes(y)]
        called = np.where(counted, y, known.ignore_index) if not counted.all() else y
        if known.ignore_index in range(n_outputs):
            labels.class_weight[known.ignore_index] = 0.0
        counted = counted & (labels.class_weight[labels.codes(y)] > 0)
    else:
        y = called = _numbers(y)
    weights = np.ones(len(y)) if labels is None else labels.class_weight[labels.codes(y)] * counted
    if not weights.any():
        raise ValueError(
            "The loss must count some row. Its weights or ignore_index= leave out all."
        )
    rows = _Rows(outputs, y, called, weights, labels)
    before = _before_last(network, X, outputs, known)
    loss, call, split = _first_that_fits(known, rows, before)
    if split:
        network.link, network.module = before.link, before.module
    y = loss.check_y(y) if labels is None else y
    return AsTrained(loss, y, labels, counted, called, call)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Outputs, targets (for rows, and as a batch is called with them) and weights of classes."""

    outputs: np.ndarray
    y: np.ndarray
    called: np.ndarray
    weights: np.ndarray
    labels: Labels | None


@dataclass(frozen=True, eq=False)
class _Before:
    """A link, the module that ends before it, and its decision values of all rows."""

    link: object
    module: object
    eta: np.ndarray


def _before_last(network, X, outputs, known):
    """The :class:`_Before` of the module's last activation, or None."""
    probabilities = known.kind == "bce"
    if probabilities and not ((outputs >= 0) & (outputs <= 1)).all():
        raise ValueError(
            "BCELoss takes probabilities. The module gives outputs from "
            f"{outputs.min():.3g} to {outputs.max():.3g}; use BCEWithLogitsLoss for logits."
        )
    link, module = link_of(network, X[:3], outputs, "sigmoid" if probabilities else None)
    if link is None:
        return None
    shorter = copy.copy(network)
    shorter.link, shorter.module = link, module
    eta = shorter.outputs(X)
    if np.isfinite(eta).all():
        return _Before(link, module, eta)
    if probabilities:
        raise ValueError(
            f"Probabilities must lie between 0 and 1. {int((~np.isfinite(eta)).sum())} are rounded to "
            "0 or 1. Leave the sigmoid to the loss (BCEWithLogitsLoss), or pass dtype='float64'."
        )
    return None


def _first_that_fits(known, rows, before):
    """The loss of rows that makes up that of a batch; what is wrong with the likeliest if none."""
    said = []
    for call, row_call in callings(known, rows.outputs.shape[1], rows.y):
        found, split = _of_rows(known, row_call, rows, before)
        if isinstance(found, str):
            said.insert(0 if split else len(said), found)
            continue
        wrong = _wrong(call, found, rows, before if split else None)
        if wrong is None:
            return found, call, split
        # It took the rows: what is wrong is not how it was called.
        said.insert(0, wrong)
    raise ValueError(said[0])


def _of_rows(known, call, rows, before):
    """The loss of one row, and whether it is split from the network before the last activation.

    What is wrong, in words, where there is none, and whether it took the rows.
    """
    n_outputs, y, counted = rows.outputs.shape[1], rows.y, rows.weights > 0
    link = None if before is None else before.link
    twin = numpy_twin(known, n_outputs, link)
    if twin is not None:
        return twin, known.kind in ("nll", "bce")

    def of(link):
        if rows.labels is None:
            return TorchLoss(call, n_outputs, link, call.integers)
        return TorchClassLoss(call, n_outputs, link, call.integers, known.outputs)

    plain = of(None)
    try:
        values = plain.value(rows.outputs, y)
    except Exception as error:
        return (
            "The loss must take the outputs of one row and its target, of shapes "
            f"(1, {n_outputs}) and (1,), in float64 on the host. It raised {type(error).__name__}: "
            f"{in_words(error)}"
        ), False
    lost = np.flatnonzero(~np.isfinite(values) & counted)
    if len(lost):
        return (
            f"The loss of each row alone must be finite. Row {lost[0]} has {values[lost[0]]}: is it "
            "left out by ignore_index or a class weight of zero inside a function? Pass "
            "nn.CrossEntropyLoss(ignore_index=, weight=) itself, or leave the row out."
        ), True
    if before is None:
        return plain, False
    ahead = of(link)
    if _is_convex(ahead.hessian(before.eta, y)) or not _is_convex(plain.hessian(rows.outputs, y)):
        return ahead, True
    return plain, False


def _is_convex(hessians):
    values = np.linalg.eigvalsh(hessians)
    return bool((values[:, 0] >= -1e-9 * np.abs(values).max(initial=0.0)).all())


def _batches(n, y):
    """Rows of the batches that are compared."""
    rng = np.random.RandomState(0)
    found = [np.arange(n)]
    if n > 1:
        found.append(np.sort(rng.choice(n, min(FEW, n - 1), replace=False)))
        # One of every class: a weight of a rare one would hardly be seen among all.
        found.append(np.unique(np.unique(y, return_index=True)[1][:SOME]))
    return [rows for rows in found if len(rows)]


def _wrong(call, loss, rows, before):
    """How the loss of a batch differs from those of its rows, or None."""
    torch = import_torch()
    eta = rows.outputs if before is None else before.eta
    with np.errstate(over="ignore", invalid="ignore"):
        values, slopes = loss.value(eta, rows.y), loss.gradient(eta, rows.y)
    values = np.where(rows.weights > 0, values, 0.0)
    slopes = np.where(rows.weights[:, None] > 0, slopes, 0.0)
    for batch in _batches(len(eta), rows.y):
        w = rows.weights[batch]
        if not w.any():
            continue
        at = torch.as_tensor(eta[batch]).requires_grad_(True)
        try:
            found = call(
                at if before is None else before.link.mean(at), torch.as_tensor(rows.called[batch])
            )
            (slope,) = torch.autograd.grad(found.sum(), at)
        except Exception as error:
            return (
                "The loss must be a number that torch can differentiate in the outputs. Of a batch "
                f"of {len(batch)} rows it raised {type(error).__name__}: {in_words(error)}"
            )
        found, slope = found.detach().numpy(), slope.numpy()
        scale = _reduction(found, w, w * values[batch])
        if scale is None:
            return (
                "The loss of a batch must be the mean or the sum of those of its rows. Of "
                f"{len(batch)} rows it is {found.sum():.6g}; called alone they have a mean of "
                f"{values[batch].mean():.6g} and a sum of {values[batch].sum():.6g}. Class weights "
                "or ignore_index inside a function or a subclass, a statistic of the batch and "
                "randomness do this. Pass nn.CrossEntropyLoss(weight=, ignore_index=) or "
                "nn.BCEWithLogitsLoss(pos_weight=) itself, or weights as sample_weight."
            )
        if not is_near(slope, scale * w[:, None] * slopes[batch]):
            return (
                "The gradient of the loss of a batch in the outputs must be made of those of its "
                f"rows. Of {len(batch)} rows it is not, though the value is: does the loss detach "
                "a statistic of the batch, or bring a backward of its own?"
            )
    return None


def _reduction(found, w, weighted):
    """What the gradients of rows are multiplied by in a batch's loss; None if it is not theirs."""
    if found.size == len(w) > 1:
        return 1.0 if is_near(found.ravel(), weighted) else None
    if found.size != 1:
        return None
    size = np.abs(weighted).sum()
    for scale in (1.0 / w.sum(), 1.0):
        if abs(float(found.sum()) - scale * weighted.sum()) <= NEAR * scale * size:
            return scale
    return None


def is_near(found, expected):
    """Whether numbers are those that are expected, as far as single precision goes."""
    scale = np.abs(expected).max(initial=0.0)
    return bool(np.abs(found - expected).max(initial=0.0) <= NEAR * scale)


def _without_ignored(y, known, labels):
    """Class positions with a place holder for rows of ``ignore_index``, and which rows count."""
    y = np.asarray(y)
    index = known.ignore_index
    if index is None or index in labels.classes:
        return y, np.ones(len(y), dtype=bool)
    counted = y != index
    return np.where(counted, y, 0), counted


def _labels(n_outputs, weights=None):
    classes = np.arange(max(n_outputs, 2))
    weights = np.ones(len(classes)) if weights is None else np.array(weights, dtype=np.float64)
    return Labels(classes=classes, targets=classes, class_weight=weights)


def targets(y):
    """One target per row."""
    return column_or_1d(np.asarray(y))


def _numbers(y):
    y = np.asarray(y, dtype=np.float64)
    if not np.isfinite(y).all():
        raise ValueError("y must be finite. It holds NaN or infinite values.")
    return y
