"""Hinge models as :class:`~skinfluence.Influence` sees them: binary problems on the path engine."""

from skinfluence.hinge import answers as _answers  # noqa: F401  registers
from skinfluence.hinge.trust import HingeEffect, HingeReport

__all__ = ["HingeEffect", "HingeReport"]
