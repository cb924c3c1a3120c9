"""Rows known to a model through a kernel."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from skinfluence.kernel.functions import Kernel, scaled_gamma


@dataclass(frozen=True, eq=False)
class KernelDesign:
    """Rows known to a model through a kernel.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features), float64
    kernel : Kernel
    """

    X: object
    kernel: Kernel

    @property
    def n_samples(self):
        """Number of rows."""
        return self.X.shape[0]

    @property
    def n_features(self):
        """Number of columns."""
        return self.X.shape[1]

    def like(self, X):
        """The same kernel on other rows (edits, test points)."""
        if sp.issparse(X):
            return KernelDesign(sp.csr_array(X, dtype=np.float64), self.kernel)
        return KernelDesign(np.asarray(X, dtype=np.float64), self.kernel)

    def on(self, X, counted=None):
        """The design of a fit on other rows; None where its kernel may be another one.

        Parameters
        ----------
        X : ndarray or CSR array
        counted : ndarray of shape (n_samples,), default=None
            What each row counts in a gamma that is the scale of the rows.
        """
        if X.shape[1] != self.n_features or not self.kernel.knows_new_rows:
            # A gamma of one over the number of columns is not told from one that was given.
            return None
        made = self.like(X)
        if counted is None:
            return made
        return KernelDesign(made.X, replace(self.kernel, gamma=scaled_gamma(made.X, counted)))

    def take(self, rows):
        """Some of the rows (a slice or an index array)."""
        return KernelDesign(self.X[rows], self.kernel)

    def cross(self, other):
        """Kernel values with the rows of another design, (n_samples, other.n_samples)."""
        return self.kernel(self.X, other.X)

    def diagonal(self):
        """``k(x_i, x_i)`` of every row."""
        return self.kernel.diagonal(self.X)

    @cached_property
    def values(self):
        """Kernel values of all pairs of rows, made once: edits that move no row share them."""
        return self.kernel(self.X)

    def __getstate__(self):
        return {"X": self.X, "kernel": self.kernel}

    def __setstate__(self, state):
        vars(self).update(state)
