"""What is answered about is what training minimised: losses, class weights, rows, parameters.

The truth is torch's own: the user's loss with its own reduction, trained to a gradient of 1e-10 by
Newton's method on torch's Hessian of all parameters.
"""

import warnings
from functools import partial

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skinfluence import edits
from skinfluence.neural import ModuleInfluence
from tests.neural.networks import nn, torch

F = nn.functional
N, DECAY = 36, 0.05


def data(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, 3))
    y = np.argmax(X @ rng.standard_normal((3, 3)) + rng.standard_normal((N, 3)), axis=1)
    return X, y


def double(*parts, seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(*parts).double()
    with torch.no_grad():
        for value in net.parameters():
            value.uniform_(-0.5, 0.5)
    return net


def objective(net, loss, X, y, of=None):
    """The user's own loss and coupled decay, as a function of the flat parameters."""
    names = [name for name, value in net.named_parameters() if value.requires_grad]
    held = dict(net.named_parameters())
    shapes = [held[name].shape for name in names]
    X, y = torch.as_tensor(X), torch.as_tensor(y)

    def outputs(theta, X=X):
        parts = torch.split(theta, [shape.numel() for shape in shapes])
        values = {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
        return torch.func.functional_call(net, values, (X,))

    def value(theta, rows=slice(None)):
        return loss(outputs(theta)[rows], y[rows]) + 0.5 * DECAY * (theta**2).sum()

    start = torch.cat([held[name].detach().flatten() for name in names])
    return value, outputs, start


def minimised(value, theta):
    gradient, hessian = torch.func.grad(value), torch.func.hessian(value)
    for _ in range(300):
        g = gradient(theta)
        if g.abs().max() < 1e-13:
            break
        sizes, vectors = torch.linalg.eigh(hessian(theta))
        step = vectors @ ((vectors.T @ g) / sizes.abs().clamp_min(1e-3))
        scale = 1.0
        while value(theta - scale * step) > value(theta) + 1e-15 and scale > 1e-8:
            scale *= 0.5
        theta = theta - scale * step
    assert gradient(theta).abs().max() < 1e-10
    return theta


def trained(net, loss, X, y):
    value, outputs, start = objective(net, loss, X, y)
    theta = minimised(value, start)
    free = [p for p in net.parameters() if p.requires_grad]
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(theta, free)
    return value, outputs, theta


def asked(net, loss, X, y, **options):
    """Without a warning: the gradient of the objective is that of training, zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        inf = ModuleInfluence(net, loss, X, y, weight_decay=DECAY, **options)
    assert inf.report().relative_gradient < 1e-8
    return inf


def newton_step(value, theta, kept):
    """One step on the objective of the kept rows, as the user's own loss gives it."""

    def without(theta):
        return value(theta, kept)

    return theta - torch.linalg.solve(
        torch.func.hessian(without)(theta), torch.func.grad(without)(theta)
    )


def first_order_step(value, theta, kept, share):
    """The same with the Hessian of all rows; ``share`` is the weight that is kept."""
    H, g = torch.func.hessian(value)(theta), torch.func.grad(lambda t: value(t, kept))(theta)
    return theta - share * torch.linalg.solve(H, g)


def without(row):
    return torch.as_tensor(np.delete(np.arange(N), row))


class Focal(nn.CrossEntropyLoss):
    def forward(self, output, target):
        p = torch.log_softmax(output, 1).gather(1, target[:, None])[:, 0]
        return (-((1.0 - p.exp()) ** 2) * p).mean()


class OnlyPlain(nn.NLLLoss):
    """A subclass that is not its base class."""

    def forward(self, output, target):
        return F.cross_entropy(3.0 * output, target)


WEIGHT = torch.tensor([1.0, 0.3, 2.5], dtype=torch.float64)
OF_CLASSES = {
    "cross-entropy": nn.CrossEntropyLoss(),
    "function": F.cross_entropy,
    "partial": partial(F.cross_entropy, weight=WEIGHT),
    "weights": nn.CrossEntropyLoss(weight=WEIGHT),
    "weights in single precision": nn.CrossEntropyLoss(weight=WEIGHT.float()),
    "weights, summed": nn.CrossEntropyLoss(weight=WEIGHT, reduction="sum"),
    "smoothing": nn.CrossEntropyLoss(label_smoothing=0.2),
    "smoothing and weights": nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.2),
    "ignore": nn.CrossEntropyLoss(ignore_index=1),
    "ignore, smoothed": nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.1),
    "ignore and weights": nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=0),
    "callable": lambda out, y: F.cross_entropy(out, y),
    "callable, summed": lambda out, y: F.cross_entropy(out, y, reduction="sum"),
    "focal": Focal(),
    "subclass": OnlyPlain(),
    "squared margin": nn.MultiMarginLoss(p=2, margin=2.0),
    "squared margin, weights": nn.MultiMarginLoss(p=2, weight=WEIGHT),
}


def squared_margin(loss, out, y):
    weight = torch.ones(3, dtype=out.dtype) if loss.weight is None else loss.weight
    total = 0.0
    for k in range(3):
        over = (loss.margin - out.gather(1, y[:, None])[:, 0] + out[:, k]).clamp_min(0.0)
        total = total + (weight[y] * (y != k) * over**2).sum()
    assert torch.allclose(total / (3 * len(y)), loss(out.detach(), y))
    return total / (3 * len(y))


def in_double(loss):
    return loss.double() if isinstance(loss, nn.Module) else loss


def in_mean(name, loss):
    """The loss in the units of its mean, in which the decay is."""
    if "margin" in name:
        # torch's has no second derivative.
        return partial(squared_margin, loss)
    return (lambda out, y: loss(out, y) / len(y)) if "summed" in name else loss


@pytest.mark.parametrize("name", OF_CLASSES)
def test_one_step_without_a_row_is_that_of_the_loss_of_the_other_rows(name):
    """A linear module: Gauss-Newton is the Hessian, and the step Newton's on the user's own loss."""
    X, y = data()
    net = double(nn.Linear(3, 3))
    value, outputs, theta = trained(net, in_mean(name, in_double(OF_CLASSES[name])), X, y)
    inf = asked(net, OF_CLASSES[name], X, y)
    assert inf.objective.labels is not None or "callable" in name or name == "function"
    found = inf.removal_effect(X, of="decision_function", indices=[0, 5, 11])
    for j, row in enumerate([0, 5, 11]):
        change = outputs(newton_step(value, theta, without(row))) - outputs(theta)
        np.testing.assert_allclose(found[:, j], change.detach().numpy(), atol=1e-9)


@pytest.mark.parametrize("name", ["ignore", "ignore, smoothed", "ignore and weights"])
def test_a_row_that_the_loss_ignores_changes_nothing(name):
    X, y = data()
    net = double(nn.Linear(3, 3))
    trained(net, in_double(OF_CLASSES[name]), X, y)
    inf = asked(net, OF_CLASSES[name], X, y)
    ignored = y == OF_CLASSES[name].ignore_index
    assert ignored.any()
    assert not inf.removal_effect(X[:3], y[:3])[:, ignored].any()
    assert not inf.influence_up_loss(X[:3], y[:3])[:, ignored].any()
    assert not inf.self_influence()[ignored].any()


def test_rows_may_carry_a_label_that_is_none_and_get_one():
    """ignore_index=-100, torch's own: such rows are there, weigh nothing, and can be labelled."""
    X, y = data()
    y[[4, 20]] = -100
    net, loss = double(nn.Linear(3, 3)), nn.CrossEntropyLoss()
    _, outputs, theta = trained(net, loss, X, y)
    inf = asked(net, loss, X, y)
    assert not inf.removal_effect(X[:3], y[:3], indices=[4, 20]).any()
    labelled = y.copy()
    labelled[4] = 2
    after = objective(net, loss, X, labelled)[0]
    expected = outputs(newton_step(after, theta, slice(None))) - outputs(theta)
    found = inf.effect(edits.relabel(4, 2), X, of="decision_function").values
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-9)
    every = inf.relabel_effect(X, of="decision_function", indices=[4, 0])
    np.testing.assert_allclose(every[:, 0, 2], expected.detach().numpy(), atol=1e-9)
    assert not every[:, 1, y[0]].any()
    with pytest.raises(ValueError, match="labels the model was fitted on"):
        inf.removal_effect(X[:5], y[:5])
    # The score is of rows with a label.
    predicted = inf.loo_predict()
    assert inf.loo_score() == pytest.approx(np.mean((predicted == y)[y >= 0]))


def test_relabelling_moves_the_weight_of_the_class():
    X, y = data()
    loss = nn.CrossEntropyLoss(weight=WEIGHT)
    net = double(nn.Linear(3, 3))
    _, outputs, theta = trained(net, loss, X, y)
    labelled = y.copy()
    labelled[7] = (y[7] + 1) % 3
    after = objective(net, loss, X, labelled)[0]
    expected = outputs(newton_step(after, theta, slice(None))) - outputs(theta)
    found = asked(net, loss, X, y).relabel_effect(X, of="decision_function", indices=[7])
    np.testing.assert_allclose(found[:, 0, labelled[7]], expected.detach().numpy(), atol=1e-9)


def test_sample_weights_multiply_those_of_classes():
    X, y = data()
    weights = np.random.default_rng(1).integers(1, 4, N)
    loss = nn.CrossEntropyLoss(weight=WEIGHT)
    net = double(nn.Linear(3, 3))
    rows = np.repeat(np.arange(N), weights)
    value, outputs, theta = trained(net, loss, X[rows], y[rows])
    inf = asked(net, loss, X, y, sample_weight=weights)
    kept = torch.as_tensor(np.flatnonzero(rows != 9))
    expected = outputs(newton_step(value, theta, kept)) - outputs(theta)
    found = inf.removal_effect(X[rows], of="decision_function", indices=[9])[:, 0]
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-9)


OF_TWO = {
    "logits": (nn.BCEWithLogitsLoss(), ()),
    "positive weight": (nn.BCEWithLogitsLoss(pos_weight=torch.tensor(4.0)), ()),
    "positive weight, summed": (
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([4.0]), reduction="sum"),
        (),
    ),
    "weight": (nn.BCEWithLogitsLoss(weight=torch.tensor([0.5])), ()),
    "probabilities": (nn.BCELoss(), (nn.Sigmoid(),)),
    "function of probabilities": (F.binary_cross_entropy, (nn.Sigmoid(),)),
    "callable on probabilities": (lambda p, t: F.binary_cross_entropy(p, t), (nn.Sigmoid(),)),
}


class ByFunction(nn.Module):
    """An activation that is no part of the module."""

    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, x):
        return self.of(x)


OF_TWO["sigmoid as a function"] = (nn.BCELoss(), (ByFunction(torch.sigmoid),))
OF_TWO["clamped"] = (nn.BCELoss(), (nn.Sigmoid(), ByFunction(lambda p: p.clamp(1e-9, 1 - 1e-9))))


def in_rows(loss):
    return lambda out, y: loss(out[:, 0], y.double())


@pytest.mark.parametrize("name", OF_TWO)
def test_one_step_of_two_classes_is_that_of_the_users_own_loss(name):
    """Before the sigmoid the module is linear: Gauss-Newton has to be split there to be right."""
    loss, last = OF_TWO[name]
    X, y = data()
    y = (y > 0).astype(int)
    net = double(nn.Linear(3, 1), *last)
    value, outputs, theta = trained(net, in_rows(in_mean(name, in_double(loss))), X, y)
    inf = asked(net, loss, X, y)
    linear = objective(net[:1], None, X, y)[1]
    found = inf.influence_up_loss(X[:5], y[:5])
    assert np.isfinite(found).all()
    expected, decisions = [], []
    for row in (0, 5, 11):
        after = newton_step(value, theta, without(row))
        decisions.append((linear(after) - linear(theta)).detach().numpy()[:, 0])
        expected.append((outputs(after) - outputs(theta)).detach().numpy()[:, 0])
    found = inf.removal_effect(X, of="decision_function", indices=[0, 5, 11])
    np.testing.assert_allclose(found, np.transpose(expected), atol=1e-8)
    if inf.objective.labels is not None:
        first = inf.removal_effect(X, of="predict_proba", indices=[0, 5, 11])
        p = torch.sigmoid(linear(theta)).detach().numpy()
        after = torch.sigmoid(linear(theta) + torch.as_tensor(decisions[0])[:, None]).detach()
        np.testing.assert_allclose(first[:, 0, 1], (after.numpy() - p)[:, 0], atol=1e-8)
        np.testing.assert_array_equal(inf.loo_predict() >= 0, True)


LAST = {
    "LogSoftmax, NLLLoss": (nn.LogSoftmax(1), nn.NLLLoss()),
    "LogSoftmax, NLLLoss with weights": (nn.LogSoftmax(1), nn.NLLLoss(weight=WEIGHT)),
    "log_softmax, nll_loss": (ByFunction(lambda x: F.log_softmax(x, dim=1)), F.nll_loss),
    "LogSoftmax, callable": (nn.LogSoftmax(1), lambda out, y: F.nll_loss(out, y.long())),
    "by hand": (
        ByFunction(lambda x: x - torch.logsumexp(x, 1, keepdim=True)),
        nn.NLLLoss(ignore_index=1),
    ),
    "Softmax, log": (nn.Softmax(1), lambda p, y: F.nll_loss(torch.log(p), y.long())),
    "softmax, log": (
        ByFunction(lambda x: torch.softmax(x, dim=1)),
        lambda p, y: F.nll_loss(torch.log(p), y.long()),
    ),
    "LogSoftmax, CrossEntropyLoss": (nn.LogSoftmax(1), nn.CrossEntropyLoss()),
}


@pytest.mark.parametrize("name", LAST)
def test_gauss_newton_is_split_before_the_last_activation(name):
    """One model however it is written: the step is Newton's on the user's own loss."""
    last, loss = LAST[name]
    X, y = data()
    net = double(nn.Linear(3, 3), last)
    value, outputs, theta = trained(net, in_double(loss), X, y)
    found = asked(net, loss, X, y).removal_effect(X, of="decision_function", indices=[3])[:, 0]
    expected = outputs(newton_step(value, theta, without(3))) - outputs(theta)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-8)


OF_NUMBERS = {
    "mse": (nn.MSELoss(), ()),
    "mse, summed": (nn.MSELoss(reduction="sum"), ()),
    "huber": (nn.HuberLoss(delta=0.7), ()),
    "whole numbers": (nn.PoissonNLLLoss(log_input=True), ()),
    "counts after a softplus": (nn.PoissonNLLLoss(log_input=False, eps=0.0), (nn.Softplus(),)),
    "counts after exp": (
        lambda mean, y: (mean - y * torch.log(mean)).mean(),
        (ByFunction(torch.exp),),
    ),
    "branches": (lambda out, y: sum(e**2 if e > 0 else 2 * e**2 for e in out - y) / len(y), ()),
    "in columns": (lambda out, y: ((out[:, 0] - y) ** 2).mean(), ()),
}


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_one_step_of_numbers_is_that_of_the_users_own_loss(name):
    loss, last = OF_NUMBERS[name]
    X, y = data()
    y = y if "counts" in name or "whole" in name else y + 0.5 * X[:, 0]
    net = double(nn.Linear(3, 1), *last)
    own = loss if name == "in columns" else in_rows(in_mean(name, loss))
    value, outputs, theta = trained(net, own, X, y)
    found = asked(net, loss, X, y).removal_effect(X, of="decision_function", indices=[2])[:, 0]
    expected = outputs(newton_step(value, theta, without(2))) - outputs(theta)
    np.testing.assert_allclose(found, expected.detach().numpy()[:, 0], atol=1e-8)


SPLIT = {
    "BCEWithLogitsLoss": ((), nn.BCEWithLogitsLoss()),
    "Sigmoid, BCELoss": ((nn.Sigmoid(),), nn.BCELoss()),
}


@pytest.mark.parametrize("name", SPLIT)
def test_gauss_newton_of_probabilities_follows_training_again(name):
    """The same error as with logits, within a tenth of the truth."""
    last, loss = SPLIT[name]
    X, y = data()
    y = (y > 0).astype(int)
    net = double(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1), *last)
    value, _, theta = trained(net, in_rows(loss), X, y)
    inf = asked(net, loss, X, y)
    found = inf.removal_effect(X, of="predict_proba", indices=range(8))[:, :, 1]
    logits = objective(net[:3], None, X, y)[1]
    p = torch.sigmoid(logits(theta))
    truth = []
    for row in range(8):
        again = minimised(lambda t, row=row: value(t, without(row)), theta)
        truth.append((torch.sigmoid(logits(again)) - p).detach().numpy()[:, 0])
    truth = np.transpose(truth)
    assert np.linalg.norm(found - truth) < 0.35 * np.linalg.norm(truth)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.95


REFUSED = {
    "class weights inside": (
        lambda out, y: F.cross_entropy(out, y, weight=WEIGHT),
        "Class weights",
    ),
    "ignored inside": (lambda out, y: F.cross_entropy(out, y, ignore_index=0), "ignore_index"),
    "a statistic of the batch": (
        lambda out, y: F.cross_entropy(out - out.mean(0), y),
        "statistic of the batch",
    ),
    "a detached statistic": (
        lambda out, y: F.cross_entropy(out, y) * (out.std() / out.std().detach()),
        "gradient of the loss of a batch",
    ),
    "a product": (lambda out, y: F.cross_entropy(out, y) * len(y) ** 2, "mean or the sum"),
    "random": (lambda out, y: F.cross_entropy(out + torch.randn_like(out), y), "randomness"),
    "no tensor": (lambda out, y: 1.0, "must take the outputs"),
    "a straight line": (lambda out, y: F.nll_loss(out, y), "LogSoftmax"),
    "absolute": (lambda out, y: (out.sum(1) - y).abs().mean(), "kinks"),
    "L1Loss": (nn.L1Loss(), "HuberLoss"),
    "MultiMarginLoss": (nn.MultiMarginLoss(), "piecewise linear"),
    "no loss": (nn.CrossEntropyLoss, "callable"),
    "weights of other classes": (nn.CrossEntropyLoss(weight=torch.ones(4)), "per class"),
    "NLLLoss of scores": (nn.NLLLoss(), "LogSoftmax"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_loss_that_is_not_made_of_those_of_rows_is_refused(name):
    loss, message = REFUSED[name]
    X, y = data()
    with pytest.raises((ValueError, TypeError), match=message):
        ModuleInfluence(double(nn.Linear(3, 3)), loss, X, y, weight_decay=DECAY)


@pytest.mark.parametrize("loss", [nn.L1Loss(), lambda out, y: (out - y).abs().mean()])
def test_kinks_are_refused_with_the_full_hessian_too(loss):
    X, _ = data()
    net = double(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
    with pytest.raises(ValueError, match="piecewise linear"):
        ModuleInfluence(net, loss, X, X[:, 0], weight_decay=DECAY, hessian="full", damping=9.0)


# Parameters ---------------------------------------------------------------------------------------


def test_parameters_that_were_not_trained_stay():
    """requires_grad=False: the same as naming the others; a name of held ones alone is refused."""
    X, y = data()
    net = double(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    for value in net[0].parameters():
        value.requires_grad_(False)
    value, outputs, theta = trained(net, nn.CrossEntropyLoss(), X, y)
    inf = asked(net, nn.CrossEntropyLoss(), X, y)
    assert inf.objective.network.names == ["2.weight", "2.bias"]
    assert not net[0].weight.requires_grad and net[2].weight.requires_grad
    expected = outputs(newton_step(value, theta, without(1))) - outputs(theta)
    found = inf.removal_effect(X, of="decision_function", indices=[1])[:, 0]
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-9)
    with pytest.raises(ValueError, match="requires_grad"):
        ModuleInfluence(net, nn.CrossEntropyLoss(), X, y, parameters="0")
    with pytest.raises(ValueError, match="all of the module's"):
        ModuleInfluence(net.requires_grad_(False), nn.CrossEntropyLoss(), X, y)


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3, 3, dtype=torch.complex128))

    def forward(self, x):
        return (x.to(torch.complex128) @ self.w).abs()


class Forgets(nn.Module):
    """A copy of its own parameter: moving the parameter moves nothing."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3).double()
        self.kept = [self.a.weight]

    def forward(self, x):
        return self.a(x) + x @ self.kept[0].T


@pytest.mark.parametrize("module, message", [(Complex, "must be real"), (Forgets, "of training")])
def test_parameters_of_which_a_part_would_be_lost_are_refused(module, message):
    X, y = data()
    with pytest.raises((ValueError, TypeError), match=message):
        ModuleInfluence(module(), nn.CrossEntropyLoss(), X, y, weight_decay=DECAY)


def test_rows_in_large_units_that_cancel_at_the_optimum_are_no_other_loss():
    """What rounding leaves of their gradients is of the size of the rows, and not of the sum."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 2)) * [1e7, 1.0]
    y = X @ [3e-2, 2.0] + rng.standard_normal(20)

    def solved(rows):
        Z = np.column_stack([X[rows], np.ones(len(rows))])
        return np.linalg.lstsq(Z / [1e7, 1, 1], y[rows], rcond=None)[0] / [1e7, 1, 1]

    theta, module = solved(np.arange(20)), double(nn.Linear(2, 1))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor(theta[:2])[None])
        module[0].bias.copy_(torch.tensor(theta[2:]))
    found = ModuleInfluence(module, nn.MSELoss(), X, y).removal_effect(
        X, of="decision_function", method="one-step", indices=[4]
    )
    # One step of squared error is the refit.
    change = solved(np.delete(np.arange(20), 4)) - theta
    truth = X @ change[:2] + change[2]
    np.testing.assert_allclose(found[:, 0], truth, rtol=1e-6, atol=1e-6 * np.abs(truth).max())
