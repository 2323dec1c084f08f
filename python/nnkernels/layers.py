"""Layers: the dense layer as a function, and frozen descriptions, of which a Network is made."""

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

# What a layer expects, for error messages.
LAYER = f"weights (outputs, inputs) or (inputs,), and a bias that broadcasts with (outputs,), all of {REAL}"

# Ufuncs with the activation in them. Other activations are called on the result, which gives the
# same bits.
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
    """Dense layer: activation(x weights^T + bias), each row of the weights a neuron.

    Parameters
    ----------
    x : array_like, shape (..., inputs)
        A row of inputs, or a batch of them.
    weights : array_like, shape (outputs, inputs)
        Or (inputs,): one neuron, whose result has no axis for outputs.
    bias : array_like, optional
        Of shape (outputs,), or one that broadcasts with the result; a scalar for one neuron. 0 by
        default.
    activation : optional
        A name of the table of activations ("relu"), the function (``nnkernels.relu``), a
        ``functools.partial`` of it that sets its option, or None. softmax and log_softmax are over
        the outputs.
    out : array, optional
        Where to write the result: of its shape, and of a dtype that it can be cast to (same_kind).
        It may overlap the other arguments.

    Returns
    -------
    array of shape (..., outputs)
        Its dtype is ``np.result_type(x, weights, bias)`` where all are float16, float32 or float64,
        and ``np.result_type(x, weights, bias, np.float32)`` where one is another real dtype; a bias
        that is a Python number has no influence on it. float16 is summed in float32 and rounded
        once, the activation too.

    Raises
    ------
    TypeError
        For longdouble, complex, object, string and datetime; for masked and sparse arrays, and
        numbers with a unit; for an activation that is none; for ``out`` of a dtype that the result
        cannot be cast to, and ``out`` with a Dask array.
    ValueError
        For shapes that do not fit, the name of an unknown activation, and a row that a Dask array
        has in several chunks.
    MemoryError
        Where there is too little for the result, or for the layer's scratch.

    Notes
    -----
    A row's result depends on this row, the weights and the bias alone, and an activation fused
    gives the same bits as the activation called on the result: the order of summation is fixed
    (cpp/kernels/dense.h, with its sources). Overflow is reported as ``np.errstate`` says. pandas
    objects come back as arrays, Dask arrays as lazy ones.

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


def _unfused(kind: Kind, option: float, x: Any, weights: Any, bias: Any, out: Any) -> Any:
    """Return a layer whose activation is called on its result, element by element."""
    function: Any = kind.function
    options = {kind.option: option} if kind.option else {}
    result = _layer(_core.dense, x, weights, bias, None)
    if out is None:
        return function(result, **options)
    out = as_output(out, result)
    check_shape(out, np.shape(result))
    return function(result, **options, out=out)


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


class _Layer(Frozen):
    """A base of layers. The attributes that ``_own`` names stay as they are; a subclass may have others."""

    __slots__ = ("__weakref__",)

    _own: tuple[str, ...]

    def __setattr__(self, name: str, value: object) -> None:
        if name in self._own:
            super().__setattr__(name, value)  # which raises AttributeError
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._own:
            super().__delattr__(name)
        object.__delattr__(self, name)

    def __getstate__(self) -> tuple[Any, dict[str, Any]]:
        """Return the attributes of a subclass: its dictionary and its slots."""
        return attributes_of_subclass(self, self._own)


class Dense(_Layer):
    """Description of a dense layer: activation(x weights^T + bias).

    Parameters
    ----------
    weights : array_like, shape (outputs, inputs)
        Each row is a neuron. Or (inputs,): one neuron, whose result has no axis for outputs.
    bias : array_like, optional
        Broadcastable to (outputs,). 0 by default.
    activation : optional
        A name ("relu"), the function (``nnkernels.relu``), a ``functools.partial`` of it that sets
        its option, or None. Names: relu, sigmoid, tanh, exp, leaky_relu, elu, silu, gelu,
        gelu_tanh, softplus, softmax, log_softmax.

    The attributes of these names hold read-only copies, of dtype float16, float32 or float64 (other real dtypes promote as
    ``np.result_type(weights, np.float32)``), and the activation as text: its name, with the option where that is not the
    default ("elu(alpha=0.5)"). A subclass may have attributes of its own; copies and
    pickles keep them. Raises TypeError for other dtypes and ValueError for shapes that do not fit.

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
        """The dtype that weights and bias promote to."""
        return np.result_type(self.weights, self.bias)

    def __repr__(self) -> str:
        return f"Dense(inputs={self.inputs}, outputs={self.outputs}, activation={self.activation!r}, dtype={self.dtype})"


class Scale(_Layer):
    """Description of a layer that shifts and scales each element of a row: (x - offset) * scale.

    Put first, it standardises inputs: ``Scale(mean, 1 / std)``. Put last, it brings outputs to
    their units: ``Scale(-mean / std, std)``. Training leaves it as it is.

    Parameters
    ----------
    offset, scale : array_like, shape (inputs,)
        Finite real numbers. A single number counts for every element of a row.

    The attributes of these names hold read-only copies, of float64: an offset of 1e5 would be 4e-3 off in float32. They are
    computed in float64 too, and the result is rounded once to the network's dtype. A network whose first layer is a Scale
    takes inputs of any real dtype as float64, so that they are not rounded before. A subclass may have attributes of its own;
    copies and pickles keep them. Raises TypeError for other dtypes and ValueError for shapes that do not fit, and for NaN and
    infinity: a column that is constant has no standard deviation to divide by, give it the scale 1.

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
                raise ValueError("offset and scale need one axis at most")
            for name, array in zip(("offset", "scale"), arrays, strict=True):
                if not np.isfinite(array).all():
                    place = int(np.flatnonzero(~np.isfinite(array))[0])
                    raise ValueError(f"{name} has {array.flat[place]} at {place}; give a constant column the scale 1")
                copy = array.copy()
                copy.flags.writeable = False
                self._set(**{name: copy.view()})  # a view cannot be made writeable again
        except (TypeError, ValueError) as error:
            expected = "offset (inputs,) and scale (inputs,), or single numbers, finite"
            raise explained(error, "Scale", expected, offset=offset, scale=scale) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (Scale, type(self), self.offset, self.scale), self.__getstate__()

    @property
    def inputs(self) -> int | None:
        """The number of inputs, and of outputs; None if a single offset and scale count for any number of them."""
        return self.offset.size if self.offset.ndim else None

    def __repr__(self) -> str:
        return f"Scale(inputs={self.inputs})"


def _promoted(value: ArrayLike) -> NDArray[Any]:
    array = as_real(value)
    return array.astype(promoted(array.dtype), copy=False)


def restored(base: Any, kind: type[Any], *arguments: Any) -> Any:
    """Return a copy of a layer or network. The __init__ of a subclass may take other arguments, and is not called."""
    value = base.__new__(kind)
    base.__init__(value, *arguments)
    return value


def attributes_of_subclass(value: object, own: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """Return the state of an object for a pickle: its dictionary, and its slots but for those of the base class."""
    dictionary, slots = cast(tuple[Any, dict[str, Any]], object.__getstate__(value))
    return dictionary, {name: attribute for name, attribute in slots.items() if name not in own}
