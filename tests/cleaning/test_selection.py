"""The model of an audit from the command line, and what is left out with a row."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skinfluence.cleaning.selection import select_model
from skinfluence.cleaning.tables import AuditedTable


def test_rows_are_left_out_of_the_preparation_too():
    """Own values of an audit from the command line are those of refits, vectoriser and all."""
    pytest.importorskip("skrub")
    rng = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.2, np.nan, np.exp(rng.standard_normal(n)).round(3)),
            "age": rng.standard_normal(n).round(3) * 10 + 40,
            "colour": rng.choice(["red", "green", "blue"], n),
        }
    )
    frame.loc[7, "colour"] = "violet"
    y = (frame["age"] + 5 * rng.standard_normal(n) > 40).to_numpy().astype(int)
    everything = np.arange(n)
    problem = AuditedTable(
        "t.csv", frame, everything, frame, y, everything, "label", "classification"
    )
    selection = select_model(problem, C=0.5)
    found = selection.whole.loo_decision_function(method="exact")
    held = selection.whole.loo_decision_function(method="exact", frozen="accept")
    for i in (
        0,
        7,
        12,
        int(np.nanargmax(frame["size"])),
        int(np.flatnonzero(frame["size"].isna())[0]),
    ):
        kept = np.delete(everything, i)
        model = clone(selection.model).set_params(tol=1e-12, max_iter=10_000)
        # In double precision, which the vectorised table is not.
        double = FunctionTransformer(np.asarray, kw_args={"dtype": np.float64})
        again = make_pipeline(clone(selection.preprocessing), double, model)
        with warnings.catch_warnings():
            # A category that nobody else has.
            warnings.simplefilter("ignore")
            again.fit(frame.iloc[kept], y[kept])
            truth = again.decision_function(frame.iloc[[i]])[0]
        # Vectorised tables are in single precision.
        assert abs(found[i] - truth) < 1e-5
    assert np.abs(found - held).max() > 1e-2
