"""What parameter steps do to decision values at evaluation points, and to quantities there."""

import numpy as np

from skinfluence._utils.memory import BLOCK_BYTES, row_blocks
from skinfluence.smooth.one_step import steps


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


def theta_effects(quantity, theta_steps, theta=None, fills=None, there=None):
    """Change of a quantity for given parameter steps (b, K, d): (n_test, b, ...) or (b,).

    Where what stands in missing cells moves, with the parameters that the steps are from, the
    :class:`~skinfluence.smooth.one_step.fills.Fills` and which test rows are filled.
    """
    values = np.empty((len(theta_steps), *quantity.shape))
    for block, moved in decision_steps(quantity.design, theta_steps):
        if fills is not None:
            moved = moved + fills.take(block).on_steps(there, theta + theta_steps[block])
        values[block] = quantity.change(moved)
    return np.swapaxes(values, 0, 1) if quantity.shape else values


def inside(block, part):
    """A slice of a block of rows as one of all rows."""
    return slice(block.start + part.start, block.start + part.stop)
