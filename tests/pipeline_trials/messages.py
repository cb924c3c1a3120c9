"""What may be said about the edit of a pipeline, and when it is true: by its words."""

import re
from dataclasses import dataclass

import numpy as np

from tests.pipeline_trials.drawing import groups_of


@dataclass
class Facts:
    """What refits know about a question.

    Attributes
    ----------
    refused : str
        What scikit-learn says when it fits the pipeline on the edited rows; "" where it does.
    emptied : bool
        Whether a class, or all counts, have no weight before or after.
    unstable : bool
        Whether the steps give the training rows other columns by ``transform`` than by
        ``fit_transform``: those of round-off, made large.
    stopped : bool
        Whether the solver of the fit ran out of iterations.
    pivot : float
        The smallest of the Hessians scaled to unit diagonal; 0 for none.
    far : bool
        Whether the fit has a Newton decrement that its solver should not have left.
    unsure : bool
        Whether the oracle knows no answer: then it knows no pivot either.
    """

    refused: str = ""
    emptied: bool = False
    unstable: bool = False
    stopped: bool = False
    pivot: float = 1.0
    far: bool = False
    unsure: bool = False


def _always(trial, facts, said):
    return True


def _emptied(trial, facts, said):
    return facts.emptied


def _named(trial, facts, said):
    """Of rows and groups that are not those of the edit, too: the words name them."""
    if facts.emptied:
        return True
    of_group = re.match(r"All rows of .* are in group (\d+)", said)
    named = of_group[1] if of_group else re.split(" hold| no answer", said)[0]
    # Of many rows the first are named: those of a group, which leave together.
    named, _, more = named.partition(" and ")
    numbers = [int(one) for one in re.findall(r"\d+", named if "more" in more else named + more)]
    by_group = of_group or said.startswith("Without group")
    if "more" in more:
        by_group, numbers = True, np.unique(groups_of(trial)[numbers])
    gone = np.isin(groups_of(trial) if by_group else np.arange(len(trial.y)), numbers)
    weight = np.ones(len(trial.y)) if trial.weight is None else trial.weight
    left = weight > 0
    return not set(trial.y[left & ~gone]) == set(trial.y[left])


def _refused(trial, facts, said):
    return bool(facts.refused)


def _singular(trial, facts, said):
    return facts.pivot < 1e-10 or facts.emptied


def _unstable(trial, facts, said):
    return facts.unstable


def _far(trial, facts, said):
    # Their solvers stop by a tolerance that says little where columns are of unlike sizes.
    early = ("LinearSVC", "LinearSVC hinge", "SGDClassifier", "SGDRegressor")
    return facts.stopped or facts.far or trial.family in early


# In the order in which they are tried: a pattern, a name, and when it is true.
REFUSALS = [
    (r"must keep weight after the edit|Every class must", "class emptied", _emptied),
    (r"removes all the training weight", "nothing left", _emptied),
    (r"a positive target", "no positive count", _emptied),
    (r"need a row|needs a row|one class|at least", "class emptied", _emptied),
    (r"must be those of the fit|must hold the rows given to fit", "other rows", _unstable),
    (r"Got a fit that ended far from its optimum", "far fit", _far),
    (r"positive definite", "singular", _singular),
]
WARNINGS = [
    (r"the transformers, fitted on what the edit leaves, refuse", "steps refuse", _refused),
    (r"is the only one of its class|has all the training weight", "alone", _named),
    (r"holds all the weight|a class has no rows|are in group \d", "class emptied", _named),
    (r"a parameter is not determined", "no optimum", _singular),
    (r"The fit is not at the optimum", "fit stopped early", _far),
    (r"Fitted again on all rows they do not give what they gave", "held", _unstable),
    (r"could not be certified", "not certified", _always),
]


def classify(message, table, trial, facts):
    """(name, whether it is true), or (None, False) for words that are not in the table."""
    for pattern, name, true in table:
        if re.search(pattern, message):
            return name, bool(true(trial, facts, message))
    if facts.refused and facts.refused[:60] in message:
        return "steps refuse", True
    return None, False
