"""Inverting a curvature: factor once, solve many.

A solver is a small object with ``factor(objective) -> Factor``; the strings of the public API
are resolved here and nowhere else.
"""

from skinfluence._utils.typing import Precision
from skinfluence.solvers.base import (
    Factor,
    SingularHessianError,
    Solver,
    SolverLike,
)
from skinfluence.solvers.cg import CG
from skinfluence.solvers.exact import Exact
from skinfluence.solvers.lissa import LiSSA
from skinfluence.solvers.reports import Solution, SolveReport

__all__ = [
    "CG",
    "Exact",
    "Factor",
    "LiSSA",
    "SingularHessianError",
    "Solution",
    "SolveReport",
    "Solver",
]

# Above these sizes a dense factorisation takes gigabytes and minutes.
LARGEST_PRIMAL = 10_000
LARGEST_DUAL = 20_000
BY_NAME = {"exact": Exact, "cg": CG, "lissa": LiSSA}


def resolve_solver(solver: SolverLike, objective, precision: Precision = "float64") -> Solver:
    """The solver object for a name or an object.

    ``"auto"``: primal Cholesky when there are at most as many parameters as training outputs
    and at most 10,000; the dual when the rows are fewer and at most 20,000; CG beyond.
    """
    if precision not in ("float64", "mixed"):
        raise ValueError(f"precision must be 'float64' or 'mixed'. Got {precision!r} instead.")
    if precision == "mixed":
        if solver not in ("auto", "exact"):
            raise ValueError(
                f"precision='mixed' needs solver='auto' or 'exact'. Got {solver!r} instead; "
                "CG(precision='mixed') has its own."
            )
        return Exact("primal", precision="mixed")
    if not isinstance(solver, str):
        if hasattr(solver, "factor"):
            return solver
    elif solver == "auto":
        return _chosen_for(objective)
    elif solver in BY_NAME:
        return BY_NAME[solver]()
    raise ValueError(
        "solver must be 'auto', 'exact', 'cg', 'lissa' or a solver object such as "
        f"skinfluence.solvers.CG(rtol=1e-10). Got {solver!r} instead."
    )


def _chosen_for(objective):
    p = objective.n_parameters
    outputs = objective.n_samples * objective.loss.n_outputs
    has_dual = Exact.has_dual(objective)
    if p <= LARGEST_PRIMAL and (p <= outputs or not has_dual):
        return Exact("primal")
    if outputs <= LARGEST_DUAL and has_dual:
        # The smaller form, which the primal one takes over from where it fails.
        return Exact() if outputs < p else Exact("dual")
    return Exact("primal") if p <= LARGEST_PRIMAL else CG()
