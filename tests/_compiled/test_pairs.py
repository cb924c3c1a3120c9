"""Sums of powers from blocks of pairs, against numpy in double precision."""

import numpy as np
import pytest

from skinfluence._compiled.pairs import TERMS, logistic_remainders, rows_of_block, sums_of_block

# Half a unit of single precision for each term of a sum, and some for what is summed.
RTOL = (TERMS + 8) * 2.0**-24


def _sums(K, size, third, fourth):
    """What is said of each row of K, whose columns have the weights."""
    K, size, third, fourth = (np.asarray(one, dtype=float) for one in (K, size, third, fourth))
    return (size * np.abs(K)).max(axis=1), K**3 @ third, K**4 @ fourth, np.abs(K) ** 3 @ third


@pytest.mark.parametrize("width", [1, 7, TERMS, TERMS + 1, 2 * TERMS + 100])
def test_a_block_is_summed_for_its_rows_and_for_its_columns(width, rng):
    m, start = 37, 50
    K = rng.uniform(-1, 1, (m, width)).astype(np.float32)
    weights = rng.random((3, start + width)).astype(np.float32)
    found = np.zeros(start + width, dtype=np.float32), *np.zeros((2, start + width))
    sums_of_block(K, 3, start, *weights, *found)
    rows = np.zeros(m, dtype=np.float32), *np.zeros((2, m))
    rows_of_block(K, start, *weights, *rows)
    mine, there = slice(3, 3 + m), slice(start, None)
    for block, across, at in ((K, there, mine), (K.T, mine, there)):
        largest, cubes, quarts, absolute = _sums(block, *(one[across] for one in weights))
        np.testing.assert_allclose(found[0][at], largest, rtol=RTOL)
        assert (np.abs(found[1][at] - cubes) <= RTOL * absolute).all()
        np.testing.assert_allclose(found[2][at], quarts, rtol=RTOL)
    for one, other in zip(rows, found, strict=True):
        np.testing.assert_allclose(one, other[mine], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [1, TERMS + 3])
def test_remainders_of_a_logistic_loss_and_their_sums_are_those_of_double_precision(n, rng):
    m, far = 5, 0.25
    delta, Z = rng.normal(0, 1, (2, m, n)).astype(np.float32)
    eta = rng.normal(0, 2, n)
    p, s = 1 / (1 + np.exp(-eta)), 1 / (1 + np.exp(eta))
    weight, size = rng.random((2, n))
    mass = weight * p * s
    terms = [one.astype(np.float32) for one in (p, s, mass, size)]
    rho, sums = np.empty((m, n), dtype=np.float32), np.zeros((7, m))
    logistic_remainders(delta, Z, *terms, np.float32(1.0), np.float32(far), rho, sums)
    d, Z = delta.astype(float), Z.astype(float)
    there = 1 / (1 + np.exp(-eta - d))
    left, q = there - p - p * s * d, there * (1 - there) / (p * s)
    expected = (
        np.abs(d).max(axis=1),
        (mass * (left / (p * s)) ** 2).sum(axis=1),
        (mass * Z**2 * (q - 1) ** 2).sum(axis=1),
        (mass * Z**2 * q**2).sum(axis=1),
        (mass * size * (q - 1) ** 2).sum(axis=1),
        (mass * size * np.maximum(1 - far - q, 0)).sum(axis=1),
        (mass * size * np.maximum(q - 1 - far, 0)).sum(axis=1),
    )
    np.testing.assert_allclose(rho, weight * left, rtol=1e-4, atol=4e-6)
    np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-5)
