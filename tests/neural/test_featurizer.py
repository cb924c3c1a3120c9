"""TorchFeaturizer: features of any batch size, modes restored, gradients down to the pixels."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.neural import TorchFeaturizer
from skinfluence.pipeline import pullback
from tests.neural.networks import digit_pictures, flat, nn, small_net, torch
from tests.truth import relative_error

LAYERS = [None, "conv1", "act1", "conv2", "head"]
POOLINGS = {None: None, "mean": "mean", "max": "max", "callable": lambda t: t.flatten(1)[:, :3]}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_features_are_the_activations_of_the_layer(layer, pooling):
    X, _ = digit_pictures(7)
    net = small_net().double()
    found = TorchFeaturizer(net, layer, pooling=POOLINGS[pooling], batch_size=3).fit_transform(X)
    part = net if layer is None else net[: list(dict(net.named_children())).index(layer) + 1]
    with torch.no_grad():
        out = part.eval()(torch.as_tensor(X))
    if pooling in ("mean", "max") and out.ndim == 4:
        out = out.mean((2, 3)) if pooling == "mean" else out.amax((2, 3))
    out = out.flatten(1)
    expected = out[:, :3] if pooling == "callable" else out
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_are_identical_for_any_batch_size(dtype):
    X, _ = digit_pictures(20)
    features = [
        TorchFeaturizer(small_net(), batch_size=size, dtype=dtype).fit_transform(X)
        for size in (1, 3, 20, 1000)
    ]
    assert features[0].dtype == dtype
    for other in features[1:]:
        assert np.abs(other - features[0]).max() <= 1e-6


@pytest.mark.parametrize("training", [False, True])
def test_the_module_keeps_its_modes_precision_and_gradients(training):
    """A module in training mode answers in evaluation mode, and is left as it was."""
    X, _ = digit_pictures(20)
    net = small_net(training=training)
    net.drop.train(not training)
    before = copy.deepcopy(net.state_dict())
    modes = [part.training for part in net.modules()]
    featurizer = TorchFeaturizer(net, dtype="float64")
    features = featurizer.fit_transform(X)
    pullback(featurizer, X, np.ones((2, 20, 6)))
    assert [part.training for part in net.modules()] == modes
    assert all(p.dtype == torch.float32 and p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    np.testing.assert_array_equal(
        features, TorchFeaturizer(net.eval(), dtype="float64").transform(X)
    )


@pytest.mark.parametrize("layer", [None, "act1"])
@pytest.mark.parametrize("flattened", [False, True])
def test_pullback_equals_finite_differences(layer, flattened, rng):
    """To 1e-6, central differences at 1e-5 in float64."""
    X, _ = digit_pictures(4)
    featurizer = TorchFeaturizer(
        small_net(), layer, input_shape=(1, 8, 8), dtype="float64", batch_size=3
    ).fit(X)
    X = flat(X) if flattened else X
    V = rng.standard_normal((3, 4, featurizer.transform(X).shape[1]))
    found = pullback(featurizer, X, V)
    direction = rng.standard_normal(X.shape)
    eps = 1e-5
    up, down = (featurizer.transform(X + sign * eps * direction) for sign in (1, -1))
    expected = np.einsum("mif,if->mi", V, (up - down) / (2 * eps))
    moved = np.einsum("mip,ip->mi", found, flat(direction))
    assert relative_error(moved, expected) <= 1e-6


@pytest.mark.parametrize("flattened", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_influence_reaches_the_pixels(flattened, scaled, rng):
    """Moving a training picture moves the test loss of true refits as influence_pert says."""
    X, y = digit_pictures(30)
    y = np.where(rng.uniform(size=30) < 0.2, 1 - y, y)
    X = flat(X) if flattened else X
    features = TorchFeaturizer(small_net(), input_shape=(1, 8, 8), dtype="float64", batch_size=7)
    model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12)
    pipeline = make_pipeline(features, *([StandardScaler()] if scaled else []), model).fit(X, y)
    found = Influence(pipeline, X, y).influence_pert(X[:3], y[:3], indices=[5, 11])
    assert found.shape == (3, 2, 64)
    direction = rng.standard_normal(X[5].shape)
    eps, losses = 1e-4, []
    for sign in (1, -1):
        moved = X.copy()
        moved[5] += sign * eps * direction
        refit = clone(pipeline).fit(moved, y)
        p = refit.predict_proba(X[:3])
        losses.append(-np.log(p[np.arange(3), y[:3]]))
    expected = (losses[0] - losses[1]) / (2 * eps)
    assert relative_error(found[:, 0] @ direction.ravel() / len(X), expected) <= 1e-5


def test_tensors_datasets_and_loaders_give_the_same_features():
    X, y = digit_pictures(10)
    featurizer = TorchFeaturizer(small_net(), batch_size=4).fit(X)
    expected = featurizer.transform(X)
    tensor = torch.as_tensor(X)
    dataset = torch.utils.data.TensorDataset(tensor, torch.as_tensor(y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, shuffle=True)
    for given in (tensor, dataset, loader, flat(X), tensor.float()):
        np.testing.assert_array_equal(featurizer.transform(given), expected)
    np.testing.assert_array_equal(
        TorchFeaturizer(small_net(), batch_size=4).fit_transform(dataset), expected
    )


def test_scikit_learn_conventions_hold():
    X, y = digit_pictures(12)
    featurizer = TorchFeaturizer(small_net(), "conv2", pooling="mean", input_shape=(1, 8, 8))
    expected = featurizer.fit(flat(X)).transform(flat(X))
    assert featurizer.n_features_in_ == 64
    names = featurizer.get_feature_names_out()
    assert list(names) == [f"torchfeaturizer{i}" for i in range(5)]
    for other in (clone(featurizer).fit(X), pickle.loads(pickle.dumps(featurizer))):
        np.testing.assert_array_equal(other.transform(X), expected)
    assert clone(featurizer).module is not featurizer.module
    model = make_pipeline(featurizer, LogisticRegression()).fit(X, y)
    with_loo = Influence(model, X, y)
    # Nothing was learned from the rows, so nothing is frozen: no warning.
    assert with_loo.loo_predict(method="one-step").shape == (12,)


def test_features_are_cached_by_weights_and_rows(tmp_path):
    X, _ = digit_pictures(6)
    net = small_net()
    calls = []
    net.conv1.register_forward_hook(lambda *_: calls.append(1))
    featurizer = TorchFeaturizer(net, memory=str(tmp_path), batch_size=2).fit(X)
    first = featurizer.transform(X)
    n_calls = len(calls)
    np.testing.assert_array_equal(featurizer.transform(X), first)
    assert len(calls) == n_calls
    featurizer.transform(X[:3])
    assert len(calls) > n_calls
    with torch.no_grad():
        net.head.bias += 1.0
    np.testing.assert_allclose(featurizer.transform(X), first + 1.0, rtol=1e-6)


class _Random(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x.flatten(1), 0.5, training=True)


class _Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = nn.Linear(8, 8)

    def forward(self, x):
        return self.part(self.part(x))


class _Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    "options, data, message",
    [
        ({"module": _Random()}, None, "deterministic"),
        ({"module": nn.BatchNorm2d(1, track_running_stats=False)}, None, "other rows"),
        (
            {"module": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, track_running_stats=False))},
            None,
            "one at a time",
        ),
        ({"module": _Twice(), "layer": "part"}, None, "runs 2 times"),
        ({"layer": "nowhere"}, None, "conv1, norm"),
        ({"pooling": "median"}, None, "'median'"),
        ({"dtype": "int8"}, None, "'int8'"),
        ({"batch_size": 0}, None, "at least 1"),
        ({"input_shape": (3, 8, 8)}, None, "flattened to 192"),
        ({}, np.full((3, 1, 8, 8), np.nan), "finite"),
        ({}, np.empty((0, 1, 8, 8)), "at least one row"),
        ({}, np.ones(5), "at least two-dimensional"),
    ],
)
def test_what_cannot_be_answered_is_refused(options, data, message):
    X = digit_pictures(4)[0] if data is None else data
    with pytest.raises(ValueError, match=message):
        TorchFeaturizer(**{"module": small_net(), **options}).fit(X)


@pytest.mark.parametrize(
    "module, X, message",
    [
        (len, None, "torch.nn.Module"),
        (_Pair(), None, "must be a tensor"),
        (small_net(), np.array([["a", "b"]]), "numbers"),
    ],
)
def test_wrong_kinds_are_refused(module, X, message):
    with pytest.raises(TypeError, match=message):
        TorchFeaturizer(module).fit(digit_pictures(4)[0] if X is None else X)


def test_columns_of_a_frame_keep_their_names_and_order():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.random.default_rng(0).standard_normal((20, 3)), columns=list("abc"))
    features = TorchFeaturizer(nn.Linear(3, 2)).fit(frame)
    expected = features.transform(frame)
    assert features.feature_names_in_.tolist() == ["a", "b", "c"]
    for other in (frame[["c", "b", "a"]], frame.rename(columns={"a": "z"})):
        with pytest.raises(ValueError, match="feature names"):
            features.transform(other)
    np.testing.assert_array_equal(features.transform(frame.to_numpy()), expected)
    for backend in ("pyarrow", "numpy_nullable"):
        nullable = frame.convert_dtypes(dtype_backend=backend)
        again = TorchFeaturizer(features.module).fit(nullable)
        np.testing.assert_array_equal(again.transform(nullable), expected)
    nullable.iloc[0, 0] = pd.NA
    with pytest.raises(ValueError, match="finite"):
        features.transform(nullable)


def test_features_have_the_precision_of_the_module_not_of_the_rows():
    from sklearn.utils import get_tags

    features = TorchFeaturizer(nn.Linear(3, 2))
    assert get_tags(features).transformer_tags.preserves_dtype == []
    assert features.fit(np.zeros((4, 3))).transform(np.zeros((4, 3))).dtype == np.float32
