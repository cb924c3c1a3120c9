"""Rows of arrays, Datasets and DataLoaders: which of them training has seen, and as what."""

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.validation import refuse_masked
from skinfluence.neural.running import import_torch

REMEDY = "Pass the Dataset, and what the sampler does as sample_weight."


def dataset_of(X):
    """The Dataset that a DataLoader draws from, with its rows and its ``collate_fn``.

    Parameters
    ----------
    X : DataLoader or anything else
        What is no loader is given back.

    Returns
    -------
    dataset : Dataset
        One item per training row: in the order of the sampler if that is always the same, in the
        dataset's own otherwise.

    Raises
    ------
    ValueError
        For samplers that draw rows again, by chance, or other ones each time.
    TypeError
        For an iterable Dataset.
    """
    torch = import_torch()
    data = torch.utils.data
    if not isinstance(X, data.DataLoader):
        return X
    _check_length(X.dataset)
    rows = _rows_of(X)
    dataset = X.dataset
    if X.collate_fn not in (
        data.default_collate,
        data.default_convert,
        data._utils.collate.default_collate,
        data._utils.collate.default_convert,
    ):
        dataset = _collated(X, rows)
    if rows is None:
        return dataset
    return data.Subset(dataset, rows)


def _check_length(dataset):
    iterable = isinstance(dataset, import_torch().utils.data.IterableDataset)
    if iterable or not hasattr(dataset, "__len__"):
        raise TypeError("A Dataset must have a length. Got an iterable one; pass arrays.")


def _rows_of(loader):
    """Rows of a loader's dataset that its sampler draws; None for each of them, in any order."""
    data = import_torch().utils.data
    sampler, batches = loader.sampler, loader.batch_sampler
    n = len(loader.dataset)
    if batches is None or type(batches) is data.BatchSampler:
        sampler = sampler if batches is None else batches.sampler
        drops = batches is not None and batches.drop_last
        if isinstance(sampler, data.WeightedRandomSampler):
            raise ValueError(
                "The sampler draws rows by weights, which the objective must have. Pass the Dataset, "
                "and sample_weight=sampler.weights."
            )
        if type(sampler) is data.RandomSampler:
            if sampler.replacement or sampler.num_samples != n:
                raise ValueError(
                    "The sampler must draw every row once per pass. Got RandomSampler(replacement="
                    f"{sampler.replacement}, num_samples={sampler.num_samples}) of {n} rows. {REMEDY}"
                )
            return None
        if type(sampler) is data.SubsetRandomSampler:
            return _each_once([int(i) for i in sampler.indices], n)
        if type(sampler) is data.SequentialSampler and not drops:
            return None
    return _drawn(loader, n)


def _drawn(loader, n):
    """Rows of a sampler of one's own, which must be the same ones every time."""
    passes = []
    for _ in range(2):
        batches = loader.batch_sampler
        drawn = loader.sampler if batches is None else (i for batch in batches for i in batch)
        rows = list(drawn)
        if not all(isinstance(i, int | np.integer) for i in rows):
            raise ValueError(
                "A sampler must draw positions of rows. Got "
                f"{type(rows[0]).__name__}; pass the rows as a Dataset without batches."
            )
        passes.append([int(i) for i in rows])
    first, second = passes
    if sorted(first) != sorted(second):
        raise ValueError(f"The sampler must draw the same rows every time. Got others. {REMEDY}")
    rows = _each_once(first, n)
    return rows if first == second else sorted(rows)


def _each_once(rows, n):
    if len(set(rows)) < len(rows):
        raise ValueError(
            f"The sampler must draw every row once per pass. Got {len(rows) - len(set(rows))} of "
            f"them again. {REMEDY}"
        )
    if not rows:
        raise ValueError("X must have at least one row. The sampler draws none.")
    return [row % n for row in rows]


def _collated(loader, rows):
    """The items of a dataset as a loader's own ``collate_fn`` makes them, alone in their batch."""
    dataset, collate = loader.dataset, loader.collate_fn
    batched = loader.batch_sampler is not None
    kind = import_torch().utils.data.Dataset

    class Collated(kind):
        def __len__(self):
            return len(dataset)

        def __getitem__(self, i):
            return _only(collate([dataset[i]])) if batched else collate(dataset[i])

    alone = Collated()
    if batched:
        few = list(range(len(dataset)) if rows is None else rows)
        few = few[: min(len(few), loader.batch_size or 8, 16)]
        together = _parts(collate([dataset[i] for i in few]))
        single = [_parts(collate([dataset[i]])) for i in few]
        same = all(len(one) == len(together) for one in single)
        for k in range(len(together) if same else 0):
            ours = [np.asarray(one[k]) for one in single]
            same = same and len({one.shape for one in ours}) == 1
            same = same and np.array_equal(np.concatenate(ours), np.asarray(together[k]))
        if not same:
            raise ValueError(
                "collate_fn must make the same of a row in every batch. Here a row alone becomes "
                "another than in a batch (is it padded to the longest, or augmented?). Pad to one "
                "length, or pass the rows as arrays."
            )
    return alone


def _parts(batch):
    """Inputs and targets of a batch."""
    parts = batch if isinstance(batch, tuple | list) else (batch,)
    if not all(hasattr(part, "shape") for part in parts[:2]):
        raise TypeError(
            "collate_fn must give a tensor of inputs, or a pair of inputs and targets. Got "
            f"{type(batch).__name__} of {', '.join(type(part).__name__ for part in parts)}."
        )
    return parts[:2]


def _only(batch):
    return tuple(part[0] for part in _parts(batch))


def taken(X, y):
    """Training rows and targets: of a Dataset or DataLoader both are read, once.

    Parameters
    ----------
    X : array-like, tensor, Dataset or DataLoader
    y : array-like of shape (n_train,) or None
        None takes the second entries of the items.

    Returns
    -------
    X : array-like of shape (n_train, ...)
    y : array-like of shape (n_train,)
    """
    torch = import_torch()
    dataset = dataset_of(X)
    if not isinstance(dataset, torch.utils.data.Dataset):
        if y is None:
            raise ValueError("y must be given unless X is a Dataset of (input, target) pairs.")
        return X, y
    _check_length(dataset)
    if not len(dataset):
        raise ValueError("X must have at least one row. Got none.")
    first = dataset[0]
    if y is None and (not isinstance(first, tuple | list) or len(first) < 2):
        raise ValueError("The items of the Dataset must be (input, target) pairs, or pass y.")
    check_items(dataset)
    items = [dataset[i] for i in range(len(dataset))]
    inputs = [np.asarray(first_of(item)) for item in items]
    shapes = {one.shape for one in inputs}
    if len(shapes) > 1:
        raise ValueError(
            f"All rows must have one shape. Got {', '.join(map(str, sorted(shapes)[:3]))}; pad them."
        )
    if y is None:
        y = np.array([np.asarray(item[1]) for item in items])
    return np.stack(inputs), y


def check_items(dataset):
    """Refuse a Dataset whose items differ from one reading to the next."""
    for i in range(min(3, len(dataset))):
        one, again = (np.asarray(first_of(dataset[i])) for _ in range(2))
        if one.dtype.kind not in "biuf":
            raise TypeError(
                "The items of a Dataset must begin with one array of numbers. Got "
                f"{type(first_of(dataset[i])).__name__}; pass a module and rows of one input."
            )
        if not np.array_equal(one, again, equal_nan=one.dtype.kind == "f"):
            raise ValueError(
                f"A Dataset must give the same row every time. Item {i} differs from one reading to "
                "the next (is it augmented at random?); pass the rows without it."
            )


def first_of(item):
    """The input of an item, alone or first in a tuple."""
    return item[0] if isinstance(item, tuple | list) else item


class LoadedRows:
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
        X = dataset_of(X)
        self._dataset = isinstance(X, torch.utils.data.Dataset)
        if self._dataset:
            _check_length(X)
            self._X, own = X, None
            if len(X):
                own = np.shape(first_of(X[0]))
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
            X = _checked_array(np.stack([np.asarray(first_of(self._X[int(i)])) for i in rows]))
        else:
            X = self._X[rows]
        return X.reshape(-1, *self.shape)

    def hashable(self):
        """What a cache is keyed by."""
        return self._X


def _checked_array(X):
    torch = import_torch()
    refuse_masked(X=X)
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
