"""Random arguments for every public function: the reference result or a documented exception.

Arrays have any dtype, shape and layout, with valid and invalid keywords. First the outcome is
predicted: for ufuncs by NumPy functions of the same shapes, else by the docstrings. Then the call
must succeed with the right dtype, shape, subclass and numbers up to the documented error, or raise
one of the predicted exceptions, without warnings. The examples are the same in each run. For many
new examples:

    python -m pytest tests/test_api.py --hypothesis-profile=long
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nnkernels as nnk
import reference
from ulp import same_bits, ulp, ulp_error

Array = np.ndarray[Any, np.dtype[Any]]

# The documented exceptions. UFuncTypeError is a TypeError, AxisError a ValueError.
DOCUMENTED = (TypeError, ValueError, FloatingPointError)

FLOATS = ("e", "f", "d")
REAL = (*FLOATS, *FLOATS, *FLOATS, *"?bBhHiIlLqQ")
NOT_REAL = ("F", "D", "O", "U3", "S3", "M8[s]", "m8[s]", "V8", "f8,i4")
if np.dtype(np.longdouble).itemsize > 8:  # otherwise the same as float64
    NOT_REAL = ("g", "G", *NOT_REAL)

# If long double is double, the reference has an error of a few units itself.
SLACK = 0 if np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant else 4

examples = settings(max_examples=3 * settings.default.max_examples)


class Labelled(np.ndarray[Any, np.dtype[Any]]):
    """A plain subclass."""


def is_real(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biu" or dtype.newbyteorder("=").char in FLOATS


def all_real(arrays: list[Array]) -> bool:
    return all(is_real(array.dtype) for array in arrays)


# --- Arrays ---


def numbers(rng: np.random.Generator, kind: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return numbers of a dtype: ordinary, of every magnitude, special, or random bits."""
    count = int(np.prod(shape))
    if kind == "bits" and dtype.kind in "iuf" and dtype.itemsize <= 8:
        return rng.integers(0, 256, count * dtype.itemsize, np.uint8).view(dtype).reshape(shape)
    values = rng.normal(0, 3, count)
    if kind == "magnitudes":
        values *= 10.0 ** rng.integers(-30, 30, count)
    if kind == "special":
        values = rng.choice([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 60000.0, 1e-7, 1e300, -1e300], count)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        values = np.clip(np.nan_to_num(values), float(max(info.min, -(2**62))), float(min(info.max, 2**62)))
    if dtype.kind == "V":
        return np.zeros(shape, dtype)
    with np.errstate(all="ignore"):
        return (np.round(values).astype(np.int64) % 1000 if dtype.kind in "mM" else values).astype(dtype).reshape(shape)


LAYOUTS = ("C", "C", "F", "strided", "negative", "broadcast", "misaligned", "offset", "read-only", "transposed", "subclass")


def laid_out(draw: Any, array: Array) -> Array:
    """Return the same numbers in another layout, or some of them, broadcast."""
    layout = draw(st.sampled_from(LAYOUTS))
    if layout == "strided":
        wide = np.zeros([2 * side for side in array.shape], array.dtype)
        wide[(slice(None, None, 2),) * array.ndim] = array
        return wide[(..., *(slice(None, None, 2),) * array.ndim)]
    if layout == "negative":
        flip = (..., *(slice(None, None, -1),) * array.ndim)
        return array[flip].copy()[flip]
    if layout == "broadcast":
        return np.broadcast_to(array[(..., *(slice(0, min(side, 1)) for side in array.shape))], array.shape)
    if layout in ("misaligned", "offset") and not array.dtype.hasobject:
        before = 1 if layout == "misaligned" else array.itemsize
        moved = np.zeros(array.nbytes + before, np.uint8)[before:].view(array.dtype).reshape(array.shape)
        moved[...] = array
        return moved
    if layout == "transposed":
        return array.T.copy().T
    copy = array.copy(order="F" if layout == "F" else "C")
    copy.flags.writeable = layout != "read-only"
    return copy.view(Labelled) if layout == "subclass" else copy


sides = st.one_of(st.integers(0, 5), st.integers(0, 5), st.sampled_from([17, 33, 64, 100, 130]))
shapes = st.lists(sides, max_size=3).map(tuple).filter(lambda shape: np.prod(shape) < 20_000)
long_rows = st.tuples(st.sampled_from([1023, 1024, 1025, 2100]))


@st.composite
def arrays(draw: Any, shape: tuple[int, ...] | None = None, codes: tuple[str, ...] = (*REAL, *REAL, *REAL, *NOT_REAL)) -> Array:
    if shape is None:
        shape = draw(st.one_of(shapes, shapes, shapes, long_rows))
    dtype = np.dtype(draw(st.sampled_from(codes)))
    if draw(st.integers(0, 4)) == 0:
        dtype = dtype.newbyteorder()
    kind = draw(st.sampled_from(["ordinary", "ordinary", "magnitudes", "special", "bits"]))
    return laid_out(draw, numbers(np.random.default_rng(draw(st.integers(0, 2**32))), kind, shape, dtype))


@st.composite
def maybe_masked(draw: Any) -> Array:
    array = draw(arrays())
    if draw(st.integers(0, 9)) > 0:
        return array
    return np.ma.masked_array(array, np.arange(array.size).reshape(array.shape) % 3 == 0)


@st.composite
def outputs(draw: Any, shape: tuple[int, ...]) -> Any:
    """Return an argument for out: None, an array that usually fits, or another object."""
    match draw(st.integers(0, 14)):
        case 0:
            return draw(arrays())
        case 1:
            return draw(st.sampled_from([[0.0], 0.0, "out"]))
        case 2:
            return draw(arrays(shape))
        case 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10:
            return None
        case _:
            return np.array(draw(arrays(shape, FLOATS)))  # writable


bad_dtypes = st.sampled_from([">f4", ">f2", "i", "?", "g", "D", "O", "U3", "M8[s]", "nonsense", 1.5])
dtypes = st.integers(0, 9).flatmap(lambda n: st.none() if n < 6 else st.sampled_from(FLOATS) if n < 9 else bad_dtypes)
bad_axes = st.integers(-4, 3) | st.sampled_from([True, 10**30, -(10**30), 0.0, "0", [0], None, (0,), (-1,), (7,), (0.5,)])
axes = st.integers(0, 9).flatmap(lambda n: st.just(-1) if n < 5 else st.just(np.int64(0)) if n < 8 else bad_axes)
error_states = st.sampled_from(["ignore", "raise"])


# --- Outcomes ---


def outcome(call: Callable[[], Any]) -> Any:
    """Return a call's result or documented exception. Other exceptions are failures."""
    try:
        return call()
    except DOCUMENTED as error:
        return error


def copied(out: Any) -> Any:
    """Return a copy of `out`, writable if `out` is."""
    if not isinstance(out, np.ndarray):
        return out
    copy = out.copy().view(type(out))
    copy.flags.writeable = out.flags.writeable
    return copy


def plain(array: Any) -> Array:
    """Return the numbers, contiguous, in native byte order."""
    array = np.asarray(array)
    return array.astype(array.dtype.newbyteorder("="))


def promoted(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype to which functions with sums promote a dtype."""
    return np.result_type(dtype, np.float32) if dtype.kind in "biu" else dtype.newbyteorder("=")


def faults_of_out(out: Any, result: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[type[Exception]]:
    """Return the exceptions that an output may raise. As in NumPy, its shape may broadcast."""
    if out is None:
        return []
    if not isinstance(out, np.ndarray):
        return [TypeError]
    faults: list[type[Exception]] = []
    if out.shape != shape and (isinstance(result, Exception) or not broadcast(shape, out.shape)):
        faults.append(ValueError)
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        faults.append(TypeError)
    if not out.flags.writeable:
        faults.append(ValueError)
    return faults


def broadcast(*shapes: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def check_faults(result: Any, faults: list[type[Exception]]) -> bool:
    """Check that a call raises one of its faults or overflows. Return whether there are any."""
    if faults:
        assert isinstance(result, (*faults, FloatingPointError)), f"expected one of {faults}, got {result!r}"
    return bool(faults)


def check_errstate(result: Any, *casts: tuple[np.dtype[Any], np.dtype[Any]], may_overflow: bool = False) -> bool:
    """Return whether a call raised FloatingPointError, which only a cast or an overflow may."""
    if not isinstance(result, FloatingPointError):
        assert not isinstance(result, Exception), repr(result)
        return False
    assert may_overflow or any(before.newbyteorder("=") != after.newbyteorder("=") for before, after in casts), repr(result)
    return True


def same_numbers(a: Array, b: Array) -> bool:
    """Return whether two arrays of any one dtype have the same numbers. All NaNs count as equal."""
    if a.dtype.kind == "f" and a.dtype.itemsize <= 8:
        return same_bits(a, b)
    return a.dtype == b.dtype and a.shape == b.shape and repr(a.tolist()) == repr(b.tolist())


def check_out(out: Any, result: Any, expected: Array) -> None:
    """Check that the output is the result, and equals the result without out, cast to its dtype."""
    assert result is out
    expected = np.broadcast_to(expected.reshape(expected.shape[max(0, expected.ndim - out.ndim) :]), out.shape)
    with np.errstate(all="ignore"):
        assert same_numbers(plain(out), np.asarray(expected).astype(out.dtype.newbyteorder("=")))


# --- Element-wise functions ---

PROMISED_ULP = {np.dtype("e"): 0.501, np.dtype("f"): 0.8, np.dtype("d"): 1.0}


class Elementwise(NamedTuple):
    """A function, and one of NumPy with the same arguments, dtypes and shapes."""

    ours: Callable[..., Any]
    numpys: Callable[..., Any]
    loop_dtype: Callable[[np.dtype[Any]], np.dtype[Any]]


ELEMENTWISE = (
    Elementwise(nnk.sigmoid, np.tanh, lambda dtype: np.tanh.resolve_dtypes((dtype, None))[0]),
    Elementwise(nnk.tanh, np.tanh, lambda dtype: np.tanh.resolve_dtypes((dtype, None))[0]),
    Elementwise(nnk.relu, lambda x, **keywords: np.maximum(x, x, **keywords), lambda dtype: dtype.newbyteorder("=")),
)


def exact_elementwise(function: Callable[..., Any], x: Array) -> Array:
    exact: Array = getattr(reference, function.__name__)(x)
    return exact


# With `where`, NumPy also reads a complex out to buffer it, and warns.
@pytest.mark.filterwarnings("ignore:Casting complex values:numpy.exceptions.ComplexWarning")
@examples
@given(maybe_masked(), st.sampled_from(ELEMENTWISE), dtypes, error_states, st.data())
def test_elementwise(x: Array, function: Elementwise, dtype: Any, errors: Any, data: st.DataObject) -> None:
    keywords: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    # numpy.ma decides the masked elements of an output.
    out = None if isinstance(x, np.ma.MaskedArray) else data.draw(outputs(x.shape))
    if out is not None:
        keywords["out"] = out
    if out is not None and data.draw(st.booleans()):
        keywords["where"] = data.draw(arrays(x.shape, ("?",)) | st.booleans())
    if data.draw(st.integers(0, 3)) == 0:
        keywords["casting"] = data.draw(st.sampled_from(["no", "equiv", "safe", "same_kind"]))
    if data.draw(st.integers(0, 3)) == 0:
        keywords["order"] = data.draw(st.sampled_from("CFAK"))
    if data.draw(st.integers(0, 3)) == 0:
        keywords["subok"] = data.draw(st.booleans())
    before = copied(out)

    with np.errstate(all="ignore"):
        predicted = outcome(lambda: function.numpys(x, **keywords | ({} if out is None else {"out": copied(out)})))
    with np.errstate(all=errors, under="ignore"):
        result = outcome(lambda: function.ours(x, **keywords))
    if isinstance(predicted, Exception):
        check_faults(result, [TypeError, ValueError])  # with several faults, NumPy may report another one
        return
    loop = function.loop_dtype(x.dtype) if dtype is None and is_real(x.dtype) else np.dtype(dtype or x.dtype).newbyteorder("=")
    if check_faults(result, [] if is_real(loop) else [TypeError]):
        return
    if check_errstate(result, (x.dtype, loop), (loop, loop if out is None else out.dtype)):
        return
    assert type(result) is type(predicted)
    assert (result.dtype, result.shape) == (predicted.dtype, predicted.shape)

    where = np.broadcast_to(keywords.get("where", True), result.shape)
    if isinstance(result, np.ma.MaskedArray):
        where = where & ~np.ma.getmaskarray(result)
    with np.errstate(all="ignore"):
        values = np.broadcast_to(plain(x).astype(loop), result.shape)
        computed = np.asarray(function.ours(values))
        exact = exact_elementwise(function.ours, values)
        if loop.kind == "f":
            promised = 0.0 if function.ours is nnk.relu else PROMISED_ULP[loop] + SLACK
            assert np.all(ulp_error(computed, exact) <= promised)
        else:
            assert np.array_equal(computed, exact)
        assert same_numbers(plain(result)[where], computed.astype(result.dtype.newbyteorder("="))[where])
    if out is not None:
        assert same_numbers(plain(result)[~where], plain(before)[~where])


# --- Functions along an axis ---


def axis_faults(axis: Any, dimensions: int) -> list[type[Exception]]:
    if axis is None:
        return []
    if isinstance(axis, tuple):
        (axis,) = axis
    if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool):
        return [TypeError]
    return [] if -dimensions <= axis < dimensions else [ValueError]


def exact_along_axis(function: Callable[..., Any], z: Array, axis: int) -> Array:
    """Return the reference results; for rows that are not finite, the documented ones."""
    rows = np.moveaxis(np.asarray(z, np.longdouble), axis, -1)
    if function is nnk.logsumexp:
        largest = rows.max(axis=-1, initial=-np.inf)
        infinite = np.isinf(largest)
        finite = np.where(infinite[..., np.newaxis], 0, rows)
        sums = reference.logsumexp(finite) if rows.shape[-1] > 0 else largest
        return np.where(infinite, largest, sums)
    results = getattr(reference, function.__name__)(rows) if rows.shape[-1] > 0 else rows
    good = np.isfinite(rows.max(axis=-1, keepdims=True, initial=-np.inf))
    return np.moveaxis(np.where(good, results, np.nan), -1, axis)


def close_along_axis(function: Callable[..., Any], z: Array, axis: int, result: Array) -> bool:
    most = (0.501 if result.dtype == np.float16 else 6.5) + SLACK  # the largest known error is 5.9 (cpp/kernels/softmax.h)
    with np.errstate(all="ignore"):
        exact = exact_along_axis(function, z, axis)
        if function is nnk.softmax:
            return bool(np.all(ulp_error(result, exact) <= most))
        # The logarithm is accurate to a few units, but adding the maximum may cancel: use units of
        # the larger one.
        largest = np.abs(np.asarray(z, np.longdouble).max(axis=axis, keepdims=function is not nnk.logsumexp, initial=-np.inf))
        terms = np.maximum(np.abs(exact), np.minimum(largest, np.log(max(z.shape[axis], 2))))
        error = np.abs(result - exact) / ulp(np.where(np.isfinite(terms), terms, 0), result.dtype)
        alike = (result == exact.astype(result.dtype)) | (np.isnan(result) & np.isnan(exact))
        return bool(np.all(alike | (error <= most)))


ALONG_AXIS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (nnk.softmax, {}),
    (nnk.log_softmax, {}),
    (nnk.logsumexp, {"keepdims": False}),
    (nnk.logsumexp, {"keepdims": True}),
]


@examples
@given(maybe_masked(), st.sampled_from(ALONG_AXIS), axes, dtypes, error_states, st.data())
def test_along_axis(
    z: Array, called: tuple[Any, dict[str, Any]], axis: Any, dtype: Any, errors: Any, data: st.DataObject
) -> None:
    function, keepdims = called
    keywords = keepdims | ({} if dtype is None else {"dtype": dtype})
    shape = z.shape
    faults = axis_faults(axis, z.ndim)
    if function is nnk.logsumexp and not faults:
        along = axis if axis is None or isinstance(axis, tuple) else int(axis)
        shape = np.zeros(z.shape).sum(axis=along, **keepdims).shape
    out = data.draw(outputs(shape))
    if out is not None:
        # NumPy broadcasts to an output of more dimensions, and applies the axis to the output.
        assume(not isinstance(out, np.ndarray) or out.ndim <= len(shape) or axis == -1)
        keywords["out"] = out
    with np.errstate(all=errors, under="ignore"):
        result = outcome(lambda: function(z, axis, **keywords))

    loop = chosen_dtype(dtype, promoted(z.dtype))
    if loop.char not in FLOATS or not np.can_cast(z.dtype, loop, "same_kind") or isinstance(z, np.ma.MaskedArray):
        faults.append(TypeError)
    if z.ndim == 0 and axis is not None:
        faults.append(ValueError)
    if check_faults(result, faults + faults_of_out(out, result, shape, loop)):
        return
    if check_errstate(result, (z.dtype, loop), (loop, loop if out is None else out.dtype)):
        return
    with np.errstate(all="ignore"):
        values = plain(z).astype(loop)
    computed = np.asarray(function(values, axis, **keepdims))
    assert computed.shape == shape
    squeezed = np.squeeze(computed, axis) if keywords.get("keepdims") else computed
    if axis is None:
        assert close_along_axis(function, values.ravel(), 0, squeezed if function is nnk.logsumexp else squeezed.ravel())
    else:
        assert close_along_axis(function, values, int(np.ravel(axis)[0]), squeezed)
    if out is None:
        assert isinstance(result, np.ndarray if shape or isinstance(z, Labelled) else np.generic)
        assert same_bits(plain(result), computed)
        assert not isinstance(z, Labelled) or not shape or isinstance(result, Labelled)
    else:
        check_out(out, result, computed)


# --- Sums of products ---


def sums_are_close(result: Array, exact: Array, magnitudes: Array, roundings: float) -> Array:
    """Return where sums are within their bound, `roundings` times the sum of magnitudes."""
    compute = np.finfo(np.float32 if result.dtype == np.float16 else result.dtype)
    overflows = np.isfinite(magnitudes) & (magnitudes > compute.max / 2)
    with np.errstate(all="ignore"):
        bound = roundings * (magnitudes * (compute.eps / 2) + compute.smallest_subnormal) + ulp(
            np.where(np.isfinite(exact), exact, 0), result.dtype
        )
        rounded = exact.astype(result.dtype)
        alike = (result == rounded) | (np.isnan(result) & np.isnan(exact))
        edge = np.isinf(result) & (np.abs(exact) + bound >= np.finfo(result.dtype).max)
        return overflows | alike | edge | (np.abs(result - exact) <= bound)


@examples
@given(arrays(), error_states, st.data())
def test_dot(x: Array, errors: Any, data: st.DataObject) -> None:
    broadcastable = hnp.broadcastable_shapes(x.shape, min_side=0, max_side=5)
    shape = data.draw(st.one_of(st.just(x.shape), st.just(x.shape[-1:]), broadcastable, shapes))
    w = data.draw(arrays(shape, data.draw(st.sampled_from([REAL, (*REAL, *NOT_REAL)]))))
    keywords: dict[str, Any] = {}
    if data.draw(st.integers(0, 3)) == 0:
        keywords["axis"] = data.draw(
            axes.filter(lambda axis: not isinstance(axis, int) or abs(axis) < 9)
        )  # else NumPy raises OverflowError
    if data.draw(st.integers(0, 3)) == 0:
        keywords["keepdims"] = data.draw(st.booleans())
    dtype = data.draw(dtypes)
    if dtype is not None:
        keywords["dtype"] = dtype
    like = [np.zeros(array.shape) for array in (x, w)]
    shape_of_result = getattr(outcome_of_vecdot(*like, keywords), "shape", ())
    out = data.draw(outputs(shape_of_result))
    if out is not None:
        keywords["out"] = out

    predicted = outcome_of_vecdot(*like, keywords)
    with np.errstate(all=errors, under="ignore"):
        result = outcome(lambda: nnk.dot(x, w, **keywords))
    real = is_real(x.dtype) and is_real(w.dtype)
    loop = chosen_dtype(dtype, np.result_type(promoted(x.dtype), promoted(w.dtype)) if real else np.dtype("O"))
    faults: list[type[Exception]] = [type(predicted)] if isinstance(predicted, Exception) else []
    if loop.char not in FLOATS or not all(np.can_cast(array.dtype, loop, "same_kind") for array in (x, w)):
        faults.append(TypeError)
    if isinstance(out, np.ndarray) and not np.can_cast(loop, out.dtype, "same_kind"):
        faults.append(TypeError)
    if check_faults(result, faults):
        return
    with np.errstate(all="ignore"):
        values = [plain(array).astype(loop) for array in (x, w)]
        rest = {key: value for key, value in keywords.items() if key not in ("out", "dtype")}
        computed = np.asarray(nnk.dot(*values, **rest))
        wide = [np.asarray(array, np.longdouble) for array in values]
        exact = np.asarray(np.vecdot(*wide, **rest))
        magnitudes = np.asarray(np.vecdot(*(np.abs(array) for array in wide), **rest))
    casts = [(x.dtype, loop), (w.dtype, loop), (loop, out.dtype if isinstance(out, np.ndarray) else loop)]
    overflow = not np.all(magnitudes <= np.finfo(loop).max / 2)
    if check_errstate(result, *casts, may_overflow=overflow):
        return
    n = x.shape[rest.get("axis", -1)]
    assert np.all(sums_are_close(computed, exact, magnitudes, n / 32 + 40))
    if out is None:
        assert same_bits(plain(result), computed)
    else:
        check_out(out, result, computed)


def chosen_dtype(dtype: Any, otherwise: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype to compute in; object if ufuncs refuse it, such as another byte order."""
    if dtype is None:
        return otherwise
    try:
        chosen = np.dtype(dtype)
    except TypeError:
        return np.dtype("O")
    return chosen if chosen.isnative else np.dtype("O")


def outcome_of_vecdot(x: Array, w: Array, keywords: dict[str, Any]) -> Any:
    """Return the outcome of np.vecdot for zeros of the same shapes, independent of dtypes."""
    rest = {key: value for key, value in keywords.items() if key != "dtype"}
    if isinstance(out := rest.get("out"), np.ndarray):
        rest["out"] = np.zeros(out.shape)
        rest["out"].flags.writeable = out.flags.writeable
    return outcome(lambda: np.vecdot(x, w, **rest))


# --- Layers and networks ---

ACTIVATIONS: dict[Any, Callable[..., Any]] = {
    None: lambda z: z,
    "relu": nnk.relu,
    "sigmoid": nnk.sigmoid,
    nnk.tanh: nnk.tanh,
    "softmax": nnk.softmax,
    "elu": nnk.elu,
    nnk.gelu: nnk.gelu,
    "log_softmax": nnk.log_softmax,
}
BAD_ACTIVATIONS = {"mish": ValueError, "": ValueError, np.tanh: TypeError, 1: TypeError}


@st.composite
def layers(draw: Any, codes: tuple[str, ...]) -> tuple[Array, Array, Any]:
    """Return x, weights and bias, mostly of matching shapes, with one or several dtypes."""
    inputs, count = draw(sides), draw(sides)
    weights_shape = draw(st.sampled_from([(count, inputs), (count, inputs), (inputs,)]))
    leading = draw(st.lists(sides, max_size=2).filter(lambda shape: np.prod(shape) < 500))
    results = (*leading, *weights_shape[:-1])
    own = weights_shape[:-1]
    bias_shapes = st.sampled_from([own, own, results, (*leading, 1), (*results[:-1], 1), (), (1,)])
    one = draw(st.none() | st.sampled_from(codes))  # one dtype for all, or any dtypes
    codes = codes if one is None else (one,)
    x = draw(arrays((*leading, inputs), codes))
    weights = draw(arrays(weights_shape, codes))
    numbers = st.sampled_from([0.5, 2, True, -(10**400), 1e300])
    bias = draw(st.none() | numbers | bias_shapes.flatmap(lambda shape: arrays(shape, codes)))
    match draw(st.integers(0, 15)):
        case 0:
            x = draw(arrays(codes=codes))
        case 1:
            weights = draw(arrays(codes=codes))
        case 2:
            bias = draw(arrays(codes=codes))
    return x, weights, bias


def is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) and not isinstance(value, np.generic)


def faults_of_layer(x: Array, weights: Array, bias: Any) -> tuple[list[type[Exception]], tuple[int, ...]]:
    """Return the exceptions that a layer may raise, and the shape of its result."""
    given = [array for array in (x, weights, bias) if isinstance(array, np.ndarray)]
    faults: list[type[Exception]] = [] if all_real(given) else [TypeError]
    if x.ndim == 0 or weights.ndim not in (1, 2) or x.shape[-1] != weights.shape[-1]:
        return [*faults, ValueError], ()
    shape = (*x.shape[:-1], *weights.shape[:-1])
    if isinstance(bias, np.ndarray):
        if weights.ndim == 2 and bias.ndim > 0 and bias.shape[-1] not in (1, weights.shape[0]):
            faults.append(ValueError)
        else:
            try:
                shape = np.broadcast_shapes(shape, bias.shape)
            except ValueError:
                faults.append(ValueError)
    if isinstance(bias, int) and abs(bias) > 10**308:
        faults.append(ValueError)
    return faults, shape


any_layers = st.sampled_from([REAL, FLOATS, (*REAL, *NOT_REAL)]).flatmap(layers)


@examples
@given(any_layers, st.sampled_from([*ACTIVATIONS, *BAD_ACTIVATIONS]), error_states, st.data())
def test_dense(layer: tuple[Array, Array, Any], activation: Any, errors: Any, data: st.DataObject) -> None:
    x, weights, bias = layer
    faults, shape = faults_of_layer(x, weights, bias)
    out = data.draw(outputs(shape))
    with np.errstate(all=errors, under="ignore"):
        result = outcome(lambda: nnk.dense(x, weights, bias, activation=activation, out=out))
    if activation in BAD_ACTIVATIONS:
        faults.append(BAD_ACTIVATIONS[activation])
    given = [array for array in (x, weights, bias) if isinstance(array, np.ndarray)]
    loop = np.result_type(*(promoted(array.dtype) for array in given)) if all_real(given) else np.dtype("O")
    if check_faults(result, faults + faults_of_out(out, result, shape, loop)):
        return
    with np.errstate(all="ignore"):
        values = [plain(array).astype(loop) for array in (x, weights)]
        offsets = np.zeros((), loop) if bias is None else np.asarray(bias).astype(loop)
        wide = [np.asarray(array, np.longdouble) for array in (*values, offsets)]
        exact, magnitudes = (wide_dense(*arrays) for arrays in (wide, [np.abs(array) for array in wide]))
        computed = np.asarray(nnk.dense(*values, None if bias is None else offsets))
        activated = np.asarray(ACTIVATIONS[activation](computed) if weights.ndim == 2 or activation != "softmax" else
                               ACTIVATIONS[activation](computed[..., np.newaxis])[..., 0])  # fmt: skip
    casts = [*((array.dtype, loop) for array in given), (loop, loop if out is None else out.dtype)]
    overflow = not np.all(magnitudes <= np.finfo(loop).max / 2) or is_number(bias)
    if check_errstate(result, *casts, may_overflow=overflow):
        return
    assert np.all(sums_are_close(computed, exact, magnitudes, x.shape[-1] / 2 + 10))
    if out is None:
        assert same_bits(plain(result), activated)
    else:
        check_out(out, result, activated)


def wide_dense(x: Array, weights: Array, bias: Array) -> Array:
    return np.asarray(x @ weights.T + bias)


@examples
@given(st.sampled_from([REAL, FLOATS]).flatmap(layers), st.sampled_from(list(ACTIVATIONS)), dtypes, error_states, st.data())
def test_network(layer: tuple[Array, Array, Any], activation: Any, dtype: Any, errors: Any, data: st.DataObject) -> None:
    x, weights, bias = layer
    with np.errstate(all="ignore"):
        described = outcome(lambda: nnk.Dense(weights, bias, activation))
    if isinstance(described, Exception):
        faults, _ = faults_of_layer(np.zeros(weights.shape[-1:]), weights, bias)
        several = isinstance(bias, np.ndarray) and bias.size != 1 and bias.shape != weights.shape[:-1]
        assert check_faults(described, faults + [ValueError] * several)
        return
    if data.draw(st.integers(0, 3)) == 0:
        x = data.draw(maybe_masked())
    with np.errstate(all=errors, under="ignore"):
        network = outcome(lambda: nnk.Network([described], dtype))
    wanted = described.dtype
    if dtype is not None:
        try:
            wanted = np.dtype(dtype).newbyteorder("=")
        except TypeError:
            wanted = np.dtype("O")
    if check_faults(network, [] if wanted.char in FLOATS else [TypeError]) or check_errstate(
        network, (described.dtype, wanted), (described.weights.dtype, wanted), (described.bias.dtype, wanted)
    ):
        return
    faults = [] if is_real(x.dtype) and not isinstance(x, np.ma.MaskedArray) else [TypeError]
    if x.ndim == 0 or x.shape[-1] != weights.shape[-1]:
        faults.append(ValueError)
    shape = (*x.shape[:-1], *weights.shape[:-1])
    out = data.draw(outputs(shape))
    with np.errstate(all=errors, under="ignore"):
        result = outcome(lambda: network(x, out))
    if isinstance(out, np.ndarray) and out.shape != shape:
        faults.append(ValueError)
    if check_faults(result, faults + faults_of_out(out, result, shape, wanted)):
        return
    if check_errstate(result, (x.dtype, wanted), (wanted, wanted if out is None else out.dtype)):
        return
    with np.errstate(all="ignore"):
        computed = np.asarray(
            nnk.dense(
                plain(x).astype(wanted), described.weights.astype(wanted), described.bias.astype(wanted), activation=activation
            )
        )
    assert result.shape == shape
    if out is None:
        assert same_bits(plain(result), computed)
    else:
        check_out(out, result, computed)
