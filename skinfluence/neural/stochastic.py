"""LiSSA on minibatches of rows of a module."""

from functools import cached_property

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.neural.curvature import ModuleCurvature, _ModuleFactor, lanczos, refusal
from skinfluence.neural.running import import_torch
from skinfluence.solvers.base import Factor
from skinfluence.solvers.bounds import check_convex
from skinfluence.solvers.lissa import DRAWN, LiSSAFactor

# Lanczos steps for the largest eigenvalue. From a random start they are expected to miss at most
# 0.11 of it for 3,000 parameters, whatever the spectrum (Kuczynski and Wozniakowski, 1992).
STEPS, MARGIN = 20, 1.25


class ModuleLiSSA(_ModuleFactor, LiSSAFactor):
    """Steps ``v <- v + D^-1 (b - A v) / scale`` along minibatches; see :class:`LiSSA`.

    ``A`` is the mean of ``m`` draws of ``w_i J_i' Lambda_i J_i / p_i``, and what is added. D is the
    diagonal of the Gauss-Newton Hessian and ``p_i`` in proportion to what a row adds to it,
    ``|D^-1/2 w_i J_i' Lambda_i J_i D^-1/2|``, which one pass over the rows gives exactly; ``|H|``,
    needed for ``m > 1``, is the largest Ritz value of 20 Lanczos steps times 1.25.

    Parameters
    ----------
    problem : ModuleProblem
    solver : LiSSA
    shift : float, default=0.0
    """

    shape = property(lambda self: (1, self.objective.n_parameters))

    def __init__(self, problem, solver, shift=0.0):
        Factor.__init__(self, problem, shift)
        solver.check()
        self.curvature = ModuleCurvature(problem, shift)
        self.solver, self.rtol = solver, solver.tol
        if problem.hessian == "full":
            raise ValueError(
                "LiSSA needs hessian='gauss-newton': along single rows the full Hessian curves down, "
                "and steps grow. Use solver='cg'."
            )
        if solver.damping:
            raise ValueError(
                f"LiSSA of a module takes no damping of its own. Got {solver.damping!r}; damping "
                "is a parameter of the module's influence."
            )
        check_convex(problem)
        added, n = self.curvature.added, problem.n_samples
        self._columns = self.curvature.diagonal()
        if not (self._columns > 0).all():
            raise refusal(problem, float(self._columns.min()), np.abs(self._columns).mean())
        if solver.scale == "auto":
            metric = self._columns
            shares = self._shares(metric)
            total = shares.sum()
            drawing = shares / total if total > 0 else np.full(n, 1.0 / n)
            scale = self._bound(metric, total + (added / metric).max())
        else:
            metric, drawing = np.ones(len(added)), np.full(n, 1.0 / n)
            scale = n * float(solver.scale)
        self._walk_by(scale, metric, drawing)

    def _sibling(self, shift):
        return ModuleLiSSA(self.objective, self.solver, shift)

    def _shares(self, metric):
        """Largest eigenvalue of what each row adds to ``D^-1/2 H D^-1/2``."""
        problem, torch = self.objective, import_torch()
        network = problem.network
        out = np.zeros(problem.n_samples)
        units = network.tensor(1.0 / np.sqrt(metric))
        for block, J in self.curvature.jacobians():
            for _, root in problem.roots:
                half = network.tensor(root[block]).mT @ (J * units)
                out[block] = torch.linalg.eigvalsh(half @ half.mT)[:, -1].cpu().numpy()
        return np.maximum(out, 0.0)

    def _bound(self, metric, single):
        """``(1 - 1/m) |H| + sigma_1 / m`` in the norm of the metric, for batches of m rows."""
        m = self.solver.batch_size
        if m == 1:
            return single
        root = np.sqrt(metric)

        def product(v):
            return (self.curvature @ (v / root)) / root

        largest = min(single, MARGIN * lanczos(product, len(root), STEPS, which=-1))
        return (1.0 - 1.0 / m) * largest + single / m

    def walk(self, B, V, rngs, active, n_steps):
        problem, network = self.objective, self.objective.network
        kept = 8 * problem.n_samples * problem.loss.n_outputs * problem.n_parameters
        # A step through the network costs a hundred times its product with rows that are kept.
        step = self._by_rows if kept <= network.budget else self._by_passes
        b, added = B[active, 0].T, self.curvature.added[:, None]
        v = np.ascontiguousarray(V[active, :, 0].transpose(1, 2, 0))
        take = step(b, self._step[:, None], added)
        v, total = take.start(v), take.start(np.zeros_like(v))
        for block in row_blocks(n_steps, 1, DRAWN // self.solver.batch_size):
            drawn = np.stack([self.draw(rng, block.stop - block.start) for rng in rngs], axis=1)
            for rows in drawn:
                v = take(v, rows)
                total += v
        V[active, :, 0] = take.end(v).transpose(2, 0, 1)
        return take.end(total).transpose(2, 0, 1)[:, :, None] / n_steps

    def _by_rows(self, b, step, added):
        return _ByRows(self._roots, b, step, added)

    def _by_passes(self, b, step, added):
        return _ByPasses(self.objective, self._curved, b, step, added)

    @cached_property
    def _roots(self):
        """``F_i' J_i`` of all rows for ``F_i F_i'`` the curvature of a draw, (n, K, p)."""
        values, vectors = np.linalg.eigh(self._curved)
        F = vectors * np.sqrt(np.maximum(values, 0.0))[:, None]
        network = self.objective.network
        parts = [
            (network.tensor(F[at]).mT @ J).cpu().numpy() for at, J in self.curvature.jacobians()
        ]
        return np.concatenate(parts).astype(np.float64)


class _ByRows:
    """A step of all repeats, of shape (repeats, p, m), with products of rows that are kept."""

    def __init__(self, roots, b, step, added):
        self.roots, self.b, self.step, self.added = roots, b, step, added
        self.size = roots.shape[2]

    def start(self, v):
        return v

    end = start

    def __call__(self, v, rows):
        half = self.roots[rows].reshape(len(rows), -1, self.size)
        curved = half.transpose(0, 2, 1) @ (half @ v)
        return v + self.step * (self.b - curved - self.added * v)


class _ByPasses:
    """The same with passes through the network, one for all repeats where it can be mapped."""

    def __init__(self, problem, curved, b, step, added):
        self.problem, self.curved, self.network = problem, curved, problem.network
        tensor = self.network.tensor
        self.b, self.step, self.added = tensor(b), tensor(step), tensor(added)

    def start(self, v):
        return self.network.tensor(v)

    def end(self, v):
        return v.cpu().numpy().astype(np.float64)

    def __call__(self, v, rows):
        network, torch = self.network, import_torch()
        x = self.problem.design.inputs(rows.ravel(), network)
        x = x.reshape(*rows.shape, *x.shape[1:])
        A = network.tensor(self.curved[rows])
        if network.maps:
            product = torch.func.vmap(network.tensor_product)(x, A, v)
        else:
            product = torch.stack([network.tensor_product(*one) for one in zip(x, A, v)])
        return v + self.step * (self.b - product - self.added * v)
