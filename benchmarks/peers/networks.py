"""The same models as torch modules: a linear one with the weights of a fit, and the paper's CNN."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.cnn import DECAY, network
from benchmarks.data import load_mnist

# The paper's; more where the network is not at a minimum.
DAMPINGS = (1e-2, 3e-2, 1e-1, 3e-1, 1.0)


class Rows(Dataset):
    """Rows that a DataLoader takes by batches, without going through them one by one."""

    def __init__(self, *tensors):
        self.tensors = tensors

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, row):
        return tuple(tensor[row] for tensor in self.tensors)

    def __getitems__(self, rows):
        if rows == list(range(rows[0], rows[0] + len(rows))):
            rows = slice(rows[0], rows[0] + len(rows))
        return tuple(tensor[rows] for tensor in self.tensors)


def as_is(batch):
    """Collate what is a batch already; a list, as DataLoaders give."""
    return list(batch)


def loader(*tensors, batch_size=None):
    """A DataLoader of batches; all rows at once by default."""
    rows = Rows(*tensors)
    return DataLoader(rows, batch_size=batch_size or len(rows), collate_fn=as_is)


def model_of(problem):
    """The problem's model, its loss (a mean over rows), and tensors X, y, X_test, y_test."""
    X, X_test = (_tensor(one) for one in (problem.X, problem.X_test))
    y, y_test = torch.from_numpy(problem.y), torch.from_numpy(problem.y_test)
    if problem.kind == "cnn":
        model = network()
        nn.utils.vector_to_parameters(torch.from_numpy(problem.theta), model.parameters())
        return model.eval(), nn.functional.cross_entropy, (X, y, X_test, y_test)
    K, d = problem.theta.shape
    model = nn.Linear(d, K, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(problem.theta))
    if problem.kind == "softmax":
        return model.eval(), nn.functional.cross_entropy, (X, y, X_test, y_test)
    y, y_test = y.double()[:, None], y_test.double()[:, None]
    return model.eval(), nn.functional.binary_cross_entropy_with_logits, (X, y, X_test, y_test)


def _tensor(X):
    """Rows as a dense tensor: none of the torch packages takes sparse ones."""
    return torch.from_numpy(X.toarray() if hasattr(X, "toarray") else X)


def added(problem):
    """What is added to the diagonal of the Hessian of the mean loss."""
    return problem.l2 / len(problem.y)


def _hessian_products(model, X, y):
    """Products of the full Hessian of the mean loss with one vector, by batches of rows."""
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    sizes = [p.numel() for p in model.parameters()]
    theta = nn.utils.parameters_to_vector(model.parameters()).detach()

    def mean_loss(flat):
        parts = [p.view(s) for p, s in zip(flat.split(sizes), shapes, strict=True)]
        out = torch.func.functional_call(model, dict(zip(names, parts, strict=True)), X)
        return nn.functional.cross_entropy(out, y)

    gradient = torch.func.grad(mean_loss)
    return theta, gradient, lambda v: torch.func.jvp(gradient, (theta,), (v,))[1]


def trained_cnn(n, m, quick):
    """The network after Adam and L-BFGS on n pictures, and true scores of the m hardest tests."""
    X, y, X_test, y_test = load_mnist()
    X, X_test = (a.reshape(-1, 1, 28, 28) for a in (X, X_test))
    chosen = np.arange(5_000, len(X))[:: 55_000 // n][:n]
    X, y = X[chosen], y[chosen].astype(np.int64)
    X_test, y_test = X_test[:500], y_test[:500].astype(np.int64)
    model, inputs, labels = network(), torch.from_numpy(X), torch.from_numpy(y)
    parameters = list(model.parameters())

    def objective(rows=slice(None)):
        loss = nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
        return loss + 0.5 * DECAY * sum((p**2).sum() for p in parameters)

    adam = torch.optim.Adam(parameters, lr=3e-3)
    for _ in range(20 if quick else 40):
        for rows in torch.randperm(n).split(50):
            adam.zero_grad()
            objective(rows).backward()
            adam.step()
    steps = torch.optim.LBFGS(
        parameters, max_iter=20 if quick else 60, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure():
        steps.zero_grad()
        value = objective()
        value.backward()
        return value

    steps.step(closure)
    with torch.no_grad():
        losses = nn.functional.cross_entropy(
            model(torch.from_numpy(X_test)), torch.from_numpy(y_test), reduction="none"
        )
    hardest = np.sort(np.argsort(-losses.numpy())[:m])
    theta = nn.utils.parameters_to_vector(parameters).detach().numpy()
    problem = SimpleNamespace(kind="cnn", X=X, y=y, theta=theta)
    problem.X_test, problem.y_test = X_test[hardest], y_test[hardest]
    for damping in DAMPINGS:
        problem.l2 = (DECAY + damping) * n
        try:
            problem.truth = _cnn_scores(problem, model)
        except np.linalg.LinAlgError:
            continue
        problem.damping = damping
        return problem
    raise RuntimeError("The network is too far from a minimum.")


def _cnn_scores(problem, model):
    """-g_t' (H + damping)^-1 g_i by conjugate gradients to 1e-8 on products of torch.func."""
    _, _, (X, y, X_test, y_test) = model_of(problem)
    theta, _, product = _hessian_products(model, X, y)
    shift = added(problem)
    out = np.empty((len(y_test), len(y)))
    for t in range(len(y_test)):
        _, gradient, _ = _hessian_products(model, X_test[[t]], y_test[[t]])
        solved = _solve(lambda v: product(v) + shift * v, gradient(theta))
        # The derivative of every row's loss along the solution.
        out[t] = -_along(model, X, y, solved).numpy()
    return out


def _along(model, X, y, v):
    names, shapes, sizes = zip(
        *((name, p.shape, p.numel()) for name, p in model.named_parameters()), strict=True
    )
    theta = nn.utils.parameters_to_vector(model.parameters()).detach()

    def losses(flat):
        parts = [p.view(s) for p, s in zip(flat.split(sizes), shapes, strict=True)]
        out = torch.func.functional_call(model, dict(zip(names, parts, strict=True)), X)
        return nn.functional.cross_entropy(out, y, reduction="none")

    return torch.func.jvp(losses, (theta,), (v,))[1]


def _solve(product, b, rtol=1e-8):
    x, r = torch.zeros_like(b), b.clone()
    p, size = r.clone(), r @ r
    target = rtol**2 * size
    for _ in range(5_000):
        Ap = product(p)
        curvature = p @ Ap
        if curvature <= 0:
            raise np.linalg.LinAlgError("The damped Hessian is not positive definite.")
        step = size / curvature
        x, r = x + step * p, r - step * Ap
        size, before = r @ r, size
        if size <= target:
            return x
        p = r + size / before * p
    raise RuntimeError("The reference's conjugate gradients did not converge.")
