"""The hinge problem: kernel blocks, targets and boxes."""

from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence._utils.memory import row_blocks

# Roles of a row at the optimum.
NONE, MARGIN, BOUND = 0, 1, 2
# Coefficients this close to a limit are at it, relative to the bound or, where no coefficient comes
# near its bound, to the largest of them.
AT_LIMIT = 1e-12
# Violation of the optimality conditions, in decision values, that is said even where round-off of a
# badly scaled kernel explains it: answers are no better.
SAID = 1e-6


class HingeProblem:
    """A hinge SVM in its dual form, with one upper bound per row.

    Parameters
    ----------
    kernel : callable, KernelBlocks or ndarray of shape (n, n)
        ``kernel(rows_a, rows_b)`` gives the block of the kernel matrix for two integer arrays. For a
        bias that is penalised (LinearSVC) it already includes ``intercept_scaling ** 2``.
    y : ndarray of shape (n,)
        Labels -1 and 1.
    C : float or ndarray of shape (n,)
        Upper bound of ``|beta_j|``: ``C * sample_weight_j * class_weight[y_j]``. A row of bound
        zero is absent.
    free_bias : bool
        Whether an unpenalised bias is fitted (``sum(beta) = 0``).
    diagonal : ndarray of shape (n,), optional
        Diagonal of the kernel matrix; read from the kernel when left out.
    target : ndarray of shape (n,), optional
        Decision value at which the loss of a row of label ``y`` starts: below it for 1, above it for
        -1. The labels themselves when left out.

    Attributes
    ----------
    lo, hi : ndarray of shape (n,)
        Box of each coefficient.
    target : ndarray of shape (n,)
        Decision value on the margin.
    spread : float
        Size of the targets.

    Raises
    ------
    ValueError
        For shapes that do not agree, labels other than -1 and 1, bounds that are negative, infinite
        or NaN, kernel values that are not finite, or, with a free bias, one class only.
    """

    def __init__(self, kernel, y, C, *, free_bias, diagonal=None, target=None):
        y = np.asarray(y)
        if y.ndim != 1 or not len(y):
            raise ValueError(f"y must be one-dimensional and not empty. Got shape {y.shape}.")
        if not np.isin(y, (-1, 1)).all():
            raise ValueError(f"y must be -1 or 1. Got {np.unique(y)[:5]} instead.")
        self.y = y.astype(np.float64)
        self.n = len(y)
        self.C = np.array(np.broadcast_to(np.asarray(C, dtype=np.float64), (self.n,)))
        if not (np.isfinite(self.C).all() and (self.C >= 0).all()):
            raise ValueError("C must be finite and non-negative in every row.")
        self.free_bias = bool(free_bias)
        self.kernel = KernelBlocks(kernel) if isinstance(kernel, np.ndarray) else kernel
        if self.in_memory and self.kernel.n != self.n:
            shape = self.kernel.matrix.shape
            raise ValueError(f"A kernel matrix must have shape {(self.n, self.n)}. Got {shape}.")
        self._box()
        self._aim_at(None if target is None else np.array(target, dtype=np.float64))
        self._diagonal = diagonal

    def _box(self):
        if not self.has_both_classes(self.C):
            raise ValueError(
                "Both labels need a row of positive bound C. Rows of one class only are left."
            )
        self.lo = np.minimum(self.y * self.C, 0.0)
        self.hi = np.maximum(self.y * self.C, 0.0)

    def _aim_at(self, target):
        self.target, self.spread = self.y, 1.0
        if target is not None:
            self.target, self.spread = target, float(np.ptp(target)) or 1.0

    @property
    def in_memory(self):
        """Whether the kernel is a matrix that is there."""
        return isinstance(self.kernel, KernelBlocks)

    def with_bounds(self, y, C, target=None):
        """The same kernel under other labels, bounds and targets, all known to be such.

        Parameters
        ----------
        y, C : ndarray of shape (n,)
        target : ndarray of shape (n,), optional
            The labels themselves when left out.

        Raises
        ------
        ValueError
            Where rows of one class only are left.
        """
        other = copy(self)
        other.y, other.C = y, C
        other._box()
        other._aim_at(target)
        return other

    @property
    def diagonal(self):
        """Diagonal of the kernel matrix, (n,)."""
        if self._diagonal is None:
            parts = [
                np.diag(self.block(part, part))
                for part in np.array_split(np.arange(self.n), -(-self.n // 64))
            ]
            self._diagonal = np.concatenate(parts)
        return np.asarray(self._diagonal)

    @property
    def scale(self):
        """Size of the kernel at each row; with a free bias the kernel has no origin of its own."""
        return self.diagonal + self.free_bias * self._mean_diagonal

    @cached_property
    def _mean_diagonal(self):
        return float(np.mean(self.diagonal))

    def has_both_classes(self, C, y=None):
        """Whether rows of both labels have a positive bound."""
        y = self.y if y is None else y
        return bool(((C > 0) & (y > 0)).any() and ((C > 0) & (y < 0)).any())

    def block(self, rows_a, rows_b):
        """Block of the kernel matrix, (len(rows_a), len(rows_b)).

        Raises
        ------
        ValueError
            If the kernel gives another shape, or values that are not finite.
        """
        if not len(rows_a) or not len(rows_b):
            return np.zeros((len(rows_a), len(rows_b)))
        block = np.asarray(self.kernel(rows_a, rows_b), dtype=np.float64)
        if block.shape != (len(rows_a), len(rows_b)):
            raise ValueError(
                f"kernel(rows_a, rows_b) must have shape {(len(rows_a), len(rows_b))}. "
                f"Got {block.shape}."
            )
        # A sum is finite only if every entry is, and needs no temporary.
        if not np.isfinite(block.sum()) and not np.isfinite(block).all():
            raise ValueError("Kernel values must be finite. Got NaN or infinity.")
        return block

    def decision(self, beta):
        """``K beta`` on every row, without bias, in blocks."""
        support = np.flatnonzero(beta)
        if self.in_memory and 4 * len(support) > self.n:
            # To pick columns takes longer than to multiply all of them.
            out = self.kernel.product(beta)
            if np.isfinite(out).all():
                return out
        out = np.empty(self.n)
        for part in row_blocks(self.n, 8 * (len(support) + 1)):
            rows = np.arange(part.start, part.stop)
            out[part] = self.block(rows, support) @ beta[support]
        return out

    def violation(self, beta, f):
        """How far each row is from its optimality condition, in units of the decision value."""
        return violation(f - self.target, beta - self.lo, self.hi - beta)

    def imbalance(self, beta):
        """What a sum of coefficients other than zero is worth in decision values, beyond round-off."""
        if not self.free_bias:
            return 0.0
        off = abs(beta.sum()) - 16 * np.finfo(float).eps * np.abs(beta).sum()
        return self._mean_diagonal * max(float(off), 0.0)

    def rounding(self, beta):
        """What round-off alone may leave of the optimality conditions."""
        size = np.sqrt(np.maximum(self.diagonal, 0.0))
        return float(np.finfo(float).eps * size.max() * (size @ np.abs(beta)))

    def reason(self, beta):
        """Why the optimality conditions may stay violated, in words."""
        rounding = self.rounding(beta)
        if rounding < SAID:
            return "The kernel matrix may be indefinite or badly scaled."
        return (
            f"Kernel values and coefficients are so large that round-off alone may leave {rounding:.0e}: "
            "scale the features, or fit with a smaller C."
        )

    def roles(self, beta):
        """``NONE``, ``MARGIN`` or ``BOUND`` of each row."""
        size = np.abs(beta)
        return np.where(size == 0, NONE, np.where(size >= self.C, BOUND, MARGIN)).astype(np.int8)

    def snapped(self, beta):
        """Coefficients in their box, at a limit where they are at it to round-off."""
        near = AT_LIMIT * np.minimum(self.C, np.abs(beta).max())
        beta = np.where(beta <= self.lo + near, self.lo, beta)
        return np.where(beta >= self.hi - near, self.hi, beta)

    def bias_interval(self, beta, g):
        """All optimal biases of decision values ``g`` without one, (low, high)."""
        needed = self.target - g
        can_rise, can_fall = beta < self.hi, beta > self.lo
        low = needed[can_rise].max(initial=-np.inf)
        high = needed[can_fall].min(initial=np.inf)
        return low, high

    def jittered(self, rng, size):
        """The problem with bounds and targets moved at random by a share of ``size``: no ties."""
        other = copy(self)
        share = size * rng.uniform(0.1, 1.0, (2, self.n))
        other.C = self.C * (1.0 + share[0])
        other.lo, other.hi = self.lo * (1.0 + share[0]), self.hi * (1.0 + share[0])
        other.target = self.target + self.y * self.spread * share[1]
        return other

    @property
    def own_targets(self):
        """The targets where they are not the labels, else None."""
        return None if self.target is self.y else self.target


def violation(slack, above, below):
    """Violation of the optimality conditions by ``slack = f - target``.

    A coefficient at its lower limit allows ``slack >= 0``, at its upper ``slack <= 0``, both at once
    any slack, and in between none. ``above`` and ``below`` are the distances to the limits.
    """
    at_lo, at_hi = above <= 0, below <= 0
    out = np.abs(slack)
    out = np.where(at_lo, np.maximum(-slack, 0.0), out)
    out = np.where(at_hi, np.maximum(slack, 0.0), out)
    return np.where(at_lo & at_hi, 0.0, out)


@dataclass(frozen=True)
class NewRows:
    """Rows that an edit adds.

    Attributes
    ----------
    cross : ndarray of shape (n, n_new)
        Kernel between training rows and new rows.
    among : ndarray of shape (n_new, n_new)
        Kernel among the new rows.
    y : ndarray of shape (n_new,)
        Labels -1 and 1.
    C : ndarray of shape (n_new,)
        Upper bounds.
    target : ndarray of shape (n_new,), default=None
        Decision values on the margin, the labels for None.
    """

    cross: np.ndarray
    among: np.ndarray
    y: np.ndarray
    C: np.ndarray
    target: np.ndarray | None = None


class KernelBlocks:
    """Blocks of a kernel matrix that is there.

    Parameters
    ----------
    matrix : ndarray of shape (m, m)
    copies : int, default=1
        How often all of its rows are there: row ``i`` of the problem is row ``i % m`` of the matrix.

    Attributes
    ----------
    n : int
        Rows of the problem; of a matrix that is not square -1.
    """

    def __init__(self, matrix, copies=1):
        self.matrix, self.copies = matrix, copies
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
        self.n = copies * len(matrix) if square else -1

    def __call__(self, rows_a, rows_b):
        if self.copies > 1:
            rows_a, rows_b = rows_a % len(self.matrix), rows_b % len(self.matrix)
        return self.matrix[np.ix_(rows_a, rows_b)]

    def product(self, beta):
        """The kernel matrix of the problem times coefficients, (n,)."""
        if self.copies == 1:
            return self.matrix @ beta
        return np.tile(self.matrix @ beta.reshape(self.copies, -1).sum(axis=0), self.copies)
