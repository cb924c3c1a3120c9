"""The models with one new row, for many rows and a label at once, to a certified distance."""

from dataclasses import replace

import numpy as np

from skinfluence import certificate
from skinfluence._utils.weights import weigh
from skinfluence.edits.points import Points
from skinfluence.smooth.optimum.accuracy import Accuracy
from skinfluence.smooth.stages.solved import ROUND_OFF

MOST_PASSES = 40
# Error of decision values from which on comparisons are tried, and at which they are as good as of refits.
NEAR, WANTED = 0.1, 1e-10


class Additions:
    """One more row in a fitted classifier whose rows and weights it does not move.

    Parameters
    ----------
    influence : Influence
    """

    def __init__(self, influence):
        problem = influence.objective
        self.influence = influence
        self._solver = influence.answers.edit_solver()
        self._factor = self._solver.factor
        self.objective = self._factor.objective
        self.labels = problem.labels
        self.codes = self.labels.codes_of(self.objective.y)
        self._sizes = _sizes(self._factor)

    def design_of(self, X):
        """New points as the model sees them."""
        return self.influence.data.tests(X, None).design

    def counts(self, design, label, scores, codes):
        """How many training rows conform no better than each new one, under the model with it.

        Points are left as soon as their comparisons are certain. Those that stay closer than float64
        can tell are counted as ties.

        Parameters
        ----------
        design : Design of b rows
        label : int
            Position of the label that all of them get.
        scores : callable
            From decision values (..., n_outputs) to scores of each label (..., n_classes).
        codes : ndarray of int, shape (n_train,)
        """
        loss, factor = self.objective.loss, self._factor
        k, b = loss.n_outputs, design.n_samples
        X = design.dense_rows()
        target = self.labels.targets[label]
        weight = self.labels.class_weight[label]
        # H^-1 J' for each output, and J H^-1 J': what a row of curvature adds to the Hessian.
        unit = np.eye(k)
        V = np.stack(
            [factor.solve_rows(design, np.broadcast_to(unit[a], (b, k))) for a in range(k)], axis=1
        )
        h = np.einsum("bakd,bd->bka", V, X)
        sizes = np.sqrt(np.einsum("bkk->b", h))
        kappa = np.maximum(self._sizes.max(), sizes)
        count = np.zeros(b, dtype=np.intp)
        previous = np.full(b, np.inf)
        y = np.broadcast_to(target, (b, *np.shape(target)))
        at = design.multiply(self.objective.theta.T)
        pulled = weight * loss.gradient(at, y)
        # At the optimum only the new row pulls.
        inside = unit + weight * loss.hessian(at, y) @ h
        moved = -_solved_back(inside, pulled, V)
        left, lost = np.arange(b), []
        for _ in range(MOST_PASSES):
            y = np.broadcast_to(target, (len(left), *np.shape(target)))
            G, eta, at, r = self._gradients(moved[left], X[left], y, weight)
            solved = factor.solve(G.reshape(len(left), -1).T).T.reshape(G.shape)
            # In the norm of H, below that of the Hessian with the row.
            gradient = np.sqrt(np.maximum(np.einsum("bkd,bkd->b", G, solved), 0.0))
            bound = certificate.gradient_bound(loss.self_concordance, kappa[left], gradient, r)
            going = np.ones(len(left), dtype=bool)
            near = np.flatnonzero(bound * kappa[left] < NEAR)
            if len(near):
                rows = left[near]
                error = bound[near] + self._solver.accuracy.floor
                spread = error[:, None] * (self._sizes + sizes[rows, None])
                low, high = self._compared(scores, codes, label, eta[near], at[near], spread)
                known = (low == high) | (bound[near] * kappa[rows] < WANTED)
                count[rows[known]] = high[known]
                going[near[known]] = False
            stuck = going & ~(gradient < 0.9 * previous[left])
            lost.extend(left[stuck])
            going &= ~stuck
            previous[left] = gradient
            left, G, solved, at, y = left[going], G[going], solved[going], at[going], y[going]
            if not len(left):
                break
            curved = weight * loss.hessian(at, y)
            pulled = np.einsum("bkd,bd->bk", solved, X[left])
            inside = unit + curved @ h[left]
            pulled = (curved @ pulled[:, :, None])[:, :, 0]
            moved[left] -= solved - _solved_back(inside, pulled, V[left])
        for i in [*lost, *left]:
            count[i] = self._count_alone(design.take([i]), label, scores, codes)
        return count

    def _compared(self, scores, codes, label, eta, at, spread):
        """The least and the most rows that conform no better, (b,) each.

        ``spread``, (b, n_train), is what the decision values of a row and of the new one may be off by
        together.
        """
        expand = self.objective.loss.expand
        every = scores(expand(eta))
        own = np.take_along_axis(every, codes[None, :, None], axis=2)[:, :, 0]
        new = scores(expand(at))[:, label, None]
        # Scores change by at most so much per unit of the decision values.
        steep = 1.0 if eta.shape[-1] == 1 else np.sqrt(2.0)
        slack = steep * spread
        # Their own rounding.
        slack += 8.0 * np.finfo(float).eps * (1.0 + np.abs(new) + np.abs(own))
        return (own <= new - slack).sum(axis=1), (own <= new + slack).sum(axis=1)

    def _count_alone(self, design, label, scores, codes):
        """As :meth:`counts` for one point, by Newton's method.

        Where it reaches far the Hessian before it says nothing about the model with it; the one at that
        model, which is then formed, does.
        """
        before = self.objective
        y, weight = self.labels.targets[[label]], self.labels.class_weight[[label]]
        one = Points(np.empty(0, dtype=np.intp), np.empty(0), design, y, weight)
        step, *_ = self._solver.points.solve(one, ROUND_OFF)
        weights = np.append(before.weights, weight)
        after = replace(
            before,
            design=before.design.extended(design),
            y=np.concatenate([before.y, y]),
            weights=weights,
            sample_weight=weights,
            theta=before.theta + step,
        )
        factor = self._solver.solver.factor(after)
        sizes, eta = _sizes(factor), after.eta
        spread = Accuracy(factor).floor * (sizes[None, :-1] + sizes[-1])
        return self._compared(scores, codes, label, eta[None, :-1], eta[-1:], spread)[1][0]

    def _gradients(self, moved, X, y, weight):
        """Gradients with the new rows (b, K, d), decision values, and ``r`` of the bound."""
        objective = self.objective
        loss, theta = objective.loss, objective.theta
        b, k, d = moved.shape
        flat = np.ascontiguousarray(moved.reshape(b * k, d).T)
        steps = objective.design.multiply(flat).reshape(-1, b, k)
        eta = (objective.eta[:, None] + steps).transpose(1, 0, 2)
        U = weigh(objective.weights[:, None], loss.gradient(eta, objective.y))
        G = objective.design.adjoint(
            np.ascontiguousarray(U.transpose(1, 0, 2)).reshape(len(steps), b * k)
        )
        now = theta + moved
        G = G.T.reshape(b, k, d) + objective.penalty * now
        at = np.einsum("bd,bkd->bk", X, now)
        own = np.einsum("bd,bkd->bk", X, moved)
        G += (weight * loss.gradient(at, y))[:, :, None] * X[:, None]
        spread = np.maximum(loss.spread(steps).max(axis=0), loss.spread(own))
        return G, eta, at, (loss.self_concordance or 0.0) * spread


def _sizes(factor):
    """``|x_i|`` of all outputs of a row in the norm of the inverse of the Hessian, (n_train,)."""
    return np.sqrt(np.einsum("ikk->i", factor.leverages()))


def _solved_back(inside, right, V):
    """``V (inside^-1 right)`` of each point, (b, K, d)."""
    back = np.linalg.solve(inside, right[:, :, None])[:, :, 0]
    return np.einsum("ba,bakd->bkd", back, V)
