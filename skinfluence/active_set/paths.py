"""Exact and local edits of a solved hinge problem."""


class Paths:
    """Edits of a solution by following its path.

    Parameters
    ----------
    solution : Solution

    Notes
    -----
    One tableau over the support vectors and their neighbours is built at once; every edit follows
    its own path on it, and is then checked on all rows of the problem from its coefficients alone.
    Rows that turn out to matter join the tableau.
    """

    def __init__(self, solution):
        self.solution = solution

    def remove(self, rows):
        """Each of some rows removed alone. ``rows``: ints, (n_edits,). Returns `Moves`."""
        raise NotImplementedError

    def change(self, rows, y=None, C=None):
        """Each of some rows with another label and/or bound, alone. Returns `Moves`.

        ``rows``: ints (n_edits,); ``y``: None or (n_edits,); ``C``: None or (n_edits,).
        """
        raise NotImplementedError

    def remove_groups(self, groups):
        """Each of some groups (a list of int arrays) removed together. Returns `Moves`."""
        raise NotImplementedError

    def edit(self, rows=(), y=None, C=None, new=None):
        """One edit: rows with another label and/or bound, and `NewRows`, all at once: `Moves`."""
        raise NotImplementedError

    def one_step(self, rows):
        """Removal of each row as if no role changed (the span rule): `Moves`."""
        raise NotImplementedError

    def weight_derivative(self, rows):
        """``w_i d/dw_i`` of the coefficients for each row: `Moves`. Zero on margin rows."""
        raise NotImplementedError

    @property
    def margin(self):
        """Rows on the margin, in the order that `project` uses, (m,)."""
        raise NotImplementedError

    def project(self, kernel):
        """Coefficients ``v = A^-1 (1, k)`` of points on the margin rows.

        ``kernel``: (m, n_points), kernel between the rows `margin` and the points. Returns
        ``(v_bias (n_points,), v (m, n_points))``; the conditional kernel of points x, z is
        ``k(x, z) - k(x, margin) @ v_z - v_bias_z`` (``v_bias`` is zero without a free bias).
        """
        raise NotImplementedError
