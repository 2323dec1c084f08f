"""Layers: the function ``dense``, and the layer descriptions ``Dense`` and ``Scale``."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkernels import _core
from nnkernels.activations import TABLE, Activation, Kind, name_of, number_of
from nnkernels.arrays import (
    REAL,
    as_array,
    as_contiguous,
    as_output,
    as_real,
    check_shape,
    explained,
    is_python_number,
    need_known,
    promoted,
    shape_of,
)
from nnkernels.frozen import Frozen

# The arguments that a layer expects, for error messages.
LAYER = f"weights (outputs, inputs) or (inputs,), and a bias that broadcasts with (outputs,), all with {REAL}"

# Ufuncs with a fused activation. Other activations are applied to the result, with the same bits.
_FUSED: dict[str, np.ufunc] = {
    "none": _core.dense,
    "relu": _core.dense_relu,
    "sigmoid": _core.dense_sigmoid,
    "tanh": _core.dense_tanh,
    "softmax": _core.dense_softmax,
    "log_softmax": _core.dense_log_softmax,
}


def dense(
    x: ArrayLike,
    weights: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    activation: Activation = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Dense layer: activation(x weights^T + bias). Each row of the weights is a neuron.

    Parameters
    ----------
    x : array_like, shape (..., inputs)
        One row of inputs, or a batch of rows.
    weights : array_like, shape (outputs, inputs) or (inputs,)
        The shape (inputs,) means one neuron. The result then has no axis of outputs.
    bias : array_like, optional
        Shape (outputs,), or a shape that broadcasts with the result. A scalar for one neuron.
        Defaults to 0.
    activation : str, callable or None, default None
        A name such as "relu"; the function, such as ``nnkernels.relu``; or a ``functools.partial``
        that sets the function's option. ``Dense`` lists the names. softmax and log_softmax act
        along the axis of outputs.
    out : ndarray, optional
        Array for the result, of the shape of the result. The result is cast to its dtype
        (same_kind). It may overlap the other arguments.

    Returns
    -------
    ndarray of shape (..., outputs)
        The dtype is ``np.result_type(x, weights, bias)`` if all are float16, float32 or float64,
        else ``np.result_type(x, weights, bias, np.float32)``. A Python number as bias does not
        change the dtype. float16 is computed in float32, including the activation, and rounded
        once. pandas objects give NumPy arrays. Dask arrays give lazy Dask arrays.

    Raises
    ------
    TypeError
        If an argument is longdouble, complex, object, string or datetime, is masked or sparse, or
        has a unit. If the activation is unknown. If the result cannot be cast to the dtype of
        ``out``. If ``out`` is given with a Dask array.
    ValueError
        If the shapes do not fit. If the name of the activation is unknown. If a Dask array has
        several chunks along the axis of inputs.
    MemoryError
        If there is not enough memory for the result or for the layer's workspace.

    Notes
    -----
    The result for a row depends only on that row, the weights and the bias: the order of summation
    is fixed. A fused activation gives the same bits as the activation applied to the result. The
    method and its sources are in cpp/kernels/dense.h. ``np.errstate`` controls warnings of
    overflow.

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
    number, option = number_of(activation)
    kind = TABLE[number]
    ufunc = _FUSED.get(kind.name)
    try:
        if ufunc is None:
            return _unfused(kind, option, x, weights, bias, out)
        if (
            type(x) is type(weights) is type(bias) is np.ndarray
            and x.ndim > 0
            and weights.ndim == 2
            and bias.ndim == 1
            and len(bias) == len(weights)
        ):  # fast path: usual calls take half the time
            if out is None:
                return ufunc(x, weights, bias)
            if type(out) is np.ndarray and out.shape == x.shape[:-1] + bias.shape:
                return ufunc(x, weights, bias, out=out)
        return _layer(ufunc, x, weights, bias, out)
    except (OverflowError, TypeError, ValueError) as error:
        expected = f"x (..., inputs), {LAYER}"
        if out is not None:
            with suppress(ValueError):  # no shape to state if the other shapes do not fit
                expected += f"; out of shape {_layer_shape(shape_of(x), shape_of(weights), shape_of(bias))}"
        inputs, shape = shape_of(x)[-1:], shape_of(weights)
        if isinstance(error, ValueError) and len(shape) == 2 and shape[:1] == inputs != shape[1:]:
            error = ValueError("weights must be (outputs, inputs): pass weights.T")
        raise explained(error, "dense", expected, x=x, weights=weights, bias=bias, out=out) from None


def _layer_shape(x: tuple[int, ...], weights: tuple[int, ...], bias: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a layer's result, given the shapes of its arguments."""
    outputs = weights[:-1]
    return (*np.broadcast_shapes(x[:-1], bias[: max(0, len(bias) - len(outputs))]), *outputs)


def _unfused(kind: Kind, option: float, x: Any, weights: Any, bias: Any, out: Any) -> Any:
    """Compute a layer, then apply its element-wise activation."""
    function: Any = kind.function
    options = {kind.option: option} if kind.option else {}
    result = _layer(_core.dense, x, weights, bias, None)
    if out is None:
        return function(result, **options)
    out = as_output(out, result)
    check_shape(out, np.shape(result))
    return function(result, **options, out=out)


def _layer(ufunc: np.ufunc, x: Any, weights: Any, bias: Any, out: Any) -> Any:
    """Compute a layer for any arguments. One neuron is computed as a layer with one output."""
    rows, matrix = as_array(x), as_array(weights)
    if matrix.ndim not in (1, 2) or rows.ndim == 0:
        raise ValueError("x needs at least one axis, and weights one or two")
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
        return result[..., 0][()] if one_neuron else result  # like a ufunc: a scalar if 0-d
    if one_neuron and not isinstance(out, np.ndarray):
        raise TypeError("out must be an ndarray")
    target = out[..., np.newaxis] if one_neuron else out
    check_shape(target, _layer_shape(rows.shape, matrix.shape, offsets.shape))
    ufunc(rows, matrix, offsets, out=target)
    return out


def _as_bias(bias: Any, rows: Any, weights: Any) -> Any:
    """Return the bias as an array whose last axis has one element per output."""
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


class _Layer(Frozen):
    """Base class of layers. The attributes in ``_own`` are frozen; subclasses may add others."""

    __slots__ = ("__weakref__",)

    _own: tuple[str, ...]

    def __setattr__(self, name: str, value: object) -> None:
        if name in self._own:
            super().__setattr__(name, value)  # raises AttributeError
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._own:
            super().__delattr__(name)
        object.__delattr__(self, name)

    def __getstate__(self) -> tuple[Any, dict[str, Any]]:
        """Return the attributes that a subclass adds: its dictionary and its slots."""
        return attributes_of_subclass(self, self._own)


class Dense(_Layer):
    """Description of a dense layer: activation(x weights^T + bias).

    Parameters
    ----------
    weights : array_like, shape (outputs, inputs) or (inputs,)
        Each row is a neuron. The shape (inputs,) means one neuron. The result then has no axis of
        outputs.
    bias : array_like, optional
        Broadcastable to (outputs,). Defaults to 0.
    activation : str, callable or None, default None
        A name such as "relu"; the function, such as ``nnkernels.relu``; or a ``functools.partial``
        that sets the function's option. The names are relu, sigmoid, tanh, exp, leaky_relu, elu,
        silu, gelu, gelu_tanh, softplus, softmax and log_softmax.

    Attributes
    ----------
    weights, bias : ndarray
        Read-only copies. float16, float32 and float64 are kept. Other real dtypes promote as
        ``np.result_type(weights, np.float32)``.
    activation : str or None
        The name, followed by the option if that is not the default: "elu(alpha=0.5)".

    Raises
    ------
    TypeError
        If weights or bias have no real dtype, or the activation is unknown.
    ValueError
        If the shapes do not fit, or the name of the activation is unknown.

    Notes
    -----
    A subclass may add attributes; copies and pickles keep them.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.Dense([[0.2, 0.8], [0.5, -0.9]], [1.0, 2.0], nnk.relu)
    Dense(inputs=2, outputs=2, activation='relu', dtype=float64)
    """

    __slots__ = _own = ("activation", "bias", "weights")

    weights: NDArray[Any]
    bias: NDArray[Any]
    activation: str | None

    def __init__(self, weights: ArrayLike, bias: ArrayLike | None = None, activation: Activation = None) -> None:
        text = name_of(*number_of(activation))
        try:
            matrix = _promoted(weights)
            if matrix.ndim not in (1, 2):
                raise ValueError("weights need one axis or two")
            shape = matrix.shape[:-1]
            if bias is None:
                vector = np.zeros(shape, matrix.dtype)
            else:
                vector = np.full(shape, bias, matrix.dtype) if is_python_number(bias) else _promoted(bias)
                vector = np.broadcast_to(vector.reshape(vector.shape[vector.ndim - len(shape) :]), shape)
        except (OverflowError, TypeError, ValueError) as error:
            raise explained(error, "Dense", LAYER, weights=weights, bias=bias) from None
        for name, array in (("weights", matrix), ("bias", vector)):
            copy = np.array(array, order="C")
            copy.flags.writeable = False
            self._set(**{name: copy.view()})  # a view cannot be made writeable again
        self._set(activation=text)

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (Dense, type(self), self.weights, self.bias, self.activation), self.__getstate__()

    @property
    def inputs(self) -> int:
        """The number of inputs."""
        return int(self.weights.shape[-1])

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return int(self.bias.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The common dtype of weights and bias, by NumPy's promotion."""
        return np.result_type(self.weights, self.bias)

    def __repr__(self) -> str:
        return f"Dense(inputs={self.inputs}, outputs={self.outputs}, activation={self.activation!r}, dtype={self.dtype})"


class Scale(_Layer):
    """Description of a layer that shifts and scales each input: (x - offset) * scale.

    As first layer, it standardises inputs: ``Scale(mean, 1 / std)``. As last layer, it converts
    standardised outputs to their original units: ``Scale(-mean / std, std)``. Training does not
    change it.

    Parameters
    ----------
    offset, scale : array_like, shape (inputs,) or ()
        Finite real numbers. A single number applies to all inputs. Give a constant column, whose
        standard deviation is 0, the scale 1.

    Attributes
    ----------
    offset, scale : ndarray of float64
        Read-only copies.

    Raises
    ------
    TypeError
        If an argument has no real dtype.
    ValueError
        If the shapes do not fit, or a number is NaN or infinite.

    Notes
    -----
    The layer is computed in float64, since an offset of 1e5 can be off by 4e-3 in float32. The
    result is rounded once, to the network's dtype. If the first layer of a network is a Scale,
    inputs are converted to float64, whatever the network's dtype. A subclass may add attributes;
    copies and pickles keep them.

    Examples
    --------
    >>> import nnkernels as nnk, numpy as np
    >>> x = np.array([[1.0, 100.0], [3.0, 300.0]])
    >>> net = nnk.Network([nnk.Scale(x.mean(axis=0), 1 / x.std(axis=0)), nnk.Dense([[1.0, 2.0]])])
    >>> net(x)
    array([[-3.],
           [ 3.]])
    """

    __slots__ = _own = ("offset", "scale")

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __init__(self, offset: ArrayLike, scale: ArrayLike) -> None:
        try:
            arrays = np.broadcast_arrays(*(as_contiguous(as_real(value), np.float64) for value in (offset, scale)))
            if arrays[0].ndim > 1:
                raise ValueError("offset and scale must have at most one axis")
            for name, array in zip(("offset", "scale"), arrays, strict=True):
                if not np.isfinite(array).all():
                    place = int(np.flatnonzero(~np.isfinite(array))[0])
                    raise ValueError(f"{name}[{place}] is {array.flat[place]}; give a constant column the scale 1")
                copy = array.copy()
                copy.flags.writeable = False
                self._set(**{name: copy.view()})  # a view cannot be made writeable again
        except (TypeError, ValueError) as error:
            expected = "finite offset and scale, each (inputs,) or a single number"
            raise explained(error, "Scale", expected, offset=offset, scale=scale) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (Scale, type(self), self.offset, self.scale), self.__getstate__()

    @property
    def inputs(self) -> int | None:
        """The number of inputs and of outputs; None if offset and scale are single numbers."""
        return self.offset.size if self.offset.ndim else None

    def __repr__(self) -> str:
        return f"Scale(inputs={self.inputs})"


def _promoted(value: ArrayLike) -> NDArray[Any]:
    array = as_real(value)
    return array.astype(promoted(array.dtype), copy=False)


def restored(base: Any, kind: type[Any], *arguments: Any) -> Any:
    """Return a copy of a layer or network, without calling ``__init__`` of a subclass."""
    value = base.__new__(kind)
    base.__init__(value, *arguments)
    return value


def attributes_of_subclass(value: object, own: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """Return the state to pickle: the dictionary, and the slots except those in ``own``."""
    dictionary, slots = cast(tuple[Any, dict[str, Any]], object.__getstate__(value))
    return dictionary, {name: attribute for name, attribute in slots.items() if name not in own}
