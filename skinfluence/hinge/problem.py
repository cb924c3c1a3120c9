"""The fitted problem of a hinge model: binary problems over one kernel and one set of rows."""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence.active_set import HingeProblem
from skinfluence.hinge.losses import Hinge
from skinfluence.kernel.design import KernelDesign
from skinfluence.kernel.functions import Linear, Poly
from skinfluence.objective import Labels, resolve_hold
from skinfluence.problem import Chosen, Problem

# Kernel matrices up to this many rows are made once and kept.
KEPT_ROWS = 3000


@dataclass(frozen=True, eq=False)
class HingeObjective(Problem):
    """``1/2 |f_j|^2 + C sum_i w_i factors_ij max(0, 1 - signs_ij f_j(x_i))`` for each problem j.

    Parameters
    ----------
    design : KernelDesign
        The training rows and their kernel, which holds the intercept when that is penalised.
    loss : Hinge
    C : float
    free_bias : bool
        Whether an unpenalised intercept is fitted.
    y : ndarray of int, shape (n_samples,)
        Class positions.
    weights : ndarray of shape (n_samples,)
    sample_weight : ndarray of shape (n_samples,)
    labels : Labels
    beta : ndarray of shape (n_outputs, n_samples)
        Coefficients of the kernel expansions as fitted, with the sign of the target.
    bias : ndarray of shape (n_outputs,)
        The unpenalised intercepts as fitted.
    eta : ndarray of shape (n_samples, n_outputs), default=None
        Decision values as fitted, where they are known better than from ``beta``.
    gamma_counts : {"weights", "rows", "rows left"}, default=None
    chosen : Chosen, default=None
        Both as in :class:`~skinfluence.problem.Problem`.
    near : bool, default=False
        Whether the coefficients are those of a fit on nearly the same rows.
    """

    design: KernelDesign
    loss: Hinge
    C: float
    free_bias: bool
    y: np.ndarray
    weights: np.ndarray
    sample_weight: np.ndarray
    labels: Labels
    beta: np.ndarray
    bias: np.ndarray
    fitted_eta: np.ndarray | None = None
    gamma_counts: str | None = None
    chosen: Chosen | None = None
    near: bool = False

    model_name = "a support vector machine"
    # Without a class its binary problems have no second side.
    needs_all_classes = True

    @property
    def n_outputs(self):
        """Binary problems."""
        return self.loss.n_outputs

    @property
    def is_linear(self):
        """Whether the decision functions are planes in the features."""
        kernel = self.design.kernel
        if isinstance(kernel, Poly):
            # Degree 1 with a penalised intercept in its constant.
            return not self.free_bias and kernel.degree == 1 and kernel.gamma == 1.0
        return isinstance(kernel, Linear)

    @property
    def intercept(self):
        """Value of the intercept's column of a linear model, 0 for none."""
        return 1.0 if self.free_bias else float(np.sqrt(getattr(self.design.kernel, "coef0", 0.0)))

    def kinds(self, y):
        """The class of each target: all must keep weight."""
        return np.asarray(y, dtype=np.intp)

    def holding(self, hold):
        """The same problem: the bound of every row is held."""
        if resolve_hold(hold, "C") == "lambda":
            raise ValueError(
                "An edit of a hinge model holds C. Got hold='lambda', which would change the bound "
                "of every row; ask with hold='C', or fit with the C of the edited total weight."
            )
        return self

    def reweighted(self, ratio):
        """The same problem where each class weighs ``ratio`` times as much, (n_classes,).

        The coefficients, where its solution starts, stay at the share of their bound that they have.
        """
        loss = self.loss.reweighted(ratio)
        codes = self.y
        factors, before = loss.factors[codes], self.loss.factors[codes]
        share = np.divide(factors, before, out=np.ones_like(before), where=before > 0)
        return replace(
            self,
            loss=loss,
            weights=self.weights * ratio[codes],
            labels=replace(self.labels, class_weight=self.labels.class_weight * ratio),
            beta=self.beta * (ratio[codes, None] * share).T,
            fitted_eta=None,
        )

    def on(self, X, rows, carried):
        design = self.design.on(X, self.counted(rows.sample_weight))
        if design is None or not np.bincount(rows.y, minlength=len(self.labels.classes)).all():
            # A fit says what it wants of its classes.
            return None
        before = self if rows.ratio is None else self.reweighted(rows.ratio)
        own = {name: getattr(rows, name) for name in ("y", "weights", "sample_weight")}
        beta = np.pad(before.beta[:, rows.kept], ((0, 0), (0, len(rows.new))))
        return replace(before, design=design, beta=beta, near=True, **own).in_its_bounds()

    def in_its_bounds(self):
        """The same problem, its coefficients no larger than their bounds."""
        edge = (self.weights[:, None] * self.units(self.y)).T
        beta = np.clip(self.beta, np.minimum(edge, 0.0), np.maximum(edge, 0.0))
        return replace(self, beta=beta, fitted_eta=None)

    def units(self, codes):
        """``y_ij C factors_ij``: the coefficient of a row of weight 1 at its bound, (m, n_outputs)."""
        return self.C * self.loss.signs[codes] * self.loss.factors[codes]

    def cross(self, A, B):
        """Kernel values of all pairs of rows, of which there may be none."""
        if not (A.shape[0] and B.shape[0]):
            return np.zeros((A.shape[0], B.shape[0]))
        return self.design.kernel(A, B)

    def rows_of(self, output):
        """Training rows that belong to a binary problem."""
        return np.flatnonzero(self.loss.signs[self.y, output] != 0.0)

    def binary(self, output, rows):
        """The engine's problem of one output over some rows; rows of no part in it are absent."""
        X, kernel = self.design.X[rows], self.design.kernel
        if len(rows) <= KEPT_ROWS:
            values = self.design.values if len(rows) == self.n_samples else kernel(X)
        else:

            def values(a, b):
                return kernel(X[a], X[b])

        sides = self.sides(output, rows)
        return HingeProblem(values, *sides, free_bias=self.free_bias, diagonal=kernel.diagonal(X))

    def sides(self, output, rows):
        """Labels -1 and 1, and upper bounds, of some rows in one binary problem."""
        codes = self.y[rows]
        signs = self.loss.signs[codes, output]
        bounds = self.weights[rows] * np.abs(self.units(codes)[:, output])
        return np.where(signs == 0.0, 1.0, signs), bounds
