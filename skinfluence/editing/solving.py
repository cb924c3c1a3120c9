"""The solution of an edited problem, by kind of problem, with what is known of its error."""

from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np

from skinfluence import certificate
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.threads import small_blas
from skinfluence.editing.writing import write_linear
from skinfluence.objective import Objective, centred
from skinfluence.smooth.one_step import point_steps
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.accuracy import Accuracy, shrink, solve_error
from skinfluence.smooth.optimum.existence import refuse_separable
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.solvers import resolve_solver
from skinfluence.solvers.primal import PrimalFactor

# Below this share the Hessian that is left is factored instead of bounded by the one before.
LEFT = 1e-2


@dataclass(frozen=True, eq=False)
class Solved:
    """An edited problem at its optimum.

    Attributes
    ----------
    problem : Problem
        At the optimum: its parameters are the edited model's.
    bound, size : float
        See :class:`~skinfluence.editing.EditReport`.
    method_used : str
    reach : callable
        From a design of m rows to what one unit of ``bound`` is at their decision values, an array
        that broadcasts to (m, n_outputs).
    write : callable
        From a fitted model and the numbers of the rows that are left, and the targets' lines, to a
        model of its class at this optimum.
    n_values : int
        Decision values per row.
    floor : float
        What a decision value may be off by besides.
    answers : Answers or None
        About the problem, where solving it made them.
    """

    problem: object
    bound: float
    size: float
    method_used: str
    reach: object
    write: object
    n_values: int
    floor: float = 0.0
    answers: object = None


class HessianReach:
    """``|J_t|_{P^-1}`` of points, for a ``P`` that is at least ``kept`` times a factored Hessian.

    Parameters
    ----------
    factor : Factor
    kept : float
    """

    def __init__(self, factor, kept):
        self.factor, self.kept = factor, kept / (1.0 + factor.leverage_error)

    def without(self, objective, left):
        """The same, holding no row that is not among those ``left`` of the edited objective."""
        if isinstance(self.factor, PrimalFactor):
            before = self.factor.objective
            nothing = replace(before, **rows_of(before, slice(0, 0)))
            return HessianReach(self.factor.moved_to(nothing), self.kept)
        return RefactoredReach(replace(objective, **rows_of(objective, left)))

    def __call__(self, design):
        size = reach_of(self.factor.objective.loss, self.factor.leverages, design)
        return size / np.sqrt(self.kept)


def reach_of(loss, leverages, design):
    """Roots of the leverages of all decision values, (n_rows, n_values)."""
    outputs = loss.expand(np.eye(loss.n_outputs))
    found = np.empty((design.n_samples, outputs.shape[1]))
    for block in row_blocks(len(found), 8 * loss.n_outputs**2 + 8 * design.n_columns):
        h = leverages(design.take(block))
        found[block] = np.einsum("ikl,ka,la->ia", h, outputs, outputs)
    return np.sqrt(np.maximum(found, 0.0))


class RefactoredReach:
    """As :class:`HessianReach`, of an objective whose Hessian is factored when it is asked."""

    def __init__(self, objective):
        self.objective = objective

    def __call__(self, design):
        factor = resolve_solver("auto", self.objective, "float64").factor(self.objective)
        return HessianReach(factor, 1.0)(design)


def rows_of(objective, rows):
    """What some rows are in an objective, by field."""
    names = ("y", "weights", "sample_weight")
    held = {name: getattr(objective, name) for name in names}
    taken = {name: one if one is None else one[rows] for name, one in held.items()}
    return {"design": objective.design.take(rows), **taken}


@singledispatch
def solve_edited(problem, answers, points, tol):
    """The :class:`Solved` problem after an edit, from the answers about the one before.

    Parameters
    ----------
    problem : Problem
        After the edit, at the old parameters, rows with their numbers.
    answers : Answers
        Before it.
    points : Points
        The edit.
    tol : float
        Relative error to certify, where that is a choice.
    """
    raise TypeError(
        "The model after an edit is known of linear models, kernel models, models in closed form and "
        f"MEstimator. Got {problem.model_name}; ask Influence.effect for the change of its outputs."
    )


@solve_edited.register
def _(problem: Objective, answers, points, tol):
    step, bound, used = (one[0] for one in answers.solve_points([points], "auto", tol))
    solver = answers.edit_solver()
    start = solver.objective
    after = replace(problem, theta=start.theta + step)
    n_values = values_of(problem.loss)
    # Piecewise quadratic losses end at their optimum, which only round-off is left of.
    flat = step.ravel()
    size = float(np.sqrt(np.maximum(0.0, flat @ (solver.factor.curvature @ flat))))
    if solver.M is None:
        return solved_by_penalty(after, size, used)
    leverage = point_steps.points_leverage(solver.factor, points) * (
        1.0 + solver.accuracy.solve_error
    )
    kept = float(shrink(np.array([points.shift]), start)[0]) * (1.0 - leverage)
    factor = solver.factor
    if not kept > LEFT:
        factor, kept = solver.solver.factor(replace(problem, theta=start.theta)), 1.0
    return Solved(
        after, float(bound), size, used, HessianReach(factor, kept), write_linear, n_values
    )


@singledispatch
def solve_whole(problem, edit, tol):
    """The :class:`Solved` problem of a pipeline whose steps were fitted again.

    Parameters
    ----------
    problem : Problem
        After the edit with everything else held, all rows with their numbers.
    edit : WholeEdit
        With the rows that are left, as the steps make them.
    tol : float
        Relative error to certify, where that is a choice.
    """
    raise TypeError(
        "The steps of a pipeline are fitted again before linear models, kernel models and models "
        f"in closed form. Got {problem.model_name}; pass frozen='accept' to hold them as fitted."
    )


@solve_whole.register
def _(problem: Objective, edit, tol):
    return solve_anew(edit.objective(), edit.influence.answers.held.edit_solver().solver)


def solve_anew(objective, solver):
    """The :class:`Solved` smooth problem from wherever it is, by Newton's method.

    Raises
    ------
    SingularHessianError, SeparableError
        Where there is no optimum.
    """
    objective = centred(objective)
    n_values = values_of(objective.loss)
    nowhere = objective.at(np.zeros_like(objective.theta))
    with np.errstate(over="ignore", invalid="ignore"):
        if not objective.value() <= nowhere.value():
            objective = nowhere
    with small_blas(objective.n_parameters):
        if piecewise.is_piecewise(objective.loss):
            found, _ = piecewise.minimise(objective, solver)
            return solved_by_penalty(found, np.nan, "newton")
        minimum = minimise(objective, solver)
    found, M = minimum.objective, objective.loss.self_concordance
    refuse_separable(found)
    if M is None:
        return solved_by_penalty(found, np.nan, "newton")
    own = Accuracy(minimum.factor)
    kappa = np.sqrt(own.row_sizes.max(initial=0.0))
    error = solve_error(minimum.factor, own.row_sizes)
    left = np.array(minimum.decrement * (1.0 + error) if error < 1e-6 else np.inf)
    bound = certificate.gradient_bound(M, kappa, left, np.array(M * minimum.moved)) + own.noise
    return Solved(
        found,
        float(bound),
        np.nan,
        "newton",
        HessianReach(minimum.factor, 1.0),
        write_linear,
        n_values,
    )


def solved_by_penalty(objective, size, used):
    """The :class:`Solved` problem of a loss without self-concordance.

    Of a convex one the penalty bounds the distance from the optimum: ``|d|_R <= |gradient|_{R^-1}``.
    """
    n_values, penalty = values_of(objective.loss), objective.penalty
    if not (piecewise.is_piecewise(objective.loss) and (penalty > 0).all()):
        return Solved(objective, np.inf, size, used, None, write_linear, n_values)
    design = objective.design
    terms = np.abs(objective.weighted_gradients)
    absolute = type(design)(abs(design.X), abs(design.intercept)).adjoint(terms).T
    rounding = 4.0 * np.finfo(float).eps * (absolute + np.abs(penalty * objective.theta))
    left = np.abs(objective.gradient().reshape(objective.theta.shape)) + rounding
    bound = float(np.sqrt(np.sum(left**2 / penalty)))
    return Solved(objective, bound, size, used, PenaltyReach(penalty), write_linear, n_values)


class PenaltyReach:
    """``|x_t|_{R^-1}`` of points, for a penalty on every column."""

    def __init__(self, penalty):
        self.penalty = penalty

    def __call__(self, design):
        return np.sqrt(design.squared_norms(1.0 / self.penalty))[:, None]


def values_of(loss):
    """Decision values per row of a smooth loss."""
    return loss.expand(np.zeros((1, loss.n_outputs))).shape[1]
