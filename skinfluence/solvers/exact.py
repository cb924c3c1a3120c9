"""The direct solver: which dense Cholesky factorisation, primal (parameters) or dual (training outputs)."""

from typing import Literal

from skinfluence._utils.typing import Precision
from skinfluence.solvers.base import SingularHessianError, check_damping
from skinfluence.solvers.class_dual import ClassDualFactor, SingleClassDualFactor, dual_form
from skinfluence.solvers.dual import CurvesDownError, dual_or_primal
from skinfluence.solvers.primal import MixedFactor, PrimalFactor


class Exact:
    """Direct solver.

    Parameters
    ----------
    form : {"auto", "primal", "dual"}, default="auto"
        ``"primal"`` factors the Hessian, ``"dual"`` the kernel matrix of the training outputs;
        ``"auto"`` takes the smaller one. Where columns of very different scales cancel in the dual
        form, the primal one takes over up to 5,000 parameters; ``report().solver`` names what is used.
    precision : {"float64", "mixed"}, default="float64"
        ``"mixed"`` (primal; dual for a softmax of four classes and more): Gram matrices, factorisation
        and leverages in float32, each solve refined to float64 with exact Hessian products. The
        relative error this leaves in leverages is part of every bound.
    damping : float, default=0.0
        Factor ``H + damping I``; see :class:`~skinfluence.solvers.CG`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.solvers import Exact
    >>> X, y = load_diabetes(return_X_y=True)
    >>> Influence(Ridge().fit(X, y), X, y, solver=Exact("dual")).report().solver
    'dual Cholesky'
    """

    def __init__(
        self,
        form: Literal["auto", "primal", "dual"] = "auto",
        precision: Precision = "float64",
        damping: float = 0.0,
    ) -> None:
        self.form = form
        self.precision = precision
        self.damping = damping

    @staticmethod
    def has_dual(objective):
        """Whether every column but the intercept is penalised, as the dual needs.

        Parameters
        ----------
        objective : Objective
        """
        return bool((objective.penalty[: objective.design.n_features] > 0).all())

    def factor(self, objective):
        """A :class:`~skinfluence.solvers.Factor` of the Hessian at ``objective.theta``.

        Parameters
        ----------
        objective : Objective

        Raises
        ------
        SingularHessianError
            If the Hessian is not numerically positive definite.
        """
        outputs = objective.n_samples * objective.loss.n_outputs
        form, damping = self.form, check_damping(self.damping)
        if form == "auto":
            small = outputs < objective.n_parameters and self.has_dual(objective)
            form = "dual" if small else "primal"
            if small and self.precision != "mixed":
                return dual_or_primal(dual_form(objective), objective, damping=damping)
        if self.precision == "mixed":
            if form == "dual" and ClassDualFactor.serves(objective):
                return dual_or_primal(
                    SingleClassDualFactor, objective, damping=damping, refuses=SingularHessianError
                )
            if form != "primal":
                raise ValueError(
                    "precision='mixed' needs more training outputs than parameters. Got "
                    f"{outputs} and {objective.n_parameters}; use precision='float64'."
                )
            _refuse_many_shifts(objective)
            return MixedFactor(objective, damping=damping)
        if form == "dual":
            if not self.has_dual(objective):
                raise ValueError(
                    "The dual form needs a penalty on every feature. Got an unpenalised "
                    "model; use Exact('primal')."
                )
            return dual_or_primal(
                dual_form(objective), objective, damping=damping, refuses=CurvesDownError
            )
        if form == "primal":
            return PrimalFactor(objective, damping=damping)
        raise ValueError(f"form must be 'auto', 'primal' or 'dual'. Got {form!r} instead.")

    def for_edits(self):
        """The solver of edited problems: where single precision fails on one, double takes over."""
        return self if self.precision == "float64" else _SingleOrDouble(self)


class _SingleOrDouble:
    """Factors edited problems in single precision, in double where that has too few digits."""

    def __init__(self, solver):
        self._single, self._double = solver, Exact(solver.form, damping=solver.damping)

    def factor(self, objective):
        try:
            return self._single.factor(objective)
        except SingularHessianError:
            return self._double.factor(objective)


def _refuse_many_shifts(objective):
    """Every row of another weight takes another share of the penalty: a factorisation each."""
    weights = objective.weights[objective.weights > 0]
    if objective.unit_penalty.any() and (weights != weights[0]).any():
        raise ValueError(
            "precision='mixed' with a penalty per unit of weight (hold='lambda') needs equal "
            f"weights. Got weights from {weights.min():.3g} to {weights.max():.3g}; use "
            "precision='float64'."
        )
