"""Layers: frozen descriptions, of which a Network is made."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkernels.arrays import as_contiguous, as_real, explained, is_python_number, promoted
from nnkernels.frozen import Frozen
from nnkernels.functions import LAYER, Activation, activation_name, activation_number


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
        None, "relu", "sigmoid", "tanh", "softmax", or the ufunc itself.

    The attributes of these names hold read-only copies, of dtype float16, float32 or float64 (other real dtypes promote as
    ``np.result_type(weights, np.float32)``), and the activation's name. A subclass may have attributes of its own; copies and
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
        number = activation_number(activation)
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
        self._set(activation=activation_name(number))

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

    Put first, it standardises inputs: ``Scale(mean, 1 / std)``. Put last, it brings outputs to their units:
    ``Scale(-mean / std, std)``. Training leaves it as it is.

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
