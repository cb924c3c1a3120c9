"""Plain numpy: the fit of a linear model and first-order answers about it, without any contestant.

No model has an intercept, so that everybody's penalty (one number on all parameters) is the same
one. The objective is ``sum_i l(x_i' theta, y_i) + l2 / 2 |theta|^2``; ``theta`` is (K, d), one line
for binary models and regressions.
"""

import numpy as np
from scipy import linalg, special
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator, cg

# Parameters up to which the Hessian is made and factored.
DENSE = 3_000


def gradients(problem, X, y, theta=None):
    """Derivative of each row's loss in its decision values, (n, K)."""
    eta = np.asarray(X @ (problem.theta if theta is None else theta).T)
    if problem.kind == "ridge":
        return eta - y[:, None]
    if problem.kind == "binary":
        return special.expit(eta) - y[:, None]
    out = special.softmax(eta, axis=1)
    out[np.arange(len(y)), y] -= 1.0
    return out


def curvatures(problem, X, theta=None):
    """Second derivative of each row's loss, (n, K, K)."""
    eta = np.asarray(X @ (problem.theta if theta is None else theta).T)
    if problem.kind == "ridge":
        return np.ones((len(eta), 1, 1))
    if problem.kind == "binary":
        return (special.expit(eta) * special.expit(-eta))[:, :, None]
    p = special.softmax(eta, axis=1)
    return np.eye(p.shape[1]) * p[:, :, None] - p[:, :, None] * p[:, None, :]


def hessian(problem, theta=None):
    """The Hessian of the objective as an array."""
    X, curved = problem.X, curvatures(problem, problem.X, theta)
    K, d = curved.shape[1], X.shape[1]
    H = np.empty((K, d, K, d))
    for k in range(K):
        for j in range(k + 1):
            H[k, :, j] = X.T @ (curved[:, k, j, None] * X)
            H[j, :, k] = H[k, :, j].T
    H = H.reshape(K * d, K * d)
    H[np.diag_indices(K * d)] += problem.l2
    return H


def solver(problem, theta=None):
    """``solve(B)``: products of the inverse of the Hessian with columns (K d, m)."""
    K, d = problem.theta.shape if theta is None else theta.shape
    if K * d <= DENSE:
        factor = linalg.cho_factor(hessian(problem, theta), lower=True)
        return lambda B: linalg.cho_solve(factor, B)
    return _iterated(problem, theta, K, d)


def _iterated(problem, theta, K, d):
    """Conjugate gradients to 1e-13, one column at a time, preconditioned."""
    X = problem.X
    eta = np.asarray(X @ (problem.theta if theta is None else theta).T)
    p = special.expit(eta) if problem.kind == "binary" else special.softmax(eta, axis=1)

    def product(v):
        V = v.reshape(K, d)
        moved = np.asarray(X @ V.T)
        if problem.kind == "binary":
            moved *= p * (1.0 - p)
        else:
            moved = p * (moved - (p * moved).sum(axis=1, keepdims=True))
        return (np.asarray(X.T @ moved).T + problem.l2 * V).ravel()

    H = LinearOperator((K * d, K * d), matvec=product, dtype=float)
    M = _preconditioner(problem, p, K, d)

    def solve(B):
        out = np.empty_like(B)
        for column in range(B.shape[1]):
            out[:, column], status = cg(H, B[:, column], rtol=1e-13, maxiter=5_000, M=M)
            if status:
                raise RuntimeError("The reference's conjugate gradients did not converge.")
        return out

    return solve


def _preconditioner(problem, p, K, d):
    """The Kronecker product of the mean curvature and the Gram matrix; the diagonal if sparse."""
    if issparse(problem.X):
        diagonal = np.asarray(problem.X.power(2).T @ (p * (1.0 - p))).T.ravel() + problem.l2
        return LinearOperator((K * d, K * d), matvec=lambda v: v / diagonal)
    mean = np.diag(p.mean(axis=0)) - p.T @ p / len(p) if K > 1 else np.mean(p * (1 - p))
    sizes, Q = np.linalg.eigh(np.atleast_2d(mean))
    spread, V = np.linalg.eigh(problem.X.T @ problem.X)
    scale = np.maximum(np.outer(sizes, spread), 0.0) + problem.l2

    def matvec(v):
        return (Q @ (Q.T @ v.reshape(K, d) @ V / scale) @ V.T).ravel()

    return LinearOperator((K * d, K * d), matvec=matvec)


def fit(problem, theta, tol=1e-10):
    """Newton's method from ``theta`` until no derivative of the mean objective exceeds tol."""
    n = problem.X.shape[0]
    for _ in range(50):
        g = gradients(problem, problem.X, problem.y, theta)
        gradient = np.asarray(problem.X.T @ g).T + problem.l2 * theta
        if np.abs(gradient).max() <= tol * n:
            return theta
        step = solver(problem, theta)(gradient.reshape(-1, 1)).reshape(theta.shape)
        before, size = _value(problem, theta), 1.0
        while _value(problem, theta - size * step) > before + 1e-12 * abs(before):
            size *= 0.5
        theta = theta - size * step
    raise RuntimeError("Newton's method did not converge.")


def _value(problem, theta):
    losses = row_losses(problem, problem.X, problem.y, theta)
    return losses.sum() + 0.5 * problem.l2 * (theta**2).sum()


def row_losses(problem, X, y, theta=None):
    """Half the squared error, or the log loss, of each row."""
    eta = np.asarray(X @ (problem.theta if theta is None else theta).T)
    if problem.kind == "ridge":
        return 0.5 * (eta[:, 0] - y) ** 2
    if problem.kind == "binary":
        return np.logaddexp(0.0, eta[:, 0]) - y * eta[:, 0]
    return special.logsumexp(eta, axis=1) - eta[np.arange(len(y)), y]


def solved_tests(problem):
    """``H^-1`` with the gradient of each test loss, (m, K, d)."""
    g = gradients(problem, problem.X_test, problem.y_test)
    X_test = problem.X_test.toarray() if issparse(problem.X_test) else problem.X_test
    B = (g[:, :, None] * X_test[:, None, :]).reshape(len(g), -1).T
    return solver(problem)(B).T.reshape(len(g), g.shape[1], -1)


def scores(problem):
    """``influence_up_loss``: -n g_t' H^-1 g_i, (m, n)."""
    solved, g = solved_tests(problem), gradients(problem, problem.X, problem.y)
    out = np.zeros((len(solved), len(g)))
    for k in range(g.shape[1]):
        out -= np.asarray(problem.X @ solved[:, k].T).T * g[:, k]
    return len(g) * out


def self_scores(problem):
    """``self_influence``: n g_i' H^-1 g_i."""
    L = linalg.cholesky(hessian(problem), lower=True)
    g = gradients(problem, problem.X, problem.y)
    n, out = len(g), np.empty(len(g))
    for rows in np.array_split(np.arange(n), max(1, n // 500)):
        G = (g[rows, :, None] * problem.X[rows, None, :]).reshape(len(rows), -1)
        out[rows] = n * (linalg.solve_triangular(L, G.T, lower=True) ** 2).sum(axis=0)
    return out


def perturbations(problem):
    """``influence_pert``: -n d/dx [g(x) x]' H^-1 g_t, (m, n, d)."""
    solved = solved_tests(problem)
    g = gradients(problem, problem.X, problem.y)
    curved = curvatures(problem, problem.X)
    along = np.einsum("nd,mkd->mnk", problem.X, solved)
    moved = np.einsum("nkj,mnj->mnk", curved, along)
    out = np.einsum("mnk,kd->mnd", moved, problem.theta)
    out += np.einsum("nk,mkd->mnd", g, solved)
    return -len(g) * out


def own_outputs(problem, X, y, theta=None):
    """Predictions of a regression; the probability of each row's own label otherwise."""
    if problem.kind == "ridge":
        return np.asarray(X @ (problem.theta if theta is None else theta).T)[:, 0]
    return np.exp(-row_losses(problem, X, y, theta))


def left_out(problem, rows):
    """``own_outputs`` of single rows by refits without them, to 1e-12."""
    out = np.empty(len(rows))
    whole_X, whole_y = problem.X, problem.y
    for i, row in enumerate(rows):
        kept = np.delete(np.arange(len(whole_y)), row)
        problem.X, problem.y = whole_X[kept], whole_y[kept]
        theta = fit(problem, problem.theta, tol=1e-12)
        problem.X, problem.y = whole_X, whole_y
        out[i] = own_outputs(problem, whole_X[[row]], whole_y[[row]], theta)[0]
    return out


def jackknife_plus(problem, coverage):
    """Ends of the intervals of new rows by refits of a ridge regression without each row, (m, 2)."""
    X, y, n = problem.X, problem.y, len(problem.y)
    H, b = hessian(problem), problem.X.T @ problem.y
    centre, residual = np.empty((n, len(problem.X_test))), np.empty(n)
    for i, x in enumerate(X):
        theta = np.linalg.solve(H - np.outer(x, x), b - y[i] * x)
        centre[i], residual[i] = problem.X_test @ theta, abs(y[i] - x @ theta)
    rank = int(np.ceil(coverage * (n + 1)))
    low = -np.sort(residual[:, None] - centre, axis=0)[rank - 1]
    return np.stack([low, np.sort(centre + residual[:, None], axis=0)[rank - 1]], axis=1)


def shapley(problem, n_orders, seed=0):
    """What rows change in minus the mean loss of the test rows, in random orders, all refits, (n,)."""
    X, y, l2, rng = problem.X, problem.y, problem.l2, np.random.default_rng(seed)
    (n, d), out = X.shape, np.zeros(len(y))
    # The loss is quadratic in theta: a' theta and theta' Q theta are all that it needs.
    Q, a = (problem.X_test.T @ f / len(problem.y_test) for f in (problem.X_test, problem.y_test))
    for part in np.array_split(np.arange(n_orders), max(1, n_orders // 1_000)):
        orders = rng.permuted(np.tile(np.arange(n), (len(part), 1)), axis=1)
        H, b, before = np.tile(l2 * np.eye(d), (len(part), 1, 1)), np.zeros((len(part), d)), 0.0
        for i in orders.T:
            H += X[i, :, None] * X[i, None, :]
            b += y[i, None] * X[i]
            theta = np.linalg.solve(H, b[:, :, None])[:, :, 0]
            now = theta @ a - 0.5 * np.einsum("pi,ij,pj->p", theta, Q, theta)
            np.add.at(out, i, now - before)
            before = now
    return out / n_orders
