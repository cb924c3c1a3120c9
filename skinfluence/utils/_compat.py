"""What differs between scikit-learn 1.7 and 1.9; nothing else looks at versions or privates."""

import numpy as np

L1_REMEDY = (
    "The L1 penalty has no second derivative, so its influence is not defined by a Hessian. Fit "
    "with an L2 penalty (l1_ratio=0), perhaps on the columns that the L1 fit kept."
)


def effective_l2(penalty, C, l1_ratio):
    """The factor on ``1/2 |coef|^2`` of a LogisticRegression, 0 for none.

    Parameters
    ----------
    penalty : str or None
        ``"deprecated"`` is the default from scikit-learn 1.8 on, where ``l1_ratio`` and
        ``C=inf`` say everything.
    C : float
    l1_ratio : float or None

    Raises
    ------
    ValueError
        For an L1 part.
    """
    if penalty is None or np.isinf(C):
        return 0.0
    # TODO(scikit-learn 1.10): drop the penalty argument.
    share = {"l1": 1.0, "l2": 0.0}.get(penalty, l1_ratio or 0.0)
    if share > 0:
        raise ValueError(f"The penalty must be L2. Got an L1 share of {share}. {L1_REMEDY}")
    return 1.0 / C


def refuse_old_multiclass(model, n_classes):
    """Refuse the one-vs-rest and two-class softmax fits that 1.8 removed."""
    # TODO(scikit-learn 1.8 as minimum): only liblinear on binary problems is left; drop this.
    multi_class = getattr(model, "multi_class", "deprecated")
    one_vs_rest = multi_class == "ovr" or model.solver == "liblinear"
    if n_classes > 2 and one_vs_rest:
        raise ValueError(
            "A classifier of three or more classes must be fitted as one softmax. Got a "
            "one-vs-rest fit (multi_class='ovr' or solver='liblinear'). Use solver='lbfgs', or "
            "wrap the model in OneVsRestClassifier."
        )
    if n_classes == 2 and multi_class == "multinomial":
        raise ValueError(
            "A binary classifier must be fitted with the logistic loss. Got "
            "multi_class='multinomial'; leave multi_class out."
        )
