"""What to do with estimators that nothing is known of but their names."""

_TREES = (
    "Trees are piecewise constant in the data: there is no derivative to take. Refit without the "
    "rows (cross_val_predict with LeaveOneOut or a group splitter), or ask about a linear model on "
    "the leaves: make_pipeline(RandomTreesEmbedding(), LogisticRegression())."
)
_LARS = "Its columns come in turn, at no optimum. Fit Lasso or LassoCV, which are answered about."
_PARTS = (
    "Ask about one of its models, fitted on all rows: "
    "Influence(clone(model.estimators_[k]).fit(X, y), X, y)."
)
_OTHER_LOSS = (
    "Write its loss for skinfluence.m_estimation.MEstimator, smoothed where it has kinks, or fit "
    "Ridge."
)
_PER_OUTPUT = (
    "Ask about one output at a time: Influence(model.estimators_[k], X, y[:, k]), or fit one model "
    "per column of y."
)
_CHAIN = (
    "Ask about one link at a time, of a chain fitted with cv=None, with the targets before it as columns: "
    "before = list(model.order_)[:k]; "
    "Influence(model.estimators_[k], np.column_stack([X, y[:, before]]), y[:, model.order_[k]])."
)
_INSIDE = "Ask about the model it holds: Influence(model.estimator_, X, y)."
_NETWORK = (
    "Networks of scikit-learn hide their derivatives. Use skinfluence.neural on a torch module, or "
    "skinfluence.m_estimation.MEstimator with the network's loss, l2=alpha on its weights, and init= what "
    "model.coefs_ and model.intercepts_ are: it goes on to the minimum next to them."
)
_NO_TARGET = "It predicts no target, so no loss can be asked about."

ADVICE = {
    "BaseDecisionTree": _TREES,
    "BaseForest": _TREES,
    "BaseGradientBoosting": _TREES,
    "BaseHistGradientBoosting": _TREES,
    "BaseWeightBoosting": _TREES,
    "BaseBagging": "It averages models of resampled rows. " + _PARTS,
    "BaseThresholdClassifier": _INSIDE,
    "SelfTrainingClassifier": (
        "Ask about the model it ends with, on the rows it labelled: labelled = "
        "model.transduction_ != -1; Influence(model.estimator_, X[labelled], "
        "model.transduction_[labelled])."
    ),
    "OutputCodeClassifier": "Fit OneVsRestClassifier or a multinomial LogisticRegression instead.",
    "_MultiOutputEstimator": _PER_OUTPUT,
    "_BaseChain": _CHAIN,
    "RFE": "Ask on the columns it kept: Influence(model.estimator_, model.transform(X), y).",
    "NeighborsBase": (
        "Removing a row changes the answers of its neighbours only. Fit KNeighborsClassifier or "
        "KNeighborsRegressor, which are answered about; model.kneighbors(X) names the rows."
    ),
    "BaseMultilayerPerceptron": _NETWORK,
    "CategoricalNB": "Fit BernoulliNB or MultinomialNB on OneHotEncoder's columns.",
    "GaussianProcessClassifier": "Fit LogisticRegression on Nystroem features of the same kernel.",
    "LassoLarsCV": "Fit Lasso(alpha=model.alpha_): the same optimum.",
    "LassoLarsIC": "Fit Lasso(alpha=model.alpha_): the same optimum.",
    "LassoLars": "Fit Lasso(alpha=model.alpha): the same optimum.",
    "Lars": _LARS,
    "LinearModelCV": "Fit LassoCV or ElasticNetCV for each column of y.",
    "OrthogonalMatchingPursuit": "Fit Ridge on the columns it kept.",
    "OrthogonalMatchingPursuitCV": "Fit Ridge on the columns it kept.",
    "QuantileRegressor": _OTHER_LOSS,
    "TheilSenRegressor": _OTHER_LOSS,
    "RANSACRegressor": (
        "Ask about the model of the inliers: inside = model.inlier_mask_; "
        "Influence(model.estimator_, X[inside], y[inside])."
    ),
    "Perceptron": "It stops at no optimum. Fit LogisticRegression.",
    "PassiveAggressiveClassifier": "It stops at no optimum. Fit LogisticRegression.",
    "PassiveAggressiveRegressor": "It stops at no optimum. Fit Ridge.",
    "BaseLabelPropagation": "It minimises no loss of its labels alone. Fit a classifier on them.",
    "NuSVR": "Fit SVR, whose epsilon plays the part of nu.",
    "NuSVC": "Fit SVC, whose C plays the part of nu.",
    "ClusterMixin": _NO_TARGET,
    "BaseMixture": _NO_TARGET,
    "OutlierMixin": _NO_TARGET,
    "IsotonicRegression": "Its fit is piecewise constant. Refit without the rows: it is cheap.",
    "DummyClassifier": "It ignores the features.",
    "DummyRegressor": "It ignores the features.",
    "_PLS": "Fit make_pipeline(PCA(), Ridge()), whose projection does not depend on y.",
}
# Other libraries, by the package they come from.
PACKAGES = {
    "xgboost": _TREES,
    "lightgbm": _TREES,
    "catboost": _TREES,
    "statsmodels": "Pass what skinfluence.adapters.from_statsmodels makes of it: "
    "Influence(*from_statsmodels(results)).",
    "skorch": "Use skinfluence.neural on its module_.",
    "torch": "Use skinfluence.neural on the module.",
}


def advice_on(estimator):
    """What to do instead, or None for an estimator nothing is known of."""
    for base in type(estimator).__mro__:
        advice = ADVICE.get(base.__name__) or PACKAGES.get(base.__module__.partition(".")[0])
        if advice is not None:
            return advice
    return None
