"""The objectives of fitted scikit-learn estimators, one module per family."""

from skinfluence.adapters import bayes, closed_form, glm, huber, l1, multiclass, multioutput, sgd  # noqa: F401  registers
from skinfluence.adapters import calibration as _calibration  # noqa: F401  registers
from skinfluence.adapters import gaussian_process as _gaussian_process  # noqa: F401  registers
from skinfluence.adapters import kernel_ridge as _kernel_ridge  # noqa: F401  registers
from skinfluence.adapters import members as _members  # noqa: F401  registers
from skinfluence.adapters import stacking as _stacking  # noqa: F401  registers
from skinfluence.adapters import svm as _svm  # noqa: F401  registers
from skinfluence.adapters.linear import linear_objective
from skinfluence.adapters.statsmodels import from_statsmodels
from skinfluence.smooth import answers as _answers  # noqa: F401  registers the answers

__all__ = ["from_statsmodels", "linear_objective"]
