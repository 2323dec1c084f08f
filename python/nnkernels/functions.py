"""softmax, log_softmax and logsumexp: thin wrappers around generalized ufuncs."""

from __future__ import annotations

import math
from collections.abc import Callable
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
    labelled,
    map_chunks,
    promoted,
    shape_of,
)

# One axis, several, or all (None).
Axis: TypeAlias = int | tuple[int, ...] | None


def softmax(z: ArrayLike, axis: Axis = -1, *, out: NDArray[Any] | None = None, dtype: DTypeLike | None = None) -> Any:
    """Softmax along an axis: exp(z - max) / sum exp(z - max).

    The results are probabilities: each is in [0, 1], they sum to 1 up to rounding, and a larger z
    never has a smaller probability. No finite z overflows.

    Parameters
    ----------
    z : array_like
        Logits, with at least one dimension.
    axis : int, tuple of int, or None, default -1
        The axis to sum over. A tuple of axes, or all axes (None), is flattened in C order and
        treated as one axis.
    out : ndarray, optional
        Array for the result, of the shape of z.
    dtype : dtype, optional
        dtype of the computation: float16, float32 or float64.

    Returns
    -------
    ndarray of the shape of z
        float16, float32 and float64 input keeps its dtype; float16 is computed in float32 and
        rounded once. Other real dtypes promote as ``np.result_type(z, np.float32)``. pandas and
        xarray objects keep their type and labels. pandas columns without a common NumPy dtype
        become float64, with NA as NaN. A Dask array gives a lazy Dask array.

    Raises
    ------
    TypeError
        If z is longdouble, complex, object, string or datetime, is masked or sparse, or has a unit.
        If ``dtype`` is not float16, float32 or float64. If the result cannot be cast to the dtype
        of ``out``. If ``out`` is given with a Dask array.
    ValueError
        If z is 0-d and axis is not None. If an axis is out of range or repeated. If ``out`` has the
        wrong shape. If a Dask array has several chunks along the axis.

    Notes
    -----
    A row that contains NaN or +inf, or only -inf, gives NaN without a warning. Source: J. S.
    Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.

    The maximum is subtracted exactly, as a sum of two terms (T. J. Dekker, "A floating-point
    technique for extending the available precision", 1971). Hence softmax(z + c) and softmax(z) are
    bit for bit equal if each z + c is exact. The method is in cpp/kernels/softmax.h.

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

    It stays accurate where softmax underflows or one element dominates. Parameters, dtypes, errors
    and the treatment of NaN and infinity are as in ``softmax``.

    Returns
    -------
    ndarray of the shape of z
        Types and dtypes are as in ``softmax``.

    Notes
    -----
    The maximum is subtracted exactly, as in ``softmax``. Hence log_softmax(z + c) and
    log_softmax(z) are bit for bit equal if each z + c is exact. The logarithm is that of
    ``logsumexp``. The method is in cpp/kernels/softmax.h.

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

    NaN propagates. A row that contains +inf gives +inf. A row of -inf, or an empty row, gives -inf.
    Parameters, dtypes and errors are as in ``softmax``, except for the shape of ``out``.

    Parameters
    ----------
    z, axis, dtype
        As in ``softmax``.
    keepdims : bool, default False
        Whether to keep the axis, with length 1.
    out : ndarray, optional
        Array for the result, of the shape of the result.

    Returns
    -------
    ndarray of the shape of z without the axis
        pandas and xarray objects give a NumPy array. A Dask array gives a lazy Dask array.

    Notes
    -----
    Computed as max + log1p(sum of the other exponentials), which is accurate even if one element
    dominates (SciPy issues 18295 and 19521). The method is in cpp/kernels/softmax.h.

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
    """Apply a generalized ufunc along an axis. ``function`` is its public wrapper."""
    try:
        if (
            type(z) is np.ndarray
            and type(axis) is int
            and dtype is None
            and not keepdims
            and (out is None or type(out) is np.ndarray)
        ):  # fast path: usual calls take half the time
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
            # Pass only given keywords: an object with __array_ufunc__ may not know the others.
            result = ufunc(array, axis=axis, **keywords) if out is None else ufunc(array, axis=axis, out=out, **keywords)
    except (OverflowError, TypeError, ValueError) as error:
        expected = f"z with at least one dimension and {REAL}; axis an integer, a tuple of integers or None (got {axis!r})"
        if dtype is not None:
            expected += f"; dtype {FLOAT} (got {dtype!r})"
        if out is not None:
            expected += f"; out of shape {_shape_along_axis(ufunc, z, axis, **keepdims)}"
        raise explained(error, ufunc.__name__, expected, z=z, out=out) from None
    return result if out is not None or array is z or ufunc is _core.logsumexp else labelled(result, z)


def _sorted_axes(axis: Axis, dimensions: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(dimensions))
    axes = axis if isinstance(axis, tuple) else (axis,)
    if any(isinstance(axis, (bool, np.bool_)) for axis in axes):
        raise TypeError("an axis must be an integer, not a boolean")
    return tuple(sorted(normalize_axis_tuple(axes, dimensions)))


def _jointly(ufunc: np.ufunc, z: Any, axis: Axis, out: Any, *, keepdims: bool = False, **dtype: DTypeLike) -> Any:
    """Apply a ufunc along several axes, flattened into one."""
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
        raise TypeError("out must be an ndarray")
    if ufunc is _core.logsumexp:
        result = np.reshape(result, _result_shape(ufunc, z.shape, axis, keepdims=keepdims))
    else:
        result = np.transpose(np.reshape(result, moved.shape), np.argsort(order))
    if out is not None:
        out[...] = result
        return out
    # Like a ufunc, return a scalar if no dimension is left, but a 0-d array of a subclass.
    return result[()] if type(result) is np.ndarray else result


def _lazily(function: Callable[..., Any], z: Any, axis: Axis, keywords: dict[str, Any]) -> Any:
    """Apply a function along one or more axes of a Dask array."""
    axes = _sorted_axes(axis, z.ndim)
    lengths: list[int] | None = [z.shape[axis] for axis in axes]
    if function is logsumexp:
        lengths = [1] * len(axes) if "keepdims" in keywords else None
    dtype = np.dtype(keywords.get("dtype", promoted(z.dtype)))
    return map_chunks(partial(function, axis=axes, **keywords), z, axes, lengths, dtype)


def _result_shape(ufunc: np.ufunc, shape: tuple[int, ...], axis: Axis, *, keepdims: bool = False) -> tuple[int, ...]:
    """Return the shape of the result for z of this shape."""
    if ufunc is not _core.logsumexp:
        return shape
    axes = _sorted_axes(axis, len(shape))
    return tuple(1 if place in axes else length for place, length in enumerate(shape) if keepdims or place not in axes)


def _shape_along_axis(ufunc: np.ufunc, z: Any, axis: Axis, **keepdims: bool) -> str:
    """Return the shape of the result as text, for an error message."""
    try:
        return str(_result_shape(ufunc, shape_of(z), axis, **keepdims))
    except (OverflowError, TypeError, ValueError):
        return "without the axis"
