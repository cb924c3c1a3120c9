"""Seeded random edits of random pipelines; ``python -m benchmarks.pipeline_trials`` runs thousands."""

import warnings
from dataclasses import replace
from itertools import count, islice

import numpy as np
import pytest

from skinfluence.statistics import chain_moves
from tests.fewer import LONG
from tests.pipeline_trials.drawing import draw
from tests.pipeline_trials.judging import FAILURES, FINE, run
from tests.pipeline_trials.models import KERNELS

# A quick run has a quarter of them; .ci/run runs all.
N_TRIALS = 100 if LONG else 25


def small(seed):
    """Whether a trial is cheap: few rows, and no kernel."""
    trial = draw(seed)
    return len(trial.y) <= 36 and trial.family not in KERNELS


SEEDS = list(islice(filter(small, count()), N_TRIALS))


def failures(seed):
    with warnings.catch_warnings():
        # The fits' own; what questions say is recorded where they are asked.
        warnings.simplefilter("ignore")
        outcomes, _ = run(seed)
    assert {one.kind for one in outcomes} <= {*FAILURES, *FINE}
    return [f"{one.kind}: {one.detail}" for one in outcomes if one.failed]


@pytest.mark.parametrize("seed", SEEDS)
def test_an_edit_of_a_pipeline_is_right_or_refused_in_words(seed):
    """To see what it asks: python -m benchmarks.pipeline_trials --only SEED."""
    assert not failures(seed)


def test_a_trial_is_its_seed():
    for seed in SEEDS[:10]:
        one, other = draw(seed), draw(seed)
        assert one.about == other.about
        np.testing.assert_array_equal(one.y_after, other.y_after)


# Teeth: what an engine may forget, as the moves that it would then find -------------------------


def _without(**parts):
    def forgetful(*given):
        moves = chain_moves(*given)
        return moves and replace(moves, **parts)

    return forgetful


# And trials that see it; a lost category is seen by tests/statistics/test_whole_pipelines.py.
FORGOTTEN = {"variance": ({"scale": None}, 167), "shift": ({"shifted": False}, 37)}


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_an_engine_that_forgets_is_seen(forgotten, monkeypatch):
    parts, seed = FORGOTTEN[forgotten]
    assert not failures(seed)
    monkeypatch.setattr("skinfluence.statistics.removals.chain_moves", _without(**parts))
    assert failures(seed)
