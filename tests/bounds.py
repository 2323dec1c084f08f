"""The error bounds that cpp/kernels state: sum.h for dot, dense.h, softmax.h."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import reference

Array = NDArray[Any]


def unit(dtype: type[np.floating]) -> np.floating:
    """Return half an ULP of 1, in the type that a dtype is computed in."""
    return np.finfo(np.float32 if dtype is np.float16 else dtype).eps / 2


def rounding(exact: Array, dtype: type[np.floating]) -> Array:
    """Return what a result's rounding to float16 may add, half an ULP; 0 for dtypes that are computed in themselves."""
    info = np.finfo(dtype)
    return np.maximum(np.abs(exact) * info.eps, info.smallest_subnormal) / 2 * (dtype is np.float16)


def height(n: int) -> int:
    """Return the height of a tree of n terms."""
    return max(n - 1, 0).bit_length()


def dot(x: Array, weights: Array, dtype: type[np.floating]) -> Array:
    n = x.shape[-1]
    exact, magnitudes = reference.dot(x, weights), reference.dot(np.abs(x), np.abs(weights))
    if n < (8 if dtype is np.float64 else 32):
        last = np.maximum(np.abs(exact) * unit(dtype), np.finfo(np.float32).smallest_subnormal / 2) * (dtype is not np.float64)
        return n * unit(np.float64) * magnitudes + last + rounding(exact, dtype)
    partial_sums = 2048 // np.finfo(unit(dtype).dtype).bits
    blocks = max(1, -(-n // 1024))
    path = -(-min(n, 1024) // partial_sums) + height(partial_sums) + height(blocks)
    return path * unit(dtype) * magnitudes + rounding(exact, dtype)


def dense(x: Array, weights: Array, bias: Array, dtype: type[np.floating]) -> Array:
    inputs = x.shape[-1]
    chains = 128 // np.finfo(unit(dtype).dtype).bits
    block = 256 * chains
    path = -(-min(inputs, block) // chains) + height(chains) + -(-inputs // block) + 1
    magnitudes = reference.dense(np.abs(x), np.abs(weights), np.abs(bias))
    return path * unit(dtype) * magnitudes + rounding(reference.dense(x, weights, bias), dtype)


def softmax(z: Array, exact: Array, dtype: type[np.floating]) -> Array:
    return unit(dtype) * ((height(z.shape[-1]) + 4.1) * exact + np.finfo(dtype).tiny) + rounding(exact, dtype)


def logsumexp(z: Array, exact: Array, dtype: type[np.floating]) -> Array:
    return unit(dtype) * (np.abs(exact) + of_logarithm(z, dtype)) + rounding(exact, dtype)


def log_softmax(z: Array, exact: Array, dtype: type[np.floating]) -> Array:
    return unit(dtype) * (np.abs(exact) + of_logarithm(z, dtype)[..., np.newaxis]) + rounding(exact, dtype)


def of_logarithm(z: Array, dtype: type[np.floating]) -> Array:
    """Return what the logarithm of the sum of e^(z - max) may be off by, in units."""
    z = np.asarray(z, np.longdouble)
    logarithm = reference.logsumexp(z - z.max(axis=-1, keepdims=True))
    return (height(z.shape[-1]) + 4.2) * logarithm + np.finfo(dtype).tiny
