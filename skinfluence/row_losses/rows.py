"""Derivatives of a user's loss, row by row, by autograd.

The loss is written for one row. Called with all rows at once it usually broadcasts; that is
verified, and where it does not hold the rows are looped over.
"""

import warnings

import autograd.numpy as anp
import numpy as np
from autograd import grad, hessian, make_vjp

from skinfluence._utils.calls import level_outside
from skinfluence._utils.locks import one_trace_at_a_time
from skinfluence._utils.memory import row_blocks

# Rows that one pass of autograd takes together.
PASS_ROWS = 2**14
PROBES = 4


def row_loss(loss, params, X, y):
    """The :class:`RowLoss` of a user's function: one call for all rows if it allows that.

    Parameters
    ----------
    loss : callable
        ``loss(params, x, y)`` of one row, a number.
    params : ndarray of shape (n_params,)
        Where the fit starts.
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If the loss of a row is not one finite number.

    Warns
    -----
    UserWarning
        If the rows have to be looped over.
    """
    loss = ReadOnly(loss, "loss")
    rows = np.linspace(0, len(X) - 1, min(PROBES, len(X))).astype(int)
    rng = np.random.default_rng(0)
    # Zero parameters make rows alike: what broadcasting does is seen away from them.
    moved = params + 0.1 * rng.standard_normal((2, len(params)))
    reason = None
    for point in (params, *moved):
        single = np.array([_one(loss, point, X[i], y[i]) for i in rows])
        if point is params and not np.isfinite(single).all():
            bad = rows[~np.isfinite(single)][0]
            raise ValueError(
                f"The loss must be finite where the fit starts. Got {single[~np.isfinite(single)][0]} "
                f"for row {bad}; pass init=."
            )
        reason = reason or _differs(loss, point, X[rows], y[rows], single)
    if reason is not None:
        warnings.warn(
            f"The loss does not broadcast over rows: {reason}. Its derivatives are taken one row "
            "at a time, many times slower. Write it with the features on the last axis: x @ "
            "params, x[..., j], anp.sum(..., axis=-1).",
            UserWarning,
            stacklevel=level_outside(),
        )
    return RowLoss(loss.function, broadcasts=reason is None)


def _one(loss, params, x, y):
    with np.errstate(all="ignore"):
        value = loss(params, x, y)
    if np.shape(value) != () or np.iscomplexobj(value):
        raise ValueError(
            "The loss must return one real number per row. Got "
            f"{'an array of shape ' + str(np.shape(value)) if np.shape(value) else value!r}."
        )
    return float(value)


def _differs(loss, params, X, y, single):
    """Why a call with several rows is not the rows' own calls, or None."""
    try:
        with np.errstate(all="ignore"):
            together = np.asarray(loss(params, X, y))
    except WritesError:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if together.shape != single.shape:
        return f"{len(single)} rows give an array of shape {together.shape}"
    if not np.allclose(together, single, rtol=1e-9, atol=1e-12, equal_nan=True):
        return "several rows together give other values than one at a time"
    return None


class WritesError(ValueError):
    """A user's function wrote into its arguments."""


class ReadOnly:
    """A user's function, called with arrays that it cannot write into: they are the user's own.

    Parameters
    ----------
    function : callable
    name : str
        For the error.
    """

    def __init__(self, function, name):
        self.function = function
        self.name = name

    def __call__(self, *arrays):
        try:
            return self.function(*[_read_only(array) for array in arrays])
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise WritesError(
                f"{self.name} must not write into its arguments, which are the data themselves. Got "
                f"{error}; write x = 0.5 * x for x *= 0.5."
            ) from error


def _read_only(array):
    if type(array) is not np.ndarray:
        return array
    array = array.view()
    array.flags.writeable = False
    return array


class RowLoss:
    """Values and derivatives of the losses of rows.

    Parameters
    ----------
    loss : callable
        ``loss(params, x, y)``.
    broadcasts : bool
        Whether a call with arrays of rows returns the loss of each.
    """

    def __init__(self, loss, broadcasts):
        self.loss = ReadOnly(loss, "loss")
        self.broadcasts = broadcasts

    def _each(self, params, X, y):
        if self.broadcasts:
            return self.loss(params, X, y)
        return anp.array([self.loss(params, x, target) for x, target in zip(X, y, strict=True)])

    def values(self, params, X, y):
        """Loss of each row, shape (n_samples,)."""
        return np.asarray(self._each(params, X, y), dtype=float)

    @one_trace_at_a_time
    def gradient(self, params, X, y, weights):
        """``sum_i w_i g_i``, shape (n_params,)."""
        return grad(lambda q: self._weighted(q, X, y, weights))(params)

    def _weighted(self, params, X, y, weights):
        total = 0.0
        for block in row_blocks(len(X), 1, PASS_ROWS):
            total = total + anp.sum(weights[block] * self._each(params, X[block], y[block]))
        return total

    @one_trace_at_a_time
    def gradients(self, params, X, y):
        """Gradient of each row in the parameters, shape (n_samples, n_params).

        One pass per parameter for all rows, or one per row where there are fewer rows.
        """
        n, p = len(X), len(params)
        out = np.empty((n, p))
        if not self.broadcasts or n < p:
            one = grad(self.loss)
            for i in range(n):
                out[i] = one(params, X[i], y[i])
            return out
        for block in row_blocks(n, 1, PASS_ROWS):
            each = self._of_params(X[block], y[block])
            for k, direction in enumerate(np.eye(p)):
                out[block, k] = _push(each, direction)(params)
        return out

    @one_trace_at_a_time
    def hessian(self, params, X, y, weights):
        """``sum_i w_i H_i``, shape (n_params, n_params), one pass per parameter."""
        p = len(params)
        out = np.zeros((p, p))
        for block in row_blocks(len(X), 1, PASS_ROWS):
            part = X[block], y[block], weights[block]
            pull, _ = make_vjp(grad(lambda q, part=part: self._weighted(q, *part)))(params)
            for k, direction in enumerate(np.eye(p)):
                out[k] += pull(direction)
        return 0.5 * (out + out.T)

    @one_trace_at_a_time
    def hessian_product(self, params, X, y, weights, direction):
        """``sum_i w_i H_i d``, shape (n_params,), one pass."""
        out = np.zeros(len(params))
        for block in row_blocks(len(X), 1, PASS_ROWS):
            part = X[block], y[block], weights[block]
            pull, _ = make_vjp(grad(lambda q, part=part: self._weighted(q, *part)))(params)
            out += pull(direction)
        return out

    @one_trace_at_a_time
    def row_hessians(self, params, X, y):
        """Hessian of each row, shape (n_samples, n_params, n_params).

        A pass per pair of parameters for all rows, or one per parameter for each row.
        """
        n, p = len(X), len(params)
        out = np.empty((n, p, p))
        if not self.broadcasts or n <= (p + 1) // 2:
            one = hessian(self.loss)
            for i in range(n):
                out[i] = one(params, X[i], y[i])
            return 0.5 * (out + out.transpose(0, 2, 1))
        each, directions = self._of_params(X, y), np.eye(p)
        for k in range(p):
            slope = _push(each, directions[k])
            for j in range(k + 1):
                out[:, k, j] = out[:, j, k] = _push(slope, directions[j])(params)
        return out

    @one_trace_at_a_time
    def input_gradients(self, params, X, y, S):
        """Derivative in x of ``g_i(x)' s`` for each column ``s`` of S, (m, n_samples, n_features).

        Raises
        ------
        TypeError
            For a loss that autograd cannot differentiate in x.
        """
        out = np.empty((S.shape[1], *X.shape))
        for s, place in zip(S.T, out, strict=True):
            for block in row_blocks(len(X), 1, PASS_ROWS):
                labels = y[block]

                def slope(x, s=s, labels=labels):
                    return anp.sum(_push(self._of_params(x, labels), s)(params))

                try:
                    place[block] = grad(slope)(X[block])
                except (TypeError, IndexError, ValueError, NotImplementedError) as error:
                    raise TypeError(
                        "influence_pert needs a loss that is differentiable in x by autograd. Got "
                        f"{type(error).__name__}: {error}"
                    ) from error
        return out

    def _of_params(self, X, y):
        return lambda params: self._each(params, X, y)


def _push(function, direction):
    """The derivative of ``function`` along a direction, again a function of its argument.

    The pull-back of a pull-back, which is linear: works for all that autograd differentiates in
    reverse, while its forward mode lacks some functions.
    """

    def pushed(argument):
        pull, value = make_vjp(function)(argument)
        return make_vjp(pull)(np.zeros(np.shape(value)))[0](direction)

    return pushed
