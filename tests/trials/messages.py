"""What the package may say, and when it is true: refusals and warnings by their words."""

import re
from dataclasses import dataclass


@dataclass
class Facts:
    """What the oracle knows about a question.

    Attributes
    ----------
    pivot : float
        The smallest pivot of the Hessians before and after, scaled to unit diagonal: 0 is singular.
    lonely : bool
        Whether a class, or the positive counts, have one row of weight only.
    no_optimum : bool
        Whether some edit of it, or the fit, has none.
    not_reached : bool
        Whether the oracle did not arrive at the optimum of some edit, so that ``pivot`` lacks that one's.
    decrement : float
        Newton's decrement of the parameters as fitted.
    limit : float
        The decrement beyond which local answers mislead.
    """

    pivot: float = 1.0
    no_optimum: bool = False
    not_reached: bool = False
    lonely: bool = False
    decrement: float = 0.0
    limit: float = 0.0


# Below this a float64 factorisation may call a Hessian singular, and a float32 one: these are pivots,
# and reciprocal condition numbers can be a thousand times smaller.
SINGULAR, SINGLE = 1e-11, 1e-3


def _always(trial, question, facts):
    return True


def _singular(trial, question, facts):
    least = SINGLE if trial.options.get("precision") == "mixed" else SINGULAR
    return facts.pivot < least or facts.no_optimum


def _no_optimum(trial, question, facts):
    return facts.no_optimum


def _weightless(trial, question, facts):
    balanced = trial.params.get("class_weight") == "balanced"
    weighs = set(trial.y[trial.weights > 0]) if trial.weights is not None else set(trial.y)
    return balanced and weighs != set(trial.y)


def _has_a_class_without_weight(trial, question, facts):
    return trial.weights is not None and set(trial.y[trial.weights > 0]) != set(trial.y)


def _lonely(trial, question, facts):
    return facts.lonely or facts.no_optimum


def _far(trial, question, facts):
    # Of a polished fit it says that polishing did not get there, which the answers show.
    return trial.options.get("polish") or facts.decrement >= 0.2 * facts.limit


def _mixed(trial, question, facts):
    return trial.options.get("precision") == "mixed"


def _solver(*names):
    return lambda trial, question, facts: trial.options.get("solver") in names


def _wild(trial, question, facts):
    return "wild scales" in trial.traits or facts.pivot < 1e-9


def _sparse(trial, question, facts):
    return trial.container in ("csr", "csc")


def _nullable(trial, question, facts):
    return trial.container == "nullable"


def _never(trial, question, facts):
    return False


def _family(*names):
    return lambda trial, question, facts: trial.family in names


# In the order in which they are tried: a pattern, a name, and when it is true.
REFUSALS = [
    (
        r"Got a fit that ended far from its optimum",
        "far fit",
        lambda trial, question, facts: not trial.options.get("polish"),
    ),
    (r"lib(linear|svm) leaves such a class out", "class left out", _has_a_class_without_weight),
    (r"Every class must have rows of positive weight", "class of no weight", _no_optimum),
    (r"Every class needs a row of positive sample_weight", "class of no weight", _no_optimum),
    (r"every class must have rows of positive sample_weight", "class of no weight", _weightless),
    (r"A module needs dense inputs", "dense inputs", _sparse),
    (r"X must hold numbers. Got dtype object", "nullable columns", _nullable),
    (
        r"must be positive definite|not penalised and only|not positive definite|Columns of zeros must be",
        "singular",
        _singular,
    ),
    (r"must keep weight after the edit", "class emptied", _no_optimum),
    (r"removes all the training weight", "nothing left", _no_optimum),
    (r"must not separate its training classes", "separable", _no_optimum),
    (r"must hold all directions of an unpenalised count model", "falling zeros", _no_optimum),
    (r"precision='mixed'|Single precision must hold", "mixed", _mixed),
    (r"The dual form needs", "dual form", _solver("dual")),
    (r"The dual matrix is too badly scaled", "dual scaling", _wild),
    (r"holds C\. Got hold='lambda'", "hinge holds C", _family("SVC", "LinearSVC hinge")),
    (r"need a row on the margin", "no margin row", _family("SVC", "LinearSVC hinge")),
    (r"is the span rule for removing one row", "span rule", _family("SVC", "LinearSVC hinge")),
    (r"Both labels need a row|rows of one class", "one class", _no_optimum),
    (r"must be positive: without a penalty", "no alpha", _always),
    (r"kernel matrix plus alpha must be positive definite", "singular", _singular),
    (
        r"Weights of a fit by stochastic gradient",
        "sgd weights",
        _family("SGDClassifier", "SGDRegressor"),
    ),
    (r"A callable must return", "callable", _always),
    (r"a positive target", "no positive count", _no_optimum),
    # Trials always pass the data of the fit.
    (r"must be those of the fit", "other data", _never),
]
WARNINGS = [
    (
        r"has no one-step answer \(NaN\): without it no row is left on the margin",
        "no margin row",
        _family("SVC", "LinearSVC hinge"),
    ),
    (r"is the only one of its class", "alone in its class", _lonely),
    (r"has all the training weight", "alone", _lonely),
    (r"^Without group .* holds all the weight", "group is a class", _singular),
    (r"The fit is not at the optimum", "fit stopped early", _far),
    (
        r"The fit is not the solution of its problem",
        "single precision",
        lambda trial, question, facts: trial.container == "float32",
    ),
    (r"could not be certified", "not certified", _always),
    (r"leverage 1: a parameter is|take away rows of leverage 1", "leverage 1", _singular),
    (r"Newton's method stopped", "Newton stopped", _always),
    (r"CG stopped after", "CG stopped", _solver("cg")),
    (
        r"float64 to see what determines|a parameter is not determined",
        "undetermined",
        _singular,
    ),
    (r"have no answer \(NaN\)", "not convex", _family("TweedieRegressor", "MEstimator")),
    (r"The optimality conditions", "kkt", _family("SVC", "LinearSVC hinge")),
    (
        r"The fit did not reach a minimum|ended at a saddle",
        "m-estimation fit",
        _family("MEstimator"),
    ),
    (r"unsolved|edits have no answer", "no answer", _family("MEstimator", "LinearSVC")),
    (r"The network is not at|not a stationary|far from", "network", _family("module")),
]

OF_A_LIST = re.compile(r"of the list ha(s|ve) no answer \(NaN\)\. ")


def warned_of(message):
    """The words of a warning and their table: of an edit in a list those that refuse it alone."""
    edit, refuses, why = message.partition(" of the list ha")
    if not (refuses and edit.startswith("Edit")):
        return message, WARNINGS
    return why.partition("(NaN). ")[2], REFUSALS


def classify(message, table, trial, question, facts):
    """(name, whether it is true), or (None, False) for words that are not in the table."""
    refused = OF_A_LIST.search(message)
    if refused:
        # What such an edit alone is refused with.
        message, table = message[refused.end() :], REFUSALS
    for pattern, name, true in table:
        if re.search(pattern, message):
            return name, bool(true(trial, question, facts))
    return None, False
