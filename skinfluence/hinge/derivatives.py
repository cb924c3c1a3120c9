"""Infinitesimal questions about hinge models; signs and scales as in :mod:`skinfluence.smooth.derivatives`.

Everything is a sum over binary problems of products with a conditional kernel ``kappa``: one unit
of weight of row i moves the decision function by ``push_i kappa(., x_i)``.
"""

import numpy as np

from skinfluence._utils.memory import row_blocks


def up_params(problem, conditionals, rows):
    """Derivative of coefficients and intercepts in the weight of training rows, eq. 1.

    Returns
    -------
    influence : ndarray of shape (n_rows, n_outputs, n_columns)
        The intercept last, in the units of ``intercept_``.
    """
    X, intercept = problem.design.X, problem.intercept
    d = problem.design.n_features
    out = np.zeros((len(rows), problem.n_outputs, d + (intercept != 0.0)))
    for output, one in enumerate(conditionals):
        pushing = np.flatnonzero(one.push[rows])
        for block in row_blocks(len(pushing), 8 * (3 * d + len(one.centres))):
            part = pushing[block]
            push = problem.n_samples * one.push[rows[part], None]
            bias, v = one.coefficients(X[rows[part]])
            inside = X[rows[part]]
            inside = inside.toarray() if hasattr(inside, "toarray") else inside
            out[part, output, :d] = push * (inside - (one.X.T @ v).T)
            if problem.free_bias:
                out[part, output, d] = -push[:, 0] * bias
            elif intercept:
                out[part, output, d] = push[:, 0] * intercept**2 * (1.0 - v.sum(axis=0))
    return out


def up_loss(problem, conditionals, gradients, tests, rows, aggregate):
    """Derivative of test losses in the weight of training rows, eq. 2.

    Parameters
    ----------
    problem : HingeObjective
    conditionals : list of Conditional
        One per output.
    gradients : ndarray of shape (n_test, n_outputs)
        ``dl/d eta`` of the test points.
    tests : ndarray or CSR array of shape (n_test, n_features)
    rows : ndarray of int
    aggregate : {None, "mean"}

    Returns
    -------
    influence : ndarray of shape (n_test, n_rows), or (1, n_rows) of the mean
    """
    n_test = tests.shape[0]
    out = np.zeros((1 if aggregate else n_test, len(rows)))
    for output, one in enumerate(conditionals):
        pushing = np.flatnonzero(one.push[rows])
        asked = np.flatnonzero(gradients[:, output])
        push = problem.n_samples * one.push[rows[pushing]]
        pushed = problem.design.X[rows[pushing]]
        for block in row_blocks(len(asked), 8 * (2 * len(pushing) + 2 * len(one.centres))):
            part = asked[block]
            moved = gradients[part, output][:, None] * one.cross(pushed, tests[part]).T * push
            if aggregate:
                out[0, pushing] += moved.sum(axis=0) / n_test
            else:
                out[np.ix_(part, pushing)] += moved
    return out


def pert_loss(problem, conditionals, beta, gradients, tests, rows, aggregate, pull_back, out):
    """Derivative of test losses in the features of training rows, eq. 5.

    ``g_t [push_i grad kappa(x, x_t) - v_t[i] / w_i grad f(x)]`` at ``x_i``: a row moves what it
    pushes, and a row on the margin moves the margin.

    Parameters
    ----------
    problem, conditionals, gradients, tests, rows, aggregate
        As in :func:`up_loss`; ``push`` holds what one unit of weight of a row *has* on its
        coefficient, margin rows included.
    beta : ndarray of shape (n_outputs, n_samples)
        Coefficients at the solution.
    pull_back : callable
    out : ndarray of shape (n_test or 1, n_rows, n_inputs)
        Filled and returned.
    """
    X, kernel = problem.design.X, problem.design.kernel
    expansions = [
        _expansions(one, gradients[:, j], tests, aggregate) for j, one in enumerate(conditionals)
    ]
    m, f = len(out), problem.design.n_features
    for block in row_blocks(len(rows), 8 * (2 * m + 1) * f):
        part = rows[block]
        value = np.zeros((m, len(part), f))
        for output, one in enumerate(conditionals):
            acting = np.flatnonzero(one.push[part])
            if not len(acting):
                continue
            among, at_tests = expansions[output]
            x = X[part[acting]]
            moved = kernel.grad_combination(x, tests, at_tests)
            if len(one.centres):
                moved -= kernel.grad_combination(x, one.X, among)
            moved *= one.push[part[acting], None]
            on_margin, position = _positions(part[acting], one.centres)
            if len(on_margin):
                support = np.flatnonzero(beta[output])
                slope = kernel.grad_combination(
                    x[on_margin], X[support], beta[output, support][:, None]
                )
                held = among[position].T / problem.weights[part[acting[on_margin]]]
                moved[:, on_margin] -= held[:, :, None] * slope
            value[:, acting] += moved
        out[:, block] = pull_back(part, problem.n_samples * value)
    return out


def self_influence(problem, conditionals, gradients):
    """Minus the influence of each training row on its own loss, shape (n_samples,)."""
    out = np.zeros(problem.n_samples)
    X = problem.design.X
    for output, one in enumerate(conditionals):
        pushing = np.flatnonzero(one.push * gradients[:, output])
        for block in row_blocks(len(pushing), 16 * (len(one.centres) + 1)):
            part = pushing[block]
            out[part] -= gradients[part, output] * one.push[part] * one.diagonal(X[part])
    return problem.n_samples * out


def _expansions(one, gradients, tests, aggregate):
    """Coefficients of ``sum_t g_t kappa(., x_t)`` on the centres and on the tests."""
    _, v = one.coefficients(tests)
    among, at_tests = v * gradients, np.diag(gradients)
    if aggregate:
        return among.mean(axis=1, keepdims=True), at_tests.mean(axis=1, keepdims=True)
    return among, at_tests


def _positions(rows, centres):
    """Which of ``rows`` are centres, and which centre each is."""
    order = np.argsort(centres)
    place = np.searchsorted(centres[order], rows)
    place = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(rows), int)
    found = np.flatnonzero(centres[place] == rows) if len(order) else np.empty(0, dtype=int)
    return found, place[found]
