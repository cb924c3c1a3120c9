"""How weights of rows reach the model of a pipeline."""

from sklearn import get_config
from sklearn.pipeline import Pipeline


def fit_weights(estimator, sample_weight):
    """The keyword of ``fit`` that brings sample weights to the last step of a pipeline; none for None."""
    if sample_weight is None:
        return {}
    name = "sample_weight"
    if not get_config()["enable_metadata_routing"]:
        path = []
        while isinstance(estimator, Pipeline):
            path.append(estimator.steps[-1][0])
            estimator = estimator.steps[-1][1]
        name = "__".join([*path, name])
    return {name: sample_weight}
