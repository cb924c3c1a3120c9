"""Running torch modules: where, in which precision and mode, and on which rows.

Nothing here knows of influence. torch is imported inside the functions.
"""

import copy
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp

from skinfluence._utils._optional import require


def import_torch():
    """The torch package, or the extra that installs it."""
    return require("torch", extra="torch")


def check_module(module):
    """Refuse what is not a torch module, or is spread over several devices."""
    torch = import_torch()
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module. Got {type(module).__name__} instead.")
    devices = {str(value.device) for value in _values(module)}
    if len(devices) > 1:
        raise ValueError(
            f"The module must be on one device. Got {', '.join(sorted(devices))}; move it with "
            "module.to(device)."
        )


def _values(module):
    yield from module.parameters()
    yield from module.buffers()


def placed(module, device="auto", dtype=None):
    """The module on a device and in a precision: itself where it is so already, else a copy.

    Parameters
    ----------
    module : torch.nn.Module
    device : str or torch.device, default="auto"
        ``"auto"``: CUDA where there is one, else where the module is.
    dtype : {None, "float32", "float64"} or torch.dtype, default=None
        The module's own when None.

    Returns
    -------
    module : torch.nn.Module
        The caller's module is never moved or converted.
    device : torch.device
    dtype : torch.dtype
    """
    torch = import_torch()
    check_module(module)
    first = next(_values(module), None)
    own_device = torch.device("cpu") if first is None else first.device
    if isinstance(device, str) and device == "auto":
        device = "cuda" if torch.cuda.is_available() else own_device
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    floating = [value.dtype for value in _values(module) if value.is_floating_point()]
    own_dtype = floating[0] if floating else torch.get_default_dtype()
    dtype = own_dtype if dtype is None else _torch_dtype(dtype)
    if own_device != device or any(one != dtype for one in floating):
        module = copy.deepcopy(module).to(device=device, dtype=dtype)
    return module, device, dtype


def _torch_dtype(dtype):
    torch = import_torch()
    known = {"float32": torch.float32, "float64": torch.float64}
    found = known.get(dtype, dtype) if isinstance(dtype, str) else dtype
    if found not in known.values():
        raise ValueError(f"dtype must be None, 'float32' or 'float64'. Got {dtype!r} instead.")
    return found


@contextmanager
def evaluating(module):
    """Evaluation mode inside; after it every part of the module has its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield module
    finally:
        for part, mode in modes:
            part.training = mode


def check_rowwise(function, x):
    """The number of outputs per row; refuse a function that is random or mixes the rows of a batch.

    Parameters
    ----------
    function : callable
        From a batch of rows to (b, n_outputs).
    x : tensor of shape (b, ...)
        A few rows.
    """
    torch = import_torch()
    with torch.no_grad():
        together, again = function(x), function(x)
        try:
            alone = torch.cat([function(one[None]) for one in x])
        except ValueError as error:
            # Batch normalisation by the batch's own statistics refuses a batch of one.
            raise ValueError(
                f"The module must take rows one at a time. It refused a batch of one: {error}"
            ) from error
    near = 1e-3 if together.dtype == torch.float32 else 1e-8
    scale = together.abs().max() + torch.finfo(together.dtype).tiny
    if not bool(((together - again).abs() <= near * scale).all()):
        raise ValueError(
            "The module must be deterministic in evaluation mode. Two passes over the same rows "
            "differ; is dropout applied as a function without training=self.training?"
        )
    if not bool(((together - alone).abs() <= near * scale).all()):
        raise ValueError(
            "The output for a row must not depend on the other rows of its batch. It does here; "
            "does a batch normalisation lack running statistics?"
        )
    return together.shape[1]


class Rows:
    """Inputs of a module, one per row: an array, a tensor or a map-style Dataset.

    Parameters
    ----------
    X : array-like of shape (n_rows, ...), tensor, torch Dataset or DataLoader
        Of a Dataset the items are inputs or tuples that begin with one; of a DataLoader its
        dataset is read, in its own order.
    shape : tuple, default=None
        Of one row as the module takes it. Flattened rows are brought into this shape; the rows'
        own shape when None.

    Attributes
    ----------
    shape : tuple
    """

    def __init__(self, X, shape=None):
        torch = import_torch()
        if isinstance(X, torch.utils.data.DataLoader):
            X = X.dataset
        self._dataset = isinstance(X, torch.utils.data.Dataset)
        if self._dataset:
            if not hasattr(X, "__len__"):
                raise TypeError("A Dataset must have a length. Got an iterable one.")
            self._X, own = X, None
            if len(X):
                own = np.shape(_first(X[0]))
        else:
            self._X = _checked_array(X)
            own = self._X.shape[1:]
        if not len(self._X):
            raise ValueError("X must have at least one row. Got none.")
        self.shape = tuple(own if shape is None else shape)
        if own != self.shape and own != (int(np.prod(self.shape)),):
            raise ValueError(
                f"Rows must have shape {self.shape}, or be flattened to "
                f"{int(np.prod(self.shape))} values. Got rows of shape {tuple(own)}."
            )

    def __len__(self):
        return len(self._X)

    @property
    def n_inputs(self):
        """Values per row."""
        return int(np.prod(self.shape))

    def array(self, rows):
        """Some rows (a slice or indices), shape (n_rows, *shape)."""
        if self._dataset:
            if isinstance(rows, slice):
                rows = range(*rows.indices(len(self)))
            X = _checked_array(np.stack([np.asarray(_first(self._X[int(i)])) for i in rows]))
        else:
            X = self._X[rows]
        return X.reshape(-1, *self.shape)

    def hashable(self):
        """What a cache is keyed by."""
        return self._X


def _first(item):
    return item[0] if isinstance(item, tuple | list) else item


def _checked_array(X):
    torch = import_torch()
    if sp.issparse(X):
        raise TypeError("A module needs dense inputs. Got a sparse matrix; pass X.toarray().")
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu().numpy()
    X = np.asarray(X)
    if X.ndim < 2:
        raise ValueError(
            f"X must have one row per sample, at least two-dimensional. Got shape {X.shape}. "
            "Reshape one sample with X[None]."
        )
    if X.dtype.kind not in "biuf":
        raise TypeError(f"X must hold numbers. Got dtype {X.dtype}.")
    # A sum is NaN or infinite where an entry is, and needs no copy.
    if X.dtype.kind == "f" and not np.isfinite(X.sum()) and not np.isfinite(X).all():
        raise ValueError("X must be finite. It holds NaN or infinite values.")
    return X
