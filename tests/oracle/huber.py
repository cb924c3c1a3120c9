"""Huber regression with its scale in long double, by a damped Newton method."""

import numpy as np

from tests.oracle.algebra import LD, Factor


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
            size = np.sqrt(step @ self.hessian(p) @ step)
            if share == 1.0 and size < 1e-17 * np.abs(self.w).sum():
                break
        assert size < 1e-15 * np.abs(self.w).sum()
        return p


def parameters(model):
    """``(coef, intercept, scale)`` of a fitted HuberRegressor."""
    intercept = [model.intercept_] if model.fit_intercept else []
    return np.concatenate([model.coef_, intercept, [model.scale_]])
