"""How many rows hold a conclusion up: the smallest set found whose removal, or relabelling, flips it."""

from skinfluence.robustness.conclusions import coef, metric, order, prediction
from skinfluence.robustness.flips import Flip, smallest_flip
from skinfluence.robustness.significance import significance

__all__ = ["Flip", "coef", "metric", "order", "prediction", "significance", "smallest_flip"]
