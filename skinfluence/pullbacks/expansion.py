"""Polynomials and splines."""

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer

from skinfluence.pullbacks.registry import dense, no_derivative, pullback, warn_kinks


@pullback.register
def _polynomial(transformer: PolynomialFeatures, X, V):
    """Each monomial is a product of ``degree`` slots; the product rule takes one away at a time."""
    X = dense(X)
    n_inputs = X.shape[1]
    slots = _slots(transformer.powers_)
    padded = np.concatenate([X, np.ones((len(X), 1))], axis=1)
    out = np.zeros((V.shape[0] * V.shape[1], n_inputs))
    for slot in range(slots.shape[1]):
        terms = np.flatnonzero(slots[:, slot] < n_inputs)
        others = np.delete(slots[terms], slot, axis=1)
        rest = np.ones((len(X), len(terms)))
        for column in others.T:
            rest *= padded[:, column]
        weighted = (V[:, :, terms] * rest).reshape(len(out), len(terms))
        places = (np.ones(len(terms)), (np.arange(len(terms)), slots[terms, slot]))
        out += weighted @ sp.csr_array(places, shape=(len(terms), n_inputs))
    return out.reshape(*V.shape[:2], n_inputs)


def _slots(powers):
    """The inputs of each monomial, repeated ones repeated, filled up with a constant column."""
    degrees = powers.sum(axis=1)
    slots = np.full((len(powers), degrees.max(initial=0)), powers.shape[1])
    for term, row in enumerate(powers):
        slots[term, : degrees[term]] = np.repeat(np.arange(len(row)), row)
    return slots


@pullback.register
def _spline(transformer: SplineTransformer, X, V):
    if transformer.degree == 0:
        raise no_derivative(transformer, "splines of degree 0 are steps")
    X = dense(X)
    if transformer.degree == 1 and transformer.extrapolation == "linear" and X.shape[1] > 1:
        # Seen in 1.9.1: a count of knots that the first column moves on is used for the others.
        raise no_derivative(
            transformer,
            "with degree=1 and extrapolation='linear' scikit-learn extends the second and later "
            "columns from the wrong knots; use extrapolation='continue', which is the same line",
        )
    kinks = np.zeros(X.shape, dtype=bool)
    out = np.empty((*V.shape[:2], X.shape[1]))
    width = transformer.n_features_out_ // X.shape[1]
    for feature, spline in enumerate(transformer.bsplines_):
        slopes, kinks[:, feature] = _spline_slopes(spline, X[:, feature], transformer.extrapolation)
        part = V[:, :, feature * width : (feature + 1) * width]
        out[:, :, feature] = np.einsum("mbs,bs->mb", part, slopes[:, :width])
    warn_kinks(transformer, kinks, "the interval to the right, or the last one,")
    return out


def _spline_slopes(spline, x, extrapolation):
    """Derivatives of the basis at ``x``, (n, n_splines), and where they jump."""
    low, high = spline.t[spline.k], spline.t[-spline.k - 1]
    inside = np.clip(x, low, high)
    if extrapolation == "periodic":
        x = low + (x - low) % (high - low) if high > low else np.zeros_like(x)
    # Lines join at the knots; smoother splines do not show them.
    joints = spline.t[2:-2] if spline.k == 1 else []
    if extrapolation == "constant" or (extrapolation == "periodic" and spline.k == 1):
        joints = [*joints, low, high]
    kinks = np.isin(x, joints)
    slopes = spline(inside if extrapolation in ("constant", "linear") else x, nu=1)
    if extrapolation == "constant":
        slopes[(x < low) | (x > high)] = 0.0
    # Missing values are spread to zeros, whatever they would have been.
    slopes[np.isnan(x)] = 0.0
    return slopes, kinks
