"""What is asked of an audit: checked, and settled once for all of its questions."""

import numbers

import numpy as np
from sklearn.base import is_classifier, is_regressor

from skinfluence._utils.rows import groups_of
from skinfluence.cleaning.judging import judge_labels
from skinfluence.cleaning.targets import judge_targets
from skinfluence.inputs.routes import whole_pipeline
from skinfluence.statistics import learns_from_rows

# What the rows can be ranked by, the default first.
SCORES = {
    judge_labels: ("error_proba", "loo_loss", "margin", "trimmed", "self_influence", "cleanlab"),
    judge_targets: ("loo_loss", "self_influence"),
}
# Of score="trimmed", where their number is not given.
USUAL_ROUNDS = 3


def plain(y) -> np.ndarray:
    """Targets as an array; whole numbers and booleans of a nullable type keep their kind."""
    kind = getattr(getattr(y, "dtype", None), "kind", "O")
    values = np.asarray(y)
    if values.dtype != object or kind not in "biu" or y.isna().any():
        return values
    numpy_dtype = getattr(y.dtype, "numpy_dtype", None)
    return np.asarray(y, dtype=np.dtype(kind) if numpy_dtype is None else numpy_dtype)


def judge_of(estimator):
    """Who judges the rows of this kind of estimator, or an error."""
    if is_classifier(estimator):
        if not hasattr(estimator, "predict_proba") and not hasattr(estimator, "decision_function"):
            raise TypeError(
                "audit needs the probabilities or the decision values of a classifier. Got "
                f"{type(estimator).__name__}, which has neither. "
                "Fit skinfluence.linear_model.LogisticRegression instead."
            )
        return judge_labels
    if is_regressor(estimator):
        return judge_targets
    raise TypeError(
        f"audit needs a fitted classifier or regressor. Got {type(estimator).__name__} instead."
    )


def known_effects(influence, effects):
    """How effects on the others are worked out: as asked, False where they are not known.

    Raises
    ------
    TypeError
        Where they are asked for in vain.
    """
    knows = influence.answers.knows("effect_on_others")
    if effects and not knows:
        raise TypeError(
            "audit weighs what dropping a row does to the others, which is known of linear models with "
            "a smooth loss and of kernel ridge regression. Got "
            f"{influence.objective.model_name}; pass effects=False."
        )
    return effects if knows else False


def check_pull(influence, score):
    """Refuse a ranking by derivatives that the model does not have."""
    if score == "self_influence" and not influence.answers.knows("self_influence"):
        raise TypeError(
            "score='self_influence' needs a derivative, which not every kind of model has. Got "
            f"{influence.objective.model_name}; leave score= out."
        )


def known_score(score, known):
    """The score by name, the first one for None."""
    if score is None:
        return known[0]
    if score not in known:
        what = "classifier" if "margin" in known else "regressor"
        raise ValueError(
            f"score of a {what} must be one of {', '.join(map(repr, known))}. Got {score!r}."
        )
    return score


def check_rounds(rounds, trim, groups, estimator):
    if not isinstance(rounds, numbers.Integral) or rounds < 0:
        raise ValueError(f"rounds must be a whole number from 0. Got {rounds!r}.")
    if trim is not None and not 0 <= trim < 0.5:
        raise ValueError(f"trim must be a share of the rows from 0 to below a half. Got {trim!r}.")
    if trim is not None and not rounds:
        raise ValueError(
            f"trim={trim} needs rounds=, how many times to leave rows out, or score='trimmed'. Got rounds=0."
        )
    if rounds and groups is not None:
        raise ValueError(
            "rounds= (or score='trimmed') and groups= cannot be given together: sources are judged "
            "untrimmed. Audit twice."
        )
    if rounds and not (is_classifier(estimator) and hasattr(estimator, "predict_proba")):
        raise TypeError(
            "rounds= (and score='trimmed') is for classifiers with probabilities. Got "
            f"{type(estimator).__name__}; leave it out."
        )


def known_groups(groups, n, labels):
    if groups is None:
        return None
    names, _ = groups_of(groups, n, labels)
    if len(names) < 2:
        raise ValueError(f"groups must name at least two sources. Got only {names.tolist()!r}.")
    return np.asarray(groups)


def settled(influence, method, frozen):
    """What becomes of the transformers, once for all questions of an audit; it is said here."""
    first = "one-step" if method == "auto" and influence.answers.certifies else method
    whole = whole_pipeline(influence, first, frozen)
    if whole is None and learns_from_rows(influence):
        return "accept"
    return influence.frozen if frozen is None else frozen


def held(frozen):
    """What becomes of the transformers without a source: as in the rest of the audit."""
    return frozen if frozen == "accept" else None
