"""Kernel ridge regression in closed form; hinge machines by an interior point with a gap."""

from dataclasses import dataclass, replace

import numpy as np

from tests.oracle.algebra import Factor, NotPositiveDefiniteError

LD = np.longdouble


def kernel_matrix(kernel, params, A, B):
    """Kernel values between rows, from differences: no offset cancels."""
    A, B = np.asarray(A, dtype=LD), np.asarray(B, dtype=LD)
    gamma = LD(params.get("gamma") or 1)
    if kernel == "linear":
        return A @ B.T
    if kernel == "rbf":
        return np.exp(-gamma * ((A[:, None] - B[None]) ** 2).sum(axis=2))
    if kernel == "laplacian":
        return np.exp(-gamma * np.abs(A[:, None] - B[None]).sum(axis=2))
    if kernel == "poly":
        return (gamma * (A @ B.T) + LD(params.get("coef0", 1))) ** int(params.get("degree", 3))
    raise ValueError(kernel)


@dataclass(frozen=True, eq=False)
class KernelRidgeProblem:
    """``sum_i s_i (y_i - f(x_i))^2 + alpha |f|^2``."""

    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray
    alpha: float
    kernel: str
    params: dict

    def edited(self, changes, new=()):
        s = np.array(self.sample_weight, dtype=LD)
        for row, weight in changes.items():
            s[row] = weight
        X, y = self.X, self.y
        for x, target, weight in new:
            X, y = np.vstack([X, np.reshape(x, (1, -1))]), np.append(y, target)
            s = np.append(s, LD(weight))
        return replace(self, X=X, y=y, sample_weight=s)

    def values(self, X):
        """Predictions, with an estimate of their error: (values, error, smallest pivot)."""
        used = self.sample_weight > 0
        rows, y = self.X[used], np.asarray(self.y, dtype=LD)[used]
        root = np.sqrt(np.asarray(self.sample_weight, dtype=LD)[used])
        K = kernel_matrix(self.kernel, self.params, rows, rows)
        A = root[:, None] * K * root
        A[np.diag_indices(len(A))] += LD(self.alpha)
        factor = Factor(A)
        a = factor.solve(root * y)
        cross = kernel_matrix(self.kernel, self.params, X, rows)
        left = factor.solve(root * y - A @ a)
        error = np.abs(cross @ (root * left)) * 4
        terms = np.abs(cross) @ np.abs(root * a)
        return cross @ (root * a), error + 1e-18 * terms, factor.smallest


@dataclass(frozen=True, eq=False)
class MachineProblem:
    """``sum_i c_i max(0, 1 - y_i (f(x_i) + b)) + 1/2 |f|^2`` for y in {-1, 1}.

    With ``free_bias`` false there is no b: its column is part of the kernel.
    """

    X: np.ndarray
    y: np.ndarray
    bounds: np.ndarray
    kernel: str
    params: dict
    free_bias: bool
    offset: float = 0.0

    def edited(self, changes, new=()):
        c = np.array(self.bounds, dtype=LD)
        for row, weight in changes.items():
            c[row] = weight
        X, y = self.X, self.y
        for x, target, weight in new:
            X, y = np.vstack([X, np.reshape(x, (1, -1))]), np.append(y, target)
            c = np.append(c, LD(weight))
        return replace(self, X=X, y=y, bounds=c)

    def values(self, X):
        """Decision values and a bound on their error; the bound is infinite where b is not unique."""
        used = self.bounds > 0
        rows, y = self.X[used], np.asarray(self.y, dtype=LD)[used]
        c = np.asarray(self.bounds, dtype=LD)[used]
        K = kernel_matrix(self.kernel, self.params, rows, rows) + LD(self.offset)
        a, gap = _interior_point(K, y, c, self.free_bias)
        cross = kernel_matrix(self.kernel, self.params, X, rows) + LD(self.offset)
        f_rows, f = K @ (a * y), cross @ (a * y)
        own = kernel_matrix(self.kernel, self.params, X, X).diagonal() + LD(self.offset)
        # 1/2 |f - f*|^2 is at most the gap of the dual.
        off = np.sqrt(2 * max(gap, LD(0)))
        # Terms of an expansion may be large and cancel.
        rounded = 64 * np.finfo(LD).eps * (np.abs(cross) @ a)
        error = off * np.sqrt(np.maximum(own, 0)) + rounded
        if not self.free_bias:
            return f, error
        low, high = _bias_between(f_rows, y, a, c)
        if not (np.isfinite(low) and np.isfinite(high)):
            return f, np.full(len(f), np.inf)
        slack = off * np.sqrt(np.maximum(K.diagonal().max(), 0))
        slack = slack + 64 * np.finfo(LD).eps * (np.abs(K) @ a).max()
        width = abs(high - low)
        if width > 1e-8 * (1 + abs(low)) + 4 * slack:
            return f + (low + high) / 2, np.full(len(f), np.inf)
        return f + (low + high) / 2, error + slack + width


def _bias_between(f, y, a, c):
    """Where the bias may lie: between what rows that can go up and down want."""
    wanted = y - f
    # Half-way of a logarithmic scale: an interior point ends near, not at, its bounds.
    above, below = a > 1e-7 * c, a < (1 - LD(1e-7)) * c
    can_rise = np.where(y > 0, below, above)
    can_fall = np.where(y > 0, above, below)
    return wanted[can_rise].max(initial=-np.inf), wanted[can_fall].min(initial=np.inf)


def _interior_point(K, y, c, free_bias, max_iter=120):
    """Maximise ``sum a - 1/2 (a y)' K (a y)`` over the box (and ``a'y = 0``): (a, duality gap)."""
    n = len(y)
    Q = y[:, None] * K * y
    a = c / 2
    if free_bias:
        # Feasible: the same sum on both sides.
        for sign in (1, -1):
            side = y == sign
            a[side] *= min(c[y == 1].sum(), c[y == -1].sum()) / c[side].sum()
    b = LD(0)
    low, high = np.ones(n, dtype=LD), np.ones(n, dtype=LD)
    best = None
    for _ in range(max_iter):
        mu = (a @ low + (c - a) @ high) / (2 * n)
        gap = _gap(K, y, c, a, free_bias, b)
        if best is None or gap < best[1]:
            best = a.copy(), gap
        if mu < 1e-32 * (1 + abs(a.sum())):
            break
        if not ((a > 0) & (a < c)).all():
            # A step that ended on a bound to the last digit.
            break
        try:
            system = _System(Q, y, c, free_bias, a, b, low, high)
        except NotPositiveDefiniteError:
            break
        # Mehrotra's two directions: as far as it goes, then centred by how far that was.
        da, db, dl, dh = system.direction(LD(0), 0, 0)
        t = system.reach(da, dl, dh)
        after = (a + t * da) @ (low + t * dl) + (c - a - t * da) @ (high + t * dh)
        sigma = (after / (2 * n) / mu) ** 3
        da, db, dl, dh = system.direction(sigma * mu, da * dl, -da * dh)
        t = min(LD(1), LD(0.995) * system.reach(da, dl, dh))
        a, b, low, high = a + t * da, b + t * db, low + t * dl, high + t * dh
        if t < 1e-12:
            break
    return best


class _System:
    """The linear system of one iteration, for steps of a, b and the multipliers of both bounds."""

    def __init__(self, Q, y, c, free_bias, a, b, low, high):
        self.y, self.a, self.room, self.low, self.high = y, a, c - a, low, high
        self.free_bias = free_bias
        self.residual = Q @ a - 1 + b * y * free_bias - low + high
        self.factor = Factor(Q + np.diag(low / a + high / self.room))

    def direction(self, target, low_term, high_term):
        rl = target - self.a * self.low - low_term
        rh = target - self.room * self.high - high_term
        right = -self.residual + rl / self.a - rh / self.room
        if self.free_bias:
            two = self.factor.solve(np.column_stack([right, self.y]))
            db = (self.y @ two[:, 0] + self.y @ self.a) / (self.y @ two[:, 1])
            da = two[:, 0] - db * two[:, 1]
        else:
            da, db = self.factor.solve(right), LD(0)
        return da, db, (rl - self.low * da) / self.a, (rh + self.high * da) / self.room

    def reach(self, da, dl, dh):
        values = np.concatenate([self.a, self.room, self.low, self.high])
        steps = np.concatenate([da, -da, dl, dh])
        falling = steps < 0
        return min(LD(1), (-values[falling] / steps[falling]).min(initial=LD(1)))


def _gap(K, y, c, a, free_bias, b):
    f = K @ (a * y)
    b = b if free_bias else LD(0)
    primal = (c * np.maximum(1 - y * (f + b), 0)).sum() + a @ (y * f) / 2
    # A balance that is not met to round-off costs what the bias may be.
    return primal - (a.sum() - a @ (y * f) / 2) + abs(b * (y @ a)) * free_bias
