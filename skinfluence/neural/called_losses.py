"""Torch losses as training calls them, and what is known of each.

Which is which goes by the exact class: a subclass may compute anything, and is called as it is.
"""

import copy
import functools
from dataclasses import dataclass

import numpy as np

from skinfluence.neural.running import import_torch


@dataclass
class TrainingLoss:
    """A torch loss as training calls it, and what is known of it.

    Attributes
    ----------
    call : callable
        ``call(outputs, targets)`` in float64 on the host.
    row_call : callable
        The same of a row alone, which ``ignore_index`` does not leave out.
    kind : str or None
        "cross_entropy", "nll", "bce_logits", "bce", "multi_margin"; None for any other.
    is_classifier : bool
        Whether targets are positions of classes.
    outputs : str
        As of :class:`TorchClassLoss`.
    factors : ndarray or None
        Of the loss of each class.
    by_factors : bool
        Whether the mean is divided by the sum of the factors, not by the number of rows.
    ignore_index : int or None
    """

    call: object
    row_call: object
    kind: str | None = None
    is_classifier: bool = False
    outputs: str = "scores"
    factors: np.ndarray | None = None
    by_factors: bool = False
    ignore_index: int | None = None


NO_CURVATURE = (
    "The loss must have curvature. {name} is piecewise linear: its optimum lies on kinks, where a "
    "derivative says nothing of what training without a row would do. Train with {instead}."
)


def training_loss(loss, n_outputs, y):
    """What is known of a torch loss, a module or a function, from its exact class.

    Parameters
    ----------
    loss : torch loss or callable
    n_outputs : int
        Of the module.
    y : ndarray of shape (n_samples,)

    Raises
    ------
    TypeError
        For what is not callable.
    ValueError
        For losses without curvature, and for options that belong to rows or to other outputs.
    """
    torch = import_torch()
    F, nn = torch.nn.functional, torch.nn
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(
            "loss must be a torch loss, a callable loss(outputs, targets) or a "
            f"skinfluence.losses.Loss. Got {loss!r}."
        )
    known = {
        F.cross_entropy: nn.CrossEntropyLoss,
        F.nll_loss: nn.NLLLoss,
        F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
        F.binary_cross_entropy: nn.BCELoss,
        F.multi_margin_loss: nn.MultiMarginLoss,
        F.l1_loss: nn.L1Loss,
    }
    options = {}
    if isinstance(loss, functools.partial) and not loss.args:
        options, inner = loss.keywords, loss.func
    else:
        inner = loss
    if not isinstance(inner, nn.Module) and inner in known:
        loss = known[inner](**options)
    if isinstance(loss, nn.Module):
        loss = copy.deepcopy(loss).to(device="cpu").double()
    kind = type(loss)
    if kind is nn.L1Loss:
        instead = "HuberLoss, SmoothL1Loss or MSELoss"
        raise ValueError(NO_CURVATURE.format(name="L1Loss", instead=instead))
    if kind is nn.MultiMarginLoss and loss.p == 1:
        instead = "MultiMarginLoss(p=2) or CrossEntropyLoss"
        raise ValueError(NO_CURVATURE.format(name="MultiMarginLoss(p=1)", instead=instead))
    if kind in (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss):
        return _of_classes(loss, n_outputs)
    if kind in (nn.BCEWithLogitsLoss, nn.BCELoss):
        return _of_two(loss, n_outputs, y)
    if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss | nn.MultiMarginLoss):
        outputs = "log" if isinstance(loss, nn.NLLLoss) else "scores"
        return TrainingLoss(loss, loss, is_classifier=n_outputs > 1, outputs=outputs)
    if isinstance(loss, nn.BCEWithLogitsLoss | nn.BCELoss) and n_outputs == 1:
        outputs = "probabilities" if isinstance(loss, nn.BCELoss) else "scores"
        return TrainingLoss(loss, loss, is_classifier=_is_binary(y), outputs=outputs)
    return TrainingLoss(loss, loss)


def _of_classes(loss, n_outputs):
    nn = import_torch().nn
    kinds = {nn.CrossEntropyLoss: "cross_entropy", nn.NLLLoss: "nll"}
    kind = kinds.get(type(loss), "multi_margin")
    if n_outputs < 2:
        raise ValueError(
            f"{type(loss).__name__} needs one output per class. Got one output; use "
            "BCEWithLogitsLoss."
        )
    factors = None
    if loss.weight is not None:
        factors = loss.weight.detach().cpu().numpy().astype(np.float64)
        if factors.shape != (n_outputs,) or not (np.isfinite(factors) & (factors >= 0)).all():
            raise ValueError(
                f"weight= must hold a finite non-negative number per class, ({n_outputs},). Got "
                f"{factors.tolist()}."
            )
        if getattr(loss, "label_smoothing", 0.0) and not factors.all():
            raise ValueError(
                "label_smoothing= with a class of weight zero divides by weights that the rows do "
                "not have. Give every class a weight, or leave its rows out."
            )
    if kind == "multi_margin":
        call = row_call = _multi_margin(loss)
    else:
        call, row_call = loss, copy.copy(loss)
        row_call.ignore_index = -100
    return TrainingLoss(
        call,
        row_call,
        kind=kind,
        is_classifier=True,
        outputs="log" if kind == "nll" else "scores",
        factors=factors,
        by_factors=loss.reduction == "mean" and kind != "multi_margin",
        ignore_index=getattr(loss, "ignore_index", None),
    )


def _multi_margin(loss):
    """``MultiMarginLoss(p=2)`` in operations that have second derivatives."""
    torch = import_torch()

    def call(outputs, y):
        own = outputs.gather(1, y[:, None])
        over = (loss.margin - own + outputs).clamp_min(0.0) ** 2
        others = 1.0 - torch.nn.functional.one_hot(y, outputs.shape[1]).to(outputs.dtype)
        rows = (others * over).sum(1) / outputs.shape[1]
        rows = rows if loss.weight is None else loss.weight[y] * rows
        return {"mean": rows.mean, "sum": rows.sum, "none": lambda: rows}[loss.reduction]()

    return call


def _of_two(loss, n_outputs, y):
    nn = import_torch().nn
    if n_outputs != 1:
        raise ValueError(
            f"{type(loss).__name__} of rows takes 1 output per row. The module has {n_outputs}; "
            "for classes that exclude each other use CrossEntropyLoss, for several labels per row "
            "a function of your own."
        )
    factors = np.ones(2)
    for name, which in (("weight", slice(None)), ("pos_weight", 1)):
        value = getattr(loss, name, None)
        if value is None:
            continue
        if value.numel() != 1:
            raise ValueError(
                f"{name}= must be one number for one output. Got shape {tuple(value.shape)}; pass "
                "weights of rows as sample_weight."
            )
        factors[which] *= float(value)
    kind = "bce_logits" if type(loss) is nn.BCEWithLogitsLoss else "bce"
    outputs = "scores" if kind == "bce_logits" else "probabilities"
    if not _is_binary(y):
        # Targets between the classes have no label.
        return TrainingLoss(loss, loss)
    factors = None if (factors == 1.0).all() else factors
    return TrainingLoss(loss, loss, kind=kind, is_classifier=True, outputs=outputs, factors=factors)


def _is_binary(y):
    """Whether targets are labels; numbers within 0 .. 1 that are no labels are soft targets."""
    y = np.asarray(y)
    soft = y.dtype.kind == "f" and ((y >= 0) & (y <= 1)).all() and not np.isin(y, (0, 1)).all()
    return not soft


@dataclass(frozen=True)
class Calling:
    """A torch loss called with outputs and targets as training shapes them.

    Parameters
    ----------
    call : callable
    layout : {"rows", "outputs", "columns"}
        One output as (b,) with (b,) targets, as (b, 1), or both as (b, 1).
    integers : bool
        Whether targets are int64.
    """

    call: object
    layout: str
    integers: bool

    def __call__(self, outputs, y):
        torch = import_torch()
        if outputs.shape[-1] == 1 and self.layout == "rows":
            outputs = outputs[:, 0]
        y = y.long() if self.integers else y.to(torch.float64)
        return self.call(outputs, y[:, None] if self.layout == "columns" else y)


def callings(known, n_outputs, y):
    """The ways a loss may be called, of a batch and of a row alone; likely ones first."""
    layouts = ("rows", "outputs", "columns") if n_outputs == 1 else ("rows",)
    whole = y.dtype.kind in "iu" or bool((y == np.round(y)).all())
    # Numbers first: what takes them as such has no need of whole ones.
    integers = [False, True][: 1 + whole]
    if known.kind in ("cross_entropy", "nll", "multi_margin"):
        integers = [True]
    elif known.kind is not None:
        integers, layouts = [False], ("rows",)
    return [
        tuple(Calling(call, layout, one) for call in (known.call, known.row_call))
        for layout in layouts
        for one in integers
    ]
