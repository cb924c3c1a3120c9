"""Squared error and logistic loss with an L1 penalty: which columns have a coefficient is part of every answer."""
