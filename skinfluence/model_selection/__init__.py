"""Leave-one-out where scikit-learn has cross-validation: outputs, scores, groups and search."""

from skinfluence.model_selection.search import LeaveOneOutSearch
from skinfluence.model_selection.validation import (
    leave_one_group_out,
    leave_one_group_out_score,
    loo_predict,
    loo_score,
)

__all__ = [
    "LeaveOneOutSearch",
    "leave_one_group_out",
    "leave_one_group_out_score",
    "loo_predict",
    "loo_score",
]
