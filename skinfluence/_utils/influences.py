"""Whom a question is about: an Influence, or a fitted estimator that makes its own."""


def influence_of(influence, sentence):
    """The Influence itself, or that of a fitted estimator of skinfluence.

    Parameters
    ----------
    influence : Influence or estimator
    sentence : str
        How the refusal begins: "Values are of".

    Raises
    ------
    TypeError
        For anything else, such as scikit-learn's own estimators, which do not know their rows.
    """
    if hasattr(influence, "answers"):
        return influence
    if hasattr(influence, "_influence"):
        return influence._influence()
    raise TypeError(
        f"{sentence} an Influence, or a fitted estimator of skinfluence. Got "
        f"{type(influence).__name__}; pass Influence(estimator, X, y)."
    )
