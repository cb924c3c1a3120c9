"""Finding the rows of a training set that look wrong, saying what to do about each, and checking it.

`audit` ranks the rows of a fitted model by how wrong they look without themselves. What the command
line adds (reading tables, choosing the model, writing reports) lives in the other modules of this package.
"""

from skinfluence.cleaning.bridge import from_cleanlab, to_datalab
from skinfluence.cleaning.features import Artifacts, artifacts
from skinfluence.cleaning.plans import Plan
from skinfluence.cleaning.ranking import Audit, audit
from skinfluence.cleaning.resampling import LabelCleaner

__all__ = [
    "Artifacts",
    "Audit",
    "LabelCleaner",
    "Plan",
    "artifacts",
    "audit",
    "from_cleanlab",
    "to_datalab",
]
