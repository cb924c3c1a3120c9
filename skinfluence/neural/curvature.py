"""The Hessian of a module's objective as a scipy LinearOperator, and its factors."""

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence._utils.threads import small_blas
from skinfluence.neural.running import import_torch
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.base import Factor
from skinfluence.solvers.cg import CGFactor
from skinfluence.solvers.cholesky import cho_solved, cholesky
from skinfluence.solvers.primal import PrimalFactor

# Up to here a dense Gauss-Newton Hessian takes seconds and 200 MB.
LARGEST_DENSE = 5_000
# Lanczos steps on a preconditioned Hessian.
SHORT = 8
# Smallest Ritz value of the full Hessian, preconditioned by Gauss-Newton, at which they are close.
CLOSE = 0.3
# Difference of outputs in single and in double precision, relative to 1 and to their size.
ALIKE = 1e-3
# Below this a Ritz value from products in single precision is computed again in double.
CLEARLY = 1e-3
# Damping that is more than round-off, over the mean of the diagonal.
ENOUGH = 1e-8
# Residual of the probe of a report.
PROBED = 1e-3


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
        return self.product(V)

    def product(self, V, dtype=np.float64):
        """``H V``, with the passes through the network in ``dtype``; shape (p, m)."""
        problem, network = self.problem, self.problem.network.cast(dtype)
        V = np.asarray(V, dtype=np.float64)
        out = self.added[:, None] * V
        for block in problem.passes(V.shape[1], network.itemsize):
            w = problem.weights[block]
            A = w[:, None, None] * problem.hessians[block]
            C = w[:, None] * problem.gradients[block] if problem.hessian == "full" else None
            out = out + network.product(problem.design.inputs(block, network), A, V, C)
        return out

    def _matvec(self, v):
        return self._matmat(np.asarray(v).reshape(-1, 1))[:, 0]

    def _adjoint(self):
        return self

    def dense(self):
        """The Hessian as an array: one Gram matrix of the Jacobians, or products if full."""
        H = self._products() if self.problem.hessian == "full" else self.gauss_newton()
        H[np.diag_indices(len(H))] += self.added
        return 0.5 * (H + H.T)

    def gauss_newton(self, dtype=np.float64):
        """``sum_i w_i J_i' Lambda_i J_i`` in ``dtype``, without what is added to its diagonal."""
        problem, torch = self.problem, import_torch()
        network, p = problem.network.cast(dtype), problem.n_parameters
        H = torch.zeros((p, p), device=network.device, dtype=network.dtype)
        for block, J in self.jacobians(dtype):
            for sign, root in problem.roots:
                # Eigenvectors of the Lambda_i: a symmetric product, at half the flops.
                half = (network.tensor(root[block]).mT @ J).reshape(-1, p)
                if half.is_cpu:
                    # numpy sees A.T @ A and calls syrk; torch does not.
                    half = half.numpy()
                    with np.errstate(over="ignore", invalid="ignore"):
                        H += sign * torch.from_numpy(half.T @ half)
                else:
                    H += sign * (half.T @ half)
        return H.cpu().numpy().astype(np.float64)

    def _products(self):
        identity = np.eye(self.problem.n_parameters)
        columns = [self._matmat(identity[:, one]) for one in row_blocks(len(identity), 1, 64)]
        return np.concatenate(columns, axis=1) - np.diag(self.added)

    def jacobians(self, dtype=np.float64):
        """``J_i`` of all rows, as ``(slice, (b, K, p))``."""
        problem, network = self.problem, self.problem.network.cast(dtype)
        for block in problem.blocks(2 * problem.loss.n_outputs):
            yield block, network.jacobians(problem.design.inputs(block, network))

    def diagonal(self, dtype=np.float64):
        """Diagonal of the Gauss-Newton part and what is added; preconditions CG."""
        problem, out = self.problem, self.added.copy()
        network = problem.network.cast(dtype)
        for block, J in self.jacobians(dtype):
            for sign, root in problem.roots:
                half = network.tensor(root[block]).mT @ J
                out += sign * half.square_().sum((0, 1)).cpu().numpy()
        return out


class _ModuleFactor:
    """What the factors of a module share: their curvature, and a probe that is good enough."""

    def _curvature_at(self, problem):
        return ModuleCurvature(problem, self.curvature.shift)

    def probed(self, B):
        """A :class:`~skinfluence.solvers.Solution` good enough for a report."""
        return self.solution(B)

    def decrement(self, gradient):
        """About the Newton decrement, ``sqrt(g' H^-1 g)``."""
        step = self.probed(gradient[:, None]).X[:, 0]
        return float(np.sqrt(np.maximum(0.0, gradient @ step)))


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
            raise refusal(problem, smallest, np.abs(np.diagonal(self.matrix)).mean()) from None

    def _sibling(self, shift):
        H = self.matrix.copy()
        H[np.diag_indices(len(H))] += (shift - self.curvature.shift) * self.objective.unit_penalty
        return ModuleCholesky(self.objective, shift, H)


class ModuleCG(_ModuleFactor, CGFactor):
    """Conjugate gradients with products by ``torch.func``."""

    _precisions = ("float64", "mixed")
    # Ritz value of the preconditioned full Hessian; none for others.
    _smallest = 0.0

    def __init__(self, problem, solver, shift=0.0):
        Factor.__init__(self, problem, shift)
        self.curvature = ModuleCurvature(problem, shift)
        self.solver, self.rtol = solver, solver.rtol
        self._refuse_options()
        # Of what only steers the iteration.
        self._dtype = np.float32 if solver.precision == "mixed" and _alike(problem) else np.float64
        try:
            self._prepare()
        except SingularHessianError:
            if self._dtype == np.float64:
                raise
            self._dtype = np.float64
            self._prepare()
        if problem.hessian == "full":
            self._refuse_indefinite()

    def _prepare(self):
        problem = self.objective
        if problem.hessian == "full" and problem.n_parameters <= LARGEST_DENSE:
            self._preconditioner = GaussNewton(self.curvature, self._dtype)
            self._diagonal = self._preconditioner.diagonal
        else:
            self._diagonal = self.curvature.diagonal(self._dtype)
        if not ((self._diagonal > 0) & (self._diagonal < np.inf)).all():
            raise refusal(problem, float(self._diagonal.min()), np.abs(self._diagonal).mean())

    def _rough_product(self, V):
        return self.curvature.product(V, self._dtype)

    def _refuse_indefinite(self):
        """A short Lanczos run on the preconditioned Hessian, where what is negative stands out."""
        if self._preconditioner is None:
            smallest = _smallest_ritz(self.curvature)
        else:
            smallest = self._short_lanczos(self._dtype)
            if self._dtype == np.float32 and smallest < CLEARLY:
                smallest = self._short_lanczos(np.float64)
            self._smallest = smallest
        if smallest <= 0:
            # In the Hessian's own units.
            raise self._refusal()

    def _refusal(self):
        smallest = _smallest_ritz(self.curvature)
        return refusal(self.objective, smallest, np.abs(self._diagonal).mean())

    def _short_lanczos(self, dtype):
        product = self._preconditioner.around(lambda V: self.curvature.product(V, dtype))
        return lanczos(product, self.objective.n_parameters, SHORT)

    def probed(self, B):
        return self._iterate(B, PROBED)

    def decrement(self, gradient):
        if self._smallest < CLOSE:
            return super().decrement(gradient)
        # Close to the Gauss-Newton Hessian: its factor instead of passes, from above.
        step = self._preconditioner.apply(gradient[:, None])[:, 0]
        return float(np.sqrt(gradient @ step / self._smallest))

    def _iterate(self, B, rtol):
        solution = super()._iterate(B, rtol)
        along = np.einsum("ij,ij->j", solution.X, B)
        if solution.converged.all() and (along < 0).any():
            # ``b' H^-1 b`` of a solution as good as exact.
            raise self._refusal()
        return solution

    def _sibling(self, shift):
        return ModuleCG(self.objective, self.solver, shift)


def _alike(problem):
    """Whether the network does the same in single precision, to a few digits."""
    try:
        network = problem.network.cast(np.float32)
        single = network.outputs(problem.design.X)
        # Kernels of single precision may lack derivatives that those of double have.
        network.multiply(problem.design.X[:1], np.zeros((problem.n_parameters, 1)))
    except (RuntimeError, IndexError):
        # Constants that stay in double, positions that single precision moves.
        return False
    return bool((np.abs(single - problem.eta) <= ALIKE * (1.0 + np.abs(problem.eta))).all())


class GaussNewton:
    """The Gauss-Newton Hessian as a preconditioner of the full one.

    Parameters
    ----------
    curvature : ModuleCurvature
    dtype : {np.float64, np.float32}
        Of its products.
    """

    def __init__(self, curvature, dtype=np.float64):
        H = curvature.gauss_newton(dtype)
        H[np.diag_indices(len(H))] += curvature.added
        self.diagonal = np.diagonal(H).copy()
        # A little more than what is added, which may be nothing, and than round-off.
        least = 1e-8 if dtype == np.float64 else 1e-6
        H[np.diag_indices(len(H))] += least * (self.diagonal + self.diagonal.mean())
        self._L, self._scale, _ = cholesky(H, "The Gauss-Newton Hessian")

    def apply(self, R):
        """``M^-1 R``, (n_parameters, m)."""
        return self._scale[:, None] * cho_solved(self._L, self._scale[:, None] * R)

    def around(self, multiply):
        """The product of one vector with ``L^-1 H L^-T`` for ``M = L L'``, from that with H."""

        def half(v, trans):
            with small_blas(len(v)):
                return linalg.solve_triangular(
                    self._L, v, lower=True, trans=trans, check_finite=False
                )

        def product(v):
            moved = multiply((self._scale * half(v, 1))[:, None])[:, 0]
            return half(self._scale * moved, 0)

        return product


def _smallest_ritz(curvature):
    """The smallest Ritz value of a short Lanczos run: an upper bound of the smallest eigenvalue."""
    p = curvature.shape[0]
    options = {"ncv": min(p, 40), "maxiter": 10, "tol": 1e-2, "v0": _start(p)}
    try:
        return float(eigsh(curvature, 1, which="SA", **options)[0][0])
    except ArpackError as error:
        found = getattr(error, "eigenvalues", np.empty(0))
        return float(found.min()) if len(found) else lanczos(curvature.matvec, p, 100)


def _start(p):
    return np.random.RandomState(0).standard_normal(p)


def lanczos(product, p, steps, which=0):
    """The smallest Ritz value of a symmetric operator after some steps, or the largest (-1).

    All vectors are kept orthogonal to each other.
    """
    start = _start(p)
    Q = [start / np.linalg.norm(start)]
    T = np.zeros((steps, steps))
    for j in range(min(steps, p)):
        v = product(Q[j])
        T[j, : j + 1] = T[: j + 1, j] = [q @ v for q in Q]
        for _ in range(2):
            v = v - np.array(Q).T @ (np.array(Q) @ v)
        size = np.linalg.norm(v)
        # What is left of an invariant subspace is round-off, of iterative products too.
        if size < 1e-7 * abs(T[0, 0]) or j + 1 == steps:
            break
        Q.append(v / size)
    return float(np.linalg.eigvalsh(T[: j + 1, : j + 1])[which])


def refusal(problem, smallest, size):
    """What a Hessian that is not positive definite is refused with.

    Parameters
    ----------
    problem : ModuleProblem
    smallest : float
        A Ritz value.
    size : float
        The mean of the diagonal, which says what is round-off.
    """
    smallest, size = smallest / problem.total_weight, size / problem.total_weight
    enough = max(-smallest, 0.0) + ENOUGH * size
    remedy = (
        f"Pass damping > {_rounded_up(enough):.1e} (it is reported and part of every answer), "
        "weight_decay as in training, or parameters= for fewer of them"
    )
    if problem.hessian == "full":
        remedy += "; hessian='gauss-newton' is never negative; or train on to a minimum"
    else:
        remedy += ". An undecayed bias before a softmax is never determined: decay it"
    value = f"The smallest Ritz value of the mean loss's is {smallest:.1e}"
    if abs(smallest) <= 1e-10 * size:
        value += (
            ", which is zero but for rounding: some parameters move no output (units that never "
        )
        value += "fire, parts that do not run), or not alone"
    return SingularHessianError(
        f"The {problem.hessian} Hessian must be positive definite. {value}. {remedy}."
    )


def _rounded_up(value):
    """The next number of two digits."""
    unit = 10.0 ** (np.floor(np.log10(max(value, 1e-300))) - 1)
    return np.ceil(value / unit) * unit
