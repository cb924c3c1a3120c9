"""Optima of squared hinges in sixty decimal digits, proved by their optimality conditions.

Nothing here is the package's: Newton's method on the primal problem, halved until the objective
falls, in Python's decimal arithmetic.
"""

from decimal import Decimal, getcontext

import numpy as np

ZERO, ONE, HALF = Decimal(0), Decimal(1), Decimal("0.5")


def exact(values):
    """Floats as the decimals they are."""
    values = np.asarray(values, dtype=float)
    out = np.empty(values.shape, dtype=object)
    for place, value in np.ndenumerate(values):
        out[place] = Decimal(float(value))
    return out


def with_intercept(X, intercept):
    return np.column_stack([X, np.full(len(X), intercept)]) if intercept else X


def decisions(theta, X, intercept):
    """Decision values in decimals."""
    return exact(with_intercept(X, intercept)) @ theta


def terms(theta, X, intercept):
    """Sizes of what decision values are sums of: what float64 must round."""
    return 1.0 + np.abs(with_intercept(X, intercept)) @ np.abs(theta.astype(float))


def squared_hinge(X, signs, weight, C, intercept):
    """``argmin C sum_i w_i max(0, 1 - s_i f_i)^2 + 1/2 |theta|^2``, the intercept penalised.

    Raises
    ------
    ArithmeticError
        If no parameters meet the conditions; what is returned does.
    """
    getcontext().prec = 60
    there = weight > 0
    a = exact(with_intercept(X, intercept)[there]) * exact(signs[there])[:, None]
    c = 2 * Decimal(float(C)) * exact(weight[there])
    theta = np.array([ZERO] * a.shape[1], dtype=object)

    def value(at):
        return HALF * (c @ np.array([max(r, ZERO) ** 2 for r in ONE - a @ at]) + at @ at)

    for _ in range(300):
        short = np.array([r > 0 for r in ONE - a @ theta])
        weighted = a[short] * c[short][:, None]
        H = exact(np.eye(len(theta))) + weighted.T @ a[short]
        goal = _solved(H, weighted.sum(axis=0))
        rest = ONE - a @ goal
        if all(
            (r > -Decimal("1e-40")) if s else (r < Decimal("1e-40")) for r, s in zip(rest, short)
        ):
            return goal
        share, before = ONE, value(theta)
        while not value(theta + share * (goal - theta)) < before:
            share *= HALF
            if share < Decimal("1e-50"):
                raise ArithmeticError("no descent")
        theta = theta + share * (goal - theta)
    raise ArithmeticError("no end")


def _solved(A, b):
    A, b = A.copy(), b.copy()
    for k in range(len(b)):
        pivot = max(range(k, len(b)), key=lambda i: abs(A[i, k]))
        A[[k, pivot]], b[[k, pivot]] = A[[pivot, k]], b[[pivot, k]]
        for i in range(k + 1, len(b)):
            share = A[i, k] / A[k, k]
            A[i, k:] -= share * A[k, k:]
            b[i] -= share * b[k]
    for k in reversed(range(len(b))):
        b[k] = (b[k] - (A[k, k + 1 :] @ b[k + 1 :] if k + 1 < len(b) else ZERO)) / A[k, k]
    return b
