"""The element-wise activations: accuracy, special values, every length and layout, options."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mpmath import mp
from numpy.typing import NDArray

import nnkernels as nnk
import reference
from ulp import same_bits, ulp_error

Function = Callable[..., Any]

FUNCTIONS: dict[str, Function] = {
    "relu": nnk.relu,
    "sigmoid": nnk.sigmoid,
    "tanh": nnk.tanh,
    "exp": nnk.exp,
    "leaky_relu": nnk.leaky_relu,
    "elu": nnk.elu,
    "silu": nnk.silu,
    "gelu": nnk.gelu,
    "gelu_tanh": partial(nnk.gelu, approximate="tanh"),
    "softplus": nnk.softplus,
}
CURVES = tuple(name for name in FUNCTIONS if name not in ("relu", "leaky_relu"))
UFUNCS = [name for name, function in FUNCTIONS.items() if isinstance(function, np.ufunc)]
KEEP_MINUS_0 = ("tanh", "leaky_relu", "elu", "silu", "gelu", "gelu_tanh")

# The promised largest errors; float16 results are the float32 ones rounded once.
PROMISED_ULP = {np.float16: 0.501, np.float32: 1.0, np.float64: 1.5}
OLDER_ULP = {np.float16: 0.501, np.float32: 0.8, np.float64: 1.0}
NORMAL_EXP_ULP = 0.57  # for normal float32 results of exp


def promised_ulp(name: str, dtype: Any) -> float:
    return (OLDER_ULP if name in ("exp", "sigmoid", "tanh") else PROMISED_ULP)[dtype]


def stratified(dtype: type[np.floating], count: int = 1 << 17) -> NDArray[Any]:
    """Return numbers of the whole range: all float16, or equally many of each exponent and sign."""
    bits = np.dtype(dtype).itemsize * 8
    step = max(1, (1 << bits) // count)
    rng = np.random.default_rng(7)
    indices = np.arange(0, 1 << bits, step, dtype=np.uint64)
    return (indices + rng.integers(0, step, indices.size, dtype=np.uint64)).astype(f"u{bits // 8}").view(dtype)


def around_seams(dtype: type[np.floating]) -> NDArray[Any]:
    """Return numbers beside multiples of log(2)/32, where exp changes its table row; and halves.

    All multiples with finite nonzero results; in float64 every 7th, which still meets all 32 rows.
    """
    last = 32 * (2 - np.finfo(dtype).minexp + np.finfo(dtype).nmant)
    seams = np.arange(-last, last, 7 if dtype is np.float64 else 1) * (np.log(np.longdouble(2)) / 32)
    near = [np.asarray(seams, dtype)]
    for _ in range(3):
        near.append(np.nextafter(near[-1], np.array(np.inf, dtype)))
    near += [np.nextafter(near[0], np.array(-np.inf, dtype))]
    return np.concatenate([*near, *(n / 2 for n in near)])


def around_rows(dtype: type[np.floating]) -> NDArray[Any]:
    """Return numbers around 0 and beside each change of row in a table of polynomials."""
    uniform = (np.arange(16) + 0.5) / 1.5625
    binades = np.outer(2.0 ** np.arange(6), 1 + np.arange(4) / 4).ravel() - 1
    places = np.concatenate([uniform, binades, [9.875]]).astype(dtype)
    step = np.finfo(dtype).eps * np.arange(-40, 41)
    near_zero = np.geomspace(1e-7, 0.5, 100_001)
    x = np.concatenate([np.outer(places, 1 + step / 2).ravel(), near_zero]).astype(dtype)
    return np.concatenate([-x, x])


def exact_results(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """Return the reference results in extended precision."""
    with np.errstate(all="ignore"):
        return reference.ACTIVATIONS[name](x)


@pytest.mark.parametrize("name", CURVES)
def test_accuracy(name: str, measured_dtype: type[np.floating]) -> None:
    if measured_dtype is np.float64 and name in ("gelu", "gelu_tanh"):
        pytest.skip("beside mpmath alone: long doubles do not hold what is lost of the exponent")
    x = np.concatenate(
        [
            *(stratified(measured_dtype), around_seams(measured_dtype), around_rows(measured_dtype)),
            np.linspace(-20, 20, 50_001).astype(measured_dtype),
        ]
    )
    y = FUNCTIONS[name](x)
    error = ulp_error(y, exact_results(name, x))
    assert error.max() <= promised_ulp(name, measured_dtype), f"{error.max()} ULP at {x[error.argmax()]!r}"
    if name == "exp" and measured_dtype is np.float32:
        assert error[y >= np.finfo(np.float32).tiny].max() <= NORMAL_EXP_ULP


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh", "softplus", "elu", "exp"])
def test_accuracy_of_the_least_results(name: str) -> None:
    """Errors relative to normal results; for subnormal results, in units of the least subnormal."""
    x = -np.concatenate([np.linspace(0, 110, 100_001), np.geomspace(1e-38, 1e-3, 20_001)]).astype(np.float32)
    y, exact = FUNCTIONS[name](x), exact_results(name, x)
    error = ulp_error(y, exact)
    assert error.max() <= promised_ulp(name, np.float32), f"{error.max()} ULP at {x[error.argmax()]!r}"
    assert (y[np.abs(exact) > np.finfo(np.float32).smallest_subnormal] != 0).all()


@pytest.mark.parametrize("alpha", [0.7, 1e-30, 3.5e5, -0.3, 0.0])
def test_accuracy_of_elu_with_other_options(alpha: float, measured_dtype: type[np.floating]) -> None:
    if measured_dtype is np.float16 and not 0 < abs(alpha) < 1:
        pytest.skip("float16 holds no such results")
    x = np.concatenate([stratified(measured_dtype), np.linspace(-20, 20, 50_001).astype(measured_dtype)])
    rounded = np.float64(np.float32(alpha)) if measured_dtype is not np.float64 else alpha
    x = x[~np.isnan(x)]
    error = ulp_error(nnk.elu(x, alpha), reference.elu(x, rounded))
    assert error.max() <= PROMISED_ULP[measured_dtype], f"{error.max()} ULP at {x[error.argmax()]!r}"


@pytest.mark.parametrize("slope", [0.01, 0.2, -0.5, 0.0, 3.0])
def test_leaky_relu_rounds_one_product(slope: float, dtype: type[np.floating]) -> None:
    x = stratified(dtype, 1 << 16)
    compute = np.float64 if dtype is np.float64 else np.float32
    with np.errstate(all="ignore"):
        expected = np.where(x > 0, x, (compute(slope) * x.astype(compute)).astype(dtype))
    assert same_bits(nnk.leaky_relu(x, slope), expected)


EXACT: dict[str, Callable[[Any], Any]] = {
    "exp": mp.exp,
    "tanh": mp.tanh,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "elu": lambda x: x if x > 0 else mp.expm1(x),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x / (1 + mp.exp(-2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
}
INVERSE: dict[str, Callable[[Any], Any]] = {
    "exp": mp.log,
    "tanh": mp.atanh,
    "sigmoid": lambda y: mp.log(y / (1 - y)),
}


def halfway_points(name: str, rng: np.random.Generator) -> list[Any]:
    """Return midpoints of two float64 results, where x is so fine that some f(x) comes near."""
    odd = [2 * int(k) + 1 for k in (*range(50), *rng.integers(0, 2**20, 100))]
    least = [mp.ldexp(k, -1075) for k in odd]
    below_one = [1 - mp.ldexp(k, -54) for k in odd]
    return {
        "exp": [1 + mp.ldexp(k, -53) for k in odd] + below_one + least,
        "sigmoid": [(1 + mp.ldexp(k, -53)) / 2 for k in odd] + below_one + least,
        "tanh": below_one,
    }[name]


def hard_doubles(name: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return float64 numbers that are hard cases of a function, and their neighbours."""
    mp.prec = 1200  # for 1 - 2**-1075
    halfway = np.array([float(INVERSE[name](y)) for y in halfway_points(name, rng)] if name in INVERSE else [])
    mp.prec = 160
    # tanh(x) = x - x^3/3 is a midpoint of two numbers if x^3/3 is an odd multiple of half an ULP of
    # x.
    small = 2.0 ** rng.uniform(-27, -14, 300)
    unit = np.spacing(small)
    cubes = np.cbrt((2 * np.floor(small**3 / 3 / unit) + 1) * 1.5 * unit)
    seams = rng.integers(-69000, 66000, 300) * (np.log(2) / 64)
    # The overflow edge, the first subnormal and the last positive result; where tanh and sigmoid
    # round to 1, and where the kernels return 1 without computing; the largest known errors.
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


@pytest.mark.parametrize("name", CURVES)
def test_float64_against_mpmath(name: str, rng: np.random.Generator) -> None:
    x = np.concatenate(
        [
            hard_doubles(name, rng),
            rng.uniform(-745, 709, 500),
            rng.uniform(-1, 1, 500),
            rng.uniform(-20, 20, 500),
            rng.uniform(-38.6, -5, 500),
            2.0 ** rng.uniform(-60, 0, 500),
            -(2.0 ** rng.uniform(-60, 0, 500)),
        ]
    )
    with np.errstate(over="ignore"):
        y = FUNCTIONS[name](x)
        estimates = exact_results(name, x)
    for argument, result, estimate in zip(x, y, estimates, strict=True):
        value = EXACT[name](mp.mpf(float(argument)))
        per_ulp = 52 - max(mp.frexp(value)[1] - 1, -1022)
        if np.isinf(result):
            assert value >= mp.ldexp(2 - mp.ldexp(1, -53), 1023), f"at {argument!r}"
        else:
            assert mp.ldexp(abs(mp.mpf(float(result)) - value), per_ulp) <= promised_ulp(name, np.float64), f"at {argument!r}"
        # Also check the long double references of other tests and tests/accuracy.cpp. Two doubles
        # represent a long double exactly.
        if np.finfo(np.longdouble).nmant > 52 and name not in ("gelu", "gelu_tanh"):
            mantissa, exponent = np.frexp(estimate)
            high = float(mantissa)
            error = mp.ldexp(mp.mpf(high) + mp.mpf(float(mantissa - high)), int(exponent)) - value
            assert mp.ldexp(abs(error), per_ulp) <= 2**-8, f"the reference at {argument!r}"


def test_an_error_of_zero_is_measured() -> None:
    """If the exact result is 0, an ULP is the least subnormal."""
    for dtype in PROMISED_ULP:
        least = np.finfo(dtype).smallest_subnormal
        assert ulp_error(np.array([least, 3 * least]), np.zeros(2)).tolist() == [1, 3]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float16_is_float32_rounded_once(name: str) -> None:
    function = FUNCTIONS[name]
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


@pytest.mark.each_target
def test_special_values(dtype: type[np.floating]) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    expected = {
        "relu": [0.0, 0.0, np.inf, 0.0, np.nan],
        "sigmoid": [0.5, 0.5, 1.0, 0.0, np.nan],
        "tanh": [0.0, -0.0, 1.0, -1.0, np.nan],
        "exp": [1.0, 1.0, np.inf, 0.0, np.nan],
        "leaky_relu": [0.0, -0.0, np.inf, -np.inf, np.nan],
        "elu": [0.0, -0.0, np.inf, -1.0, np.nan],
        "silu": [0.0, -0.0, np.inf, -0.0, np.nan],
        "gelu": [0.0, -0.0, np.inf, -0.0, np.nan],
        "gelu_tanh": [0.0, -0.0, np.inf, -0.0, np.nan],
        "softplus": [np.log(2), np.log(2), np.inf, 0.0, np.nan],
    }
    assert expected.keys() == FUNCTIONS.keys()
    with np.errstate(all="raise"):
        for function, values in expected.items():
            for length in (5, 80):  # the loop's body and its tail
                assert same_bits(FUNCTIONS[function](np.resize(x, length)), np.resize(np.array(values, dtype), length)), (
                    function
                )


@pytest.mark.each_target
def test_tiny_inputs(dtype: type[np.floating]) -> None:
    info = np.finfo(dtype)
    tiny = np.array([1, 2, 3, 1000]) * info.smallest_subnormal
    x = np.concatenate([tiny, -tiny, [info.tiny, -info.tiny]]).astype(dtype)
    with np.errstate(all="raise"):
        assert same_bits(nnk.tanh(x), x)
        assert same_bits(nnk.sigmoid(x), np.full_like(x, 0.5))
        assert same_bits(nnk.exp(x), np.ones_like(x))
        assert same_bits(nnk.softplus(x), np.full_like(x, np.log(2)))
        assert same_bits(nnk.elu(x), x)


@pytest.mark.each_target
@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh", "leaky_relu"])
def test_results_of_subnormal_inputs(name: str) -> None:
    """A fraction of x, such as x/2, is rounded once even if it is subnormal."""
    for dtype, unsigned in ((np.float32, np.uint32), (np.float64, np.uint64)):
        x = np.concatenate([np.arange(1, 3000), np.logspace(1, 6.8, 2000).astype(int)]).astype(unsigned).view(dtype)
        x = np.concatenate([x, -x])
        with np.errstate(under="ignore"):
            expected = x / 2 if name != "leaky_relu" else np.where(x > 0, x, dtype(0.01) * x)
        y = FUNCTIONS[name](x)
        assert (np.abs(y - expected) <= np.finfo(dtype).smallest_subnormal).all()
        assert (np.signbit(y) == np.signbit(x)).all()


@pytest.mark.each_target
@pytest.mark.parametrize("name", KEEP_MINUS_0)
def test_signs_are_kept(name: str, dtype: type[np.floating]) -> None:
    x = stratified(dtype)
    x = np.concatenate([x[~np.isnan(x)], [-0.0, 0.0]]).astype(dtype)
    assert (np.signbit(FUNCTIONS[name](x)) == np.signbit(x)).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_warnings_of_finite_inputs(name: str, dtype: type[np.floating]) -> None:
    x = stratified(dtype, 1 << 17)
    x = x[np.isfinite(x)]
    with np.errstate(all="raise"):
        y = FUNCTIONS[name](x)
    assert not np.isnan(y).any()


def test_sigmoid_underflows_gradually() -> None:
    x = np.arange(-104, -87, 0.001, dtype=np.float32)
    y = nnk.sigmoid(x)
    assert (y[x > -103] > 0).all()
    assert np.unique(y[y < np.finfo(np.float32).tiny]).size > 5000


# The range of each monotone function.
MONOTONE = {
    "sigmoid": (0, 1), "tanh": (-1, 1), "exp": (0, np.inf), "elu": (-1, np.inf), "leaky_relu": (-np.inf, np.inf),
    "relu": (0, np.inf), "softplus": (0, np.inf),
}  # fmt: skip


@pytest.mark.parametrize("name", MONOTONE)
def test_monotone(name: str, dtype: type[np.floating]) -> None:
    x = np.concatenate([stratified(dtype), around_seams(dtype), around_rows(dtype), np.array([np.inf, -np.inf], dtype)])
    x = np.unique(x[~np.isnan(x)])
    with np.errstate(over="ignore"):
        x = np.unique(np.concatenate([x, np.nextafter(x, np.array(np.inf, dtype))]))
    y = FUNCTIONS[name](x)
    assert (y[1:] >= y[:-1]).all()
    low, high = MONOTONE[name]
    assert y[0] == low
    assert y[-1] == high


def test_softplus_of_neighbours() -> None:
    """Where softplus is nearly flat, errors below an ULP could put results out of order."""
    for ends in ((0.3, 0.4), (-0.2, -0.25)):
        first, last = np.array(ends, np.float32).view(np.uint32)
        y = nnk.softplus(np.arange(first, last, dtype=np.uint32).view(np.float32))
        assert (np.diff(y) * (1 if y[-1] > y[0] else -1) >= 0).all()
    x = np.concatenate([np.linspace(-0.1, 0.1, 200_000), np.linspace(0.022, 0.032, 800_000)])
    assert (nnk.softplus(np.nextafter(x, 1)) >= nnk.softplus(x)).all()


def test_tanh_is_odd(dtype: type[np.floating]) -> None:
    x = stratified(dtype)
    assert same_bits(nnk.tanh(-x), -nnk.tanh(x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_length_and_misalignment(name: str, dtype: type[np.floating], rng: np.random.Generator) -> None:
    function = FUNCTIONS[name]
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


@pytest.mark.parametrize("name", FUNCTIONS)
def test_layouts(name: str, dtype: type[np.floating], rng: np.random.Generator) -> None:
    function = FUNCTIONS[name]
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
    """If the input is ahead of an overlapping output, NumPy makes no copy: compute in order."""
    nnk.set_num_threads(4)
    memory = rng.normal(0, 3, 1_200_000).astype(np.float32)
    for source, target in ((np.s_[shift:], np.s_[:-shift]), (np.s_[:-shift], np.s_[shift:]), (np.s_[::2], np.s_[:600_000])):
        for function in (nnk.relu, nnk.tanh, nnk.silu, nnk.elu, nnk.leaky_relu):
            expected = function(memory[source].copy())
            shared = memory.copy()
            function(shared[source], out=shared[target])
            assert same_bits(shared[target].copy(), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_promotion_is_that_of_tanh(name: str) -> None:
    function = FUNCTIONS[name]
    for code in "?bBhHiIlLqQefd":
        x = np.ones(3, code)
        expected = np.maximum(x, np.zeros((), code)).dtype if name == "relu" else np.tanh(x).dtype
        assert function(x).dtype == expected
        assert function(x[0]).dtype == expected
        if name != "relu":
            assert same_bits(function(x), function(x.astype(expected)))
    for code in "gFDGO":
        with pytest.raises(TypeError):
            function(np.ones(3, code))
    for other in (np.array(["a"]), np.zeros(2, "M8[s]")):
        with pytest.raises(TypeError):
            function(other)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shapes_and_other_arguments(name: str, dtype: type[np.floating]) -> None:
    function = FUNCTIONS[name]
    x = np.array([[-1.5, 2.0], [0.25, -0.0]], dtype)
    y = function(x)
    assert isinstance(function(x[0, 0]), dtype)
    assert isinstance(function(np.array(x[0, 0])), dtype)
    assert function(x[0, 0]) == y[0, 0]
    assert function(np.empty((0, 3), dtype)).shape == (0, 3)
    assert same_bits(function(x.tolist()), function(x.astype(float)))
    for other in (np.float16, np.float32, np.float64):
        if np.can_cast(dtype, other):
            assert same_bits(function(x, dtype=other), function(x.astype(other)))
            out = np.empty((2, 2), other)
            assert function(x, out=out) is out
            assert same_bits(out, y.astype(other))
    with pytest.raises(TypeError):
        function(x, out=np.empty((2, 2), int))
    with pytest.raises(ValueError, match="broadcast"):
        function(x, out=np.empty(3, dtype))
    with pytest.raises(TypeError):
        function(x, out=[0.0])
    frame = pd.DataFrame(x, columns=["a", "b"])
    result = function(frame)
    assert isinstance(result, pd.DataFrame)
    assert result.columns.tolist() == ["a", "b"]
    assert same_bits(result.to_numpy(), y)


@pytest.mark.parametrize("name", UFUNCS)
def test_where(name: str, dtype: type[np.floating]) -> None:
    x, out = np.linspace(-3, 3, 50, dtype=dtype), np.full(50, 7, dtype)
    chosen = np.arange(50) % 3 == 0
    FUNCTIONS[name](x, out=out, where=chosen)
    assert same_bits(out, np.where(chosen, FUNCTIONS[name](x), dtype(7)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_dask(name: str) -> None:
    array = pytest.importorskip("dask.array")
    x = np.linspace(-5, 5, 60, dtype=np.float32).reshape(6, 10)
    lazy = FUNCTIONS[name](array.from_array(x, chunks=(2, 5)))
    assert isinstance(lazy, array.Array)
    assert (lazy.dtype, lazy.shape, lazy.chunks) == (x.dtype, x.shape, ((2, 2, 2), (5, 5)))
    assert same_bits(lazy.compute(), FUNCTIONS[name](x))


# --- Options ---

WITH_OPTION = {"negative_slope": nnk.leaky_relu, "alpha": nnk.elu}


@pytest.mark.parametrize("option", WITH_OPTION)
def test_kinds_of_options(option: str, dtype: type[np.floating]) -> None:
    """The dtype of an option does not affect the dtype of the result."""
    function, x = WITH_OPTION[option], np.linspace(-4, 4, 101, dtype=dtype)
    expected = function(x, 0.25)
    assert expected.dtype == dtype
    assert not np.array_equal(expected, function(x))
    for value in (np.float16(0.25), np.float32(0.25), np.float64(0.25), np.array(0.25), np.array([0.25], np.float32)):
        assert same_bits(function(x, value), expected)
        assert same_bits(function(x, **{option: value}), expected)
    for whole in (2, True, np.int8(2), np.uint64(2)):
        assert same_bits(function(x, whole), function(x, float(whole)))
    assert same_bits(function(x, 0.3), np.array([function(value, 0.3) for value in x]))
    ints = np.arange(-3, 3, dtype=np.int8)
    assert same_bits(function(ints, 0.3), function(ints.astype(np.float16), 0.3))


@pytest.mark.parametrize("option", WITH_OPTION)
def test_options_broadcast(option: str, dtype: type[np.floating], rng: np.random.Generator) -> None:
    function, x = WITH_OPTION[option], rng.normal(0, 2, (7, 40)).astype(dtype)
    each = rng.uniform(-1, 1, 40)
    of_columns = np.stack([function(column, value) for column, value in zip(x.T, each, strict=True)], axis=1)
    of_rows = np.stack([function(row, value) for row, value in zip(x, each[:7], strict=True)])
    assert same_bits(function(x, each), of_columns)
    assert same_bits(function(x, each[:7, np.newaxis]), of_rows)
    assert same_bits(function(x, np.broadcast_to(each, x.shape)), of_columns)
    assert same_bits(function(x, np.tile(each, (7, 1))[::-1, ::-1][::-1, ::-1]), of_columns)
    assert same_bits(function(x[0, 0], each), np.array([function(x[0, 0], value) for value in each]))
    assert function(x, np.ones((3, 1, 1))).shape == (3, 7, 40)
    out = np.empty_like(x)
    assert function(x, each, out=out) is out
    assert same_bits(out, of_columns)
    in_place = x.copy()
    function(in_place, 0.5, out=in_place)
    assert same_bits(in_place, function(x, 0.5))
    shared = np.concatenate([x[0], x[0, :1]])
    function(shared[:-1], 0.5, out=shared[1:])
    assert same_bits(shared[1:], function(x[0], 0.5))


@pytest.mark.parametrize("option", WITH_OPTION)
def test_options_may_be_any_number(option: str) -> None:
    function, x = WITH_OPTION[option], np.array([-2.0, 2.0])
    for value in (0.0, -1.0, 1e300, np.nan):
        with np.errstate(all="ignore"):
            y = function(x, value)
        assert y[1] == 2
        assert same_bits(y[:1], np.array([value * (-2.0 if option == "negative_slope" else np.expm1(-2.0))])) or np.isclose(
            y[0], value * np.expm1(-2.0)
        )


def test_errors_of_options() -> None:
    x = np.ones((2, 3))
    for function in WITH_OPTION.values():
        with pytest.raises(ValueError, match="broadcast"):
            function(x, np.ones(2))
        for wrong in ("0.1", 1j, None, np.array(["a"]), [object()]):
            with pytest.raises(TypeError):
                function(x, wrong)
    for wrong in ("erf", "", None, True, "TANH"):
        with pytest.raises(ValueError, match=r"approximate.*'none' or 'tanh'"):
            nnk.gelu(x, approximate=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        nnk.gelu(x, "tanh")  # type: ignore[misc]


def test_formulas() -> None:
    x = np.linspace(-6, 6, 1001)
    np.testing.assert_allclose(nnk.leaky_relu(x, 0.1), np.where(x > 0, x, 0.1 * x), rtol=1e-15)
    np.testing.assert_allclose(nnk.elu(x, 0.5), np.where(x > 0, x, 0.5 * (np.exp(x) - 1)), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(nnk.silu(x), x / (1 + np.exp(-x)), rtol=1e-14)
    np.testing.assert_allclose(nnk.gelu(x), [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x], rtol=1e-14, atol=1e-15)
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    np.testing.assert_allclose(nnk.gelu(x, approximate="tanh"), x * (1 + np.tanh(inner)) / 2, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(nnk.softplus(x), np.log(1 + np.exp(x)), rtol=1e-13)
    np.testing.assert_allclose(nnk.exp(x), np.exp(x), rtol=1e-15)


def test_tutorial() -> None:
    z = np.array([-2.0, -0.5, 0.0, 1.0, 3.0])
    np.testing.assert_array_max_ulp(nnk.sigmoid(z), 1 / (1 + np.exp(-z)), 2)
    np.testing.assert_array_max_ulp(nnk.tanh(z), np.tanh(z), 2)
    assert nnk.relu(z).tolist() == [0, 0, 0, 1, 3]
