"""Texts of a column are read as what they mean, and odd cells do not turn numbers into texts."""

import numpy as np
import pytest

from skinfluence.cleaning.cells import MISSING, read_column


@pytest.mark.parametrize(
    ("odd", "value"),
    [("-", np.nan), ("unknown", np.nan), ("<4", 4.0), ("$1,250.50", 1250.5), ("12 %", np.nan)],
)
def test_one_odd_cell_leaves_numbers_numbers(odd, value):
    cells = np.array(["1.5", "2.25", "30", "4.75", odd], dtype=object)
    column = read_column(cells, MISSING)
    np.testing.assert_array_equal(column.values, [1.5, 2.25, 30.0, 4.75, value])
    assert (column.odd == [4]) == np.isnan(value)


@pytest.mark.parametrize("cells", [["S", "M", "38", "40"], ["2020-01-05", "2020-02-05"]])
def test_texts_stay_texts(cells):
    assert read_column(np.array(cells, dtype=object), MISSING).values is None
