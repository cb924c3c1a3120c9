"""ModuleInfluence: equal to Influence where the module is linear, to refits where it is not."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from skinfluence import Influence, edits
from skinfluence.losses import SquaredError
from skinfluence.neural import ModuleInfluence, TorchFeaturizer
from skinfluence.neural.curvature import ModuleCurvature
from skinfluence.solvers import CG, LiSSA, SingularHessianError
from tests.neural.networks import (
    digit_pictures,
    flat,
    flat_parameters,
    nn,
    small_mlp,
    small_net,
    torch,
    train,
)
from tests.registries import make_data
from tests.truth import relative_error

DECAY = 0.03
BCE = nn.functional.binary_cross_entropy_with_logits

# Linear modules ---------------------------------------------------------------------------------


def _linear(task, weights):
    """A fitted estimator, the linear module with its parameters, its loss and decay, and data."""
    X, y = make_data(task, 24, 4, seed=0)
    c = 1.0 / (DECAY * weights.sum())
    if task == "regression":
        model = Ridge(alpha=1.0 / c, solver="cholesky").fit(X, y, weights)
        loss, decay = SquaredError(), {"weight": DECAY, "bias": 0.0}
    else:
        y = np.unique(y, return_inverse=True)[1]
        # A free softmax intercept has no unique value: the module has none of its own.
        intercept = task == "binary"
        tight = {"solver": "newton-cholesky", "tol": 1e-14, "max_iter": 1000}
        model = LogisticRegression(C=c, fit_intercept=intercept, **tight).fit(X, y, weights)
        loss = nn.BCEWithLogitsLoss() if intercept else nn.CrossEntropyLoss()
        decay = {"weight": DECAY}
    coef = np.atleast_2d(model.coef_)
    net = nn.Linear(4, len(coef), bias=model.fit_intercept).double()
    with torch.no_grad():
        net.weight[:] = torch.as_tensor(coef)
        if model.fit_intercept:
            net.bias[:] = torch.as_tensor(np.ravel(model.intercept_))
    return model, net, loss, decay, X, y


def _params(inf, X, y, **options):
    found = inf.influence_up_params(**options)
    if found.ndim == 2:
        return found
    # A module has all weights first, then the biases.
    weight, bias = found[:, :, :4], found[:, :, 4:]
    return np.concatenate([part.reshape(len(found), -1) for part in (weight, bias)], axis=1)


def _some_edits(y):
    other = int(y[3] == 0) if y.dtype.kind in "iu" else y[3] + 1.0
    return [
        edits.remove([1, 2, 7]),
        edits.relabel(3, other) + edits.add([0.2, 1.0, -1.0, 0.5], y[0], 0.5),
        edits.replace(5, [0.3, 0.0, 1.0, 2.0]) + edits.reweight(6, 0.25),
    ]


LOCAL = {"influence": {"method": "influence"}, "one-step": {"method": "one-step"}}
QUESTIONS = {
    "up_loss": lambda inf, X, y, **o: inf.influence_up_loss(X, y),
    "up_loss mean": lambda inf, X, y, **o: inf.influence_up_loss(X, y, aggregate="mean"),
    "up_loss rows": lambda inf, X, y, **o: inf.influence_up_loss(X, y, indices=[3, 20]),
    "pert": lambda inf, X, y, **o: inf.influence_pert(X, y, indices=[0, 23]),
    "pert mean": lambda inf, X, y, **o: inf.influence_pert(X, y, aggregate="mean"),
    "self": lambda inf, X, y, **o: inf.self_influence(),
    "removal": lambda inf, X, y, **o: inf.removal_effect(X, y, **o),
    "removal of eta": lambda inf, X, y, **o: inf.removal_effect(X, of="decision_function", **o),
    "removal of a function": lambda inf, X, y, **o: inf.removal_effect(
        X, of=lambda eta: (eta**2).sum(), **o
    ),
    "groups": lambda inf, X, y, **o: inf.removal_effect(X, y, groups=np.arange(24) % 7, **o),
    "effect": lambda inf, X, y, **o: inf.effect(_some_edits(y), X, y, **o).values,
    "leverage": lambda inf, X, y, **o: inf.effect(_some_edits(y), X, y, **o).leverage,
    "loo": lambda inf, X, y, **o: inf.loo_decision_function(**o),
    "loo_predict": lambda inf, X, y, **o: inf.loo_predict(**o),
    "loo_score": lambda inf, X, y, **o: inf.loo_score(**o),
    "top": lambda inf, X, y, **o: inf.top(X, y, 4, **o).harmful_effects,
}
CLASSES_ONLY = {
    "relabel": lambda inf, X, y, **o: inf.relabel_effect(X, y, **o),
    "probabilities": lambda inf, X, y, **o: inf.removal_effect(X, y, of="predict_proba", **o),
    "loo_proba": lambda inf, X, y, **o: inf.loo_predict_proba(**o),
}


@pytest.mark.parametrize("hold, weighted", [("C", False), ("lambda", True)])
@pytest.mark.parametrize("task", ["binary", "softmax", "regression"])
def test_a_linear_module_equals_the_linear_model(task, hold, weighted, rng):
    """To 1e-8: the issue's bar; every question, both local methods."""
    weights = rng.uniform(0.5, 2.0, 24) if weighted else np.ones(24)
    model, net, loss, decay, X, y = _linear(task, weights)
    linear = Influence(model, X, y, weights, hold=hold)
    module = ModuleInfluence(net, loss, X, y, weights, weight_decay=decay, hold=hold)
    assert relative_error(_params(module, X, y), _params(linear, X, y)) <= 1e-8
    questions = QUESTIONS if task == "regression" else QUESTIONS | CLASSES_ONLY
    for name, ask in questions.items():
        for options in LOCAL.values():
            found, expected = (ask(inf, X[:6], y[:6], **options) for inf in (module, linear))
            assert np.shape(found) == np.shape(expected), name
            assert relative_error(found, expected) <= 1e-8, (name, options)


def test_auto_is_one_step_without_a_bound():
    _, net, loss, decay, X, y = _linear("binary", np.ones(24))
    inf = ModuleInfluence(net, loss, X, y, weight_decay=decay)
    one_step = inf.removal_effect(X[:3], y[:3], method="one-step")
    np.testing.assert_array_equal(inf.removal_effect(X[:3], y[:3]), one_step)
    effect = inf.effect(edits.remove(2), X[:3], y[:3])
    assert effect.method_used == "one-step" and effect.bound == np.inf


# Networks ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    """A small network at a minimum of its objective, its loss and data."""
    X, y = make_data("binary", 40, 4, seed=1)
    y = np.unique(y, return_inverse=True)[1].astype(float)
    net = train(small_mlp(), _binary, X, y, DECAY)
    return net, X, y


def _binary(out, y):
    return BCE(out[:, 0], y, reduction="none")


def _full(net, X, y, **options):
    return ModuleInfluence(net, BCE, X, y, weight_decay=DECAY, hessian="full", **options)


@pytest.mark.parametrize("solver", ["exact", CG(rtol=1e-12)], ids=["exact", "cg"])
def test_weight_derivatives_equal_those_of_training_again(trained, solver):
    """Central differences of two trainings to the minimum at eps=1e-4: 1e-6."""
    net, X, y = trained
    inf = _full(net, X, y, solver=solver)
    eps, row, found = 1e-4, 5, []
    for sign in (1, -1):
        weights = np.ones(40)
        weights[row] += sign * eps
        found.append(flat_parameters(train(net, _binary, X, y, DECAY, weights)).numpy())
    expected = (found[0] - found[1]) / (2 * eps)
    assert relative_error(inf.influence_up_params(indices=[row])[0] / 40, expected) <= 1e-6


def test_pert_equals_training_again_on_moved_rows(trained, rng):
    net, X, y = trained
    found = _full(net, X, y).influence_pert(X[:3], y[:3], indices=[7])[:, 0]
    direction, eps, losses = rng.standard_normal(4), 1e-4, []
    for sign in (1, -1):
        moved = X.copy()
        moved[7] += sign * eps * direction
        again = train(net, _binary, moved, y, DECAY)
        with torch.no_grad():
            losses.append(_binary(again(torch.as_tensor(X[:3])), torch.as_tensor(y[:3])).numpy())
    expected = (losses[0] - losses[1]) / (2 * eps)
    assert relative_error(found @ direction / 40, expected) <= 1e-6


@pytest.mark.parametrize("hessian, least", [("full", 0.99), ("gauss-newton", 0.9), ("kfac", 0.6)])
def test_removal_effects_follow_training_again(trained, hessian, least):
    """The nearer the curvature is to the objective's, the closer; Pearson over rows and tests."""
    net, X, y = trained
    inf = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY, hessian=hessian)
    found = inf.removal_effect(X[:10], y[:10], indices=np.arange(0, 40, 4))
    before = _binary(net(torch.as_tensor(X[:10])), torch.as_tensor(y[:10])).detach().numpy()
    truth = []
    for row in range(0, 40, 4):
        kept = np.delete(np.arange(40), row)
        again = train(net, _binary, X[kept], y[kept], DECAY)
        with torch.no_grad():
            after = _binary(again(torch.as_tensor(X[:10])), torch.as_tensor(y[:10])).numpy()
        truth.append(after - before)
    assert np.corrcoef(found.ravel(), np.array(truth).T.ravel())[0, 1] >= least


@pytest.mark.parametrize("hessian", ["gauss-newton", "full"])
def test_products_equal_the_dense_hessian(trained, hessian, rng):
    net, X, y = trained
    inf = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY, hessian=hessian, damping=0.5)
    curvature = inf.answers.factor.curvature
    H, V = curvature.dense(), rng.standard_normal((19, 3))
    np.testing.assert_allclose(curvature @ V, H @ V, rtol=1e-10, atol=1e-10)
    if hessian == "gauss-newton":
        added = 40 * (DECAY + 0.5)
        np.testing.assert_allclose(curvature.diagonal(), np.diag(H), rtol=1e-10)
        assert np.linalg.eigvalsh(H - added * np.eye(19)).min() >= -1e-10


@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_a_hessian_that_is_not_positive_is_refused(solver):
    """Never damped in silence: the smallest Ritz value and the damping that would do are named."""
    X, y = make_data("binary", 40, 4, seed=1)
    y = np.unique(y, return_inverse=True)[1]
    with pytest.raises(SingularHessianError, match=r"is -\d.*damping > "):
        ModuleInfluence(small_mlp(), BCE, X, y, hessian="full", solver=solver)
    with pytest.raises(SingularHessianError, match="damping"):
        # Fewer rows than parameters, no decay.
        ModuleInfluence(small_mlp(), BCE, X[:9], y[:9], solver="exact")


@pytest.mark.parametrize(("precision", "most"), [("float64", 15), ("mixed", 22)])
def test_cg_on_the_full_hessian_is_preconditioned_by_gauss_newton(trained, precision, most):
    """In double, fewer products than one for every parameter, even for 19 of them."""
    net, X, y = trained
    inf = _full(net, X, y, solver=CG(rtol=1e-9, precision=precision))
    B = np.random.default_rng(0).standard_normal((19, 3))
    solution = inf.answers.factor.solution(B)
    assert solution.converged.all() and (solution.residual <= 2e-9).all()
    assert (solution.iterations <= most).all()
    exact = _full(net, X, y, solver="exact").answers.factor.solve(B)
    assert relative_error(solution.X, exact) <= 1e-7


class _KeepsDouble(torch.nn.Module):
    """A constant that follows no conversion."""

    def __init__(self, net):
        super().__init__()
        self.net, self.scale = net, torch.eye(4, dtype=torch.float64)

    def forward(self, x):
        return self.net(x @ self.scale)


@pytest.mark.parametrize("hessian", ["gauss-newton", "full"])
def test_cg_multiplies_in_single_precision_and_answers_in_double(trained, hessian, monkeypatch):
    """Also where the network has constants that single precision refuses: all in double then."""
    net, X, y = trained
    options = {"weight_decay": DECAY, "hessian": hessian}
    exact = ModuleInfluence(net, BCE, X, y, solver="exact", **options)
    used, product = [], ModuleCurvature.product

    def watched(self, V, dtype=np.float64):
        used.append(np.dtype(dtype).itemsize)
        return product(self, V, dtype)

    monkeypatch.setattr(ModuleCurvature, "product", watched)
    inf = ModuleInfluence(net, BCE, X, y, solver="cg", **options)
    expected = exact.influence_up_loss(X[:3], y[:3])
    assert relative_error(inf.influence_up_loss(X[:3], y[:3]), expected) < 1e-7
    assert used.count(4) > used.count(8) > 0
    double = _KeepsDouble(net)
    exact = ModuleInfluence(double, BCE, X, y, solver="exact", **options)
    expected = exact.influence_up_loss(X[:3], y[:3])
    used.clear()
    inf = ModuleInfluence(double, BCE, X, y, solver="cg", **options)
    assert relative_error(inf.influence_up_loss(X[:3], y[:3]), expected) < 1e-7
    assert set(used) == {8}


@pytest.mark.parametrize("hessian", ["gauss-newton", "full"])
def test_a_network_that_writes_to_its_input_leaves_the_rows_alone(hessian, rng):
    """Rows stay where the network is from question to question."""
    X, y = rng.standard_normal((30, 4)), rng.integers(0, 2, 30)
    torch.manual_seed(0)
    net = nn.Sequential(nn.ReLU(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    options = {"weight_decay": 1.0, "hessian": hessian, "solver": "cg"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = ModuleInfluence(net, BCE, X, y, **options).self_influence()
        net[0].inplace = True
        inf = ModuleInfluence(net, BCE, X, y, **options)
    for _ in range(2):
        np.testing.assert_allclose(inf.self_influence(), expected, rtol=1e-6)


def test_blocks_are_as_large_as_what_a_pass_keeps_allows(rng):
    """Not the inputs: they are there once, however many vectors move."""
    X, y = rng.standard_normal((30, 50)), rng.integers(0, 2, 30)
    net = nn.Sequential(nn.Linear(50, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        problem = ModuleInfluence(net, BCE, X, y, weight_decay=1.0).objective
    # What tanh gives, for its own derivative and for the weights after it, and the output.
    assert problem.network.activations(X) == (9, 9)
    assert min(problem.network.activations(X[:1])) >= 9
    assert list(problem.passes(10)) == [slice(0, 30)]


def test_blocks_leave_room_for_parts_that_are_held(rng):
    """They run forward for all rows of a block, though nothing of them is on the way back."""
    X, y = rng.standard_normal((300, 10)), rng.integers(0, 2, 300)
    body = nn.Sequential(nn.Linear(10, 40_000), nn.ReLU(), nn.Linear(40_000, 3), nn.Tanh())
    net = nn.Sequential(body, nn.Linear(3, 1)).double()
    options = {"weight_decay": 1.0, "parameters": "1", "solver": "cg"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        problem = ModuleInfluence(net, BCE, X, y, **options).objective
    moving, every = problem.activations
    assert moving < 10 and every > 80_000
    assert next(iter(problem.passes(1))).stop * every * 8 <= 2**26
    assert next(iter(problem.blocks(3))).stop * every * 8 <= 2**26


@pytest.mark.parametrize("hold", ["C", "lambda"])
@pytest.mark.parametrize("projection", [None, 7])
def test_scores_by_passes_forward_are_those_by_gradients(trained, hold, projection, monkeypatch):
    net, X, y = trained
    options = {"weight_decay": DECAY, "hold": hold, "projection": projection, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        inf = ModuleInfluence(net, BCE, X, y, **options)
    found = []
    for forward in (0, np.inf):
        monkeypatch.setattr("skinfluence.neural.answers.FORWARD", forward)
        found.append(inf.influence_up_loss(X[:3], y[:3], indices=np.arange(5, 30)))
    assert found[0].shape == (3, 25)
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-12 * np.abs(found[0]).max())


# LiSSA --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"batch_size": 8}, {"batch_size": 8, "scale": 2.0}], ids=str)
def test_lissa_on_minibatches_is_the_exact_solution_within_its_standard_error(trained, options):
    net, X, y = trained
    exact = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY)
    solver = LiSSA(depth=200, repeats=4, random_state=0, tol=0.1, **options)
    with pytest.warns(UserWarning, match="LiSSA"):
        inf = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY, solver=solver)
        found = inf.influence_up_loss(X[:4], y[:4])
    for one, other in zip(found, exact.influence_up_loss(X[:4], y[:4]), strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.98
    assert 0 < inf.report().standard_error < 0.5
    B = np.random.default_rng(0).standard_normal((19, 2))
    solution = inf.answers.factor.solution(B)
    # Student's t of four repeats: its root mean square is 1.7.
    standardised = (solution.X - exact.answers.factor.solve(B)) / solution.standard_error
    assert np.sqrt(np.mean(standardised**2)) < 3.0


def test_the_bounds_of_lissa_hold(trained):
    """No row reaches beyond its share, and the scale keeps every step from growing on average."""
    net, X, y = trained
    solver = LiSSA(depth=4, repeats=2, batch_size=5, random_state=0)
    inf = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY, solver=solver)
    factor, problem = inf.answers.factor, inf.objective
    unit = 1.0 / np.sqrt(factor.curvature.diagonal())
    J = unit * problem.network.jacobians(X).numpy()[:, 0]
    rows = problem.hessians * J[:, :, None] * J[:, None, :]
    shares = np.linalg.norm(rows, 2, axis=(1, 2))
    np.testing.assert_allclose(factor._shares(unit**-2), shares, rtol=1e-10)
    H = unit[:, None] * factor.curvature.dense() * unit
    chances, added = shares / shares.sum(), np.diag(40 * DECAY * unit**2)
    single = [row / p + added for row, p in zip(rows, chances, strict=True)]
    second = np.einsum("i,ijk,ikl->jl", chances, single, single)
    second = H @ H + (second - H @ H) / solver.batch_size
    left = np.eye(19) - 2.0 * H / factor.scale + second / factor.scale**2
    assert np.linalg.eigvalsh(np.eye(19) - H / factor.scale - left).min() > -1e-12


def test_steps_of_lissa_that_grow_are_an_error(trained):
    net, X, y = trained
    with pytest.raises(ValueError, match=r"scale=0\.01 is too small"):
        solver = LiSSA(scale=0.01, depth=200, repeats=2)
        ModuleInfluence(net, BCE, X, y, weight_decay=DECAY, solver=solver)


def test_a_network_far_from_a_stationary_point_is_warned_about():
    X, y = make_data("binary", 40, 4, seed=1)
    y = np.unique(y, return_inverse=True)[1]
    with pytest.warns(UserWarning, match="not at a stationary point"):
        ModuleInfluence(small_mlp(), BCE, X, y, weight_decay=1e-3)


# Parameters, projections, layers ------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_damping_that_barely_helps_is_warned_about_by_every_solver(solver):
    """The Newton step there is long, however short it is in the norm of Gauss-Newton."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 4)), rng.integers(0, 3, 60)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    options = {"weight_decay": 1e-2, "hessian": "full"}
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
    steps = torch.optim.Adam(net.parameters(), lr=0.05, weight_decay=1e-2)
    for _ in range(30):
        steps.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        steps.step()
    ample = ModuleInfluence(net, nn.CrossEntropyLoss(), X, y, damping=20.0, **options)
    lowest = np.linalg.eigvalsh(ample.answers.factor.curvature.dense())[0] / 60 - 20.0
    with pytest.warns(ConvergenceWarning, match="stationary"):
        ModuleInfluence(
            net, nn.CrossEntropyLoss(), X, y, damping=-1.002 * lowest, solver=solver, **options
        )


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("p", [4, 5])
def test_the_full_hessian_of_a_linear_module_is_accepted_by_cg(p, n_outputs, rng):
    """It is the Gauss-Newton one: nothing is left for a Lanczos run but round-off."""
    X = rng.standard_normal((50, p))
    y = rng.standard_normal(50) if n_outputs == 1 else rng.integers(0, 3, 50)
    loss = nn.MSELoss() if n_outputs == 1 else nn.CrossEntropyLoss()
    module = nn.Linear(p, n_outputs, bias=False).double()
    options = {"weight_decay": 0.02, "hessian": "full"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        exact = ModuleInfluence(module, loss, X, y, solver="exact", **options)
        cg = ModuleInfluence(module, loss, X, y, solver="cg", **options)
    found, truth = (inf.influence_up_loss(X[:3], y[:3]) for inf in (cg, exact))
    assert relative_error(found, truth) < 1e-6


def test_a_head_equals_the_pipeline_on_its_features(rng):
    """parameters="head" holds the rest: the same as a model on the features before it."""
    X, y = digit_pictures(50)
    y = np.where(rng.uniform(size=50) < 0.2, 1 - y, y)
    body = small_net()[:-1]
    features = TorchFeaturizer(body, dtype="float64")
    c = 1.0 / (DECAY * 50)
    head = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-14)
    pipeline = make_pipeline(features, head).fit(X, y)
    net = nn.Sequential()
    for name, part in body.named_children():
        net.add_module(name, part)
    net.add_module("head", nn.Linear(20, 1))
    net.double()
    with torch.no_grad():
        net.head.weight[:] = torch.as_tensor(head.coef_)
        net.head.bias[:] = torch.as_tensor(head.intercept_)
    inf = ModuleInfluence(net, BCE, X, y, weight_decay={"weight": DECAY}, parameters="head")
    linear = Influence(pipeline, X, y, hold="lambda")
    for ask in (
        lambda one: one.removal_effect(X[:4], y[:4], method="one-step"),
        lambda one: one.influence_pert(X[:2], y[:2], indices=[3]),
        lambda one: one.influence_up_loss(X[:4], y[:4]),
    ):
        assert relative_error(ask(inf), ask(linear)) <= 1e-8


def test_a_projection_to_all_dimensions_changes_nothing(trained):
    net, X, y = trained
    exact = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY)
    same = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY, projection=19, random_state=0)
    for ask in (
        lambda one: one.influence_up_params(),
        lambda one: one.removal_effect(X[:4], y[:4]),
        lambda one: one.influence_pert(X[:2], y[:2]),
    ):
        assert relative_error(ask(same), ask(exact)) <= 1e-10


def test_a_projection_is_the_restriction_to_a_random_subspace(trained):
    """Moves are P z: the gradient and the Hessian are P'G and P'HP, and answers lie in P."""
    net, X, y = trained
    exact = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY)
    small = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY, projection=8, random_state=1)
    network = small.objective.network
    P = network.expand(np.eye(8)).T
    H = exact.answers.factor.curvature.dense()
    np.testing.assert_allclose(small.answers.factor.curvature.dense(), P.T @ H @ P, atol=1e-10)
    np.testing.assert_allclose(
        small.objective.gradient(), P.T @ exact.objective.gradient(), atol=1e-10
    )
    found = small.influence_up_params()
    np.testing.assert_allclose(found, found @ P @ np.linalg.inv(P.T @ P) @ P.T, atol=1e-9)


def test_kronecker_factors_are_exact_where_all_rows_are_one():
    """Then nothing is averaged: each layer's block is that of the Gauss-Newton Hessian."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 4), nn.Tanh(), nn.Flatten(), nn.Linear(3, 2)).double()
    x = np.random.default_rng(0).standard_normal((1, 1, 4, 4))
    X, y = np.repeat(x, 5, axis=0), np.array([0, 1, 1, 0, 1])
    options = {"weight_decay": {"weight": 0.1}, "damping": 0.01}
    with pytest.warns(UserWarning, match="stationary"):
        kfac = ModuleInfluence(net, nn.CrossEntropyLoss(), X, y, hessian="kfac", **options)
        plain = ModuleInfluence(net, nn.CrossEntropyLoss(), X, y, **options)
    factor = kfac.answers.factor
    K, H = factor.curvature @ np.eye(59), plain.answers.factor.curvature.dense()
    np.testing.assert_allclose(K[:51, :51], H[:51, :51], atol=1e-12)
    np.testing.assert_allclose(K[51:, 51:], H[51:, 51:], atol=1e-12)
    assert not K[:51, 51:].any()
    np.testing.assert_allclose(factor.solve(K), np.eye(59), atol=1e-9)


def test_kronecker_factors_of_layers_followed_by_changes_in_place():
    """The same as of the network that keeps what its layers give."""
    torch.manual_seed(0)
    X, y = digit_pictures(30)
    found = []
    for inplace in (False, True):
        parts = nn.Flatten(), nn.Linear(64, 4), nn.ReLU(inplace), nn.Linear(4, 2)
        net = nn.Sequential(*parts).double()
        torch.manual_seed(1)
        for p in net.parameters():
            nn.init.uniform_(p, -0.3, 0.3)
        with pytest.warns(UserWarning, match="stationary"):
            inf = ModuleInfluence(
                net, nn.CrossEntropyLoss(), X, y, hessian="kfac", weight_decay=0.01
            )
        found.append(inf.influence_up_loss(X[:3], y[:3]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10)


def test_edits_without_a_step_are_nan_and_said_so():
    """Kronecker factors average over rows: less curvature than one uncertain row has among sure ones."""
    X, y = np.zeros((6, 4)), np.array([0, 1, 0, 1, 0, 1])
    X[0, 0] = 30.0
    net = nn.Linear(4, 1).double()
    with torch.no_grad():
        net.weight[:], net.bias[:] = torch.tensor([-5.0 / 30.0, 0.0, 0.0, 0.0]), 5.0
    options = {"hessian": "kfac", "damping": 1e-6, "parameters": "weight"}
    with pytest.warns(UserWarning, match="stationary"):
        inf = ModuleInfluence(net, BCE, X, y, **options)
    with pytest.warns(UserWarning, match="method='influence'"):
        found = inf.removal_effect(X[:2], y[:2], indices=[0])
    assert np.isnan(found).all()
    assert np.isfinite(inf.removal_effect(X[:2], y[:2], indices=[0], method="influence")).all()


@pytest.mark.parametrize("method", ["influence", "one-step"])
@pytest.mark.parametrize("hold", ["C", "lambda"])
def test_without_the_only_row_of_weight_nothing_is_left(method, hold):
    """What is held with the mean of the losses has a derivative of zero there, which is no answer."""
    weights = np.zeros(24)
    weights[2] = 2.0
    _, net, loss, decay, X, y = _linear("binary", np.ones(24))
    decay = {**decay, "bias": DECAY}
    inf = ModuleInfluence(net, loss, X, y, weights, weight_decay=decay, hold=hold, damping=1e-6)
    with pytest.warns(UserWarning, match="Row 2 has all the training weight"):
        found = inf.removal_effect(X, of="decision_function", method=method)
    assert np.isnan(found[:, 2]).all()
    assert np.isfinite(np.delete(found, 2, axis=1)).all()


# Losses and inputs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss, n_outputs",
    [
        (nn.CrossEntropyLoss(label_smoothing=0.1), 3),
        (nn.MSELoss(), 1),
        (nn.MSELoss(reduction="sum"), 1),
        (nn.HuberLoss(), 1),
        (lambda out, y: ((out - y) ** 4).mean(), 1),
    ],
    ids=["smoothed", "mse", "mse-sum", "huber", "own"],
)
def test_torch_losses_have_the_derivatives_of_their_values(loss, n_outputs, rng):
    X = rng.standard_normal((5, 3))
    y = rng.integers(0, 3, 5) if n_outputs > 1 else rng.standard_normal(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        module = nn.Linear(3, n_outputs).double()
        ours = ModuleInfluence(module, loss, X, y, weight_decay=1.0).objective.loss
    eta = rng.standard_normal((2, 5, n_outputs))
    eps, value = 1e-5, ours.value(eta, y)
    assert value.shape == (2, 5)
    for k in range(n_outputs):
        up, down = eta.copy(), eta.copy()
        up[..., k] += eps
        down[..., k] -= eps
        slope = (ours.value(up, y) - ours.value(down, y)) / (2 * eps)
        np.testing.assert_allclose(ours.gradient(eta, y)[..., k], slope, atol=1e-8)
        curve = (ours.gradient(up, y) - ours.gradient(down, y)) / (2 * eps)
        np.testing.assert_allclose(ours.hessian(eta, y)[..., k], curve, atol=1e-8)


def test_datasets_loaders_and_flattened_rows_are_the_same_training_set():
    X, y = digit_pictures(20)
    net = nn.Sequential(nn.Conv2d(1, 2, 5), nn.Tanh(), nn.Flatten(), nn.Linear(32, 2)).double()
    dataset = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, shuffle=True)
    options = {"weight_decay": 10.0, "parameters": ["0.bias", "3"]}
    with pytest.warns(UserWarning, match="stationary"):
        answers = [
            ModuleInfluence(net, nn.CrossEntropyLoss(), *given, **options, **more).removal_effect(
                tests, y[:3]
            )
            for given, tests, more in (
                ((X, y), X[:3], {}),
                ((dataset,), X[:3], {}),
                ((loader,), torch.as_tensor(X[:3]), {}),
                ((flat(X), y), flat(X[:3]), {"input_shape": (1, 8, 8)}),
            )
        ]
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], rtol=1e-12)


def test_it_pickles_and_training_on_changes_no_answer(trained):
    net, X, y = trained
    inf = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY)
    before = inf.removal_effect(X[:2], y[:2])
    values = [p.detach().clone() for p in net.parameters()]
    try:
        with torch.no_grad():
            net.head.weight += 1.0
        np.testing.assert_array_equal(inf.removal_effect(X[:2], y[:2]), before)
        loaded = pickle.loads(pickle.dumps(inf))
        np.testing.assert_array_equal(loaded.removal_effect(X[:2], y[:2]), before)
    finally:
        with torch.no_grad():
            for p, value in zip(net.parameters(), values):
                p.copy_(value)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"hessian": "fisher"}, ValueError, "'fisher'"),
        ({"damping": -1.0}, ValueError, "non-negative"),
        ({"weight_decay": -1.0}, ValueError, "non-negative"),
        ({"weight_decay": {"nowhere": 1.0}}, ValueError, "'nowhere'"),
        ({"parameters": "nowhere"}, ValueError, "hidden.weight"),
        ({"projection": 20}, ValueError, "between 1 and the 19"),
        ({"solver": "lu"}, ValueError, "'lu'"),
        ({"solver": "lissa", "hessian": "full"}, ValueError, "curves down"),
        ({"solver": LiSSA(damping=1.0)}, ValueError, "no damping of its own"),
        ({"solver": CG(damping=1.0)}, ValueError, "no damping"),
        ({"solver": "cg", "hessian": "kfac"}, ValueError, "leave solver='auto'"),
        ({"hold": "both"}, ValueError, "'both'"),
        ({"loss": nn.CrossEntropyLoss()}, ValueError, "one output per class"),
        ({"loss": nn.BCEWithLogitsLoss(weight=torch.ones(40))}, ValueError, "sample_weight"),
        ({"loss": "hinge"}, TypeError, "'hinge'"),
        ({"y": np.arange(40) % 3}, ValueError, r"Got \[2\]"),
        ({"y": np.zeros(39)}, ValueError, "same number of rows"),
        ({"y": None}, ValueError, "must be given"),
        ({"X": np.ones((40, 3))}, ValueError, "shapes"),
        ({"X": np.full((40, 4), np.nan)}, ValueError, "finite"),
        ({"module": nn.Flatten()}, ValueError, "must have parameters"),
        ({"sample_weight": np.zeros(40)}, ValueError, "non-zero"),
    ],
)
def test_what_cannot_be_answered_is_refused(trained, change, error, message):
    net, X, y = trained
    given = {"module": net, "loss": BCE, "X": X, "y": y, "weight_decay": DECAY, **change}
    with pytest.raises(error, match=message):
        ModuleInfluence(**given)


@pytest.mark.parametrize(
    "ask, error, message",
    [
        (lambda inf, X, y: inf.removal_effect(X, y, method="exact"), ValueError, "train it again"),
        (lambda inf, X, y: inf.removal_effect(X[:, :3], y), ValueError, r"shape \(4,\)"),
        (lambda inf, X, y: inf.removal_effect(X, y + 5), ValueError, "fitted on"),
        (lambda inf, X, y: inf.influence_up_loss(X, None), ValueError, "needs y"),
        (lambda inf, X, y: inf.effect(edits.remove(99), X, y), IndexError, "below 40"),
    ],
)
def test_questions_that_make_no_sense_are_refused(trained, ask, error, message):
    net, X, y = trained
    inf = ModuleInfluence(net, BCE, X, y, weight_decay=DECAY)
    with pytest.raises(error, match=message):
        ask(inf, X, y)
