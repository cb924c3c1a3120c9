"""Where the transformers of a pipeline stay as fitted on all rows: who may, and what is said.

Of transformers that never saw y this is a fair question. Of those that did it is not: the label of
the row is in the features that are to predict it.
"""

import inspect
import warnings

from sklearn.cross_decomposition import PLSSVD
from sklearn.decomposition import NMF, DictionaryLearning, MiniBatchNMF
from sklearn.feature_selection import SelectKBest, SelectorMixin, SelectPercentile
from sklearn.frozen import FrozenEstimator
from sklearn.manifold import LocallyLinearEmbedding
from sklearn.preprocessing import TargetEncoder
from sklearn.utils import get_tags

from skinfluence._utils.calls import level_outside
from skinfluence.inputs.shared import where_inside
from skinfluence.inputs.wrappers import opened
from skinfluence.statistics.leaves import given_leaves
from skinfluence.statistics.registry import learns

# Supervised, but neither their tags nor their signatures say so.
SUPERVISED = (PLSSVD, SelectKBest, SelectPercentile)

# Their ``fit_transform``, which gives a pipeline's model its rows, is not ``fit`` and ``transform``.
FIT_OTHERWISE = (TargetEncoder, NMF, MiniBatchNMF, DictionaryLearning, LocallyLinearEmbedding)


def check_frozen(estimator, frozen, why=None):
    """Refuse transformers that used y, and say that the others are frozen.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted or not.
    frozen : {None, "accept"}
        ``"accept"``: answer for the transformers as they are, whatever they learned from, and say
        nothing.
    why : str, default=None
        Why the answer is not about the whole pipeline, a sentence.

    Raises
    ------
    ValueError
        For a transformer whose ``fit`` used y.

    Warns
    -----
    UserWarning
        For transformers that learned from the rows.
    """
    if frozen not in (None, "accept"):
        raise ValueError(f"frozen must be None or 'accept'. Got {frozen!r} instead.")
    check_no_samplers(estimator)
    if frozen == "accept":
        return
    leaves = list(transformers_of(estimator))
    leaking = [f"{name} ({type(one).__name__})" for name, one in leaves if uses_y(one)]
    if leaking:
        reason = f" {why}" if why else ""
        raise ValueError(
            "The transformers of a pipeline stay as fitted on all rows when a row is left out, so "
            f"none may have used y. Got {', '.join(leaking)}, which would leak the label of each "
            f"row into its own leave-one-out answer.{reason} Refit the whole pipeline with "
            "sklearn.model_selection.cross_val_predict, drop the step, or pass frozen='accept' to "
            "get the answers for the transformers as they are."
        )
    learned = [name for name, one in leaves if learns(one)]
    if learned:
        why = f" {why}" if why else ""
        warnings.warn(
            f"The transformers of the pipeline are frozen ({', '.join(learned)}): this answers the "
            "question for the preprocessing as fitted on all rows, only the model is without a "
            f"row.{why} Pass frozen='accept' if that is what you ask.",
            UserWarning,
            stacklevel=level_outside(),
        )


def check_no_samplers(estimator):
    """Refuse samplers, after which a model is fitted on other rows than the pipeline was given.

    Raises
    ------
    TypeError
    """
    samplers = [
        f"{name} ({type(one).__name__})"
        for name, one in transformers_of(estimator)
        if hasattr(one, "fit_resample") and not hasattr(one, "transform")
    ]
    if samplers:
        raise TypeError(
            "The model of a pipeline must be fitted on the rows that the pipeline was given. Got "
            f"{', '.join(samplers)}, which draws others: without a row it would draw anew. Ask about the "
            "model on the rows of its fit: Z, z = sampler.fit_resample(X, y), with the random_state of "
            "the pipeline; Influence(model.fit(Z, z), Z, z). Or give weights instead of drawing."
        )


def check_same_rows(estimator):
    """Refuse transformers whose ``transform`` does not give the rows that the model was fitted on.

    Parameters
    ----------
    estimator : estimator or Pipeline

    Raises
    ------
    ValueError
    """
    others = [
        f"{name} ({type(one).__name__})"
        for name, one in transformers_of(estimator)
        if isinstance(one, FIT_OTHERWISE)
    ]
    if others:
        raise ValueError(
            "The model of a pipeline must have been fitted on what transform makes of the training "
            f"rows. Got {', '.join(others)}, whose fit_transform makes something else of them "
            "(cross fitting, or the fit's own iterates). Ask about the model on the features of its "
            "fit: Z = pipeline[:-1].fit_transform(X, y); Influence(pipeline[-1].fit(Z, y), Z, y)."
            f"{where_inside(estimator)}"
        )


def transformers_of(estimator):
    """All transformers before the model, as ``(name, transformer)``.

    Searches and wrappers are opened, unions and columns walked. What the targets go through is not
    among them: a straight line changes nothing for a model whose intercept is free.
    """
    while (layer := opened(estimator)) is not None:
        yield from given_leaves(layer.transformers)
        estimator = layer.inside


def uses_y(transformer):
    """Whether fitting the transformer looks at y."""
    if isinstance(transformer, FrozenEstimator):
        return False
    if isinstance(transformer, SUPERVISED):
        return True
    if isinstance(transformer, SelectorMixin) and hasattr(transformer, "estimator"):
        # SelectFromModel and SequentialFeatureSelector are as supervised as what they ask.
        return uses_y(transformer.estimator)
    tags = _tags(transformer)
    if tags is not None:
        if tags.target_tags.required or tags.estimator_type in ("classifier", "regressor"):
            return True
        if not tags.requires_fit:
            return False
    # Without tags of its own: a y that cannot be left out.
    try:
        y = inspect.signature(transformer.fit).parameters.get("y")
    except (AttributeError, TypeError, ValueError):
        return False
    return y is not None and y.default is inspect.Parameter.empty


def _tags(transformer):
    try:
        return get_tags(transformer)
    except (AttributeError, TypeError):
        # Not an estimator of scikit-learn's: nothing is known.
        return None
