"""How far decision values may be from those of the optimum, by a gradient and the penalty alone."""

import numpy as np


class Nearness:
    """Which of some problems are so near their optima that what is asked is certain.

    Problems of one output, with a loss of self-concordance M and a penalty ``R`` on all columns but a
    free intercept. Along the optima of ``F(.) - (1 - t) g'.``, from here (t = 0) to the optimum (t = 1),
    the Hessian times the velocity ``v`` is ``-g``. So with ``a = |g_f|`` in the norm of ``R^-1``,
    ``s = |g_0|`` of an intercept of 1, ``X`` the largest norm of a row in the same and ``L`` the sum of the
    second derivatives here,

        |v_f|_R <= E = a + s X + s (e / L)^1/2,     |x'v_f + v_0| <= B = 2 X E + s e / L,

    as long as no decision value of a row has moved by more than ``1 / M``, which leaves at least ``L / e``
    of ``L``. Where ``B <= 1 / M`` none ever does, and B bounds the error. An intercept with a penalty is a
    column like others.

    Parameters
    ----------
    objective : Objective
        Whose loss and intercept these have.
    penalty : ndarray of shape (m, n_columns)
    largest : ndarray of shape (m,)
        The largest norm of a row, intercept aside, in the norm of the inverse penalty.
    bends : ndarray of shape (m,)
        Sums of weighted second derivatives where the gradients were taken; written by who takes them.
    asked : callable
        From the position of a problem and parameters to the decision values in question.
    before : list of ndarray
        What they were before the edits.
    tol : float
        What they may be off by, as a share of the largest change of an edit.
    """

    def __init__(self, objective, penalty, largest, bends, asked, before, tol):
        self.objective, self.penalty, self.largest = objective, penalty, largest
        self.bends, self.asked, self.before, self.tol = bends, asked, before, tol

    def __call__(self, which, theta, gradients):
        """A mask of the problems, as of :func:`~skinfluence.smooth.optimum.old_factor.by_chords`."""
        bounds = self.bounds(which, gradients)
        out = np.zeros(len(which), dtype=bool)
        for place, k in enumerate(which):
            if np.isfinite(bounds[place]):
                change = np.abs(self.asked(k, theta[place]) - self.before[k]).max(initial=0.0)
                out[place] = bounds[place] <= self.tol * change
        return out

    def bounds(self, which, gradients):
        """What decision values of the rows may be off by at most, (b,); infinite where that is not known."""
        X, penalty = self.largest[which], self.penalty[which]
        intercept = self.objective.design.intercept
        free = bool(intercept and self.objective.penalty[-1] == 0)
        if not free:
            own = intercept / np.sqrt(penalty[:, -1]) if intercept else 0.0
            return np.hypot(X, own) * np.sqrt((gradients**2 / penalty).sum(axis=1))
        a = np.sqrt((gradients[:, :-1] ** 2 / penalty[:, :-1]).sum(axis=1))
        s = np.abs(gradients[:, -1]) / intercept
        bends = np.maximum(self.bends[which], np.finfo(float).tiny)
        with np.errstate(over="ignore"):
            E = a + s * X + s * np.sqrt(np.e / bends)
            bound = 2.0 * X * E + s * np.e / bends
        return np.where(self.objective.loss.self_concordance * bound <= 1.0, bound, np.inf)
