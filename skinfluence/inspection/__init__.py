"""What rows do: pictures, in scikit-learn's Display protocol (they need matplotlib), and explanations."""

from skinfluence.inspection.auditing import FoundDisplay, SourcesDisplay
from skinfluence.inspection.base import Display
from skinfluence.inspection.deletions import LeverageResidualDisplay
from skinfluence.inspection.explanation import Explanation, explain
from skinfluence.inspection.features import ArtifactsDisplay
from skinfluence.inspection.flips import FlipDisplay
from skinfluence.inspection.gallery import GalleryDisplay
from skinfluence.inspection.intervals import CoefficientsDisplay, IntervalsDisplay, ValuesDisplay
from skinfluence.inspection.removal import RemovalEffectDisplay

__all__ = [
    "ArtifactsDisplay",
    "CoefficientsDisplay",
    "Display",
    "Explanation",
    "FlipDisplay",
    "FoundDisplay",
    "GalleryDisplay",
    "IntervalsDisplay",
    "LeverageResidualDisplay",
    "RemovalEffectDisplay",
    "SourcesDisplay",
    "ValuesDisplay",
    "explain",
]
