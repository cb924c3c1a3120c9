"""What ``solver=`` and ``hessian=`` choose."""

from skinfluence.neural.curvature import LARGEST_DENSE, ModuleCG, ModuleCholesky
from skinfluence.neural.kfac import kfac_factor
from skinfluence.neural.stochastic import ModuleLiSSA
from skinfluence.solvers import CG, LiSSA

# Rows of a step of LiSSA: a pass through a network costs about the same for one as for many.
MINIBATCH = 32
# A product costs passes through the network: two digits less than for linear models.
RTOL = 1e-8


def factor_of(problem, solver):
    """The factor of a problem.

    Parameters
    ----------
    problem : ModuleProblem
    solver : {"auto", "exact", "cg", "lissa"}, CG or LiSSA

    Raises
    ------
    ValueError
        For other solvers, and for Kronecker factors with any.
    """
    if problem.hessian == "kfac":
        if solver != "auto":
            raise ValueError(
                "Kronecker factors are solved by their eigenvectors: leave solver='auto'. Got "
                f"{solver!r} instead."
            )
        return kfac_factor(problem)
    if isinstance(solver, CG):
        if solver.probes is not None:
            raise ValueError("Random probes estimate leverages of linear models only. Use CG().")
        return ModuleCG(problem, solver)
    if isinstance(solver, LiSSA):
        return ModuleLiSSA(problem, solver)
    if solver == "auto":
        solver = "exact" if problem.n_parameters <= LARGEST_DENSE else "cg"
    if solver == "exact":
        return ModuleCholesky(problem)
    if solver == "cg":
        return ModuleCG(problem, CG(rtol=RTOL, precision="mixed"))
    if solver == "lissa":
        return ModuleLiSSA(problem, LiSSA(batch_size=MINIBATCH))
    raise ValueError(
        "solver must be 'auto', 'exact', 'cg', 'lissa' or skinfluence.solvers.CG(...) or LiSSA(...). "
        f"Got {solver!r} instead."
    )
