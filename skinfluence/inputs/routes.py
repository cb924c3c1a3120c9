"""Who answers a finite question: the pipeline without the rows too, or the model behind held steps."""

from skinfluence._utils.validation import check_frozen_choice
from skinfluence.answers import check_method
from skinfluence.answers.checks import check_chosen
from skinfluence.inputs.frozen import check_frozen, uses_y
from skinfluence.statistics import (
    PipelineOfLeft,
    Refits,
    WholePipeline,
    fitted_leaves,
    learns_from_rows,
    moving_curve,
    names_of_parts,
    why_not,
)


def whole_pipeline(influence, method, frozen=None, budget=None):
    """What answers about the edited pipeline; None where its transformers stay as fitted.

    Parameters
    ----------
    influence : Influence
    method : str
    frozen : {None, "accept", "refuse"}, default=None
        None: as the influence was made with.
    budget : float, default=None
        CPU seconds; None: as the influence was made with.

    Raises
    ------
    ValueError
        With ``"refuse"``, where a part of the pipeline would stay as fitted.
    """
    check_frozen_choice(frozen)
    check_method(method)
    frozen = influence.frozen if frozen is None else frozen
    check_chosen(influence.objective, frozen)
    if frozen == "accept" or not learns_from_rows(influence):
        return None
    if influence.data.gone and influence.data.left is None:
        raise ValueError(
            "The whole pipeline is known after edits that moved all of it. Got rows that earlier edits "
            f"took out while {', '.join(names_of_parts(influence))} stayed as fitted. Fit a clone of the "
            "estimator on the rows that are left and ask Influence about that, or pass frozen='accept' to "
            "hold them."
        )
    inputs, steps = influence.data.inputs, influence.data.inputs.steps
    supervised = any(uses_y(one) for _, one in fitted_leaves(steps))
    why = why_not(influence.answers, steps, inputs.training_X, inputs.raw, method)
    if why is None and inputs.moves_targets and supervised:
        why = "A step that used y is asked about behind a transformer of the targets."
    if why is None:
        whole = _fitted_again(influence, supervised, influence.budget if budget is None else budget)
        if whole is not None:
            return whole
        why = (
            "Fitted again on all rows they do not give what they gave: they were fitted on other "
            "rows, with weights of their own, or draw."
        )
    _check_held(influence, frozen, why)
    return None


def _fitted_again(influence, supervised, budget):
    """Answers of the pipeline whose steps are fitted again; None where they do not give what they gave."""
    inputs, left = influence.data.inputs, influence.data.left
    raw, training_X = inputs.raw, inputs.training_X
    y, answers = influence.data.y, influence.answers
    if left is not None:
        # Steps are fitted on the rows that are there.
        raw, training_X = left.of(raw), training_X[left.rows]
        y, answers = y[left.rows], left.answers
    if influence.data.refits is None:
        refits = Refits([one for _, one in inputs.steps], raw, y)
        influence.data.refits = refits if refits.gives(training_X) else False
    if not influence.data.refits:
        return None
    whole = WholePipeline(
        answers, inputs.model, influence.data.refits, training_X, supervised, budget
    )
    return whole if left is None else PipelineOfLeft(whole, left, influence)


def _check_held(influence, frozen, why):
    """Say that transformers stay as fitted, and why; refuse it where that leaks targets or is not wanted."""
    if frozen == "refuse":
        raise ValueError(
            "With frozen='refuse' no part of a pipeline may stay as fitted on all rows. Got "
            f"{', '.join(names_of_parts(influence))}. {why} Pass frozen='accept' to hold them."
        )
    curve = moving_curve(influence.objective)
    if curve is not None:
        raise ValueError(
            "A transformer that was fitted on all targets would leak that of each row into the answer "
            f"without it. Got {curve.transformer!r}, which cannot be fitted again here. {why} Pass "
            "frozen='accept' to hold it, or one that learns nothing, such as func=np.log1p and "
            "inverse_func=np.expm1."
        )
    check_frozen(influence.estimator, None, why)


def answers_for(influence, frozen=None):
    """The answers of an Influence, the estimator's own statistics held where they are accepted."""
    frozen = influence.frozen if frozen is None else frozen
    return influence.answers.held if frozen == "accept" else influence.answers
