"""Linear models on rows in a torch tensor answer like rows in numpy."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

from skinfluence import Influence, edits
from skinfluence import linear_model as ours
from skinfluence.blocks import device
from skinfluence.design import design_of
from skinfluence.distributed import fit
from skinfluence.solvers import CG, Exact
from tests.blocks.test_out_of_core import all_answers, bar_of
from tests.neural.networks import torch
from tests.registries import make_data
from tests.truth import relative_error

N, D = 90, 4
MODELS = {
    "binary": ("binary", LogisticRegression(C=0.5)),
    "softmax": ("softmax", LogisticRegression(C=0.5)),
    "no intercept": ("softmax", LogisticRegression(C=0.5, fit_intercept=False)),
    "ridge": ("regression", Ridge()),
    "counts": ("counts", PoissonRegressor(alpha=0.1)),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 20 rows."""
    monkeypatch.setattr(device, "CPU_BLOCK", 8 * D * 20)


def on_device(task, dtype=torch.float64, **shape):
    """A tensor, the same rows in numpy, and targets."""
    X, y = make_data(task, N, D, seed=0, **shape)
    tensor = torch.as_tensor(X, dtype=dtype)
    return tensor, tensor.double().numpy(), y


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("model", MODELS)
def test_every_answer_is_that_of_rows_in_numpy(model, dtype):
    """To 1e-9 in either precision: float32 is how the rows are kept, not how they are multiplied."""
    task, estimator = MODELS[model]
    tensor, X, y = on_device(task, dtype)
    fitted = fit(clone(estimator), tensor, y)
    inf = Influence(fitted, tensor, y)
    assert isinstance(inf.objective.design, device.DeviceDesign)
    expected = all_answers(Influence(fitted, X, y), X[:5], y[:5])
    tests = X if dtype == torch.float64 else tensor
    for question, found in all_answers(inf, tests[:5], y[:5]).items():
        assert relative_error(found, expected[question]) < bar_of(question, 1e-9), question


PRODUCTS = {
    "multiply": lambda design, rng: design.multiply(rng.standard_normal((design.n_columns, 3))),
    "adjoint": lambda design, rng: design.adjoint(rng.standard_normal((N, 3))),
    "grams": lambda design, rng: design.grams(rng.standard_normal((2, N))),
    "grams, float32": lambda design, rng: design.grams(rng.uniform(size=(2, N)), np.float32),
    "quadratics": lambda design, rng: design.quadratics(_symmetric(rng, design.n_columns)),
    "squared norms": lambda design, rng: design.squared_norms(rng.uniform(size=design.n_columns)),
    "squared columns": lambda design, rng: design.squared_columns(rng.uniform(size=(N, 3))),
    "dense rows": lambda design, rng: design.dense_rows(),
    "combine": lambda design, rng: _combined(design, rng),
    "kernel": lambda design, rng: design.kernel(design.take([3, 80]), np.arange(1.0, 7.0)),
    "half a kernel": lambda design, rng: np.triu(design.self_kernel(np.ones(N), np.ones(6))),
    "some rows": lambda design, rng: design.take([80, 3, 3, 50]).multiply(np.eye(design.n_columns)),
    "more rows": lambda design, rng: design.extended(design.take([0])).adjoint(np.ones((N + 1, 1))),
    "new rows": lambda design, rng: design.extended(design.like(np.ones((2, 6)))).dense_rows(),
}


def _symmetric(rng, d):
    A = rng.standard_normal((2, d, d))
    return A + A.transpose(0, 2, 1)


def _combined(design, rng):
    coefficients, S = rng.standard_normal((N, 2)), rng.standard_normal((2, design.n_columns, 3))
    out = np.empty((3, N))
    design.combine(coefficients, S, out)
    return out


@pytest.mark.parametrize("intercept", [0.0, 2.0])
@pytest.mark.parametrize("product", PRODUCTS)
def test_products_are_those_of_numpy(product, intercept, monkeypatch):
    monkeypatch.setattr(device, "TILED", 4)
    X = np.random.default_rng(0).standard_normal((N, 6))
    found, expected = (
        PRODUCTS[product](design_of(rows, intercept), np.random.default_rng(1))
        for rows in (device.device_rows(torch.as_tensor(X)), X)
    )
    tol = 1e-5 if "float32" in product else 1e-12
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=tol, atol=tol)


@pytest.mark.parametrize("task", ["regression", "binary", "softmax"])
@pytest.mark.parametrize(
    ("solver", "tol"),
    [(Exact("dual"), 1e-9), (CG(rtol=1e-13), 1e-9), (CG(rtol=1e-13, precision="mixed"), 1e-9)],
    ids=["dual", "cg", "cg, mixed"],
)
def test_every_solver_will_do(task, solver, tol):
    tensor, X, y = on_device(task, torch.float32)
    fitted = fit(Ridge() if task == "regression" else LogisticRegression(), X, y)
    for ask in (
        lambda one: one.influence_up_loss(X[:5], y[:5]),
        lambda one: one.self_influence(),
        lambda one: one.removal_effect(X[:5], y[:5], method="one-step"),
    ):
        found, expected = (ask(Influence(fitted, rows, y, solver=solver)) for rows in (tensor, X))
        assert relative_error(found, expected) < tol


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_mixed_precision_equals_that_of_numpy_to_float32(dtype):
    tensor, X, y = on_device("softmax", dtype)
    fitted = fit(LogisticRegression(), tensor, y)
    ask = [
        lambda one: one.influence_up_loss(X[:4], y[:4]),
        lambda one: one.self_influence(),
        lambda one: one.removal_effect(X[:4], y[:4]),
        lambda one: one.loo_predict_proba(method="one-step"),
    ]
    mixed = Influence(fitted, tensor, y, precision="mixed")
    exact = Influence(fitted, X, y)
    for question in ask:
        assert relative_error(question(mixed), question(exact)) < 1e-5
    with pytest.raises(ValueError, match="float32_matmul_precision 'high'"):
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            Influence(fitted, tensor, y, precision="mixed")
        finally:
            torch.set_float32_matmul_precision(before)


def test_rows_are_neither_copied_nor_moved(monkeypatch):
    """Beside the rows of an answer, nothing of their size reaches numpy."""
    tensor, X, y = on_device("binary")
    fitted = LogisticRegression().fit(X, y)
    read = []
    plain = device.DevicePart.read
    monkeypatch.setattr(
        device.DevicePart, "read", lambda part: read.append(len(part)) or plain(part)
    )
    inf = Influence(fitted, tensor, y)
    inf.influence_up_loss(tensor[:5], y[:5])
    inf.self_influence()
    inf.influence_pert(tensor[:2], y[:2], indices=[3])
    assert max(read) <= 5
    (part,) = inf.objective.design.X.parts
    assert part.array.data_ptr() == tensor.data_ptr()


def test_new_rows_may_be_tensors():
    tensor, X, y = on_device("binary")
    fitted = fit(LogisticRegression(), X, y)
    on, off = Influence(fitted, tensor, y), Influence(fitted, X, y)
    for x in (2.0 * X[4], 2.0 * tensor[4], 2.0 * tensor[[4]]):
        found = on.effect(edits.add(x, y[3]) + edits.replace(1, x), tensor[:5], y[:5])
        expected = off.effect(
            edits.add(2.0 * X[4], y[3]) + edits.replace(1, 2.0 * X[4]), X[:5], y[:5]
        )
        assert relative_error(found.values, expected.values) < 1e-9
        assert found.method_used == expected.method_used


def test_certificates_hold_for_rows_in_float32():
    """The bounds count with float64, which is what is used."""
    tensor, X, y = on_device("softmax", torch.float32)
    fitted = fit(LogisticRegression(C=100.0), tensor, y)
    inf = Influence(fitted, tensor, y)
    removals = [edits.remove(row) for row in range(0, N, 9)]
    quick = inf.effect(removals, X, y, of="decision_function", tol=1e-6)
    exact = inf.effect(removals, X, y, of="decision_function", method="exact")
    design = inf.objective.design
    sizes = np.sqrt(np.linalg.eigvalsh(inf.answers.factor.leverages(design)).max(axis=1).max())
    # P is at least half of H here: one row of ninety is gone.
    limit = 4.0 * sizes * (quick.bound + exact.bound)
    assert (np.abs(quick.values - exact.values).max(axis=(0, 2)) <= limit).all()


def test_estimators_with_influence_remember_tensors_and_pickle():
    tensor, X, y = on_device("regression")
    model = fit(ours.Ridge(), tensor, y)
    expected = ours.Ridge().fit(X, y).loo_predict()
    assert relative_error(model.loo_predict(), expected) < 1e-9
    inf = Influence(model, tensor, y)
    again = pickle.loads(pickle.dumps(inf))
    assert np.array_equal(again.loo_predict(), inf.loo_predict())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X: X * torch.tensor([1.0, 1.0, torch.nan, 1.0]), ValueError, "contains NaN"),
        (lambda X: X + torch.tensor([0.0, torch.inf, 0.0, 0.0]), ValueError, "contains infinity"),
        (lambda X: X[:, :3], ValueError, "3 features"),
        (lambda X: X[:0], ValueError, "0 sample"),
        (lambda X: X[:-1], ValueError, "same number of rows"),
        (lambda X: X[0], ValueError, "rows and columns"),
        (lambda X: X.long(), TypeError, "of floats. Got torch.int64"),
        (lambda X: X.to_sparse(), TypeError, "dense"),
    ],
)
def test_what_is_wrong_is_refused(change, error, message):
    tensor, X, y = on_device("binary")
    with pytest.raises(error, match=message):
        Influence(LogisticRegression().fit(X, y), change(tensor), y)


def test_other_problems_say_that_they_need_numpy():
    tensor, X, y = on_device("regression")
    with pytest.raises(TypeError, match=r"Pass X.cpu\(\).numpy\(\)"):
        Influence(KernelRidge().fit(X, y), tensor, y)
    with pytest.raises(ValueError, match="LiSSA draws single rows"):
        Influence(Ridge().fit(X, y), tensor, y, solver="lissa")
