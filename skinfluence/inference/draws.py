"""Decision values of test points under draws of the training rows: to first order, or refitted."""

import numpy as np

from skinfluence._utils.memory import check_fits
from skinfluence._utils.weights import weigh
from skinfluence.inference.groups import grouped, refuse_without_a_model
from skinfluence.objective import Objective
from skinfluence.problem import refuse_chosen
from skinfluence.smooth.one_step.effects import decision_steps
from skinfluence.smooth.optimum.resampled import optima
from skinfluence.statistics import any_learns, moving_curve

METHODS = ("influence", "exact")


def draws_of(influence, X, y, groups, method):
    """What moves the decision values at ``X`` with how often each row, or group, is drawn.

    Parameters
    ----------
    influence : Influence
    X : array-like of shape (n_test, n_features)
    y : array-like of shape (n_test,) or None
    groups : array-like of shape (n_train,) or None
    method : {"influence", "exact"}

    Returns
    -------
    draws : object
        With ``n``, the number of rows of positive weight, or of groups; ``moved(counts)``, from numbers of
        draws (b, n) to changes of the decision values (b, n_test, ...).
    """
    return (FirstOrder if method == "influence" else Refitted)(influence, X, y, groups)


class FirstOrder:
    """Each row drawn once more moves the decision values as much as leaving it out does, the other way."""

    def __init__(self, influence, X, y, groups):
        rows = np.flatnonzero(influence.objective.weights > 0)
        n_test = influence.data.tests(X, None).design.n_samples
        check_fits((n_test, len(rows)), "Ask about fewer points at a time.")
        options = {"of": "decision_function", "method": "influence", "indices": rows}
        moved = np.swapaxes(influence.removal_effect(X, **options), 0, 1)
        refuse_without_a_model(moved)
        if groups is not None:
            names, position = grouped(influence, groups)
            out = np.zeros((len(names), *moved.shape[1:]))
            np.add.at(out, position[rows], moved)
            moved = out
        self.moves, self.n = moved, len(moved)

    def moved(self, counts):
        """See :func:`draws_of`."""
        return -np.tensordot(counts - 1.0, self.moves, axes=1)


class Refitted:
    """The model of each draw, at its optimum: found from where first order says that it is."""

    def __init__(self, influence, X, y, groups):
        problem = influence.objective
        _refuse_moving(influence, problem)
        answers = influence.answers.held
        self.solver, self.factor = answers.solver, answers.edit_solver().factor
        tests = influence.data.tests(X, y)
        self.quantity = answers.quantity(tests, "decision_function", "exact")
        self.rows = np.flatnonzero(problem.weights > 0)
        self.position, self.n = np.arange(len(self.rows)), len(self.rows)
        if groups is not None:
            names, position = grouped(influence, groups)
            self.position, self.n = position[self.rows], len(names)

    def moved(self, counts):
        """See :func:`draws_of`."""
        objective = self.factor.objective
        weights = np.zeros((len(counts), objective.n_samples))
        weights[:, self.rows] = counts[:, self.position] * objective.weights[self.rows]
        for one, kinds, _ in objective.own_kinds:
            for kind in range(one.n_kinds):
                empty = np.flatnonzero(weights[:, kinds == kind].sum(axis=1) == 0)
                if len(empty):
                    raise ValueError(
                        "Every draw of the rows must have all that a fit needs. Got one without "
                        f"{one.kind_name(kind)}: {one.without_a_class}. Use method='influence', "
                        "or add such rows."
                    )
        more = weights - objective.weights
        pull = objective.design.adjoint(self._gradients(more)).T.reshape(-1, *objective.theta.shape)
        pull += more.sum(axis=1)[:, None, None] * objective.unit_penalty * objective.theta
        flat = pull.reshape(len(counts), -1)
        start = -self.factor.solve(np.ascontiguousarray(flat.T)).T.reshape(pull.shape)
        steps = optima(self.factor, self.solver, weights, objective.theta + start) - objective.theta
        parts = [
            self.quantity.change(one) for _, one in decision_steps(self.quantity.design, steps)
        ]
        return np.concatenate(parts)

    def _gradients(self, weights):
        """Weighted gradients of the rows in their decision values, (n_samples, m x n_outputs)."""
        gradients = self.factor.objective.gradients
        return weigh(weights.T[:, :, None], gradients[:, None]).reshape(len(gradients), -1)


def _refuse_moving(influence, problem):
    """Refuse models of which a refit is more than the optimum under other weights."""
    remedy = "Use method='influence', or fit clones on rows that are drawn."
    if not isinstance(problem, Objective):
        raise TypeError(
            "Refits of drawn rows are known of smooth linear models. Got "
            f"{problem.model_name}. {remedy}"
        )
    refuse_chosen(problem, "Refits of drawn rows")
    learns = any_learns(influence.data.inputs.steps) or moving_curve(problem) is not None
    if influence.frozen != "accept" and learns:
        raise TypeError(
            "Refits of drawn rows are those of the model alone: transformers that learn from the rows, or "
            "from their targets, would be fitted again. Got such. Pass Influence(..., frozen='accept') to "
            "hold them, or fit clones on rows that are drawn."
        )
    if problem.balanced:
        raise TypeError(
            "Refits of drawn rows have the class weights that were given. Got class_weight='balanced', "
            f"which each draw changes. {remedy}"
        )
