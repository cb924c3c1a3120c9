"""Planted errors are exactly where the truth says they are."""

import numpy as np
import pytest

from skinfluence._utils.demos import DEMOS
from skinfluence.datasets import flip_labels, load_demo, make_mixed_table, shift_targets


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_flipped_rows_are_those_whose_label_changed(n_classes, share):
    y = np.arange(200) % n_classes
    noisy, flipped = flip_labels(y, share, random_state=0)
    np.testing.assert_array_equal(noisy != y, flipped)
    assert flipped.sum() == round(200 * share)
    assert noisy.dtype == y.dtype


def test_flips_go_to_every_other_class_evenly():
    noisy, _ = flip_labels(
        np.zeros(4000, dtype=int) + np.r_[np.zeros(3997), 1, 2, 3].astype(int), 1.0, random_state=0
    )
    counts = np.bincount(noisy[:3997], minlength=4)
    assert counts[0] == 0
    assert counts[1:].min() > 1200


def test_the_input_is_not_changed_and_the_seed_decides():
    y = np.repeat(["a", "b"], 50)
    before = y.copy()
    first, _ = flip_labels(y, 0.2, random_state=3)
    again, _ = flip_labels(y, 0.2, random_state=3)
    np.testing.assert_array_equal(y, before)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_outside_0_1_is_refused(share):
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        flip_labels([0, 1], share)


def test_one_class_cannot_be_flipped():
    with pytest.raises(ValueError, match="at least two classes"):
        flip_labels(["a"] * 10, 0.5)


def test_shifted_targets_move_by_the_stated_size():
    y = np.linspace(0, 1, 100)
    noisy, shifted = shift_targets(y, 0.1, size=4, random_state=0)
    np.testing.assert_allclose(np.abs(noisy - y), np.where(shifted, 4 * y.std(), 0))


@pytest.mark.parametrize("name", DEMOS)
def test_demos_know_the_truth(name):
    demo = load_demo(name, flip_share=0.1)
    np.testing.assert_array_equal(demo.y != demo.y_true, demo.flipped)
    assert demo.X.shape == (len(demo.y), len(demo.feature_names))
    assert (demo.images is not None) == (name == "digits")


def test_an_unknown_demo_is_named():
    with pytest.raises(ValueError, match="name must be one of"):
        load_demo("titanic")


def test_the_mixed_table_has_every_kind_of_column():
    table, flipped = make_mixed_table(500, flip_share=0.1, random_state=0)
    assert flipped.sum() == 50
    assert table["city"].nunique() == 30
    assert set(table["renewed"]) == {"yes", "no"}
    assert table.isna().any().sum() == 4
