"""Losses of targets that went through a curve, whose predictions come back."""

import copy


class _Back:
    """The mean of a loss, taken back to the units of the user."""

    def __init__(self, mean, curve):
        self.mean, self.curve = mean, curve

    def __call__(self, eta):
        return self.curve.back(self.mean(eta))


def through(loss, curve):
    """A loss of targets that went through a curve: the same numbers, with predictions taken back.

    Parameters
    ----------
    loss : Loss
        Of transformed targets.
    curve : Curve
        With ``curve(y)`` and ``curve.back(z)``.

    Returns
    -------
    loss : Loss
        Of the same class: its values and derivatives are in transformed units, its ``mean`` is not.
    """
    made = copy.copy(loss)
    made.curve, made.mean = curve, _Back(loss.mean, curve)
    return made
