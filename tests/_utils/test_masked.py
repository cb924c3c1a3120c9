"""What a mask hides is no number: masked rows, targets and weights are refused at every door."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from skinfluence import Influence
from skinfluence.distributed import fit
from skinfluence.linear_model import Ridge as OurRidge
from skinfluence.m_estimation import MEstimator
from skinfluence.svm import LinearSVC


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


def test_masked_chunks_are_refused():
    da = pytest.importorskip("dask.array")
    given = data()
    masked = da.ma.masked_less(da.from_array(given["X"], chunks=(10, 3)), -1.5)
    with pytest.raises(ValueError, match=r"dask\.array\.ma\.filled"):
        fit(Ridge(), masked, given["y"])
