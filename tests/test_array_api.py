"""The rules of the Python array API standard for similar functions.

Special values of element-wise functions, dtypes, broadcasting, arrays without dimensions or
elements. The standard's functions are tanh, exp, maximum, vecdot (our dot) and matmul (our dense
layer without bias).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nnkernels as nnk
from ulp import same_bits

Array = np.ndarray[Any, np.dtype[Any]]

ELEMENTWISE = (nnk.relu, nnk.sigmoid, nnk.tanh)
ALONG_AXIS = (nnk.softmax, nnk.log_softmax)
FLOATS = (np.float16, np.float32, np.float64)

without_deadline = settings(deadline=None)
float_dtypes = st.sampled_from(FLOATS)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def whole_numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return whole numbers whose sums of products are exact in any order and every float dtype."""
    return rng.integers(-8, 9, shape).astype(dtype)


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (nnk.tanh, np.nan, np.nan),
        (nnk.tanh, 0.0, 0.0),
        (nnk.tanh, -0.0, -0.0),
        (nnk.tanh, np.inf, 1.0),
        (nnk.tanh, -np.inf, -1.0),
        (nnk.exp, np.nan, np.nan),
        (nnk.exp, 0.0, 1.0),
        (nnk.exp, -0.0, 1.0),
        (nnk.exp, np.inf, np.inf),
        (nnk.exp, -np.inf, 0.0),
        # maximum(x, 0) may return either zero for -0.0; relu returns +0.0
        (nnk.relu, np.nan, np.nan),
        (nnk.relu, 0.0, 0.0),
        (nnk.relu, -0.0, 0.0),
        (nnk.relu, np.inf, np.inf),
        (nnk.relu, -np.inf, 0.0),
        # 1 / (1 + exp(-x)) by the standard's rules
        (nnk.sigmoid, np.nan, np.nan),
        (nnk.sigmoid, 0.0, 0.5),
        (nnk.sigmoid, -0.0, 0.5),
        (nnk.sigmoid, np.inf, 1.0),
        (nnk.sigmoid, -np.inf, 0.0),
    ],
)
def test_special_values(function: np.ufunc, x: float, expected: float, dtype: type[np.floating[Any]]) -> None:
    with np.errstate(all="raise"):
        for length in (1, 7, 64):
            assert same_bits(function(np.full(length, x, dtype)), np.full(length, expected, dtype))


@without_deadline
@given(shapes, float_dtypes, st.sampled_from(ELEMENTWISE))
def test_elementwise_functions_keep_shape_and_dtype(shape: tuple[int, ...], dtype: Any, function: np.ufunc) -> None:
    x = np.linspace(-3, 3, int(np.prod(shape)), dtype=dtype).reshape(shape)
    y = function(x)
    assert (y.shape, y.dtype) == (shape, dtype)
    assert isinstance(y, np.ndarray if shape else np.generic)
    flat = np.array([function(element) for element in x.flat], dtype)
    assert same_bits(np.asarray(y), flat.reshape(shape))


@without_deadline
@given(shapes.filter(lambda shape: len(shape) > 0), float_dtypes, st.sampled_from(ALONG_AXIS), st.data())
def test_functions_along_an_axis_keep_shape_and_dtype(
    shape: tuple[int, ...], dtype: Any, function: Callable[..., Array], data: st.DataObject
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    z = np.linspace(-3, 3, int(np.prod(shape)), dtype=dtype).reshape(shape)
    y = function(z, axis=axis)
    assert (y.shape, y.dtype) == (shape, dtype)
    assert same_bits(function(z, axis), y)
    rows, results = np.moveaxis(z, axis, -1), np.moveaxis(y, axis, -1)
    for index in np.ndindex(rows.shape[:-1]):
        assert same_bits(function(rows[index]), results[index])


@without_deadline
@given(shapes.filter(lambda shape: len(shape) > 0), float_dtypes, st.booleans(), st.data())
def test_logsumexp_removes_its_axis_or_keeps_it(
    shape: tuple[int, ...], dtype: Any, keepdims: bool, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    z = np.linspace(-3, 3, int(np.prod(shape)), dtype=dtype).reshape(shape)
    y = nnk.logsumexp(z, axis, keepdims=keepdims)
    like = z.sum(axis=axis, keepdims=keepdims)
    assert (y.shape, y.dtype) == (like.shape, dtype)
    rows, results = np.moveaxis(z, axis, -1), np.asarray(y).reshape(np.moveaxis(z, axis, -1).shape[:-1])
    for index in np.ndindex(rows.shape[:-1]):
        assert nnk.logsumexp(rows[index]) == results[index]
    if shape[axis] == 0:
        assert np.all(np.isneginf(y))


@pytest.mark.parametrize("function", [*ALONG_AXIS, nnk.logsumexp])
@pytest.mark.parametrize("axis", [-3, 2])
def test_axis_that_is_not_there(function: Callable[..., Array], axis: int) -> None:
    with pytest.raises(np.exceptions.AxisError, match=str(axis)):
        function(np.zeros((2, 3)), axis=axis)


@pytest.mark.parametrize("function", [*ALONG_AXIS, nnk.logsumexp])
@pytest.mark.parametrize("axis", [(0, 0), (1, -1), (2,), (0, -3), (0.5,), ("0",)], ids=str)
def test_axes_that_are_not_there_or_there_twice(function: Callable[..., Array], axis: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{function.__name__}.*; expected z"):
        function(np.zeros((2, 3)), axis=axis)


def some_axes(data: st.DataObject, dimensions: int) -> tuple[int, ...] | None:
    every = st.permutations(range(dimensions))
    picked = every.flatmap(lambda axes: st.integers(0, dimensions).map(lambda count: tuple(axes[:count])))
    signs = st.lists(st.booleans(), min_size=dimensions, max_size=dimensions)
    axes = data.draw(st.none() | picked)
    signed = data.draw(signs)
    return axes if axes is None else tuple(axis - dimensions if signed[axis] else axis for axis in axes)


@without_deadline
@given(shapes, float_dtypes, st.sampled_from([*ALONG_AXIS, nnk.logsumexp]), st.booleans(), st.data())
def test_several_axes_are_one_of_all_their_elements(
    shape: tuple[int, ...], dtype: Any, function: Callable[..., Array], flag: bool, data: st.DataObject
) -> None:
    axis = some_axes(data, len(shape))
    z = np.random.default_rng(len(shape)).normal(size=shape).astype(dtype)
    axes = range(len(shape)) if axis is None else sorted(axis % len(shape) for axis in axis)
    others = [other for other in range(len(shape)) if other not in axes]
    moved = np.moveaxis(z, others, range(len(others)))
    rows = function(moved.reshape(*(shape[other] for other in others), math.prod(shape[axis] for axis in axes)))
    if function is nnk.logsumexp:
        expected = np.asarray(rows).reshape(np.zeros(shape).sum(axis=axis, keepdims=flag).shape)
        keywords: dict[str, Any] = {"keepdims": flag}
    else:
        expected, keywords = np.moveaxis(rows.reshape(moved.shape), range(len(others)), others), {}
    result = function(z, axis, **keywords)
    assert isinstance(result, np.ndarray if expected.shape else np.generic)
    assert same_bits(np.asarray(result), expected)
    for into in (dtype, np.float32):
        out = np.empty(expected.shape, into)[..., ::-1] if expected.shape else np.empty((), into)
        assert function(z, axis, out=out, **keywords) is out
        assert same_bits(np.ascontiguousarray(out).reshape(out.shape), expected.astype(into))
    if function is nnk.softmax:
        flat = z.copy()
        assert function(flat, axis, out=flat) is flat
        assert same_bits(flat, expected)
    assert same_bits(np.asarray(function(z, axis, dtype=np.float64, **keywords)), function(z.astype("d"), axis, **keywords))


@pytest.mark.parametrize("axis", [None, 0, -1, (0,), (1, 0), (0, -1), (2, 1, 0)], ids=str)
@pytest.mark.parametrize("function", [*ALONG_AXIS, nnk.logsumexp])
def test_axes_have_the_meaning_of_scipy(function: Callable[..., Array], axis: Any, rng: np.random.Generator) -> None:
    z = rng.normal(size=(2, 3, 4))
    expected = getattr(scipy.special, function.__name__)(z, axis=axis)
    np.testing.assert_allclose(function(z, axis=axis), expected, rtol=1e-14)
    if function is nnk.logsumexp:
        expected = scipy.special.logsumexp(z, axis=axis, keepdims=True)
        np.testing.assert_allclose(nnk.logsumexp(z, axis=axis, keepdims=True), expected, rtol=1e-14)
    assert nnk.softmax(2.0, axis=None) == scipy.special.softmax(2.0) == 1
    assert nnk.logsumexp(2.0, axis=None) == 2


@without_deadline
@given(hnp.mutually_broadcastable_shapes(signature="(n),(n)->()", max_dims=3, min_side=0, max_side=5), float_dtypes)
def test_dot_is_vecdot(operands: hnp.BroadcastableShapes, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    x, w = (whole_numbers(rng, shape, dtype) for shape in operands.input_shapes)
    y = nnk.dot(x, w)
    assert (y.shape, y.dtype) == (operands.result_shape, dtype)
    np.testing.assert_array_equal(y, np.vecdot(np.float64(x), np.float64(w)))


@pytest.mark.parametrize("axis", [-3, -2, -1])
def test_dot_along_another_axis(axis: int, dtype: type[np.floating[Any]], rng: np.random.Generator) -> None:
    x, w = (whole_numbers(rng, (3, 4, 5), dtype) for _ in range(2))
    assert same_bits(nnk.dot(x, w, axis=axis), (x * w).sum(axis=axis))
    assert nnk.dot(x, w, axis=axis, keepdims=True).shape == x.sum(axis=axis, keepdims=True).shape


@without_deadline
@given(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5), st.integers(0, 5), float_dtypes)
def test_dense_is_matmul(shape: tuple[int, ...], outputs: int, dtype: Any) -> None:
    rng = np.random.default_rng(2)
    x, weights = whole_numbers(rng, shape, dtype), whole_numbers(rng, (outputs, shape[-1]), dtype)
    y = nnk.dense(x, weights)
    assert (y.shape, y.dtype) == ((*shape[:-1], outputs), dtype)
    np.testing.assert_array_equal(y, np.matmul(np.float64(x), np.float64(weights).T))


@pytest.mark.parametrize("first", FLOATS)
@pytest.mark.parametrize("second", FLOATS)
def test_float_dtypes_promote_to_the_wider_one(first: type[np.floating[Any]], second: type[np.floating[Any]]) -> None:
    x, w = np.ones(3, first), np.ones(3, second)
    common = np.result_type(first, second)
    assert nnk.dot(x, w).dtype == common
    assert nnk.dense(x, np.atleast_2d(w)).dtype == common
    assert nnk.dense(x, np.atleast_2d(x), np.ones(1, second)).dtype == common


@pytest.mark.parametrize("x", [1.0, np.array(2.0), np.zeros((2, 4))])
def test_dot_wants_vectors_of_one_length(x: object) -> None:
    with pytest.raises(ValueError, match=r"core dimension|enough dimensions"):
        nnk.dot(x, np.ones(3))
    with pytest.raises(ValueError, match=r"core dimension|enough dimensions"):
        nnk.dot(np.ones(3), x)


@pytest.mark.parametrize(
    "function",
    [
        *ELEMENTWISE,
        *ALONG_AXIS,
        nnk.logsumexp,
        lambda x: nnk.dot(x, x),
        lambda x: nnk.dense(x, x, x[:, 0], activation="softmax"),
    ],
)
def test_inputs_stay_as_they_are(
    function: Callable[..., Array], dtype: type[np.floating[Any]], rng: np.random.Generator
) -> None:
    x = rng.normal(size=(7, 7)).astype(dtype)
    before = x.copy()
    function(x)
    assert same_bits(x, before)
