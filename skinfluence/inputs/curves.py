"""Transformers of the targets that are no straight line, or that the model does not absorb."""

import warnings
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np
from sklearn.base import clone

from skinfluence.inputs.functions import look_at_functions
from skinfluence.losses.curved import through
from skinfluence.statistics import any_learns

__all__ = ["Curve", "curve_of", "seen_through"]

# There and back, to this share of the range of the values.
SAME = 1e-6
IN_Z = (
    "Ask in the transformed units: Influence(model.regressor_, X, z) with "
    "z = model.transformer_.transform(np.reshape(y, (-1, 1))).ravel()."
)


@dataclass(frozen=True, eq=False)
class Curve:
    """Targets ``z`` of a model, where the user has ``y``: a strictly monotone function.

    Parameters
    ----------
    transformer : transformer
        Fitted, of one column.
    learns : bool
        Whether its fit looks at the targets: without a row it is another curve.
    given : ndarray of shape (n_samples,), default=None
        The targets of the fit, to the last digit.
    """

    transformer: object
    learns: bool
    given: np.ndarray | None = None

    def __call__(self, y):
        """The targets of the model, of the shape of ``y``; NaN where there is none."""
        return _finite(self.transformer.transform, y)

    def back(self, z):
        """What the user's targets were; NaN where the inverse is not defined."""
        return _finite(self.transformer.inverse_transform, z)

    def raw(self, z):
        """The user's targets of all training rows: those that were given, where they are the same."""
        y = self.back(z)
        if self.given is not None and len(z) >= len(self.given):
            own = y[: len(self.given)]
            own[...] = np.where(self(self.given) == z[: len(own)], self.given, own)
        return y

    def again(self, y):
        """The curve of a transformer that is fitted on other targets, (n_samples,)."""
        fitted = clone(self.transformer).fit(np.reshape(y, (-1, 1)))
        return replace(self, transformer=fitted, given=None)


def curve_of(transformer, y):
    """The curve that a fitted target transformer is.

    Parameters
    ----------
    transformer : transformer
        ``transformer_`` of a TransformedTargetRegressor.
    y : ndarray of shape (n_samples,)
        The targets that it was fitted on, finite.

    Returns
    -------
    curve : Curve

    Raises
    ------
    ValueError
        If its inverse is not that of the targets, or of values half their range beyond them; if it
        is not strictly monotone; if, fitted again on the same targets, it gives others.
    """
    look_at_functions([transformer], y[:, None])
    curve = Curve(transformer, any_learns([("target", transformer)]), y)
    with warnings.catch_warnings():
        # Of what is tried out here nothing is to be said.
        warnings.simplefilter("ignore")
        _check_curve(curve, y)
    return curve


def _check_curve(curve, y):
    transformer = curve.transformer
    z = curve(y)
    spread = float(np.ptp(z)) or 1.0
    points = np.linspace(z.min() - spread / 2, z.max() + spread / 2, 101)
    inside = (points >= z.min()) & (points <= z.max())
    try:
        back = curve.back(points)
    except (LookupError, ArithmeticError):
        # An inverse of the values of the fit alone, as that of bins.
        back = np.full(points.shape, np.nan)
    # Outside, an inverse may end: what Yeo and Johnson's powers reach is bounded.
    there = np.isfinite(back)
    rises = np.diff(back[there])
    same = there[inside].all() and _near(curve(back[there]), points[there], spread)
    same = same and _near(curve.back(z), y, float(np.ptp(y)) or 1.0)
    if not (same and ((rises > 0).all() or (rises < 0).all())):
        raise ValueError(
            "The transformer of a TransformedTargetRegressor must be strictly monotone, with its inverse, "
            f"half the range of the targets beyond them, too. Got {transformer!r}. {IN_Z}"
        )
    if curve.learns and not _near(curve.again(y)(y), z, spread):
        raise ValueError(
            "The transformer of a TransformedTargetRegressor must be what a fit on its targets gives. Got "
            f"{transformer!r}, which gives others when it is fitted again. {IN_Z}"
        )


def seen_through(problem, curve):
    """The problem of transformed targets, with its predictions in the units of the user.

    Parameters
    ----------
    problem : Problem
        Of targets that went through the curve.
    curve : Curve

    Raises
    ------
    TypeError
        For a kind of problem whose loss is not one of its fields; for a curve that learns behind a link,
        whose predictions need not be those of any decision value behind another curve.
    """
    point = np.full((1, 2), 0.5)
    if curve.learns and not (problem.loss.mean(point)[:, 0] == point[:, 0]).all():
        raise TypeError(
            "Behind a transformer that learns from the targets a model must predict its decision values. Got "
            f"{problem.model_name} with a link, and {curve.transformer!r}. Use a transformer that learns "
            f"nothing, such as func= and inverse_func=. {IN_Z}"
        )
    if hasattr(problem, "members"):
        raise TypeError(
            "Behind a transformer of the targets there must be one model. Got "
            f"{problem.model_name}. {IN_Z}"
        )
    names = {one.name for one in fields(problem)} if is_dataclass(problem) else ()
    if "through" in names:
        return replace(problem, through=curve)
    if "loss" not in names:
        raise TypeError(
            "Behind a transformer of the targets a kind of problem must be a dataclass with a field loss. "
            f"Got {type(problem).__name__}. {IN_Z}"
        )
    return replace(problem, loss=through(problem.loss, curve))


def _finite(function, values):
    """A function of a column at the finite ones of some values, NaN elsewhere."""
    values = np.asarray(values, dtype=np.float64)
    out = np.full(values.shape, np.nan)
    there = np.isfinite(values)
    if there.any():
        with np.errstate(all="ignore"):
            out[there] = np.ravel(function(values[there][:, None]))
    return out


def _near(values, others, spread):
    """Whether values are the same to a share of their range; what is not a number is not."""
    return bool((np.abs(values - others) <= SAME * spread).all())
