"""That the gradient of the objective is that of training, and that its loss curves."""

import numpy as np

from skinfluence.neural.running import import_torch, in_words
from skinfluence.neural.training import SOME, is_near


def check_gradient(problem, trained, whole):
    """Refuse an objective whose gradient is not that of training.

    Parameters
    ----------
    problem : ModuleProblem
    trained : AsTrained
    whole : torch.nn.Module
        The module in evaluation mode, where the network runs, nothing taken out.

    Notes
    -----
    Of 64 rows at most; the loss is compared on all.
    """
    if trained.call is None:
        return
    torch, network = import_torch(), problem.network
    n = problem.n_samples
    rows = np.unique(np.linspace(0, n - 1, min(n, SOME)).astype(int))
    w = trained.class_weights[rows]
    if not w.any():
        return
    x = problem.design.inputs(rows, network)
    named = dict(whole.named_parameters())
    chosen = [named[name] for name in network.names]
    try:
        for value in chosen:
            value.requires_grad_(True)
        with torch.enable_grad():
            out = whole(x.clone()).reshape(len(rows), -1)
            value = trained.call(
                out.to("cpu", torch.float64), torch.as_tensor(trained.called[rows])
            )
            found = torch.autograd.grad(value.sum(), chosen, allow_unused=True)
    except Exception as error:
        raise ValueError(
            "autograd must differentiate the loss of the module's outputs. It raised "
            f"{type(error).__name__}: {in_words(error)}"
        ) from error
    finally:
        for one in chosen:
            one.requires_grad_(False)
    found = torch.cat(
        [(torch.zeros_like(v) if g is None else g).flatten() for v, g in zip(chosen, found)]
    )
    found = network.compress(found.cpu().numpy().astype(np.float64))
    weighted = (w[:, None] * problem.gradients[rows])[:, :, None]
    ours = network.adjoint(x, weighted)[:, 0]
    near = 1e-6 if network.dtype == torch.float64 else 1e-2
    # A mean, or a sum.
    scales = np.array([1.0 / w.sum(), 1.0])
    errors = np.abs(found - scales[:, None] * ours)
    allowed = near * np.abs(found).max(initial=0.0) + 1e-14 * np.abs(weighted).sum()
    if errors.max(axis=1, initial=0.0).min() > allowed:
        # Rows in large units cancel at an optimum: what rounding leaves is of the size of the rows.
        alone = (network.adjoint(x[[i]], weighted[[i]])[:, 0] for i in range(len(rows)))
        sizes = sum(np.abs(one) for one in alone)
        errors -= 1e3 * torch.finfo(network.dtype).eps * scales[:, None] * sizes
    error = errors.max(axis=1, initial=0.0).min()
    if error > allowed:
        raise ValueError(
            "The gradient of the objective must be that of training, by autograd through the "
            f"module and the loss. It differs by {error / max(np.abs(found).max(), 1e-300):.1e} of "
            "its largest entry: does the module hold parameters that it copied elsewhere, or an "
            "operation with a backward of its own?"
        )


def check_curved(problem):
    """Refuse a loss without curvature, whose Gauss-Newton Hessian is that of the decay alone."""
    counted = problem.weights > 0
    if problem.hessians[counted].any():
        return
    if problem.gradients[counted].any() and problem.hessian == "full" and not _has_kinks(problem):
        return
    if not problem.gradients[counted].any() and problem.hessian == "full":
        return
    raise ValueError(
        "The loss must have curvature in the outputs. Its second derivatives are zero on all rows: "
        "a piecewise linear loss (L1, hinge) has kinks where training ends, and a negative "
        "log-likelihood of what is no log-probability is a straight line, for which hessian='full' "
        "may serve. Train with a smooth loss, such as HuberLoss, or end the module in LogSoftmax."
    )


def _has_kinks(problem):
    """Whether the slopes of a loss without curvature change from one row's outputs to another's."""
    moved = problem.loss.gradient(np.roll(problem.eta, 1, axis=0), problem.y)
    far = problem.loss.gradient(problem.eta + 10.0 * (1.0 + np.abs(problem.eta).max()), problem.y)
    near = problem.loss.gradient(problem.eta - 10.0 * (1.0 + np.abs(problem.eta).max()), problem.y)
    here = problem.loss.gradient(problem.eta, problem.y)
    return any(not is_near(other, here) for other in (moved, far, near))
