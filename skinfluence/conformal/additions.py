"""The models with one new row, for many rows and a label at once, to a certified distance."""

import numpy as np

from skinfluence import certificate
from skinfluence.edits import Points
from skinfluence.objective import Objective
from skinfluence.smooth.edit_solver import ROUND_OFF

MOST_PASSES = 40
# Error of decision values at which comparisons of scores are as good as of refits.
WANTED = 1e-10


class Additions:
    """One more row in a fitted classifier.

    Parameters
    ----------
    influence : Influence

    Raises
    ------
    TypeError
        For models that are no smooth linear ones.
    ValueError
        For class weights that another row would change.
    """

    def __init__(self, influence):
        model = influence._inputs.model
        problem = influence.objective
        smooth = isinstance(problem, Objective) and problem.loss.self_concordance is not None
        if not smooth:
            raise TypeError(
                "Full conformal sets are of smooth linear classifiers: logistic regression, softmax, "
                f"ridge classifiers. Got {type(model).__name__}; use JackknifePlusClassifier."
            )
        if isinstance(getattr(model, "class_weight", None), str):
            raise ValueError(
                "The weights of classes must not depend on the new point. Got "
                f"class_weight={model.class_weight!r}; pass a dict or None."
            )
        self.influence = influence
        self._solver = influence.answers.edit_solver()
        self._factor = self._solver.factor
        self.objective = self._factor.objective
        self.labels = problem.labels
        self.codes = self.labels.codes_of(self.objective.y)
        self._sizes = np.sqrt(np.einsum("ikk->i", self._factor.leverages()))

    def design_of(self, X):
        """New points as the model sees them."""
        return self.influence._tests(X, None).design

    def counts(self, design, label, scores, codes):
        """How many training rows conform no better than each new one, under the model with it.

        Comparisons that are closer than the models are known count as ties.

        Parameters
        ----------
        design : Design of b rows
        label : int
            Position of the label that all of them get.
        scores : callable
            From decision values (..., n_outputs) to scores of each label (..., n_classes).
        codes : ndarray of int, shape (n_train,)
        """
        moved, bound = self._solved(design, label)
        expand, theta = self.objective.loss.expand, self.objective.theta
        b, k, d = moved.shape
        flat = np.ascontiguousarray((theta + moved).reshape(b * k, d).T)
        eta = expand(self.objective.design.multiply(flat).reshape(-1, b, k))
        own = scores(eta)[np.arange(len(codes)), :, codes].T
        at = np.einsum("bd,bkd->bk", design.dense_rows(), theta + moved)
        new = scores(expand(at))[:, label]
        sizes = np.sqrt(np.einsum("ikk->i", self._factor.leverages(design)))
        # Scores change by at most so much per unit of the decision values.
        steep = 1.0 if k == 1 else np.sqrt(2.0)
        slack = steep * bound[:, None] * (self._sizes + sizes[:, None])
        # Their own rounding.
        slack += 8.0 * np.finfo(float).eps * (1.0 + np.abs(new[:, None]) + np.abs(own))
        return (own <= new[:, None] + slack).sum(axis=1)

    def _solved(self, design, label):
        """Steps of the parameters (b, K, d), and bounds in the norm of the Hessian with the row."""
        objective, factor = self.objective, self._factor
        loss, theta = objective.loss, objective.theta
        (k, d), b = theta.shape, design.n_samples
        X = design.dense_rows()
        y = np.broadcast_to(self.labels.targets[label], (b, *self.labels.targets.shape[1:]))
        weight = self.labels.class_weight[label]
        # H^-1 J' for each output, and J H^-1 J': what a row of curvature adds to the Hessian.
        unit = np.eye(k)
        V = np.stack(
            [factor.solve_rows(design, np.broadcast_to(unit[a], (b, k))) for a in range(k)], axis=1
        )
        h = np.einsum("bakd,bd->bka", V, X)
        moved = np.zeros((b, k, d))
        bound = np.full(b, np.inf)
        left = np.arange(b)
        kappa = np.maximum(self._sizes.max(), np.sqrt(np.einsum("bkk->b", h)))
        previous = np.full(b, np.inf)
        for _ in range(MOST_PASSES):
            G, at, r = self._gradients(moved[left], X[left], y[left], weight)
            solved = factor.solve(G.reshape(len(left), -1).T).T.reshape(G.shape)
            # In the norm of H, below that of the Hessian with the row.
            gradient = np.sqrt(np.maximum(np.einsum("bkd,bkd->b", G, solved), 0.0))
            found = certificate.gradient_bound(loss.self_concordance, kappa[left], gradient, r)
            bound[left] = np.minimum(bound[left], found)
            # Done, or at the rounding of the gradient.
            going = (found * kappa[left] > WANTED) & (gradient < 0.9 * previous[left])
            previous[left] = gradient
            left, G, solved, at = left[going], G[going], solved[going], at[going]
            if not len(left):
                break
            curved = weight * loss.hessian(at, y[left])
            pulled = np.einsum("bkd,bd->bk", solved, X[left])
            inside = np.eye(k) + curved @ h[left]
            back = np.linalg.solve(inside, curved @ pulled[:, :, None])[:, :, 0]
            moved[left] -= solved - np.einsum("ba,bakd->bkd", back, V[left])
        for i in np.flatnonzero(~(bound * kappa <= 100.0 * WANTED)):
            one = Points(
                np.empty(0, dtype=np.intp),
                np.empty(0),
                design.take([i]),
                y[[i]],
                np.array([weight]),
            )
            step, own, *_ = self._solver.solve_points(one, ROUND_OFF)
            if own < bound[i]:
                moved[i], bound[i] = step, own
        return moved, bound + self._solver.accuracy.floor

    def _gradients(self, moved, X, y, weight):
        """Gradients with the new rows (b, K, d), their decision values, and ``r`` of the bound."""
        objective = self.objective
        loss, theta = objective.loss, objective.theta
        b, k, d = moved.shape
        flat = np.ascontiguousarray(moved.reshape(b * k, d).T)
        steps = objective.design.multiply(flat).reshape(-1, b, k)
        eta = (objective.eta[:, None] + steps).transpose(1, 0, 2)
        U = objective.weights[:, None] * loss.gradient(eta, objective.y)
        G = objective.design.adjoint(
            np.ascontiguousarray(U.transpose(1, 0, 2)).reshape(len(steps), b * k)
        )
        now = theta + moved
        G = G.T.reshape(b, k, d) + objective.penalty * now
        at = np.einsum("bd,bkd->bk", X, now)
        own = np.einsum("bd,bkd->bk", X, moved)
        G += (weight * loss.gradient(at, y))[:, :, None] * X[:, None]
        spread = np.maximum(loss.spread(steps).max(axis=0), loss.spread(own))
        return G, at, (loss.self_concordance or 0.0) * spread
