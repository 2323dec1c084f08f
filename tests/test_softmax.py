"""softmax, log_softmax and logsumexp: accuracy, stability, special rows, axes and layouts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import nnkernels as nnk
import reference
from nnkernels import _core
from ulp import same_bits, ulp_error

ROW_FUNCTIONS = (nnk.softmax, nnk.log_softmax)
FUNCTIONS = (*ROW_FUNCTIONS, nnk.logsumexp)

# float16 results are rounded float32 results: half an ULP, plus a little for the float32 error.
PROMISED_ULP = {np.float16: 0.501, np.float32: 4.0, np.float64: 4.0}


def rows_to_test(dtype: type[np.floating], n: int) -> dict[str, NDArray[Any]]:
    """Return difficult rows of n logits, one of each kind."""
    rng = np.random.default_rng(n)
    spread = np.finfo(dtype).maxexp * np.log(2)
    rows = {
        "normal": rng.normal(0, 3, n),
        "constant": np.full(n, 0.1),
        "wide": rng.uniform(-spread, spread, n) * 0.9,
        "far from zero": rng.normal(0, 3, n) + 0.4 * np.finfo(dtype).max ** 0.5,
        "one dominates": np.where(np.arange(n) == n // 2, 0, -12 + rng.normal(0, 1, n)),
        "one above equal others": np.where(np.arange(n) == n // 2, 0, -0.6485658884),
        "ties": np.where(np.arange(n) % 3 == 0, 1.5, -0.5),
    }
    return {name: row.astype(dtype) for name, row in rows.items()}


@pytest.mark.parametrize("n", [1, 2, 3, 10, 63, 64, 65, 127, 1000, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_accuracy(function: Any, measured_dtype: type[np.floating], n: int) -> None:
    check_accuracy(function, rows_to_test(measured_dtype, n))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_accuracy_of_a_long_row(function: Any, measured_dtype: type[np.floating]) -> None:
    """A million equal terms, the worst case of sequential summation."""
    check_accuracy(function, {"constant": np.full(1_000_000, 0.1, measured_dtype)})


def check_accuracy(function: Any, rows: dict[str, NDArray[Any]]) -> None:
    for name, z in rows.items():
        dtype, n = z.dtype.type, z.size
        actual = np.asarray(function(z))
        exact = getattr(reference, function.__name__)(z)
        if function is not nnk.softmax and dtype is not np.float16:
            # The logarithm of the sum is accurate to a few ULP, but adding the maximum may cancel.
            # So the bound is relative to the larger term.
            terms = np.maximum(np.abs(exact), np.minimum(np.log(n), np.abs(z.max()).astype(np.longdouble)))
            error = np.abs(actual.astype(np.longdouble) - exact) / np.spacing(terms.astype(dtype))
        else:
            error = ulp_error(actual, exact)
        assert error.max() <= PROMISED_ULP[dtype], f"{name}: {error.max()} ULP"


@pytest.mark.parametrize("n", [784, 1000, 1024, 1025, 2048, 100_000])
def test_one_above_equal_others(n: int) -> None:
    """Equal terms round alike: sequential summation would have an error of several ULP."""
    for z in np.linspace(-3, -0.01, 60 if n < 10_000 else 6).astype(np.float32):
        row = np.full(n, z)
        row[n // 2] = 0
        assert ulp_error(nnk.softmax(row), reference.softmax(row)).max() <= PROMISED_ULP[np.float32]


def test_float16_is_float32_rounded_once(rng: np.random.Generator) -> None:
    z = rng.normal(0, 4, (50, 1100)).astype(np.float16)
    for function in FUNCTIONS:
        assert same_bits(np.asarray(function(z)), np.asarray(function(z.astype(np.float32))).astype(np.float16))


def test_sums_to_one_and_keeps_the_order(dtype: type[np.floating], rng: np.random.Generator) -> None:
    z = np.sort(rng.normal(0, 3, (20, 333)).astype(dtype))
    p = nnk.softmax(z)
    assert (np.diff(p) >= 0).all()
    assert (p >= 0).all()
    assert (p <= 1).all()
    np.testing.assert_allclose(p.sum(axis=-1, dtype=np.float64), 1, rtol=0, atol=4 * np.finfo(dtype).eps)


# A shape and axis for each path in the kernels: rows in lanes, one vector, groups of rows, a row
# with prefetch of the next, rows of several blocks, strided rows.
SHORT = [((40, 3), -1), ((3,), -1), ((2, 33, 5), 1), ((40, 33), -1)]
LONG = [((9, 200), -1), ((3, 700), -1), ((700, 3), 0), ((100_000,), 0)]


@pytest.mark.parametrize(("shape", "axis"), [*SHORT, *LONG], ids=str)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(0, 15),
    bits=st.integers(1, 53),
    shift=st.floats(-1, 1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_differences_alone(
    shape: tuple[int, ...], axis: int, dtype: type[np.floating], seed: int, size: int, bits: int, shift: float
) -> None:
    """If every z + c is exact, it gives the same bits as z."""
    most = 2 ** (np.finfo(dtype).nmant + 1)
    unit = 2.0**size / most
    # z and z + c are multiples of the unit, up to `most` units, so they are exact; their
    # differences may not be.
    low, high = -min(2**bits, most), min(2**bits, most)
    multiples = np.random.default_rng(seed).integers(low, high, shape, endpoint=True)
    c = int(shift * most)
    c = max(-most - int(multiples.min()), min(most - int(multiples.max()), c))
    z, shifted = (multiples * unit).astype(dtype), ((multiples + c) * unit).astype(dtype)
    for function in ROW_FUNCTIONS:
        assert same_bits(function(shifted, axis), function(z, axis))
    sums, shifted_sums = (nnk.logsumexp(rows, axis).astype(np.longdouble) for rows in (z, shifted))
    rounding = np.spacing(np.maximum(np.abs(sums), np.abs(shifted_sums)).astype(dtype))
    assert (np.abs(shifted_sums - (sums + c * np.longdouble(unit))) <= rounding).all()


@pytest.mark.parametrize("n", [2, 20, 34, 700, 3000])
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_difference_from_other_numbers(n: int, measured_dtype: type[np.floating], data: st.DataObject) -> None:
    """The rows (a, b) and (-b, -a) have the same differences, for all numbers."""
    numbers = st.one_of(
        st.floats(allow_nan=False, allow_infinity=False, width=np.finfo(measured_dtype).bits),
        st.floats(-100, 100, width=32),
        st.integers(-8, 8).flatmap(lambda k: st.floats(2.0**k * 63 / 64, 2.0**k, width=32)),
        st.floats(-0.0625, 0.0625, width=32),
    )
    a, b = data.draw(numbers), data.draw(numbers)
    z, other = (np.repeat(np.array(pair, measured_dtype), n // 2) for pair in ((a, b), (-b, -a)))
    for function in ROW_FUNCTIONS:
        assert same_bits(function(z), function(other))


@pytest.mark.each_target
def test_huge_logits() -> None:
    with np.errstate(all="raise"):
        assert nnk.softmax([1e308, -1e308]).tolist() == [1, 0]
        assert nnk.softmax([1e308, 1e308]).tolist() == [0.5, 0.5]
        assert nnk.log_softmax([1e308, -1e308]).tolist() == [0, -np.inf]
        assert nnk.logsumexp([1e308, 1e308]) == 1e308
        assert nnk.logsumexp([-1e308, 1e308]) == 1e308


@pytest.mark.each_target
def test_special_rows(dtype: type[np.floating]) -> None:
    inf, nan = np.inf, np.nan
    for length in (3, 70, 1030):  # within a vector, within a block, over two blocks
        row = np.linspace(0, 1, length)
        rows = np.stack([row, row, row, np.full(length, -inf), row]).astype(dtype)
        rows[1, 1], rows[2, 1], rows[4, :-1] = nan, inf, -inf
        with np.errstate(all="raise"):
            for function in ROW_FUNCTIONS:
                result = function(rows)
                assert np.isnan(result[1:4]).all()
                assert same_bits(result[0], function(rows[0]))
            assert nnk.softmax(rows)[4].tolist() == [0] * (length - 1) + [1]
            assert nnk.log_softmax(rows)[4].tolist() == [-inf] * (length - 1) + [0]
            sums = nnk.logsumexp(rows)
            np.testing.assert_array_equal(sums[1:], np.array([nan, inf, -inf, rows[4, -1]], dtype))


@pytest.mark.each_target
def test_empty(dtype: type[np.floating]) -> None:
    for shape in ((0,), (3, 0), (0, 3), (2, 0, 4)):
        for function in ROW_FUNCTIONS:
            result = function(np.empty(shape, dtype))
            assert result.shape == shape
            assert result.dtype == dtype
    assert nnk.logsumexp(np.empty((3, 0), dtype)).tolist() == [-np.inf] * 3
    assert nnk.logsumexp(np.empty((0, 3), dtype)).shape == (0,)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_length_and_layout(function: Any, dtype: type[np.floating], rng: np.random.Generator) -> None:
    for n in (*range(1, 135), 1023, 1024, 1025, 2100):
        z = rng.normal(0, 4, (3, n)).astype(dtype)
        expected = np.asarray(function(z))
        spread = np.zeros((6, 3 * n), dtype)[::2, ::3]
        spread[...] = z
        for view in (spread, np.asfortranarray(z), z[:, ::-1][:, ::-1], z.astype(z.dtype.newbyteorder())):
            assert same_bits(np.asarray(function(view)), expected)
        assert same_bits(np.asarray(function(np.ascontiguousarray(z.T), axis=0)), expected.T)
        shifted = np.frombuffer(b"\0" + z.tobytes(), np.uint8)[1:].view(dtype).reshape(z.shape)
        assert same_bits(np.asarray(function(shifted)), expected)
        assert same_bits(np.asarray(function(z[1])), expected[1])
        out = np.full((2, *expected.shape), 77, dtype)[:, ..., ::-1]
        assert function(z, out=out[1]) is not None
        assert same_bits(np.ascontiguousarray(out[1]), expected)
        assert (out[0] == 77).all()
        if function is not nnk.logsumexp:
            function(z, out=z)
            assert same_bits(z, expected)


@pytest.mark.parametrize("function", ROW_FUNCTIONS, ids=lambda f: f.__name__)
def test_every_number_of_short_rows(function: Any, dtype: type[np.floating], rng: np.random.Generator) -> None:
    """Short rows computed several at once have the bits of each row alone, even special rows."""
    for n in range(1, 41):
        z = rng.normal(0, 4, (40, n)).astype(dtype)
        z[5, 0], z[11, -1], z[12, n // 2], z[20], z[37, 0] = np.nan, np.inf, -np.inf, -np.inf, np.nan
        expected = np.stack([function(row) for row in z])
        spread = np.zeros((80, 3 * n), dtype)[::-2, ::-3]
        spread[...] = z
        across = np.asfortranarray(z)
        for count in range(1, 41):
            for rows in (z, spread, across):
                assert same_bits(function(rows[:count]), expected[:count])
            assert same_bits(function(z[-count:][::-1]), expected[-count:][::-1])
            for in_place in (z[:count].copy(), z[:count].copy(order="F")):
                function(in_place, out=in_place)
                assert same_bits(np.ascontiguousarray(in_place), expected[:count])


@pytest.mark.parametrize("n", [3, 20, 33, 257, 1100])
def test_order_of_neighbours(dtype: type[np.floating], n: int) -> None:
    """Larger elements never have smaller probabilities, even where exp changes its table row."""
    largest = {np.float16: 9, np.float32: 100, np.float64: 700}[dtype]
    boundaries = -np.r_[1:33:2, 33 : 32 * largest / np.log(2) : 14] * (np.log(2) / 32)
    for maximum in (0, 3, 0.3466, 300, 3000):
        centres = (boundaries + maximum).astype(dtype)
        steps = np.arange(n - 1).astype(dtype) - dtype(n // 2)
        neighbours = centres[:, np.newaxis] + steps * np.spacing(centres)[:, np.newaxis]
        rows = np.pad(neighbours, ((0, 0), (0, 1)), constant_values=maximum)
        z = np.sort(np.minimum(rows, dtype(maximum)))
        assert (np.diff(nnk.softmax(z)) >= 0).all()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_the_usual_call_is_like_any_other(function: Any, dtype: type[np.floating], rng: np.random.Generator) -> None:
    z = rng.normal(0, 1, (3, 5)).astype(dtype)
    expected = function(z)
    axes: tuple[Any, ...] = (-1, 1, np.int8(-1), np.int64(1))
    for axis in axes:
        assert same_bits(function(z, axis), expected)
        out = np.empty_like(expected)
        assert function(z, axis, out=out) is out
        assert same_bits(out, expected)
    assert same_bits(function(z, dtype=dtype), expected)
    assert same_bits(function(z.tolist(), dtype=dtype), expected)
    no_integers: tuple[Any, ...] = (-1.0, "-1", [-1], True)
    for axis in no_integers:
        with pytest.raises(TypeError, match="axis an integer"):
            function(z, axis)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_parameters(function: Any, rng: np.random.Generator) -> None:
    z = rng.normal(0, 1, (2, 3, 4, 5)).astype(np.float32)
    for axis in range(-4, 4):
        expected = np.moveaxis(function(np.moveaxis(z, axis, -1)), -1, axis) if function is not nnk.logsumexp else None
        if expected is None:
            expected = function(np.moveaxis(z, axis, -1))
            assert same_bits(function(z, axis, keepdims=True), np.expand_dims(expected, axis))
        assert same_bits(function(z, axis), expected)
        assert same_bits(function(z, axis=axis), expected)
    assert same_bits(function(z, dtype=np.float64), function(z.astype(np.float64)))
    assert function(z, dtype=np.float16).dtype == np.float16
    double = np.empty_like(function(z), dtype=np.float64)
    assert function(z, out=double) is double
    assert same_bits(double, function(z).astype(np.float64))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_promotion(function: Any) -> None:
    for code in "?bBhHiIlLqQefd":
        z = np.ones(3, code)
        expected = z.dtype if z.dtype.kind == "f" else np.result_type(z, np.float32)
        assert np.asarray(function(z)).dtype == expected
        assert same_bits(np.asarray(function(z)), np.asarray(function(z.astype(expected))))


def test_overlapping_output(rng: np.random.Generator) -> None:
    z = rng.normal(0, 1, (4, 21))
    expected = nnk.softmax(z[:, :-1])
    nnk.softmax(z[:, :-1], out=z[:, 1:])
    assert same_bits(np.ascontiguousarray(z[:, 1:]), expected)


def test_tutorial() -> None:
    p = nnk.softmax([2.5, 0.3, -1.2])
    assert abs(p.sum() - 1) <= 2.0**-52
    assert p[0] > p[1] > p[2]


@pytest.mark.parametrize("shape", [(1,), (10,), (3, 7), (2, 3, 5), (16, 64), (1024,), (1025,), (0,), (3, 0), (0, 3)])
@pytest.mark.parametrize("function", ROW_FUNCTIONS, ids=lambda f: f.__name__)
def test_few_elements_as_the_ufunc(function: Any, dtype: type[np.floating], shape: tuple[int, ...]) -> None:
    """The fast path of small arrays: new results, out, in place, outputs that need the ufunc."""
    z = np.random.default_rng(1).normal(0, 3, shape).astype(dtype)
    expected = getattr(_core, function.__name__)(z)
    result = function(z)
    assert type(result) is np.ndarray
    assert same_bits(result, expected)
    out = np.full_like(z, 7)
    assert function(z, out=out) is out
    assert same_bits(out, expected)
    assert same_bits(function(z, out=(np.full_like(z, 7),)), expected)
    wider = np.full(shape, 7, np.longdouble)
    assert function(z, out=wider) is wider
    assert np.array_equal(wider, expected)
    reverse = np.full_like(z, 7)[..., ::-1]
    assert same_bits(function(z, out=reverse), expected)
    memory = np.append(z, z.dtype.type(0))
    one_behind = memory[1:].reshape(shape)
    assert same_bits(function(memory[:-1].reshape(shape), out=one_behind), expected)
    assert function(z, out=z) is z
    assert same_bits(z, expected)


@pytest.mark.parametrize("function", ROW_FUNCTIONS, ids=lambda f: f.__name__)
def test_few_elements_in_other_calls(function: Any) -> None:
    """Unusual calls with small arrays."""
    z = np.random.default_rng(1).normal(0, 3, (4, 4)).astype(np.float32)
    expected = function(z)
    assert same_bits(function(z, 0), function(np.ascontiguousarray(z.T)).T)
    assert same_bits(function(z, np.int64(-1)), expected)
    assert function(z, dtype=np.float64).dtype == np.float64
    assert same_bits(function(z.astype(">f4")), expected)
    assert same_bits(function(np.asfortranarray(z)), expected)
    assert same_bits(function(z[::-1]), expected[::-1])
    assert type(function(z.view(np.matrix))) is np.matrix
    locked = np.zeros_like(z)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        function(z, out=locked)
    with pytest.raises(ValueError, match="expected"):
        function(z, out=np.zeros((4, 5), np.float32))
    for axis in (True, -1.0, 2**70, -(2**70)):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            function(z, axis)
