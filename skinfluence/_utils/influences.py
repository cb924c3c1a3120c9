"""Whom a question is about: an Influence, or a fitted estimator that makes its own."""


def influence_of(influence, sentence, with_offset=False):
    """The Influence itself, or that of a fitted estimator of skinfluence.

    Parameters
    ----------
    influence : Influence or estimator
    sentence : str
        How the refusal begins: "Values are of".
    with_offset : bool, default=False
        Whether what is asked is known of a model with an offset.

    Raises
    ------
    TypeError
        For anything else, such as scikit-learn's own estimators, which do not know their rows; for an
        offset.
    """
    if hasattr(influence, "answers"):
        if not with_offset:
            refuse_offset(influence.objective, sentence)
        return influence
    if hasattr(influence, "__influence__"):
        return influence.__influence__()
    raise TypeError(
        f"{sentence} an Influence, or a fitted estimator of skinfluence. Got "
        f"{type(influence).__name__}; pass Influence(estimator, X, y)."
    )


def refuse_offset(problem, sentence):
    """Refuse a model with an offset, for what fits estimators again: those of scikit-learn take none.

    Parameters
    ----------
    problem : Problem
    sentence : str
        As of :func:`influence_of`.

    Raises
    ------
    TypeError
    """
    if problem.offset is not None:
        raise TypeError(
            f"{sentence} models without an offset. Got one with it. Ask Influence (removal_effect, effect, "
            "loo_*, after, edited), diagnostics or covariances; or, of a log link without a penalty, fit and "
            "ask about rates: targets y / exp(offset) and weights exp((2 - power) * offset)."
        )
