"""A torch module as a scikit-learn transformer: its activations are the features."""

from contextlib import contextmanager

import joblib
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_memory, validate_data

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.progress import progress_bar
from skinfluence.inputs.rows import with_plain_numbers
from skinfluence.neural.loading import LoadedRows
from skinfluence.neural.running import check_rowwise, evaluating, import_torch, placed
from skinfluence.pullbacks import pullback


class TorchFeaturizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features of rows from a trained torch module, for a pipeline with any model behind it.

    The module is used as it is: nothing is trained, it runs in evaluation mode and gets its mode
    back, and it is never moved or converted (another device or precision is a copy).

    Parameters
    ----------
    module : torch.nn.Module
    layer : str, default=None
        Name of the part whose output is taken, as in ``module.named_modules()``; nothing behind
        it is computed. The output of the module when None.
    pooling : {None, "mean", "max"} or callable, default=None
        How an output (n, channels, ...) becomes (n, n_features): over all axes behind the
        channels, or a function of the batched tensor, such as ``lambda t: t[:, 0]`` for the first
        token. None flattens.
    input_shape : tuple, default=None
        Of one row as the module takes it, such as ``(3, 299, 299)``. With it X may hold flattened
        rows, (n, 3 * 299 * 299), as scikit-learn's tools like them; the rows' own shape when None.
    device : str or torch.device, default="auto"
        ``"auto"``: CUDA where there is one, else where the module is.
    batch_size : int, default=64
        Rows that go through the module together, forwards and backwards.
    dtype : {None, "float32", "float64"}, default=None
        Of the computation and of the features; the module's own when None.
    memory : str or joblib.Memory, default=None
        Where features of more rows than a batch are cached, by the weights and structure of the
        module and by the rows; the code of its ``forward`` is not looked at.
    verbose : bool, default=False
        Show a progress bar (needs tqdm).

    Attributes
    ----------
    input_shape_ : tuple
        Of one row as the module takes it.
    n_features_in_ : int
        Values per row.

    Raises
    ------
    ImportError
        At first use, without torch; it names the extra.
    ValueError
        From ``fit``, for a module whose output of a row is random in evaluation mode or depends on
        the other rows of the batch (batch normalisation without running statistics).

    Notes
    -----
    ``influence_pert`` of a pipeline goes through by vector-Jacobian products, a batch of rows at a
    time: one pass forwards, and one backwards for each test point. Integers are converted, not
    scaled: a uint8 picture reaches the module as 0 .. 255.

    Examples
    --------
    >>> import torch                                                        # doctest: +SKIP
    >>> from sklearn.linear_model import LogisticRegression                 # doctest: +SKIP
    >>> from sklearn.pipeline import make_pipeline                          # doctest: +SKIP
    >>> net = torchvision.models.inception_v3(weights="DEFAULT")            # doctest: +SKIP
    >>> features = TorchFeaturizer(net, layer="avgpool")                    # doctest: +SKIP
    >>> model = make_pipeline(features, LogisticRegression()).fit(X, y)     # doctest: +SKIP
    """

    def __init__(
        self,
        module,
        layer=None,
        *,
        pooling=None,
        input_shape=None,
        device="auto",
        batch_size=64,
        dtype=None,
        memory=None,
        verbose=False,
    ):
        self.module = module
        self.layer = layer
        self.pooling = pooling
        self.input_shape = input_shape
        self.device = device
        self.batch_size = batch_size
        self.dtype = dtype
        self.memory = memory
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        # Features have the precision of the module.
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X, y=None):
        """Look at the shape of the rows and try the module on the first few; nothing is learned.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), tensor, torch Dataset or DataLoader
            Of a Dataset the items are inputs or tuples that begin with one.
        y : ignored

        Returns
        -------
        self : TorchFeaturizer
        """
        self._check_names(X, reset=True)
        rows = LoadedRows(with_plain_numbers(X), self.input_shape)
        with self._running() as features:
            first = features.tensor(rows.array(slice(0, min(3, len(rows)))))
            self._n_features_out = check_rowwise(features, first)
            _check_called_once(features, rows)
        self.input_shape_ = rows.shape
        self.n_features_in_ = rows.n_inputs
        return self

    def transform(self, X):
        """Features of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), tensor, torch Dataset or DataLoader

        Returns
        -------
        features : ndarray of shape (n_samples, n_features)
            float64 if computed so, else float32.
        """
        self._check_names(X, reset=False)
        rows = self._rows(X)
        memory = check_memory(self.memory)
        # A batch costs less than finding out whether it has been seen.
        if memory.location is None or len(rows) <= self.batch_size:
            return _features_of(None, self, rows)
        pooling = self.pooling if isinstance(self.pooling, str) else joblib.hash(self.pooling)
        key = (_fingerprint(self.module), self.layer, pooling, rows.shape, str(self.dtype))
        key = (*key, joblib.hash(rows.hashable()))
        return memory.cache(_features_of, ignore=["featurizer", "rows"])(key, self, rows)

    def _rows(self, X):
        return LoadedRows(with_plain_numbers(X), getattr(self, "input_shape_", self.input_shape))

    def _check_names(self, X, reset):
        """Columns of a frame have the names and the order of the fit."""
        if reset:
            vars(self).pop("feature_names_in_", None)
        # A transform without a fit takes rows as they come.
        if hasattr(X, "columns") and (reset or hasattr(self, "n_features_in_")):
            validate_data(self, X, reset=reset, skip_check_array=True)

    @contextmanager
    def _running(self):
        """A :class:`_Features` of the module where it is to run, in evaluation mode."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1. Got {self.batch_size!r} instead.")
        module, device, dtype = placed(self.module, self.device, self.dtype)
        with evaluating(module):
            yield _Features(module, self.layer, self.pooling, device, dtype)

    def _pull_back(self, X, V):
        torch = import_torch()
        rows = self._rows(X)
        out = np.empty((*V.shape[:2], rows.n_inputs))
        with self._running() as features, torch.enable_grad():
            for block in row_blocks(len(rows), 1, self.batch_size):
                x = features.tensor(rows.array(block)).requires_grad_(True)
                found = features(x)
                for j, v in enumerate(V[:, block]):
                    v = torch.as_tensor(np.ascontiguousarray(v)).to(found)
                    (gradient,) = torch.autograd.grad(found, x, v, retain_graph=j + 1 < len(V))
                    out[j, block] = gradient.flatten(1).cpu().numpy()
        return out


class _Reached(Exception):  # noqa: N818  not an error: the layer has been computed
    pass


class _Features:
    """The function from a batch of inputs to features, on one device in one precision."""

    def __init__(self, module, layer, pooling, device, dtype):
        self.module, self.layer, self.device, self.dtype = module, layer, device, dtype
        parts = dict(module.named_modules())
        if layer is not None and layer not in parts:
            shown = [name for name in parts if name]
            raise ValueError(
                f"layer must be the name of a part of the module: one of {', '.join(shown[:20])}"
                f"{', …' if len(shown) > 20 else ''}. Got {layer!r} instead."
            )
        self.part = None if layer is None else parts[layer]
        if not (pooling in (None, "mean", "max") or callable(pooling)):
            raise ValueError(
                f"pooling must be None, 'mean', 'max' or a callable. Got {pooling!r} instead."
            )
        self.pooling = pooling

    def tensor(self, X):
        """Rows as a tensor."""
        return import_torch().as_tensor(np.array(X)).to(device=self.device, dtype=self.dtype)

    def __call__(self, x):
        """From (b, *input_shape) to (b, n_features)."""
        out = self.module(x) if self.part is None else self._output_of_part(x)
        torch = import_torch()
        if not isinstance(out, torch.Tensor):
            raise TypeError(
                f"The output of {self.layer or 'the module'!r} must be a tensor. Got "
                f"{type(out).__name__}; name a layer whose output is one."
            )
        if out.ndim > 2 and isinstance(self.pooling, str):
            out = out.flatten(2)
            out = out.mean(2) if self.pooling == "mean" else out.amax(2)
        elif callable(self.pooling):
            out = self.pooling(out)
        if out.ndim < 1 or len(out) != len(x):
            raise ValueError(
                f"The output must have one line per row, {len(x)}. Got shape {tuple(out.shape)}."
            )
        out = out.flatten(1) if out.ndim > 1 else out[:, None]
        return out if out.dtype == torch.float64 else out.float()

    def _output_of_part(self, x):
        caught = []

        def catch(module, inputs, output):
            caught.append(output)
            raise _Reached

        handle = self.part.register_forward_hook(catch)
        try:
            self.module(x)
        except _Reached:
            pass
        finally:
            handle.remove()
        if not caught:
            raise ValueError(f"The layer {self.layer!r} must run. The module did not come to it.")
        return caught[0]

    def calls(self, x):
        """How often the layer runs in one pass through the module."""
        counted = []
        handle = self.part.register_forward_hook(lambda *_: counted.append(1))
        try:
            self.module(x)
        finally:
            handle.remove()
        return len(counted)


def _features_of(key, featurizer, rows):
    torch = import_torch()
    out = None
    with featurizer._running() as features, torch.no_grad():
        with progress_bar(len(rows), "rows", featurizer.verbose) as advance:
            for block in row_blocks(len(rows), 1, featurizer.batch_size):
                found = features(features.tensor(rows.array(block))).cpu().numpy()
                if out is None:
                    out = np.empty((len(rows), found.shape[1]), found.dtype)
                out[block] = found
                advance(len(found))
    return out


def _check_called_once(features, rows):
    if features.part is None:
        return
    with import_torch().no_grad():
        calls = features.calls(features.tensor(rows.array(slice(0, 1))))
    if calls > 1:
        raise ValueError(
            f"The layer must run once per pass. {features.layer!r} runs {calls} times, so which "
            "output is meant is not known; name another layer."
        )


def _fingerprint(module):
    state = {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
    return joblib.hash((type(module).__qualname__, str(module), state))


@pullback.register
def _featurizer(transformer: TorchFeaturizer, X, V):
    return transformer._pull_back(X, V)
