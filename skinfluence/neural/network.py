"""A module as a function of some of its parameters, and its derivatives by ``torch.func``.

Arrays in, arrays out; parameters are one flat vector ``z``, the displacement from where they are.
"""

import copy
from contextlib import nullcontext
from functools import cached_property

import numpy as np

from skinfluence._utils.memory import BLOCK_BYTES, row_blocks
from skinfluence.neural.accepted import (
    check_output,
    chosen_names,
    wants_integers,
    works,
)
from skinfluence.neural.operations import ways, ways_of
from skinfluence.neural.projection import Projection
from skinfluence.neural.running import (
    import_torch,
    in_words,
    kept_numbers,
    placed,
    refuse_complex,
)

# Directions that move at once where Jacobians are taken forward.
COLUMNS = 32


class Network:
    """A snapshot of a module: ``eta(z, x)``, with J its derivative in ``z`` at 0.

    Parameters
    ----------
    module : torch.nn.Module
        Copied, in evaluation mode; training it further changes nothing here.
    parameters : None, str or list of str
        Names of parameters or of parts of the module; all when None. Those with
        ``requires_grad=False`` are held.
    device, dtype
        As in :func:`~skinfluence.neural.running.placed`.
    projection : int, default=None
        Look only at moves in a random subspace of that dimension: each parameter, with a random
        sign, follows one of the ``projection`` coordinates.
    rng : RandomState
        Of the projection.

    Attributes
    ----------
    names : list of str
        Of the chosen parameters.
    theta : ndarray of shape (n_chosen,)
        Their values, flattened one after the other.
    link : Link or None
        Its inverse is taken of what the module gives; see :mod:`skinfluence.neural.splitting`.
    takes_integers : bool
        Whether rows stay integers, such as tokens.
    """

    link = None
    takes_integers = False
    # What torch.func can do with the module, and what has to be entered for it; see `prepare`.
    _maps = _goes_forward = True
    _ways = ()

    def __init__(self, module, parameters, device, dtype, projection=None, rng=None):
        torch = import_torch()
        original = module
        module, self.device, self.dtype = placed(module, device, dtype)
        module = copy.deepcopy(module) if module is original else module
        refuse_complex(module)
        every = dict(module.named_parameters())
        self.names = chosen_names(every, parameters)
        self.module = module.eval().requires_grad_(False)
        self.shapes = [every[name].shape for name in self.names]
        self.sizes = [every[name].numel() for name in self.names]
        self._base = torch.cat([every[name].flatten() for name in self.names])
        self.theta = self._base.cpu().numpy().astype(np.float64)
        self.projection = None
        if projection is not None:
            self.projection = Projection(len(self.theta), projection, rng)
            self._bucket = torch.as_tensor(self.projection.bucket, device=self.device)
            self._sign = self.tensor(self.projection.sign)

    @property
    def itemsize(self):
        """Bytes of a number."""
        return self._base.element_size()

    def cast(self, dtype):
        """The network itself, or its copy in single precision where that is enough.

        Parameters
        ----------
        dtype : {np.float64, np.float32}
        """
        if dtype == np.float64 or self.itemsize < 8:
            return self
        return self._single

    @cached_property
    def _single(self):
        torch, other = import_torch(), copy.copy(self)
        other.module = copy.deepcopy(self.module).float()
        other.dtype, other._base = torch.float32, self._base.float()
        if self.projection is not None:
            other._sign = self._sign.float()
        return other

    @property
    def budget(self):
        """Bytes of temporaries of a batch: what keeps a device busy, or what a cache still helps."""
        return BLOCK_BYTES if self.device.type == "cpu" else 16 * BLOCK_BYTES

    @property
    def n_parameters(self):
        """Free coordinates."""
        return len(self.theta) if self.projection is None else self.projection.n_coordinates

    def compress(self, vectors):
        """From all chosen parameters to the free coordinates, along the last axis."""
        return vectors if self.projection is None else self.projection.compress(vectors)

    def expand(self, vectors):
        """From the free coordinates to all chosen parameters, along the last axis."""
        return vectors if self.projection is None else self.projection.expand(vectors)

    def spread(self, values):
        """A diagonal of all chosen parameters as one in the free coordinates."""
        return values if self.projection is None else self.projection.spread(values)

    # Functions of the displacement ---------------------------------------------------------------

    def tensor(self, X):
        """An array or tensor where the module is, in its precision."""
        torch = import_torch()
        X = X if isinstance(X, torch.Tensor) else torch.as_tensor(np.array(X))
        return X.to(device=self.device, dtype=self.dtype)

    def rows(self, X):
        """Rows as a tensor where the module is, as it takes them."""
        if not self.takes_integers:
            return self.tensor(X)
        torch = import_torch()
        X = X if isinstance(X, torch.Tensor) else torch.as_tensor(np.array(X, dtype=np.int64))
        return X.to(device=self.device, dtype=torch.int64)

    def prepare(self, X):
        """Find out how the module takes rows, and what ``torch.func`` can do with it.

        Parameters
        ----------
        X : ndarray of shape (b, ...)
            A few rows.

        Raises
        ------
        ValueError
            For a module that does not run on the rows, or has no derivatives.
        TypeError
            For one that does not return a tensor.
        """
        torch = import_torch()
        self.takes_integers = wants_integers(self, X)
        x = self.rows(X)
        with torch.no_grad():
            out = self.module(x)
        check_output(out, len(x))
        self._ways = ways_of(self.module, x)
        K, p = self.outputs(X).shape[1], self.n_parameters
        try:
            self.adjoint(X, np.ones((len(x), K, 1)))
        except (RuntimeError, NotImplementedError) as error:
            raise ValueError(
                "torch.func must be able to differentiate the module. It cannot: "
                f"{in_words(error)}. Checkpointing saves no memory here: leave it out in evaluation "
                "mode (if self.training), and write an autograd.Function of your own with "
                "setup_context and vmap."
            ) from error
        self._maps = works(lambda: self.jacobians(X))
        self._goes_forward = works(lambda: self.multiply(X, np.zeros((p, 2))))

    def _zero(self):
        return import_torch().zeros(self.n_parameters, device=self.device, dtype=self.dtype)

    def _batch(self, z, x):
        """Decision values (b, K) of the rows x at displacement z."""
        torch = import_torch()
        moved = z if self.projection is None else z[self._bucket] * self._sign
        parts = torch.split(self._base + moved, self.sizes)
        values = {
            name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes)
        }
        # A copy: a module may begin with an operation in place.
        return self._called(
            lambda: torch.func.functional_call(self.module, values, (x.clone(),)), len(x)
        )

    def _called(self, call, n_rows):
        """Decision values (b, K) of a call of the module, before its last activation if linked."""
        with ways(self._ways) if self._ways else nullcontext():
            out = call().reshape(n_rows, -1)
        return out if self.link is None else self.link.inverse(out)

    def _one(self, z, x):
        return self._batch(z, x[None])[0]

    def run(self, x):
        """Decision values of a tensor of rows, (b, K)."""
        return self._called(lambda: self.module(x), len(x))

    def outputs(self, X, budget=256):
        """Decision values, ndarray of shape (n_rows, K)."""
        torch = import_torch()
        with torch.no_grad():
            found = [self.run(self.rows(X[block])) for block in row_blocks(len(X), 1, budget)]
        return _array(torch.cat(found))

    def activations(self, X):
        """Numbers per row that a pass keeps for the way back, the row itself aside.

        Parameters
        ----------
        X : ndarray of shape (b, ...)
            A few rows.

        Returns
        -------
        moving, every : float
            For the way back to the chosen parameters, and to all of them: parts that are held run
            forward too.
        """
        torch, x = import_torch(), self.rows(X)
        held = {name: value.detach() for name, value in self.module.named_parameters()}

        def chosen(x):
            return self._batch(self._zero().requires_grad_(True), x)

        def whole(x):
            values = {
                name: value.clone().requires_grad_(value.is_floating_point())
                for name, value in held.items()
            }
            return torch.func.functional_call(self.module, values, (x.clone(),))

        return kept_numbers(chosen, x), kept_numbers(whole, x)

    def jacobians(self, X):
        """``J_i`` of all rows of a block as a tensor of shape (b, K, p)."""
        torch, func, x = import_torch(), import_torch().func, self.rows(X)
        if self._maps:
            return func.vmap(func.jacrev(self._one), in_dims=(None, 0))(self._zero(), x)
        p = self.n_parameters
        if self._goes_forward and p <= len(x):
            units = torch.eye(p, device=self.device, dtype=self.dtype)
            parts = [self._moved(x, units[:, one]) for one in row_blocks(p, 1, COLUMNS)]
            return torch.cat(parts, dim=2)
        found = []
        for row in x:
            # Some operations, such as recurrent layers, cannot be mapped over rows.
            eta, pull = func.vjp(lambda z, row=row: self._one(z, row), self._zero())
            units = torch.eye(len(eta), device=eta.device, dtype=eta.dtype)
            found.append(torch.stack([pull(unit)[0] for unit in units]))
        return torch.stack(found)

    def gradients(self, X, C):
        """``J_i' c_i`` of each row of a block, ndarray of shape (b, p)."""
        func, x, c = import_torch().func, self.rows(X), self.tensor(C)

        def weighted(z, x, c):
            return (self._one(z, x) * c).sum()

        if self._maps:
            one = func.vmap(func.grad(weighted), in_dims=(None, 0, 0))
            return _array(one(self._zero(), x, c))
        return _array((self.jacobians(x).mT @ c[:, :, None])[:, :, 0])

    def multiply(self, X, V):
        """``J_i V`` of a block: (p, m) to ndarray of shape (b, K, m)."""
        return _array(self._moved(self.rows(X), self.tensor(V)))

    def _moved(self, x, V):
        """As :meth:`multiply`, of tensors."""
        func = import_torch().func
        if not self._goes_forward:
            return self.jacobians(x) @ V

        def moved(v):
            return func.jvp(lambda z: self._batch(z, x), (self._zero(),), (v,))[1]

        return _columns(moved, V, out=2)

    @property
    def maps(self):
        """Whether the network can be mapped over rows; recurrent layers cannot."""
        return self._maps

    @property
    def goes_forward(self):
        """Whether every operation has a derivative forward; a custom one may have none."""
        return self._goes_forward

    def adjoint(self, X, U):
        """``sum_i J_i' U_i`` of a block: (b, K, m) to ndarray of shape (p, m)."""
        func, x = import_torch().func, self.rows(X)
        _, pull = func.vjp(lambda z: self._batch(z, x), self._zero())
        return _array(_columns(lambda u: pull(u)[0], self.tensor(U), out=1))

    def product(self, X, A, V, C=None):
        """``sum_i (J_i' A_i J_i + c_i . d2 eta_i / dz2) V`` of a block.

        Parameters
        ----------
        X : ndarray or tensor of shape (b, ...)
        A : ndarray of shape (b, K, K)
        V : ndarray of shape (p, m)
        C : ndarray of shape (b, K), default=None
            Without the second part when None.

        Returns
        -------
        product : ndarray of shape (p, m)
        """
        c = None if C is None else self.tensor(C)
        return _array(self.tensor_product(self.rows(X), self.tensor(A), self.tensor(V), c))

    def tensor_product(self, x, A, V, c=None):
        """As :meth:`product`, of tensors and where they are."""
        func, zero = import_torch().func, self._zero()

        def eta(z):
            return self._batch(z, x)

        if c is None and not self._goes_forward:
            J = self.jacobians(x)
            return (J.mT @ (A @ (J @ V))).sum(0)
        if c is None:
            moved = _columns(lambda v: func.jvp(eta, (zero,), (v,))[1], V, out=2)
            _, pull = func.vjp(eta, zero)
            return _columns(lambda u: pull(u)[0], A @ moved, out=1)
        here = eta(zero)

        def value(z):
            # Its second derivative at 0 is both parts at once.
            moved = eta(z) - here
            return ((c + 0.5 * (A @ moved[:, :, None])[:, :, 0]) * moved).sum()

        slope = func.grad(value)
        if not self._goes_forward:
            # The Hessian is symmetric: back through the way back.
            pull = func.vjp(slope, zero)[1]
            return import_torch().stack([pull(v)[0] for v in V.T], dim=1)
        # Where the network is linear a derivative may be a constant zero, which vmap refuses.
        return _columns(lambda v: func.jvp(slope, (zero,), (v,))[1] + 0.0 * v, V, out=1)

    def input_gradients(self, X, A, C, S):
        """``d/dx [a_i . eta(x) + c_i . J(x) s]`` at each row of a block, for each ``s``.

        Parameters
        ----------
        X : ndarray of shape (b, ...)
        A : ndarray of shape (b, K, m)
        C : ndarray of shape (b, K)
        S : ndarray of shape (p, m)

        Returns
        -------
        gradients : ndarray of shape (m, b, n_inputs)
        """
        func, x, c = import_torch().func, self.rows(X), self.tensor(C)
        zero = self._zero()

        def value(x, a, s):
            if self._goes_forward:
                eta, moved = func.jvp(lambda z: self._batch(z, x), (zero,), (s,))
                return (a * eta).sum() + (c * moved).sum()
            eta, pull = func.vjp(lambda z: self._batch(z, x), zero)
            return (a * eta).sum() + pull(c)[0] @ s

        A, S = self.tensor(A), self.tensor(S)
        found = [func.grad(value)(x, A[:, :, j], S[:, j]) for j in range(S.shape[1])]
        return np.stack([_array(one.flatten(1)) for one in found])


def _columns(fn, V, out):
    """A linear function of each column, the last axis of V, stacked along axis ``out``."""
    if V.shape[-1] == 1:
        # vmap over one column takes several times as long as the function.
        return fn(V[..., 0]).unsqueeze(out)
    return import_torch().func.vmap(fn, in_dims=V.ndim - 1, out_dims=out)(V)


def _array(tensor):
    return tensor.cpu().numpy().astype(np.float64, copy=False)
