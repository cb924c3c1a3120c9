"""What a mask hides is no number: masked rows, targets and weights are refused at every door."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from skinfluence import Influence, edits
from skinfluence.conformal import JackknifePlusRegressor
from skinfluence.distributed import fit
from skinfluence.inference import covariance
from skinfluence.linear_model import Ridge as OurRidge
from skinfluence.m_estimation import MEstimator
from skinfluence.svm import LinearSVC
from skinfluence.unlearning import forget


def squared(params, x, y):
    return (y - x @ params) ** 2


def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3))
    return {"X": X, "y": (X[:, 0] > 0).astype(float), "sample_weight": np.ones(30)}


FITTED = data()
DOORS = {
    "fit on blocks": lambda **given: fit(Ridge(), **given),
    "a fit of scikit-learn's": lambda **given: OurRidge().fit(**given),
    "an own fit": lambda **given: LinearSVC().fit(**given),
    "a loss of one's own": lambda **given: MEstimator(squared, 3, l2=1.0).fit(**given),
    "Influence": lambda **given: Influence(Ridge().fit(**FITTED), **given),
}


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
@pytest.mark.parametrize("door", DOORS)
def test_masked_arrays_are_refused_and_empty_masks_are_none(door, name):
    given = data()
    given[name] = np.ma.masked_array(given[name], mask=np.zeros(given[name].shape, dtype=bool))
    DOORS[door](**given)
    given[name][3] = np.ma.masked
    with pytest.raises(ValueError, match=f"{name} must hold a number everywhere.*filled"):
        DOORS[door](**given)


def test_masked_test_points_are_refused():
    influence, tests = Influence(Ridge().fit(**FITTED), **FITTED), data()
    for name in ("X", "y"):
        given = {"X": tests["X"][:4], "y": tests["y"][:4]}
        given[name] = np.ma.masked_where(given[name] == given[name].ravel()[0], given[name])
        with pytest.raises(ValueError, match=f"{name} must hold a number everywhere"):
            influence.removal_effect(**given)


MASKED = np.ma.masked_array([4, 5], mask=[False, True])
EVERY_ROW = np.ma.masked_array(np.arange(30) % 3, mask=np.arange(30) == 7)
NAMING = {
    "remove": lambda inf, X, y: edits.remove(MASKED),
    "labels": lambda inf, X, y: edits.remove(labels=MASKED),
    "reweight": lambda inf, X, y: edits.reweight(MASKED, 2.0),
    "a mask": lambda inf, X, y: edits.remove(EVERY_ROW == 1),
    "indices": lambda inf, X, y: inf.removal_effect(X, y, indices=MASKED),
    "groups": lambda inf, X, y: inf.removal_effect(X, y, groups=EVERY_ROW),
    "loo of indices": lambda inf, X, y: inf.loo_predict(indices=MASKED),
    "forget": lambda inf, X, y: forget(inf, MASKED),
    "covariance": lambda inf, X, y: covariance(inf, kind="cr1", groups=EVERY_ROW),
    "intervals": lambda inf, X, y: JackknifePlusRegressor(Ridge()).fit(X, y, groups=EVERY_ROW),
}


@pytest.mark.parametrize("door", NAMING)
def test_rows_and_groups_under_a_mask_are_not_named(door):
    """Rows 4 and 5 left out together where 5 is masked: a number of another question."""
    given = data()
    inf = Influence(Ridge().fit(**FITTED), **FITTED)
    with pytest.raises(ValueError, match=r"must be known everywhere.*compressed"):
        NAMING[door](inf, given["X"], given["y"])
    kept = np.ma.masked_array([4, 5], mask=[False, False])
    assert len(edits.remove(kept).terms) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda hidden: edits.add(np.ma.masked_array([0.1, 9.0, 0.2], mask=[0, 1, 0]), 1.0),
        lambda hidden: edits.add([0.1, 9.0, 0.2], hidden),
        lambda hidden: edits.add([0.1, 9.0, 0.2], 1.0, hidden),
        lambda hidden: edits.replace(3, np.ma.masked_array([0.1, 9.0, 0.2], mask=[0, 1, 0])),
        lambda hidden: edits.replace(3, [0.1, 9.0, 0.2], hidden),
        lambda hidden: edits.relabel(3, hidden),
        lambda hidden: edits.relabel([3, 4], MASKED),
        lambda hidden: edits.reweight([3, 4], MASKED),
    ],
)
def test_edits_take_no_value_from_under_a_mask(make):
    with pytest.raises(ValueError, match="must hold a number everywhere"):
        make(np.ma.masked)


@pytest.mark.parametrize("missing", [None, "much"])
def test_a_target_that_is_no_number_is_named(missing):
    inf = Influence(Ridge().fit(**FITTED), **FITTED)
    with pytest.raises(ValueError, match=r"y must be .*finite numbers"):
        inf.effect(edits.relabel(3, missing), FITTED["X"][:2], of="predict")


def test_masked_chunks_are_refused():
    da = pytest.importorskip("dask.array")
    given = data()
    masked = da.ma.masked_less(da.from_array(given["X"], chunks=(10, 3)), -1.5)
    with pytest.raises(ValueError, match=r"dask\.array\.ma\.filled"):
        fit(Ridge(), masked, given["y"])
