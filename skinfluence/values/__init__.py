"""What each row is worth: leave-one-out values, and Shapley and Banzhaf values of rows.

A row's value is what it changes in the models of other rows: of all others, of any number of them
at random (Shapley), or of each of them with probability one half (Banzhaf). In each sampled set of
rows the model is fitted once, and what every row changes in it comes from edits of that fit.
"""

from skinfluence.values.estimates import Values, banzhaf, leave_one_out, shapley

__all__ = ["Values", "banzhaf", "leave_one_out", "shapley"]
