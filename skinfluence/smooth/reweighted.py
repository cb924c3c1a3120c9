"""Answers where classes weigh something else: from the optimum there, measured from the fit."""

from dataclasses import replace

import numpy as np

from skinfluence import certificate
from skinfluence.answers import LOCAL
from skinfluence.smooth.answers import SmoothAnswers
from skinfluence.smooth.one_step import point_steps, steps
from skinfluence.smooth.optimum.newton import polish
from skinfluence.smooth.stages.solved import ROUND_OFF, SolvedSteps

# What a row does may cancel against what its class does. A share of the tolerance serves where the
# whole is at least this share of the row's own part; beyond, edits are solved further, so often.
SHARE = 0.25
MAX_TIGHTER = 4


class ReweightedAnswers(SmoothAnswers):
    """Edits after which each class weighs something else, all of a kind.

    Certified changes come from the optimum under the new weights, local ones from the parameters as
    fitted; all are measured from where :meth:`start` is.

    Parameters
    ----------
    factor : Factor
        Of the problem with the new class weights; of the fitted one to first order.
    solver, verbose
        See :class:`~skinfluence.smooth.answers.SmoothAnswers`.
    offset : ndarray of shape (n_outputs, n_columns)
        What the class weights alone do to the parameters.
    pull : ndarray of shape (n_parameters,)
        The gradient that they leave at the fit.
    """

    # Tolerances are relative to the whole change, which each edit measures on its own.
    batches_groups = False

    def __init__(self, factor, solver, verbose, offset, pull):
        super().__init__(factor, solver, verbose)
        self.offset, self.pull = offset, pull

    @classmethod
    def of(cls, answers, ratio, method):
        """Those of some answers.

        Parameters
        ----------
        answers : SmoothAnswers
        ratio : ndarray of shape (n_classes,)
            What the weight of each class is multiplied by.
        method : str
            What is asked with: ``"influence"`` is of first order in ``ratio - 1``.
        """
        problem, solver, verbose = answers.basis(method), answers.solver, answers.verbose
        moved = problem.reweighted(ratio)
        pull = moved.gradient() - problem.gradient()
        if method in LOCAL:
            factor = answers.factor if method == "influence" else solver.factor(moved)
            offset = -factor.solve(pull[:, None]).reshape(problem.theta.shape)
            return cls(factor, solver, verbose, offset, pull)
        first = answers.edit_solver().factor.solve(pull[:, None]).reshape(problem.theta.shape)
        factor = polish(solver.factor(moved.at(problem.theta - first)), solver)
        return cls(factor, solver, verbose, factor.objective.theta - problem.theta, pull)

    def start(self, design, method):
        """Decision values at ``design`` that changes are measured from."""
        theta = self.problem.theta + self.offset if method in LOCAL else self.basis(method).theta
        return design.multiply(theta.T)

    def row_edits(self, rows, label, method, say=True):
        edits, lonely = super().row_edits(rows, label, method, say)
        return self._at_offset(edits, method), lonely

    def _at_offset(self, edits, method):
        """Edits whose Newton step is taken at the offset, where the row has another gradient."""
        if method != "one-step":
            return edits
        moved = edits.hessian @ edits.design.multiply(self.offset.T)[..., None]
        return replace(edits, gradient=edits.gradient + moved[..., 0])

    def row_steps(self, rows, label, method, tol):
        for block, moved in super().row_steps(rows, label, method, tol):
            yield block, moved + self.offset

    def own_removals(self, method, tol, rows=None):
        basis = self.basis(method)
        rows = np.arange(basis.n_samples) if rows is None else rows
        edits = steps.removals(basis, rows)
        eta, there = basis.eta[rows], edits.design.multiply(self.offset.T)
        if method in LOCAL:
            edits = self._at_offset(edits, method)
            return eta + there + steps.own_eta_steps(self.factor, edits, method)
        solver = self.edit_solver()
        goal = ROUND_OFF if method == "exact" else tol
        sure, moved = solver.own.steps_at_once(edits, SHARE * goal)
        whole = np.abs(there[sure] + moved).max(axis=1, initial=0.0)
        enough = whole >= SHARE * np.abs(moved).max(axis=1, initial=0.0)
        sure[np.flatnonzero(sure)[~enough]] = False
        eta[sure] += moved[enough]
        rest = np.flatnonzero(~sure)
        edits = edits.take(rest)
        for block, solved in self.solved(edits, method, tol):
            eta[rest[block]] += steps.at_rows(edits.design.take(block), solved.steps)
        return eta

    def own_group_removals(self, removals, method, tol):
        basis = self.basis(method)
        eta = basis.eta.copy()
        found, _, _ = self.solve_points(removals, method, tol)
        if method in LOCAL:
            found = found + self.offset
        for one, step in zip(removals, found, strict=True):
            eta[one.rows] += basis.design.take(one.rows).multiply(step.T)
        return eta

    def solve_points(self, points, method, tol):
        if method != "one-step":
            return super().solve_points(points, method, tol)
        found = np.empty((len(points), *self.offset.shape))
        for i, one in enumerate(points):
            inverse = point_steps.EditedInverse(self.factor, self.solver, one)
            right = inverse.right + self.pull
            solved = inverse.refined(right)[0] if inverse.loses() else inverse.solve(right)
            found[i] = -solved.reshape(self.offset.shape) - self.offset
        return found, np.full(len(points), np.inf), np.full(len(points), method, dtype="<U9")

    # Tolerances relative to the whole change

    def _solve_rows(self, solver, edits, tol):
        for block, solved in solver.rows.solve(edits, SHARE * tol):
            some = edits.take(block)
            size = self._whole_size(some, solved.steps, solved.size)
            for _ in range(MAX_TIGHTER):
                open_ = ~certificate.within(solved.bound, size, tol, solved.round_off)
                left = np.flatnonzero(open_ & np.isfinite(solved.bound) & (solved.size > 0))
                if not len(left):
                    break
                share = np.min(np.minimum(size[left] / solved.size[left], 1.0))
                tighter = max(ROUND_OFF, 0.5 * SHARE * tol * share)
                for part, again in solver.rows.solve(some.take(left), tighter):
                    solved = _with(solved, left[part], again)
                size = self._whole_size(some, solved.steps, solved.size)
                if tighter == ROUND_OFF:
                    break
            yield block, replace(solved, size=size)

    def _solve_one(self, solver, points, tol):
        goal = SHARE * tol
        while True:
            step, bound, size, used, round_off = solver.points.solve(points, goal)
            whole = self._size_of_points(points, step + self.offset)
            done = certificate.within(bound, whole, tol, round_off) or not np.isfinite(bound)
            if done or goal <= ROUND_OFF or not size:
                return step, bound, whole, used, round_off
            goal = max(ROUND_OFF, 0.5 * goal * min(1.0, whole / size))

    def _whole_size(self, edits, steps_, sizes):
        """``|offset + step|`` of each edit in the norm of its Hessian, or less."""
        offset = np.broadcast_to(self.offset, steps_.shape)
        # By the triangle inequality, where that is enough.
        size = sizes - self._sizes(edits, offset, one=True)
        close = np.flatnonzero(~(size >= SHARE * sizes) & np.isfinite(sizes))
        if len(close):
            size[close] = self._sizes(edits.take(close), steps_[close] + self.offset)
        return size

    def _sizes(self, edits, V, one=False):
        """``|v_i|_{P_i}``; with ``one``, all ``v_i`` are the same."""
        objective, curvature = self.edit_solver().objective, self.edit_solver().factor.curvature
        flat = (V[:1] if one else V).reshape(-1, objective.n_parameters)
        square = np.einsum("ij,ji->i", flat, curvature @ np.ascontiguousarray(flat.T))
        moved = steps.at_rows(edits.design, V)
        square = square + np.einsum("ik,ikl,il->i", moved, edits.hessian, moved)
        penalty = objective.penalty + np.multiply.outer(edits.shift, objective.unit_penalty)
        if edits.ratio is not None:
            penalty = penalty * edits.ratio
        square = square + np.einsum("id,ikd->i", penalty - objective.penalty, V**2)
        return np.sqrt(np.maximum(square, 0.0))

    def _size_of_points(self, points, V):
        objective, curvature = self.edit_solver().objective, self.edit_solver().factor.curvature
        design, _, hessian = point_steps.stack(objective, points)
        moved, flat = design.multiply(V.T), V.ravel()
        square = flat @ (curvature @ flat) + np.einsum("ik,ikl,il->", moved, hessian, moved)
        square += points.shift * (objective.unit_penalty * V**2).sum()
        return float(np.sqrt(np.maximum(0.0, square)))


def _with(solved, rows, again):
    """What was solved, with some edits solved again."""
    fields = {name: np.array(value) for name, value in vars(solved).items()}
    for name, values in fields.items():
        values[rows] = getattr(again, name)
    return SolvedSteps(**fields)
