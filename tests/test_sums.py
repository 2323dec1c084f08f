"""Errors of sums: within their bounds on hard data, and no larger than NumPy's on random data."""

import math
import os
import platform
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import bounds
import nnkernels as nnk
import reference
from ulp import ulp_error

Array = NDArray[Any]

LENGTHS = (1, 2, 3, 63, 64, 65, 1023, 1024, 1025, 5000)

# Numbers so large that adding 1 changes nothing, but whose products with the other numbers here are
# finite.
LARGE = {np.float16: 1e4, np.float32: 1e30, np.float64: 1e100}

ROW_FUNCTIONS = (nnk.softmax, nnk.log_softmax, nnk.logsumexp)


def hard_terms(n: int, dtype: type[np.floating]) -> dict[str, Array]:
    """Return vectors of n elements with hard sums, one of each kind."""
    rng = np.random.default_rng(n)
    signs = np.where(np.arange(n) % 2 == 0, 1, -1)
    half = rng.normal(0, 1, n // 2)
    graded = 2.0 ** -np.linspace(0, -np.finfo(dtype).minexp, n)
    beside = np.ones(n)
    beside[[n // 3, -1]] = LARGE[dtype], -LARGE[dtype]
    vectors = {
        "equal": np.full(n, 0.01),
        "cancels": rng.permutation(np.concatenate([half, -half, np.full(n % 2, 1e-3)])),
        "large beside 1": beside,
        "graded": graded,
        "graded from small to large": graded[::-1],
        "graded and alternating": graded * signs,
        "alternating": 0.1 * signs,
        "alternating, large": (1 + rng.uniform(0, 1e-3, n)) * LARGE[dtype] * signs,
    }
    return {name: vector.astype(dtype) for name, vector in vectors.items()}


def exact_sum_of_products(x: Array, weights: Array, bias: float = 0) -> float:
    """Return the exact sum, rounded once to a double."""
    x, weights = x.astype(np.float64), weights.astype(np.float64)
    products = x * weights
    # The rounding error of a product (T. J. Dekker, "A floating-point technique for extending the
    # available precision", 1971): 0 for floats.
    (x_high, x_low), (weights_high, weights_low) = halves(x), halves(weights)
    low = ((x_high * weights_high - products) + x_high * weights_low + x_low * weights_high) + x_low * weights_low
    return math.fsum([*products.tolist(), *low.tolist(), bias])


def halves(x: Array) -> tuple[Array, Array]:
    """Split doubles into two parts of 26 bits each."""
    scaled = x * (2.0**27 + 1)
    high = scaled - (scaled - x)
    return high, x - high


def assert_within(actual: Any, exact: Any, bound: Array, dtype: type[np.floating], name: str) -> None:
    with np.errstate(over="ignore"):
        rounded = np.asarray(exact).astype(dtype)
    error = np.abs(np.asarray(actual).astype(np.longdouble) - exact)
    assert ((error <= bound) | (np.asarray(actual) == rounded)).all(), f"{name}: {np.max(error / bound)} of the bound"


def moderate(vectors: dict[str, Array]) -> dict[str, Array]:
    """Return the vectors whose products with large numbers are finite, and a vector of ones."""
    (n,) = vectors["equal"].shape
    kept = {name: vector for name, vector in vectors.items() if "large" not in name}
    return {**kept, "ones": np.ones(n, vectors["equal"].dtype)}


@pytest.mark.parametrize("n", LENGTHS)
def test_hard_dot(dtype: type[np.floating], n: int) -> None:
    vectors = hard_terms(n, dtype)
    for x_name, x in vectors.items():
        for weights_name, weights in moderate(vectors).items():
            with np.errstate(over="ignore"):  # float16 may overflow
                actual = nnk.dot(x, weights)
            exact = exact_sum_of_products(x, weights)
            assert_within(actual, exact, bounds.dot(x, weights, dtype), dtype, f"{x_name} x {weights_name}")


@pytest.mark.parametrize("n", LENGTHS)
def test_hard_dense(dtype: type[np.floating], n: int) -> None:
    vectors = hard_terms(n, dtype)
    x, weights = np.stack(list(vectors.values())), np.stack(list(moderate(vectors).values()))
    bias = np.where(np.arange(len(weights)) % 2 == 0, LARGE[dtype], -1).astype(dtype)
    with np.errstate(over="ignore"):
        actual = nnk.dense(x, weights, bias)
    exact = np.array([[exact_sum_of_products(row, *neuron) for neuron in zip(weights, bias, strict=True)] for row in x])
    assert_within(actual, exact, bounds.dense(x, weights, bias, dtype), dtype, str(list(vectors)))


def test_a_million_equal_terms(dtype: type[np.floating]) -> None:
    n = 1_000_000
    for value in (1, 0.01, 1 / 3):
        x, weights, bias = np.full(n, 0.01, dtype), np.full((1, n), value, dtype), np.ones(1, dtype)
        exact = n * Fraction(float(x[0])) * Fraction(float(weights[0, 0]))
        assert_within(nnk.dot(x, weights[0]), float(exact), bounds.dot(x, weights[0], dtype), dtype, "dot")
        assert_within(nnk.dense(x, weights, bias), float(exact + 1), bounds.dense(x, weights, bias, dtype), dtype, "dense")


def hard_logits(n: int, dtype: type[np.floating]) -> dict[str, Array]:
    """Return rows of n logits with hard exponentials, sums or logarithms."""
    rng = np.random.default_rng(n)
    info = np.finfo(dtype)
    lowest = np.log(float(info.smallest_subnormal))
    beside = np.ones(n)
    beside[n // 2] = LARGE[dtype]
    rows = {
        "equal": np.full(n, 0.1),
        "equal, of logarithm 0": np.full(n, -np.log(n)),
        "almost of logarithm 0": -np.log(n) + rng.normal(0, 1e-3, n),
        "large beside 1": beside,
        "1 beside large": LARGE[dtype] - beside,
        "graded": np.linspace(0, lowest, n),
        "graded around 0": np.linspace(-lowest, lowest, n) / 2,
        "alternating": np.where(np.arange(n) % 2 == 0, 3, -3),
        "alternating, large": np.where(np.arange(n) % 2 == 0, LARGE[dtype], -LARGE[dtype]),
        "far from 0": rng.normal(0, 3, n) - 200,
    }
    return {name: row.astype(dtype) for name, row in rows.items()} | {
        "all sums round down": one_and_halves(n, dtype, 0.99),
        "all sums round up": one_and_halves(n, dtype, 1.01),
    }


def one_and_halves(n: int, dtype: type[np.floating], factor: float) -> Array:
    """Return logits whose exponentials are 1, about half an ULP of 1, or 0.

    In the summation tree (cpp/kernels/sum.h), elements 1, 2, 4, 8, ... are added to element 0. Their
    exponentials are `factor` times half an ULP.
    """
    row = np.full(n, -1000.0)
    row[2 ** np.arange(bounds.height(n))] = np.log(float(bounds.unit(dtype)) * factor)
    row[0] = 0
    return row.astype(dtype)


@pytest.mark.parametrize("n", [*LENGTHS, 20_000])
@pytest.mark.parametrize("function", ROW_FUNCTIONS, ids=lambda f: f.__name__)
def test_hard_logits(function: Any, measured_dtype: type[np.floating], n: int) -> None:
    rows = hard_logits(n, measured_dtype)
    for name in rows:
        exact = getattr(reference, function.__name__)(rows[name])
        bound = getattr(bounds, function.__name__)(rows[name], exact, measured_dtype)
        assert_within(function(rows[name]), exact, bound, measured_dtype, name)


def test_the_bound_of_softmax_is_no_larger_than_it_must_be() -> None:
    """These rows reach the stated error of sums, an ULP for each doubling of the length."""
    for n in (2, 10, 64, 1000, 1024, 100_000):
        error = ulp_error(
            nnk.softmax(one_and_halves(n, np.float32, 0.99)), reference.softmax(one_and_halves(n, np.float32, 0.99))
        )
        assert error.max() > 0.98 * bounds.height(n)
    # Bounds stated in cpp/kernels/softmax.h and python/docs/accuracy.md.
    for n, stated in ((2, 1.4), (10, 4.3), (1000, 10.2)):
        rows = [one_and_halves(n, np.float32, factor) for factor in (0.99, 1.01)]
        assert stated - 0.1 < max(ulp_error(nnk.softmax(row), reference.softmax(row)).max() for row in rows) <= stated


def rms(error: Array) -> float:
    return float(np.sqrt(np.mean(error.astype(np.float64) ** 2)))


# Only with NumPy's kernels for this CPU, and only on x86-64: others were not measured.
beside_numpy = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or "OPENBLAS_CORETYPE" in os.environ, reason="NumPy has other kernels here"
)


def assert_no_larger(ours: Any, numpys: Any, exact: Array, scale: Array, most: float = 1.05) -> None:
    """Assert that our root mean square error, relative to a scale, is no larger than NumPy's.

    A tolerance of 5% allows for chance if both are alike. Measured differences are 0.4% with
    NumPy's kernels for AVX-512, and 4% with its kernels for AVX2.
    """
    ratio = rms((np.asarray(ours) - exact) / scale) / rms((np.asarray(numpys) - exact) / scale)
    assert ratio <= most, f"{ratio:.4f} of NumPy's error"


@beside_numpy
@pytest.mark.parametrize("n", [2, 7, 8, 31, 32, 64, 100, 784, 1024, 4096])
def test_dot_beside_numpy(n: int, measured_dtype: type[np.floating], rng: np.random.Generator) -> None:
    x, weights = rng.normal(0, 1, (2, max(256, 400_000 // n), n)).astype(measured_dtype)
    exact, scale = reference.dot(x, weights), reference.dot(np.abs(x), np.abs(weights))
    assert_no_larger(nnk.dot(x, weights), np.vecdot(x, weights), exact, scale)


# Except for few outputs, where NumPy uses many more partial sums than our four chains.
@beside_numpy
@pytest.mark.parametrize(
    ("outputs", "inputs", "most"),
    [
        *((64, 64, 1.05), (128, 256, 1.05), (32, 784, 1.05), (128, 784, 1.05), (64, 1024, 1.05), (64, 2100, 1.05)),
        *((1, 784, 2), (10, 256, 2), (10, 784, 2), (18, 784, 2), (10, 1024, 2)),
    ],
)
def test_dense_beside_numpy(
    outputs: int, inputs: int, most: float, measured_dtype: type[np.floating], rng: np.random.Generator
) -> None:
    x = rng.normal(0, 1, (64, inputs)).astype(measured_dtype)
    layers = rng.normal(0, 1, (max(1, 100 // outputs), outputs, inputs)).astype(measured_dtype)
    zeros = np.zeros(outputs)
    exact = np.stack([reference.dense(x, weights, zeros) for weights in layers])
    scale = np.stack([reference.dense(np.abs(x), np.abs(weights), zeros) for weights in layers])
    ours = np.stack([nnk.dense(x, weights) for weights in layers])
    assert_no_larger(ours, np.stack([x @ weights.T for weights in layers]), exact, scale, most)


def numpy_softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def numpy_logsumexp(z: Array) -> Array:
    largest = z.max(axis=-1, keepdims=True)
    return largest[..., 0] + np.log(np.exp(z - largest).sum(axis=-1))


def numpy_log_softmax(z: Array) -> Array:
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


NUMPYS = {nnk.softmax: numpy_softmax, nnk.logsumexp: numpy_logsumexp, nnk.log_softmax: numpy_log_softmax}


@beside_numpy
@pytest.mark.parametrize("n", [2, 10, 100, 1000, 5000])
@pytest.mark.parametrize("function", ROW_FUNCTIONS, ids=lambda f: f.__name__)
def test_softmax_beside_numpy(function: Any, n: int, measured_dtype: type[np.floating], rng: np.random.Generator) -> None:
    for deviation in (1, 10):
        z = rng.normal(0, deviation, (max(64, 40_000 // n), n)).astype(measured_dtype)
        exact = getattr(reference, function.__name__)(z)
        scale = np.maximum(np.abs(exact), np.finfo(measured_dtype).tiny)
        assert_no_larger(function(z), NUMPYS[function](z), exact, scale)
