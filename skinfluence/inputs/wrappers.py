"""From what the user passes to the model inside: pipelines, searches, frozen and target wrappers."""

from dataclasses import dataclass
from textwrap import shorten

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from skinfluence._utils._compat import BaseSearchCV
from skinfluence._utils.dispatch import rewritten
from skinfluence._utils.untouched import transformed
from skinfluence.inputs.calibrated import calibrated_layer
from skinfluence.inputs.shared import Shared, shared_steps, steps_of
from skinfluence.inputs.stacked import Stacked, stacks_held

OUTPUTS = {"predict", "predict_proba", "predict_log_proba", "decision_function"}


@dataclass(frozen=True, eq=False)
class Wrapper:
    """One layer around a model.

    Attributes
    ----------
    inside : estimator
        What the layer holds, fitted if the layer is.
    kind : type
        The class whose outputs the layer is known by.
    transformers : list of (str, transformer)
        What the rows go through on the way there.
    target : transformer or None
        What the targets go through.
    chosen : str or None
        What the layer chose among candidates on the rows, in words.
    shared : Shared or None
        Where each of several models inside goes through the transformers for itself.
    """

    inside: object
    kind: type = object
    transformers: tuple = ()
    target: object = None
    chosen: str | None = None
    shared: Shared | None = None


def opened(estimator):
    """The outermost layer of an estimator, fitted or not, as a :class:`Wrapper`; None for a model.

    Raises
    ------
    TypeError
        For a fitted search that kept no estimator.
    """
    if isinstance(estimator, Pipeline):
        return Wrapper(estimator.steps[-1][1], Pipeline, tuple(steps_of(estimator)))
    shared = shared_steps(estimator)
    if shared is not None:
        return Wrapper(shared.inside, type(estimator), tuple(shared.steps), shared=shared)
    if isinstance(estimator, FrozenEstimator):
        return Wrapper(estimator.estimator, FrozenEstimator)
    if isinstance(estimator, TransformedTargetRegressor):
        regressor = getattr(estimator, "regressor_", estimator.regressor)
        inside = LinearRegression() if regressor is None else regressor
        target = getattr(estimator, "transformer_", None)
        return Wrapper(inside, TransformedTargetRegressor, target=target)
    if isinstance(estimator, CalibratedClassifierCV):
        layer = calibrated_layer(estimator)
        if layer is None:
            return None
        step, inside = layer
        return Wrapper(inside, CalibratedClassifierCV, [("scores", step)])
    if isinstance(estimator, StackingClassifier | StackingRegressor) and stacks_held(estimator):
        return Wrapper(estimator.final_estimator_, type(estimator), [("stack", Stacked(estimator))])
    if isinstance(estimator, BaseSearchCV) or hasattr(estimator, "best_estimator_"):
        if hasattr(estimator, "cv_results_") and not hasattr(estimator, "best_estimator_"):
            raise TypeError(
                "A search must hold the model it chose, fitted on all rows. Got "
                f"{type(estimator).__name__} with refit={estimator.refit!r}. Fit it with "
                "refit=True, or fit the estimator with best_params_."
            )
        best = getattr(estimator, "best_estimator_", estimator.estimator)
        return Wrapper(best, _kind_of(estimator), chosen=_chosen(estimator))
    return None


def behind_steps(estimator, X):
    """The model behind the outermost steps of a fitted estimator, and what these make of rows.

    Parameters
    ----------
    estimator : estimator
    X : array-like
        Raw rows.
    """
    while (layer := opened(estimator)) is not None and layer.transformers:
        X = transformed([one for _, one in layer.transformers], X)
        estimator = layer.inside
    return estimator, X


def _kind_of(search):
    """How a search of someone's own searches is its own business, what it gives is not."""
    known = isinstance(search, BaseSearchCV)
    own = known and not OUTPUTS.isdisjoint(rewritten(type(search), BaseSearchCV))
    return BaseSearchCV if own else object


def _chosen(search):
    """The parameters that a fitted search chose, in words; None where it had no choice."""
    candidates = getattr(search, "cv_results_", {}).get("params", ())
    if not hasattr(search, "best_estimator_") or len(candidates) == 1:
        return None
    best = shorten(f"{getattr(search, 'best_params_', '')}", 200, placeholder=" …}")
    return f"the parameters {best}".strip()


@dataclass(frozen=True)
class Line:
    """Targets ``slope * y + offset`` of a model, where the user has ``y``."""

    slope: float
    offset: float

    def __call__(self, y):
        """The targets of the model."""
        return self.slope * np.asarray(y, dtype=np.float64) + self.offset


def line_of(transformer, y):
    """The straight line that a fitted target transformer is.

    Parameters
    ----------
    transformer : transformer
        ``transformer_`` of a TransformedTargetRegressor.
    y : array-like of shape (n_samples,)
        Finite.

    Returns
    -------
    line : Line or None
        None if it bends within three times the range of the targets, on either side, or if its inverse
        is not that of the line.
    """
    y = np.asarray(y, dtype=np.float64)
    spread = float(np.ptp(y)) or 1.0
    points = y.mean() + spread * np.linspace(-3.0, 3.0, 25)
    try:
        with np.errstate(all="ignore"):
            values = np.ravel(transformer.transform(points[:, None]))
            back = np.ravel(transformer.inverse_transform(values[:, None]))
    except ValueError:
        # Not defined there: a logarithm, a power.
        return None
    slope = (values[-1] - values[0]) / (points[-1] - points[0])
    line = Line(float(slope), float(values[0] - slope * points[0]))
    straight = np.abs(values - line(points)).max() <= 1e-9 * np.abs(values).max()
    if straight and slope and np.abs(back - points).max() <= 1e-9 * np.abs(points).max():
        return line
    return None
