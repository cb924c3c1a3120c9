"""Losses: every derivative against autograd, finite differences and scikit-learn."""

import numpy as np
import pytest
from autograd import elementwise_grad, hessian
from sklearn import _loss as sklearn_loss

from skinfluence import losses
from tests.registries import LOSSES

SILENT = ("poisson", "gamma")
CASES = pytest.mark.parametrize("case", LOSSES.values(), ids=LOSSES)
BOUNDED = {name: case for name, case in LOSSES.items() if case.loss.self_concordance is not None}

SKLEARN = {
    "binomial": sklearn_loss.HalfBinomialLoss(),
    "multinomial": sklearn_loss.HalfMultinomialLoss(n_classes=4),
    "squared": sklearn_loss.HalfSquaredError(),
    "poisson": sklearn_loss.HalfPoissonLoss(),
    "gamma": sklearn_loss.HalfGammaLoss(),
    "tweedie-1.2": sklearn_loss.HalfTweedieLoss(power=1.2),
    "tweedie-1.5": sklearn_loss.HalfTweedieLoss(power=1.5),
    "tweedie-3": sklearn_loss.HalfTweedieLoss(power=3),
}


@CASES
def test_value_is_the_documented_formula(case, rng):
    eta, y = case.draw_points(rng)
    np.testing.assert_allclose(case.loss.value(eta, y), case.reference(eta, y), rtol=1e-12)


@CASES
def test_gradient_is_the_derivative_of_the_value(case, rng):
    eta, y = case.draw_points(rng)
    expected = elementwise_grad(lambda e: case.reference(e, y))(eta)
    np.testing.assert_allclose(case.loss.gradient(eta, y), expected, rtol=1e-10, atol=1e-13)


@CASES
def test_hessian_is_the_second_derivative(case, rng):
    eta, y = case.draw_points(rng, n=20)
    expected = np.array(
        [
            hessian(lambda e, i=i: case.reference(e[None], y[i : i + 1])[0])(eta[i])
            for i in range(20)
        ]
    )
    np.testing.assert_allclose(case.loss.hessian(eta, y), expected, rtol=1e-9, atol=1e-13)


@CASES
def test_derivatives_match_finite_differences(case, rng):
    """Central differences at 1e-5: relative error about 1e-9."""
    eta, y = case.draw_points(rng)
    h = 1e-5
    for k in range(case.loss.n_outputs):
        step = h * np.eye(case.loss.n_outputs)[k]
        slope = (case.loss.value(eta + step, y) - case.loss.value(eta - step, y)) / (2 * h)
        curve = (case.loss.gradient(eta + step, y) - case.loss.gradient(eta - step, y)) / (2 * h)
        np.testing.assert_allclose(case.loss.gradient(eta, y)[:, k], slope, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(case.loss.hessian(eta, y)[..., k], curve, rtol=1e-6, atol=1e-7)


@CASES
def test_leading_axes_broadcast_against_the_targets(case, rng):
    """Effects evaluate a stack of models at the same test points."""
    eta, y = case.draw_points(rng, n=7)
    stack = eta + rng.standard_normal((3, 1, 1))
    if not isinstance(case.loss, losses.AutogradLoss):
        for name in ("value", "gradient", "hessian"):
            whole = getattr(case.loss, name)(stack, y)
            each = np.array([getattr(case.loss, name)(one, y) for one in stack])
            np.testing.assert_allclose(whole, each, rtol=1e-14, atol=1e-300)


@CASES
def test_hessian_terms_add_up_to_the_hessian(case, rng):
    eta, y = case.draw_points(rng)
    weights, matrices = case.loss.hessian_terms(eta, y)
    total = np.einsum("ti,tab->iab", weights, matrices)
    np.testing.assert_allclose(total, case.loss.hessian(eta, y), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", SKLEARN)
def test_matches_scikit_learn(name, rng):
    case, theirs = LOSSES[name], SKLEARN[name]
    eta, y = case.draw_points(rng)
    raw = eta if case.loss.n_outputs > 1 else eta[:, 0].copy()
    y = y.astype(float)
    gradient = theirs.gradient(y, raw)
    np.testing.assert_allclose(
        case.loss.gradient(eta, y), gradient.reshape(eta.shape), rtol=1e-10, atol=1e-13
    )
    # Up to terms of y only.
    base = case.loss.value(np.zeros_like(eta), y) - theirs.loss(y, np.zeros_like(raw))
    np.testing.assert_allclose(
        case.loss.value(eta, y), theirs.loss(y, raw) + base, rtol=1e-10, atol=1e-12
    )
    if case.loss.n_outputs == 1:
        curve = theirs.gradient_hessian(y, raw)[1]
        np.testing.assert_allclose(case.loss.hessian(eta, y)[:, 0, 0], curve, rtol=1e-10)


@pytest.mark.parametrize("case", BOUNDED.values(), ids=BOUNDED)
def test_self_concordance_bounds_the_third_derivative(case, rng):
    """|d/dt u'H(eta + t v)u| <= M spread(v) u'Hu, for any u and v, far into the tails."""
    loss, h = case.loss, 1e-5
    for scale in (0.1, 1.0, 3.0, 6.0):
        eta, y = case.draw_points(rng, n=400, scale=scale)
        u, v = rng.standard_normal((2, 400, loss.n_outputs))
        ahead, behind = (loss.hessian(eta + s * h * v, y) for s in (1, -1))
        third = np.einsum("ia,iab,ib->i", u, (ahead - behind) / (2 * h), u)
        second = np.einsum("ia,iab,ib->i", u, loss.hessian(eta, y), u)
        slack = 1e-6 * second + 1e-10 * np.abs(loss.hessian(eta, y)).max(axis=(1, 2))
        assert (np.abs(third) <= loss.self_concordance * loss.spread(v) * second + slack).all()


@pytest.mark.parametrize("name", [n for n, c in BOUNDED.items() if c.loss.self_concordance])
def test_self_concordance_is_tight(name, rng):
    """Some point and direction reach nine tenths of the bound: a smaller constant is no bound."""
    loss, h = LOSSES[name].loss, 1e-5
    directions = loss.spread_directions()
    best = 0.0
    for scale in (1.0, 4.0, 8.0):
        eta, y = LOSSES[name].draw_points(rng, n=500, scale=scale)
        for v in directions:
            ahead, behind = (loss.hessian(eta + s * h * v, y) for s in (1, -1))
            second = loss.hessian(eta, y)
            for u in directions:
                third = np.einsum("a,iab,b->i", u, (ahead - behind) / (2 * h), u)
                curve = np.einsum("a,iab,b->i", u, second, u)
                fair = curve > 1e-6
                ratio = np.abs(third[fair]) / (curve[fair] * loss.spread(v))
                best = max(best, ratio.max(initial=0.0))
    assert 0.9 * loss.self_concordance < best < 1.0001 * loss.self_concordance


def test_losses_without_a_bound_declare_none():
    for power in (-1, 0, 0.5, 0.999, 2.001, 3):
        assert losses.Tweedie(power).self_concordance is None
    assert losses.SquaredHinge().self_concordance is None
    assert losses.AutogradLoss(lambda eta, y: eta[..., 0]).self_concordance is None
    assert losses.Tweedie(1).self_concordance == losses.Tweedie(2).self_concordance == 1.0


@CASES
def test_spread_is_the_largest_product_with_its_directions(case, rng):
    loss = case.loss
    delta = rng.standard_normal((50, loss.n_outputs))
    expected = np.abs(delta @ loss.spread_directions().T).max(axis=1)
    np.testing.assert_allclose(loss.spread(delta), expected, rtol=1e-13)


def test_softmax_spread_ignores_a_common_shift(rng):
    delta = rng.standard_normal((20, 4))
    loss = losses.Multinomial(4)
    np.testing.assert_allclose(loss.spread(delta + 7.0), loss.spread(delta), rtol=1e-12)
    np.testing.assert_allclose(loss.spread(delta), np.ptp(delta, axis=1))


@pytest.mark.parametrize("k", [2, 3, 7])
def test_sum_to_zero_coordinates_are_orthonormal_and_invertible(k, rng):
    loss = losses.SumToZero(losses.Multinomial(k))
    np.testing.assert_allclose(loss.basis.T @ loss.basis, np.eye(k - 1), atol=1e-15)
    np.testing.assert_allclose(loss.basis.sum(axis=0), 0.0, atol=1e-15)
    zeta = rng.standard_normal((9, k - 1))
    np.testing.assert_allclose(loss.reduce(loss.expand(zeta)), zeta, rtol=1e-12, atol=1e-14)
    eta = rng.standard_normal((9, k))
    centred = eta - eta.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(loss.expand(loss.reduce(eta)), centred, rtol=1e-12, atol=1e-14)


def test_sum_to_zero_is_the_loss_it_wraps(rng):
    whole, reduced = LOSSES["multinomial"].loss, LOSSES["sum-to-zero"].loss
    eta, y = LOSSES["multinomial"].draw_points(rng)
    np.testing.assert_allclose(reduced.value(reduced.reduce(eta), y), whole.value(eta, y))
    np.testing.assert_allclose(reduced.predict_proba(reduced.reduce(eta)), whole.predict_proba(eta))


@pytest.mark.parametrize("eta", [-700.0, -40.0, -20.0, 20.0, 40.0, 700.0])
def test_binomial_keeps_its_digits_in_the_tails(eta):
    """log(1 + e^-z) = e^-z and p(1 - p) = e^-|z| to round-off for z >= 20 or so."""
    loss, at, small = losses.Binomial(), np.array([[eta]]), np.exp(-abs(eta))
    tail = np.log1p(small)
    right = 1 if eta > 0 else 0
    np.testing.assert_allclose(loss.value(at, [right]), tail, rtol=1e-14)
    np.testing.assert_allclose(loss.value(at, [1 - right]), abs(eta) + tail, rtol=1e-14)
    sign = -1.0 if right else 1.0
    np.testing.assert_allclose(
        loss.gradient(at, [right]), [[sign * small / (1 + small)]], rtol=1e-14
    )
    np.testing.assert_allclose(
        loss.hessian(at, [right]), [[[small / (1 + small) ** 2]]], rtol=1e-14
    )
    np.testing.assert_allclose(
        loss.predict_proba(at)[0, 1 - right], small / (1 + small), rtol=1e-14
    )


@pytest.mark.parametrize("gap", [20.0, 40.0, 300.0])
def test_multinomial_keeps_its_digits_in_the_tails(gap):
    """With eta = (gap, 0, 0) the derivatives are e^-gap times small integers."""
    loss, small = losses.Multinomial(3), np.exp(-gap)
    eta = np.array([[gap, 0.0, 0.0]])
    share = 1.0 / (1.0 + 2.0 * small)
    np.testing.assert_allclose(
        loss.gradient(eta, [0]), share * small * np.array([[-2.0, 1.0, 1.0]]), rtol=1e-13
    )
    H = loss.hessian(eta, [0])[0]
    np.testing.assert_allclose(H[0], share**2 * small * np.array([2.0, -1.0, -1.0]), rtol=1e-13)
    np.testing.assert_allclose(loss.value(eta, [0]), np.log1p(2 * small), rtol=1e-13)
    np.testing.assert_allclose(loss.value(eta, [1]), gap + np.log1p(2 * small), rtol=1e-13)


@CASES
def test_nothing_is_nan_far_from_zero(case, rng):
    _, y = case.draw_points(rng)
    for eta in (-40.0, 40.0):
        at = np.full((len(y), case.loss.n_outputs), eta)
        at[::2, 0] *= -1
        for name in ("value", "gradient", "hessian"):
            assert np.isfinite(getattr(case.loss, name)(at, y)).all()


def test_regressions_predict_the_inverse_link():
    eta = np.array([[0.5], [2.0]])
    np.testing.assert_allclose(losses.Poisson().mean(eta), np.exp(eta))
    np.testing.assert_allclose(losses.SquaredError().mean(eta), eta)


def test_a_loss_without_probabilities_says_so():
    with pytest.raises(AttributeError, match="classifier with probabilities"):
        losses.SquaredError().predict_proba(np.zeros((1, 1)))


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_smooth_hinge_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        losses.SmoothHinge(temperature)


@pytest.mark.parametrize("k", [3, 20])
def test_reach_and_remainder_of_the_softmax_are_those_of_its_matrices(rng, k):
    """As every loss has them, from directions one by one and a Hessian of each row."""
    loss = losses.SumToZero(losses.Multinomial(k))
    A = rng.standard_normal((7, k - 1, k + 2))
    h = A @ A.transpose(0, 2, 1)
    np.testing.assert_allclose(loss.reach(h), losses.Loss.reach(loss, h), rtol=1e-12)
    eta = 4.0 * rng.standard_normal((7, 1, k - 1))
    # Rows that are all but certain.
    eta[0, 0, 0] = 60.0
    y, delta = rng.integers(0, k, (7, 1)), rng.standard_normal((7, 5, k - 1))
    found = loss.remainder(eta, y, delta)
    np.testing.assert_allclose(
        found, losses.Loss.remainder(loss, eta, y, delta), rtol=1e-10, atol=1e-14
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [name for name in LOSSES if "tweedie" in name or name in SILENT])
def test_a_log_link_overflows_to_infinity_without_a_word(name, rng):
    """Beyond 709 a mean is infinite, and what it is compared with nothing: no NaN, no bare warning."""
    case = LOSSES[name]
    _, y = case.draw_points(rng)
    y = y.astype(float)
    power = getattr(case.loss, "power", 1.0)
    y[::3] = 0.0 if power < 2 else y[::3]
    for side in (-3000.0, 3000.0):
        eta = np.full((len(y), 1), side)
        assert (case.loss.mean(eta) == (np.inf if side > 0 else 0.0)).all()
        found = [case.loss.value(eta, y), case.loss.gradient(eta, y), case.loss.hessian(eta, y)]
        for one in found:
            assert not np.isnan(one).any()
        if side > 0 and power < 2:
            assert all((one == np.inf).all() for one in found)
        if side < 0 and power < 2:
            assert all((one[::3] == 0.0).all() for one in found)


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
@pytest.mark.parametrize("size", [0.1, 3.0, 40.0])
def test_curvatures_of_many_classes_need_no_product(size, shape, rng):
    """As from pairs of classes: 1e-14 of their size, of rows that are sure of a class, too."""
    loss = losses.SumToZero(losses.Multinomial(15))
    assert loss.softmax_basis is not None
    eta = size * rng.standard_normal((*shape, loss.n_outputs))
    y = rng.integers(0, 15, shape)
    found, expected = loss.hessian(eta, y), loss.loss.hessian(loss.expand(eta), y)
    expected = loss.basis.T @ expected @ loss.basis
    np.testing.assert_array_equal(found, found.swapaxes(-1, -2))
    off = np.abs(found - expected).max(axis=(-1, -2))
    assert (off <= 1e-14 * np.abs(expected).max(axis=(-1, -2))).all()
