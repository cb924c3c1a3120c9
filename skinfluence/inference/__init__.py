"""Standard errors of a fitted model, from what its rows do to it.

Deleting rows, or weighting them a little more, says how much a fit would vary from sample to
sample: the sandwich covariances and the jackknife of coefficients, and the standard error of
anything that ``of=`` can be, the fit included. One factorisation answers them, no refits.
"""

from skinfluence.inference.covariances import covariance
from skinfluence.inference.standard_errors import bootstrap, standard_error
from skinfluence.inference.table import CoefficientTable, coefficient_table

__all__ = ["CoefficientTable", "bootstrap", "coefficient_table", "covariance", "standard_error"]
