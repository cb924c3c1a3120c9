"""Support vector machines fitted to their exact optimum, with influence methods."""

from skinfluence.svm._kernel import SVC
from skinfluence.svm._linear import LinearSVC

__all__ = ["SVC", "LinearSVC"]
