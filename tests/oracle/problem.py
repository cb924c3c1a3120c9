"""``sum_i w_i l(eta_i, y_i) + 1/2 theta' R theta`` in long double, and what edits make of it."""

from dataclasses import dataclass, replace

import numpy as np

LD = np.longdouble


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows, loss, weights and penalty of a linear model.

    Attributes
    ----------
    X : (n, c) long double, the constant column of the intercept last if there is one
    y : what the loss takes
    weights : (n,) class weights included
    sample_weight : (n,) without them
    penalty : (c,)
    basis : (n_outputs, k) orthonormal coordinates of the outputs that matter
    hold : {"C", "lambda"}
    intercept : float, 0 for none
    factor_of : callable from targets to class weights
    kinds : (int, callable) or None
        How many kinds of targets must have weight for an optimum, and the kind of each (or -1).
    encode : callable from class positions, or targets, to what the loss takes
    """

    X: np.ndarray
    loss: object
    y: np.ndarray
    weights: np.ndarray
    sample_weight: np.ndarray
    penalty: np.ndarray
    basis: np.ndarray
    hold: str
    intercept: float
    factor_of: object
    kinds: object = None
    encode: object = np.asarray

    @property
    def shape(self):
        """Of the free parameters, (k, c)."""
        return self.basis.shape[1], self.X.shape[1]

    def rows(self, X):
        """Other rows as this problem's: the constant column appended."""
        X = np.asarray(X, dtype=LD)
        if not self.intercept:
            return X
        return np.column_stack([X, np.full(len(X), LD(self.intercept))])

    def outputs(self, theta, X=None):
        """Decision values (n, n_outputs), of training rows or of :meth:`rows`."""
        return ((self.X if X is None else X) @ theta.T) @ self.basis.T

    def inner(self, coef, intercept):
        """Fitted ``coef_`` and ``intercept_`` as free parameters."""
        theta = np.atleast_2d(np.asarray(coef, dtype=LD))
        if self.intercept:
            offset = np.broadcast_to(np.asarray(intercept, dtype=LD), len(theta))
            theta = np.column_stack([theta, offset / LD(self.intercept)])
        return self.basis.T @ theta

    def gradient(self, theta):
        g = self.loss.gradient(self.outputs(theta), self.y) @ self.basis
        data = (self.weights[:, None] * np.where(self.weights[:, None] > 0, g, 0)).T @ self.X
        return data + self.penalty * theta

    def hessian(self, theta, outputs=None):
        """At parameters, or where the rows have given decision values."""
        inner = self._inner_hessians(self.outputs(theta) if outputs is None else outputs)
        k, c = self.shape
        out = np.zeros((k, c, k, c), dtype=LD)
        for a in range(k):
            for b in range(a, k):
                block = self.X.T @ (inner[:, a, b][:, None] * self.X)
                out[a, :, b], out[b, :, a] = block, block.T
            out[a, range(c), a, range(c)] += self.penalty
        return out.reshape(k * c, k * c)

    def _inner_hessians(self, outputs):
        full = self.loss.hessian(outputs, self.y)
        inner = np.einsum("ka,ikl,lb->iab", self.basis, full, self.basis)
        w = self.weights[:, None, None]
        return np.where(w > 0, w * inner, 0)

    def directions(self, X):
        """Columns ``e_k x`` of each output of rows of :meth:`rows`: (k c, n n_outputs)."""
        k, c = self.shape
        out = self.basis[None, :, :, None] * X[:, None, None, :]
        return out.reshape(-1, k * c).T

    def has_optimum(self):
        """Whether every kind of target that must have weight has some."""
        if self.kinds is None:
            return True
        needed, kind_of = self.kinds
        kinds = kind_of(self.y)
        return all((self.weights[kinds == kind] > 0).any() for kind in range(needed))

    def edited(self, changes, new=()):
        """After changes of sample weights, ``{row: weight}``, and new rows ``(x, y, weight)``."""
        s = self.sample_weight.copy()
        for row, weight in changes.items():
            s[row] = LD(weight)
        X, y = self.X, self.y
        if new:
            X = np.vstack([X, self.rows(np.vstack([x for x, _, _ in new]))])
            y = np.concatenate([y, np.stack([target for _, target, _ in new])])
            s = np.concatenate([s, np.array([w for _, _, w in new], dtype=LD)])
        # A row of class weight zero keeps it.
        weights = s * self.factor_of(y)
        penalty = self.penalty
        if self.hold == "lambda":
            penalty = penalty * (weights.sum() / self.weights.sum())
        return replace(self, X=X, y=y, weights=weights, sample_weight=s, penalty=penalty)
