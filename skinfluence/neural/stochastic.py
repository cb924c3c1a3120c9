"""LiSSA on minibatches of rows of a module."""

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
            raise refusal(problem, float(self._columns.min()))
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
        torch, problem, network = import_torch(), self.objective, self.objective.network
        b, step = network.tensor(B[active, 0].T), network.tensor(self._step)[:, None]
        added = network.tensor(self.curvature.added)[:, None]
        means = np.empty_like(V[active])
        for repeat, rng in enumerate(rngs):
            v, total = network.tensor(V[active, repeat, 0].T), torch.zeros_like(b)
            for block in row_blocks(n_steps, 1, DRAWN // self.solver.batch_size):
                for rows in self.draw(rng, block.stop - block.start):
                    x, A = (
                        problem.design.inputs(rows, network),
                        network.tensor(self._curved[rows]),
                    )
                    v = v + step * (b - network.tensor_product(x, A, v) - added * v)
                    total += v
            V[active, repeat, 0] = v.T.cpu().numpy()
            means[:, repeat, 0] = (total / n_steps).T.cpu().numpy()
        return means
