"""What rows do: pictures, in scikit-learn's Display protocol (they need matplotlib), and explanations."""

from skinfluence.inspection.auditing import FoundDisplay, SourcesDisplay
from skinfluence.inspection.base import Display
from skinfluence.inspection.deletions import LeverageResidualDisplay
from skinfluence.inspection.explanation import Explanation, explain
from skinfluence.inspection.features import ArtifactsDisplay
from skinfluence.inspection.gallery import GalleryDisplay
from skinfluence.inspection.removal import RemovalEffectDisplay

__all__ = [
    "ArtifactsDisplay",
    "Display",
    "Explanation",
    "FoundDisplay",
    "GalleryDisplay",
    "LeverageResidualDisplay",
    "RemovalEffectDisplay",
    "SourcesDisplay",
    "explain",
]
