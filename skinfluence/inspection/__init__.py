"""Pictures of what rows do, in scikit-learn's Display protocol; they need matplotlib."""

from skinfluence.inspection.base import Display
from skinfluence.inspection.deletions import LeverageResidualDisplay
from skinfluence.inspection.removal import RemovalEffectDisplay

__all__ = ["Display", "LeverageResidualDisplay", "RemovalEffectDisplay"]
