"""Public helpers for those who extend the package: validation, and checks of any estimator."""
