"""What edits do to the coefficients of a hinge problem, and the certificate of each."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CoefficientMoves:
    """Changes of coefficients and bias, one per edit.

    Attributes
    ----------
    moving : ndarray of int, shape (n_moving,)
        The edits that change anything, as positions in what was asked. All others change nothing,
        exactly.
    n_edits : int
        Number of edits asked for.
    columns : ndarray of int, shape (n_columns,)
        Training rows whose coefficient changes in some edit.
    delta_beta : ndarray of shape (n_moving, n_columns)
        Changes of coefficients. NaN where the edit leaves one class.
    delta_bias : ndarray of shape (n_moving,)
        Changes of the bias; zeros without a free bias. NaN as above.
    new_beta : ndarray of shape (n_moving, n_new)
        Coefficients of rows that the edit adds.
    n_pivots : ndarray of int, shape (n_edits,)
        Changes of role followed on the path.
    kkt_residual : ndarray of shape (n_edits,)
        Largest violation of the optimality conditions of the edited problem over all its rows,
        from coefficients alone. NaN where the edit leaves one class, and for local methods.
    changes : object
        The boxes that were asked for; None for local methods.
    """

    moving: np.ndarray
    n_edits: int
    columns: np.ndarray
    delta_beta: np.ndarray
    delta_bias: np.ndarray
    new_beta: np.ndarray
    n_pivots: np.ndarray
    kkt_residual: np.ndarray
    changes: object = None

    def decision_change(self, kernel, kernel_new=None):
        """Change of decision values at some points.

        Parameters
        ----------
        kernel : ndarray of shape (n, n_points) or (n_columns, n_points)
            Kernel between the training rows, or only those in ``columns``, and the points.
        kernel_new : ndarray of shape (n_new, n_points), optional
            Kernel between rows that the edit adds and the points.

        Returns
        -------
        change : ndarray of shape (n_edits, n_points)
            After minus before. Exactly zero for edits that move nothing, NaN where one class is left.
        """
        if len(kernel) != len(self.columns):
            kernel = kernel[self.columns]
        out = np.zeros((self.n_edits, kernel.shape[1]))
        moved = self.delta_beta @ kernel + self.delta_bias[:, None]
        if kernel_new is not None:
            moved += self.new_beta @ kernel_new
        out[self.moving] = moved
        return out

    def dense(self, n):
        """Changes of all ``n`` coefficients, (n_edits, n)."""
        out = np.zeros((self.n_edits, n))
        out[np.ix_(self.moving, self.columns)] = self.delta_beta
        return out
