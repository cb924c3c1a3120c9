"""Answers in which statistics of the estimator itself move with the rows, around those that hold them."""

import copy

from skinfluence._utils.locks import Locked
from skinfluence.answers import Answers


class MovingAnswers(Locked, Answers):
    """Answers that move something with an edit; what is no edit is asked of those that hold it.

    Derivatives, and what diagnostics are made of, are those of the fit.

    Parameters
    ----------
    held : Answers
        With the statistics as fitted.
    """

    def __init__(self, held):
        super().__init__()
        self._held = held
        self.problem = held.problem
        self.effect_type = held.effect_type

    @property
    def held(self):
        return self._held.held

    @property
    def at_optimum(self):
        return self.held.at_optimum

    @property
    def certifies(self):
        return self._held.certifies

    @property
    def concern(self):
        return self._held.concern

    @property
    def factor(self):
        """Of the model as fitted."""
        return self._held.factor

    @property
    def solver(self):
        return self._held.solver

    @property
    def verbose(self):
        return self._held.verbose

    def report(self):
        return self._held.report()

    def holding(self, hold):
        held = self._held.holding(hold)
        return self if held is self._held else type(self)(held)

    def polished(self):
        return type(self)(self._held.polished())

    def edit_solver(self):
        return self._held.edit_solver()

    def basis(self, method):
        return self._held.basis(method)

    def start(self, design, method):
        """Decision values at ``design`` that the changes of a method start from."""
        return self._held.start(design, method)

    def smoothed(self, smoothing):
        return self._held.smoothed(smoothing)

    def up_params(self, rows):
        return self._held.up_params(rows)

    def up_loss(self, tests, rows, aggregate):
        return self._held.up_loss(tests, rows, aggregate)

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        return self._held.pert_loss(tests, rows, aggregate, pull_back, out)

    def test_pulls(self, tests):
        return self._held.test_pulls(tests)

    def gamma_pulls(self, tests, aggregate):
        """See :class:`~skinfluence.statistics.gamma.GammaAnswers`; nothing here."""
        inner = getattr(self._held, "gamma_pulls", None)
        return None if inner is None else inner(tests, aggregate)

    def self_influence(self):
        return self._held.self_influence()

    def deletions(self):
        return self._held.deletions()

    def effect_on_others(self, answered, thorough=False):
        return self._held.effect_on_others(answered, thorough)

    def knows(self, question):
        return self._held.knows(question)

    def quantity(self, tests, of, method):
        return self._held.quantity(tests, of, method)


def started_at(quantity, answers, before, method):
    """The quantity whose changes are measured from the fit and start where answers do.

    Parameters
    ----------
    quantity : Quantity
        That starts where those ``before`` do.
    answers, before : Answers
    method : str
    """
    moved = copy.copy(quantity)
    shift = answers.start(quantity.design, method) - before.start(quantity.design, method)
    moved.eta = quantity.eta + shift
    return moved
