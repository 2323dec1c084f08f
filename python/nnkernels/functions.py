"""The functions that are not ufuncs themselves: thin layers over generalized ufuncs of the same name."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnkernels import _core
from nnkernels.arrays import (
    FLOAT,
    REAL,
    as_array,
    as_output,
    check_shape,
    explained,
    is_float,
    is_lazy,
    is_python_number,
    labelled,
    map_chunks,
    need_known,
    promoted,
    shape_of,
)

# A name, the ufunc itself (softmax is a function around one), or None.
Activation: TypeAlias = str | Callable[..., Any] | None

# One axis, several, or all (None).
Axis: TypeAlias = int | tuple[int, ...] | None

# What a layer expects, for error messages.
LAYER = f"weights (outputs, inputs) or (inputs,), and a bias that broadcasts with (outputs,), all of {REAL}"


def softmax(z: ArrayLike, axis: Axis = -1, *, out: NDArray[Any] | None = None, dtype: DTypeLike | None = None) -> Any:
    """Softmax along an axis: exp(z - max) / sum exp(z - max).

    Probabilities: in [0, 1], of sum 1 up to rounding, in the order of z; no finite z overflows.

    Parameters
    ----------
    z : array_like
        Logits, of any shape with at least one dimension.
    axis : int, tuple of int, or None
        Each vector along this axis is one distribution. Several axes, or all (None), are treated as one flattened axis, in C
        order.
    out : array, optional
        Where to write the result; of the shape of z.
    dtype : optional
        The dtype to compute in: float16, float32 or float64.

    Returns
    -------
    array of the shape of z
        float16, float32 and float64 are kept (float16 is computed in float32 and rounded once), other real dtypes
        promote as ``np.result_type(z, np.float32)``. pandas and xarray objects come back as such, with their labels (columns
        without a common dtype of NumPy are taken as float64, NA as NaN). A Dask array gives a lazy one.

    Raises
    ------
    TypeError
        For longdouble, complex, object, string and datetime; for masked and sparse arrays, and numbers with a unit; for
        another ``dtype``; for ``out`` of a dtype that the result cannot be cast to, and ``out`` with a Dask array.
    ValueError
        z is 0-d and axis is not None; axis out of range, or given twice; ``out`` of another shape; an axis that a Dask array
        has in several chunks.

    Notes
    -----
    A row with NaN, with +inf, or of -inf only is NaN, without a warning. Source: J. S. Bridle, "Probabilistic interpretation of
    feedforward classification network outputs", 1990.

    Subtracting the maximum in two terms is exact (T. J. Dekker, "A floating-point technique for extending the available
    precision", 1971), and so softmax(z + c) has the bits of softmax(z) wherever every z + c is exact. The method is in
    cpp/kernels/softmax.h.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.softmax([2.5, 0.3, -1.2])
    array([0.88064861, 0.09757865, 0.02177274])
    >>> nnk.softmax([1e308, -1e308])
    array([1., 0.])
    """
    result = _core.few_softmax(z, axis, out, dtype)
    return _along_axis(softmax, _core.softmax, z, axis, out, dtype) if result is NotImplemented else result


def log_softmax(z: ArrayLike, axis: Axis = -1, *, out: NDArray[Any] | None = None, dtype: DTypeLike | None = None) -> Any:
    """Logarithm of softmax along an axis: z - max - log(sum exp(z - max)).

    Accurate where softmax itself underflows, and where one element dominates. Parameters, dtypes and errors are those
    of ``softmax``; so are rows that are not finite.

    Returns
    -------
    array of the shape of z
        Its dtype is that of ``softmax``, and so are the objects that come back as such.

    Notes
    -----
    Subtracting the maximum in two terms is exact (T. J. Dekker, "A floating-point technique for extending the available
    precision", 1971), and so log_softmax(z + c) has the bits of log_softmax(z) wherever every z + c is exact. The logarithm is
    that of ``logsumexp``; the method is in cpp/kernels/softmax.h.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.log_softmax([0.0, -1000.0])
    array([    0., -1000.])
    """
    result = _core.few_log_softmax(z, axis, out, dtype)
    return _along_axis(log_softmax, _core.log_softmax, z, axis, out, dtype) if result is NotImplemented else result


def logsumexp(
    z: ArrayLike,
    axis: Axis = -1,
    *,
    keepdims: bool = False,
    out: NDArray[Any] | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Logarithm of the sum of exponentials along an axis: log(sum exp(z)), without overflow.

    Parameters, dtypes and errors are those of ``softmax``, but that ``out`` has the shape of the result. NaN propagates; a
    row with +inf gives +inf; a row of -inf, or of no elements, gives -inf.

    Returns
    -------
    array of the shape of z without the axis
        With ``keepdims`` the axis stays, of length 1. pandas and xarray objects give a NumPy array, for their labels are not
        those of the result; a Dask array gives a lazy one.

    Notes
    -----
    Computed as max + log1p(the sum of the others' exponentials), which keeps its accuracy where one element dominates, as
    SciPy's issues 18295 and 19521 ask; the method is in cpp/kernels/softmax.h.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> float(nnk.logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    >>> float(nnk.logsumexp([0.0, -40.0]))
    4.248354255291589e-18
    """
    if keepdims:
        return _along_axis(logsumexp, _core.logsumexp, z, axis, out, dtype, keepdims=True)
    return _along_axis(logsumexp, _core.logsumexp, z, axis, out, dtype)


def _along_axis(
    function: Callable[..., Any], ufunc: np.ufunc, z: Any, axis: Axis, out: Any, dtype: DTypeLike | None, **keepdims: bool
) -> Any:
    """Return a function of ours along an axis, by its generalized ufunc."""
    try:
        if (
            type(z) is np.ndarray
            and type(axis) is int
            and dtype is None
            and not keepdims
            and (out is None or type(out) is np.ndarray)
        ):  # the usual calls: in half the time
            if out is None:
                return ufunc(z) if axis == -1 else ufunc(z, axis=axis)
            shape = z.shape
            if ufunc is _core.logsumexp:
                shape = shape[:-1] if axis == -1 else shape[:axis] + shape[axis:][1:]
            if out.shape == shape:
                return ufunc(z, out=out) if axis == -1 else ufunc(z, axis=axis, out=out)
        if dtype is not None and not (is_float(np.dtype(dtype)) and np.dtype(dtype).isnative):
            raise TypeError(f"dtype must be {FLOAT}")
        array = as_array(z)
        out = as_output(out, array)
        if out is not None:
            check_shape(out, _result_shape(ufunc, array.shape, axis, **keepdims))
        keywords: dict[str, Any] = keepdims if dtype is None else {"dtype": dtype, **keepdims}
        if is_lazy(array):
            result = _lazily(function, array, axis, keywords)
        elif axis is None or isinstance(axis, tuple):
            result = _jointly(ufunc, array, axis, out, **keywords)
        else:
            # Only what is given: an object with __array_ufunc__ need not know every keyword.
            result = ufunc(array, axis=axis, **keywords) if out is None else ufunc(array, axis=axis, out=out, **keywords)
    except (OverflowError, TypeError, ValueError) as error:
        expected = f"z of at least one dimension and {REAL}, axis an integer, a tuple of them or None (here {axis!r})"
        if dtype is not None:
            expected += f", dtype {FLOAT} (here {dtype!r})"
        if out is not None:
            expected += f", out of shape {_shape_along_axis(ufunc, z, axis, **keepdims)}"
        raise explained(error, ufunc.__name__, expected, z=z, out=out) from None
    return result if out is not None or array is z or ufunc is _core.logsumexp else labelled(result, z)


def _sorted_axes(axis: Axis, dimensions: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(dimensions))
    axes = axis if isinstance(axis, tuple) else (axis,)
    if any(isinstance(axis, (bool, np.bool_)) for axis in axes):
        raise TypeError("a boolean is no axis")
    return tuple(sorted(normalize_axis_tuple(axes, dimensions)))


def _jointly(ufunc: np.ufunc, z: Any, axis: Axis, out: Any, *, keepdims: bool = False, **dtype: DTypeLike) -> Any:
    """Return a function along several axes, as along one that has the elements of all."""
    axes = _sorted_axes(axis, z.ndim)
    order = (*(other for other in range(z.ndim) if other not in axes), *axes)
    moved = np.transpose(z, order)
    others = moved.shape[: z.ndim - len(axes)]
    joined = np.reshape(moved, (*others, math.prod(moved.shape[len(others) :])))
    if out is None:
        result = ufunc(joined, **dtype)
    elif isinstance(out, np.ndarray):
        result = ufunc(joined, out=np.empty(others if ufunc is _core.logsumexp else joined.shape, out.dtype), **dtype)
    else:
        raise TypeError("out is no array")
    if ufunc is _core.logsumexp:
        result = np.reshape(result, _result_shape(ufunc, z.shape, axis, keepdims=keepdims))
    else:
        result = np.transpose(np.reshape(result, moved.shape), np.argsort(order))
    if out is not None:
        out[...] = result
        return out
    # As from a ufunc: where no dimension is left, a scalar (but of a subclass an array).
    return result[()] if type(result) is np.ndarray else result


def _lazily(function: Callable[..., Any], z: Any, axis: Axis, keywords: dict[str, Any]) -> Any:
    """Return a function along one axis or more of a Dask array."""
    axes = _sorted_axes(axis, z.ndim)
    lengths: list[int] | None = [z.shape[axis] for axis in axes]
    if function is logsumexp:
        lengths = [1] * len(axes) if "keepdims" in keywords else None
    dtype = np.dtype(keywords.get("dtype", promoted(z.dtype)))
    return map_chunks(partial(function, axis=axes, **keywords), z, axes, lengths, dtype)


def _result_shape(ufunc: np.ufunc, shape: tuple[int, ...], axis: Axis, *, keepdims: bool = False) -> tuple[int, ...]:
    """Return the shape of a result along an axis, by the shape of z."""
    if ufunc is not _core.logsumexp:
        return shape
    axes = _sorted_axes(axis, len(shape))
    return tuple(1 if place in axes else length for place, length in enumerate(shape) if keepdims or place not in axes)


def _shape_along_axis(ufunc: np.ufunc, z: Any, axis: Axis, **keepdims: bool) -> str:
    """Return the shape of a result, for an error message."""
    try:
        return str(_result_shape(ufunc, shape_of(z), axis, **keepdims))
    except (OverflowError, TypeError, ValueError):
        return "without the axis"


# What may stand for each activation, by the name it has in files and messages.
ACTIVATIONS: tuple[str, ...] = ("none", "relu", "sigmoid", "tanh", "softmax")

_DENSE: tuple[np.ufunc, ...] = (
    _core.dense,
    _core.dense_relu,
    _core.dense_sigmoid,
    _core.dense_tanh,
    _core.dense_softmax,
)

_NUMBERS: dict[object, int] = {
    None: 0,
    **{name: number for number, name in enumerate(ACTIVATIONS) if name != "none"},
    _core.relu: 1,
    _core.sigmoid: 2,
    _core.tanh: 3,
    _core.softmax: 4,
    softmax: 4,
}


def activation_number(activation: object) -> int:
    """Return an activation's place in ``ACTIVATIONS``, which is its number in C++."""
    try:
        return _NUMBERS[activation]
    except (KeyError, TypeError):
        message = f"activation expected None, 'relu', 'sigmoid', 'tanh', 'softmax' or one of these ufuncs, got {activation!r}"
        raise (ValueError if isinstance(activation, str) else TypeError)(message) from None


def activation_name(number: int) -> str | None:
    """Return the name of the activation with this number in C++; None for none."""
    return ACTIVATIONS[number] if number else None


def dense(
    x: ArrayLike,
    weights: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    activation: Activation = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Dense layer: activation(x weights^T + bias), each row of the weights a neuron.

    Parameters
    ----------
    x : array_like, shape (..., inputs)
        A row of inputs, or a batch of them.
    weights : array_like, shape (outputs, inputs)
        Or (inputs,): one neuron, whose result has no axis for outputs.
    bias : array_like, optional
        Of shape (outputs,), or one that broadcasts with the result; a scalar for one neuron. 0 by default.
    activation : optional
        None, "relu", "sigmoid", "tanh", "softmax" (over the outputs), or the ufunc itself.
    out : array, optional
        Where to write the result: of its shape, and of a dtype that it can be cast to (same_kind). It may overlap the other
        arguments.

    Returns
    -------
    array of shape (..., outputs)
        Its dtype is ``np.result_type(x, weights, bias)`` where all are float16, float32 or float64, and
        ``np.result_type(x, weights, bias, np.float32)`` where one is another real dtype; a bias that is a Python number has no
        influence on it. float16 is summed in float32 and rounded once, the activation too.

    Raises
    ------
    TypeError
        For longdouble, complex, object, string and datetime; for masked and sparse arrays, and numbers with a unit; for an
        activation that is none; for ``out`` of a dtype that the result cannot be cast to, and ``out`` with a Dask array.
    ValueError
        For shapes that do not fit, the name of an unknown activation, and a row that a Dask array has in several chunks.
    MemoryError
        Where there is too little for the result, or for the layer's scratch.

    Notes
    -----
    A row's result depends on this row, the weights and the bias alone, and an activation fused gives the same bits as the
    activation called on the result: the order of summation is fixed (cpp/kernels/dense.h, with its sources). Overflow is
    reported as ``np.errstate`` says. pandas objects come back as arrays, Dask arrays as lazy ones.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> x = [1.2, 2.5, -1.0]
    >>> float(nnk.dense(x, [0.8, -0.5, 1.0], 2.0))
    0.71
    >>> weights = [[0.8, -0.5, 1.0], [0.1, 0.7, -1.2], [0.3, -0.3, 0.5]]
    >>> nnk.dense(x, weights, [2.0, 0.5, -1.0])
    array([ 0.71,  3.57, -1.89])
    >>> nnk.dense(x, weights, [2.0, 0.5, -1.0], activation="relu")
    array([0.71, 3.57, 0.  ])
    """
    ufunc = _DENSE[activation_number(activation)]
    try:
        if (
            type(x) is type(weights) is type(bias) is np.ndarray
            and x.ndim > 0
            and weights.ndim == 2
            and bias.ndim == 1
            and len(bias) == len(weights)
        ):  # the usual calls: in half the time
            if out is None:
                return ufunc(x, weights, bias)
            if type(out) is np.ndarray and out.shape == x.shape[:-1] + bias.shape:
                return ufunc(x, weights, bias, out=out)
        return _layer(ufunc, x, weights, bias, out)
    except (OverflowError, TypeError, ValueError) as error:
        expected = f"x (..., inputs), {LAYER}"
        if out is not None:
            with suppress(ValueError):  # the other shapes do not fit
                expected += f", out of shape {_layer_shape(shape_of(x), shape_of(weights), shape_of(bias))}"
        inputs, shape = shape_of(x)[-1:], shape_of(weights)
        if isinstance(error, ValueError) and len(shape) == 2 and shape[:1] == inputs != shape[1:]:
            error = ValueError("weights are (outputs, inputs): pass weights.T")
        raise explained(error, "dense", expected, x=x, weights=weights, bias=bias, out=out) from None


def _layer_shape(x: tuple[int, ...], weights: tuple[int, ...], bias: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a layer's result, by the shapes of its arguments."""
    outputs = weights[:-1]
    return (*np.broadcast_shapes(x[:-1], bias[: max(0, len(bias) - len(outputs))]), *outputs)


def _layer(ufunc: np.ufunc, x: Any, weights: Any, bias: Any, out: Any) -> Any:
    """Return a layer of any arguments; one neuron is a layer of one output, whose axis goes."""
    rows, matrix = as_array(x), as_array(weights)
    if matrix.ndim not in (1, 2) or rows.ndim == 0:
        raise ValueError("x needs at least one axis, weights one or two")
    one_neuron = matrix.ndim == 1
    if one_neuron:
        matrix = matrix[np.newaxis]
        bias = bias if bias is None or np.ndim(bias) == 0 else as_array(bias)[..., np.newaxis]
    need_known(rows, -1)
    need_known(matrix, -2, -1)
    offsets = _as_bias(bias, rows, matrix)
    need_known(offsets, -1)
    out = as_output(out, rows, matrix, offsets)
    if out is None:
        result = ufunc(rows, matrix, offsets)
        return result[..., 0][()] if one_neuron else result  # as from a ufunc: a scalar where no dimension is left
    if one_neuron and not isinstance(out, np.ndarray):
        raise TypeError("out is no array")
    target = out[..., np.newaxis] if one_neuron else out
    check_shape(target, _layer_shape(rows.shape, matrix.shape, offsets.shape))
    ufunc(rows, matrix, offsets, out=target)
    return out


def _as_bias(bias: Any, rows: Any, weights: Any) -> Any:
    """Return the bias with as many elements on its last axis as there are outputs."""
    outputs = weights.shape[0]
    if bias is None:
        return np.zeros(outputs, weights.dtype)
    if is_python_number(bias):
        dtypes = {rows.dtype, weights.dtype} | {np.dtype(np.float32) for array in (rows, weights) if array.dtype.kind in "biu"}
        return np.full(outputs, bias, np.result_type(*dtypes))
    array = as_array(bias)
    if array.ndim == 0 or (array.shape[-1] == 1 and outputs != 1):
        return np.broadcast_to(array, (*array.shape[:-1], outputs))
    return array
