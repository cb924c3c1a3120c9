"""Evaluate edits at test points: losses, decision values, probabilities, any function of them.

Quantities are evaluated at ``eta + d eta``, never linearised.
"""

import inspect
from dataclasses import dataclass

import numpy as np

from skinfluence import steps
from skinfluence.utils.memory import BLOCK_BYTES, row_blocks


@dataclass(frozen=True, eq=False)
class Effect:
    """The answer to one or several edits, with the trust of each.

    Attributes
    ----------
    values : ndarray of shape (n_test, n_edits, ...) or (n_test, ...)
        After minus before; the edit axis is missing for a single edit.
    bound : ndarray of shape (n_edits,) or float
        Certified bound on the error of the parameters, in the norm of the edited Hessian ``P``: the
        error of a decision value is at most ``|x_t|_{P^-1}`` times it. ``inf`` where there is none.
    method_used : ndarray of str, shape (n_edits,), or str
        How each answer was obtained.
    leverage : ndarray of shape (n_edits,) or float
        Largest eigenvalue of ``D^1/2 h D^1/2`` over the weight an edit takes away: near 1, the
        rows decide their own prediction.
    """

    values: np.ndarray
    bound: np.ndarray
    method_used: np.ndarray
    leverage: np.ndarray


class Quantity:
    """A quantity of a model at evaluation points, as a function of its decision values.

    Parameters
    ----------
    of : {"loss", "decision_function", "predict_proba"} or callable
    loss : Loss
    tests : Tests
        The evaluation points: a design, the loss's y, and what a callable gets as y.
    eta : ndarray of shape (n_test, n_outputs)
        Their decision values before the edits.
    """

    def __init__(self, of, loss, tests, eta):
        self.loss = loss
        self.design = tests.design
        self.y = tests.y
        self.eta = eta
        if callable(of):
            self._call = _as_called(of, tests.codes)
        self._evaluate = {
            "loss": self._loss,
            "decision_function": self._decision,
            "predict_proba": self.loss.predict_proba,
        }.get(of if isinstance(of, str) else None, self._user)
        if isinstance(of, str) and self._evaluate == self._user:
            raise ValueError(
                "of must be 'loss', 'decision_function', 'predict_proba' or a callable. "
                f"Got {of!r} instead."
            )
        if isinstance(of, str) and of == "loss" and tests.y is None:
            raise ValueError("The effect on the loss needs y. Pass it, or of='decision_function'.")
        self.before = np.asarray(self._evaluate(self.eta[None]))[0]
        n_test = len(eta)
        if callable(of) and self.before.shape not in ((), (n_test,)):
            raise ValueError(
                f"A callable must return one value per test point, ({n_test},), or one scalar. Got "
                f"an array of shape {self.before.shape}."
            )

    @property
    def shape(self):
        """Shape of the quantity without the edits: (n_test, ...) or () for a scalar."""
        return self.before.shape

    def change(self, eta_steps):
        """After minus before for decision values moved by ``eta_steps`` (b, n_test, K)."""
        # NaN steps are edits without an answer; they have been warned about.
        with np.errstate(invalid="ignore"):
            return np.asarray(self._evaluate(self.eta + eta_steps)) - self.before

    def _loss(self, eta):
        return self.loss.value(eta, self.y)

    def _decision(self, eta):
        eta = self.loss.expand(eta)
        return eta[..., 0] if eta.shape[-1] == 1 else eta

    def _user(self, eta):
        decisions = self._decision(eta)
        values = np.stack([_numbers(self._call(one)) for one in decisions])
        # A function that counts would make a number of the NaN of an edit without an answer.
        unknown = np.isnan(decisions).reshape(*eta.shape[:2], -1).any(axis=2)
        if unknown.any():
            values[unknown if values.ndim > 1 else unknown.any(axis=1)] = np.nan
        return values


def _numbers(found):
    try:
        return np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"A callable must return numbers. Got {found!r}.") from error


def _as_called(of, codes):
    try:
        signature = inspect.signature(of)
        positional = [
            p
            for p in signature.parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
        ]
        wants_y = len(positional) >= 2
    except (TypeError, ValueError):
        wants_y = codes is not None
    if not wants_y:
        return of
    if codes is None:
        raise ValueError("This function takes (eta, y), but y was not given. Pass y.")
    return lambda eta: of(eta, codes)


def eta_steps(factor, edits, design, method):
    """Changes of the decision values at ``design``, a block of edits at a time.

    Yields
    ------
    block : slice
        Of the edits.
    change : ndarray of shape (b, n_test, n_outputs)

    Notes
    -----
    Either ``H^-1 J_t'`` is solved once for the test points and multiplied with the edits' rows,
    or each edit's parameter step is solved for and multiplied with the test points; the flops
    decide.
    """
    k, d = factor.objective.theta.shape
    m, n, p = design.n_samples, edits.design.n_samples, k * d
    shift = 0.0 if method == "influence" else edits.one_shift
    a = steps.step_coefficients(factor, edits, method)
    from_tests = m * k * p * p + n * m * k * p
    from_edits = n * p * p + n * m * p
    if np.ndim(shift) == 0 and from_tests <= from_edits and m * k * p * 8 <= 4 * BLOCK_BYTES:
        yield from _from_tests(factor, edits, design, method, a, shift)
        return
    for block in row_blocks(n, 8 * (2 * p + 10 * m * k)):
        part = edits.take(block)
        yield block, _decision_steps(design, steps.steps_from(factor, part, method, a[block]))


def _decision_steps(design, theta_steps):
    """(b, K, d) parameter steps to (b, n_test, K) decision steps."""
    b, k, d = theta_steps.shape
    moved = design.multiply(np.ascontiguousarray(theta_steps.reshape(b * k, d).T))
    return moved.reshape(-1, b, k).transpose(1, 0, 2)


def decision_steps(design, theta_steps):
    """Changes of the decision values under parameter steps (b, K, d), in blocks of the steps.

    Yields ``(slice, (b', n_test, K))``.
    """
    k = theta_steps.shape[1]
    for block in row_blocks(len(theta_steps), 80 * design.n_samples * (k + 1)):
        yield block, _decision_steps(design, theta_steps[block])


def _from_tests(factor, edits, design, method, a, shift):
    k, d = factor.objective.theta.shape
    m = design.n_samples
    rows = design.dense_rows()
    B = np.zeros((k, d, m, k))
    for output in range(k):
        B[output, :, :, output] = rows.T
    S = factor.solve(B.reshape(k * d, m * k), shift).reshape(k, d, m, k)
    S = np.ascontiguousarray(S.transpose(1, 0, 2, 3).reshape(d, k * m * k))
    Z = steps.penalty_steps(factor, edits, method)
    extra = None if Z is None else design.multiply(Z[0].T)
    # The step, the moved values and what a quantity makes of them: log-sums, probabilities.
    for block in edits.design.slices(8 * (d + m * k * (k + 10))):
        part = edits.design.take(block)
        moved = part.multiply(S).reshape(-1, k, m * k)
        if k == 1:
            moved = -a[block] * moved[:, 0]
        else:
            moved = -(a[block][:, None, :] @ moved)[:, 0]
        moved = moved.reshape(-1, m, k)
        if extra is not None:
            moved = moved - edits.shift[block][:, None, None] * extra
        yield block, moved


def streamed_row_effects(factor, edits, quantity, method):
    """Change of a quantity under many one-row edits: ``(block, values of (b, n_test, ...))``."""
    for block, change in eta_steps(factor, edits, quantity.design, method):
        yield block, quantity.change(change)


def theta_effects(quantity, theta_steps):
    """Change of a quantity for given parameter steps (b, K, d): (n_test, b, ...) or (b,)."""
    values = np.empty((len(theta_steps), *quantity.shape))
    for block, moved in decision_steps(quantity.design, theta_steps):
        values[block] = quantity.change(moved)
    return np.swapaxes(values, 0, 1) if quantity.shape else values
