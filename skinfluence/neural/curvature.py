"""The Hessian of a module's objective as a scipy LinearOperator, and its factors."""

import copy
import threading

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from skinfluence.neural.running import import_torch
from skinfluence.solvers import CG, SingularHessianError
from skinfluence.solvers.base import Factor
from skinfluence.solvers.cg import CGFactor
from skinfluence.solvers.exact import PrimalFactor, cholesky
from skinfluence.utils.memory import check_fits, row_blocks

# Up to here a dense Hessian takes seconds and 200 MB.
LARGEST_DENSE = 5_000


class ModuleCurvature(LinearOperator):
    """``sum_i w_i J_i' Lambda_i J_i + W (decay + damping) + shift R0``.

    The full Hessian has ``sum_i w_i g_i . d2 eta_i`` too.

    Parameters
    ----------
    problem : ModuleProblem
    shift : float, default=0.0
        Change of the total weight whose decay is added.
    """

    def __init__(self, problem, shift=0.0):
        self.problem = problem
        self.shift = shift
        p = problem.n_parameters
        super().__init__(dtype=np.dtype(np.float64), shape=(p, p))

    @property
    def added(self):
        """What is added to the diagonal."""
        return self.problem.added + self.shift * self.problem.unit_penalty

    def _matmat(self, V):
        problem, network = self.problem, self.problem.network
        V = np.asarray(V, dtype=np.float64)
        out = self.added[:, None] * V
        for block in problem.passes(V.shape[1]):
            X, w = problem.design.X[block], problem.weights[block]
            moved = (w[:, None, None] * problem.hessians[block]) @ network.multiply(X, V)
            out = out + network.adjoint(X, moved)
            if problem.hessian == "full":
                out += network.curved(X, w[:, None] * problem.gradients[block], V)
        return out

    def _matvec(self, v):
        return self._matmat(np.asarray(v).reshape(-1, 1))[:, 0]

    def _adjoint(self):
        return self

    def dense(self):
        """The Hessian as an array: one Gram matrix of the Jacobians, and products if full."""
        problem, torch = self.problem, import_torch()
        p = problem.n_parameters
        H = torch.zeros((p, p), device=problem.network.device, dtype=problem.network.dtype)
        for block in problem.blocks(2 * problem.loss.n_outputs):
            J = problem.network.jacobians(problem.design.X[block])
            weighted = problem.weights[block, None, None] * problem.hessians[block]
            scaled = problem.network.tensor(weighted) @ J
            H += J.reshape(-1, p).T @ scaled.reshape(-1, p)
        H = H.cpu().numpy().astype(np.float64)
        if problem.hessian == "full":
            H += self._dense_second()
        H[np.diag_indices(p)] += self.added
        return 0.5 * (H + H.T)

    def _dense_second(self):
        problem = self.problem
        p = problem.n_parameters
        out = np.zeros((p, p))
        identity = np.eye(p)
        for columns in row_blocks(p, 1, 64):
            for block in problem.passes(64):
                c = problem.weights[block, None] * problem.gradients[block]
                X = problem.design.X[block]
                out[:, columns] += problem.network.curved(X, c, identity[:, columns])
        return out

    def diagonal(self):
        """Diagonal of the Gauss-Newton part and what is added; preconditions CG."""
        problem, torch = self.problem, import_torch()
        out = self.added.copy()
        for block in problem.blocks(2 * problem.loss.n_outputs):
            J = problem.network.jacobians(problem.design.X[block])
            weighted = problem.weights[block, None, None] * problem.hessians[block]
            scaled = problem.network.tensor(weighted) @ J
            out += torch.einsum("bkp,bkp->p", J, scaled).cpu().numpy()
        return out


class _ModuleFactor:
    """What both factors of a module share: other shifts and another meaning of edits."""

    def holding(self, hold):
        problem = self.objective.holding(hold)
        if problem.hold == self.objective.hold:
            return self
        other = copy.copy(self)
        other.objective = problem
        other.curvature = self._curvature_at(problem)
        other._siblings, other._lock = {}, threading.Lock()
        return other

    def _curvature_at(self, problem):
        return ModuleCurvature(problem, self.curvature.shift)


class ModuleCholesky(_ModuleFactor, PrimalFactor):
    """Cholesky of the dense Hessian, kept as ``matrix``."""

    name = "Cholesky"

    def __init__(self, problem, shift=0.0, H=None):
        Factor.__init__(self, problem, shift)
        self.curvature = ModuleCurvature(problem, shift)
        p = problem.n_parameters
        check_fits((4, p, p), "Use solver='cg', or parameters= for fewer.", "The Hessian")
        self.matrix = self.curvature.dense() if H is None else H
        try:
            self._L, self._scale, self.rcond = cholesky(self.matrix, "The Hessian")
        except SingularHessianError:
            smallest = float(linalg.eigh(self.matrix, eigvals_only=True, subset_by_index=[0, 0])[0])
            raise _refusal(problem, smallest) from None

    def _sibling(self, shift):
        H = self.matrix.copy()
        H[np.diag_indices(len(H))] += (shift - self.curvature.shift) * self.objective.unit_penalty
        return ModuleCholesky(self.objective, shift, H)


class ModuleCG(_ModuleFactor, CGFactor):
    """Conjugate gradients with products by ``torch.func``."""

    def __init__(self, problem, solver, shift=0.0):
        Factor.__init__(self, problem, shift)
        self.curvature = ModuleCurvature(problem, shift)
        self.solver, self.rtol = solver, solver.rtol
        self._diagonal = self.curvature.diagonal()
        if not (self._diagonal > 0).all():
            raise _refusal(problem, float(self._diagonal.min()))
        if problem.hessian == "full":
            smallest = _smallest_ritz(self.curvature)
            if smallest <= 0:
                raise _refusal(problem, smallest)

    def _sibling(self, shift):
        return ModuleCG(self.objective, self.solver, shift)


def _smallest_ritz(curvature):
    """The smallest Ritz value of a short Lanczos run: an upper bound of the smallest eigenvalue."""
    p = curvature.shape[0]
    start = np.random.RandomState(0).standard_normal(p)
    try:
        options = {"ncv": min(p, 40), "maxiter": 10, "tol": 1e-2}
        return float(eigsh(curvature, 1, which="SA", v0=start, **options)[0][0])
    except ArpackError as error:
        found = getattr(error, "eigenvalues", np.empty(0))
        return float(found.min()) if len(found) else _lanczos(curvature, start, 100)


def _lanczos(curvature, start, steps):
    """Smallest Ritz value after some steps, with full reorthogonalisation."""
    Q = [start / np.linalg.norm(start)]
    T = np.zeros((steps, steps))
    for j in range(min(steps, curvature.shape[0])):
        v = curvature @ Q[j]
        T[j, : j + 1] = T[: j + 1, j] = [q @ v for q in Q]
        v = v - np.array(Q).T @ (np.array(Q) @ v)
        size = np.linalg.norm(v)
        if size < 1e-12 * abs(T[0, 0]) or j + 1 == steps:
            break
        Q.append(v / size)
    return float(np.linalg.eigvalsh(T[: j + 1, : j + 1])[0])


def _refusal(problem, smallest):
    smallest /= problem.total_weight
    remedy = (
        f"Pass damping > {max(-smallest, 0.0):.1e} (it is reported and part of every answer), "
        "weight_decay as in training, or parameters= for fewer of them"
    )
    if problem.hessian == "full":
        remedy += "; hessian='gauss-newton' is never negative; or train on to a minimum"
    else:
        remedy += ". An undecayed bias before a softmax is never determined: decay it"
    return SingularHessianError(
        f"The {problem.hessian} Hessian must be positive definite. The smallest Ritz value of the "
        f"mean loss's is {smallest:.1e}. {remedy}."
    )


def factor_of(problem, solver):
    """The factor for ``"auto"``, ``"exact"``, ``"cg"`` or a :class:`~skinfluence.solvers.CG`."""
    if isinstance(solver, CG):
        if solver.probes is not None:
            raise ValueError("Random probes estimate leverages of linear models only. Use CG().")
        return ModuleCG(problem, solver)
    if solver == "auto":
        solver = "exact" if problem.n_parameters <= LARGEST_DENSE else "cg"
    if solver == "exact":
        return ModuleCholesky(problem)
    if solver == "cg":
        return ModuleCG(problem, CG())
    raise ValueError(
        "solver must be 'auto', 'exact', 'cg' or skinfluence.solvers.CG(...). Got "
        f"{solver!r} instead."
    )
