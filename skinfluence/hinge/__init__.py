"""Hinge models as :class:`~skinfluence.Influence` sees them: binary problems on the path engine."""

from skinfluence.hinge.answers import HingeAnswers
from skinfluence.hinge.losses import Hinge, OneVsOneHinge
from skinfluence.hinge.problem import HingeObjective
from skinfluence.hinge.trust import HingeEffect, HingeReport

__all__ = [
    "Hinge",
    "HingeAnswers",
    "HingeEffect",
    "HingeObjective",
    "HingeReport",
    "OneVsOneHinge",
]
