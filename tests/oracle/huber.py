"""Huber regression with its scale in long double: whether there is an optimum, and where, proved by its conditions.

With ``u = clip((y - Z b) / s, -epsilon, epsilon)`` the objective, convex in ``b`` and ``s >= 0``, is least
where ``2 Z' (w u) = R b`` and ``w' u^2 = sum(w)``, or where ``s = 0``, ``|u| <= epsilon`` are any numbers on rows
without a residual, the first holds and ``w' u^2 <= sum(w)``. A place that does either is the end, however
it was found.
"""

from dataclasses import dataclass

import numpy as np

from tests.oracle.algebra import LD, Factor, NotPositiveDefiniteError

# Steps of weighted least squares before each try of Newton's method.
TRIES = (10, 100, 1000, 4000)


class UndecidedError(AssertionError):
    """Neither is proved."""


@dataclass(frozen=True, eq=False)
class End:
    """Where the objective is least.

    Attributes
    ----------
    params : ndarray of long double, shape (n_params,)
    vanishes : bool
        Whether the scale is zero there: no optimum has one above.
    regular : bool
        Whether rows within epsilon decide, none is near the edge, and float64 has digits left.
    """

    params: np.ndarray
    vanishes: bool
    regular: bool


class Huber:
    """``sum_i w_i (s + s H((y_i - z_i' b) / s)) + alpha |coef|^2``.

    Parameters
    ----------
    model : HuberRegressor
        Whose ``epsilon``, ``alpha`` and ``fit_intercept`` are read.
    """

    def __init__(self, model, X, y, w):
        ones = np.ones((len(X), int(model.fit_intercept)))
        self.Z = np.hstack([X, ones]).astype(LD)
        self.y, self.w = np.asarray(y, dtype=LD), np.asarray(w, dtype=LD)
        self.epsilon = LD(model.epsilon)
        self.R = np.zeros(self.Z.shape[1] + 1, dtype=LD)
        self.R[: X.shape[1]] = 2 * LD(model.alpha)

    def value(self, p):
        if not p[-1] > 0:
            return np.inf
        u = np.abs(self.y - self.Z @ p[:-1]) / p[-1]
        h = np.where(u <= self.epsilon, u**2, 2 * self.epsilon * u - self.epsilon**2)
        return self.w @ (p[-1] * (1 + h)) + self.R @ p**2 / 2

    def gradient(self, p):
        u = np.clip((self.y - self.Z @ p[:-1]) / p[-1], -self.epsilon, self.epsilon)
        return np.append(-2 * self.Z.T @ (self.w * u), self.w @ (1 - u**2)) + self.R * p

    def hessian(self, p):
        u = (self.y - self.Z @ p[:-1]) / p[-1]
        c = np.where(np.abs(u) <= self.epsilon, 2 * self.w / p[-1], 0)
        rows = np.column_stack([self.Z, u])
        return (rows.T * c) @ rows + np.diag(self.R)

    def optimum(self, p):
        """From parameters ``(coef, intercept, scale)``; verified by its own decrement."""
        p = np.asarray(p, dtype=LD)
        for _ in range(100):
            step, value, share = Factor(self.hessian(p)).solve(self.gradient(p)), self.value(p), 1.0
            while self.value(p - share * step) > value + 1e-17 * abs(value) and share > 1e-8:
                share /= 2
            p = p - share * step
            size = np.sqrt(np.maximum(step @ self.hessian(p) @ step, 0))
            if share == 1.0 and size < 1e-17 * np.abs(self.w).sum():
                break
        assert size < 1e-15 * np.abs(self.w).sum()
        return p

    def end(self):
        """The :class:`End`, proved by its conditions.

        Raises
        ------
        UndecidedError
            Where parameters are not determined, or the search ended nowhere.
        """
        kept = self.w > 0
        Z, y, w = (one[kept].astype(float) for one in (self.Z, self.y, self.w))
        R, epsilon = self.R[:-1].astype(float), float(self.epsilon)
        b = _ridge(Z, y, w, R)
        for steps in TRIES:
            b, s = _reweighted(Z, y, w, R, epsilon, b, steps)
            if s > 0:
                try:
                    p = self.optimum(np.append(b, s))
                except (NotPositiveDefiniteError, AssertionError):
                    p = None
                if p is not None and p[-1] > 0:
                    return End(p, False, self._is_regular(p))
            found = self._without_scale(b)
            if found is not None:
                return End(np.append(found, 0), True, False)
        raise UndecidedError("neither an optimum nor that there is none was proved")

    def _is_regular(self, p):
        kept = self.w > 0
        Z, y = self.Z[kept], self.y[kept]
        rest = np.abs(y - Z @ p[:-1])
        size = np.abs(y) + np.abs(Z) @ np.abs(p[:-1])
        edge = np.abs(rest - self.epsilon * p[-1]).min()
        if p[-1] < 1e-8 * size.max() or edge < 1e-8 * size.max():
            return False
        return Factor(self.hessian(p)).rcond > 1e-9

    def _without_scale(self, b):
        """Coefficients with a residual of zero on the rows near ``b`` where scale zero is least, or None."""
        kept = self.w > 0
        Z, y, w, R = self.Z[kept], self.y[kept], self.w[kept], self.R[:-1]
        size = float((np.abs(y) + np.abs(Z) @ np.abs(b)).max())
        rest = np.abs(y - Z @ b)
        order = np.argsort(rest)
        for share in (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10):
            through = order[rest[order] <= share * size]
            if not len(through):
                continue
            found = self._through(Z, y, w, R, b, through, size)
            if found is not None:
                return found
        return None

    def _through(self, Z, y, w, R, b, through, size):
        off = (y - Z @ b)[through]
        far = np.setdiff1d(np.arange(len(y)), through)
        # The nearest parameters of those that pass through the rows, in long double by refinement.
        A = Z[through].astype(float)
        free = R.astype(float) > 0
        back = b.astype(LD)
        for _ in range(4):
            off = y[through] - Z[through] @ back
            back = back + np.linalg.lstsq(A, off.astype(float), rcond=1e-12)[0]
        if np.abs(y[through] - Z[through] @ back).max() > 1e-15 * size:
            return None
        rest = y - Z @ back
        if len(far) and np.abs(rest[far]).min() < 1e-12 * size:
            return None
        u = np.zeros(len(y), dtype=LD)
        u[far] = self.epsilon * np.sign(rest[far])
        root = np.sqrt(w[through])
        # 2 Z' (w u) = R b, also moving b in what the rows through leave free.
        left = np.linalg.svd(A)
        rank = int((left[1] > 1e-10 * left[1].max()).sum())
        loose = left[2][rank:].T
        for _ in range(4):
            want = R * back - 2 * Z.T @ (w * u)
            if loose.shape[1]:
                K = loose.T @ np.diag(R.astype(float)) @ loose
                if free.any() and np.linalg.matrix_rank(K) == len(K):
                    move = loose @ np.linalg.solve(K, loose.T @ want.astype(float))
                    back = back - move
                    want = R * back - 2 * Z.T @ (w * u)
            more = np.linalg.lstsq(
                2 * (A * root[:, None].astype(float)).T, want.astype(float), rcond=1e-12
            )
            u[through] += more[0] / root
        rest = y - Z @ back
        terms = 2 * np.abs(Z).T @ (w * np.abs(u)) + np.abs(R * back)
        wrong = np.abs(2 * Z.T @ (w * u) - R * back)
        holds = (
            (wrong <= 1e-13 * terms.max()).all()
            and (np.abs(u[through]) <= self.epsilon * (1 + 1e-13)).all()
            and (np.sign(rest[far]) * u[far] > 0).all()
            and np.abs(rest[through]).max() <= 1e-14 * size
            and w @ u**2 <= w.sum() * (1 - 1e-12)
        )
        return back if holds else None


def _ridge(Z, y, w, R):
    root = np.sqrt(w)[:, None]
    A = np.vstack([root * Z, np.diag(np.sqrt(R / 2))])
    return np.linalg.lstsq(A, np.append(root[:, 0] * y, np.zeros(len(R))), rcond=None)[0]


def _scale(rest, w, epsilon):
    """``s`` with ``sum(w) = sum w min(r / s, epsilon)^2``; 0 where no other is less."""
    order = np.argsort(rest)
    a, w = rest[order], w[order]
    weight, squares, total = np.cumsum(w), np.cumsum(w * a**2), w.sum()
    below = total - epsilon**2 * (total - weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = np.sqrt(np.where(below > 0, squares / below, np.inf))
    good = (below > 0) & (a <= epsilon * s * (1 + 1e-12))
    good[:-1] &= a[1:] >= epsilon * s[:-1] * (1 - 1e-12)
    return float(s[np.argmax(good)]) if good.any() else 0.0


def _reweighted(Z, y, w, R, epsilon, b, steps):
    """By least squares with weights, each of which lowers the objective."""
    for _ in range(steps):
        rest = np.abs(y - Z @ b)
        s = _scale(rest, w, epsilon)
        size = np.maximum(rest, 1e-15 * np.abs(y).max() + 1e-300)
        far = rest > epsilon * s
        curved = np.where(far, epsilon / size, 1.0 / s if s > 0 else 0.0)
        curved = np.where(np.isfinite(curved), curved, 0.0)
        b = _ridge(Z, y, w * curved, R)
    return b, _scale(np.abs(y - Z @ b), w, epsilon)


def parameters(model):
    """``(coef, intercept, scale)`` of a fitted HuberRegressor."""
    intercept = [model.intercept_] if model.fit_intercept else []
    return np.concatenate([model.coef_, intercept, [model.scale_]])
