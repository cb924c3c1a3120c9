"""The fitted problem of kernel ridge regression."""

from dataclasses import dataclass, field, replace

import numpy as np

from skinfluence.kernel.design import KernelDesign
from skinfluence.losses import Loss, SquaredError
from skinfluence.problem import Chosen, Problem


@dataclass(frozen=True, eq=False)
class KernelProblem(Problem):
    """A kernel ridge regression and its training data.

    Parameters
    ----------
    design : KernelDesign
        The training rows.
    y, weights : ndarray of shape (n_samples,)
    alpha : float
        The factor on ``1/2 |f|^2``.
    dual_coef : ndarray of shape (n_samples,)
        As fitted.
    chosen : Chosen, default=None
        As in :class:`~skinfluence.problem.Problem`.
    single : bool, default=False
        Whether the fit's kernel matrix was in single precision.
    """

    design: KernelDesign
    y: np.ndarray
    weights: np.ndarray
    alpha: float
    dual_coef: np.ndarray
    loss: Loss = field(default_factory=SquaredError)
    labels: None = None
    chosen: Chosen | None = None
    single: bool = False

    model_name = "kernel ridge regression"

    @property
    def sample_weight(self):
        """The weights: there are no class weights."""
        return self.weights

    def on(self, X, rows, carried):
        design = self.design.on(X)
        if design is None:
            return None
        nothing = np.zeros(len(rows.y))
        return replace(
            self, design=design, y=rows.y, weights=rows.weights, dual_coef=nothing, single=False
        )

    def holding(self, hold):
        """The same problem: ``alpha`` is held."""
        if hold not in ("auto", "C"):
            raise ValueError(
                "Edits of kernel ridge regression hold alpha, as refitting does: hold must be 'auto' "
                f"or 'C'. Got {hold!r}."
            )
        return self
