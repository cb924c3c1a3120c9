"""Removal that cannot be told from a fit without the rows: noise for a distance fixed in advance."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr
from sklearn.utils import check_random_state

from skinfluence._utils.influences import refuse_offset
from skinfluence.editing.model import lines_of
from skinfluence.editing.solving import Solved
from skinfluence.editing.whole import learned_from_rows
from skinfluence.editing.writing import innermost, rebuilt, write_linear
from skinfluence.objective import Objective
from skinfluence.problem import refuse_chosen, refuse_curve
from skinfluence.smooth.optimum import piecewise
from skinfluence.unlearning.distances import gradient_left


@dataclass(frozen=True)
class GaussianRelease:
    """Releases a model with noise, so that it is (epsilon, delta)-like a noisy fit without the rows.

    Parameters
    ----------
    epsilon : float
    delta : float
    distance : float, default=1e-6
        Euclidean distance of the parameters from the optimum on the retained rows that every release
        keeps. It is fixed before the first request: a distance measured on the data would say
        something of the rows that are to be forgotten.

    Notes
    -----
    With ``|theta - theta*| <= distance`` the laws of ``theta + N(0, sigma^2 I)`` and ``theta* + N(0, sigma^2
    I)`` are (epsilon, delta)-indistinguishable, ``sigma`` that of the analytic Gaussian mechanism. The
    distance must hold whatever the data are: it is ``|gradient| / penalty``, so every column must be
    penalised, the intercept too, and nothing but the model may have learned from the rows.

    References
    ----------
    .. [1] B. Balle and Y.-X. Wang, "Improving the Gaussian Mechanism for Differential Privacy", ICML 2018.
    .. [2] C. Guo, T. Goldstein, A. Hannun and L. van der Maaten, "Certified Data Removal from Machine
       Learning Models", ICML 2020.

    Examples
    --------
    >>> from skinfluence.unlearning import GaussianRelease
    >>> release = GaussianRelease(epsilon=1.0, delta=1e-6, distance=1e-6)
    >>> bool(0 < release.sigma < 1e-5)
    True
    >>> bool(release.composed(10) > release.epsilon)
    True
    """

    epsilon: float
    delta: float
    distance: float = 1e-6

    def __post_init__(self):
        if not (0 < self.epsilon < np.inf and 0 < self.delta < 1 and 0 < self.distance < np.inf):
            raise ValueError(
                "epsilon and distance must be positive and finite, delta between 0 and 1. Got "
                f"epsilon={self.epsilon!r}, delta={self.delta!r}, distance={self.distance!r}."
            )

    @property
    def sigma(self):
        """Standard deviation of the noise on each parameter."""
        # The smallest sigma with delta_of(...) <= delta, found in units of the distance.
        low, high = -10.0, 10.0
        while delta_of(self.epsilon, math.exp(high)) > self.delta:
            high += 10.0
        while delta_of(self.epsilon, math.exp(low)) < self.delta:
            low -= 10.0

        def above(log_ratio):
            return delta_of(self.epsilon, math.exp(log_ratio)) - self.delta

        return self.distance * math.exp(brentq(above, low, high, xtol=1e-12)) * (1.0 + 1e-9)

    def composed(self, n_releases):
        """The epsilon, at the same delta, of several releases taken together.

        Parameters
        ----------
        n_releases : int
            Of models after one request or several, each with noise of its own, requests that do not
            depend on the releases.
        """
        ratio = self.sigma / (self.distance * math.sqrt(n_releases))
        low, high = 0.0, self.epsilon
        while delta_of(high, ratio) > self.delta:
            high *= 2.0
        if delta_of(low, ratio) <= self.delta:
            return 0.0
        return float(brentq(lambda e: delta_of(e, ratio) - self.delta, low, high)) * (1.0 + 1e-9)

    def release(self, influence, random_state=None):
        """An estimator with fresh noise on the parameters of a model after requests.

        Parameters
        ----------
        influence : Influence
            Of :class:`~skinfluence.unlearning.Forgotten`.
        random_state : int, RandomState or None, default=None
            A seed that others know undoes the noise: leave it out.

        Returns
        -------
        estimator : estimator
            Of the user's own class.

        Raises
        ------
        ValueError
            Where no distance holds whatever the data are, or the model is not within it.
        """
        problem = _penalised(influence)
        gradient, rounding = gradient_left(problem)
        found = float(np.linalg.norm(np.abs(gradient) + rounding) / problem.penalty.min())
        if not found <= self.distance:
            raise ValueError(
                "The model must be within the distance that was fixed in advance, "
                f"{self.distance:.1e}, of the optimum on the retained rows. Got {found:.1e}: round-off "
                "leaves no less. Fix a larger distance, or penalise more."
            )
        noise = check_random_state(random_state).normal(scale=self.sigma, size=problem.theta.shape)
        moved = problem.at(problem.theta + noise)
        solved = Solved(moved, np.inf, np.nan, "noise", None, write_linear, 0)
        model = write_linear(innermost(influence.estimator), solved, None, lines_of(influence))
        return rebuilt(influence.estimator, model, None)


def delta_of(epsilon, ratio):
    """The smallest delta of Gaussian noise of ``ratio`` times the distance, for an epsilon."""
    a, b = 0.5 / ratio, epsilon * ratio
    return float(np.exp(log_ndtr(a - b)) - np.exp(epsilon + log_ndtr(-a - b)))


def _penalised(influence):
    """The problem of a model whose distance from its optimum is bounded by its penalty alone."""
    problem, again = influence.objective, learned_from_rows(influence)
    refuse_chosen(problem, "Releases with noise")
    refuse_curve(problem, "Releases with noise")
    refuse_offset(problem, "Releases with noise are of")
    convex = isinstance(problem, Objective) and (
        piecewise.is_piecewise(problem.loss) or problem.loss.self_concordance is not None
    )
    why = None
    if not convex:
        why = "a model without a penalised convex objective of finitely many parameters"
    elif not (problem.penalty > 0).all():
        why = "a free intercept, or no penalty: how far a gradient reaches is up to the data"
    elif again:
        why = f"{', '.join(again)}, which learned from the rows: how far it moves is up to the data"
    elif influence.data.inputs.moves_targets:
        why = "a transformer of the targets"
    if why is not None:
        raise ValueError(
            "A release with noise needs a distance that holds whatever the data are: every column "
            f"penalised, and nothing but the model fitted on the rows. Got {why}. Fit without an "
            "intercept on centred columns, or one that is penalised (LinearSVC, liblinear); or keep to the "
            "receipt of unlearning.forget."
        )
    return problem
