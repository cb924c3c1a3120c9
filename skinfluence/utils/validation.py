"""Checks of what users pass, for those who register estimators of their own."""

from skinfluence._utils.validation import check_sample_weight, check_targets

__all__ = ["check_sample_weight", "check_targets"]
