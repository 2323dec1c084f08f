"""dot: accuracy, order of summation, layouts."""

import numpy as np
import pytest

import bounds
import nnkernels as nnk
import reference
from ulp import same_bits

LENGTHS = (*range(135), 255, 256, 257, 1000, 1023, 1024, 1025, 2047, 2048, 2049, 3 * 1024, 100_003)


@pytest.mark.parametrize("n", LENGTHS)
def test_accuracy(dtype: type[np.floating], n: int, rng: np.random.Generator) -> None:
    x, weights = rng.normal(0, 1, (2, 5, n)).astype(dtype)
    x[3:] = 1
    weights[4:] = 0.1
    exact = reference.dot(x, weights)
    assert (np.abs(nnk.dot(x, weights) - exact) <= bounds.dot(x, weights, dtype)).all()


def test_float16_is_float32_rounded_once(rng: np.random.Generator) -> None:
    x, weights = rng.normal(0, 1, (2, 7, 3000)).astype(np.float16)
    assert same_bits(nnk.dot(x, weights), nnk.dot(x.astype(np.float32), weights.astype(np.float32)).astype(np.float16))


@pytest.mark.parametrize("n", LENGTHS)
def test_layouts(dtype: type[np.floating], n: int, rng: np.random.Generator) -> None:
    x, weights = rng.normal(0, 1, (2, 4, n)).astype(dtype)
    expected = nnk.dot(x, weights)
    spread = np.zeros((8, 3 * n), dtype)[::2, ::3]
    spread[...] = x
    assert same_bits(nnk.dot(spread, weights), expected)
    assert same_bits(nnk.dot(weights, spread), expected)
    assert same_bits(nnk.dot(np.asfortranarray(x), weights[:, ::-1][:, ::-1]), expected)
    assert same_bits(nnk.dot(x.T, weights.T, axis=0), expected)
    assert same_bits(nnk.dot(x[:, np.newaxis], weights[np.newaxis])[[0, 1, 2, 3], [0, 1, 2, 3]], expected)
    for row in range(4):
        assert nnk.dot(x[row], weights[row]) == expected[row]


@pytest.mark.each_target
def test_special_values(dtype: type[np.floating]) -> None:
    inf, nan = np.inf, np.nan
    assert np.isnan(nnk.dot(np.array([1, nan], dtype), np.array([1, 1], dtype)))
    with np.errstate(invalid="ignore"):
        assert np.isnan(nnk.dot(np.array([0, 1], dtype), np.array([inf, 1], dtype)))
    assert nnk.dot(np.array([2, 1], dtype), np.array([inf, 1], dtype)) == inf
    assert nnk.dot(np.empty((3, 0), dtype), np.empty(0, dtype)).tolist() == [0, 0, 0]


@pytest.mark.each_target
@pytest.mark.parametrize("n", [2, 70, 5000])
def test_overflow_is_reported(dtype: type[np.floating], n: int) -> None:
    x = np.full(n, np.finfo(dtype).max)
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert nnk.dot(x, x) == np.inf
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        nnk.dot(x, x)


def test_output_that_is_an_input(dtype: type[np.floating], rng: np.random.Generator) -> None:
    for n in (3, 5, 17):
        x, weights = rng.normal(0, 1, n).astype(dtype), rng.normal(0, 1, (n, n)).astype(dtype)
        expected = nnk.dot(x, weights)
        for shared in (x.copy(), x.copy()):
            assert same_bits(nnk.dot(shared, weights, out=shared), expected)
            shared[...] = x
            assert same_bits(nnk.dot(weights, shared, out=shared), expected)
        # Broadcast, with a different row in each call of the loop.
        x, weights = rng.normal(0, 1, (n, n)).astype(dtype), rng.normal(0, 1, (n, n, n)).astype(dtype)
        expected = nnk.dot(x, weights)
        shared = x.copy()
        assert same_bits(nnk.dot(shared, weights, out=shared), expected)
        shared[...] = x
        assert same_bits(nnk.dot(weights, shared, out=shared), expected)


def test_more_elements_than_an_int_counts() -> None:
    n = 2**31 + 5
    assert nnk.dot(np.broadcast_to(np.float32(1), n), np.broadcast_to(np.float32(1), n)) == 2.0**31


def test_promotion() -> None:
    for a in "?bBhHiIlLqQefd":
        for b in "?bBhHiIlLqQefd":
            x, weights = np.ones(3, a), np.ones(3, b)
            kinds = x.dtype.kind + weights.dtype.kind
            expected = np.result_type(x, weights) if kinds == "ff" else np.result_type(x, weights, np.float32)
            assert nnk.dot(x, weights).dtype == expected


def test_tutorial() -> None:
    assert float(nnk.dot([1.2, 2.5, -1.0], [0.8, -0.5, 1.0]) + 2.0) == 0.71
