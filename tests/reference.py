"""What the kernels should compute, in float64 or wider NumPy: the textbook's formulas, slow and plain."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def relu(x: Array) -> Array:
    return np.where(np.isnan(x), x, np.where(x > 0, x, 0))


def sigmoid(x: Array) -> Array:
    x = np.asarray(x, np.longdouble)
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def tanh(x: Array) -> Array:
    return np.tanh(np.asarray(x, np.longdouble))


def exp(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(np.asarray(x, np.longdouble))


def softmax(z: Array, axis: int = -1) -> Array:
    z = np.asarray(z, np.longdouble)
    e = np.exp(z - z.max(axis=axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=axis, keepdims=True)


def logsumexp(z: Array, axis: int = -1) -> Array:
    z = np.sort(np.asarray(z, np.longdouble), axis=axis)
    largest = np.take(z, [-1], axis=axis)
    others = np.exp(np.delete(z, -1, axis=axis) - largest).sum(axis=axis)
    return np.squeeze(largest, axis) + np.log1p(others)


def log_softmax(z: Array, axis: int = -1) -> Array:
    z = np.asarray(z, np.longdouble)
    largest = z.max(axis=axis, keepdims=True)
    # z - logsumexp(z) without the cancellation of their common part
    return (z - largest) - np.expand_dims(logsumexp(z - largest, axis), axis)


def dot(x: Array, weights: Array) -> Array:
    return (np.asarray(x, np.longdouble) * np.asarray(weights, np.longdouble)).sum(axis=-1)


def dense(x: Array, weights: Array, bias: Array) -> Array:
    return np.asarray(x, np.longdouble) @ np.asarray(weights, np.longdouble).T + np.asarray(bias, np.longdouble)
