"""The functions that are not ufuncs themselves: thin layers over generalized ufuncs of the same name."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnkernels import _core

# A name, the ufunc itself (softmax is a function around one), or None.
Activation: TypeAlias = str | Callable[..., Any] | None

# What the functions expect, for error messages.
REAL = "a real dtype (bool, integer, float16, float32 or float64)"
LAYER = f"weights (outputs, inputs) or (inputs,), and a bias that broadcasts with (outputs,), all of {REAL}"


def describe(value: object) -> str:
    """Say what an argument is, for an error message: dtype and shape, or the type if it is no array."""
    try:
        array = value if hasattr(value, "dtype") and hasattr(value, "shape") else np.asarray(value)
    except (TypeError, ValueError):
        return f"a {type(value).__name__} that is no array"
    return f"{array.dtype} of shape {array.shape}"


def explained(error: Exception, function: str, expected: str, **arguments: object) -> Exception:
    """Return the error with what was expected and what came. NumPy's own subclasses keep their type and text.

    OverflowError, of an axis or a bias that is a Python number too large for C, is a ValueError here.
    """
    given = {name: value for name, value in arguments.items() if value is not None or name not in ("bias", "out")}
    came = ", ".join(f"{name} {describe(value)}" for name, value in given.items())
    message = f"{function} expected {expected}; got {came}"
    if type(error) in (TypeError, ValueError):
        return type(error)(f"{message} ({error})")
    if isinstance(error, OverflowError):
        return ValueError(f"{message} ({error})")
    error.add_note(message)
    return error


def softmax(z: ArrayLike, axis: int = -1, *, out: NDArray[Any] | None = None, dtype: DTypeLike | None = None) -> Any:
    """Softmax along an axis: exp(z - max) / sum exp(z - max).

    Probabilities: in [0, 1], of sum 1 up to rounding, in the order of z; no finite z overflows.

    Parameters
    ----------
    z : array_like
        Logits, of any shape with at least one dimension.
    axis : int
        Each vector along this axis is one distribution.
    out : array, optional
        Where to write the result; of the shape of z.
    dtype : optional
        The dtype to compute in: float16, float32 or float64.

    Returns
    -------
    array of the shape of z
        float16, float32 and float64 are kept (float16 is computed in float32 and rounded once), other real dtypes
        promote as ``np.result_type(z, np.float32)``. pandas and Dask objects come back as such.

    Raises
    ------
    TypeError
        For longdouble, complex, object, string and datetime; for ``out`` of a dtype that the result cannot be cast to.
    ValueError
        For a z without dimensions, an axis that is not there, and ``out`` of another shape.

    Notes
    -----
    A row with NaN, with +inf, or of -inf only is NaN, without a warning. Subtracting the maximum changes nothing but the
    range: J. S. Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990; the method is in
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
    return _along_axis(_core.softmax, z, axis, out=out, dtype=dtype) if result is NotImplemented else result


def log_softmax(z: ArrayLike, axis: int = -1, *, out: NDArray[Any] | None = None, dtype: DTypeLike | None = None) -> Any:
    """Logarithm of softmax along an axis: z - max - log(sum exp(z - max)).

    Accurate where softmax itself underflows, and where one element dominates. Parameters, dtypes and errors are those
    of ``softmax``; so are rows that are not finite.

    Returns
    -------
    array of the shape of z
        Its dtype is that of ``softmax``. pandas and Dask objects come back as such.

    Notes
    -----
    The maximum is subtracted in two terms, without rounding (D. E. Knuth, "The Art of Computer Programming", volume 2, 4.2.2),
    and the logarithm is that of ``logsumexp``; the method is in cpp/kernels/softmax.h.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.log_softmax([0.0, -1000.0])
    array([    0., -1000.])
    """
    result = _core.few_log_softmax(z, axis, out, dtype)
    return _along_axis(_core.log_softmax, z, axis, out=out, dtype=dtype) if result is NotImplemented else result


def logsumexp(
    z: ArrayLike,
    axis: int = -1,
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
        With ``keepdims`` the axis stays, of length 1. A pandas object gives a NumPy array, for its labels are not those of the
        result; a Dask array comes back as such.

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
    extra = {"keepdims": True} if keepdims else {}
    return _along_axis(_core.logsumexp, z, axis, out=out, dtype=dtype, **extra)


def _along_axis(ufunc: np.ufunc, z: ArrayLike, axis: int, *, out: object, dtype: DTypeLike | None, **extra: bool) -> Any:
    try:
        if type(z) is np.ndarray and type(axis) is int and axis == -1 and dtype is None and not extra:
            return ufunc(z) if out is None else ufunc(z, out=out)  # the usual call: in half the time
        # The axis is always passed: pandas runs a generalized ufunc without one down the columns of a DataFrame. The others
        # only where they are given: Dask does not know them all.
        keywords: dict[str, Any] = {"axis": axis, **extra}
        if out is not None:
            keywords["out"] = out
        if dtype is not None:
            keywords["dtype"] = dtype
        _refuse_mask(z)
        return ufunc(_without_labels(z) if ufunc is _core.logsumexp else z, **keywords)
    except (OverflowError, TypeError, ValueError) as error:
        expected = f"z of at least one dimension and {REAL}, and an integer axis of it (here {axis!r})"
        raise explained(error, ufunc.__name__, expected, z=z, out=out) from None


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


def as_real(value: ArrayLike) -> NDArray[Any]:
    """Return an array whose dtype is float16, float32 or float64, as sums promote it; raise TypeError if there is none."""
    _refuse_mask(value)
    array = np.asarray(value)
    if array.dtype.kind in "biu":
        return array.astype(np.result_type(array, np.float32))
    if array.dtype.type not in (np.float16, np.float32, np.float64):
        raise TypeError(f"expected {REAL}, got {describe(array)}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


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
        For longdouble, complex, object, string and datetime; for an activation that is none; for ``out`` of a dtype that the
        result cannot be cast to.
    ValueError
        For shapes that do not fit, and the name of an unknown activation.
    MemoryError
        Where there is too little for the result, or for the layer's scratch.

    Notes
    -----
    A row's result depends on this row, the weights and the bias alone, and an activation fused gives the same bits as the
    activation called on the result: the order of summation is fixed (cpp/kernels/dense.h, with its sources). Overflow is
    reported as ``np.errstate`` says. pandas objects come back as arrays, Dask arrays as such.

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
            and bias.shape == weights.shape[:1]
        ):  # the usual call: in half the time
            return ufunc(x, weights, bias) if out is None else ufunc(x, weights, bias, out=out)
        rows, matrix = _as_array(x), _as_array(weights)
        if matrix.ndim not in (1, 2) or rows.ndim == 0:
            raise ValueError("wrong number of dimensions")
        if matrix.ndim == 2:
            offsets = _as_bias(bias, rows, matrix)
            return ufunc(rows, matrix, offsets) if out is None else ufunc(rows, matrix, offsets, out=out)
        neuron = matrix[np.newaxis]
        offsets = _as_bias(bias if bias is None or np.ndim(bias) == 0 else _as_array(bias)[..., np.newaxis], rows, neuron)
        if out is None:
            result = ufunc(rows, neuron, offsets)[..., 0]
            return result[()] if result.ndim == 0 else result  # as from a ufunc: a scalar
        if not isinstance(out, np.ndarray):
            raise TypeError("out is no array")
        ufunc(rows, neuron, offsets, out=out[..., np.newaxis])
    except (OverflowError, TypeError, ValueError) as error:
        raise explained(error, "dense", f"x (..., inputs), {LAYER}", x=x, weights=weights, bias=bias, out=out) from None
    return out


def is_python_number(value: object) -> bool:
    """Say whether a value is a number of Python's own, which has no dtype to promote; np.float64 is a float, but has one."""
    return isinstance(value, (bool, int, float)) and not isinstance(value, np.generic)


def _refuse_mask(value: object) -> None:
    """Raise TypeError for a masked array: a sum along an axis cannot leave elements out, and must not count them unnoticed."""
    if isinstance(value, np.ndarray) and hasattr(value, "filled"):
        raise TypeError("a masked array must be filled first")


def _without_labels(value: Any) -> Any:
    """Return a pandas object as an array: its labels are not those of a result of another shape."""
    return value.to_numpy() if hasattr(value, "to_numpy") else value


def _as_array(value: Any) -> Any:
    """Return an array that has its own ways with ufuncs as it is, and the rest as NumPy's."""
    _refuse_mask(value)
    value = _without_labels(value)
    return value if hasattr(value, "__array_ufunc__") and hasattr(value, "ndim") else np.asarray(value)


def _as_bias(bias: Any, rows: Any, weights: Any) -> Any:
    """Return the bias with as many elements on its last axis as there are outputs."""
    outputs = weights.shape[0]
    if bias is None:
        return np.zeros(outputs, weights.dtype)
    if is_python_number(bias):
        dtypes = {rows.dtype, weights.dtype} | {np.dtype(np.float32) for array in (rows, weights) if array.dtype.kind in "biu"}
        return np.full(outputs, bias, np.result_type(*dtypes))
    array = _as_array(bias)
    if array.ndim == 0 or (array.shape[-1] == 1 and outputs != 1):
        return np.broadcast_to(array, (*array.shape[:-1], outputs))
    return array
