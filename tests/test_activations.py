"""relu, sigmoid, tanh and the exponential of softmax: accuracy, special values, every length and layout."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpmath import mp
from numpy.typing import NDArray

import nnkernels as nnk
import reference
from nnkernels import _core
from ulp import same_bits, ulp_error

FUNCTIONS = (nnk.relu, nnk.sigmoid, nnk.tanh, _core.exp)
CURVES = (nnk.sigmoid, nnk.tanh, _core.exp)

# The promised largest errors; float16 results are the float32 ones rounded once.
PROMISED_ULP = {np.float16: 0.501, np.float32: 0.8, np.float64: 1.0}


def stratified(dtype: type[np.floating], count: int = 1 << 20) -> NDArray[Any]:
    """Return numbers from the whole range of a dtype: all of float16, or equally many of each exponent and sign."""
    bits = np.dtype(dtype).itemsize * 8
    step = max(1, (1 << bits) // count)
    rng = np.random.default_rng(7)
    indices = np.arange(0, 1 << bits, step, dtype=np.uint64)
    return (indices + rng.integers(0, step, indices.size, dtype=np.uint64)).astype(f"u{bits // 8}").view(dtype)


def around_seams(dtype: type[np.floating]) -> NDArray[Any]:
    """Return numbers beside every multiple of log(2)/32, where the exponential changes its row of a table, and their halves."""
    seams = np.arange(-35200, 35200) * (np.log(np.longdouble(2)) / 32)
    near = [np.asarray(seams, dtype)]
    for _ in range(3):
        near.append(np.nextafter(near[-1], np.array(np.inf, dtype)))
    near += [np.nextafter(near[0], np.array(-np.inf, dtype))]
    return np.concatenate([*near, *(n / 2 for n in near)])


def exact_results(function: np.ufunc, x: NDArray[Any]) -> NDArray[Any]:
    """Return the reference's results in extended precision."""
    with np.errstate(all="ignore"):
        return getattr(reference, function.__name__)(x)


@pytest.mark.parametrize("function", CURVES, ids=lambda f: f.__name__)
def test_accuracy(function: np.ufunc, measured_dtype: type[np.floating]) -> None:
    x = np.concatenate(
        [stratified(measured_dtype), around_seams(measured_dtype), np.linspace(-20, 20, 200_001).astype(measured_dtype)]
    )
    error = ulp_error(function(x), exact_results(function, x))
    assert error.max() <= PROMISED_ULP[measured_dtype], f"{error.max()} ULP at {x[error.argmax()]!r}"


EXACT: dict[str, Callable[[Any], Any]] = {
    "exp": mp.exp,
    "tanh": mp.tanh,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
}
INVERSE: dict[str, Callable[[Any], Any]] = {
    "exp": mp.log,
    "tanh": mp.atanh,
    "sigmoid": lambda y: mp.log(y / (1 - y)),
}


def halfway_points(name: str, rng: np.random.Generator) -> list[Any]:
    """Return numbers halfway between two float64 where a step of x is much smaller than theirs, so that some x comes near."""
    odd = [2 * int(k) + 1 for k in (*range(50), *rng.integers(0, 2**20, 100))]
    least = [mp.ldexp(k, -1075) for k in odd]
    below_one = [1 - mp.ldexp(k, -54) for k in odd]
    return {
        "exp": [1 + mp.ldexp(k, -53) for k in odd] + below_one + least,
        "sigmoid": [(1 + mp.ldexp(k, -53)) / 2 for k in odd] + below_one + least,
        "tanh": below_one,
    }[name]


def hard_doubles(name: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return float64 numbers where a function is hard to compute, and their neighbours."""
    mp.prec = 1200  # for 1 - 2**-1075
    halfway = np.array([float(INVERSE[name](y)) for y in halfway_points(name, rng)])
    mp.prec = 160
    # tanh(x) = x - x^3/3 is halfway between two numbers where x^3/3 is an odd multiple of half an ULP of x.
    small = 2.0 ** rng.uniform(-27, -14, 300)
    unit = np.spacing(small)
    cubes = np.cbrt((2 * np.floor(small**3 / 3 / unit) + 1) * 1.5 * unit)
    seams = rng.integers(-69000, 66000, 300) * (np.log(2) / 64)
    # The overflow edge, the first subnormal and the last positive result; where tanh and sigmoid round to 1, and where the
    # kernels begin to say so themselves; the largest errors that are known.
    edges = [
        709.782712893384,
        -708.3964185322641,
        -745.1332191019411,
        -744.4400719213812,
        19.061547465398498,
        18.54,
        36.7368005696771,
        float.fromhex("0x1.6a69e26b3c81cp-3"),
        float.fromhex("0x1.6236e6843b9cdp+9"),
    ]
    x = np.concatenate([halfway, cubes, -cubes, seams, seams / 2, edges, np.negative(edges)])
    return np.concatenate([np.nextafter(x, -np.inf), x, np.nextafter(x, np.inf)])


@pytest.mark.parametrize("function", CURVES, ids=lambda f: f.__name__)
def test_float64_against_mpmath(function: np.ufunc, rng: np.random.Generator) -> None:
    x = np.concatenate(
        [
            hard_doubles(function.__name__, rng),
            rng.uniform(-745, 709, 500),
            rng.uniform(-1, 1, 500),
            rng.uniform(-20, 20, 500),
            2.0 ** rng.uniform(-60, 0, 500),
        ]
    )
    with np.errstate(over="ignore"):
        y = function(x)
        estimates = exact_results(function, x)
    for argument, result, estimate in zip(x, y, estimates, strict=True):
        value = EXACT[function.__name__](mp.mpf(float(argument)))
        per_ulp = 52 - max(mp.frexp(value)[1] - 1, -1022)
        if np.isinf(result):
            assert value >= mp.ldexp(2 - mp.ldexp(1, -53), 1023), f"at {argument!r}"
        else:
            assert mp.ldexp(abs(mp.mpf(float(result)) - value), per_ulp) <= PROMISED_ULP[np.float64], f"at {argument!r}"
        # The long doubles that the other tests and tests/accuracy.cpp trust; two doubles hold all of one.
        if np.finfo(np.longdouble).nmant > 52:
            mantissa, exponent = np.frexp(estimate)
            high = float(mantissa)
            error = mp.ldexp(mp.mpf(high) + mp.mpf(float(mantissa - high)), int(exponent)) - value
            assert mp.ldexp(abs(error), per_ulp) <= 2**-8, f"the reference at {argument!r}"


def test_an_error_of_zero_is_measured() -> None:
    """Where the exact result is 0 an ULP is the least subnormal."""
    for dtype in PROMISED_ULP:
        least = np.finfo(dtype).smallest_subnormal
        assert ulp_error(np.array([least, 3 * least]), np.zeros(2)).tolist() == [1, 3]


@pytest.mark.parametrize("function", CURVES, ids=lambda f: f.__name__)
def test_float16_is_float32_rounded_once(function: np.ufunc) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(over="ignore"):
        expected = function(x.astype(np.float32)).astype(np.float16)
    assert same_bits(function(x), expected)


def test_relu(dtype: type[np.floating]) -> None:
    x = stratified(dtype, 1 << 16)
    assert same_bits(nnk.relu(x), reference.relu(x).astype(dtype))


@pytest.mark.parametrize("code", "?bBhHiIlLqQ")
def test_relu_keeps_integers(code: str, rng: np.random.Generator) -> None:
    for n in (0, 1, 15, 64, 1001):
        x = rng.integers(0, 256, n * np.dtype(code).itemsize, dtype=np.uint8).view(np.uint8 if code == "?" else code)
        x = x.astype(code)
        assert same_bits(nnk.relu(x), np.maximum(x, np.zeros((), code)))
        assert same_bits(nnk.relu(x[::-2]), np.maximum(x[::-2], np.zeros((), code)))


def test_special_values(dtype: type[np.floating]) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    expected = {
        nnk.relu: [0.0, 0.0, np.inf, 0.0, np.nan],
        nnk.sigmoid: [0.5, 0.5, 1.0, 0.0, np.nan],
        nnk.tanh: [0.0, -0.0, 1.0, -1.0, np.nan],
        _core.exp: [1.0, 1.0, np.inf, 0.0, np.nan],
    }
    with np.errstate(all="raise"):
        for function, values in expected.items():
            for length in (5, 80):  # the loop's body and its tail
                assert same_bits(function(np.resize(x, length)), np.resize(np.array(values, dtype), length)), function


def test_tiny_inputs(dtype: type[np.floating]) -> None:
    info = np.finfo(dtype)
    tiny = np.array([1, 2, 3, 1000]) * info.smallest_subnormal
    x = np.concatenate([tiny, -tiny, [info.tiny, -info.tiny]]).astype(dtype)
    with np.errstate(all="raise"):
        assert same_bits(nnk.tanh(x), x)
        assert same_bits(nnk.sigmoid(x), np.full_like(x, 0.5))


def test_sigmoid_underflows_gradually() -> None:
    x = np.arange(-104, -87, 0.001, dtype=np.float32)
    y = nnk.sigmoid(x)
    assert (y[x > -103] > 0).all()
    assert np.unique(y[y < np.finfo(np.float32).tiny]).size > 5000


@pytest.mark.parametrize("function", CURVES, ids=lambda f: f.__name__)
def test_monotone(function: np.ufunc, dtype: type[np.floating]) -> None:
    x = np.unique(np.concatenate([stratified(dtype), around_seams(dtype)]))
    x = x[~np.isnan(x)]
    with np.errstate(over="ignore"):
        x = np.unique(np.concatenate([x, np.nextafter(x, np.array(np.inf, dtype))]))
    y = function(x)
    assert (y[1:] >= y[:-1]).all()
    low, high = {"sigmoid": (0, 1), "tanh": (-1, 1), "exp": (0, np.inf)}[function.__name__]
    assert y[0] == low
    assert y[-1] == high


def test_tanh_is_odd(dtype: type[np.floating]) -> None:
    x = stratified(dtype)
    assert same_bits(nnk.tanh(-x), -nnk.tanh(x))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_length_and_misalignment(function: np.ufunc, dtype: type[np.floating], rng: np.random.Generator) -> None:
    longest = 2 * 64 // np.dtype(dtype).itemsize + 3
    x = rng.normal(0, 3, longest + 9).astype(dtype)
    one_by_one = np.array([function(value) for value in x], dtype)
    for offset in range(9):
        for n in range(longest):
            out = np.full(n + 2, 77, dtype)
            function(x[offset : offset + n], out=out[1:-1])
            assert same_bits(out[1:-1], one_by_one[offset : offset + n])
            assert out[0] == 77
            assert out[-1] == 77


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_layouts(function: np.ufunc, dtype: type[np.floating], rng: np.random.Generator) -> None:
    x = rng.normal(0, 3, (37, 2051)).astype(dtype)
    expected = function(x)
    for view in (np.s_[::-1], np.s_[::2, ::3], np.s_[:, ::-1], np.s_[5], np.s_[:, 7], np.s_[0:0], np.s_[..., np.newaxis]):
        assert same_bits(function(x[view]), np.ascontiguousarray(expected[view]))
        assert same_bits(function(x.T[view]), np.ascontiguousarray(expected.T[view]))
    assert same_bits(function(np.asfortranarray(x)), expected)
    assert same_bits(function(np.broadcast_to(x[0], x.shape)), np.broadcast_to(expected[0], x.shape))
    assert same_bits(function(x.astype(x.dtype.newbyteorder())), expected)
    shifted = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(dtype).reshape(x.shape)
    assert not shifted.flags.aligned
    assert same_bits(function(shifted), expected)
    strided_out = np.empty((37, 2 * 2051), dtype)[:, ::2]
    assert same_bits(np.array(function(x, out=strided_out)), expected)
    in_place = x.copy()
    function(in_place, out=in_place)
    assert same_bits(in_place, expected)
    overlapping = np.concatenate([x[0], x[0, :1]])
    function(overlapping[:-1], out=overlapping[1:])
    assert same_bits(overlapping[1:], expected[0])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shift", [1, 100_000, 262_144])
def test_overlapping_output_with_threads(shift: int, rng: np.random.Generator) -> None:
    """NumPy does not copy an input that runs ahead of the output: its own loops go through them in order."""
    nnk.set_num_threads(4)
    memory = rng.normal(0, 3, 1_200_000).astype(np.float32)
    for source, target in ((np.s_[shift:], np.s_[:-shift]), (np.s_[:-shift], np.s_[shift:]), (np.s_[::2], np.s_[:600_000])):
        for function in (nnk.relu, nnk.tanh):
            expected = function(memory[source].copy())
            shared = memory.copy()
            function(shared[source], out=shared[target])
            assert same_bits(shared[target].copy(), expected)


def test_promotion_is_that_of_tanh() -> None:
    for code in "?bBhHiIlLqQefd":
        x = np.ones(3, code)
        assert nnk.tanh(x).dtype == nnk.sigmoid(x).dtype == np.tanh(x).dtype
        assert nnk.relu(x).dtype == np.maximum(x, np.zeros((), code)).dtype
    for code in "gFDGO":
        for function in (nnk.relu, nnk.sigmoid, nnk.tanh):
            with pytest.raises(TypeError):
                function(np.ones(3, code))


def test_tutorial() -> None:
    z = np.array([-2.0, -0.5, 0.0, 1.0, 3.0])
    np.testing.assert_array_max_ulp(nnk.sigmoid(z), 1 / (1 + np.exp(-z)), 2)
    np.testing.assert_array_max_ulp(nnk.tanh(z), np.tanh(z), 2)
    assert nnk.relu(z).tolist() == [0, 0, 0, 1, 3]
