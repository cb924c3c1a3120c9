"""Edits of one factored objective, with a certificate for each."""

from skinfluence.smooth.optimum.accuracy import SPLIT
from skinfluence.smooth.stages.edit_start import EditStart
from skinfluence.smooth.stages.own_solver import OwnSolver
from skinfluence.smooth.stages.point_solver import PointSolver
from skinfluence.smooth.stages.row_solver import RowSolver


class EditSolver:
    """Solves edits of one factored objective, with a certificate for each.

    Parameters
    ----------
    factor : Factor
        At the optimum of its objective.
    solver : solver object
        For the Hessians of edited problems; those of few parameters are factored directly.
    split : int, default=1000
        Rows of largest leverage whose decision values the split bound follows exactly.

    Attributes
    ----------
    start : EditStart
        What the three share.
    own : OwnSolver
        Of decision values, without steps of the parameters.
    rows : RowSolver
        Of many edits at one row each.
    points : PointSolver
        Of one edit of any points.
    """

    def __init__(self, factor, solver, split=SPLIT):
        self.start = EditStart(factor, solver, split)
        self.factor, self.solver = self.start.factor, self.start.solver
        self.objective, self.accuracy = self.start.objective, self.start.accuracy
        self.M = self.start.M
        self.own = OwnSolver(self.start)
        self.rows = RowSolver(self.start)
        self.points = PointSolver(self.start)
