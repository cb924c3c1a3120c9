"""One pass over the rows says what the objective says: compiled, in ranges, and in numpy."""

import numpy as np
import pytest

from skinfluence.design import design_of
from skinfluence.losses import Binomial, Tweedie
from skinfluence.objective import Objective
from skinfluence.smooth.batches import row_pass
from tests.registries import LOSSES

COMPILED = {
    "binomial",
    "smooth-hinge-1",
    "smooth-hinge-0.1",
    "poisson",
    "gamma",
    "tweedie-1.2",
    "tweedie-1.5",
    "tweedie-0",
    "tweedie-3",
}


@pytest.mark.parametrize("intercept", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("name", LOSSES)
def test_a_pass_is_the_gradient_and_how_far_rows_of_weight_moved(name, intercept, monkeypatch):
    """Of 131 rows, which neither four nor a block divides; written out over those that have weight."""
    case, n, d = LOSSES[name], 131, 7
    loss, rng = case.loss, np.random.default_rng(0)
    X, y, k = rng.standard_normal((n, d)), case.draw(rng, n), case.loss.n_outputs
    weights = rng.choice([0.0, 0.5, 2.0], n)
    held = weights > 0
    if name in COMPILED:
        # Where rows without weight are is no number.
        X[~held] *= 1e200
    width = d + (intercept != 0.0)
    penalty, theta = np.linspace(0.0, 1.0, width), 0.1 * rng.standard_normal((k, width))
    objective = Objective(loss, design_of(X, intercept), y, weights, penalty, 0.0 * theta)
    rows = np.column_stack([X, np.full(n, intercept)])[held][:, :width]
    eta = rows @ theta.T
    pulls = weights[held, None] * loss.gradient(eta, y[held])
    assert (row_pass._kind_of(loss) is not None) == (name in COMPILED)
    seen = row_pass.looks(objective)(theta, np.zeros((n, k)))
    wanted = (pulls.T @ rows + penalty * theta).ravel()
    np.testing.assert_allclose(seen.gradient, wanted, rtol=1e-12, atol=1e-12)
    assert seen.moved == pytest.approx(loss.spread(eta).max(), rel=1e-13)
    assert seen.largest == pytest.approx(np.abs(eta).max(), rel=1e-13)
    # In ranges, which large ones are cut into: other sums of the same terms.
    monkeypatch.setattr(row_pass, "WORTH_RANGES", 0.0)
    again = row_pass.looks(objective)(theta, np.zeros((n, k)))
    np.testing.assert_allclose(again.gradient, seen.gradient, rtol=1e-12, atol=1e-12)
    assert again[1:] == seen[1:]


@pytest.mark.parametrize("name", sorted(COMPILED))
def test_slopes_after_steps_are_those_of_the_loss(name):
    """Of 70 steps at once, which is more than a vector; rows without weight have none and move nothing."""
    case, n, m = LOSSES[name], 29, 70
    rng = np.random.default_rng(1)
    X, y, weights = rng.standard_normal((n, 2)), case.draw(rng, n), rng.choice([0.0, 0.5, 2.0], n)
    objective = Objective(
        case.loss, design_of(X, 0.0), y, weights, np.ones(2), rng.standard_normal((1, 2))
    )
    moved = rng.standard_normal((n, m))
    far = np.abs(moved[weights > 0]).max(axis=0)
    eta = (objective.eta + moved)[..., None]
    wanted = weights[:, None] * case.loss.gradient(eta, y[:, None])[..., 0]
    largest = np.zeros(m)
    row_pass.slopes_after(objective)(slice(0, n), moved, largest)
    np.testing.assert_allclose(moved, wanted, rtol=1e-13, atol=1e-300)
    np.testing.assert_array_equal(largest, far)


def test_exponentials_are_right_to_the_last_digits():
    """Against numpy's, over all that it gives a number for, both ends included."""
    from skinfluence._compiled.gradient import exponentials

    x = np.concatenate([np.linspace(-30, 30, 4001), np.linspace(-700, 700, 2001), [1e-300, 0.0]])
    found, held, power = x.copy(), np.empty_like(x), np.empty_like(x)
    exponentials(found, len(x), held, held.view(np.int64), power, power.view(np.int64))
    np.testing.assert_allclose(found, np.exp(x), rtol=4.5e-16)
    beyond = np.array([-1e5, 1e5, -np.inf, np.inf, np.nan])
    exponentials(beyond, 5, held, held.view(np.int64), power, power.view(np.int64))
    np.testing.assert_allclose(beyond, np.exp([-700.0, 700.0, -700.0, 700.0, np.nan]), rtol=4.5e-16)


def test_losses_with_a_derivative_of_their_own_are_not_taken_for_a_compiled_one():
    class Offset(Binomial):
        def _first(self, eta, y):
            return super()._first(eta + 1.0, y)

    class Louder(Tweedie):
        def _first(self, eta, y):
            return 2.0 * super()._first(eta, y)

    assert row_pass._kind_of(Offset()) is None
    assert row_pass._kind_of(Louder(1.5)) is None
