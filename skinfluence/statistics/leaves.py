"""The transformers inside unions, columns and pipelines."""

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline


def fitted_leaves(transformers):
    """Every transformer inside fitted ones, as ``(name, transformer)``."""
    return _leaves(transformers, lambda columns: columns.transformers_)


def given_leaves(transformers):
    """As :func:`fitted_leaves`, of those that were given: they need not be fitted."""
    return _leaves(
        transformers, lambda columns: [*columns.transformers, ("remainder", columns.remainder)]
    )


def _leaves(transformers, parts_of):
    for name, step in transformers:
        if step is None or isinstance(step, str):
            continue
        if isinstance(step, Pipeline):
            inside = step.steps
        elif isinstance(step, FeatureUnion):
            inside = step.transformer_list
        elif isinstance(step, ColumnTransformer):
            inside = [part[:2] for part in parts_of(step)]
        else:
            yield name, step
            continue
        for part, inner in _leaves(inside, parts_of):
            yield f"{name}.{part}", inner
