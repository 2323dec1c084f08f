"""Error bounds stated in sum.h (for dot), dense.h, softmax.h, losses.h and gradients.h."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import reference

Array = NDArray[Any]


def unit(dtype: type[np.floating]) -> np.floating:
    """Return half an ULP of 1 in a dtype's compute type."""
    return np.finfo(np.float32 if dtype is np.float16 else dtype).eps / 2


def rounding(exact: Array, dtype: type[np.floating]) -> Array:
    """Return the error of the final rounding to float16, half an ULP; 0 for other dtypes."""
    info = np.finfo(dtype)
    return np.maximum(np.abs(exact) * info.eps, info.smallest_subnormal) / 2 * (dtype is np.float16)


def height(n: int) -> int:
    """Return the height of a summation tree of n terms."""
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
    """Return the error bound of log(sum(e^(z - max))), in units."""
    z = np.asarray(z, np.longdouble)
    logarithm = reference.logsumexp(z - z.max(axis=-1, keepdims=True))
    return (height(z.shape[-1]) + 4.2) * logarithm + np.finfo(dtype).tiny


# --- losses.h: bounds of each term's loss and of its derivative, in units ---


def cross_entropy(z: Array, targets: Array, dtype: type[np.floating], label_smoothing: float = 0.0) -> tuple[Array, Array]:
    t = reference.target_probabilities(targets, z, label_smoothing)
    logarithms = np.abs(reference.log_softmax(z)) + of_logarithm(z, dtype)[..., np.newaxis]
    losses = np.where(t == 0, 0, t * logarithms).sum(axis=-1)
    h = height(z.shape[-1])
    if targets.ndim < z.ndim and not label_smoothing:
        return losses, (h + 7) * np.abs(reference.cross_entropy(z, targets)[1])
    total, p = t.sum(axis=-1, keepdims=True), reference.softmax(z)
    return (h + 4) * losses, (h + 7) * total * np.minimum(p, 1 - p) + (h + 2) * (total + t)


def binary_cross_entropy(z: Array, y: Array, dtype: type[np.floating], pos_weight: float = 1.0) -> tuple[Array, Array]:
    losses, _ = reference.binary_cross_entropy(z, y, pos_weight)
    y = np.asarray(y, np.longdouble)
    return 8 * losses, 10 * ((1 - y) * reference.sigmoid(z) + pos_weight * y * reference.sigmoid(-z))


def squared_error(z: Array, y: Array, dtype: type[np.floating]) -> tuple[Array, Array]:
    losses, gradient = reference.squared_error(z, y)
    return 3 * losses, np.abs(gradient)


def absolute_error(z: Array, y: Array, dtype: type[np.floating]) -> tuple[Array, Array]:
    losses, gradient = reference.absolute_error(z, y)
    return losses, 0 * gradient


def huber(z: Array, y: Array, dtype: type[np.floating], delta: float = 1.0) -> tuple[Array, Array]:
    losses, gradient = reference.huber(z, y, delta)
    return 6 * losses, np.abs(gradient)


def poisson(z: Array, y: Array, dtype: type[np.floating]) -> tuple[Array, Array]:
    losses, gradient = reference.poisson(z, y)
    return 1.6 * reference.exp(z) + np.abs(losses), 1.6 * reference.exp(z) + np.abs(gradient)


LOSSES = {
    function.__name__: function
    for function in (cross_entropy, binary_cross_entropy, squared_error, absolute_error, huber, poisson)
}


def loss(
    name: str,
    outputs: Array,
    targets: Array,
    dtype: type[np.floating],
    *,
    sample_weight: Array | None = None,
    reduction: str = "mean",
    **options: float,
) -> list[Array]:
    """Return bounds for a loss and its gradient: terms, weights, sum in double, last rounding."""
    terms = LOSSES[name](outputs, targets, dtype, **options)
    exact = [np.abs(array) for array in reference.LOSSES[name](outputs, targets, **options)]
    weights = 0 if sample_weight is None and reduction != "mean" else 2
    # Sums of losses and of weights, in double: 8 partial sums per block of 256 rows, and a tree of
    # blocks.
    rows = outputs.shape[0]
    path = -(-min(rows, 256) * exact[0].size // rows // 8) + 3 + height(-(-rows // 256))
    in_double = path * unit(np.float64) / unit(dtype)
    of_losses = 0 if reduction == "none" else 1 + in_double
    of_weights = in_double if sample_weight is not None and reduction == "mean" else 0
    results = []
    for term, magnitude, roundings in zip(
        reference.reduced(*terms, sample_weight, reduction),
        reference.reduced(*exact, sample_weight, reduction),
        (weights + of_losses + of_weights, weights + of_weights),
        strict=True,
    ):
        error = unit(dtype) * (term + roundings * magnitude + np.finfo(unit(dtype).dtype).tiny)
        results.append(error + rounding(magnitude, dtype))
    return results


# --- gradients.h ---


def gradient_sum(a: Array, b: Array, dtype: type[np.floating]) -> Array:
    """Return the bound for the sum a^T b over rows: a chain per block of 256, a tree of blocks."""
    rows = len(a)
    path = min(rows, 256) + height(-(-rows // 256))
    return path * unit(dtype) * (np.abs(a).astype(np.longdouble).T @ np.abs(b).astype(np.longdouble))
