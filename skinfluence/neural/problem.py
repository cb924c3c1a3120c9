"""The fitted problem of a module: rows, loss, weights, decay; what an Objective is to a linear model.

    Phi = sum_i w_i l(eta_i, y_i) + 1/2 W theta' diag(decay) theta,      W = sum_i w_i

which is W times the mean loss with weight decay.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.rows import index_of
from skinfluence.losses import Loss
from skinfluence.neural.loading import LoadedRows
from skinfluence.neural.network import Network
from skinfluence.objective import Differentiable, Labels, resolve_hold


class ModuleRows:
    """Rows as a module takes them, (n_rows, ...); they are never multiplied, only run through."""

    def __init__(self, X):
        self.X = X
        self._placed = {}

    def __getstate__(self):
        return {"X": self.X, "_placed": {}}

    def inputs(self, rows, network):
        """Some rows as a tensor where a network is; all of them stay there if they are few."""
        if self.X.size * network.itemsize > network.budget:
            return network.rows(self.X[rows])
        if network.itemsize not in self._placed:
            self._placed[network.itemsize] = network.rows(self.X)
        return self._placed[network.itemsize][rows]

    @property
    def n_samples(self):
        """Number of rows."""
        return len(self.X)

    @property
    def n_features(self):
        """Values per row."""
        return int(np.prod(self.X.shape[1:]))

    def take(self, rows):
        """Some of the rows."""
        return ModuleRows(self.X[rows])

    def like(self, X):
        """Other rows of the same kind."""
        return ModuleRows(X)


class ModuleInputs:
    """The way from what the user passes to rows of the module; what Inputs is to pipelines.

    Parameters
    ----------
    X : array-like of shape (n_rows, ...), tensor, Dataset or DataLoader
    input_shape : tuple or None
        Of one row as the module takes it.
    """

    # Nothing is fitted on the way, and no function of the user's looks at rows.
    steps, has_functions = (), False

    def __init__(self, X, input_shape=None):
        rows = LoadedRows(X, input_shape)
        self.shape = rows.shape
        self.labels = index_of(X)
        self.training_rows = ModuleRows(rows.array(slice(0, len(rows))))

    @property
    def n_raw_features(self):
        """Values per row."""
        return int(np.prod(self.shape))

    def transform(self, X):
        """Validated rows, (n_rows, *shape)."""
        rows = LoadedRows(X, self.shape)
        return rows.array(slice(0, len(rows)))

    def transform_row(self, x):
        """One row, as the module takes it or flattened, as (1, *shape)."""
        return self.transform(np.reshape(np.asarray(x), (1, -1)))

    def pull_back(self, rows, V):
        """Gradients are taken in the raw inputs: nothing is left to do."""
        return V


@dataclass(frozen=True, eq=False)
class ModuleProblem(Differentiable):
    """Network, loss, rows, weights and decay at the trained parameters.

    Parameters
    ----------
    network : Network
    loss : Loss
    design : ModuleRows
    y : ndarray of shape (n_samples,)
        As the loss wants it.
    weights : ndarray of shape (n_samples,)
        With those of the classes; 0 for rows that the loss leaves out.
    sample_weight : ndarray of shape (n_samples,)
        Before those of the classes.
    decay : ndarray of shape (n_chosen,)
        Weight decay of each chosen parameter, in units of the mean loss.
    damping : float
        Added to the Hessian of the mean loss, not to the objective.
    hessian : {"gauss-newton", "full", "kfac"}
    hold : {"C", "lambda"}
        What an edit keeps: ``W decay`` or ``decay``.
    labels : Labels or None
    counted : ndarray of bool of shape (n_samples,), default=None
        Rows that the loss does not leave out; all when None.
    """

    network: Network
    loss: Loss
    design: ModuleRows
    y: np.ndarray
    weights: np.ndarray
    sample_weight: np.ndarray
    decay: np.ndarray
    damping: float
    hessian: str
    hold: str = "lambda"
    labels: Labels | None = None
    counted: np.ndarray | None = None

    model_name = "a torch module"

    @property
    def n_parameters(self):
        """Free coordinates."""
        return self.network.n_parameters

    @cached_property
    def eta(self):
        """Decision values of the training rows, shape (n_samples, n_outputs)."""
        return self.network.outputs(self.design.X)

    @cached_property
    def gradients(self):
        """``dl/d eta``, without weights, shape (n_samples, n_outputs)."""
        return self._of_counted(self.loss.gradient(self.eta, self.y))

    @cached_property
    def hessians(self):
        """``Lambda_i``, without weights, shape (n_samples, n_outputs, n_outputs)."""
        return self._of_counted(self.loss.hessian(self.eta, self.y))

    def _of_counted(self, found):
        if self.counted is not None and not self.counted.all():
            found[~self.counted] = 0.0
        return found

    @cached_property
    def roots(self):
        """``w_i Lambda_i`` as the sum of ``sign F_i F_i'``: pairs (sign, F), F (n_samples, K, r)."""
        values, vectors = np.linalg.eigh(self.weighted_hessians)
        found = []
        for sign in (1.0, -1.0):
            sizes = np.maximum(sign * values, 0.0)
            # A softmax has one direction less than outputs.
            used = sizes.max(axis=0) > 1e-14 * np.abs(values).max()
            if used.any():
                root = vectors[:, :, used] * np.sqrt(sizes[:, None, used])
                found.append((sign, root))
        return found

    @cached_property
    def unit_penalty(self):
        """Diagonal of ``R0``, what one unit of weight adds to the penalty; 0 when C is held."""
        held = self.network.spread(self.decay)
        return held if self.hold == "lambda" else np.zeros_like(held)

    @cached_property
    def unit_penalty_gradient(self):
        """Each row's share of the penalty's gradient; 0 when C is held."""
        share = self.network.compress(self.decay * self.network.theta)
        return share if self.hold == "lambda" else np.zeros_like(share)

    @cached_property
    def added(self):
        """What decay and damping add to the diagonal of the Hessian, shape (n_parameters,)."""
        return self.total_weight * self.network.spread(self.decay + self.damping)

    def value(self):
        """``Phi``."""
        penalty = 0.5 * self.total_weight * (self.decay * self.network.theta**2).sum()
        return float(self.weights @ self.loss.value(self.eta, self.y) + penalty)

    def gradient(self):
        """Gradient of ``Phi``, shape (n_parameters,)."""
        out = self.total_weight * self.network.compress(self.decay * self.network.theta)
        for block in self.blocks(1):
            weighted = self.weights[block, None] * self.gradients[block]
            out = (
                out
                + self.network.adjoint(
                    self.design.inputs(block, self.network), weighted[:, :, None]
                )[:, 0]
            )
        return out

    @cached_property
    def activations(self):
        """See :meth:`Network.activations`."""
        return self.network.activations(self.design.X[:3])

    def blocks(self, vectors, n_rows=None):
        """Slices of rows for so many vectors of parameters per row, in bounded memory."""
        # Half of the vectors are on their way back through the network at once.
        moving, every = self.activations
        kept = every + (1.0 + 0.5 * vectors) * moving
        per_row = 8.0 * (vectors * self.n_parameters + self.design.n_features + kept)
        return row_blocks(
            self.n_samples if n_rows is None else n_rows, per_row, self.network.budget
        )

    def passes(self, vectors, itemsize=8, n_rows=None):
        """Slices of rows for products with so many vectors at once.

        Parameters
        ----------
        vectors : int
        itemsize : int, default=8
            Bytes of a number.
        n_rows : int, default=None
            All training rows when None.
        """
        # What was seen of dense and convolutional networks, of full Hessians, for one and for ten.
        moving, every = self.activations
        kept = every + (3.0 * vectors + 2.0) * moving
        per_row = itemsize * (self.design.n_features + kept)
        return row_blocks(
            self.n_samples if n_rows is None else n_rows, per_row, self.network.budget
        )

    def holding(self, hold):
        """The same problem with another meaning of edits; ``"auto"`` is training again."""
        return replace(self, hold=resolve_hold(hold, "lambda"))


def decay_of(weight_decay, network):
    """The decay of each chosen parameter: one number, or by name of parameters or parts."""
    by_name = weight_decay if isinstance(weight_decay, dict) else {"": weight_decay}
    out = []
    for name, size in zip(network.names, network.sizes):
        found = [v for key, v in by_name.items() if key == "" or _ends(name, key)]
        out.append(np.full(size, float(found[-1]) if found else 0.0))
    for key, value in by_name.items():
        if not (np.ndim(value) == 0 and 0.0 <= value < np.inf):
            raise ValueError(f"weight_decay must be finite and non-negative. Got {value!r}.")
        if key and not any(_ends(name, key) for name in network.names):
            raise ValueError(f"weight_decay must name parameters. Got {key!r}, which is none.")
    return np.concatenate(out)


def _ends(name, key):
    """Whether a key names a parameter: itself, a part it belongs to, or all of its kind."""
    return name == key or name.startswith(key + ".") or name.endswith("." + key)
