"""Where chords that go on to round-off begin, and where they end, against Newton's method on each edit."""

import numpy as np
import pytest

from skinfluence.smooth.batches.remainders import RemainderPass
from skinfluence.smooth.chords.mixing import FARTHEST
from skinfluence.smooth.one_step.steps import row_edits
from skinfluence.smooth.stages import row_solver, single_starts
from skinfluence.smooth.stages.solved import ROUND_OFF
from tests.smooth.test_own_values import LOSSES, edits_of
from tests.smooth.test_single_chords import HOLDS, hessian, own_edits, setting, solved


def errors(objective, own, steps, which):
    """Of some steps, relative to the true ones, in the norm of each edited Hessian."""
    out = []
    for i in which:
        d = solved(objective, own.rows[i], own.y[i], own.weight[i])
        P = hessian(objective, own, i, objective.theta[0])
        error = steps[i] - d
        out.append(np.sqrt(error @ P @ error / (d @ P @ d)))
    return np.array(out)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("hold", HOLDS)
def test_iterates_are_as_near_as_single_precision_allows(name, hold):
    objective, solver = setting(name, 1, hold, n=60, penalty=1.0)
    assert single_starts.serves(objective)
    found = asked = 0
    for own in own_edits(objective, solver, 0):
        steps, sums, nearer = single_starts.near_optima(
            own.at, own, RemainderPass(objective), ROUND_OFF
        )
        # An iterate is the chord of its sums of remainders: what certifies it begins with these.
        again = own.solved(own.a, sums)
        np.testing.assert_allclose(again[nearer], steps[nearer], atol=1e-12 * np.abs(steps).max())
        which = np.flatnonzero(nearer)[::3]
        # All are nearer than the whole steps, most by as much as one chord in double precision needs.
        near = errors(objective, own, own.at.whole(steps), which)
        assert (near < errors(objective, own, own.at.whole(own.begin(own.a)), which)).all()
        assert np.mean(near < 1e-6) > 0.85
        found, asked = found + nearer.sum(), asked + len(own)
    assert found > 0.8 * asked


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("heavy", [False, True])
def test_edits_solved_to_round_off_from_there_are_within_their_bounds(
    name, hold, heavy, monkeypatch
):
    begun = []
    near_optima = single_starts.near_optima

    def counted(*asked):
        out = near_optima(*asked)
        begun.append(out[2].sum())
        return out

    monkeypatch.setattr(RemainderPass, "pays", lambda self, m: True)
    monkeypatch.setattr(row_solver.single_starts, "near_optima", counted)
    objective, solver = setting(name, 2, hold, n=60, penalty=0.3, heavy=heavy)
    for edits in edits_of(objective, np.random.default_rng(0)):
        for block, answer in solver.rows.solve(edits, ROUND_OFF):
            some = edits.take(block)
            for i in range(0, len(some.rows), 7):
                d = solved(objective, some.rows[i], some.y[i], some.weight[i])
                P = hessian(objective, some, i, objective.theta[0])
                error = answer.steps[i, 0] - d
                size = np.sqrt(d @ P @ d)
                # 1e-9 is what the other solution leaves of steps that are far.
                assert np.sqrt(error @ P @ error) <= answer.bound[i] + 1e-9 * size
                assert answer.bound[i] <= 1.1 * ROUND_OFF * size + 2.0 * answer.round_off[i]
    assert sum(begun) > 0


def test_edits_whose_steps_overshoot_have_no_start():
    """Beyond a change of curvatures by e^4 the whole step stays where it is."""
    objective, solver = setting("logistic", 0, n=60, penalty=0.01)
    rows = np.arange(objective.n_samples)
    edits = row_edits(objective, rows, 1.0 - objective.y, 50.0 * objective.weights)
    own = solver.start.whitened(edits).edits(edits)
    steps, _, nearer = single_starts.near_optima(own.at, own, RemainderPass(objective), ROUND_OFF)
    whole = own.begin(own.a)
    r = np.abs(whole @ own.at.rows.T)
    r[:, objective.weights == 0] = 0.0
    far = r.max(axis=1) > FARTHEST
    assert far.any() and not nearer[far].any()
    np.testing.assert_array_equal(steps[far], whole[far])


def test_a_table_with_a_cheap_tensor_begins_with_it(monkeypatch):
    """Its first pass is the tensor; the iterates are as near."""
    objective, solver = setting("logistic", 3, n=90, penalty=1.0)
    passes = []
    in_single = RemainderPass.in_single

    def counted(self, rows, steps, skip):
        passes.append(len(steps))
        return in_single(self, rows, steps, skip)

    monkeypatch.setattr(RemainderPass, "in_single", counted)
    (own, *_) = own_edits(objective, solver, 0)
    ends = []
    for pays in (True, False):
        monkeypatch.setattr(single_starts.TallSums, "pays_for_steps", lambda *_, pays=pays: pays)
        passes.clear()
        steps, _, nearer = single_starts.near_optima(
            own.at, own, RemainderPass(objective), ROUND_OFF
        )
        ends.append((sum(passes), steps, nearer))
    (few, by_tensor, _), (many, by_rows, _) = ends
    both = ends[0][2] & ends[1][2]
    assert few < many and both.mean() > 0.9
    np.testing.assert_allclose(by_tensor[both], by_rows[both], atol=1e-6 * np.abs(by_rows).max())
