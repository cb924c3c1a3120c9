"""From the parameters of a solved problem to a fitted estimator of the user's own class."""

import copy

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch

from skinfluence.inputs.calibrated import with_calibrators
from skinfluence.inputs.shared import shared_steps
from skinfluence.inputs.wrappers import opened

# What describes the fit on the rows before the edit, and would be false of the model after it.
OF_THE_FIT = (
    "n_iter_",
    "rank_",
    "singular_",
    "t_",
    "best_score_",
    "cv_results_",
    "cv_values_",
    "coefs_paths_",
    "scores_",
    "best_index_",
    "refit_time_",
    "n_splits_",
    "dual_gap_",
    "mse_path_",
)
# What estimators with influence methods hold of their training rows.
TRAINING_DATA = ("_training_data",)


def like(model):
    """A copy of a fitted estimator without what only described its fit, or held its rows."""
    made = copy.copy(model)
    for name in (*OF_THE_FIT, *TRAINING_DATA):
        vars(made).pop(name, None)
    return made


def write_linear(model, solved, left, lines):
    """A linear model at the parameters of a solved problem.

    Parameters
    ----------
    model : estimator
        Fitted, with ``coef_`` and ``intercept_``, or a model for each class or target with such.
    solved : Solved
    left : ndarray of int or None
        Not needed.
    lines : list of Line
        What the targets went through on their way to the model, outermost first.
    """
    problem = solved.problem
    seen = problem.loss.expand(np.atleast_2d(problem.theta).T).T
    theta = np.array(problem.design.in_units(seen))
    for line in lines:
        theta *= line.slope
        if line.offset:
            theta[:, -1] += line.offset
    coef = theta[:, :-1] if problem.design.intercept else theta
    offset = theta[:, -1] if problem.design.intercept else None
    made = like(model)
    if isinstance(model, OneVsRestClassifier | MultiOutputRegressor):
        inner = [
            with_parameters(
                like(innermost(one)), coef[[k]], None if offset is None else offset[[k]]
            )
            for k, one in enumerate(model.estimators_)
        ]
        made.estimators_ = [
            rebuilt(one, part, None) for one, part in zip(model.estimators_, inner, strict=True)
        ]
        return made
    return with_parameters(made, coef, offset)


def with_parameters(model, coef, offset):
    """A linear model, copied for this, at other coefficients, and another intercept if there is one."""
    if not hasattr(model, "coef_"):
        raise TypeError(
            "The model after an edit is written into coef_ and intercept_. Got "
            f"{type(model).__name__}, which has none; ask Influence.effect for the change of its outputs."
        )
    before = np.asarray(model.coef_)
    model.coef_ = np.ascontiguousarray(coef if before.ndim == 2 else coef[0])
    if offset is not None:
        model.intercept_ = offset.copy() if np.ndim(model.intercept_) else float(offset[0])
    # Copies that scikit-learn keeps of the coefficients of stochastic descent.
    for name in ("_average_coef", "_average_intercept", "_standard_coef", "_standard_intercept"):
        vars(model).pop(name, None)
    return model


def innermost(estimator):
    """The model inside wrappers."""
    while (layer := opened(estimator)) is not None:
        estimator = layer.inside
    return estimator


def transformers_in(estimator):
    """The transformers before the innermost model, in the order that rows go through them."""
    found = []
    while (layer := opened(estimator)) is not None:
        found += [one for _, one in layer.transformers]
        estimator = layer.inside
    return found


def rebuilt(estimator, model, transformers):
    """The wrappers of an estimator around another model.

    Parameters
    ----------
    estimator : estimator, Pipeline, search or wrapper
    model : estimator
        Takes the place of the innermost one.
    transformers : list of transformers or None
        Fitted, in the order that rows go through them; copies of those there are when None.
    """
    if opened(estimator) is None:
        return model
    made = like(estimator)
    if isinstance(estimator, Pipeline):
        _put_steps(made, transformers)
        name, last = made.steps[-1]
        made.steps[-1] = (name, rebuilt(last, model, transformers))
        return made
    shared = shared_steps(estimator)
    if shared is not None:
        steps = None
        if transformers is not None:
            steps = [transformers.pop(0) for _ in shared.steps]
        return _with_models(made, rebuilt(shared.inside, model, transformers), steps)
    if isinstance(estimator, CalibratedClassifierCV):
        if transformers is not None:
            # What it holds stays as it is.
            transformers.pop(0)
        return with_calibrators(made, model)
    if isinstance(estimator, StackingClassifier | StackingRegressor):
        if transformers is not None:
            transformers.pop(0)
        made.final_estimator_ = rebuilt(estimator.final_estimator_, model, transformers)
        return made
    for name in ("best_estimator_", "regressor_", "estimator"):
        if hasattr(estimator, name):
            setattr(made, name, rebuilt(getattr(estimator, name), model, transformers))
            return made
    raise TypeError(f"{type(estimator).__name__} has no model inside that could be replaced.")


def _put_steps(pipeline, transformers):
    """Put transformers in the places of a pipeline's steps, copies of its own where they are None."""
    pipeline.steps = list(pipeline.steps)
    for i, (name, step) in enumerate(pipeline.steps[:-1]):
        if step not in (None, "passthrough"):
            own = copy.deepcopy(step) if transformers is None else transformers.pop(0)
            pipeline.steps[i] = (name, own)


def _with_models(made, inside, steps):
    """Several pipelines of the same steps, copied for this, before models that were written behind them."""
    models = []
    for pipeline, last in zip(made.estimators_, inside.estimators_, strict=True):
        one = like(pipeline)
        _put_steps(one, None if steps is None else list(steps))
        one.steps[-1] = (one.steps[-1][0], last)
        models.append(one)
    if hasattr(made, "named_estimators_"):
        place = {id(one): k for k, one in enumerate(made.estimators_)}
        named = made.named_estimators_.items()
        made.named_estimators_ = Bunch(
            **{name: models[place[id(one)]] if id(one) in place else one for name, one in named}
        )
    made.estimators_ = models
    return made
