"""The optimum that edits start from, and what the ways to an edited optimum share."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence import certificate
from skinfluence._utils.calls import level_outside
from skinfluence.curvature import Curvature
from skinfluence.smooth.chords.whitened import Whitened
from skinfluence.smooth.optimum.accuracy import SPLIT, Accuracy, solve_error
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.smooth.pairs.pair_sums import PairSums
from skinfluence.solvers import CG, Exact
from skinfluence.solvers.cg import CGFactor

# Parameters up to which edited Hessians are factored directly, whatever the solver: that costs less
# than the hundreds of products that a hard one needs.
MOST_DIRECT = 200
# Square of a row's length in the inverse of the Hessian that single precision holds the powers of.
FARTHEST = 1e36


def serving_edits(factor, solver):
    """What certified answers are made with: the factor and solver given, or direct ones.

    Conjugate gradients take minutes on few columns of very different sizes.
    """
    few = factor.objective.n_parameters <= MOST_DIRECT
    if few and isinstance(factor, CGFactor) and factor.is_wild:
        return Exact().factor(factor.objective), Exact()
    return factor, solver


class EditStart:
    """A factored objective at its optimum.

    Parameters
    ----------
    factor : Factor
        At the optimum of its objective.
    solver : solver object
        For the Hessians of edited problems; those of few parameters are factored directly.
    split : int, default=1000
        Rows of largest leverage whose decision values the split bound follows exactly.
    """

    def __init__(self, factor, solver, split=SPLIT):
        self.factor = factor
        small = factor.objective.n_parameters <= MOST_DIRECT
        self.solver = Exact() if isinstance(solver, CG) and small else solver
        if isinstance(self.solver, Exact):
            self.solver = self.solver.for_edits()
        self.accuracy = Accuracy(factor, split=split)
        self.objective = factor.objective
        self.M = self.objective.loss.self_concordance
        self._whitened = {}

    def whitened(self, edits):
        """What edits of one shift share, kept for the next ones."""
        shift = 0.0 if self.objective.hold == "C" else edits.one_shift
        if shift not in self._whitened:
            self._whitened.clear()
            self._whitened[shift] = Whitened(self.accuracy, shift)
        return self._whitened[shift]

    def has_one_shift(self, edits):
        return self.objective.hold == "C" or np.ndim(edits.one_shift) == 0

    def certified(self, bound, size, tol):
        """Relative to the true size, which is at least ``size - bound``; never below round-off."""
        with np.errstate(invalid="ignore"):
            return bound <= np.maximum(tol * (size - bound), self.accuracy.round_off)

    def newton(self, problem, start, sizes, tol):
        """Solve an edited problem and certify it there; also the step's size in P.

        ``sizes`` bounds ``|x_j|^2_{P^-1}`` for the rows of the problem.
        """
        theta = self.objective.theta
        begin = problem.at(theta + start)
        with np.errstate(over="ignore", invalid="ignore"):
            # Overflow makes the value infinite or NaN: no place to start from.
            if not begin.value() <= problem.at(theta).value():
                begin = problem.at(theta)
        minimum = minimise(begin, self.solver)
        step = minimum.objective.theta - theta
        # The norm of the edited Hessian at the fitted parameters, like every other bound.
        base = problem.at(theta)
        flat = step.ravel()
        size = float(np.sqrt(np.maximum(0.0, flat @ (Curvature(base) @ flat))))
        if self.M is None:
            # Nothing certifies these: what they have is that Newton's method ended.
            if minimum.decrement > 1e-6 * size + self.accuracy.floor:
                warnings.warn(
                    f"Newton's method stopped at decrement {minimum.decrement:.1e} of a step of size "
                    f"{size:.1e} on an edited problem. Scale the features or penalise more.",
                    ConvergenceWarning,
                    stacklevel=level_outside(),
                )
            return step, np.inf, size
        # Certified in the norm of the last factor, then carried over to the norm of P.
        last = minimum.factor.objective
        moved = problem.design.multiply((last.theta - theta).T)[problem.weights > 0]
        r = self.M * float(problem.loss.spread(moved).max(initial=0.0))
        with np.errstate(over="ignore", invalid="ignore"):
            # The Hessian there is at least exp(-r) P: often all that is needed of its leverages.
            carried = np.where(last.weights > 0, np.exp(r) * sizes, 0.0)
            bound = self._newton_bound(minimum, r, carried)
            if not self.certified(bound, size, tol):
                bound = self._newton_bound(minimum, r)
            if not self.certified(bound, size, tol):
                # What rows moved allows more than they curve: saturated rows, most of all.
                seen = np.sqrt(Accuracy(minimum.factor).relative_to(base))
                bound = min(bound, distance_bound(minimum) * float(seen))
        return step, bound, size

    def _newton_bound(self, minimum, r, sizes=None):
        return distance_bound(minimum, sizes) * float(np.exp(0.5 * r))

    def knows_sums_of(self, rows):
        """Whether a pass over all pairs of some rows with all was made."""
        return any(at.knows_sums_of(rows) for at in self._whitened.values())


def distance_bound(minimum, sizes=None):
    """How far the end of Newton's method may be from the optimum, in the norm of its Hessian.

    Parameters
    ----------
    minimum : Minimum
        Of an objective whose loss has a constant of self-concordance.
    sizes : ndarray of shape (n_samples,), default=None
        Bounds on ``|x_j|^2`` in the inverse of that Hessian, if they are known.

    Returns
    -------
    bound : float
    """
    own = Accuracy(minimum.factor, sizes)
    kappa = np.sqrt(own.row_sizes.max(initial=0.0))
    if not np.isfinite(kappa):
        return np.inf
    # Solves that are far off are no measure of what is left.
    error = solve_error(own.factor, own.row_sizes)
    decrement = np.array(minimum.decrement * (1.0 + error) if error < 1e-6 else np.inf)
    M = minimum.objective.loss.self_concordance
    local = certificate.gradient_bound(M, kappa, decrement, np.array(M * minimum.moved))
    return float(local + own.noise)


class Stage:
    """What solves some edits of a factored objective.

    Parameters
    ----------
    start : EditStart
    """

    def __init__(self, start):
        self.start = start
        self.objective, self.accuracy, self.M = start.objective, start.accuracy, start.M
        self.factor, self.solver = start.factor, start.solver

    @property
    def knows_pairs(self):
        """Whether pairs of rows may be asked about in single precision, which holds no longer rows."""
        serves = PairSums.serves(self.factor)
        return serves and bool(self.accuracy.row_sizes.max(initial=0.0) <= FARTHEST)
