"""What compiled loops do, in numpy."""

import numpy as np

from skinfluence._compiled.chord import SERIES_BOUND, series_of, take
from skinfluence._compiled.chord_softmax import _far


def remainder(terms, delta):
    """Remainder ``l'(eta + delta) - l'(eta) - l''(eta) delta`` of each row.

    Parameters
    ----------
    terms : Terms
        Loss of the rows.
    delta : ndarray of shape (n_samples, n)
        Changes of the linear predictor.

    Returns
    -------
    rho : ndarray of shape (n_samples, n)
    """
    rho = np.zeros_like(delta)
    series = series_of(terms.tilt)
    for t in range(len(terms.scale)):
        tilt, curv, arg, mass = (
            a[t][:, None] for a in (terms.tilt, terms.curv, terms.arg, terms.mass)
        )
        d = terms.scale[t] * delta
        a = np.abs(d)
        small = np.zeros_like(d)
        for k in reversed(range(series.shape[-1])):
            small = small * d + series[t, :, k][:, None]
        small *= d * d
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            h = np.tanh(0.5 * d)
            # d - 2 tanh(d/2) loses at most two digits between the two bounds.
            middle = -(d - 2.0 * h + tilt * d * h) / (1.0 + tilt * h)
            one = -np.expm1(-a)
            if terms.exponential[t]:
                up = -tilt * d
                large = np.where(
                    up > 0,
                    mass * np.exp(arg + a) * one - curv * up,
                    curv * (np.expm1(up) - up),
                )
                large = -tilt * large
            else:
                sign = np.sign(d)
                other = 1.0 / (1.0 + np.exp(sign * arg))
                new = 1.0 / (1.0 + np.exp(-(sign * arg + a)))
                large = sign * mass * other * one * new - curv * d
        rho += np.where(a <= SERIES_BOUND, curv * small, np.where(a <= 1, curv * middle, large))
    return rho


def chord(X, terms, weight, U, skip, intercept=None):
    """The chord pass; see `chord_sparse` for shapes and meaning."""
    n_blocks, n_aug, width = U.shape
    U2 = U.transpose(1, 0, 2).reshape(n_aug, -1)
    delta = X @ U2 if intercept is None else X @ U2[:-1] + intercept * U2[-1]
    columns = np.flatnonzero(skip.ravel() >= 0)
    delta[skip.ravel()[columns], columns] = 0.0
    used = weight > 0
    rho = np.zeros_like(delta)
    rho[used] = weight[used, None] * remainder(take(terms, used), delta[used])
    S = X.T @ rho
    if intercept is not None:
        S = np.vstack([S, intercept * rho.sum(axis=0)])
    S = np.ascontiguousarray(S.reshape(n_aug, n_blocks, width).transpose(1, 0, 2))
    r = np.abs(delta[used]).max(axis=0, initial=0.0).reshape(n_blocks, width)
    return S, r


def softmax_remainder(eta, p, delta):
    """Softmax remainder ``p(eta + delta) - p - p (delta - sum p delta)``.

    Parameters
    ----------
    eta, p : ndarray of shape (n_samples, n_classes)
        Outputs and their softmax.
    delta : ndarray of shape (n_samples, n_classes, n)

    Returns
    -------
    rho : ndarray of shape (n_samples, n_classes, n)
    """
    p = p[..., None]
    d = delta - np.sum(p * delta, axis=1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        q = np.where(np.abs(d) < 0.5, _exp_remainder_series(d), np.expm1(d) - d)
        Z = np.sum(p * q, axis=1, keepdims=True)
        rho = p * (q - Z * (1.0 + d)) / (1.0 + Z)
    far = np.broadcast_to(np.abs(d).max(axis=1, keepdims=True) > _far(d.dtype), d.shape)
    new = eta[..., None] + delta
    new = np.exp(new - new.max(axis=1, keepdims=True))
    new /= new.sum(axis=1, keepdims=True)
    return np.where(far, new - p - p * d, rho)


def _exp_remainder_series(d):
    out = np.zeros_like(d)
    for k in range(18, 1, -1):
        out = (out + 1.0) * d / k
    return out * d


def walk(X, intercept, curved, drawn, step, penalty, b, v, every):
    """LiSSA's recursion, densely; see `skinfluence._compiled.lissa.walk`."""
    rows = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
    if intercept:
        rows = np.column_stack([rows, np.full(len(rows), intercept)])
    total, count = np.zeros_like(v), 0
    for t, batch in enumerate(drawn):
        J = rows[batch]
        pull = (curved[batch] @ (J @ v.T)[:, :, None])[:, :, 0]
        v += step * (b - pull.T @ J - penalty * v)
        if (t + 1) % every == 0:
            total += v
            count += 1
    return total, count
