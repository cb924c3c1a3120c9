"""Modules that torch.func cannot transform as they are, rows of loaders, and layers of factors."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skinfluence.neural import ModuleInfluence, TorchFeaturizer
from skinfluence.solvers import LiSSA, SingularHessianError
from tests.neural.networks import nn, torch

F, parametrizations = nn.functional, nn.utils.parametrizations
checkpoint = torch.utils.checkpoint.checkpoint
N = 20


class Of(nn.Module):
    """A function of its parts and rows."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.of = forward
        for name, part in parts.items():
            self.add_module(name, part)
        self.double()
        torch.manual_seed(3)
        with torch.no_grad():
            for value in self.parameters():
                value.uniform_(-0.6, 0.6)

    def forward(self, x):
        return self.of(self, x)


def attended(s, x):
    q, k, v = s.inside(x).reshape(-1, 1, 3, 3, 2).unbind(2)
    return s.head(F.scaled_dot_product_attention(q, k, v).flatten(1))


def last_state(s, x):
    return s.head(s.inside(x[..., None])[0][:, -1])


def rnn(kind, **options):
    width = 6 if options.get("bidirectional") else 3
    inside = kind(1, 3, batch_first=True, **options)
    return Of(last_state, inside=inside, head=nn.Linear(width, 3))


def after(layer, width=4):
    return nn.Sequential(layer, nn.Linear(width, 3)).double()


MODULES = {
    "RNN": lambda: rnn(nn.RNN),
    "GRU": lambda: rnn(nn.GRU),
    "LSTM": lambda: rnn(nn.LSTM, num_layers=2, bidirectional=True),
    "LSTMCell": lambda: Of(
        lambda s, x: s.head(s.inside(x)[0]), inside=nn.LSTMCell(5, 3), head=nn.Linear(3, 3)
    ),
    "encoder": lambda: Of(
        lambda s, x: s.head(s.inside(x[:, :4].reshape(-1, 2, 2)).flatten(1)),
        inside=nn.TransformerEncoderLayer(2, 1, 4, dropout=0.0, batch_first=True),
        head=nn.Linear(4, 3),
    ),
    "attention": lambda: Of(attended, inside=nn.Linear(5, 18), head=nn.Linear(6, 3)),
    "PReLU": lambda: nn.Sequential(nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 3)).double(),
    "PReLU of channels": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 2, 2), nn.PReLU(2), nn.Flatten(), nn.Linear(8, 3)
    ).double(),
    "RReLU": lambda: after(nn.Sequential(nn.Linear(5, 4), nn.RReLU())),
    "weight norm": lambda: after(parametrizations.weight_norm(nn.Linear(5, 4))),
    "spectral norm": lambda: after(parametrizations.spectral_norm(nn.Linear(5, 4))),
    "tied": lambda: Of(
        lambda s, x: F.linear(torch.tanh(s.inside(x)), s.inside.weight.T)[:, :3],
        inside=nn.Linear(5, 4),
    ),
    "buffers": lambda: after(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))),
}


def jacobians(module, X):
    """Of every output of every row, by plain autograd."""
    module = module.eval()
    params = [p for p in module.parameters() if p.requires_grad]
    out = module(torch.as_tensor(X)).reshape(len(X), -1)
    rows = [
        torch.cat(
            [
                (torch.zeros_like(p) if g is None else g).flatten()
                for p, g in zip(
                    params, torch.autograd.grad(one, params, retain_graph=True, allow_unused=True)
                )
            ]
        )
        for one in out.flatten()
    ]
    return torch.stack(rows).reshape(*out.shape, -1).numpy(), out.detach().numpy()


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return ModuleInfluence(*args, **options)


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, 5)), rng.integers(0, 3, N)


@pytest.mark.parametrize("solver", ["exact", "cg"])
@pytest.mark.parametrize("name", MODULES)
def test_common_layers_have_the_derivatives_of_plain_autograd(name, solver):
    """Gradients, Gauss-Newton products and influence from Jacobians row by row of torch's autograd."""
    X, y = rows()
    module = MODULES[name]()
    J, out = jacobians(module, X)
    p = np.exp(out) / np.exp(out).sum(1, keepdims=True)
    curved = np.einsum("ik,kl->ikl", p, np.eye(3)) - p[:, :, None] * p[:, None]
    H = np.einsum("ikp,ikl,ilq->pq", J, curved, J) / N + 0.1 * np.eye(J.shape[2])
    G = np.einsum("ikp,ik->ip", J, p - np.eye(3)[y])
    theta = torch.cat([v.detach().flatten() for v in module.parameters()]).numpy()
    expected = -G[:4] @ np.linalg.solve(H, (G + 0.1 * theta).T)
    inf = quiet(module, nn.CrossEntropyLoss(), X, y, weight_decay=0.1, solver=solver)
    np.testing.assert_allclose(
        inf.influence_up_loss(X[:4], y[:4]), expected, atol=1e-6 * np.abs(expected).max()
    )
    # Other ways to the same numbers: one row at a time, edits, inputs.
    np.testing.assert_allclose(inf.objective.network.jacobians(X).numpy(), J, atol=1e-9)
    assert np.isfinite(inf.removal_effect(X[:2], y[:2], indices=[0, 1])).all()
    assert np.isfinite(inf.influence_pert(X[:1], y[:1], indices=[0])).all()


@pytest.mark.parametrize("name", ["GRU", "encoder", "PReLU", "weight norm", "attention"])
def test_the_full_hessian_of_common_layers_is_that_of_differences_of_gradients(name):
    X, y = rows()
    module = MODULES[name]()
    inf = quiet(module, nn.CrossEntropyLoss(), X, y, weight_decay=0.1, hessian="full", damping=50.0)
    params = list(module.parameters())

    def gradient(at):
        torch.nn.utils.vector_to_parameters(at, params)
        value = F.cross_entropy(module.eval()(torch.as_tensor(X)), torch.as_tensor(y))
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, params)]).numpy()

    start = torch.nn.utils.parameters_to_vector(params).detach()
    v = torch.as_tensor(np.random.default_rng(0).standard_normal(len(start)))
    expected = (gradient(start + 1e-5 * v) - gradient(start - 1e-5 * v)) / 2e-5
    torch.nn.utils.vector_to_parameters(start, params)
    found = inf.answers.factor.curvature @ v.numpy() / N - 50.1 * v.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max() + 1e-7)


def test_integer_rows_stay_integers_for_an_embedding():
    """The same as the layers after it, on embedded rows; tokens themselves cannot move."""
    tokens, y = np.random.default_rng(0).integers(0, 7, (N, 4)), rows()[1]
    net = nn.Sequential(nn.Embedding(7, 2), nn.Flatten(), nn.Linear(8, 3)).double()
    held = quiet(net, nn.CrossEntropyLoss(), tokens, y, weight_decay=0.1, parameters="2")
    embedded = net[:2](torch.as_tensor(tokens)).detach().numpy()
    head = quiet(net[2], nn.CrossEntropyLoss(), embedded, y, weight_decay=0.1)
    for solver in ("exact", "cg"):
        every = quiet(net, nn.CrossEntropyLoss(), tokens, y, weight_decay=0.1, solver=solver)
        assert every.objective.n_parameters == 14 + 27
        assert np.isfinite(every.removal_effect(tokens[:3], y[:3])).all()
    np.testing.assert_allclose(
        held.removal_effect(tokens[:3], y[:3]), head.removal_effect(embedded[:3], y[:3])
    )
    with pytest.raises(ValueError, match="tokens"):
        held.influence_pert(tokens[:1], y[:1])
    with pytest.raises(ValueError, match=r"astype\(int\)"):
        quiet(net, nn.CrossEntropyLoss(), tokens.astype(float), y, weight_decay=0.1)


@pytest.mark.parametrize(
    "forward, message",
    [
        (lambda s, x: (s.a(x), x), r"tuple of 2.*\[0\]"),
        (lambda s, x: {"logits": s.a(x)}, "'logits'"),
        (lambda s, x: s.a(x).to(torch.complex128), "real"),
        (lambda s, x: s.a(x).sum()[None], "one line per row"),
        (lambda s, x: checkpoint(s.a, x, use_reentrant=False), "[Cc]heckpoint"),
        (lambda s, x: checkpoint(s.a, x, use_reentrant=True), "setup_context"),
        (lambda s, x: s.a(x).detach(), "not|cannot|differentiate"),
    ],
)
def test_modules_that_cannot_be_asked_about_are_refused_in_words(forward, message):
    X, y = rows()
    with pytest.raises((TypeError, ValueError), match=message):
        quiet(Of(forward, a=nn.Linear(5, 3)), nn.CrossEntropyLoss(), X, y, weight_decay=0.1)


# Kronecker factors ----------------------------------------------------------------------------------


def test_a_layer_that_does_not_run_has_the_decay_alone():
    X, y = rows()
    plain = Of(lambda s, x: s.b(torch.tanh(s.a(x))), a=nn.Linear(5, 4), b=nn.Linear(4, 3))
    plain.add_module("unused", nn.Linear(2, 2).double())
    inf = quiet(plain, nn.CrossEntropyLoss(), X, y, weight_decay=0.1, hessian="kfac")
    params = inf.influence_up_params()
    decay = torch.cat([v.detach().flatten() for v in plain.unused.parameters()]).numpy()
    # Nothing pulls it but its decay: -theta per unit of weight.
    np.testing.assert_allclose(params[:, -6:], np.tile(-decay, (N, 1)), atol=1e-12)


@pytest.mark.parametrize(
    "forward, message",
    [
        (lambda s, x: s.b(s.a(torch.tanh(s.a(x)))), "a runs 2 times"),
        (lambda s, x: s.b(s.a(x.reshape(-1, 1, 5)).reshape(len(x), -1)), None),
        (lambda s, x: s.b(s.a(x[:, None].transpose(0, 1)).transpose(0, 1)[:, 0]), "one row"),
    ],
)
def test_layers_that_are_no_product_of_two_factors_are_refused(forward, message):
    X, y = rows()
    module = Of(forward, a=nn.Linear(5, 5), b=nn.Linear(5, 3))
    if message is None:
        quiet(module, nn.CrossEntropyLoss(), X, y, weight_decay=0.1, hessian="kfac")
        return
    with pytest.raises(ValueError, match=message):
        quiet(module, nn.CrossEntropyLoss(), X, y, weight_decay=0.1, hessian="kfac")


def test_layers_that_share_a_parameter_are_refused_with_factors():
    X, y = rows()
    module = Of(lambda s, x: s.c(s.b(torch.tanh(s.a(x)))), a=nn.Linear(5, 5), b=nn.Linear(5, 5))
    module.add_module("c", nn.Linear(5, 3).double())
    module.b.weight = module.a.weight
    with pytest.raises(ValueError, match=r"a\.weight and b\.weight are one parameter"):
        quiet(module, nn.CrossEntropyLoss(), X, y, weight_decay=0.1, hessian="kfac")


# Solvers --------------------------------------------------------------------------------------------


def test_the_damping_that_a_refusal_names_is_enough():
    """Units that never fire: the smallest eigenvalue is round-off, the damping named is not."""
    X, y = rows()
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        net[0].bias[:3] = -99.0
    loss, y = nn.BCEWithLogitsLoss(), (y > 0).astype(float)
    for solver in ("exact", "cg"):
        with pytest.raises(SingularHessianError, match="positive definite") as refused:
            quiet(net, loss, X, y, solver=solver)
        named = float(str(refused.value).partition("damping > ")[2].split()[0])
        assert named > 1e-12
        found = quiet(net, loss, X, y, solver=solver, damping=named)
        assert np.isfinite(found.influence_up_loss(X[:1], y[:1])).all()


def test_lissa_on_kept_rows_is_lissa_through_the_network(monkeypatch):
    """Two ways of the same steps: Jacobians that are kept, and passes for all repeats at once."""
    X, y = rows()
    net = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    solver = LiSSA(batch_size=4, depth=40, repeats=3, random_state=0, tol=0.5)
    found = []
    for kept in (True, False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inf = ModuleInfluence(net, nn.CrossEntropyLoss(), X, y, weight_decay=0.1, solver=solver)
            if not kept:
                factor = type(inf.answers.factor)
                monkeypatch.setattr(factor, "_by_rows", factor._by_passes)
            found.append(inf.influence_up_loss(X[:2], y[:2]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


# Rows of loaders ------------------------------------------------------------------------------------

data = torch.utils.data


def loaded(**options):
    X, y = rows()
    dataset = data.TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    torch.manual_seed(0)
    net = nn.Linear(5, 3).double()
    loader = data.DataLoader(dataset, **options)
    return quiet(net, nn.CrossEntropyLoss(), loader, weight_decay=0.1).objective, X, y


class Backwards(data.Sampler):
    """Every other row from the end, in an order that is always the same."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n - 1, 0, -2))

    def __len__(self):
        return self.n // 2


LOADERS = {
    "plain": (dict(batch_size=6), range(N)),
    "shuffled": (dict(batch_size=6, shuffle=True), range(N)),
    "shuffled, last dropped": (dict(batch_size=6, shuffle=True, drop_last=True), range(N)),
    "last dropped": (dict(batch_size=6, drop_last=True), range(18)),
    "subset": (dict(sampler=data.SubsetRandomSampler([7, 3, 12])), [7, 3, 12]),
    "own": (dict(batch_size=3, sampler=Backwards(N)), range(N - 1, 0, -2)),
    "own batches": (dict(batch_sampler=[[1, 2], [9, 5, 7]]), [1, 2, 9, 5, 7]),
    "no batches": (dict(batch_size=None), range(N)),
}


@pytest.mark.parametrize("name", LOADERS)
def test_the_rows_of_a_loader_are_those_that_it_draws(name):
    options, expected = LOADERS[name]
    problem, X, y = loaded(**options)
    np.testing.assert_array_equal(problem.design.X, X[list(expected)])
    np.testing.assert_array_equal(problem.y, y[list(expected)])


def test_rows_are_what_collate_fn_makes_of_them():
    def scaled(items):
        return torch.stack([10.0 * x for x, _ in items]), torch.stack([t for _, t in items])

    problem, X, y = loaded(batch_size=7, collate_fn=scaled)
    np.testing.assert_array_equal(problem.design.X, 10.0 * X)
    np.testing.assert_array_equal(problem.y, y)
    features = TorchFeaturizer(nn.Linear(5, 2).double()).fit(X)
    dataset = data.TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    loader = data.DataLoader(dataset, 4, sampler=Backwards(N), collate_fn=scaled)
    np.testing.assert_allclose(
        features.transform(loader), features.transform(10.0 * X[N - 1 : 0 : -2])
    )


def centred(items):
    x = torch.stack([x for x, _ in items])
    return x - x.mean(0), torch.stack([t for _, t in items])


@pytest.mark.parametrize(
    "options, message",
    [
        (
            dict(sampler=data.WeightedRandomSampler(np.ones(N), N)),
            r"sample_weight=sampler\.weights",
        ),
        (dict(sampler=data.RandomSampler(range(N), replacement=True)), "every row once"),
        (dict(sampler=data.RandomSampler(range(N), num_samples=5)), "every row once"),
        (dict(batch_sampler=[[0, 1], [1, 2]]), "again"),
        (dict(collate_fn=centred, batch_size=5), "same of a row in every batch"),
        (dict(collate_fn=lambda items: {"x": items}, batch_size=5), "pair of inputs"),
    ],
)
def test_loaders_whose_rows_are_not_those_of_training_are_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        loaded(**options)


class Augmented(data.Dataset):
    def __len__(self):
        return N

    def __getitem__(self, i):
        return torch.randn(5, dtype=torch.float64), i % 3


def test_a_dataset_that_gives_other_rows_each_time_is_refused():
    with pytest.raises(ValueError, match="augmented"):
        quiet(nn.Linear(5, 3).double(), nn.CrossEntropyLoss(), Augmented(), weight_decay=0.1)


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
def test_masked_rows_are_refused(name):
    X, y = rows()
    given = {"X": X, "y": y, "sample_weight": np.ones(N)}
    given[name] = np.ma.masked_array(given[name], mask=np.zeros(np.shape(given[name])))
    net = nn.Linear(5, 3).double()
    quiet(net, nn.CrossEntropyLoss(), **given, weight_decay=0.1)
    given[name].mask[0] = True
    with pytest.raises(ValueError, match=f"{name} must hold a number everywhere"):
        quiet(net, nn.CrossEntropyLoss(), **given, weight_decay=0.1)
