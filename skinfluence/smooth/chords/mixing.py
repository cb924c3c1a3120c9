"""Mixtures of chord iterates: Anderson's method, and how far an iterate may have moved rows.

A bound needs nothing but the iterate it is made for, so that iterates may be mixed.
"""

import numpy as np

# Changes of the log-curvature up to which an iterate is gone on from, and to which a first one that
# moved rows farther is shortened.
FARTHEST, BEGIN = 4.0, 1.0


def shares(normal, right):
    """Of how much of each earlier iterate to take so that what is left cancels best, for many edits.

    Parameters
    ----------
    normal : ndarray of shape (b, k, k)
        Products of the differences of what the last and the k earlier iterates leave; written to.
    right : ndarray of shape (b, k)
        Their products with what the last one leaves; written to.

    Returns
    -------
    shares : ndarray of shape (b, k)
        None of the earlier ones where a product is no number.
    """
    k = normal.shape[1]
    trace = np.abs(np.einsum("bkk->b", normal))
    normal += (1e-10 * trace + 1e-300)[:, None, None] * np.eye(k)
    fair = np.isfinite(normal).all(axis=(1, 2)) & np.isfinite(right).all(axis=1)
    normal[~fair], right[~fair] = np.eye(k), 0.0
    return np.linalg.solve(normal, right[..., None])[..., 0]


def length(v):
    """The length of each line, (m,)."""
    return np.sqrt(np.einsum("bd,bd->b", v, v))


def accelerated(w, f, history):
    """Next iterates from this one and up to two before: the combination of least residual.

    Parameters
    ----------
    w, f : ndarray of shape (m, n_parameters)
        Iterates, and what a chord takes them on by.
    history : list of tuples of ndarray
        The same of the last two passes at most.

    Returns
    -------
    w : ndarray of shape (m, n_parameters)
    history : list
        For the next pass.
    """
    kept = [*history, (w, f)][-3:]
    if len(kept) == 1:
        return w + f, kept
    dw = np.stack([w - p for p, _ in kept[:-1]], axis=1)
    df = np.stack([f - q for _, q in kept[:-1]], axis=1)
    normal = np.einsum("bkd,bld->bkl", df, df)
    share = shares(normal, np.einsum("bkd,bd->bk", df, f))
    return w + f - np.einsum("bk,bkd->bd", share, dw + df), kept
