"""The optimum of a hinge problem to round-off, from any start."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence.active_set.problem import SAID, HingeProblem
from skinfluence.active_set.tableau import Tableau, independent, solve_margin

# Violation of the optimality conditions that ends a polish, and the one that is warned about.
TIGHT, LOOSE = 1e-11, 1e-9
_MAX_ROUNDS = 60
# Coefficients this close to a limit, relative to their bound, start there (libsvm leaves such).
_NEAR = 1e-6
# Rows that changed roles before the tableau is built afresh.
_MAX_FLIPPED = 256


@dataclass(frozen=True)
class HingeOptimum:
    """An optimum of a hinge problem.

    Attributes
    ----------
    problem : HingeProblem
    beta : ndarray of shape (n,)
        Coefficients with the sign of the label.
    bias : float
        Zero without a free bias. Where no row is on the margin every bias of an interval is
        optimal; this is its midpoint, which is libsvm's convention.
    bias_interval : tuple of float
        The optimal biases: both ends equal unless no row is on the margin.
    f : ndarray of shape (n,)
        Decision values.
    role : ndarray of int8, shape (n,)
        ``NONE``, ``MARGIN`` or ``BOUND``.
    kkt_residual : float
        Largest violation of the optimality conditions over all rows.
    distance : float
        Largest difference of decision values on the rows from those of the start, under the bias of
        the interval that is nearest to them.
    n_pivots : int
        Changes of role on the way from the start.
    """

    problem: HingeProblem
    beta: np.ndarray
    bias: float
    bias_interval: tuple
    f: np.ndarray
    role: np.ndarray
    kkt_residual: float
    distance: float
    n_pivots: int


def polish(problem, beta0=None, bias0=None, *, say=True):
    """Optimum of a hinge problem, exact to round-off.

    Parameters
    ----------
    problem : HingeProblem
    beta0 : ndarray of shape (n,), optional
        Where to start, with the sign of the label: the coefficients of a loosely converged solver,
        or zeros (default; a fit from scratch, for small n).
    bias0 : float, optional
        Bias of the start, for ``distance``.
    say : bool, default=True
        Whether to warn; the solution tells in any case.

    Returns
    -------
    solution : HingeOptimum

    Raises
    ------
    ValueError
        If ``beta0`` has another shape or is not finite.

    Warns
    -----
    ConvergenceWarning
        If the optimality conditions stay violated by more than 1e-9 and more than round-off, and from
        1e-6 on in any case.

    Notes
    -----
    Any coefficients in the box are optimal for some targets and boxes. Those are moved to the true
    ones, and the solution is followed. Targets of rows on the wrong side of the margin start at
    random distances, so that no two events coincide on the way. The final coefficients are solved
    for afresh.
    """
    beta = _start(problem, beta0)
    rng = np.random.default_rng(0)
    g = problem.decision(beta)
    bias = _bias_of(problem, beta, g)
    start = g + (bias if bias0 is None else float(bias0) * problem.free_bias)
    rows = _candidates(problem, beta, g + bias)
    n_pivots, best = 0, None
    for _ in range(_MAX_ROUNDS):
        beta, bias, margin, pivots = _follow(problem, rows, beta, g + bias, bias, rng)
        n_pivots += pivots
        if margin is None:
            g = problem.decision(beta)
            continue
        solved, bias, f = solve_margin(problem, margin, beta)
        if not np.isfinite(f).all():
            # A singular system: the next attempt draws other targets to start from.
            beta, bias = np.clip(np.nan_to_num(solved), problem.lo, problem.hi), 0.0
            g = problem.decision(beta)
            continue
        beta = problem.snapped(solved)
        if (beta != solved).any():
            f = problem.decision(beta) + bias
        found = solution_of(problem, beta, bias, f - bias, start, n_pivots)
        if best is None or found.kkt_residual < best.kkt_residual:
            best = found
        if best.kkt_residual <= np.clip(problem.rounding(beta), TIGHT, LOOSE):
            break
        g = f - bias
        rows = np.union1d(rows, _violated(problem.violation(beta, f), rows))
    if best is None or best.kkt_residual > max(LOOSE, min(problem.rounding(beta), SAID)):
        best = best or solution_of(problem, beta, bias, g, start, n_pivots)
        if say:
            warnings.warn(
                f"The optimality conditions are violated by {best.kkt_residual:.1e} after {n_pivots} "
                f"changes of role. {problem.reason(best.beta)}",
                ConvergenceWarning,
                stacklevel=level_outside(),
            )
    return best


def _start(problem, beta0):
    """A start, in the box and, with a free bias, with coefficients that sum to zero."""
    if beta0 is None:
        return np.zeros(problem.n)
    beta = np.array(beta0, dtype=np.float64)
    if beta.shape != (problem.n,) or not np.isfinite(beta).all():
        raise ValueError(
            f"beta0 must be finite and have shape {(problem.n,)}. Got shape {beta.shape}."
        )
    beta = np.clip(beta, problem.lo, problem.hi)
    up, down = beta[beta > 0].sum(), -beta[beta < 0].sum()
    if problem.free_bias and abs(up - down) > 1e-9 * (up + down):
        # Rows inside their box make up for it, so that those at their bound stay there.
        room = np.where(beta != 0, beta - (problem.lo if up > down else problem.hi), 0.0)
        room[(beta <= problem.lo) | (beta >= problem.hi)] = 0.0
        if room.any():
            beta = beta - min(1.0, abs(up - down) / np.abs(room).sum()) * room
        up, down = beta[beta > 0].sum(), -beta[beta < 0].sum()
    if problem.free_bias and abs(up - down) > 1e-9 * (up + down):
        beta[beta > 0] *= min(1.0, down / up if up else 1.0)
        beta[beta < 0] *= min(1.0, up / down if down else 1.0)
    return beta


def _bias_of(problem, beta, g):
    if not problem.free_bias:
        return 0.0
    inside = np.minimum(beta - problem.lo, problem.hi - beta) > _NEAR * problem.C
    if inside.any():
        return float(np.median((problem.target - g)[inside]))
    return float(np.mean(problem.bias_interval(beta, g)))


def nearest(problem, beta, f, n_more):
    """Rows with a coefficient, and of each class the ``n_more / 2`` others nearest to the margin."""
    slack = np.where(problem.C > 0, np.abs(f - problem.target), np.inf)
    chosen = [np.flatnonzero(beta)]
    for label in (-1, 1):
        others = np.flatnonzero((problem.y == label) & (beta == 0) & (problem.C > 0))
        count = min(len(others), -(-n_more // 2))
        if count:
            chosen.append(others[np.argpartition(slack[others], count - 1)[:count]])
    return np.sort(np.concatenate(chosen))


def _candidates(problem, beta, f):
    n_support = np.count_nonzero(beta)
    return nearest(problem, beta, f, max(n_support // 2, 400))


def _violated(residual, rows):
    """Rows outside the candidates that are violated, the worst few hundred of them."""
    residual = residual.copy()
    residual[rows] = 0.0
    found = np.flatnonzero(residual > TIGHT)
    return found[np.argsort(-residual[found])[: max(400, len(rows) // 2)]]


def _follow(problem, rows, beta, f, bias, rng):
    """From the problem that the start solves to the true one, on some of the rows.

    Returns
    -------
    beta : ndarray of shape (n,)
    bias : float
    margin : ndarray of int or None
        Rows on the margin; None if the path did not get to its end.
    n_pivots : int
    """
    from skinfluence._compiled import path
    from skinfluence._compiled.paths import follow_all

    lo, hi, C = problem.lo[rows], problem.hi[rows], problem.C[rows]
    above, below = beta[rows] - lo, hi - beta[rows]
    slack = f[rows] - problem.target[rows]
    free = independent(problem, np.flatnonzero(np.minimum(above, below) > _NEAR * C), rows)
    if problem.free_bias and not len(free):
        free = np.argmin(np.where(C > 0, np.abs(slack), np.inf))[None]
    off = np.setdiff1d(np.arange(len(rows)), free)
    order = np.concatenate([free, off])
    tableau = Tableau(problem, rows[free], rows[off])
    rows = tableau.rows
    m, N = len(free), len(rows) + 1

    # Every row keeps its coefficient; the limit next to it starts there.
    low_side = np.where(above <= _NEAR * C, True, np.where(below <= _NEAR * C, False, slack > 0))[
        order
    ]
    role = np.where(low_side, path.AT_LO, path.AT_HI)
    role[:m] = path.FREE
    role = np.append(np.where(C[order] > 0, role, path.ABSENT), path.ABSENT)
    end = np.zeros((3, N))
    end[:, :-1] = problem.lo[rows], problem.hi[rows], problem.target[rows]
    box = end.copy()
    box[0, m:-1][low_side[m:]] = beta[rows[m:]][low_side[m:]]
    box[1, m:-1][~low_side[m:]] = beta[rows[m:]][~low_side[m:]]
    # So does every decision value: the targets start on the right side of it.
    wrong = np.where(low_side, -slack[order], slack[order]) > -1e-9
    apart = (0.1 + rng.uniform(size=len(rows))) * (np.abs(slack[order]) + 1e-6)
    apart[:m] = 0.0
    wrong[:m] = True
    moved = f[rows] + np.where(low_side, -apart, apart)
    box[2, :-1] = np.where(wrong, moved, end[2, :-1])

    x = np.append(f[rows], bias)
    x[:m] = beta[rows[:m]]
    delta = np.empty(N)
    code, n_pivots = follow_all(tableau, problem, role, x, box, end, _MAX_FLIPPED, delta)
    beta = beta.copy()
    if code != path.DONE:
        if not np.isfinite(delta).all():
            # A singular system: the next attempt draws other targets to start from.
            return beta, bias, None, n_pivots
        beta[rows] = np.clip(delta[:-1], problem.lo[rows], problem.hi[rows])
        return beta, delta[-1], None, n_pivots
    beta[rows] = np.where(role[:-1] == path.AT_LO, end[0, :-1], end[1, :-1])
    return beta, 0.0, rows[role[:-1] == path.FREE], n_pivots


def distance_under(away, bias, interval):
    """The largest of differences of decision values from those of a solution, under any optimal bias.

    Parameters
    ----------
    away : ndarray of shape (n,)
    bias : float
    interval : tuple of float
    """
    low, high = interval
    return float(np.abs(away - np.clip(np.median(away), low - bias, high - bias)).max())


def solution_of(problem, beta, bias, g, start, n_pivots):
    """The HingeOptimum at coefficients; ``g`` is what the kernel makes of them, ``start`` where f began."""
    interval = (bias, bias)
    inside = (beta > problem.lo) & (beta < problem.hi)
    if problem.free_bias and not inside.any():
        low, high = problem.bias_interval(beta, g)
        interval = (min(low, high), max(low, high))
        bias = 0.5 * (low + high)
    f = g + bias
    return HingeOptimum(
        problem=problem,
        beta=beta,
        bias=float(bias),
        bias_interval=interval,
        f=f,
        role=problem.roles(beta),
        kkt_residual=float(max(problem.violation(beta, f).max(), problem.imbalance(beta))),
        distance=distance_under(start - f, bias, interval),
        n_pivots=int(n_pivots),
    )
