"""Reproducible numbers for tests of bits, from dtype, shape and seed. golden.cpp makes the same."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


def random_bits(n: int, seed: int) -> NDArray[np.uint64]:
    """Return the first n numbers of S. Vigna's SplitMix64."""
    z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def numbers(dtype: DTypeLike, *shape: int, seed: int = 1) -> Array:
    """Return uniform floats in [-4, 4): integers of the dtype's precision times a power of 2."""
    digits = np.finfo(dtype).nmant + 1
    integers = (random_bits(int(np.prod(shape)), seed) >> np.uint64(64 - digits)).astype(np.int64) - (1 << (digits - 1))
    return (integers * 2.0 ** (3 - digits)).reshape(shape).astype(dtype)


def anything(dtype: DTypeLike, *shape: int, seed: int = 1) -> Array:
    """Return random bits: numbers of every kind and magnitude."""
    size = np.dtype(dtype).itemsize
    return (random_bits(int(np.prod(shape)), seed) >> np.uint64(64 - 8 * size)).astype(f"u{size}").view(dtype).reshape(shape)
