"""Transformers that move in steps: a derivative of zero would say that nothing matters."""

from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    TargetEncoder,
)

from skinfluence.pullbacks.registry import no_derivative, pullback


@pullback.register(OneHotEncoder)
@pullback.register(OrdinalEncoder)
@pullback.register(TargetEncoder)
def _encoder(transformer, X, V):
    raise no_derivative(transformer, "categories cannot move a little")


@pullback.register(CountVectorizer)
@pullback.register(HashingVectorizer)
@pullback.register(DictVectorizer)
@pullback.register(FeatureHasher)
def _vectorizer(transformer, X, V):
    raise no_derivative(transformer, "its inputs are not columns of numbers")


@pullback.register(KBinsDiscretizer)
@pullback.register(Binarizer)
def _step(transformer, X, V):
    raise no_derivative(transformer, "it is a step function: flat, with jumps between the bins")


@pullback.register
def _quantiles(transformer: QuantileTransformer, X, V):
    raise no_derivative(
        transformer, "its slope jumps at its quantiles, which are values of the training rows"
    )
