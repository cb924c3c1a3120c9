"""Removals of many groups of rows at once, for few parameters: small Hessians of their own.

Each edited Hessian is written down, ``P_g = H - H_g``, in coordinates in which ``H`` is the identity, and
its gradients are those of all rows at the moved parameters, for a block of groups in one product.
Chord steps end in a certificate; they begin where third derivatives say, and are mixed with those before.
What one edit at a time pays for each group in calls is paid once.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular

from skinfluence import certificate
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.weights import weigh
from skinfluence.curvature import Curvature
from skinfluence.smooth.batches.row_pass import slopes_after
from skinfluence.smooth.optimum.accuracy import inflation
from skinfluence.smooth.optimum.piecewise import is_piecewise
from skinfluence.smooth.pairs.third_powers import ThirdPowers

# Beyond, one factorisation is worth more than a call; below, single edits cost no more.
MOST_PARAMETERS, FEWEST = 128, 8
MOST_PASSES = 20
# Below this reciprocal condition number the written Hessians lose digits that single edits keep.
WELL_CONDITIONED = 1e-9
# What an edit may leave of the curvature in some direction.
LEFT = 1e-6
# Least eigenvalues from which one may be taken to be as small as the norm allows.
NEAR_ONE = 0.9
# Decision values from which compiled slopes are worth loading.
WORTH_COMPILING = 1e5
# Of decision values of all edits, and what is made of them.
NEAR_BYTES = 2**21
# Tolerances that take several passes over the rows, of which third derivatives save one.
TIGHT = 1e-6
# Numbers in a copy of all rows that third derivatives are worth.
COPIED = 2**24


class GroupBatch:
    """Certified steps of edits that only take weight away.

    Parameters
    ----------
    solver : EditSolver
        At the optimum of its objective.
    """

    def __init__(self, solver):
        self.solver = solver
        self.objective = solver.objective
        self.factor = solver.factor

    def takes(self, points):
        """Which edits are answered here, a mask."""
        objective, factor = self.objective, self.factor
        fits = (
            objective.n_parameters <= MOST_PARAMETERS
            and self.solver.M is not None
            and objective.design.in_memory
            and not is_piecewise(objective.loss)
            and (factor.rcond or 0.0) > WELL_CONDITIONED
            and factor.leverage_error < 1e-7
        )
        found = np.array([fits and _only_takes(one) for one in points], dtype=bool)
        return found if np.count_nonzero(found) >= FEWEST else np.zeros(len(points), dtype=bool)

    def solve(self, points, tol):
        """Steps (m, K, d), bounds, sizes, methods used and round-off of edits that it takes."""
        k, d = self.objective.theta.shape
        found = np.empty((len(points), k, d))
        bound, size, round_off = (np.full(len(points), np.inf) for _ in range(3))
        used = np.full(len(points), "one-step", dtype="<U9")
        p = k * d
        L = np.linalg.cholesky(Curvature(self.objective).dense())
        per_group = 8 * (4 * p * p + 6 * self.objective.n_samples * k)
        for block in row_blocks(len(points), per_group):
            part = self._solve_block(points[block], tol, L)
            for out, one in zip((found, bound, size, used, round_off), part, strict=True):
                out[block] = one
        return found, bound, size, used, round_off

    def _solve_block(self, points, tol, L):
        objective, accuracy = self.objective, self.solver.accuracy
        (k, d), m, M = objective.theta.shape, len(points), self.solver.M
        shift = np.array([one.shift for one in points])
        b, A, own_noise = self._whitened(points, L)
        least = _least_of(A)
        known = least > LEFT
        A[~known], least = np.eye(k * d), np.where(known, least, 1.0)
        u = -np.linalg.solve(A, b[:, :, None])[:, :, 0]
        size = np.sqrt(np.maximum(np.einsum("gp,gp->g", u, -b), 0.0))
        kappa = np.sqrt(accuracy.row_sizes.max(initial=0.0) / least)
        grown = np.sqrt(1.0 / least)
        # The error before the edit counts in the norm of P, and so does the rounding of its rows.
        inflated = np.sqrt(inflation(0.0, shift, objective)) * grown
        noise = (accuracy.floor + own_noise) * inflated
        rounding = 64.0 * np.finfo(float).eps / (self.factor.rcond or 1.0) * grown
        bound = certificate.newton_step_bound(M, kappa, size) + rounding * size + noise
        used = np.full(m, "one-step", dtype="<U9")
        floor = accuracy.round_off * inflated
        open_ = known & ~certificate.within(bound, size, tol, floor)
        left, at, before = np.flatnonzero(open_), u.copy(), None
        if tol <= TIGHT and self._bends(len(left)):
            bent = self._bent([points[g] for g in left], u[left], L)
            bend = np.linalg.solve(A[left], bent[:, :, None])[:, :, 0]
            # Of steps so long that a series says nothing, none.
            near = np.linalg.norm(bend, axis=1) < 0.5 * np.linalg.norm(u[left], axis=1)
            at[left] -= np.where(near[:, None], bend, 0.0)
        for _ in range(MOST_PASSES):
            if not len(left):
                break
            G, r = self._gradients([points[g] for g in left], at[left], shift[left], L)
            step = np.linalg.solve(A[left], G[:, :, None])[:, :, 0]
            gradient = np.sqrt(np.maximum(np.einsum("gp,gp->g", step, G), 0.0))
            gradient = gradient * (1.0 + rounding[left]) + noise[left]
            here = certificate.gradient_bound(M, kappa[left], gradient, r)
            there = certificate.chord_bound(M, kappa[left], here, r) + rounding[left] * gradient
            there += noise[left]
            better = there < bound[left]
            again = better & (there < 0.5 * bound[left])
            rows = left[better]
            u[rows] = at[rows] - step[better]
            bound[rows], used[rows] = there[better], "chord"
            size[rows] = np.sqrt(np.einsum("gp,gpq,gq->g", u[rows], A[rows], u[rows]))
            again &= ~certificate.within(bound[left], size[left], tol, floor[left])
            # The bound is that of the chord step; where to look next is a mixture with the look before.
            looked = at[left], step, G
            at[left] = _mixed(looked, before)
            before, left = tuple(one[again] for one in looked), left[again]
        bound[~known] = np.inf
        v = solve_triangular(L, u.T, lower=True, trans="T").T.reshape(m, k, d)
        return v, bound, size, used, floor

    def _whitened(self, points, L):
        """Gradients and Hessians of edited problems in coordinates where ``H`` is the identity."""
        objective, accuracy = self.objective, self.solver.accuracy
        (k, d), m = objective.theta.shape, len(points)
        b, D, noise = np.empty((m, k * d)), np.empty((m, k * d, k * d)), np.empty(m)
        # Of a row's whole weight 1, and so in proportion; of one of weight 0 it may be no number.
        with np.errstate(invalid="ignore"):
            unit = accuracy.rounding(
                objective.design, objective.gradients, objective.hessians, accuracy.row_sizes
            )
        lost = [-one.shift * objective.unit_penalty for one in points]
        write = self._write_rows if k == 1 else self._write_edits
        write(points, lost, unit, b, D, noise)
        half = solve_triangular(L, D.transpose(1, 0, 2).reshape(k * d, -1), lower=True)
        half = half.reshape(k * d, m, k * d).transpose(1, 2, 0)
        inner = solve_triangular(L, half.transpose(1, 0, 2).reshape(k * d, -1), lower=True)
        A = np.eye(k * d) - inner.reshape(k * d, m, k * d).transpose(1, 0, 2)
        A = 0.5 * (A + A.transpose(0, 2, 1))
        return solve_triangular(L, b.T, lower=True).T, A, noise

    def _write_edits(self, points, lost, unit, b, D, noise):
        """What each edit takes of gradient and Hessian, and rounding, into ``b``, ``D`` and ``noise``."""
        objective = self.objective
        for g, one in enumerate(points):
            design, taken = objective.design.take(one.rows), -one.row_changes
            pulled = weigh(taken[:, None], objective.gradients[one.rows])
            noise[g] = weigh(taken, unit[one.rows]).sum()
            b[g] = -(design.adjoint(pulled).T + lost[g] * objective.theta).ravel()
            some = replace(
                objective,
                design=design,
                y=objective.y[one.rows],
                weights=taken,
                penalty=lost[g],
                sample_weight=None,
            )
            D[g] = Curvature(some).dense()

    def _write_rows(self, points, lost, unit, b, D, noise):
        """The same of one output: rows of many edits are taken at once, and then seen edit by edit."""
        objective = self.objective
        d = objective.design.n_columns
        most = max(len(one.rows) for one in points)
        for block in row_blocks(len(points), 8 * most * (d + 4)):
            some = points[block]
            ends = np.cumsum([0, *(len(one.rows) for one in some)])
            rows = np.concatenate([one.rows for one in some])
            taken = -np.concatenate([one.row_changes for one in some])
            dense = objective.design.take(rows).dense_rows()
            pulled = weigh(taken, objective.gradients[rows, 0])
            rounded = weigh(taken, unit[rows])
            turned = dense.T * weigh(taken, objective.hessians_at(rows)[:, 0, 0])
            for g, low, high in zip(range(block.start, block.stop), ends, ends[1:], strict=False):
                b[g] = -(pulled[low:high] @ dense[low:high] + lost[g] * objective.theta[0])
                D[g] = turned[:, low:high] @ dense[low:high]
                D[g].flat[:: d + 1] += lost[g]
                noise[g] = rounded[low:high].sum()

    def _gradients(self, points, u, shift, L):
        """Whitened gradients of the edited problems (m, p), and ``r`` of their bounds."""
        objective, M = self.objective, self.solver.M
        (k, d), m = objective.theta.shape, len(points)
        v = solve_triangular(L, u.T, lower=True, trans="T").T.reshape(m, k, d)
        flat = np.ascontiguousarray(v.reshape(m * k, d).T)
        rows, groups, kept = _taken(objective, points)
        G, r = np.zeros((d, m * k)), np.zeros(m)
        slopes = slopes_after(objective) if objective.n_samples * m >= WORTH_COMPILING else None
        # By rows, so that what is made of a block of them stays near.
        bytes_per_row = (48 if slopes is None else 16) * m * k
        for block in row_blocks(objective.n_samples, bytes_per_row, NEAR_BYTES):
            part = objective.design.take(block)
            mine = slice(*np.searchsorted(rows, [block.start, block.stop]))
            at, of, left = rows[mine] - block.start, groups[mine], kept[mine]
            gone = left <= 1e-12
            if slopes is not None:
                # In the place of the changes, which are of one output.
                pulls = np.ascontiguousarray(part.multiply(flat))
                pulls[at[gone], of[gone]] = 0.0
                slopes(block, pulls, r)
                pulls[at, of] *= left
                G += part.adjoint(pulls)
                continue
            moved = part.multiply(flat).reshape(-1, m, k)
            weights = objective.weights[block]
            eta = (objective.eta[block, None] + moved).transpose(1, 0, 2)
            U = weigh(weights[:, None], objective.loss.gradient(eta, objective.y[block]))
            spread = np.abs(moved[:, :, 0]) if k == 1 else objective.loss.spread(moved)
            U[of, at] *= left[:, None]
            spread[at[gone], of[gone]] = 0.0
            r = np.maximum(r, spread[weights > 0].max(axis=0, initial=0.0))
            pulls = np.ascontiguousarray(U.transpose(1, 0, 2)).reshape(-1, m * k)
            G += part.adjoint(pulls)
        r *= M
        G = G.T.reshape(m, k, d)
        penalty = objective.penalty + np.multiply.outer(shift, objective.unit_penalty)
        G += penalty[:, None] * (objective.theta + v)
        return solve_triangular(L, G.reshape(m, -1).T, lower=True).T, r

    def _bends(self, m):
        """Whether third derivatives of m edits cost less than the pass over the rows that they save."""
        loss, design = self.objective.loss, self.objective.design
        if loss.n_outputs > 1 or loss.third is None or not self.solver.M:
            return False
        n, d = self.objective.n_samples, design.n_columns
        return isinstance(design.X, np.ndarray) and n * d <= COPIED and d**3 < m * (12 * d + 120)

    def _bent(self, points, u, L):
        """Whitened gradients that steps leave to second order, (m, p).

        Half of the sum of ``w_i l_i''' (x_i v)^2 x_i`` over the rows that are left.
        """
        v = solve_triangular(L, u.T, lower=True, trans="T").T
        found, design = self._third_powers.turned(v)[0], self.objective.design
        most = max(len(one.rows) for one in points)
        for block in row_blocks(len(points), 24 * most * design.n_columns):
            some = points[block]
            lengths = [len(one.rows) for one in some]
            rows = np.concatenate([one.rows for one in some])
            change = np.concatenate([one.row_changes for one in some])
            dense = design.take(rows).dense_rows()
            moved = np.einsum("id,id->i", dense, np.repeat(v[block], lengths, axis=0))
            dense *= (change * self._third[rows] * moved**2)[:, None]
            found[block] += np.add.reduceat(dense, np.cumsum([0, *lengths[:-1]]))
        return 0.5 * solve_triangular(L, found.T, lower=True).T

    @cached_property
    def _third(self):
        return self.objective.loss.third(self.objective.eta, self.objective.y)

    @cached_property
    def _third_powers(self):
        objective = self.objective
        return ThirdPowers(objective.design.dense_rows(), weigh(objective.weights, self._third))


def _least_of(A):
    """The least eigenvalue of each of some symmetric matrices, (m,), or somewhat less.

    Of one near the identity, by the size of what it is not: a tenth of the work.
    """
    least = 1.0 - np.linalg.norm(np.eye(A.shape[-1]) - A, axis=(1, 2))
    far = np.flatnonzero(least < NEAR_ONE)
    if len(far):
        least[far] = np.linalg.eigvalsh(A[far])[:, 0]
    return least


def _mixed(now, before):
    """Where to look next: chord steps mixed with those before, of (at, step, gradient) of m edits each.

    Of as much of the change between two looks as what is left of the gradient is like, by Anderson.
    """
    at, step, G = now
    if before is None:
        return at - step
    moved, less = at - before[0], step - before[1]
    along = np.einsum("gp,gp->g", less, G - before[2])
    share = np.einsum("gp,gp->g", less, G) / np.where(along > 0, along, np.inf)
    share = np.clip(share, -1.0, 1.0)
    return at - step - share[:, None] * (moved - less)


def _taken(objective, points):
    """Rows that edits take weight from, in order, the edit of each, and the share that stays."""
    rows = np.concatenate([one.rows for one in points])
    groups = np.repeat(np.arange(len(points)), [len(one.rows) for one in points])
    change = np.concatenate([one.row_changes for one in points])
    own = objective.weights[rows]
    kept = np.maximum(1.0 + change / np.where(own > 0, own, 1.0), 0.0)
    order = np.argsort(rows, kind="stable")
    return rows[order], groups[order], kept[order]


def _only_takes(points):
    """Whether an edit only takes weight from rows."""
    return points.new is None and len(points.rows) > 0 and bool((points.row_changes <= 0).all())
